"""What a live session costs beside the recognition itself: server CPU per second of audio.

A null engine takes the place of the recogniser, so that what is left is the WebSocket, the
protocol, resampling, voice activity detection and the pipeline. `python bench/overhead.py --help`.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.running import (  # noqa: E402
    BenchError,
    Child,
    Scrape,
    Server,
    grown,
    machine,
    quantile,
    table_row,
)

CONFIGURATION = """\
models:
  - name: "null"
    engine: "null"
defaults:
  transcription: "null"
limits:
  sessions: 128
"""
SPEECH_SECONDS, SILENCE_SECONDS = 3, 2
PERIOD = SPEECH_SECONDS + SILENCE_SECONDS
MOST_PERIODS = 20
WARM_SECONDS = 3.0
LATEST_MS = 100.0
"""With a generator later than this the pace was not real time, and the figure says nothing."""

SPOKEN = (
    "The committee will meet again on Thursday to hear what the engineers have found. "
    "Nobody expected the river to rise so quickly after such a dry and quiet spring. "
    "She put the letters back into the drawer, locked it, and went out to feed the horses."
)


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement to make."""

    sessions: int
    append_ms: int

    @property
    def suffix(self) -> str:
        """What figure names end in; 100 ms is the usual append and goes without saying."""
        return f"{self.sessions}" + ("" if self.append_ms == 100 else f"_{self.append_ms}ms")


FULL = tuple(Point(sessions, ms) for ms in (100, 20) for sessions in (1, 16, 64))
QUICK = tuple(point for point in FULL if point != Point(16, 20))


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement. None: the server does not tell."""

    point: Point
    audio_seconds: float
    cpu_ms: float
    """Server CPU per second of audio."""
    lag_p99_ms: float | None
    lag_samples: int
    gate_closed: float | None
    """Share of the VAD's windows that the energy gate kept from the model."""
    windows: int
    utterances: int
    late_p99_ms: float
    generator_cpu: float
    """Share of one core that the load generator used."""
    errors: tuple[str, ...] = ()

    @property
    def refusal(self) -> str | None:
        """Why the figure must not be used."""
        if self.errors:
            return f"the server sent errors: {self.errors[0]}"
        if self.late_p99_ms > LATEST_MS:
            return f"the generator was late (p99 {self.late_p99_ms:.0f} ms): not real time"
        if not self.utterances:
            return "no utterance was found in the speech: the VAD did not work"
        return None

    def figures(self) -> dict[str, float]:
        """The figures by name; none that was refused or not measured."""
        if self.refusal:
            return {}
        found = {f"cpu_ms_per_audio_second_{self.point.suffix}": round(self.cpu_ms, 3)}
        if self.lag_p99_ms is not None and math.isfinite(self.lag_p99_ms):
            found[f"loop_lag_p99_ms_{self.point.suffix}"] = round(self.lag_p99_ms, 3)
        return found


def measure(server: Server, audio: Path, point: Point, seconds: float) -> Result:
    """Stream at this point and read the server's counters at both ends of the window."""
    command = [str(ROOT / "bench" / "load.py")]
    command += ["--url", server.url.replace("http", "ws"), "--audio", str(audio)]
    command += ["--model", "null", "--sessions", str(point.sessions)]
    command += ["--append-ms", str(point.append_ms)]
    command += ["--warm", str(WARM_SECONDS), "--seconds", str(seconds)]
    with Child(*command) as load:
        load.expect("started")
        before = server.scrape()
        cpu = server.cpu_seconds()
        load_report = load.expect("finished")
        cpu = server.cpu_seconds() - cpu
        after = server.scrape()
    return _result(point, cpu, (before, after), load_report, seconds)


def _result(
    point: Point,
    cpu: float,
    scrapes: tuple[Scrape, Scrape],
    load: dict[str, Any],
    seconds: float,
) -> Result:
    before, after = scrapes
    lag = "antiphon_loop_lag_seconds"
    p99 = quantile(before.buckets(lag), after.buckets(lag), 0.99)
    samples = grown(scrapes, f"{lag}_count")
    closed = grown(scrapes, "antiphon_vad_gate_windows_total", result="closed") or 0.0
    windows = grown(scrapes, "antiphon_vad_gate_windows_total")
    return Result(
        point=point,
        audio_seconds=load["audio_seconds"],
        cpu_ms=1000 * cpu / load["audio_seconds"] if load["audio_seconds"] else math.inf,
        lag_p99_ms=None if p99 is None else 1000 * p99,
        lag_samples=int(samples or 0),
        gate_closed=closed / windows if windows else None,
        windows=int(windows or 0),
        utterances=load["utterances"],
        late_p99_ms=load["late_p99_ms"],
        generator_cpu=load["cpu_seconds"] / seconds,
        errors=tuple(load["errors"]),
    )


def speech() -> tuple[bytes, str]:
    """24 kHz PCM that is 60 % speech in every five seconds, and where the speech is from.

    Three seconds of recordings of people (espeak-ng where there are none), two of a quiet room:
    whatever its phase, a window of whole periods holds the same share.
    """
    try:
        import numpy as np
        from voice import RATE, RECORDINGS, pcm16, read_audio, say, silence
    except ImportError as error:
        raise BenchError(
            f"{error.name} is missing: run this with the development tools"
            " (uv run --group dev python bench/overhead.py)."
        ) from error
    paths = sorted(p for p in RECORDINGS.glob("people/*") if p.suffix in (".wav", ".flac"))
    if paths:
        source = f"{len(paths)} recordings of people"
        takes = [read_audio(path) for path in paths]
    else:
        source = "espeak-ng's voice (set ANTIPHON_SPEECH for recordings of people)"
        takes = [say(SPOKEN)]
    loud = [np.flatnonzero(np.abs(take) > 0.01) for take in takes]
    words = np.concatenate(
        [take[i[0] : i[-1] + 1] for take, i in zip(takes, loud, strict=True) if len(i)]
    )
    size = SPEECH_SECONDS * RATE
    count = min(len(words) // size, MOST_PERIODS)
    # A cut through a sound would click; 10 ms of fade on both sides do not.
    fade = np.minimum(1, np.minimum(np.arange(size), np.arange(size)[::-1]) / (RATE / 100))
    pieces = [words[i * size : (i + 1) * size] * fade for i in range(count)]
    room = silence(SILENCE_SECONDS)
    sound = np.concatenate([part for piece in pieces for part in (piece, room)])
    return pcm16(sound, 24_000), source


HEADINGS = (
    "append",
    "sessions",
    "CPU ms/audio s",
    "loop lag p99 ms",
    "gate closed",
    "utterances",
    "audio s",
    "generator late p99 ms",
    "generator CPU",
)


def row(result: Result) -> tuple[str, ...]:
    """A line of the table, sample counts in brackets."""
    lag = "not told" if result.lag_p99_ms is None else f"{result.lag_p99_ms:.1f}"
    gate = "not told" if result.gate_closed is None else f"{result.gate_closed:.0%}"
    return (
        f"{result.point.append_ms} ms",
        f"{result.point.sessions}",
        f"{result.cpu_ms:.2f}",
        f"{lag} ({result.lag_samples})",
        f"{gate} ({result.windows})",
        f"{result.utterances}",
        f"{result.audio_seconds:.0f}",
        f"{result.late_p99_ms:.1f}",
        f"{result.generator_cpu:.0%}",
    )


def show(cells: Sequence[str]) -> None:
    print(table_row(cells, HEADINGS), flush=True)


def run(points: Sequence[Point], seconds: float) -> list[Result]:
    """Measure every point against one server, printing as it goes."""
    pcm, source = speech()
    print(f"{machine()}\nspeech: {source}; {seconds:g} s a point after {WARM_SECONDS:g} s\n")
    results = []
    with tempfile.TemporaryDirectory(prefix="antiphon-") as folder, Server(CONFIGURATION) as server:
        audio = Path(folder) / "speech.pcm"
        audio.write_bytes(pcm)
        show(HEADINGS)
        show(["-" * len(head) for head in HEADINGS])
        for point in points:
            results.append(measure(server, audio, point, seconds))
            show(row(results[-1]))
    for result in results:
        if result.refusal:
            print(f"refused: {result.point.suffix}: {result.refusal}")
    return results


def _window(text: str) -> float:
    seconds = float(text)
    if seconds <= 0 or seconds % PERIOD:
        raise argparse.ArgumentTypeError(f"takes a multiple of {PERIOD}")
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a figure was refused; 2 where nothing could be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer points, 15 s each")
    parser.add_argument("--seconds", type=_window, help=f"per point, a multiple of {PERIOD}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and figures here")
    given = parser.parse_args(arguments)
    try:
        results = run(QUICK if given.quick else FULL, given.seconds or (15 if given.quick else 30))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if given.json:
        figures = {name: value for result in results for name, value in result.figures().items()}
        given.json.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=2))
    return int(any(result.refusal for result in results))


if __name__ == "__main__":
    sys.exit(main())
