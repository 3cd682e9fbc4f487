"""Streaming Whisper on virtual time: what is decoded when, what settles, what is given up."""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from engines import whisper_stream
from engines.base import Busy, Capabilities, EngineError, JobClass, Outcome, Recipe, Work
from engines.decoding import Decode, Decoded
from engines.devices import Device
from engines.mel import FRAME
from engines.recognition import SAMPLE_RATE, Hypothesis, RecognitionOptions, Word
from engines.scheduler import Scheduler
from engines.speech import Speech
from engines.whisper_stream import WhisperRecogniser, WhisperRecognition
from engines.whisper_windows import LONGEST, StreamSettings

pytestmark = pytest.mark.virtual_time

OPTIONS = RecognitionOptions()
SOUND = np.zeros(4000 * SAMPLE_RATE // 100, np.float32)


# An engine that hears a script


def spoken(text: str, start: float = 0.3, length: float = 0.3, gap: float = 0.02) -> list[Word]:
    step = length + gap
    return [
        Word(word, start + n * step, start + n * step + length)
        for n, word in enumerate(text.split())
    ]


def counted(first: int, last: int) -> str:
    return " ".join(f"n{n}" for n in range(first, last + 1))


@dataclass
class Ear:
    """Hears of each scripted word what the window holds of it: all, its beginning, or a rest."""

    script: Sequence[Word]
    decodes: list[Decode] = field(default_factory=list)
    blind: bool = False
    doubt: bool = False
    unsure: bool = False
    language: str | None = "en"

    def hear(self, decode: Decode) -> Decoded:
        self.decodes.append(decode)
        assert decode.start % FRAME == 0
        assert decode.end - decode.start <= LONGEST
        assert decode.end - decode.start <= decode.frames * FRAME
        assert decode.end <= decode.speech.length
        if isinstance(decode.speech, WatchedSpeech):
            assert decode.start >= decode.speech.needed, "audio that was forgotten is asked for"
        if self.blind:
            raise EngineError("the ear is deaf")
        words = self.words(decode.start / SAMPLE_RATE, decode.end / SAMPLE_RATE)
        if self.unsure and not decode.final:
            words = [Word(f"{w.text}x{len(self.decodes)}", w.start, w.end) for w in words]
        if not decode.word_times:
            words = _spread(words, decode)
        return Decoded(tuple(words), self.language, passed=not self.doubt)

    def words(self, start: float, end: float) -> list[Word]:
        heard = []
        for word in self.script:
            length = word.end - word.start
            part = (min(word.end, end) - max(word.start, start)) / length
            if part > 0.999:
                heard.append(word)
            elif part > 0.3 and word.start >= start:
                heard.append(Word(word.text[: max(1, int(part * len(word.text)))], word.start, end))
            elif part > 0.7:
                heard.append(Word(f"~{word.text}", start, word.end))
        return heard

    def texts(self, seconds: float) -> str:
        return " ".join(word.text for word in self.words(0, seconds))

    @property
    def partials(self) -> list[Decode]:
        return [decode for decode in self.decodes if not decode.final]

    @property
    def finals(self) -> list[Decode]:
        return [decode for decode in self.decodes if decode.final]


def _spread(words: Sequence[Word], decode: Decode) -> list[Word]:
    start, end = decode.start / SAMPLE_RATE, decode.end / SAMPLE_RATE
    step = (end - start) / max(1, len(words))
    return [Word(w.text, start + n * step, start + (n + 1) * step) for n, w in enumerate(words)]


class WatchedSpeech(Speech):
    """Knows what it was told to forget, and the most it ever held."""

    needed = 0
    most = 0

    def append(self, samples: Any) -> None:
        super().append(samples)
        self.most = max(self.most, self.length - self.needed)

    def forget(self, before: int) -> None:
        super().forget(before)
        self.needed = max(self.needed, before)


# A lane with one seat whose steps take virtual time


class Job:
    def __init__(self, payload: Decode, kind: JobClass, at: float) -> None:
        self.payload = payload
        self.kind = kind
        self.at = at
        self.started = False
        self.over = False
        self.cancelled = False
        self._results: list[Decoded] = []
        self._error: EngineError | None = None
        self._wake = asyncio.Event()

    def cancel(self) -> None:
        self.cancelled |= not self.over
        self.end()

    def expire(self) -> None:
        if not self.started:
            self.end()

    def end(self, *results: Decoded, error: EngineError | None = None) -> None:
        if not self.over:
            self.over = True
            self._results += results
            self._error = error
            self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Decoded]:
        await self._wake.wait()
        while self._results:
            yield self._results.pop(0)
        if self._error is not None:
            raise self._error


class Seat:
    """Takes the most urgent job, one at a time; each takes `seconds`."""

    def __init__(self, ear: Ear, seconds: float) -> None:
        self.ear = ear
        self.seconds = seconds
        self.wait = 0.0
        self.jobs: list[Job] = []
        self.most_partials = 0
        self.refuse: set[JobClass] = set()
        self.held = False
        self._wake = asyncio.Event()

    @property
    def live(self) -> int:
        return sum(not job.over for job in self.jobs)

    @property
    def queued(self) -> list[Job]:
        return [job for job in self.jobs if not job.over and not job.started]

    def predicted_wait(self, kind: JobClass) -> float:
        return self.wait

    def submit(
        self,
        payload: Decode,
        *,
        owner: str,
        kind: JobClass,
        coalesce: Hashable | None = None,
        stale_after: float | None = None,
    ) -> Job:
        if kind in self.refuse:
            raise Busy("the lane is full")
        assert (stale_after is not None) is not payload.final
        assert (coalesce is not None) is not payload.final
        loop = asyncio.get_running_loop()
        job = Job(payload, kind, loop.time())
        self.jobs = [each for each in self.jobs if not each.over]
        self.jobs.append(job)
        if stale_after is not None:
            loop.call_later(stale_after, job.expire)
        partials = sum(not each.over and not each.payload.final for each in self.jobs)
        self.most_partials = max(self.most_partials, partials)
        self._wake.set()
        return job

    async def serve(self) -> None:
        while True:
            self._wake.clear()
            if self.held or not self.queued:
                await self._wake.wait()
                continue
            job = min(self.queued, key=lambda each: each.kind)
            job.started = True
            await asyncio.sleep(self.seconds)
            try:
                job.end(self.ear.hear(job.payload))
            except EngineError as error:
                job.end(error=error)
            except AssertionError as error:
                job.end(error=EngineError(f"nothing can decode this: {error}"))

    def release(self) -> None:
        self.held = False
        self._wake.set()


@asynccontextmanager
async def seat(ear: Ear, seconds: float = 0.05) -> AsyncIterator[Seat]:
    lane = Seat(ear, seconds)
    serving = asyncio.create_task(lane.serve())
    yield lane
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


def recogniser(lane: Seat, settings: StreamSettings | None = None) -> WhisperRecogniser:
    return WhisperRecogniser("ear", Capabilities(), lane, settings or StreamSettings())


def reading(recognition: WhisperRecognition) -> tuple[asyncio.Task[None], list[Hypothesis]]:
    heard: list[Hypothesis] = []

    async def read() -> None:
        async for hypothesis in recognition:
            heard.append(hypothesis)

    return asyncio.create_task(read()), heard


async def speak(recognition: WhisperRecognition, seconds: float, chunk: float = 0.1) -> None:
    """Push so much audio at the speed of speech."""
    left = round(seconds * SAMPLE_RATE)
    while left > 0:
        size = min(left, round(chunk * SAMPLE_RATE))
        await asyncio.sleep(size / SAMPLE_RATE)
        recognition.push(SOUND[:size])
        left -= size


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> list[WatchedSpeech]:
    """Every `Speech` that a recognition makes."""
    made: list[WatchedSpeech] = []

    def make() -> WatchedSpeech:
        made.append(WatchedSpeech())
        return made[-1]

    monkeypatch.setattr(whisper_stream, "Speech", make)
    return made


# Partials


async def test_words_appear_while_the_speaker_goes_on_and_settle() -> None:
    ear = Ear(spoken("the quick brown fox jumps over the lazy dog"))
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 2.5)
        partial = heard[-1]
        assert not partial.final
        assert 4 <= partial.settled < len(partial.words)
        assert partial.language == "en"
        await speak(recognition, 1.5)
        recognition.finish()
        await task
        assert heard[-1].final
        assert heard[-1].text == "the quick brown fox jumps over the lazy dog"
        assert lane.live == 0
        assert lane.most_partials == 1
        assert [(d.start, d.end) for d in ear.finals] == [(0, 4 * SAMPLE_RATE)]


async def test_partials_follow_each_other_as_fast_as_the_engine_allows() -> None:
    ear = Ear([])
    for seconds, least, most in ((0.05, 30, 34), (0.3, 19, 23), (2.0, 3, 5)):
        ear.decodes.clear()
        async with seat(ear, seconds) as lane:
            recognition = recogniser(lane).open(OPTIONS, owner="a")
            task, _ = reading(recognition)
            await speak(recognition, 10, chunk=0.02)
            assert least <= len(ear.partials) <= most
            assert lane.most_partials == 1
            recognition.cancel()
            await task


async def test_partials_are_stretched_by_the_wait_that_the_lane_predicts() -> None:
    ear = Ear([])
    async with seat(ear) as lane:
        lane.wait = 0.5
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, _ = reading(recognition)
        await speak(recognition, 10)
        assert 11 <= len(ear.partials) <= 13
        lane.wait = 60.0
        ear.decodes.clear()
        await speak(recognition, 30)
        assert 9 <= len(ear.partials) <= 11
        recognition.cancel()
        await task


async def test_a_partial_that_went_stale_is_tried_again_with_newer_audio() -> None:
    ear = Ear(spoken(counted(0, 20)))
    async with seat(ear) as lane:
        lane.held = True
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 4)
        assert ear.decodes == []
        assert lane.live <= 1
        lane.release()
        await speak(recognition, 4)
        assert len(ear.partials) >= 1
        assert ear.partials[0].end > 2 * SAMPLE_RATE
        recognition.finish()
        await task
        assert heard[-1].text == counted(0, 20)


async def test_a_full_lane_delays_partials_and_fails_a_final() -> None:
    ear = Ear(spoken("one two"))
    async with seat(ear) as lane:
        lane.refuse = {JobClass.PARTIAL, JobClass.FINAL}
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 2)
        recognition.pause()
        await speak(recognition, 0.5)
        assert heard == []
        recognition.finish()
        with pytest.raises(Busy):
            await task


async def test_without_partials_only_finals_are_decoded() -> None:
    ear = Ear(spoken(counted(0, 99)))
    async with seat(ear) as lane:
        options = RecognitionOptions(partials=False)
        recognition = recogniser(lane).open(options, owner="a", kind=JobClass.REST)
        task, heard = reading(recognition)
        await speak(recognition, 10)
        recognition.pause()
        await speak(recognition, 0.3)
        recognition.resume()
        await speak(recognition, 30)
        recognition.finish()
        await task
        assert ear.partials == []
        assert (ear.finals[0].start, ear.finals[0].end) == (0, LONGEST)
        assert len(ear.finals) == 2
        assert [each.final for each in heard] == [True]
        assert heard[0].text == counted(0, 99)


async def test_a_files_decodes_keep_the_class_they_were_given() -> None:
    ear = Ear(spoken(counted(0, 9)))
    async with seat(ear) as lane:
        lane.held = True
        recognition = recogniser(lane).open(OPTIONS, owner="a", kind=JobClass.REST)
        task, _ = reading(recognition)
        recognition.push(SOUND[:16000])
        await asyncio.sleep(0)
        recognition.push(SOUND[:16000])
        recognition.pause()
        assert {job.kind for job in lane.queued} == {JobClass.REST}
        recognition.cancel()
        await task
        assert lane.live == 0


# What the engine is told


async def test_an_utterance_is_told_what_the_owner_said_before_and_no_one_else() -> None:
    ear = Ear(spoken("hello there"))
    async with seat(ear) as lane:
        whisper = recogniser(lane)
        options = RecognitionOptions(prompt="names")
        for owner, asked in (("a", OPTIONS), ("a", options), ("b", OPTIONS)):
            recognition = whisper.open(asked, owner=owner)
            task, _ = reading(recognition)
            await speak(recognition, 1)
            recognition.finish()
            await task
        told = [(decode.context, decode.context_tokens) for decode in ear.finals]
        assert told == [("", 0), ("hello there", 32), ("", 0)]


async def test_context_is_off_where_a_model_says_so_but_a_prompt_counts() -> None:
    ear = Ear(spoken("hello there"))
    async with seat(ear) as lane:
        whisper = recogniser(lane, StreamSettings(context_tokens=0))
        for options in (OPTIONS, OPTIONS, RecognitionOptions(prompt="names")):
            recognition = whisper.open(options, owner="a")
            task, _ = reading(recognition)
            await speak(recognition, 1)
            recognition.finish()
            await task
        told = [(decode.context, decode.context_tokens) for decode in ear.finals]
        assert told == [("", 0), ("", 0), ("", 32)]


@pytest.mark.parametrize("why", ["silence", "doubt", "language"])
async def test_context_is_dropped(why: str) -> None:
    ear = Ear(spoken("hello there"))
    async with seat(ear) as lane:
        whisper = recogniser(lane)
        for number in range(2):
            ear.doubt = why == "doubt"
            recognition = whisper.open(
                RecognitionOptions(language="de") if why == "language" and number else OPTIONS,
                owner="a",
            )
            task, _ = reading(recognition)
            await speak(recognition, 1)
            recognition.finish()
            await task
            await asyncio.sleep(31 if why == "silence" else 1)
        assert [decode.context for decode in ear.finals] == ["", ""]


async def test_word_times_are_asked_for_finals_when_the_caller_wants_them() -> None:
    ear = Ear(spoken("hello there"))
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(RecognitionOptions(word_times=True), owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 1)
        recognition.finish()
        await task
        assert [decode.word_times for decode in ear.finals] == [True]
        assert not any(decode.word_times for decode in ear.partials)
        assert heard[-1].words == tuple(ear.script)


# Pauses


async def test_the_final_is_there_when_the_turn_ends_if_it_was_decoded_in_the_pause() -> None:
    ear = Ear(spoken("good morning everyone"))
    async with seat(ear, 0.1) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 1.5)
        recognition.pause()
        await speak(recognition, 0.3)
        assert heard[-1].text == "good morning everyone"
        assert heard[-1].settled == 3
        assert not heard[-1].final
        decodes = len(ear.decodes)
        before = asyncio.get_running_loop().time()
        recognition.finish()
        await task
        assert asyncio.get_running_loop().time() == before
        assert len(ear.decodes) == decodes
        assert heard[-1].final
        assert heard[-1].text == "good morning everyone"
        assert ear.finals[-1].end == round(1.5 * SAMPLE_RATE)


async def test_a_final_of_the_whole_utterance_is_told_how_much_of_it_was_voice() -> None:
    ear = Ear(spoken("good morning everyone"))
    async with seat(ear, 0.1) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, _ = reading(recognition)
        await speak(recognition, 1.5)
        recognition.pause(voiced=0.9)
        await speak(recognition, 0.3)
        recognition.resume()
        await speak(recognition, 1.0)
        recognition.finish(voiced=1.8)
        await task
        assert [decode.voiced for decode in ear.finals] == [0.9, 1.8]
        assert all(decode.voiced is None for decode in ear.partials)


async def test_under_load_no_final_is_decoded_on_the_chance_that_the_turn_is_over() -> None:
    ear = Ear(spoken("good morning everyone"))
    async with seat(ear, 0.1) as lane:
        lane.wait = 1.5
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 4)
        recognition.pause()
        await speak(recognition, 0.3)
        assert ear.finals == []
        recognition.finish()
        await task
        assert heard[-1].text == "good morning everyone"
        assert len(ear.finals) == 1


async def test_a_final_that_is_still_being_decoded_is_waited_for() -> None:
    ear = Ear(spoken("good morning everyone"))
    async with seat(ear, 0.1) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 1.5)
        lane.seconds = 1.0
        recognition.pause()
        await speak(recognition, 0.3)
        before = asyncio.get_running_loop().time()
        recognition.finish()
        await task
        assert 0.5 < asyncio.get_running_loop().time() - before < 0.9
        assert len(ear.finals) == 1
        assert heard[-1].final
        assert heard[-1].text == "good morning everyone"


async def test_a_final_of_a_pause_that_waits_is_dropped_when_speech_goes_on() -> None:
    ear = Ear(spoken("good morning everyone"))
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 0.8)
        lane.held = True
        recognition.pause()
        await speak(recognition, 0.2)
        assert [job.payload.final for job in lane.queued] == [True]
        recognition.resume()
        assert not any(job.payload.final for job in lane.queued)
        lane.release()
        await speak(recognition, 1)
        recognition.finish()
        await task
        assert [decode.end for decode in ear.finals] == [2 * SAMPLE_RATE]
        assert heard[-1].text == "good morning everyone"


async def test_after_a_pause_the_window_begins_there_and_what_was_said_is_context() -> None:
    ear = Ear([*spoken("good morning everyone"), *spoken("how are you today", start=2.0)])
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 1.5)
        recognition.pause()
        await speak(recognition, 0.6)
        recognition.resume()
        await speak(recognition, 1.4)
        latest = ear.partials[-1]
        assert latest.start == round(1.4 * SAMPLE_RATE)
        assert latest.context == "good morning everyone"
        assert latest.context_tokens == 32
        assert heard[-1].text == "good morning everyone how are you today"
        assert heard[-1].settled >= 5
        recognition.finish()
        await task
        assert ear.finals[-1].start == 0
        assert ear.finals[-1].context == ""
        assert heard[-1].text == "good morning everyone how are you today"


async def test_a_final_that_runs_when_speech_goes_on_still_counts_as_a_hypothesis() -> None:
    ear = Ear([*spoken("good morning everyone"), *spoken("how are you today", start=2.0)])
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 1.5)
        lane.seconds = 0.7
        recognition.pause()
        await speak(recognition, 0.5)
        recognition.resume()
        await speak(recognition, 0.4)
        assert heard[-1].text == "good morning everyone"
        assert heard[-1].settled == 3
        lane.seconds = 0.05
        await speak(recognition, 1.1)
        assert ear.partials[-1].start == round(1.4 * SAMPLE_RATE)
        recognition.finish()
        await task
        assert ear.finals[-1].end == round(3.5 * SAMPLE_RATE)
        assert heard[-1].text == "good morning everyone how are you today"


async def test_finishing_does_not_wait_for_a_final_of_an_earlier_pause() -> None:
    ear = Ear(spoken("good morning everyone"))
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 0.8)
        lane.seconds = 0.5
        recognition.pause()
        await speak(recognition, 0.1)
        recognition.resume()
        await speak(recognition, 0.1)
        assert [job.started for job in lane.jobs if not job.over] == [True]
        recognition.finish()
        assert lane.live == 0
        await task
        assert heard[-1].final
        assert ear.finals[-1].end == SAMPLE_RATE


async def test_a_pause_drops_the_partial_that_waits_and_keeps_the_one_that_runs() -> None:
    ear = Ear(spoken("good morning everyone"))
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, _ = reading(recognition)
        lane.held = True
        await speak(recognition, 0.5)
        assert [job.payload.final for job in lane.queued] == [False]
        recognition.pause()
        assert [job.payload.final for job in lane.queued] == [True]
        recognition.cancel()
        await task

        lane.seconds = 1.0
        lane.release()
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 0.8)
        recognition.pause()
        assert [(j.payload.final, j.started) for j in lane.jobs if not j.over] == [
            (False, True),
            (True, False),
        ]
        await speak(recognition, 2.5)
        assert [each.final for each in heard] == [False, False]
        recognition.finish()
        await task


async def test_pausing_and_resuming_out_of_turn_changes_nothing() -> None:
    ear = Ear(spoken("good morning everyone"))
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        recognition.resume()
        await speak(recognition, 1.5)
        recognition.pause()
        recognition.pause()
        await speak(recognition, 0.2)
        recognition.finish()
        recognition.resume()
        recognition.pause()
        recognition.finish()
        await task
        assert len(ear.finals) == 1
        assert heard[-1].text == "good morning everyone"
        recognition.pause()
        recognition.resume()
        recognition.finish()
        assert lane.live == 0


# Long utterances


async def test_continuous_speech_moves_the_window_and_loses_no_word() -> None:
    ear = Ear(spoken(counted(0, 199)))
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 65)
        assert max(d.end - d.start for d in ear.partials) < 12 * SAMPLE_RATE
        recognition.finish()
        await task
        assert len(ear.finals) == 1
        assert ear.finals[0].start > 50 * SAMPLE_RATE
        assert ear.finals[0].context_tokens == 64
        assert heard[-1].text == counted(0, 199)
        for hypothesis in heard:
            sure = " ".join(word.text for word in hypothesis.words[:-1])
            assert counted(0, 199).startswith(sure)


async def test_audio_is_kept_for_the_final_of_an_utterance_that_fits_a_window(
    watched: list[WatchedSpeech],
) -> None:
    ear = Ear(spoken(counted(0, 80)))
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 27.5)
        assert ear.partials[-1].start > 15 * SAMPLE_RATE
        assert watched[0].needed == 0
        recognition.finish()
        await task
        assert [(d.start, d.end) for d in ear.finals] == [(0, round(27.5 * SAMPLE_RATE))]
        assert heard[-1].text == counted(0, 80)


async def test_speech_that_never_settles_is_fixed_window_by_window() -> None:
    ear = Ear(spoken(counted(0, 299)), unsure=True)
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 97, chunk=0.5)
        assert len(ear.finals) == 3
        assert all(decode.word_times for decode in ear.finals)
        assert heard[-1].settled > 200
        recognition.finish()
        await task
        assert heard[-1].text == counted(0, 299)


async def test_a_full_window_that_runs_when_the_utterance_ends_is_not_given_up() -> None:
    ear = Ear(spoken(counted(0, 99)))
    async with seat(ear) as lane:
        options = RecognitionOptions(partials=False)
        recognition = recogniser(lane).open(options, owner="a")
        task, heard = reading(recognition)
        for _ in range(100):
            recognition.push(SOUND[: round(0.35 * SAMPLE_RATE)])
        assert recognition.backlog == 35 * SAMPLE_RATE - LONGEST
        await asyncio.sleep(0.01)
        recognition.finish()
        await task
        assert len(ear.finals) == 2
        assert heard[-1].text == counted(0, 99)
        assert recognition.backlog == 0


async def test_every_window_that_is_asked_for_has_its_audio() -> None:
    ear = Listening(spoken(counted(0, 219)))
    async with seat(ear, 0.3) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        for number in range(10):
            await speak(recognition, 7.25)
            if number % 2:
                recognition.pause()
                await speak(recognition, 0.1)
                recognition.resume()
        recognition.finish()
        await task
        assert heard[-1].final
        assert ear.decodes[-1].speech.length == round(73 * SAMPLE_RATE)


class Listening(Ear):
    """Takes the features of each window, as an engine does."""

    def hear(self, decode: Decode) -> Decoded:
        filters = np.ones((80, 201), np.float32)
        features = decode.speech.features(filters, decode.start, decode.end, decode.frames)
        assert features.shape == (80, decode.frames)
        return super().hear(decode)


@pytest.mark.parametrize("partials", [True, False])
async def test_a_monologue_of_two_hours_costs_the_same_each_minute(
    watched: list[WatchedSpeech], partials: bool
) -> None:
    hours = 2 * 3600
    ear = Minutes(spoken(counted(0, 22_490)))
    async with seat(ear, 0.4) as lane:
        options = RecognitionOptions(partials=partials)
        recognition = recogniser(lane).open(options, owner="a")
        task: asyncio.Task[Hypothesis | None] = asyncio.create_task(_last(recognition))
        await speak(recognition, hours, chunk=1.0)
        recognition.finish()
        final = await task
        assert final is not None
        assert final.text == counted(0, 22_490)
        assert watched[0].most <= LONGEST + 2 * SAMPLE_RATE
        spent = [minute for minute in ear.minutes if minute]
        assert len(spent) >= 119
        assert max(ear.minutes[5:]) <= 2 * min(ear.minutes[5:119])
        assert max(ear.minutes) <= (15 if partials else 3) * 60 * 100


async def _last(recognition: WhisperRecognition) -> Hypothesis | None:
    latest = None
    settled = 0
    async for hypothesis in recognition:
        assert hypothesis.final or hypothesis.settled >= settled
        settled = hypothesis.settled
        latest = hypothesis
    return latest


class Minutes(Ear):
    """Counts the frames encoded in each minute of audio; looks at near words only."""

    def __init__(self, script: Sequence[Word]) -> None:
        super().__init__(script)
        self.minutes = [0] * 121
        self._all = script

    def hear(self, decode: Decode) -> Decoded:
        self.minutes[decode.end // (60 * SAMPLE_RATE)] += decode.frames
        step = self._all[1].start - self._all[0].start
        first = max(0, int(decode.start / SAMPLE_RATE / step) - 3)
        self.script = self._all[first : int(decode.end / SAMPLE_RATE / step) + 3]
        decoded = super().hear(decode)
        self.decodes.clear()
        return decoded


# The end


@pytest.mark.parametrize("seconds", [0.0, 0.05])
async def test_an_utterance_without_audio_is_not_decoded(seconds: float) -> None:
    ear = Ear(spoken("one"))
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, seconds)
        recognition.pause()
        recognition.finish()
        await task
        assert heard == [Hypothesis((), final=True)]
        assert ear.decodes == []


async def test_finishing_drops_the_partial_and_decodes_everything() -> None:
    ear = Ear(spoken("one two three"))
    async with seat(ear) as lane:
        lane.held = True
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await speak(recognition, 1.4)
        assert len(lane.queued) == 1
        recognition.finish()
        assert lane.queued == []
        assert recognition.backlog == round(1.4 * SAMPLE_RATE)
        await asyncio.sleep(0)
        assert [job.kind for job in lane.queued] == [JobClass.FINAL]
        lane.release()
        await task
        assert [each.final for each in heard] == [True]
        assert len(ear.decodes) == 1


async def test_an_engine_that_fails_ends_the_iteration_with_its_error() -> None:
    ear = Ear([], blind=True)
    async with seat(ear) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, _ = reading(recognition)
        await speak(recognition, 1)
        with pytest.raises(EngineError, match="deaf"):
            await task
        assert lane.live == 0


async def test_a_final_that_the_lane_gave_up_is_an_error() -> None:
    async with seat(Ear([])) as lane:
        lane.held = True
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, _ = reading(recognition)
        recognition.push(SOUND[:SAMPLE_RATE])
        recognition.finish()
        await asyncio.sleep(0)
        lane.queued[0].end()
        with pytest.raises(EngineError, match="gave up"):
            await task


def _paused(recognition: WhisperRecognition) -> None:
    recognition.pause()


def _resumed(recognition: WhisperRecognition) -> None:
    recognition.pause()
    recognition.resume()


def _finished(recognition: WhisperRecognition) -> None:
    recognition.finish()


STATES = [lambda _: None, _paused, _resumed, _finished]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("wait", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("abrupt", [True, False])
async def test_cancelling_at_any_time_leaves_nothing_behind(
    state: Any, held: bool, wait: float, abrupt: bool
) -> None:
    ear = Ear(spoken("one two three"))
    async with seat(ear, 0.5) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        lane.held = held
        await speak(recognition, 0.85)
        state(recognition)
        await asyncio.sleep(wait)
        known = len(heard)
        if abrupt:
            task.cancel()
        else:
            recognition.cancel()
            recognition.cancel()
            assert lane.live == 0
        await asyncio.gather(task, return_exceptions=True)
        assert lane.live == 0
        assert len(heard) == known
        assert recognition.backlog == 0
        recognition.push(SOUND[:1600])
        recognition.pause()
        recognition.resume()
        recognition.finish()
        assert lane.live == 0
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert len(others) == 1, "only the lane's task is left"


# Over the scheduler's own lane


class Engine:
    """The ear as an engine."""

    def __init__(self, ear: Ear) -> None:
        self.ear = ear

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [Outcome(each.job, (self.ear.hear(each.payload),), done=True) for each in work]

    def drop(self, job: int) -> None: ...

    def close(self) -> None: ...


async def test_partials_that_wait_too_long_on_a_busy_device_go_stale() -> None:
    ear, device = Ear(spoken("good morning everyone")), Device(1)
    scheduler = Scheduler(device)
    lane = scheduler.open(Recipe("ear", lambda: Engine(ear), worker="inline"))
    recognition = WhisperRecogniser("ear", Capabilities(), lane).open(OPTIONS, owner="a")
    task, heard = reading(recognition)
    async with device.grant(1, lambda: 0.0):
        await speak(recognition, 1.5)
        assert lane.live == 1
        await speak(recognition, 0.4)
        assert lane.live == 0
        assert ear.decodes == []
    await speak(recognition, 3.0)
    assert len(ear.partials) >= 1
    assert heard[-1].text == "good morning everyone"
    recognition.pause()
    await speak(recognition, 0.2)
    decodes = len(ear.decodes)
    recognition.finish()
    await task
    assert heard[-1].final
    assert len(ear.decodes) == decodes
    assert lane.live == 0
    await scheduler.close()


async def test_a_model_that_is_unloaded_ends_the_iteration_with_an_error() -> None:
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(Recipe("ear", lambda: Engine(Ear([])), worker="inline"))
    recognition = WhisperRecogniser("ear", Capabilities(), lane).open(OPTIONS, owner="a")
    task, _ = reading(recognition)
    await speak(recognition, 1.0)
    await scheduler.close()
    recognition.pause()
    recognition.finish()
    with pytest.raises(EngineError, match="unloaded"):
        await task


# Everything at random


@dataclass(frozen=True, slots=True)
class Event:
    at: int
    what: str


def conversation(chance: random.Random, seconds: float) -> list[Word]:
    """Words of all lengths, with and without gaps, some of them long."""
    words: list[Word] = []
    now = chance.uniform(0.0, 0.5)
    while now < seconds:
        length = chance.uniform(0.1, 0.6)
        words.append(Word(f"word{len(words)}", now, now + length))
        gap = chance.choice([0.0, 0.02, 0.05, 0.05, 0.1, 0.3, 0.7, 1.5])
        now += length + (gap if chance.random() < 0.4 else 0.02)
    return words


def pauses(chance: random.Random, words: Sequence[Word], end: int) -> Iterator[Event]:
    """What a voice detector says: a pause 200 ms after a word, speech 50 ms after it began."""
    for word, following in itertools.pairwise(words):
        paused = round((word.end + 0.2) * SAMPLE_RATE)
        resumed = round((following.start + 0.05) * SAMPLE_RATE)
        if following.start - word.end < 0.25 or chance.random() < 0.2 or paused >= end:
            continue
        yield Event(paused, "pause")
        if resumed < end:
            yield Event(resumed, "resume")


async def perform(
    recognition: WhisperRecognition, events: Sequence[Event], chance: random.Random
) -> None:
    position = 0
    for event in events:
        while position < event.at:
            size = min(event.at - position, chance.choice([320, 640, 1600, 4000, 16000]))
            await asyncio.sleep(size / SAMPLE_RATE)
            recognition.push(SOUND[:size])
            position += size
        getattr(recognition, event.what)()


@pytest.mark.parametrize("seed", range(60))
async def test_any_course_of_speech_ends_in_its_exact_words(seed: int) -> None:
    chance = random.Random(seed)
    seconds = chance.choice([3, 8, 15, 27, 40, 90])
    words = conversation(chance, seconds)
    ear = Ear(words)
    end = chance.uniform(0.2, seconds)
    if any(word.start < end < word.start + 0.06 for word in words):
        end += 0.06
    events = deque(sorted(pauses(chance, words, round(end * SAMPLE_RATE)), key=lambda e: e.at))
    events.append(Event(round(end * SAMPLE_RATE), "finish"))
    async with seat(ear, chance.choice([0.0, 0.05, 0.3, 1.0])) as lane:
        recognition = recogniser(lane).open(OPTIONS, owner="a")
        task, heard = reading(recognition)
        await perform(recognition, events, chance)
        await task
        assert lane.most_partials <= 1
        assert lane.live == 0
    assert heard[-1].text == ear.texts(round(end * SAMPLE_RATE) / SAMPLE_RATE)
    assert [each.final for each in heard].count(True) == 1
    truth = [word.text for word in words]
    settled = 0
    for hypothesis in heard[:-1]:
        assert hypothesis.settled >= settled
        settled = hypothesis.settled
        assert [word.text for word in hypothesis.words[:settled]] == truth[:settled]
