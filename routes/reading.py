"""A text read aloud, sentence by sentence, with one sentence more under way than is heard."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final

from engines.base import JobClass
from engines.synthesis import Spoken
from pipelines.sentences import SentenceSplitter

Speak = Callable[[str, JobClass], AsyncGenerator[Spoken, None]]
"""Has one sentence said."""

_PORTION: Final = 2_000
"""Characters that are split into sentences at a time."""


async def sentences(text: str, language: str | None) -> AsyncGenerator[str, None]:
    """What there is to say in `text`. It is split only as far as it is read."""
    splitter = SentenceSplitter(language=language)
    for at in range(0, len(text), _PORTION):
        for sentence in await asyncio.to_thread(splitter.feed, text[at : at + _PORTION]):
            if sentence.spoken:
                yield sentence.spoken
    for sentence in await asyncio.to_thread(splitter.flush):
        if sentence.spoken:
            yield sentence.spoken


async def read_aloud(lines: AsyncIterator[str], speak: Speak) -> AsyncGenerator[Spoken, None]:
    """The sound of all `lines`.

    The next one is asked for once the one before it begins to sound, so that the first never
    shares the engine with what can wait. Closing the generator frees the engine.
    """
    line = await _ask(lines, speak, JobClass.FIRST_SENTENCE)
    following: _Line | None = None
    try:
        while line is not None:
            first = await line.first()
            following = await _ask(lines, speak, JobClass.REST)
            if first is not None:
                yield first
            async for spoken in line.rest():
                yield spoken
            await line.close()
            line, following = following, None
    finally:
        for each in (line, following):
            if each is not None:
                await each.close()


class _Line:
    """A sentence that is asked for the moment this is made."""

    def __init__(self, sound: AsyncGenerator[Spoken, None]) -> None:
        self._sound = sound
        self._first = asyncio.create_task(_first_of(sound))

    async def first(self) -> Spoken | None:
        """The beginning of its sound; None if it has none."""
        return await self._first

    def rest(self) -> AsyncIterator[Spoken]:
        """What comes after `first`."""
        return self._sound

    async def close(self) -> None:
        self._first.cancel()
        await asyncio.gather(self._first, return_exceptions=True)
        await self._sound.aclose()


async def _first_of(sound: AsyncIterator[Spoken]) -> Spoken | None:
    return await anext(sound, None)


async def _ask(lines: AsyncIterator[str], speak: Speak, kind: JobClass) -> _Line | None:
    text = await anext(lines, None)
    return None if text is None else _Line(speak(text, kind))
