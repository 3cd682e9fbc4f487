"""How many people one machine can transcribe live, how fast, and what the server adds to that.

A Whisper of tiny's shape is made for it. Parts: sessions, engine, partial, crowd, endurance.
`python bench/transcription.py --help`.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.dictations import (  # noqa: E402
    NANO,
    STOCK,
    TUNED,
    Dictated,
    Measured,
    Point,
    dictate,
)
from bench.running import BenchError, Child, machine, table_row  # noqa: E402

FULL_SESSIONS = (1, 2, 4, 8, 16, 24, 32)
QUICK_SESSIONS = (8, 24)
HEADLINE = (8, 24)
FINALS = 210
"""What a point's window is long enough for: 200, and some that fall on its edges."""
LEAST_WINDOW = 60.0
SLO_FINAL, SLO_GAP = 1.0, 1.5
SATURATING = 32
"""Sessions that keep an engine of this size busy on two cores, whatever its speed here."""
ALTERNATIONS = 3
QUICK_TIMING = {"warm": 8.0, "tail": 3.0}
CROWD, SPEAKERS = 500, 50

SESSION_HEADINGS = (
    "model and options",
    "sessions",
    "first partial p50 s",
    "gap p50 / p95 s",
    "final p50 / p95 s",
    "VAD silence p50 s",
    "CPU-s/audio-s",
    "MiB/session",
    "mean batch",
    "finals",
    "late p99 ms",
)


@dataclass(slots=True)
class Run:
    """What all parts share: where the model and the speech are, how long, and what was found."""

    folder: Path
    dictated: Dictated
    short: Dictated
    """Utterances that fit into windows of five seconds."""
    quick: bool
    counts: Sequence[int]
    figures: dict[str, float]
    finals: int = FINALS
    """About how many are waited for at each number of sessions."""
    refused: int = 0
    within_slo: int = 8

    @property
    def model(self) -> Path:
        return self.folder / "tiny"

    @property
    def timing(self) -> dict[str, float]:
        """Other seconds around a window than the usual ones."""
        return QUICK_TIMING if self.quick else {}

    def refuse(self, what: str, why: str | None) -> bool:
        """Whether there is a reason not to use a measurement; it is printed and counted."""
        if why:
            self.refused += 1
            print(f"refused: {what}: {why}")
        return bool(why)

    def report(self, name: str, value: float, digits: int = 3) -> None:
        """Keep a figure and print it."""
        self.figures[name] = round(value, digits)
        print(f"{name} = {self.figures[name]:g}")


def sessions(run: Run) -> None:
    """Latency, cost and memory by number of sessions; the most that are served well."""
    _show_headings()
    for options, suffix in ((TUNED, ""), (STOCK, "_stock")):
        points = [Point(count, options) for count in run.counts]
        found = [_measure(run, point, suffix) for point in points]
        good = [one for one in found if one is not None]
        most = most_within_slo(good)
        if good:
            run.report(f"sessions_within_slo{suffix}", most)
            if options is TUNED:
                run.within_slo = max(1, most)
    if not run.quick and NANO.exists():
        for count in HEADLINE:
            _measure(run, Point(count, STOCK, nano=True), "_nano")


def _measure(run: Run, point: Point, suffix: str) -> Measured | None:
    seconds = 12.0 if run.quick else window(point.sessions, run.dictated.period, run.finals)
    measured = dictate(point, run.model, run.dictated, seconds, timing=run.timing)
    print(table_row(session_row(measured), SESSION_HEADINGS), flush=True)
    if run.refuse(f"{point.sessions} sessions, {point.label}", measured.refusal):
        return None
    for name, value in session_figures(measured).items():
        run.figures[f"{name}_{point.sessions}{suffix}"] = round(value, 3)
    return measured


def _show_headings() -> None:
    print(table_row(SESSION_HEADINGS, SESSION_HEADINGS))
    print(table_row(["-" * len(head) for head in SESSION_HEADINGS], SESSION_HEADINGS))


def window(count: int, period: float, finals: int = FINALS) -> float:
    """Seconds in which `count` sessions finish about so many utterances."""
    return max(LEAST_WINDOW, math.ceil(finals * period / count))


def most_within_slo(measured: Sequence[Measured]) -> int:
    """The largest number of sessions that, like every smaller one, kept both promises; or 0."""
    most = 0
    for one in sorted(measured, key=lambda each: each.point.sessions):
        if not (one.of("finals", 0.95) <= SLO_FINAL and one.of("gaps", 0.95) <= SLO_GAP):
            break
        most = one.point.sessions
    return most


def session_figures(one: Measured) -> dict[str, float]:
    """By name, without those of which there is no sample."""
    values = {
        "first_partial_p50": one.of("first_partials", 0.5),
        "partial_gap_p50": one.of("gaps", 0.5),
        "partial_gap_p95": one.of("gaps", 0.95),
        "final_p50": one.of("finals", 0.5),
        "final_p95": one.of("finals", 0.95),
        "cpu_seconds_per_audio_second": one.cpu_share,
        "rss_mib_per_session": one.rss_per_session,
    }
    return {name: value for name, value in values.items() if math.isfinite(value)}


def session_row(one: Measured) -> tuple[str, ...]:
    """A line of the table; a missing value is `nan`."""
    return (
        one.point.label,
        f"{one.point.sessions}",
        f"{one.of('first_partials', 0.5):.2f}",
        f"{one.of('gaps', 0.5):.2f} / {one.of('gaps', 0.95):.2f}",
        f"{one.of('finals', 0.5):.2f} / {one.of('finals', 0.95):.2f}",
        f"{one.of('silences', 0.5):.2f}",
        f"{one.cpu_share:.3f}",
        f"{one.rss_per_session:.1f}",
        "not told" if one.mean_batch is None else f"{one.mean_batch:.1f}",
        f"{len(one.report['finals'])}",
        f"{one.late_p99_ms:.1f}",
    )


def engine(run: Run) -> None:
    """The share of the engine's own speed that is left when the server drives it."""
    seconds, loaded = (1.0, 10.0) if run.quick else (5.0, 60.0)
    ratios = []
    for _ in range(1 if run.quick else ALTERNATIONS):
        partials = _best(run, 1, seconds)
        finals = _best(run, 5, seconds)
        point = Point(SATURATING, TUNED, overload=True)
        measured = dictate(point, run.model, run.short, loaded, timing=run.timing)
        if run.refuse("engine", measured.refusal):
            continue
        if measured.partials_a_second is None or measured.finals_a_second is None:
            run.refuse("engine", "the server does not tell how many windows it decoded")
            continue
        done = (measured.partials_a_second, measured.finals_a_second)
        ratios.append(server_to_engine(done, (partials, finals)))
        print(
            f"engine alone: {partials:.1f} partials/s or {finals:.1f} finals/s;"
            f" server: {done[0]:.1f} partials/s and {done[1]:.1f} finals/s; {ratios[-1]:.2f}",
            flush=True,
        )
    if ratios:
        run.report("server_to_engine_ratio", statistics.median(ratios))


def server_to_engine(done: tuple[float, float], alone: tuple[float, float]) -> float:
    """How much of each second the tight loop would have needed for what the server did in it.

    Both are (partials, finals) a second; alone it does either, the server does both.
    """
    return done[0] / alone[0] + done[1] / alone[1]


def _best(run: Run, beams: int, seconds: float) -> float:
    """Windows a second at the best batch, on as many threads as the server's."""
    batches = "2,8,16" if run.quick else "1,2,4,8,16"
    with Child(
        *(str(ROOT / "bench" / "decoding.py"), "loop", "--source", str(run.model)),
        *("--threads", str(_cores()), "--beams", str(beams)),
        *("--batches", batches, "--seconds", str(seconds)),
    ) as child:
        speeds: dict[str, float] = child.expect("loop")["speeds"]
    return max(speeds.values())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def partial(run: Run) -> None:
    """CPU time of a partial over five seconds of audio, through our engine."""
    with Child(
        *(str(ROOT / "bench" / "decoding.py"), "steps", "--source", str(run.model)),
        *("--audio", str(run.dictated.audio_16k), "--batches", "1,8"),
        *("--seconds", "3" if run.quick else "20"),
    ) as child:
        told = child.expect("steps")
    print(f"partials measured: {told['partials']['1']} alone, {told['partials']['8']} in eights")
    run.report("partial_cpu_ms_alone", told["cpu_ms"]["1"], 1)
    run.report("partial_cpu_ms_at_8", told["cpu_ms"]["8"], 1)


def crowd(run: Run) -> None:
    """500 connected, one in ten speaking, no engine; the others muted, or in a quiet room."""
    seconds = 12.0 if run.quick else 60.0
    muted, open_microphones = (False, ""), (True, "_open_microphones")
    for room, suffix in (muted,) if run.quick else (muted, open_microphones):
        point = Point(CROWD, {}, speakers=SPEAKERS, room=room)
        one = dictate(point, None, run.dictated, seconds, timing=run.timing)
        lag = math.nan if one.lag_p99_ms is None else one.lag_p99_ms
        print(
            f"{CROWD} sessions, {SPEAKERS} speaking, the others"
            f" {'in a quiet room' if room else 'muted'}: lag p99 {lag:.1f} ms,"
            f" CPU {one.cpu_seconds / seconds:.2f} cores, {one.rss_mib:.0f} MiB,"
            f" {one.rss_per_session:.2f} MiB/session, generator late {one.late_p99_ms:.0f} ms",
            flush=True,
        )
        # An engine that hears nothing leaves no text to be missed.
        if run.refuse(f"crowd{suffix}", one.pace_refusal):
            continue
        if math.isfinite(lag):
            run.report(f"loop_lag_p99_ms_500{suffix}", lag)
        run.report(f"cpu_cores_500{suffix}", one.cpu_seconds / seconds)
        run.report(f"rss_mib_500{suffix}", one.rss_mib, 0)


def endurance(run: Run) -> None:
    """Ten minutes at the number of sessions that are served well: latency and memory by minute."""
    minutes = 1 if run.quick else 10
    point = Point(run.within_slo, TUNED)
    one = dictate(point, run.model, run.dictated, 60.0 * minutes, sample=60.0)
    latencies = by_minute(one.report["finals"], minutes)
    for minute, (values, rss) in enumerate(zip(latencies, one.rss_samples, strict=False), 1):
        p50, p95 = (percentile(values, q) for q in (0.5, 0.95))
        print(
            f"minute {minute}: {len(values)} finals, p50 {p50:.2f} s, p95 {p95:.2f} s;"
            f" {rss:.0f} MiB",
            flush=True,
        )
    if run.refuse("endurance", one.refusal):
        return
    run.report("endurance_final_p95_first_minute", percentile(latencies[0], 0.95))
    run.report("endurance_final_p95_last_minute", percentile(latencies[-1], 0.95))
    if one.rss_samples:
        run.report("endurance_rss_growth_mib", one.rss_samples[-1] - one.rss_samples[0], 1)


def by_minute(finals: Sequence[tuple[float, float]], minutes: int) -> list[list[float]]:
    """Latencies by the minute of the window in which the utterance ended."""
    found: list[list[float]] = [[] for _ in range(minutes)]
    for at, latency in finals:
        found[min(minutes - 1, int(at // 60))].append(latency)
    return found


def percentile(values: Sequence[float], q: float) -> float:
    """The value below which a share `q` lies (nearest rank); nan of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else math.nan


PARTS: dict[str, Callable[[Run], None]] = {
    "sessions": sessions,
    "engine": engine,
    "partial": partial,
    "crowd": crowd,
    "endurance": endurance,
}
QUICK_PARTS = ("sessions", "engine", "partial", "crowd")


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(count) for count in text.split(",")}))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="at most four minutes in all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and figures here")
    parser.add_argument(
        "--only", action="append", choices=list(PARTS), help="this part; repeatable"
    )
    parser.add_argument("--sessions", type=_counts, metavar="N,N", help="the numbers to measure")
    parser.add_argument(
        "--finals", type=int, default=FINALS, metavar="N", help="about so many for each number"
    )
    parser.add_argument("--endure", type=int, metavar="N", help="sessions of the endurance part")
    return parser.parse_args(arguments)


def _run(given: argparse.Namespace, folder: Path) -> Run:
    try:
        from bench.models import write_whisper
        from bench.utterances import track
    except ImportError as error:
        raise BenchError(
            f"{error.name} is missing: run this with the development tools"
            " (uv run --group dev python bench/transcription.py)."
        ) from error
    write_whisper(folder / "tiny")
    run = Run(
        folder,
        Dictated.write(track(), folder, "speech"),
        Dictated.write(track(shortest=3.5, longest=4.4), folder, "short"),
        given.quick,
        given.sessions or (QUICK_SESSIONS if given.quick else FULL_SESSIONS),
        {},
        given.finals,
    )
    run.within_slo = given.endure or run.within_slo
    print(f"{machine()}\nspeech: {run.dictated.source}\n")
    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a figure was refused; 2 where nothing could be measured."""
    given = _arguments(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="antiphon-") as folder:
            run = _run(given, Path(folder))
            for name in given.only or (QUICK_PARTS if given.quick else PARTS):
                print(f"\n{name}: {PARTS[name].__doc__}\n", flush=True)
                PARTS[name](run)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "figures": run.figures}, indent=2))
    return int(run.refused > 0)


if __name__ == "__main__":
    sys.exit(main())
