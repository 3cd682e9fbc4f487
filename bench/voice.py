"""How soon a spoken answer is heard, what the server adds to its engines, how fast it falls silent
when it is interrupted, and whether its sound has gaps.

Parts: latency, orchestration, barge_in, gaps. `python bench/voice.py --help`.
"""

import argparse
import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.provider import NAME, Script  # noqa: E402
from bench.running import (  # noqa: E402
    BenchError,
    Child,
    Scrape,
    Server,
    free_port,
    machine,
    quantile,
    start,
    stop,
    table_row,
)
from bench.transcription import percentile  # noqa: E402

ASKED = (
    "What time is it in the evening?",
    "When does the next train leave for the city?",
    "Can I still reach it when I walk to the station?",
    "What will the weather be like this evening?",
    "How long does it take to get to the airport?",
    "Where can I leave my bags until tomorrow?",
)
SILENCE_SECONDS = 0.5
"""Of silence end a turn, which is the server's default."""
CONFIRM_SECONDS = 0.3
LEAD_SECONDS = 0.2
STALL_SECONDS, STALL_EVERY_SECONDS = 0.05, 0.25
SHORT = Script(sentences=2, first=0.15, gap=0.02)
LONG = Script(sentences=6, first=0.15, gap=0.02)
INSTANT = Script(sentences=2, first=0.0, gap=0.0)
LATEST_MS = 40.0
"""With a generator later than this, an append (p99), people are not on time, and the figures say
nothing."""
MOST_ASTRAY = 0.1
"""Share of the turns that may be cut, or not be answered."""

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


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured: so many sessions with so many turns each, and what answers them."""

    sessions: int = 1
    turns: int = 1
    script: Script = SHORT
    instant: bool = False
    """A recogniser and a voice that take no time."""
    stall: float = 0.0
    lead: float | None = None
    interrupting: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measurement found; `report` is the generator's (`bench.conversations.report`)."""

    setting: Setting
    seconds: float
    answered: int
    cpu_seconds: float
    late_p99_ms: float
    lag_p99_ms: float | None
    report: Mapping[str, Any]

    def ms(self, span: str, q: float, *, of: str = "turns") -> float:
        """A quantile of a span; nan of none."""
        return 1000 * percentile([one[span] for one in self.report[of]], q)

    @property
    def refusal(self) -> str | None:
        """Why the measurement must not be used."""
        report = self.report
        if report["errors"]:
            return f"the server sent errors: {report['errors'][0]}"
        if self.late_p99_ms > LATEST_MS:
            return f"the generator was late (p99 {self.late_p99_ms:.0f} ms)"
        if not report["turns"]:
            return "no turn was answered"
        astray = {name: report[name] for name in ("unanswered", "cut", "unnoticed")}
        if sum(astray.values()) > max(1, MOST_ASTRAY * len(report["turns"])):
            told = ", ".join(f"{count} {name}" for name, count in astray.items())
            return f"of {len(report['turns'])} turns, {told}"
        if self.setting.stall and (self.lag_p99_ms or 0.0) < 500 * self.setting.stall:
            return "the server's loop was not stalled"
        return None

    @property
    def cpu_share(self) -> float:
        """Cores that the server used."""
        return self.cpu_seconds / self.seconds

    @property
    def ratio(self) -> float:
        """The median first audio by the least that it could be: the silence and the schedule of
        the provider."""
        least = SILENCE_SECONDS + self.setting.script.first_sentence
        return self.ms("first_audio", 0.5) / (1000 * least)


@dataclass(slots=True)
class Run:
    """How much is measured, with which speech, and what was found."""

    speech: "Speech"
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


@dataclass(frozen=True, slots=True)
class Speech:
    """What people say, and a quiet room, on disk as the generator reads it."""

    audio: Path
    lines: Path
    room: Path

    @classmethod
    def write(cls, folder: Path) -> "Speech":
        """Have it spoken. Raises `BenchError` without the development tools."""
        try:
            from voice import pcm16, say, silence

            from bench.utterances import track_of
        except ImportError as error:
            raise BenchError(
                f"{error.name} is missing: run this with the development tools"
                " (uv run --group dev python bench/voice.py)."
            ) from error
        spoken = track_of([say(text) for text in ASKED], "espeak-ng's voice")
        made = cls(folder / "lines.pcm", folder / "lines.json", folder / "room.pcm")
        made.audio.write_bytes(spoken.pcm)
        made.lines.write_text(json.dumps([asdict(one) for one in spoken.utterances]))
        made.room.write_bytes(pcm16(silence(1)))
        return made


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
        for span in ("orchestration", "orchestration_and_resampling"):
            for q in (50, 95):
                run.report(f"{span}_p{q}_ms_{sessions}", measured.ms(span, q / 100))
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


def measure(speech: Speech, setting: Setting) -> Measured:
    """Let people converse with a fresh server. Raises `BenchError`."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(_provider(setting.script))
        server = stack.enter_context(Server(_configuration(setting, port), *_program(setting)))
        load = stack.enter_context(Child(*_generator(server, speech, setting)))
        load.expect("started")
        before, cpu = server.scrape(), server.cpu_seconds()
        finished = load.expect("finished")
        cpu = server.cpu_seconds() - cpu
        return Measured(
            setting=setting,
            seconds=finished["seconds"],
            answered=finished["answered"],
            cpu_seconds=cpu,
            late_p99_ms=finished["late_p99_ms"],
            lag_p99_ms=_lag(before, server.scrape()),
            report=load.expect("report"),
        )


def _lag(before: Scrape, after: Scrape) -> float | None:
    name = "antiphon_loop_lag_seconds"
    lag = quantile(before.buckets(name), after.buckets(name), 0.99)
    return None if lag is None else 1000 * lag


@contextlib.contextmanager
def _provider(script: Script) -> Iterator[int]:
    """The scripted provider, in its own process; gives its port."""
    port = free_port()
    numbers = [f"--{name}={value}" for name, value in asdict(script).items()]
    command = [sys.executable, str(ROOT / "bench" / "provider.py"), f"--port={port}", *numbers]
    process = start(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise BenchError("The scripted provider did not start.")
        yield port
    finally:
        stop(process)
        process.stdout.close()


def _configuration(setting: Setting, provider: int) -> str:
    from voice import WHISPER_NANO

    nano = {"name": "nano", "engine": "whisper", "source": str(WHISPER_NANO)}
    null = {"name": "null", "engine": "null", "options": {"words_per_second": 3}}
    model = null if setting.instant else nano
    return json.dumps(
        {
            "models": [model],
            "providers": {
                "bench": {"base_url": f"http://127.0.0.1:{provider}/v1", "api_key": "none"}
            },
            "defaults": {"transcription": model["name"], "chat": f"bench.{NAME}"},
        }
    )


def _program(setting: Setting) -> list[str]:
    """What runs the server: the command itself, unless something is put into it."""
    given = ["--instant-voice"] * setting.instant
    if setting.stall:
        given += [f"--stall={setting.stall}", f"--every={STALL_EVERY_SECONDS}"]
    return [str(ROOT / "bench" / "voice_server.py"), *given] if given else []


def _generator(server: Server, speech: Speech, setting: Setting) -> list[str]:
    command = [str(ROOT / "bench" / "conversations.py")]
    command += ["--url", server.url.replace("http", "ws"), "--audio", str(speech.audio)]
    command += ["--lines", str(speech.lines), "--room", str(speech.room)]
    command += ["--model", "null" if setting.instant else "nano"]
    command += ["--sessions", str(setting.sessions), "--turns", str(setting.turns)]
    command += ["--confirm", str(CONFIRM_SECONDS)]
    command += ["--interrupting"] * setting.interrupting
    return command if setting.lead is None else [*command, "--lead", str(setting.lead)]


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
