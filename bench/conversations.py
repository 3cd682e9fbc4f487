"""Many people in spoken conversations at once, in a process of its own, who know when they spoke.

Each speaks at real-time pace, listens to the answer as a loudspeaker plays it, and speaks again
after a pause, or in the middle of the answer. JSON lines on stdout: `started` when everybody had a
first turn, `finished` when everybody had the turns that count, then `report`; or `failed`.
`python bench/conversations.py --help`.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]

from websockets.asyncio.client import ClientConnection  # noqa: E402

from bench.load import (  # noqa: E402
    CONNECTING_AT_ONCE,
    RATE,
    SAMPLE_BYTES,
    encode,
    run_loop,
    set_up,
    tell,
)
from bench.turns import APPEND_MS, Heard, Interruption, Turn, append_of  # noqa: E402

PAUSES = (0.4, 1.6)
"""Seconds from the end of an answer until the person speaks again."""
INTERRUPTS = (1.5, 3.0)
"""Seconds of an answer that are heard before it is interrupted."""
UNANSWERED_SECONDS = 15.0
"""After so long without an answer, people say something else."""
LONGEST_TURN_SECONDS = 60.0
"""A turn's share of the time after which this gives up."""

_APPEND = APPEND_MS / 1000
_TEXT = "response.output_audio_transcript.delta"
_AUDIO = "response.output_audio.delta"


@dataclass(frozen=True, slots=True)
class Line:
    """Something to say: appends, and the bounds of the sound in them, seconds."""

    appends: Sequence[bytes]
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Who talks how: `interrupting` people speak into the answers. `confirm` and `padding` are the
    server's, in seconds; people begin within `spread` seconds."""

    url: str
    session: Mapping[str, Any]
    lines: Sequence[Line]
    room: bytes
    sessions: int
    turns: int
    interrupting: bool
    confirm: float
    padding: float = 0.3
    spread: float = 6.0


@dataclass(slots=True)
class Tally:
    """What all people share."""

    counting: bool = False
    over: bool = False
    sent: int = 0
    lateness: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    answered: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Person:
    """One session."""

    def __init__(
        self, plan: Plan, number: int, socket: ClientConnection, begin: float, tally: Tally
    ) -> None:
        self._plan = plan
        self._socket = socket
        self._begin = begin
        self._tally = tally
        self._pick = random.Random(number)
        self._next_line = number
        self._speak_at: float | None = begin + plan.spread * number / plan.sessions
        self._sent_at: list[float] = []
        """When each append left."""
        self.heard = Heard()
        self._answering: Turn | None = None
        """The turn that the newest response answers."""
        self.turns: list[Turn] = []
        self.interruptions: list[Interruption] = []
        self.unanswered = 0
        self.cut = 0
        """How often the server took a turn for over that was not."""

    @property
    def done(self) -> int:
        """Turns that were answered, or answers that were interrupted."""
        counted = self.interruptions if self._plan.interrupting else self.turns
        return sum(one.complete for one in counted)

    # Out

    async def write(self) -> None:
        """Send each append when its last sample has been spoken, until it is over."""
        due = self._begin
        appends: list[bytes] = []
        while not self._tally.over:
            if not appends:
                appends = self._say(due) if self._wants_to_speak(due) else [self._plan.room]
            due += _APPEND
            await asyncio.sleep(max(0.0, due - _now()))
            self._sent_at.append(_now())
            await self._socket.send(appends.pop(0), text=True)
            if self._tally.counting:
                self._tally.sent += 1
                self._tally.lateness.append(_now() - due)

    def _wants_to_speak(self, now: float) -> bool:
        if self._speak_at is None and self._waited_in_vain(now):
            self.unanswered += 1
            self._speak_at = now
        return self._speak_at is not None and now >= self._speak_at

    def _waited_in_vain(self, now: float) -> bool:
        last = self.turns[-1]
        return last.audio is None and now > last.silent + UNANSWERED_SECONDS

    def _say(self, now: float) -> list[bytes]:
        line = self._plan.lines[self._next_line % len(self._plan.lines)]
        self._next_line += 1
        self._speak_at = None
        if self._plan.interrupting and self.heard.playing(now):
            self.interruptions.append(Interruption(self.heard.response, now + line.start))
        self.turns.append(Turn(silent=now + line.end))
        return list(line.appends)

    # In

    async def read(self) -> None:
        """Note what comes, until cancelled."""
        while True:
            event = json.loads(await self._socket.recv())
            if event["type"] == "error" and len(self._tally.errors) < 5:
                self._tally.errors.append(str(event["error"]))
            self.note(event, _now())

    def note(self, event: Mapping[str, Any], now: float) -> None:
        """Take an event that came at this time."""
        match event["type"]:
            case "input_audio_buffer.speech_started":
                self._told(event["audio_start_ms"], now)
            case "input_audio_buffer.speech_stopped":
                self._stopped(event["audio_end_ms"], now)
            case "conversation.item.input_audio_transcription.completed":
                self.turns[-1].understand(event["transcript"], now)
            case "response.created":
                self._answering = self.turns[-1]
                self.heard.begin(event["response"]["id"])
            case kind if kind == _TEXT and event["response_id"] == self.heard.response:
                self._turn.read(event["delta"], now)
            case kind if kind == _AUDIO:
                self._hear(event["response_id"], _seconds(event["delta"]), now)
            case "response.done":
                self._end(event["response"])

    @property
    def _turn(self) -> Turn:
        assert self._answering is not None, "there is a response"
        return self._answering

    def _hear(self, response: str, seconds: float, now: float) -> None:
        stopped = self._interruption(response)
        if stopped is not None and stopped.told is not None:
            stopped.late += 1
        elif response == self.heard.response and self.heard.play(seconds, now):
            self._turn.audio = now
            if self._plan.interrupting:
                self._speak_at = now + self._pick.uniform(*INTERRUPTS)
        if stopped is not None:
            stopped.hear(self.heard.until, now)

    def _told(self, start_ms: int, now: float) -> None:
        """Speech is confirmed: nothing of the answer is played any more."""
        stopped = self._interruption(self.heard.response)
        if stopped is None or stopped.told is not None:
            return
        known = start_ms / 1000 + self._plan.padding + self._plan.confirm
        stopped.confirmed = self._left_at(append_of(known))
        stopped.tell(self.heard.until, now)
        self.heard.stop(now)

    def _stopped(self, end_ms: int, now: float) -> None:
        turn = self.turns[-1]
        if now < turn.silent:
            self.cut += 1
        elif turn.stopped is None:
            turn.stopped = now
            turn.proved = self._left_at(append_of(end_ms / 1000))

    def _end(self, response: Mapping[str, Any]) -> None:
        if response["id"] != self.heard.response:
            return
        stopped, status = self._interruption(response["id"]), response["status"]
        if status == "cancelled" and stopped is not None:
            stopped.over = True
        elif status != "completed" and len(self._tally.errors) < 5:
            self._tally.errors.append(f"a response is {status}: {response['status_details']}")
        if status == "completed" and not self._plan.interrupting:
            self._speak_at = self.heard.until + self._pick.uniform(*PAUSES)
        self._turn.answered = True
        self._tally.answered += self._tally.counting
        self._tally.moved.set()

    def _interruption(self, response: str) -> Interruption | None:
        """The one of this response, from the moment somebody began to speak into it."""
        last = self.interruptions[-1] if self.interruptions else None
        return last if last is not None and last.response == response else None

    def _left_at(self, append: int) -> float:
        return self._sent_at[min(append, len(self._sent_at) - 1)]


async def run(plan: Plan) -> None:
    """Open the sessions, converse, and tell stdout."""
    tally = Tally()
    doors = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def open_one() -> ClientConnection:
        async with doors:
            return await open_conversation(plan.url, plan.session)

    sockets = await asyncio.gather(*(open_one() for _ in range(plan.sessions)))
    begin = _now() + 0.1
    people = [Person(plan, n, socket, begin, tally) for n, socket in enumerate(sockets)]
    patience = LONGEST_TURN_SECONDS * (1 + plan.turns)
    async with asyncio.TaskGroup() as group, asyncio.timeout(patience):
        readers = [group.create_task(person.read()) for person in people]
        writers = [group.create_task(person.write()) for person in people]
        await _all_have(people, 1, tally)
        cpu, opened = time.process_time(), _now()
        tally.counting = True
        tell(event="started")
        await _all_have(people, 1 + plan.turns, tally)
        tally.counting = False
        seconds = _now() - opened
        tell(
            event="finished",
            cpu_seconds=time.process_time() - cpu,
            seconds=seconds,
            answered=tally.answered,
            **_pace(tally),
        )
        tally.over = True
        await asyncio.wait(writers)
        for task in readers:
            task.cancel()
    tell(event="report", errors=tally.errors, **report(people, plan.turns))
    await asyncio.gather(*(socket.close() for socket in sockets))


def report(people: Sequence[Person], count: int) -> dict[str, Any]:
    """What counts: so many turns (and interruptions) of everybody, behind the first."""

    def spans(of: Sequence[Turn] | Sequence[Interruption]) -> list[dict[str, float]]:
        return [one.spans() for one in of if one.complete][1 : 1 + count]

    interrupted = [one for person in people for one in person.interruptions[:-1]]
    return {
        "turns": [found for person in people for found in spans(person.turns)],
        "interruptions": [found for person in people for found in spans(person.interruptions)],
        "unanswered": sum(person.unanswered for person in people),
        "cut": sum(person.cut for person in people),
        "unnoticed": sum(not one.complete for one in interrupted),
        "late_sound": sum(one.late for one in interrupted),
        "gaps": [gap for person in people for gap in person.heard.gaps],
        "played": sum(person.heard.seconds for person in people),
        "answers": sum(turn.answered for person in people for turn in person.turns),
    }


async def _all_have(people: Sequence[Person], turns: int, tally: Tally) -> None:
    while any(person.done < turns for person in people):
        tally.moved.clear()
        await tally.moved.wait()


async def open_conversation(url: str, session: Mapping[str, Any]) -> ClientConnection:
    """A session that is set up. Raises `LoadError`."""
    return await set_up(f"{url}/v1/realtime?model=gpt-realtime", session, queue=4096)


def _pace(tally: Tally) -> dict[str, float]:
    late = sorted(tally.lateness) or [0.0]
    return {
        "audio_seconds": tally.sent * _APPEND,
        "late_p99_ms": late[int(0.99 * (len(late) - 1))] * 1000,
    }


def _seconds(delta: str) -> float:
    """How long a piece of sound in base64 is."""
    size = len(delta) * 3 // 4 - delta[-2:].count("=")
    return size / SAMPLE_BYTES / RATE


def _now() -> float:
    """Not the loop's time, which some loops only count in milliseconds."""
    return time.monotonic()


def _plan(given: argparse.Namespace) -> Plan:
    pcm = given.audio.read_bytes()
    lines = []
    for one in json.loads(given.lines.read_text()):
        begin, end = one["begin"], one["next"]
        appends = encode(pcm[begin * SAMPLE_BYTES : end * SAMPLE_BYTES], APPEND_MS)
        lines.append(Line(appends, (one["start"] - begin) / RATE, (one["end"] - begin) / RATE))
    session: dict[str, Any] = {
        "type": "realtime",
        "audio": {
            "input": {
                "transcription": {"model": given.model, "language": "en"},
                "turn_detection": {"type": "server_vad"},
            }
        },
        "antiphon": {"confirm_speaking_ms": round(given.confirm * 1000)},
    }
    if given.lead is not None:
        session["antiphon"]["lead_ms"] = round(given.lead * 1000)
    return Plan(
        url=given.url,
        session=session,
        lines=lines,
        room=encode(given.room.read_bytes(), APPEND_MS)[0],
        sessions=given.sessions,
        turns=given.turns,
        interrupting=given.interrupting,
        confirm=given.confirm,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hold many spoken conversations at once.")
    parser.add_argument("--url", required=True, help="ws://host:port")
    parser.add_argument("--audio", type=Path, required=True, help="raw 16-bit mono PCM at 24 kHz")
    parser.add_argument("--lines", type=Path, required=True, help="JSON: where they are in it")
    parser.add_argument("--room", type=Path, required=True, help="the same of a quiet room")
    parser.add_argument("--model", required=True, help="transcription model")
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--turns", type=int, required=True, help="that count, of each session")
    parser.add_argument("--interrupting", action="store_true", help="speak into the answers")
    parser.add_argument("--confirm", type=float, default=0.3, help="seconds")
    parser.add_argument("--lead", type=float, help="seconds; none: sound comes as it is made")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_loop(run(_plan(_arguments()))))
