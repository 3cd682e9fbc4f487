"""Recognisers over a lane: what is queued, what settles, what is given back."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.base import Capabilities, EngineError, JobClass, Outcome, Recipe, Work
from engines.devices import Device
from engines.recognisers import (
    AGREEMENT_STEP,
    PARTIAL_STEP,
    WINDOW_SECONDS,
    StreamedRecogniser,
    WindowedRecogniser,
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


@dataclass(frozen=True, slots=True)
class Window:
    audio: Samples
    options: RecognitionOptions
    final: bool


class Reader:
    """Reads the numbers in the audio: one word for each whole half second that a window holds."""

    def __init__(self, unsure: bool = False) -> None:
        self.windows: list[Window] = []
        self.fail = False
        self._unsure = unsure

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [self._read(each) for each in work]

    def _read(self, work: Work) -> Outcome:
        window: Window = work.payload
        self.windows.append(window)
        if self.fail:
            raise EngineError("the reader is blind")
        spelling = len(self.windows) if self._unsure and not window.final else ""
        half = SAMPLE_RATE // 2
        words = tuple(
            Word(f"w{int(window.audio[at]) // half}{spelling}", at / SAMPLE_RATE, at / SAMPLE_RATE)
            for at in range(0, len(window.audio) - half + 1, half)
        )
        words = tuple(Word(w.text, w.start, w.start + 0.5) for w in words)
        return Outcome(work.job, (Hypothesis(words, window.final),), done=True)

    def drop(self, job: int) -> None: ...

    def close(self) -> None: ...


def windowed(reader: Reader, scheduler: Scheduler, capacity: int = 10) -> WindowedRecogniser:
    recipe = Recipe("reader", lambda: reader, worker="inline", capacity=capacity)
    return WindowedRecogniser("reader", Capabilities(), scheduler.open(recipe), Window)


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


# Windowed


async def test_an_utterance_is_decoded_again_for_each_half_second_of_new_audio() -> None:
    reader, scheduler = Reader(), Scheduler(Device(1))
    recognition = windowed(reader, scheduler).open(OPTIONS, owner="a")
    task, heard = reading(recognition)
    await speak(recognition, 3)
    assert len(reader.windows) == 3 / PARTIAL_STEP
    recognition.finish()
    await task
    assert [hypothesis.final for hypothesis in heard] == [False] * 6 + [True]
    assert [hypothesis.settled for hypothesis in heard[:-1]] == [0, 1, 2, 3, 4, 5]
    assert heard[-1].text == "w0 w1 w2 w3 w4 w5"
    await scheduler.close()


async def test_without_partials_only_the_final_is_decoded() -> None:
    reader, scheduler = Reader(), Scheduler(Device(1))
    options = RecognitionOptions(partials=False)
    recognition = windowed(reader, scheduler).open(options, owner="a")
    task, heard = reading(recognition)
    await speak(recognition, 3)
    assert reader.windows == []
    recognition.finish()
    await task
    assert [window.final for window in reader.windows] == [True]
    assert len(heard) == 1
    await scheduler.close()


async def test_never_more_than_one_partial_is_queued() -> None:
    reader, device = Reader(), Device(1)
    scheduler = Scheduler(device)
    recogniser = windowed(reader, scheduler)
    recognition = recogniser.open(OPTIONS, owner="a")
    task, _ = reading(recognition)
    async with device.grant(1, lambda: 0.0):
        for number in range(50):
            recognition.push(sound(0.5, number / 2))
            await settle_down()
            assert recogniser.lane.live <= 1
    recognition.finish()
    await task
    assert len(reader.windows) <= 3
    await scheduler.close()


async def test_finishing_cancels_the_partial_that_waits() -> None:
    reader, device = Reader(), Device(1)
    scheduler = Scheduler(device)
    recognition = windowed(reader, scheduler).open(OPTIONS, owner="a")
    task, heard = reading(recognition)
    async with device.grant(1, lambda: 0.0):
        await speak(recognition, 1)
        recognition.finish()
        await settle_down()
    await task
    assert [window.final for window in reader.windows] == [True]
    assert [hypothesis.text for hypothesis in heard] == ["w0 w1"]
    await scheduler.close()


@pytest.mark.virtual_time
async def test_decoding_that_is_slower_than_speech_is_asked_for_less_often() -> None:
    reader, device = Reader(), Device(1)
    scheduler = Scheduler(device)
    recognition = windowed(reader, scheduler).open(OPTIONS, owner="a")
    task, _ = reading(recognition)
    async with device.grant(1, lambda: 0.0):
        recognition.push(sound(0.5))
        await asyncio.sleep(4)  # the first partial takes four seconds
    await settle_down()
    assert len(reader.windows) == 1
    recognition.push(sound(3.9, 0.5))
    await settle_down()
    assert len(reader.windows) == 1
    recognition.push(sound(0.1, 4.4))
    await settle_down()
    assert len(reader.windows) == 2
    recognition.cancel()
    await task
    await scheduler.close()


async def test_a_long_utterance_trims_the_window_and_keeps_every_word() -> None:
    reader, scheduler = Reader(), Scheduler(Device(1))
    recognition = windowed(reader, scheduler).open(OPTIONS, owner="a")
    task, heard = reading(recognition)
    await speak(recognition, 60, chunk=0.5)
    partials = list(reader.windows)
    longest = max(len(window.audio) for window in partials) / SAMPLE_RATE
    assert longest <= WINDOW_SECONDS + 1
    assert partials[-1].audio[0] > 40 * SAMPLE_RATE
    for hypothesis in heard:
        assert hypothesis.text == " ".join(f"w{n}" for n in range(len(hypothesis.words)))
    assert heard[-1].settled == len(heard[-1].words) - 1 == 119
    recognition.finish()
    await task
    assert reader.windows[-1].final
    np.testing.assert_array_equal(reader.windows[-1].audio, sound(60))
    await scheduler.close()


async def test_audio_whose_words_never_settle_is_kept_in_the_window() -> None:
    reader, scheduler = Reader(unsure=True), Scheduler(Device(1))
    recognition = windowed(reader, scheduler).open(OPTIONS, owner="a")
    task, heard = reading(recognition)
    await speak(recognition, 20, chunk=0.5)
    assert all(hypothesis.settled == 0 for hypothesis in heard)
    assert reader.windows[-1].audio[0] == 0
    recognition.finish()
    await task
    await scheduler.close()


async def test_cancelling_frees_the_lane_and_ends_the_iteration() -> None:
    reader, device = Reader(), Device(1)
    scheduler = Scheduler(device)
    recogniser = windowed(reader, scheduler)
    recognition = recogniser.open(OPTIONS, owner="a")
    task, heard = reading(recognition)
    async with device.grant(1, lambda: 0.0):
        await speak(recognition, 1)
        assert recogniser.lane.live == 1
        recognition.cancel()
        recognition.cancel()
        assert recogniser.lane.live == 0
        await task
    assert heard == []
    assert reader.windows == []
    await scheduler.close()


async def test_cancelling_a_final_that_waits_frees_the_lane() -> None:
    reader, device = Reader(), Device(1)
    scheduler = Scheduler(device)
    recogniser = windowed(reader, scheduler)
    recognition = recogniser.open(OPTIONS, owner="a")
    task, heard = reading(recognition)
    async with device.grant(1, lambda: 0.0):
        await speak(recognition, 0.3)
        recognition.finish()
        await settle_down()
        assert recogniser.lane.live == 1
        assert recognition.backlog == round(0.3 * SAMPLE_RATE)
        recognition.cancel()
        await task
        assert recogniser.lane.live == 0
    assert heard == []
    await scheduler.close()


async def test_nothing_at_all_gives_an_empty_final() -> None:
    scheduler = Scheduler(Device(1))
    recognition = windowed(Reader(), scheduler).open(OPTIONS, owner="a")
    task, heard = reading(recognition)
    recognition.finish()
    await task
    assert heard == [Hypothesis((), final=True)]
    await scheduler.close()


async def test_an_engine_that_fails_ends_the_iteration_with_its_error() -> None:
    reader, scheduler = Reader(), Scheduler(Device(1))
    reader.fail = True
    recognition = windowed(reader, scheduler).open(OPTIONS, owner="a")
    task, _ = reading(recognition)
    recognition.push(sound(1))
    with pytest.raises(EngineError, match="blind"):
        await task
    await scheduler.close()


async def test_live_partials_give_way_to_finals_and_files_keep_their_class() -> None:
    reader, device = Reader(), Device(1)
    scheduler = Scheduler(device)
    recogniser = windowed(reader, scheduler)
    speaking = recogniser.open(OPTIONS, owner="a")
    file = recogniser.open(OPTIONS, owner="b", kind=JobClass.REST)
    done = recogniser.open(OPTIONS, owner="c")
    tasks = [reading(each)[0] for each in (file, speaking, done)]
    async with device.grant(1, lambda: 0.0):
        for each, seconds in ((file, 0.7), (speaking, 0.6), (done, 0.5)):
            each.push(sound(seconds))
        file.finish()
        done.finish()
        await settle_down()
    await settle_down()
    order = [len(window.audio) / SAMPLE_RATE for window in reader.windows]
    assert order == [0.5, 0.6, 0.7]
    speaking.cancel()
    await asyncio.gather(*tasks)
    await scheduler.close()


# Streamed


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
