"""The nodes that answer, on virtual time: scripted models and voices, and what the nodes send."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np

from engines.base import EngineError, JobClass, ModelNotFound
from engines.generation import Chat, Finished, Generate, GenerationEvent, TextDelta, Usage
from engines.recognition import Recogniser
from engines.synthesis import Mark, Say, Spoken
from engines.tickets import Ticket
from pipelines.context import Context, Speakers
from pipelines.frames import Answered, AudioOut, Frame, Respond
from pipelines.graph import Graph, Node, connect

RATE = 16_000
TOKENS = Usage(prompt=7, completion=3)
STOP = Finished("stop", TOKENS)

F = TypeVar("F", bound=Frame)

Step = GenerationEvent | EngineError | float
"""What a writer does next: give something, fail, or wait for so many seconds."""


def asked(text: str = "Hello") -> Generate:
    return Generate(Chat(({"role": "user", "content": text},)))


def respond(response: str = "r", text: str = "Hello", **fields: object) -> Respond:
    return replace(Respond(response, "scripted", asked(text)), **fields)  # type: ignore[arg-type]


def texts(*pieces: str) -> list[Step]:
    return [TextDelta(piece) for piece in pieces]


@dataclass
class Writer:
    """Writers whose answers a test scripts, by the model's name; it counts those that are open."""

    script: dict[str, Sequence[Step]] = field(default_factory=dict)
    asked: list[tuple[str, Generate, str, JobClass]] = field(default_factory=list)
    open: int = 0
    given: int = 0

    async def generate(
        self, model: str, request: Generate, *, owner: str, kind: JobClass
    ) -> AsyncGenerator[GenerationEvent, None]:
        self.asked.append((model, request, owner, kind))
        if model not in self.script:
            raise ModelNotFound(model, tuple(self.script))
        self.open += 1
        try:
            for step in self.script[model]:
                match step:
                    case float():
                        await asyncio.sleep(step)
                    case EngineError():
                        raise step
                    case event:
                        self.given += 1
                        yield event
        finally:
            self.open -= 1


@dataclass
class Voice:
    """A voice that says `characters_per_second`, in pieces of `piece` seconds that take
    `effort` times as long to make."""

    characters_per_second: float = 10.0
    piece: float = 0.5
    effort: float = 0.0
    level: float = 0.5
    failure: EngineError | None = None
    asked: list[tuple[float, Say, JobClass]] = field(default_factory=list)
    made: float = 0.0
    """Seconds of sound."""
    open: int = 0

    async def say(
        self, request: Say, *, model: str | None = None, owner: str, kind: JobClass
    ) -> AsyncGenerator[Spoken, None]:
        self.asked.append((asyncio.get_running_loop().time(), request, kind))
        self.open += 1
        try:
            if self.failure is not None:
                raise self.failure
            length = len(request.text) / self.characters_per_second
            done = 0.0
            while done < length:
                more = min(self.piece, length - done)
                await asyncio.sleep(self.effort * more)
                done = length if length - done - more < 1e-9 else done + more
                self.made += more
                characters = round(done * self.characters_per_second)
                samples = np.full(round(more * RATE), self.level, np.float32)
                yield Spoken(samples, RATE, (Mark(characters, done),))
        finally:
            self.open -= 1

    @property
    def said(self) -> list[str]:
        return [request.text for _, request, _ in self.asked]


class NoEars:
    async def recogniser(self, name: str) -> Recogniser:
        raise ModelNotFound(name)


def no_voice_activity(owner: str) -> Ticket:
    raise AssertionError("nobody speaks")


@dataclass
class Stage:
    """Nodes in a row that run, and what the last of them sent, with the time."""

    graph: Graph
    context: Context
    sent: list[tuple[float, Frame]]
    on_frame: Callable[[Frame], None] | None = None

    @property
    def frames(self) -> list[Frame]:
        return [frame for _, frame in self.sent]

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def state(self) -> str:
        return self.context.floor.state(self.now)

    async def push(self, *frames: Frame, then: float = 0.001) -> None:
        for frame in frames:
            self.graph.push(frame)
        await asyncio.sleep(then)

    def of(self, kind: type[F]) -> list[F]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def ends(self, response: str = "r") -> list[Answered]:
        return [frame for frame in self.of(Answered) if frame.response == response]

    def seconds(self, item: str | None = None) -> float:
        sound = [frame for frame in self.of(AudioOut) if item in (None, frame.item)]
        return sum(len(frame.samples) / frame.rate for frame in sound)


@asynccontextmanager
async def stage(
    *builders: Callable[[Context], Node],
    writers: Writer | None = None,
    speakers: Speakers | None = None,
) -> AsyncIterator[Stage]:
    """The nodes, connected in this order, running."""
    sent: list[tuple[float, Frame]] = []
    items = iter(range(1_000_000))
    context = Context(
        "owner",
        NoEars(),
        no_voice_activity,
        lambda: f"item {next(items)}",
        lambda frame: None,
        writers=writers,
        speakers=speakers,
    )
    nodes = [build(context) for build in builders]
    for sender, receiver in pairwise(nodes):
        connect(sender, receiver)
    graph = Graph(nodes, nodes[:1])
    running = Stage(graph, context, sent)

    def deliver(frame: Frame) -> None:
        sent.append((running.now, frame))
        if running.on_frame is not None:
            running.on_frame(frame)

    nodes[-1].outputs.append(deliver)
    task = asyncio.create_task(graph.run())
    await asyncio.sleep(0)
    try:
        yield running
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
