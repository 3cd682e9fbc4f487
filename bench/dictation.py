"""Many people dictating at once, in a process of its own, who know when they stopped speaking.

Each session plays the utterances of a track over and over at real-time pace, each from another one
on, and notes when text comes. JSON lines on stdout: `started` when all are speaking and warm,
`finished` at the window's end, `report` when the text of what was said in the window has come; or
`failed`. `python bench/dictation.py --help`.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]

from websockets.asyncio.client import ClientConnection  # noqa: E402

from bench.load import (  # noqa: E402
    CONNECTING_AT_ONCE,
    RATE,
    SAMPLE_BYTES,
    encode,
    open_session,
    run_loop,
    tell,
)

APPEND_MS = 40
WARM_SECONDS = 10.0
"""More than the longest utterance with its pause, by when all sessions are under way."""
TAIL_SECONDS = 6.0
"""How long text may come after the window's end and still counts."""
SAME_MOMENT = 0.02
"""Seconds in which several events are one partial: settled text and the rest come apart."""

_PARTIALS = {
    "conversation.item.input_audio_transcription.delta",
    "antiphon.transcription.tentative",
}
_COMPLETED = "conversation.item.input_audio_transcription.completed"
_FAILED = "conversation.item.input_audio_transcription.failed"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is dictated: cells of appends (JSON) and the bounds of the sound in each, seconds."""

    url: str
    transcription: dict[str, str]
    cells: Sequence[Sequence[bytes]]
    bounds: Sequence[tuple[float, float]]
    sessions: int
    speakers: int
    """The first so many sessions speak; the others send nothing, or their quiet room."""
    room: bytes | None
    warm: float
    seconds: float
    tail: float = TAIL_SECONDS

    @property
    def period(self) -> float:
        """Mean seconds from one utterance to the next."""
        return sum(map(len, self.cells)) * APPEND_MS / 1000 / len(self.cells)


@dataclass(slots=True)
class Item:
    """What came for one item. Seconds: of the session's audio, or (`_at`) of the loop's clock."""

    start: float = 0.0
    stop: float | None = None
    partials_at: list[float] = field(default_factory=list)
    completed_at: float | None = None
    text: str = ""
    failed: bool = False


@dataclass(slots=True)
class Findings:
    """What was measured in the window; seconds."""

    first_partials: list[float] = field(default_factory=list)
    """From the first sound to the first text."""
    gaps: list[float] = field(default_factory=list)
    """Between two partials; where none came until the end, up to there, if that is longer."""
    finals: list[tuple[float, float]] = field(default_factory=list)
    """When in the window an utterance ended, and how long after its last sound its text came."""
    silences: list[float] = field(default_factory=list)
    """The part of that for which voice activity detection listened to silence."""
    said: int = 0
    cut: int = 0
    """Items that ended before the speaker did."""
    joined: int = 0
    """Utterances that share an item with a later one."""
    unheard: int = 0
    """Utterances without text, for whatever reason."""
    characters: int = 0


@dataclass(slots=True)
class Tally:
    """What all sessions share."""

    counting: bool = False
    over: bool = False
    sent: int = 0
    lateness: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Dictation:
    """One session."""

    def __init__(self, plan: Plan, number: int, socket: ClientConnection, begin: float) -> None:
        self._plan = plan
        self._number = number
        self._socket = socket
        self._first = number % len(plan.cells)
        speakers = max(1, plan.speakers)
        self._begin = begin + plan.period * (number % speakers) / speakers
        self._items: dict[str, Item] = {}

    async def write(self, tally: Tally) -> None:
        """Send each append when its last sample has been spoken, until it is over."""
        due = self._begin
        for append in self._appends():
            if tally.over:
                return
            due += APPEND_MS / 1000
            await asyncio.sleep(max(0.0, due - _now()))
            await self._socket.send(append, text=True)
            if tally.counting:
                tally.sent += 1
                tally.lateness.append(_now() - due)

    def _appends(self) -> Iterator[bytes]:
        if self._number < self._plan.speakers:
            order = (*self._plan.cells[self._first :], *self._plan.cells[: self._first])
            yield from itertools.cycle(itertools.chain.from_iterable(order))
        elif self._plan.room is not None:
            yield from itertools.repeat(self._plan.room)

    async def read(self, tally: Tally) -> None:
        """Note what comes, until cancelled."""
        while True:
            event = json.loads(await self._socket.recv())
            if event["type"] == "error" and len(tally.errors) < 5:
                tally.errors.append(str(event["error"]))
            elif "item_id" in event:
                self.note(event, _now())

    def note(self, event: dict[str, Any], now: float) -> None:
        """Take an event of an item that came at this time."""
        item = self._items.setdefault(event["item_id"], Item())
        match event["type"]:
            case "input_audio_buffer.speech_started":
                item.start = event["audio_start_ms"] / 1000
            case "input_audio_buffer.speech_stopped":
                item.stop = event["audio_end_ms"] / 1000
            case kind if kind in _PARTIALS:
                if not item.partials_at or now - item.partials_at[-1] > SAME_MOMENT:
                    item.partials_at.append(now)
            case kind if kind == _COMPLETED:
                item.completed_at, item.text = now, event["transcript"]
            case kind if kind == _FAILED:
                item.failed = True

    def judge(self, findings: Findings, window: tuple[float, float]) -> None:
        """Add what belongs to utterances that ended in the window (the loop's clock)."""
        items = [item for item in self._items.values() if item.stop is not None]
        found: set[int] = set()
        ends = list(self._utterances(window[1]))
        for item in items:
            mine = [(start, end) for start, end in ends if item.start < end <= (item.stop or 0.0)]
            if not mine:
                findings.cut += _within(window, self._begin + (item.stop or 0.0))
                continue
            start, end = mine[-1]
            if _within(window, self._begin + end):
                findings.joined += len(mine) - 1
                found.add(round(end * RATE))
                self._add(findings, item, (start, end), window[0])
        said = [round(end * RATE) for _, end in ends if _within(window, self._begin + end)]
        findings.said += len(said)
        findings.unheard += len(set(said) - found)

    def _add(
        self, findings: Findings, item: Item, bounds: tuple[float, float], opened: float
    ) -> None:
        start, end = (self._begin + bound for bound in bounds)
        if item.completed_at is None or item.failed or not item.text:
            findings.unheard += 1
            return
        findings.characters += len(item.text)
        findings.finals.append((end - opened, item.completed_at - end))
        findings.silences.append((item.stop or 0.0) - bounds[1])
        partials = [at for at in item.partials_at if at <= item.completed_at]
        if partials:
            findings.first_partials.append(partials[0] - start)
        spoken = [at for at in partials if at <= end]
        gaps = [later - earlier for earlier, later in itertools.pairwise(spoken)]
        rest = end - (spoken[-1] if spoken else start)
        findings.gaps += gaps + [rest] * (rest > max(gaps, default=0.0))

    def _utterances(self, until: float) -> Iterator[tuple[float, float]]:
        """Bounds of the sounds of this session's utterances, seconds of its audio."""
        at = 0.0
        for cell in itertools.count(self._first):
            if self._begin + at > until or self._number >= self._plan.speakers:
                return
            place = cell % len(self._plan.cells)
            start, end = self._plan.bounds[place]
            yield at + start, at + end
            at += len(self._plan.cells[place]) * APPEND_MS / 1000


async def run(plan: Plan) -> None:
    """Open the sessions, dictate, and tell stdout."""
    tally = Tally()
    doors = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def open_one() -> ClientConnection:
        async with doors:
            return await open_session(plan.url, plan.transcription, "antiphon.tentative")

    sockets = await asyncio.gather(*(open_one() for _ in range(plan.sessions)))
    begin = _now() + 0.1
    sessions = [Dictation(plan, number, socket, begin) for number, socket in enumerate(sockets)]
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(session.read(tally)) for session in sessions]
        writers = [group.create_task(session.write(tally)) for session in sessions]
        await asyncio.sleep(plan.warm)
        opened, cpu = _now(), time.process_time()
        tally.counting = True
        tell(event="started")
        await asyncio.sleep(plan.seconds)
        tally.counting = False
        closed = _now()
        tell(event="finished", cpu_seconds=time.process_time() - cpu, **_pace(tally))
        await asyncio.sleep(plan.tail)
        tally.over = True
        await asyncio.wait(writers)
        for task in readers:
            task.cancel()
    findings = Findings()
    for session in sessions:
        session.judge(findings, (opened, closed))
    tell(event="report", errors=tally.errors, **asdict(findings))
    await asyncio.gather(*(socket.close() for socket in sockets))


def _pace(tally: Tally) -> dict[str, float]:
    late = sorted(tally.lateness) or [0.0]
    return {
        "audio_seconds": tally.sent * APPEND_MS / 1000,
        "late_p99_ms": late[int(0.99 * (len(late) - 1))] * 1000,
    }


def _within(window: tuple[float, float], at: float) -> bool:
    return window[0] <= at < window[1]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _plan(given: argparse.Namespace) -> Plan:
    pcm = given.audio.read_bytes()
    described = json.loads(given.utterances.read_text())
    cells, bounds = [], []
    for one in described:
        begin, end = one["begin"], one["next"]
        cells.append(encode(pcm[begin * SAMPLE_BYTES : end * SAMPLE_BYTES], APPEND_MS))
        bounds.append(((one["start"] - begin) / RATE, (one["end"] - begin) / RATE))
    transcription = {"model": given.model}
    if given.language:
        transcription["language"] = given.language
    return Plan(
        url=given.url,
        transcription=transcription,
        cells=cells,
        bounds=bounds,
        sessions=given.sessions,
        speakers=given.sessions if given.speakers is None else given.speakers,
        room=cells[0][0] if given.room else None,
        warm=given.warm,
        seconds=given.seconds,
        tail=given.tail,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Dictate to many Realtime sessions at once.")
    parser.add_argument("--url", required=True, help="ws://host:port")
    parser.add_argument("--audio", type=Path, required=True, help="raw 16-bit mono PCM at 24 kHz")
    parser.add_argument("--utterances", type=Path, required=True, help="JSON: where they are in it")
    parser.add_argument("--model", required=True)
    parser.add_argument("--language")
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--speakers", type=int, help="sessions that speak (default: all)")
    parser.add_argument("--room", action="store_true", help="the others send a quiet room")
    parser.add_argument("--warm", type=float, default=WARM_SECONDS)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--tail", type=float, default=TAIL_SECONDS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_loop(run(_plan(_arguments()))))
