"""The node that lets an answer's sound leave: at once or paced, held back, or forgotten."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

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
from pipelines.playback import LEAST_WAIT, Playback

REMEMBERED = 64
"""Responses that were interrupted, of which late frames are dropped."""


class Settings(BaseModel):
    """How sound is paced."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lead: float | None = Field(default=None, ge=0, le=60)
    """Seconds of sound that may leave before it can have been heard; None: all of it."""


class Player(Node):
    """Sends sound in order and keeps the floor true; text and tool calls pass at once.

    A response's end waits for its sound. What a hold or the pacing keeps back is bounded by the
    node that speaks, which waits while there is much of it; it is no `backlog`, which would keep
    the session from hearing whether the hold is over.
    """

    accepts: ClassVar[tuple[type[Frame], ...]] = (
        *(Text, ToolCall, AudioOut, Answered, Respond, Interrupt),
        *HEARD,
    )
    emits: ClassVar[tuple[type[Frame], ...]] = (
        *(Text, ToolCall, AudioOut, Answered),
        *HEARD,
    )

    def __init__(self, name: str, settings: Settings, context: Context) -> None:
        super().__init__(name)
        self._settings = settings
        self._floor = context.floor
        self._playback = Playback(settings.lead)
        self._floor.listen(lambda item: self._playback.heard(item, self._now()))
        self._changed = asyncio.Event()
        self._open: set[str] = set()
        """Responses that have not ended."""
        self._over: deque[str] = deque(maxlen=REMEMBERED)

    def receive(self, frame: Frame) -> None:
        """Take a frame; what may leave leaves before this returns."""
        match frame:
            case Text() | ToolCall() | AudioOut() | Answered():
                if frame.response not in self._over:
                    self._answer(frame)
            case Respond(provisional=provisional):
                if not provisional:
                    self._open.add(frame.response)
            case Interrupt(response=response):
                self._interrupt(response)
            case Hold(over=over):
                self._hold(not over)
                self.emit(frame)
            case SpeechStarted():
                # Whoever gives the answer up does so while this passes.
                self.emit(frame)
                self._hold(False)
            case Configure(node=self.name):
                settings = {**self._settings.model_dump(), **frame.settings}
                self._settings = Settings.model_validate(settings)
                self._playback.lead = self._settings.lead
                self._send()
            case _:
                self.emit(frame)

    async def run(self) -> None:
        """Send what is paced when it is due, until cancelled."""
        while True:
            self._send()
            self._changed.clear()
            due = self._playback.due()
            wait = None if due is None else max(LEAST_WAIT, due - self._now())
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    def _answer(self, frame: Text | ToolCall | AudioOut | Answered) -> None:
        self._open.add(frame.response)
        match frame:
            case AudioOut():
                self._playback.add(frame)
                self._send()
            case Answered():
                if self._playback.finish(frame):
                    self._floor.take(frame.response)
                else:
                    self._end(frame)
            case _:
                self.emit(frame)

    def _end(self, answered: Answered) -> None:
        self._open.discard(answered.response)
        self._floor.leave(answered.response)
        self._floor.play(max(self._playback.until, self._now()))
        self.emit(answered)

    def _send(self) -> None:
        while (frame := self._playback.take(self._now())) is not None:
            if isinstance(frame, Answered):
                self._end(frame)
            else:
                self._floor.play(self._playback.until)
                self.emit(frame)
        self._floor.held = self._playback.holding_back
        self._changed.set()

    def _hold(self, on: bool) -> None:
        self._playback.on_hold = on
        self._send()

    def _interrupt(self, response: str | None) -> None:
        now = self._now()
        known = self._playback.knows(response)
        self._playback.interrupt(response, now)
        over = set(self._open) if response is None else self._open & {response}
        self._open -= over
        for each in over:
            self._floor.leave(each)
        # What never began, such as a guess, is no answer that was over now.
        if known or over:
            self._floor.play(max(self._playback.until, now))
        self._over.extend(over.union(filter(None, [response])).difference(self._over))
        self._floor.held = self._playback.holding_back
        self._changed.set()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
