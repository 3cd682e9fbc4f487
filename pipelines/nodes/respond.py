"""The node that has a language model answer: each response in a task of its own."""

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import replace
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from engines.base import Busy, EngineError, JobClass
from pipelines.answers import AnswerFrame, AnswerFrames, failed
from pipelines.context import Context
from pipelines.frames import (
    HEARD,
    Answered,
    Clear,
    Configure,
    Frame,
    Interrupt,
    Respond,
    Text,
    ToolCall,
)
from pipelines.graph import Node

MOST_AT_ONCE = 8
"""Responses of one session that are made at the same time."""
KEPT_FRAMES = 512
"""Frames of a provisional response that are kept; its model waits when there are more."""
DEFAULT = "default"
"""The model's name in a `Respond` that leaves the choice to others."""


class Settings(BaseModel):
    """Who answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = DEFAULT
    """The model for each `Respond` that names `default`."""


class _Response:
    """One answer while it is made. A provisional one keeps its frames until it is wanted."""

    def __init__(self, wanted: Respond, refused: Busy | None = None) -> None:
        self.wanted = wanted
        self.refused = refused
        self.kept: deque[AnswerFrame] = deque()
        self.released = asyncio.Event()
        """Set where its frames may be sent as they come."""
        self.over = False
        self.task: asyncio.Task[None] | None = None

    def serves(self, wanted: Respond) -> bool:
        """Whether what is made of it answers this too."""
        mine = self.wanted
        return (mine.model, mine.request) == (wanted.model, wanted.request)

    def cancel(self) -> None:
        self.over = True
        if self.task is not None:
            self.task.cancel()


class Responder(Node):
    """Answers each `Respond` with texts and tool calls, and one `Answered`, last.

    No more than `MOST_AT_ONCE` are made at once; the next one fails with `server_overloaded`. All
    other frames pass through.
    """

    accepts: ClassVar[tuple[type[Frame], ...]] = (
        *(Respond, Interrupt),
        *HEARD,
    )
    emits: ClassVar[tuple[type[Frame], ...]] = (
        *(Text, ToolCall, Answered),
        *HEARD,
    )

    def __init__(self, name: str, settings: Settings, context: Context) -> None:
        super().__init__(name)
        self._settings = settings
        self._context = context
        self._responses: dict[str, _Response] = {}
        self._provisional: _Response | None = None
        self._fresh: deque[_Response] = deque()
        """Those whose task is to be started, or whose kept frames are to be sent."""
        self._arrived = asyncio.Event()

    def receive(self, frame: Frame) -> None:
        """Take a frame. What a `Respond` brings is sent later, when all nodes have seen it."""
        match frame:
            case Respond():
                self._respond(frame)
            case Interrupt(response=response):
                self._interrupt(response)
            case Clear():
                # What it was made of will never be said.
                self._forget_guess()
                self.emit(frame)
            case Configure(node=self.name):
                settings = {**self._settings.model_dump(), **frame.settings}
                self._settings = Settings.model_validate(settings)
            case _:
                self.emit(frame)

    async def run(self) -> None:
        """Own the tasks of the responses until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                while self._fresh:
                    response = self._fresh.popleft()
                    if response.task is not None:
                        self._release(response)
                    elif not response.over:
                        response.task = tasks.create_task(self._make(response))
                self._arrived.clear()
                await self._arrived.wait()

    def _respond(self, wanted: Respond) -> None:
        ready = self._provisional
        if ready is not None and not ready.serves(wanted):
            self._forget_guess()
            ready = None
        if ready is None:
            ready = _Response(wanted, self._refusal())
            self._fresh.append(ready)
        elif not wanted.provisional and ready.task is not None:
            self._fresh.append(ready)
        ready.wanted = wanted
        self._provisional = ready if wanted.provisional else None
        if not wanted.provisional:
            self._take(ready)
        self._arrived.set()

    def _take(self, response: _Response) -> None:
        name = response.wanted.response
        if name in self._responses:
            self._responses[name].cancel()
        self._responses[name] = response
        self._context.floor.take(name)

    def _refusal(self) -> Busy | None:
        if len(self._responses) < MOST_AT_ONCE:
            return None
        return Busy(
            f"A session can have {MOST_AT_ONCE} responses made at once. Try again when one of "
            "them is done."
        )

    def _interrupt(self, response: str | None) -> None:
        ready = self._provisional
        if ready is not None and response in (None, ready.wanted.response):
            self._forget_guess()
        over = list(self._responses) if response is None else [response]
        for each in over:
            self._context.floor.leave(each)
            if each in self._responses:
                self._responses.pop(each).cancel()

    def _forget_guess(self) -> None:
        if self._provisional is not None:
            self._provisional.cancel()
            self._provisional = None

    def _release(self, response: _Response) -> None:
        """Send what was made of a provisional response that is wanted after all."""
        while response.kept and not response.over:
            self._send(response, response.kept.popleft())
        response.released.set()

    async def _make(self, response: _Response) -> None:
        wanted = response.wanted
        if not wanted.provisional:
            response.released.set()
        frames = AnswerFrames(wanted.response, self._context.new_item)
        try:
            if response.refused is not None:
                raise response.refused
            await self._generate(response, frames)
        except EngineError as error:
            await self._fail(response, error)

    async def _generate(self, response: _Response, frames: AnswerFrames) -> None:
        if self._context.writers is None:
            raise EngineError("There are no language models here to answer with.")
        model = response.wanted.model
        model = self._settings.model if model == DEFAULT else model
        events = self._context.writers.generate(
            model,
            response.wanted.request,
            owner=self._context.owner,
            kind=JobClass.FIRST_SENTENCE,
        )
        answered = False
        async with aclosing(events):
            async for event in events:
                for frame in frames.of(event):
                    answered = isinstance(frame, Answered)
                    await self._tell(response, frame)
        if not answered:
            raise EngineError(f"The model '{model}' ended its answer too early.")

    async def _fail(self, response: _Response, error: EngineError) -> None:
        if response is self._provisional:
            # Whoever wants it after all starts anew.
            self._provisional = None
        else:
            await self._tell(response, failed(response.wanted.response, error))

    async def _tell(self, response: _Response, frame: AnswerFrame) -> None:
        if response.released.is_set():
            self._send(response, frame)
            return
        response.kept.append(frame)
        if len(response.kept) >= KEPT_FRAMES:
            await response.released.wait()

    def _send(self, response: _Response, frame: AnswerFrame) -> None:
        if response.over:
            return
        wanted = response.wanted.response
        if isinstance(frame, Answered):
            response.over = True
            del self._responses[wanted]
            # Before the frame, so that whoever has it spoken can take the floor over.
            self._context.floor.leave(wanted)
        self.emit(frame if frame.response == wanted else replace(frame, response=wanted))
