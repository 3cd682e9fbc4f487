import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing

import pytest
from scripted_voices import RATE, ScriptedVoices, Step

from engines.base import EngineError, JobClass
from engines.synthesis import Say, Spoken
from routes.reading import read_aloud, sentences


class Speaker:
    def __init__(self, voices: ScriptedVoices) -> None:
        self._voices = voices

    def __call__(self, text: str, kind: JobClass) -> AsyncGenerator[Spoken, None]:
        return self._voices.say(Say(text), owner="me", kind=kind)


async def lines(texts: Iterable[str]) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def seconds(sound: AsyncIterator[Spoken]) -> list[float]:
    return [round(len(spoken.samples) / RATE, 2) async for spoken in sound]


async def test_only_the_first_sentence_is_urgent() -> None:
    voices = ScriptedVoices()
    async with aclosing(read_aloud(lines("abc"), Speaker(voices))) as sound:
        assert await seconds(sound) == [0.5, 0.5, 0.5]
    assert [(call.say.text, call.kind) for call in voices.calls] == [
        ("a", JobClass.FIRST_SENTENCE),
        ("b", JobClass.REST),
        ("c", JobClass.REST),
    ]
    assert voices.running == 0


async def test_sentences_sound_in_their_order_whichever_is_ready_first() -> None:
    slow = asyncio.Event()
    script: dict[str, list[Step]] = {"a": [0.1, slow, 0.2], "b": [0.3, 0.4]}
    voices = ScriptedVoices(script)
    async with aclosing(read_aloud(lines("ab"), Speaker(voices))) as sound:
        assert len((await anext(sound)).samples) == round(0.1 * RATE)
        asyncio.get_running_loop().call_later(0.02, slow.set)
        assert await seconds(sound) == [0.2, 0.3, 0.4]


async def test_the_second_sentence_waits_until_the_first_begins_to_sound() -> None:
    begin = asyncio.Event()
    voices = ScriptedVoices({"a": [begin, 0.1]})
    async with aclosing(read_aloud(lines("abc"), Speaker(voices))) as sound:
        first = asyncio.create_task(_next(sound))
        await voices.started.wait()
        await asyncio.sleep(0.01)
        assert voices.texts == ["a"]
        begin.set()
        await first
        await asyncio.sleep(0)
        assert voices.texts == ["a", "b"]


async def _next(sound: AsyncIterator[Spoken]) -> Spoken:
    return await anext(sound)


async def test_no_more_than_one_sentence_is_made_ahead_however_long_nobody_listens() -> None:
    voices = ScriptedVoices()
    async with aclosing(read_aloud(lines(map(str, range(1000))), Speaker(voices))) as sound:
        for heard in range(5):
            await anext(sound)
            await asyncio.sleep(0.01)
            assert len(voices.calls) == heard + 2
    assert voices.running == 0


async def test_a_sentence_without_any_sound_is_passed_over() -> None:
    voices = ScriptedVoices({"b": []})
    async with aclosing(read_aloud(lines("abc"), Speaker(voices))) as sound:
        assert await seconds(sound) == [0.5, 0.5]
    assert voices.texts == ["a", "b", "c"]


async def test_closing_it_frees_the_engine_of_what_sounds_and_of_what_comes_next() -> None:
    never = asyncio.Event()
    voices = ScriptedVoices({"a": [0.1, never], "b": [never]})
    async with aclosing(read_aloud(lines("abc"), Speaker(voices))) as sound:
        await anext(sound)
        await asyncio.sleep(0.01)
        assert voices.running == 2
    assert voices.running == 0


async def test_cancelling_whoever_waits_for_the_first_sound_frees_the_engine() -> None:
    voices = ScriptedVoices({"a": [asyncio.Event()]})
    async with aclosing(read_aloud(lines("abc"), Speaker(voices))) as sound:
        waiting = asyncio.create_task(_next(sound))
        await voices.started.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert voices.running == 0


async def test_a_sentence_that_fails_ends_it_after_all_that_was_said_before() -> None:
    voices = ScriptedVoices({"b": [EngineError("It broke.")], "a": [0.1, 0.1]})
    async with aclosing(read_aloud(lines("abc"), Speaker(voices))) as sound:
        await anext(sound)
        await anext(sound)
        with pytest.raises(EngineError, match=r"It broke\."):
            await anext(sound)
    assert voices.running == 0


async def test_a_failure_that_nobody_waits_for_any_more_is_not_left_behind() -> None:
    voices = ScriptedVoices({"b": [EngineError("It broke.")], "a": [0.1, asyncio.Event()]})
    async with aclosing(read_aloud(lines("ab"), Speaker(voices))) as sound:
        await anext(sound)
        await asyncio.sleep(0.01)
    assert voices.running == 0


async def test_a_long_text_is_split_as_it_is_read_and_nothing_of_it_is_lost() -> None:
    text = " ".join(f"This is sentence number {number}." for number in range(500))
    async with aclosing(sentences(text, "en-us")) as lines:
        said = [line async for line in lines]
    assert "".join(" ".join(said).split()) == "".join(text.split())
    assert len(said) >= 500 * 35 / 250


async def test_what_cannot_be_said_is_left_out() -> None:
    text = "Look:\n\n```\nrm -rf /\n```\n\nThat was **all**.\n"
    async with aclosing(sentences(text, "en")) as lines:
        said = " ".join([line async for line in lines])
    assert "rm" not in said
    assert "That was all." in said
