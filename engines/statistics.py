"""What the scheduler measures: Prometheus metrics, and a snapshot of each lane."""

from collections import Counter as Tally
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram

from engines.base import JobClass
from engines.load import Load

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SHED = ("coalesced", "stale", "refused", "offloaded")
_RESULTS = ("done", "failed", "cancelled", *_SHED)


@dataclass(frozen=True, slots=True)
class LaneSnapshot:
    """One lane at one moment. Seconds are moving averages, by class where something was measured;
    `counters` has every result a job can have, since the lane was opened."""

    live: int
    waiting: int
    running: int
    mean_batch: float
    """Jobs per step, over all steps."""
    service: Mapping[JobClass, float]
    """Engine seconds per job."""
    waits: Mapping[JobClass, float]
    """Seconds from when a job could run to its first step."""
    counters: Mapping[str, int]


class SchedulerMetrics:
    """The scheduler's metrics in one registry (by default, one of their own)."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.registry = registry
        by_class = ["lane", "job_class"]
        self.wait = Histogram(
            "antiphon_job_wait_seconds",
            "Time from when a job could run to its first step",
            by_class,
            buckets=_SECONDS,
            registry=registry,
        )
        self.service = Histogram(
            "antiphon_job_service_seconds",
            "Engine time of a request, or of one step for a stream; a batch shares its step",
            by_class,
            buckets=_SECONDS,
            registry=registry,
        )
        self.step = Histogram(
            "antiphon_step_seconds",
            "Duration of one engine step",
            ["lane"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "antiphon_step_jobs",
            "Jobs that shared one engine step",
            ["lane"],
            buckets=_BATCH,
            registry=registry,
        )
        self.class_batch = Histogram(
            "antiphon_step_class_jobs",
            "Jobs of one class that shared one engine step, where there was any",
            by_class,
            buckets=_BATCH,
            registry=registry,
        )
        self.jobs = Counter(
            "antiphon_jobs",
            f"Jobs by how they ended: {', '.join(_RESULTS)}",
            ["lane", "result"],
            registry=registry,
        )
        self.shed = Counter(
            "antiphon_jobs_shed",
            f"Jobs that the lane did not have to do: {', '.join(_SHED)}",
            [*by_class, "result"],
            registry=registry,
        )
        self.crashes = Counter(
            "antiphon_worker_crashes",
            "Worker processes that died and were started again",
            ["lane"],
            registry=registry,
        )

    def lane(self, name: str) -> "LaneStatistics":
        """The same metrics for one lane."""
        return LaneStatistics(self, name)


class LaneStatistics:
    """What one lane measures; label look-ups are done once."""

    def __init__(self, metrics: SchedulerMetrics, lane: str) -> None:
        self.load = Load()
        self.counters: Tally[str] = Tally(dict.fromkeys(_RESULTS, 0))
        self._steps = self._stepped_jobs = 0
        kinds = {kind: kind.name.lower() for kind in JobClass}
        self._wait = {kind: metrics.wait.labels(lane, name) for kind, name in kinds.items()}
        self._service = {kind: metrics.service.labels(lane, name) for kind, name in kinds.items()}
        self._class_batch = {k: metrics.class_batch.labels(lane, name) for k, name in kinds.items()}
        self._step = metrics.step.labels(lane)
        self._batch = metrics.batch.labels(lane)
        self._ended = {result: metrics.jobs.labels(lane, result) for result in _RESULTS}
        self._shed = {
            (kind, result): metrics.shed.labels(lane, name, result)
            for kind, name in kinds.items()
            for result in _SHED
        }
        self._crashes = metrics.crashes.labels(lane)

    @property
    def mean_batch(self) -> float:
        """Jobs per step, of all steps that had any."""
        return self._stepped_jobs / self._steps if self._steps else 0.0

    def waited(self, kind: JobClass, seconds: float, now: float) -> None:
        """A job began after this long."""
        self._wait[kind].observe(seconds)
        self.load.waited(kind, seconds, now)

    def stepped(self, seconds: float, kinds: Mapping[JobClass, int]) -> None:
        """One step was done, for so many jobs of each class."""
        self._step.observe(seconds)
        jobs = sum(kinds.values())
        if not jobs:
            return
        self.load.stepped(seconds)
        self._steps += 1
        self._stepped_jobs += jobs
        self._batch.observe(jobs)
        for kind, number in kinds.items():
            self._class_batch[kind].observe(number)

    def served(self, kind: JobClass, seconds: float) -> None:
        """A request is done, or a stream was stepped, with this much of the engine's time."""
        self._service[kind].observe(seconds)
        self.load.served(kind, seconds)

    def ended(self, kind: JobClass, result: str) -> None:
        """A job came to its end, or was not taken."""
        self.counters[result] += 1
        self._ended[result].inc()
        if result in _SHED:
            self._shed[kind, result].inc()

    def crashed(self) -> None:
        """A worker process died."""
        self._crashes.inc()
