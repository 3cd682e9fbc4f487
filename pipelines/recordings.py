"""Whole recordings through the same pipeline that live sessions use."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from engines.base import JobClass
from engines.recognition import RecognitionOptions
from engines.tickets import Ticket
from pipelines.context import Context, Recognisers
from pipelines.frames import Audio, End, Error, Frame, Samples, Transcript
from pipelines.graph import Graph
from pipelines.loader import Plan

UNREAD_SECONDS = 120.0
"""Speech of a recording that may wait for the engine: some utterances are ready for each batch,
and memory is bounded (64 kB for a second)."""

ITEMS = itertools.count()


@dataclass(frozen=True, slots=True)
class Recording:
    """Transcribes recordings with one plan and one set of models."""

    plan: Plan
    models: Recognisers
    open_voice_activity: Callable[[str], Ticket]

    async def transcribe(
        self,
        audio: AsyncIterator[Samples],
        model: str,
        options: RecognitionOptions,
        *,
        owner: str,
        kind: JobClass = JobClass.REST,
    ) -> AsyncGenerator[Transcript, None]:
        """Final transcripts in the order of their utterances. Raises `EngineError`.

        `audio` is read `UNREAD_SECONDS` of speech ahead of the engines; closing the iterator frees
        them. An engine that is busy refuses the whole recording at its first utterance; later ones
        wait for it.
        """
        frames: asyncio.Queue[Frame] = asyncio.Queue()
        context = Context(
            owner=owner,
            models=self.models,
            open_voice_activity=self.open_voice_activity,
            new_item=lambda: f"utterance_{next(ITEMS)}",
            deliver=frames.put_nowait,
            kind=kind,
            options=options,
            model=model,
            ready_seconds=UNREAD_SECONDS,
        )
        graph = self.plan.build(context)
        running = asyncio.create_task(_run(graph, audio))
        running.add_done_callback(lambda _: frames.put_nowait(End()))
        try:
            async with aclosing(_in_order(frames)) as transcripts:
                async for transcript in transcripts:
                    yield transcript
        finally:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled() and (error := running.exception()):
                raise _first(error)


async def _run(graph: Graph, audio: AsyncIterator[Samples]) -> None:
    """Feed the graph."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(graph.run())
        position = 0
        async for samples in audio:
            await graph.ready()
            graph.push(Audio(samples, position))
            position += len(samples)
        graph.push(End())


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _in_order(frames: asyncio.Queue[Frame]) -> AsyncGenerator[Transcript, None]:
    """Finals in the order in which their utterances began."""
    order: list[str] = []
    finals: dict[str, Transcript] = {}
    while True:
        match await frames.get():
            case Audio():
                pass
            case Transcript(item=item, state="final") as transcript:
                finals[item] = transcript
            case Error(item=str(), cause=Exception() as cause):
                raise cause
            case End():
                return
            case frame:
                utterance = getattr(frame, "item", None)
                if isinstance(utterance, str) and utterance not in order:
                    order.append(utterance)
        while order and order[0] in finals:
            yield finals.pop(order.pop(0))
