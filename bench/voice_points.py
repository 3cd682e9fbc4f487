"""One measurement of spoken conversations: a fresh server, a scripted provider, and people."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.provider import NAME, Script
from bench.running import (
    ROOT,
    BenchError,
    Child,
    Scrape,
    Server,
    free_port,
    quantile,
    start,
    stop,
)
from bench.transcription import percentile

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
STALL_EVERY_SECONDS = 0.25
SHORT = Script(sentences=2, first=0.15, gap=0.02)
LATEST_MS = 40.0
"""With a generator later than this, an append (p99), people are not on time, and the figures say
nothing."""
MOST_ASTRAY = 0.1
"""Share of the turns that may be cut, or not be answered."""


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
