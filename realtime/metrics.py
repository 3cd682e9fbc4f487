"""What the realtime server measures: sessions, the event loop's lag, the energy gate."""

import asyncio
import logging
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pipelines.gate import EnergyGate

log = logging.getLogger(__name__)

LAG_PERIOD = 0.1
"""Seconds between two looks at the loop's punctuality."""

_LAG = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


@dataclass(frozen=True, slots=True)
class RealtimeMetrics:
    """The metrics of all sessions."""

    sessions: Gauge
    closed: Counter
    transcripts: Counter
    contradictions: Counter
    windows: Counter
    lag: Histogram

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "RealtimeMetrics":
        """Make the metrics in `registry`."""
        return cls(
            Gauge("antiphon_sessions", "Realtime sessions that are open", registry=registry),
            Counter(
                "antiphon_sessions_closed",
                "Realtime sessions that ended, by close code",
                ["code"],
                registry=registry,
            ),
            Counter("antiphon_transcripts", "Final transcripts sent", registry=registry),
            Counter(
                "antiphon_transcript_contradictions",
                "Final transcripts that contradicted deltas sent before them",
                registry=registry,
            ),
            Counter(
                "antiphon_vad_gate_windows",
                "Windows of 32 ms that the energy gate let through to voice activity, or not",
                ["result"],
                registry=registry,
            ),
            Histogram(
                "antiphon_loop_lag_seconds",
                "How late the event loop runs what is due",
                buckets=_LAG,
                registry=registry,
            ),
        )


class CountedGate(EnergyGate):
    """An energy gate whose work shows in the metrics."""

    def __init__(self, metrics: RealtimeMetrics) -> None:
        super().__init__()
        self._metrics = metrics

    def count(self) -> None:
        """Add what was heard since the last call to the metrics."""
        self._metrics.windows.labels("open").inc(self.open_windows)
        self._metrics.windows.labels("closed").inc(self.closed_windows)
        self.open_windows = self.closed_windows = 0


async def watch_lag(metrics: RealtimeMetrics) -> None:
    """Measure the event loop's lag until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_PERIOD
        await asyncio.sleep(LAG_PERIOD)
        metrics.lag.observe(max(0.0, loop.time() - due))
