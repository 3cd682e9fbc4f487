"""Several answers to one request, made at the same time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing

from engines.generation import GenerationEvent, Usage

Generation = AsyncGenerator[GenerationEvent, None]


async def at_once(
    answers: Sequence[Generation],
) -> AsyncGenerator[tuple[int, GenerationEvent], None]:
    """The events of all `answers` as they come, each with its answer's number.

    The first that fails ends it. Closing it closes all of them.
    """
    async with AsyncExitStack() as stack:
        for answer in answers:
            await stack.enter_async_context(aclosing(answer))
        async with aclosing(_alone(answers[0]) if len(answers) == 1 else _raced(answers)) as events:
            async for event in events:
                yield event


async def _alone(answer: Generation) -> AsyncGenerator[tuple[int, GenerationEvent], None]:
    async for event in answer:
        yield 0, event


async def _raced(
    answers: Sequence[Generation],
) -> AsyncGenerator[tuple[int, GenerationEvent], None]:
    waiting = {asyncio.create_task(_next(answer)): i for i, answer in enumerate(answers)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                number = waiting.pop(task)
                try:
                    event = task.result()
                except StopAsyncIteration:
                    continue
                waiting[asyncio.create_task(_next(answers[number]))] = number
                yield number, event
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _next(answer: AsyncIterator[GenerationEvent]) -> GenerationEvent:
    return await anext(answer)


def total(usages: Sequence[Usage]) -> Usage:
    """What answers to one prompt have used together: the prompt counts once, and as cached what
    the luckiest of them found, though another of them may have put it there."""
    return Usage(
        prompt=max(usage.prompt for usage in usages),
        completion=sum(usage.completion for usage in usages),
        cached=max(usage.cached for usage in usages),
        reasoning=sum(usage.reasoning for usage in usages),
    )
