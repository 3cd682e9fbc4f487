"""Recognisers over a lane: what is queued, what settles, what is given back."""

import asyncio
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engines.base import Capabilities, Outcome, Recipe, Work
from engines.devices import Device
from engines.recognisers import (
    AGREEMENT_STEP,
    StreamedRecogniser,
    shifted,
)
from engines.recognition import (
    SAMPLE_RATE,
    Hypothesis,
    Recognition,
    RecognitionOptions,
    Samples,
    Word,
)
from engines.scheduler import Lane, Scheduler

OPTIONS = RecognitionOptions()


def sound(seconds: float, start: float = 0.0) -> Samples:
    """Audio whose every sample is its own position in the session (exact up to 1000 s)."""
    first = round(start * SAMPLE_RATE)
    return np.arange(first, first + round(seconds * SAMPLE_RATE), dtype=np.float32)


async def settle_down() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def reading(recognition: Recognition) -> tuple[asyncio.Task[None], list[Hypothesis]]:
    heard: list[Hypothesis] = []

    async def read() -> None:
        async for hypothesis in recognition:
            heard.append(hypothesis)

    return asyncio.create_task(read()), heard


async def speak(recognition: Recognition, seconds: float, chunk: float = 0.1) -> None:
    for number in range(round(seconds / chunk)):
        recognition.push(sound(chunk, number * chunk))
        await settle_down()


class Script:
    """A streaming engine that answers its nth input with the nth of these texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self.inputs = 0
        self.dropped: list[int] = []

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [self._one(each) for each in work]

    def _one(self, work: Work) -> Outcome:
        events: tuple[Hypothesis, ...] = ()
        for _ in work.inputs:
            events += (self._hypothesis(self._texts[self.inputs % len(self._texts)]),)
            self.inputs += 1
        if work.ended:
            events += (self._hypothesis("the end", final=True),)
        return Outcome(work.job, events, done=work.ended)

    @staticmethod
    def _hypothesis(text: str, *, final: bool = False) -> Hypothesis:
        words = tuple(Word(w, n / 2, n / 2 + 0.5) for n, w in enumerate(text.split()))
        return Hypothesis(words, final)

    def drop(self, job: int) -> None:
        self.dropped.append(job)

    def close(self) -> None: ...


def streamed(engine: Script, scheduler: Scheduler) -> StreamedRecogniser:
    lane: Lane = scheduler.open(Recipe("script", lambda: engine, worker="inline"))
    return StreamedRecogniser("script", Capabilities(), lane)


async def test_hypotheses_that_follow_each_other_too_soon_do_not_agree() -> None:
    scheduler = Scheduler(Device(1))
    hasty = ["one too three"] * 4 + ["one two three four"] * 20
    recognition = streamed(Script(hasty), scheduler).open(OPTIONS, owner="a")
    task, heard = reading(recognition)
    await speak(recognition, 0.4)
    assert [each.text for each in heard] == ["one too three"] * 4
    assert [each.settled for each in heard] == [0] * 4
    await speak(recognition, 1)
    assert [each.settled for each in heard[4:]] == [0] * 5 + [3] * 5
    assert all(each.text == "one two three four" for each in heard[4:])
    recognition.finish()
    await task
    assert heard[-1].text == "the end"
    await scheduler.close()


async def test_hypotheses_that_are_far_enough_apart_agree() -> None:
    scheduler = Scheduler(Device(1))
    recognition = streamed(Script(["one two three"]), scheduler).open(OPTIONS, owner="a")
    task, heard = reading(recognition)
    await speak(recognition, 2 * AGREEMENT_STEP, chunk=AGREEMENT_STEP)
    assert [each.settled for each in heard] == [0, 2]
    recognition.cancel()
    await task
    await scheduler.close()


async def test_words_between_agreements_come_after_the_settled_ones() -> None:
    scheduler = Scheduler(Device(1))
    texts = ["a b c d"] * 10 + ["a x c d e"]
    recognition = streamed(Script(texts), scheduler).open(OPTIONS, owner="a")
    task, heard = reading(recognition)
    await speak(recognition, 1.1)
    assert heard[-2].settled == heard[-1].settled == 3
    assert heard[-1].text == "a b c d e"
    recognition.cancel()
    await task
    await scheduler.close()


async def test_a_reader_that_is_behind_does_not_take_old_hypotheses_for_new_ones() -> None:
    scheduler = Scheduler(Device(1))
    recognition = streamed(Script(["one two three"]), scheduler).open(OPTIONS, owner="a")
    await speak(recognition, 3)
    task, heard = reading(recognition)
    await settle_down()
    assert len(heard) == 30
    assert all(each.settled == 0 for each in heard)
    recognition.cancel()
    await task
    await scheduler.close()


async def test_the_streams_backlog_is_what_the_engine_has_not_taken() -> None:
    device = Device(1)
    scheduler = Scheduler(device)
    recognition = streamed(Script(["a"]), scheduler).open(OPTIONS, owner="a")
    async with device.grant(1, lambda: 0.0):
        recognition.push(sound(2))
        await settle_down()
        assert recognition.backlog == 2 * SAMPLE_RATE
    await settle_down()
    assert recognition.backlog == 0
    recognition.cancel()
    await scheduler.close()


async def test_cancelling_a_stream_makes_the_engine_forget_it() -> None:
    engine, scheduler = Script(["a"]), Scheduler(Device(1))
    recogniser = streamed(engine, scheduler)
    recognition = recogniser.open(OPTIONS, owner="a")
    task, _ = reading(recognition)
    await speak(recognition, 0.2)
    recognition.cancel()
    recognition.push(sound(1))
    recognition.finish()
    await task
    await settle_down()
    assert recogniser.lane.live == 0
    assert len(engine.dropped) == 1
    await scheduler.close()


@given(st.floats(0.001, 500, allow_nan=False))
def test_shifted_words_keep_their_length_and_text(seconds: float) -> None:
    before = (Word("a", 0.5, 1.25, 0.9), Word("b", 1.25, 2.0))
    after = shifted(before, seconds)
    assert [word.start for word in after] == [word.start + seconds for word in before]
    assert [(word.text, word.probability) for word in after] == [("a", 0.9), ("b", None)]
