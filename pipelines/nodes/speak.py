"""The node that has answers spoken, sentence by sentence, while they are written."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from engines.base import Busy, EngineError, JobClass
from engines.synthesis import Say, Spoken
from pipelines.context import Context
from pipelines.frames import (
    HEARD,
    Answered,
    AudioOut,
    Configure,
    Frame,
    Hold,
    Interrupt,
    Respond,
    SpeechStarted,
    Text,
    ToolCall,
)
from pipelines.graph import Node
from pipelines.item_sound import ItemSound
from pipelines.playback import LEAST_WAIT, SLACK, Ahead
from pipelines.sentences import Sentence, SentenceSplitter

OVERDUE_SECONDS = 0.4
"""Without more text for so long, one that ends in a stop is a sentence."""
MOST_AT_ONCE = 8
"""Responses of one session that are spoken at the same time."""
AHEAD_SECONDS = 15.0
"""Sound that is not heard yet above which no further sentence is begun: little is made in vain
when the answer is interrupted."""
DRY_SECONDS = 2.0
"""Sound that is not heard yet below which the next sentence is as urgent as a first one."""
MOST_SECONDS = 30.0
"""Sound that is not heard yet above which the engine waits, in the middle of a sentence too."""


class Settings(BaseModel):
    """Who speaks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    voice: str | None = None
    """The voice for each `Respond` that names none; None: the server's default."""


class _Speech:
    """What is to be said of one response, in order: sentences of items, and the response's end."""

    def __init__(self, wanted: Respond, *, refused: bool) -> None:
        self.wanted = wanted
        self.refused = refused
        self.parts: deque[tuple[str, Sentence | None] | Answered] = deque()
        """A sentence and its item; None instead of one: the item is complete."""
        self.filled = asyncio.Event()
        self.written = False
        """Whether it has any text."""
        self.begun = False
        """Whether any of its sound was sent."""
        self.task: asyncio.Task[None] | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._item: str | None = None
        self._splitter = SentenceSplitter(language=wanted.language)

    def write(self, item: str, text: str) -> None:
        self.written = True
        if self._overdue is not None:
            self._overdue.cancel()
        if self._item != item:
            self.close_item()
            self._item = item
            self._splitter = SentenceSplitter(language=self.wanted.language)
        self._add(item, self._splitter.feed(text))
        loop = asyncio.get_running_loop()
        self._overdue = loop.call_later(OVERDUE_SECONDS, self._go_on, item, self._splitter)

    def stop(self) -> None:
        """No more of it is said."""
        if self._overdue is not None:
            self._overdue.cancel()
        if self.task is not None:
            self.task.cancel()

    def _go_on(self, item: str, splitter: SentenceSplitter) -> None:
        self._add(item, splitter.overdue())

    def close_item(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        if self._item is None:
            return
        self._add(self._item, self._splitter.flush())
        self.parts.append((self._item, None))
        self._item = None
        self.filled.set()

    def finish(self, answered: Answered) -> None:
        self.close_item()
        self.parts.append(answered)
        self.filled.set()

    async def next(self) -> tuple[str, Sentence | None] | Answered:
        while not self.parts:
            self.filled.clear()
            await self.filled.wait()
        return self.parts.popleft()

    def _add(self, item: str, sentences: list[Sentence]) -> None:
        self.parts.extend((item, sentence) for sentence in sentences)
        if sentences:
            self.filled.set()


class Speaker(Node):
    """Has the text of spoken responses said; all frames pass through, `Answered` after the sound.

    A response whose speech fails ends at once, with `speech_failed`; more of it passes no more.
    """

    accepts: ClassVar[tuple[type[Frame], ...]] = (
        *(Respond, Interrupt, Text, ToolCall, Answered),
        *HEARD,
    )
    emits: ClassVar[tuple[type[Frame], ...]] = (
        *(Text, ToolCall, AudioOut, Answered),
        *HEARD,
    )

    def __init__(self, name: str, settings: Settings, context: Context) -> None:
        super().__init__(name)
        self._settings = settings
        self._context = context
        self._ahead = Ahead()
        self._speeches: dict[str, _Speech] = {}
        self._failed: deque[str] = deque(maxlen=4 * MOST_AT_ONCE)
        """Responses that ended here before all of them was written."""
        self._fresh: deque[_Speech] = deque()
        self._arrived = asyncio.Event()
        self._moved = asyncio.Event()
        """Set when what is ahead of the listener changed by more than time."""

    def receive(self, frame: Frame) -> None:
        """Take a frame; text and tool calls leave before this returns."""
        match frame:
            case Respond(spoken=True, provisional=False):
                refused = len(self._speeches) >= MOST_AT_ONCE
                self._speeches[frame.response] = _Speech(frame, refused=refused)
            case Respond():
                pass
            case Interrupt(response=response):
                self._interrupt(response)
            case Text() | ToolCall() | Answered():
                self._pass(frame)
            case Configure(node=self.name):
                settings = {**self._settings.model_dump(), **frame.settings}
                self._settings = Settings.model_validate(settings)
            case Hold() | SpeechStarted():
                self._hold(frame)
                self.emit(frame)
            case _:
                self.emit(frame)

    async def run(self) -> None:
        """Own the tasks of the responses that are spoken until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                while self._fresh:
                    speech = self._fresh.popleft()
                    if self._speeches.get(speech.wanted.response) is speech:
                        speech.task = tasks.create_task(self._speak(speech))
                self._arrived.clear()
                await self._arrived.wait()

    # What comes in

    def _pass(self, frame: Text | ToolCall | Answered) -> None:
        if frame.response in self._failed:
            return
        speech = self._speeches.get(frame.response)
        if isinstance(frame, Answered) and speech is not None:
            self._finish(speech, frame)
            return
        self.emit(frame)
        if speech is None:
            return
        match frame:
            case Text():
                if not speech.written:
                    self._fresh.append(speech)
                    self._arrived.set()
                speech.write(frame.item, frame.text)
            case ToolCall():
                speech.close_item()

    def _finish(self, speech: _Speech, answered: Answered) -> None:
        if speech.written:
            self._context.floor.take(answered.response)
            speech.finish(answered)
        else:
            self._end(answered)

    def _hold(self, frame: Hold | SpeechStarted) -> None:
        now = self._now()
        if isinstance(frame, Hold) and not frame.over:
            self._ahead.hold(now)
        else:
            self._ahead.go_on(now)
        self._moved.set()

    def _interrupt(self, response: str | None) -> None:
        over = list(self._speeches) if response is None else [response]
        for each in over:
            speech = self._speeches.pop(each, None)
            if speech is None:
                continue
            self._context.floor.leave(each)
            speech.stop()
        self._ahead.forget(response, self._now())
        self._moved.set()

    # What is said

    async def _speak(self, speech: _Speech) -> None:
        try:
            answered = await self._say_all(speech)
        except EngineError as error:
            answered = self._fail(speech, error)
        self._end(answered)

    def _fail(self, speech: _Speech, error: EngineError) -> Answered:
        ends = [part for part in speech.parts if isinstance(part, Answered)]
        if not ends:
            self._failed.append(speech.wanted.response)
            ends = [Answered(speech.wanted.response)]
        return replace(ends[0], reason="failed", code="speech_failed", message=str(error))

    def _end(self, answered: Answered) -> None:
        self._speeches.pop(answered.response, None)
        # Before the frame, so that whoever holds its sound back can take the floor over.
        self._context.floor.leave(answered.response)
        self.emit(answered)

    async def _say_all(self, speech: _Speech) -> Answered:
        """Say the parts of a response as they come; gives its end."""
        sound: ItemSound | None = None
        while True:
            match await speech.next():
                case Answered() as answered:
                    return answered
                case (item, Sentence() as sentence):
                    sound = sound or ItemSound(speech.wanted.response, item)
                    if sentence.spoken:
                        await self._say(speech, sound, sentence)
                    sound.end_sentence(sentence)
                case _:
                    if sound is not None and (rest := sound.rest()) is not None:
                        self.emit(rest)
                    sound = None

    async def _say(self, speech: _Speech, sound: ItemSound, sentence: Sentence) -> None:
        await self._wait_until_left(AHEAD_SECONDS if speech.begun else MOST_SECONDS)
        async with aclosing(self._pieces(speech, sentence.spoken)) as pieces:
            async for spoken in pieces:
                out = sound.piece(sentence, spoken)
                speech.begun = True
                self._ahead.give(out.response, len(out.samples) / out.rate, self._now())
                self.emit(out)
                await self._wait_until_left(MOST_SECONDS)

    def _pieces(self, speech: _Speech, text: str) -> AsyncGenerator[Spoken, None]:
        if speech.refused:
            raise Busy(f"A session can have {MOST_AT_ONCE} responses spoken at once.")
        if self._context.speakers is None:
            raise EngineError("There are no voices here to answer with.")
        wanted = speech.wanted
        dry = not speech.begun or self._ahead.left(self._now()) < DRY_SECONDS
        return self._context.speakers.say(
            Say(text, wanted.voice or self._settings.voice, wanted.speed),
            owner=self._context.owner,
            # Never REST: that may be refused, or come when there is nothing left to hear.
            kind=JobClass.FIRST_SENTENCE if dry else JobClass.PARTIAL,
        )

    async def _wait_until_left(self, seconds: float) -> None:
        """Return once no more than this is ahead of the listener."""
        while (excess := self._ahead.left(self._now()) - seconds) > SLACK:
            self._moved.clear()
            wait = None if self._ahead.held else max(excess, LEAST_WAIT)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._moved.wait()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
