"""How soon a spoken answer is heard, what the server adds to its engines, how fast it falls silent
when it is interrupted, and whether its sound has gaps.

Parts: latency, orchestration, barge_in, gaps. `python bench/voice.py --help`.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.provider import Script  # noqa: E402
from bench.running import BenchError, machine, table_row  # noqa: E402
from bench.voice_points import Measured, Setting, Speech, measure  # noqa: E402

LEAD_SECONDS = 0.2
STALL_SECONDS = 0.05
LONG = Script(sentences=6, first=0.15, gap=0.02)
INSTANT = Script(sentences=2, first=0.0, gap=0.0)
SPANS = ("silence", "transcription", "first_token", "first_sentence", "speech", "first_audio")
HEADINGS = (
    "sessions",
    "turns",
    "VAD silence",
    "transcription",
    "first token",
    "first sentence",
    "speech",
    "first audio p50 / p95 ms",
    "of the least",
    "CPU s/turn",
    "CPU share",
    "late p99 ms",
)


@dataclass(slots=True)
class Run:
    """How much is measured, with which speech, and what was found."""

    speech: Speech
    quick: bool
    sessions: Sequence[int] | None = None
    turns: int | None = None
    figures: dict[str, float] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def settings(
        self, turns: Mapping[int, int], quick: Mapping[int, int], setting: Setting
    ) -> Iterator[Setting]:
        """`setting` for each number of sessions, with so many turns each."""
        usual = quick if self.quick else turns
        for sessions in self.sessions or usual:
            count = self.turns or usual.get(sessions, min(usual.values()))
            yield replace(setting, sessions=sessions, turns=count)

    def report(self, name: str, value: float, digits: int = 1) -> None:
        """Print a figure and keep it."""
        if math.isfinite(value):
            self.figures[name] = round(value, digits)
            print(f"{name} = {self.figures[name]:g}", flush=True)

    def keeps(self, measured: Measured) -> bool:
        """Whether its figures may be used; says so if not."""
        if measured.refusal is None:
            return True
        self.refused.append(measured.refusal)
        print(f"refused: {measured.setting.sessions} sessions: {measured.refusal}", flush=True)
        return False


def latency(run: Run) -> None:
    """End of speech to first audio, with whisper-nano, a scripted provider and espeak."""
    _show(HEADINGS)
    _show(["-" * len(head) for head in HEADINGS])
    for setting in run.settings({1: 40, 4: 20, 16: 10, 32: 8}, {1: 6, 32: 3}, Setting()):
        measured = measure(run.speech, setting)
        sessions = setting.sessions
        _show(_row(measured))
        if not run.keeps(measured):
            continue
        for span in SPANS:
            for q in (50, 95):
                name = f"{span}_p{q}_ms_{sessions}"
                run.figures[name] = round(measured.ms(span, q / 100), 1)
        run.report(f"first_audio_ratio_{sessions}", measured.ratio, 3)
        run.report(f"cpu_seconds_per_turn_{sessions}", measured.cpu_seconds / measured.answered, 3)


def orchestration(run: Run) -> None:
    """What is left when the engines take no time."""
    instant = Setting(script=INSTANT, instant=True)
    for setting in run.settings({1: 40, 32: 8}, {1: 8, 32: 3}, instant):
        measured = measure(run.speech, setting)
        sessions = setting.sessions
        if not run.keeps(measured):
            continue
        _print_steps(measured)
        for q in (50, 95):
            milliseconds = measured.ms("orchestration", q / 100)
            run.report(f"orchestration_p{q}_ms_{sessions}", milliseconds)
        run.report(
            f"orchestration_cpu_ms_per_turn_{sessions}",
            1000 * measured.cpu_seconds / measured.answered,
        )


def barge_in(run: Run) -> None:
    """How fast an answer that is spoken into falls silent, and how much of it was sent in vain."""
    paced = Setting(script=LONG, lead=LEAD_SECONDS, interrupting=True)
    setting = next(run.settings({4: 15}, {4: 4}, paced))
    measured = measure(run.speech, setting)
    if not run.keeps(measured):
        return
    of = "interruptions"
    print(f"{len(measured.report[of])} interruptions, generator {measured.late_p99_ms:.1f} ms late")
    run.report("barge_in_p50_ms", measured.ms("stopped", 0.5, of=of))
    run.report("barge_in_p95_ms", measured.ms("stopped", 0.95, of=of))
    run.report("barge_in_from_onset_p95_ms", measured.ms("stopped_from_onset", 0.95, of=of))
    run.report("sound_from_onset_p95_ms", measured.ms("sound_from_onset", 0.95, of=of))
    run.report("leak_ms_p95", measured.ms("leak", 0.95, of=of))
    run.report("unplayed_ms_p95", measured.ms("unplayed", 0.95, of=of))
    run.report("sound_after_interruption", measured.report["late_sound"], 0)


def gaps(run: Run) -> None:
    """Whether a paced answer is heard whole while the server's loop stands still now and then."""
    paced = Setting(script=LONG, stall=STALL_SECONDS, lead=LEAD_SECONDS)
    setting = next(run.settings({4: 8}, {4: 1}, paced))
    measured = measure(run.speech, setting)
    if not run.keeps(measured):
        return
    found = measured.report["gaps"]
    print(
        f"{measured.report['answers']} answers, {measured.report['played']:.0f} s of sound; "
        f"loop lag p99 {measured.lag_p99_ms:.0f} ms"
    )
    run.report("heard_gaps", len(found), 0)
    run.report("heard_gap_longest_ms", 1000 * max(found, default=0.0))


PARTS: dict[str, Callable[[Run], None]] = {
    "latency": latency,
    "orchestration": orchestration,
    "barge_in": barge_in,
    "gaps": gaps,
}


def _row(measured: Measured) -> tuple[str, ...]:
    """A line of the table; medians where nothing else is said."""
    return (
        f"{measured.setting.sessions}",
        f"{len(measured.report['turns'])}",
        *(f"{measured.ms(span, 0.5):.0f} / {measured.ms(span, 0.95):.0f}" for span in SPANS),
        f"{measured.ratio:.2f}",
        f"{measured.cpu_seconds / max(1, measured.answered):.3f}",
        f"{measured.cpu_share:.2f}",
        f"{measured.late_p99_ms:.1f}",
    )


def _print_steps(measured: Measured) -> None:
    steps = ", ".join(
        f"{span} {measured.ms(span, 0.5):.1f} / {measured.ms(span, 0.95):.1f}"
        for span in ("transcription", "first_token", "first_sentence", "speech")
    )
    print(
        f"{measured.setting.sessions} sessions, {len(measured.report['turns'])} turns, generator "
        f"{measured.late_p99_ms:.1f} ms late; p50 / p95 ms: {steps}"
    )


def _show(cells: Sequence[str]) -> None:
    print(table_row(cells, HEADINGS), flush=True)


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no part '{unknown[0]}'; parts: {', '.join(PARTS)}")
    return parts


def _counts(text: str) -> list[int]:
    return [int(count) for count in text.split(",")]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="1 and 32 sessions, fewer turns")
    parser.add_argument("--only", type=_parts, default=list(PARTS), help="parts, with commas")
    parser.add_argument("--sessions", type=_counts, help="at once, with commas: 1,8")
    parser.add_argument("--turns", type=int, help="of each session, behind the first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and figures here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a figure was refused; 2 where nothing could be measured."""
    given = _arguments(arguments)
    print(f"{machine()}\n")
    try:
        with tempfile.TemporaryDirectory(prefix="antiphon-") as folder:
            run = Run(Speech.write(Path(folder)), given.quick, given.sessions, given.turns)
            for part in given.only:
                began = time.monotonic()
                print(f"## {part}\n", flush=True)
                PARTS[part](run)
                print(f"\n({part}: {time.monotonic() - began:.0f} s)\n", flush=True)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if given.json:
        found = {"machine": machine(), "figures": run.figures}
        given.json.write_text(json.dumps(found, indent=2))
    return int(bool(run.refused))


if __name__ == "__main__":
    sys.exit(main())
