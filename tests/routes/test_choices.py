import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from engines.base import Busy
from engines.generation import GenerationEvent, TextDelta, Usage
from routes.choices import at_once, total


class Said:
    """An answer of some words, each after so many seconds; it knows whether it was closed."""

    def __init__(self, *words: str | Exception, every: float = 0.0) -> None:
        self._words = words
        self._every = every
        self.closed = False

    async def events(self) -> AsyncGenerator[GenerationEvent, None]:
        try:
            for word in self._words:
                await asyncio.sleep(self._every)
                if isinstance(word, Exception):
                    raise word
                yield TextDelta(word)
        finally:
            self.closed = True


async def heard(*answers: Said) -> list[tuple[int, str]]:
    async with aclosing(at_once([answer.events() for answer in answers])) as events:
        return [
            (index, event.text) async for index, event in events if isinstance(event, TextDelta)
        ]


@pytest.mark.virtual_time
async def test_answers_are_made_at_the_same_time() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    slow, fast = Said("a", "b", every=3.0), Said("x", "y", "z", every=2.0)
    assert await heard(slow, fast) == [(1, "x"), (0, "a"), (1, "y"), (0, "b"), (1, "z")]
    assert loop.time() - began == pytest.approx(6.0)


@pytest.mark.virtual_time
async def test_what_comes_at_once_is_given_by_number() -> None:
    answers = [Said("a", every=1.0) for _ in range(5)]
    assert [index for index, _ in await heard(*answers)] == [0, 1, 2, 3, 4]


async def test_one_answer_alone_is_number_0() -> None:
    answer = Said("a", "b")
    assert await heard(answer) == [(0, "a"), (0, "b")]
    assert answer.closed


@pytest.mark.parametrize("others", [0, 1, 3])
async def test_the_first_that_fails_ends_and_closes_all(others: int) -> None:
    answers = [Said("a", *(["b"] * 1000)) for _ in range(others)]
    failing = Said("x", Busy("All sequences are taken."))
    with pytest.raises(Busy, match="sequences"):
        await heard(*answers, failing)
    assert all(answer.closed for answer in (*answers, failing))
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("count", [1, 3])
async def test_closing_it_closes_every_answer_that_began(count: int) -> None:
    answers = [Said("a", "b") for _ in range(count)]
    async with aclosing(at_once([answer.events() for answer in answers])) as events:
        assert await anext(events) == (0, TextDelta("a"))
    assert all(answer.closed for answer in answers)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("count", [1, 3])
async def test_cancelling_its_reader_closes_every_answer(count: int) -> None:
    answers = [Said("a", every=60.0) for _ in range(count)]
    reading = asyncio.create_task(heard(*answers))
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert all(answer.closed for answer in answers)


def test_a_prompt_counts_once_and_completions_add_up() -> None:
    used = total([Usage(10, 3, cached=0, reasoning=1), Usage(10, 4, cached=9, reasoning=2)])
    assert used == Usage(prompt=10, completion=7, cached=9, reasoning=3)
