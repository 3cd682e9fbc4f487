"""One measurement of a server that is dictated to: the load, the counters, what was found."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from bench.running import ROOT, Child, Scrape, Server, grown, quantile

if TYPE_CHECKING:
    from bench.utterances import Track

LATEST_MS = 100.0
"""With a generator later than this the pace was not real time, and the figure says nothing."""
MOST_ASTRAY = 0.1
"""With more utterances than this share cut, joined or without text, latencies tell of others."""
NANO = ROOT / "tests" / "data" / "whisper-nano"
NAME = "bench"

# The text of the model of these benchmarks does not depend on context, which is off to let all
# windows of one length share a batch.
TUNED: Mapping[str, float] = {"floor_seconds": 5, "tail_seconds": 0, "context_tokens": 0}
STOCK: Mapping[str, float] = {"context_tokens": 0}


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement to make. Without `speakers` all speak; the others are muted, or send the
    sound of a quiet `room`."""

    sessions: int
    options: Mapping[str, float]
    nano: bool = False
    speakers: int | None = None
    room: bool = False
    overload: bool = False
    """Whether the server is meant to have too much to do: text may come late, or not in time."""

    @property
    def label(self) -> str:
        """The model and its options, in the words of a table."""
        options = "floor 5 s" if "floor_seconds" in self.options else "stock"
        return f"{'nano' if self.nano else 'tiny'}, {options}"

    def configuration(self, model: Path | None) -> str:
        """The server's, as YAML (which JSON is); without a model, a null engine."""
        record: dict[str, Any] = {"name": NAME, "engine": "null"}
        if model is not None:
            source = str(NANO if self.nano else model)
            record |= {"engine": "whisper", "source": source, "options": dict(self.options)}
        limits = {"sessions": self.sessions + 1}
        return json.dumps(
            {"models": [record], "defaults": {"transcription": NAME}, "limits": limits}
        )


@dataclass(frozen=True, slots=True)
class Dictated:
    """A track on disk, as the load generator reads it."""

    audio: Path
    audio_16k: Path
    utterances: Path
    source: str
    period: float

    @classmethod
    def write(cls, track: "Track", folder: Path, name: str) -> Self:
        """Put it into this folder."""
        import numpy as np
        import soxr

        audio, described = folder / f"{name}.pcm", folder / f"{name}.json"
        audio.write_bytes(track.pcm)
        described.write_text(json.dumps([asdict(one) for one in track.utterances]))
        first = track.utterances[0].start
        sound = np.frombuffer(track.pcm, "<i2")[first:]
        at_16k = folder / f"{name}-16k.pcm"
        at_16k.write_bytes(soxr.resample(sound, 24_000, 16_000).astype("<i2").tobytes())
        return cls(audio, at_16k, described, track.source, track.period)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measurement found. None: the server does not tell."""

    point: Point
    seconds: float
    audio_seconds: float
    cpu_seconds: float
    rss_mib: float
    rss_per_session: float
    rss_samples: tuple[float, ...]
    mean_batch: float | None
    partials_a_second: float | None
    """Windows decoded for partials; the same for finals, the discarded ones included."""
    finals_a_second: float | None
    lag_p99_ms: float | None
    late_p99_ms: float
    report: Mapping[str, Any]
    """`bench.dictation.Findings`, and `errors`."""

    def of(self, what: str, q: float) -> float:
        """A quantile (nearest rank) of the seconds that were found; nan of none."""
        values = [one[1] if isinstance(one, list | tuple) else one for one in self.report[what]]
        ordered = sorted(values)
        return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else math.nan

    @property
    def cpu_share(self) -> float:
        """Server CPU seconds per second of audio."""
        return self.cpu_seconds / self.audio_seconds if self.audio_seconds else math.nan

    @property
    def pace_refusal(self) -> str | None:
        """Why the measurement must not be used, whatever text came."""
        if self.report["errors"]:
            return f"the server sent errors: {self.report['errors'][0]}"
        if self.late_p99_ms > LATEST_MS:
            return f"the generator was late (p99 {self.late_p99_ms:.0f} ms): not real time"
        return None

    @property
    def refusal(self) -> str | None:
        """Why the measurement must not be used."""
        if self.pace_refusal or self.point.overload:
            return self.pace_refusal
        said = self.report["said"]
        if not self.report["finals"]:
            return "no utterance was transcribed"
        astray = {name: self.report[name] for name in ("cut", "joined", "unheard")}
        if sum(astray.values()) > max(1, MOST_ASTRAY * said):
            told = ", ".join(f"{count} {name}" for name, count in astray.items())
            return f"of {said} utterances, {told}"
        return None


def dictate(
    point: Point,
    model: Path | None,
    dictated: Dictated,
    seconds: float,
    *,
    sample: float = 0.0,
    timing: Mapping[str, float] = MappingProxyType({}),
) -> Measured:
    """Start a server, dictate to it, and read its counters at both ends of the window.

    `sample`: seconds between looks at its memory. `timing`: `warm` and `tail`,
    other seconds before and after the window.
    """
    with Server(point.configuration(model)) as server:
        idle = server.rss_mib()
        with Child(*_command(point, server, dictated, {"seconds": seconds, **timing})) as load:
            load.expect("started")
            before, cpu = server.scrape(), server.cpu_seconds()
            samples = _watch(server, seconds, sample)
            finished = load.expect("finished")
            cpu, rss = server.cpu_seconds() - cpu, server.rss_mib()
            scrapes = (before, server.scrape())
            report = load.expect("report")
    lag = "antiphon_loop_lag_seconds"
    p99 = quantile(before.buckets(lag), scrapes[1].buckets(lag), 0.99)
    jobs, batches = (grown(scrapes, f"antiphon_step_jobs_{x}", lane=NAME) for x in ("sum", "count"))
    return Measured(
        point=point,
        seconds=seconds,
        audio_seconds=finished["audio_seconds"],
        cpu_seconds=cpu,
        rss_mib=rss,
        rss_per_session=(rss - idle) / point.sessions,
        rss_samples=samples,
        mean_batch=jobs / batches if jobs and batches else None,
        partials_a_second=_rate(scrapes, "partial", seconds),
        finals_a_second=_rate(scrapes, "final", seconds),
        lag_p99_ms=None if p99 is None else 1000 * p99,
        late_p99_ms=finished["late_p99_ms"],
        report=report,
    )


def _rate(scrapes: tuple[Scrape, Scrape], job_class: str, seconds: float) -> float | None:
    name = "antiphon_step_class_jobs_sum"
    stepped = grown(scrapes, name, lane=NAME, job_class=job_class)
    return None if stepped is None else stepped / seconds


def _watch(server: Server, seconds: float, sample: float) -> tuple[float, ...]:
    """Memory at the end of each `sample` seconds of the window."""
    if not sample:
        return ()
    found = []
    for _ in range(int(seconds // sample)):
        time.sleep(sample * 0.999)
        found.append(server.rss_mib())
    return tuple(found)


def _command(
    point: Point, server: Server, dictated: Dictated, timing: Mapping[str, float]
) -> list[str]:
    command = [str(ROOT / "bench" / "dictation.py"), "--url", server.url.replace("http", "ws")]
    command += ["--audio", str(dictated.audio), "--utterances", str(dictated.utterances)]
    command += ["--model", NAME, "--language", "en", "--sessions", str(point.sessions)]
    for name, seconds in timing.items():
        command += [f"--{name}", str(seconds)]
    if point.speakers is not None:
        command += ["--speakers", str(point.speakers)]
    return [*command, "--room"] if point.room else command
