"""Holds the conversation of an eval: the real session, protocol and pipeline on virtual time,
with scripted engines and a scripted client."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

from eval_checks import Log, Progress, always, played_problems, shown
from eval_client import Loudspeaker, Microphone, Socket, substituted
from eval_engines import Loudness, Recogniser, Voice, Words, understanding
from eval_format import Script, Turn
from eval_writer import Writer
from score import Event

from engines import silero
from engines.base import JobClass
from engines.devices import Device
from engines.recognition import SAMPLE_RATE
from engines.scheduler import Lane, Scheduler
from pipelines.context import Context
from pipelines.floor import Floor
from pipelines.frames import Frame
from pipelines.graph import Graph
from pipelines.loader import ASSISTANT, load_plan
from realtime.config import Configuration
from realtime.kinds import ConversationSessions, Opened
from realtime.opening import Opening
from realtime.retention import RetainedAudio
from realtime.session import Session, SessionLimits, SessionTerms

PATIENCE = 60.0
"""Seconds for which one turn's events are awaited."""
LINGER = 1.0
"""Seconds that are listened to after the last thing that was awaited."""
POLL = 0.01
FORMAT = {"type": "audio/pcm", "rate": SAMPLE_RATE}
"""What both sides send: nothing resamples it, so that samples stay what they are."""

_PLAN = load_plan(ASSISTANT)


class Talk:
    """One conversation. `problems` is what is wrong with it, once it was held."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._eval = script.eval
        self._loop = asyncio.get_running_loop()
        self._scheduler = Scheduler(Device(1))
        self._words = Words()
        self._voice = Voice(self._eval.engines.voice)
        configuration = Configuration()
        instructions = self._eval.session.get(
            "instructions", configuration.conversation.instructions
        )
        self._writer = Writer(instructions)
        self._names: dict[str, Any] = {}
        self._log: Log = []
        self._turns: list[Progress] = []
        self._broken: list[str] = []
        self._socket = Socket(self._take)
        self._speaker = Loudspeaker()
        self._microphone = Microphone(self._socket.say, self._eval.client.pressed)
        self._session = self._build(configuration)

    # The server

    def _build(self, configuration: Configuration) -> Session:
        numbers = count(1)

        def new_id(prefix: str) -> str:
            return f"{prefix}_{next(numbers)}"

        opened = Opened(
            new_id("sess"), Opening("realtime", "default", ""), RetainedAudio(0), Floor()
        )
        default = SimpleNamespace(name="scripted")
        voice = SimpleNamespace(model="scripted", language=self._eval.engines.voice.language)
        store = SimpleNamespace(
            catalogue=SimpleNamespace(default_transcription=lambda: default),
            check=lambda model, options: None,
        )
        kind = ConversationSessions(
            configuration,
            _PLAN,
            cast(Any, store),
            cast(Any, SimpleNamespace(sees=lambda model: False)),
            cast(Any, SimpleNamespace(resolve=lambda name: voice)),
            new_id=new_id,
        )
        limits = configuration.limits
        return Session(
            SessionTerms(
                opened.id,
                SessionLimits(limits.idle_seconds, limits.session_seconds, limits.outbound_events),
            ),
            cast(Any, self._socket),
            kind.protocol(opened),
            lambda deliver: self._graph(opened, deliver, new_id),
            retained=opened.retained,
        )

    def _graph(
        self, opened: Opened, deliver: Callable[[Frame], None], new_id: Callable[[str], str]
    ) -> Graph:
        hearing = self._eval.engines.recogniser
        activity = self._lane(replace(silero.recipe(1), build=Loudness, worker="inline"))
        recogniser = Recogniser(self._lane(understanding(self._words, hearing)), hearing)

        async def load(name: str) -> Recogniser:
            return recogniser

        return _PLAN.build(
            Context(
                owner=opened.id,
                models=cast(Any, SimpleNamespace(recogniser=load)),
                open_voice_activity=lambda owner: activity.submit(
                    None, owner=owner, kind=JobClass.FINAL, streaming=True
                ),
                new_item=lambda: new_id("item"),
                deliver=deliver,
                writers=self._writer,
                speakers=self._voice,
                floor=opened.floor,
            )
        )

    def _lane(self, recipe: Any) -> Lane:
        return self._scheduler.open(recipe)

    # The conversation

    async def hold(self) -> list[str]:
        """Hold it; what is wrong with it."""
        serving = asyncio.create_task(self._session.run())
        listening = asyncio.create_task(self._microphone.run())
        try:
            await self._converse()
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
            self._socket.leave()
            code = await serving
            await self._scheduler.close()
        if code != 1000:
            self._broken.append(f"the session ended with the code {code}")
        return [*self._broken, *self._problems()]

    async def _converse(self) -> None:
        self._socket.say({"type": "session.update", "session": _session(self._eval.session)})
        if not await self._until(lambda: self._came("session.updated"), 1.0):
            self._broken.append(f"the session's settings were refused; {shown(self._log, 0)}")
            return
        for number, turn in enumerate(self._eval.turns):
            if not await self._begins(number, turn):
                break
            self._begin(number, turn)
        await self._until(lambda: not any(turn.awaited for turn in self._turns), PATIENCE)
        await self._sleep_until(max([turn.over_at() for turn in self._turns], default=0.0))
        await self._settle()
        self._ask_what_was_heard()
        await asyncio.sleep(POLL)

    def _ask_what_was_heard(self) -> None:
        for turn in self._turns:
            if turn.spoken is not None:
                turn.played = self._speaker.loud(turn.spoken, self._now)
                self._socket.say({"type": "conversation.item.retrieve", "item_id": turn.spoken})

    async def _begins(self, number: int, turn: Turn) -> bool:
        """Wait for the beginning of a turn; whether it came."""
        delay = turn.after.delay_ms / 1000
        if turn.after.event is not None:
            start = self._turns[-1].index if self._turns else 0
            if not await self._until(lambda: self._nth(turn, start) is not None, PATIENCE):
                place = self._script.place(number, "after")
                self._broken.append(f"{place}: the turn never began; {shown(self._log, start)}")
                return False
            await self._sleep_until((self._nth(turn, start) or 0.0) + delay)
            return True
        if self._turns:
            await self._until(lambda: not self._turns[-1].awaited, PATIENCE)
            await self._sleep_until(self._turns[-1].over_at())
        await asyncio.sleep(delay)
        return True

    def _begin(self, number: int, turn: Turn) -> None:
        places = tuple(self._script.place(number, "expect", at) for at in range(len(turn.expect)))
        progress = Progress(turn, places, self._now, len(self._log))
        if any(each.heard is not None for each in turn.expect):
            progress.spoken = next(reversed(self._speaker.sounds), None)
        self._turns.append(progress)
        self._writer.due.extend(
            (answer, self._script.place(number, "model", at))
            for at, answer in enumerate(turn.model)
        )
        self._send(turn.client)
        for sound in turn.user[:-1]:
            self._microphone.hear(self._words.sound(sound), lambda: None)
        if turn.user:
            self._microphone.hear(
                self._words.sound(turn.user[-1]), lambda: self._sound_over(progress)
            )
        else:
            self._send(turn.then)

    def _sound_over(self, turn: Progress) -> None:
        turn.sound_over = self._now
        self._send(turn.turn.then)

    def _send(self, events: tuple[dict[str, Any], ...]) -> None:
        for event in events:
            try:
                self._socket.say(substituted(event, self._names))
            except KeyError as error:
                self._broken.append(f"nothing was kept as {error}, which {event['type']} names")

    def _take(self, event: Event) -> None:
        now = self._now
        self._log.append((now, event))
        match event["type"]:
            case "response.output_audio.delta":
                self._speaker.take(event, now)
            case "input_audio_buffer.speech_started" if self._interrupts:
                self._fall_silent(now)
        for turn in self._turns:
            turn.take(len(self._log) - 1, now, event, self._names)

    def _fall_silent(self, now: float) -> None:
        played = self._speaker.stop(now)
        if played is not None and self._eval.client.truncates:
            item, seconds = played
            truncate = {"item_id": item, "content_index": 0, "audio_end_ms": int(seconds * 1000)}
            self._socket.say({"type": "conversation.item.truncate", **truncate})

    @property
    def _interrupts(self) -> bool:
        source = self._eval.session.get("audio", {}).get("input", {})
        return bool((source.get("turn_detection") or {}).get("interrupt_response", True))

    # Waiting

    @property
    def _now(self) -> float:
        return self._loop.time()

    async def _until(self, true: Callable[[], bool], seconds: float) -> bool:
        deadline = self._now + seconds
        while not true() and self._now < deadline:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(POLL)
        return true()

    def _sleep_until(self, at: float) -> Awaitable[None]:
        return asyncio.sleep(max(0.0, at - self._now))

    def _came(self, name: str) -> bool:
        return any(event["type"] == name for _, event in self._log)

    def _nth(self, turn: Turn, start: int) -> float | None:
        """When the event came after which a turn begins."""
        times = [at for at, event in self._log[start:] if event["type"] == turn.after.event]
        return times[turn.after.nth - 1] if len(times) >= turn.after.nth else None

    async def _settle(self) -> None:
        """Wait until it has been quiet for a while."""
        deadline, since = self._now + PATIENCE, self._now
        while self._now < min(deadline, since + LINGER):
            await asyncio.sleep(POLL)
            if not self._quiet():
                since = self._now

    def _quiet(self) -> bool:
        """Whether the user is silent, and every response is done and heard."""
        events = [event["type"] for _, event in self._log]
        made = events.count("response.created") == events.count("response.done")
        return made and self._microphone.silent and self._speaker.until <= self._now

    # What came of it

    def _problems(self) -> Iterator[str]:
        later = self._turns[1:]
        ends = [turn.index for turn in later] + [len(self._log)] * bool(self._turns)
        times = [turn.at for turn in later] + [self._now + 1.0] * bool(self._turns)
        expected: set[int] = set()
        for turn, end, until in zip(self._turns, ends, times, strict=True):
            expected |= {index for index, _ in turn.found}
            yield from turn.problems(self._log, end, self._names)
            yield from self._turn_problems(turn, end, until)
        yield from always(self._log, self._speaker, self._voice.said, expected)
        yield from self._model_problems()

    def _turn_problems(self, turn: Progress, end: int, until: float) -> Iterator[str]:
        created = [e["response"]["id"] for _, e in self._log[:end] if e["type"] == _CREATED]
        spoken = [response for response in created if response in self._speaker.responses]
        for expectation, place in zip(turn.turn.expect, turn.places, strict=True):
            if expectation.sound is not None:
                wanted, newest = expectation.sound, spoken[-1] if spoken else None
                for problem in played_problems(wanted, self._speaker, newest):
                    yield f"{place}: {problem}"
            if expectation.heard is not None:
                heard = expectation.heard
                yield from (f"{place}: {p}" for p in self._heard(turn, heard.text, heard.words_off))
            if expectation.requests is not None:
                asked = [one.at for one in self._writer.asked]
                count = sum(turn.at <= at < until for at in asked)
                if count != expectation.requests:
                    yield f"{place}: the language model was asked {count} times"

    def _heard(self, turn: Progress, text: str, words_off: int) -> Iterator[str]:
        """Compare what stayed of an item with what was expected, and with what was played."""
        kept = [
            event["item"]["content"][0]["transcript"]
            for _, event in self._log
            if event["type"] == "conversation.item.retrieved" and event["item"]["id"] == turn.spoken
        ]
        if not kept:
            yield "no answer was spoken before, so that nothing of one was heard"
            return
        if kept[0] != text:
            yield f"what was heard is {kept[0]!r}"
        said = "".join(
            event["delta"]
            for _, event in self._log
            if event["type"] == "response.output_audio_transcript.delta"
            and event["item_id"] == turn.spoken
        )
        played = said[: round(turn.played * self._eval.engines.voice.characters_per_second)]
        if abs(len(played.split()) - len(kept[0].split())) > words_off:
            yield f"{kept[0]!r} counts as heard, where {played!r} was played"

    def _model_problems(self) -> Iterator[str]:
        for asked in self._writer.asked:
            if asked.answer.told is not None and asked.told != asked.answer.told:
                yield f"{asked.place}: the language model was told {list(asked.told)}"
            if asked.answer.given_up and asked.whole:
                yield f"{asked.place}: the answer was not given up"
        for _, place in self._writer.due:
            yield f"{place}: the language model was never asked for this"
        for at, told in self._writer.surplus:
            yield f"the script has no answer to what was asked after {at:.2f} s: {list(told)}"


_CREATED = "response.created"


def _session(written: dict[str, Any]) -> dict[str, Any]:
    """What the client sets: what the script has, and how sound is sent."""
    audio = written.get("audio", {})
    source, output = audio.get("input", {}), audio.get("output", {})
    source = {"transcription": {}, **source, "format": FORMAT}
    audio = {**audio, "input": source, "output": {**output, "format": FORMAT}}
    return {"type": "realtime", **written, "audio": audio}
