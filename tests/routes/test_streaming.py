import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from routes.streaming import Silence, with_silences


async def slow(*gaps: float) -> AsyncIterator[float]:
    for gap in gaps:
        await asyncio.sleep(gap)
        yield gap


@pytest.mark.virtual_time
async def test_a_silence_is_given_for_each_while_without_an_item() -> None:
    kinds = [
        "silence" if isinstance(item, Silence) else item
        async for item in with_silences(slow(1, 25, 2), 10)
    ]
    assert kinds == [1, "silence", "silence", 25, 2]


@pytest.mark.virtual_time
async def test_what_the_source_raises_comes_through() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(15)
        raise KeyError("gone")

    items = with_silences(broken(), 10)
    assert await anext(items) == 1
    assert isinstance(await anext(items), Silence)
    with pytest.raises(KeyError):
        await anext(items)


@pytest.mark.virtual_time
async def test_closing_it_cancels_the_item_that_is_waited_for() -> None:
    cancelled = asyncio.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            cancelled.set()

    async with aclosing(with_silences(endless(), 10)) as items:
        assert isinstance(await anext(items), Silence)
    assert cancelled.is_set()
    assert len(asyncio.all_tasks()) == 1
