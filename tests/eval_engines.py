"""Scripted engines that go by the sound itself.

Each 16-bit sample of a user's sound says what it is: in its high byte the probability of speech in
percent, in its low byte the number of the word that it is a part of. So voice activity and
recognition know nothing but what reaches them, and words whose sound is lost are not understood.
The samples of a voice are numbered, so that sound that is lost, repeated or mixed up shows.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from eval_format import Recogniser as Hearing
from eval_format import Sound
from eval_format import Voice as Speaking
from numpy.typing import NDArray

from engines.base import Capabilities, EngineError, JobClass, Outcome, Recipe, UpTo, Work
from engines.recognisers import StreamedRecogniser, StreamedRecognition
from engines.recognition import (
    SAMPLE_RATE,
    Hypothesis,
    Recognition,
    RecognitionOptions,
    Samples,
    Word,
)
from engines.scheduler import Lane
from engines.synthesis import Mark, Say, Spoken
from pipelines.turns import WINDOW

Integers = NDArray[np.int16]

_MOST_WORDS = 255
_LOWEST, _NUMBERS = 1_000, 30_000
"""Samples of a voice count from the first on, so many of them; all are loud enough to be no gap."""


@dataclass
class Words:
    """The words of a conversation by their number, from 1 on, and how many samples each has."""

    texts: list[str] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)

    def sound(self, sound: Sound) -> Integers:
        """The samples of a user's sound."""
        total = round(sound.length * SAMPLE_RATE)
        if sound.pause is not None:
            return np.zeros(total, np.int16)
        samples = np.full(total, round(sound.probability * 100) << 8, np.int16)
        words = (sound.says or "").split()
        if not words:
            return samples
        ends = np.cumsum([len(word) + 1 for word in words])
        start = 0
        for word, end in zip(words, (ends * total / ends[-1]).round().astype(int), strict=True):
            samples[start:end] += self._add(word, int(end) - start)
            start = int(end)
        return samples

    def _add(self, word: str, samples: int) -> int:
        assert len(self.texts) < _MOST_WORDS, "an eval has no more than 255 words of the user"
        self.texts.append(word)
        self.samples.append(samples)
        return len(self.texts)


def _integers(samples: Samples) -> Integers:
    return np.rint(samples * 32768).astype(np.int16)


class Loudness:
    """Voice activity: the probability that is written in the samples of each window."""

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [
            Outcome(one.job, tuple(map(self._score, one.inputs)), done=one.ended) for one in work
        ]

    @staticmethod
    def _score(samples: Samples) -> Samples:
        percents = (_integers(samples) >> 8).reshape(-1, WINDOW)
        return np.asarray(percents.mean(axis=1) / 100, np.float32)

    def drop(self, job: int) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class _Utterance:
    samples: int = 0
    first: dict[int, int] = field(default_factory=dict)
    """Where each word begins, by its number."""
    counts: dict[int, int] = field(default_factory=dict)
    shown: tuple[Word, ...] = ()

    def hear(self, samples: Samples) -> None:
        numbers = _integers(samples) & 255
        for number in np.unique(numbers):
            if number:
                places = np.flatnonzero(numbers == number)
                self.first.setdefault(int(number), self.samples + int(places[0]))
                self.counts[int(number)] = self.counts.get(int(number), 0) + len(places)
        self.samples += len(samples)

    def words(self, words: Words) -> tuple[Word, ...]:
        """Those of which at least half was heard."""
        return tuple(
            Word(words.texts[number - 1], at / SAMPLE_RATE, (at + count) / SAMPLE_RATE)
            for number, at in self.first.items()
            if (count := self.counts[number]) * 2 >= words.samples[number - 1]
        )


class Understanding:
    """Recognition: the words that are written in the samples."""

    def __init__(self, words: Words, language: str) -> None:
        self._words = words
        self._language = language
        self._utterances: dict[int, _Utterance] = {}

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [self._one(one) for one in work]

    def drop(self, job: int) -> None:
        self._utterances.pop(job, None)

    def close(self) -> None:
        self._utterances.clear()

    def _one(self, work: Work) -> Outcome:
        utterance = self._utterances.setdefault(work.job, _Utterance())
        for samples in work.inputs:
            utterance.hear(samples)
        words = utterance.words(self._words)
        if work.ended:
            self.drop(work.job)
            final = Hypothesis(words, final=True, language=self._language)
            return Outcome(work.job, (final,), done=True)
        if words == utterance.shown:
            return Outcome(work.job)
        utterance.shown = words
        return Outcome(work.job, (Hypothesis(words, language=self._language),))


def understanding(words: Words, hearing: Hearing) -> Recipe:
    """How to run the recogniser."""
    return Recipe(
        "scripted",
        lambda: Understanding(words, hearing.language),
        select=UpTo(8),
        worker="inline",
        cores=0,
    )


class _Late:
    """A recognition whose end comes late, or fails."""

    def __init__(self, recognition: StreamedRecognition, hearing: Hearing) -> None:
        self._recognition = recognition
        self._hearing = hearing

    @property
    def backlog(self) -> int:
        return self._recognition.backlog

    def push(self, samples: Samples) -> None:
        self._recognition.push(samples)

    def pause(self, voiced: float | None = None) -> None:
        self._recognition.pause(voiced)

    def resume(self) -> None:
        self._recognition.resume()

    def finish(self, voiced: float | None = None) -> None:
        self._recognition.finish(voiced)

    def cancel(self) -> None:
        self._recognition.cancel()

    async def __aiter__(self) -> AsyncIterator[Hypothesis]:
        async for hypothesis in self._recognition:
            if hypothesis.final:
                await asyncio.sleep(self._hearing.final_ms / 1000)
                if self._hearing.fails is not None:
                    raise EngineError(self._hearing.fails)
            yield hypothesis


@dataclass(frozen=True)
class Recogniser:
    """The recogniser over its lane."""

    lane: Lane
    hearing: Hearing
    name: str = "scripted"
    capabilities: Capabilities = field(default=Capabilities())

    def open(
        self, options: RecognitionOptions, *, owner: str, kind: JobClass | None = None
    ) -> Recognition:
        inner = StreamedRecogniser(self.name, self.capabilities, self.lane)
        return _Late(inner.open(options, owner=owner, kind=kind), self.hearing)


@dataclass
class Voice:
    """The voice of the answers: `said` are the sentences that it was asked for, with all of their
    sound."""

    speaking: Speaking
    said: list[tuple[str, Integers]] = field(default_factory=list)

    async def say(
        self, request: Say, *, model: str | None = None, owner: str, kind: JobClass
    ) -> AsyncGenerator[Spoken, None]:
        speaking = self.speaking
        if speaking.fails is not None:
            raise EngineError(speaking.fails)
        sound = self.sound(request)
        await asyncio.sleep(speaking.first_ms / 1000)
        size = round(speaking.piece_ms * SAMPLE_RATE / 1000)
        for at in range(0, len(sound), size):
            piece = sound[at : at + size]
            await asyncio.sleep(speaking.effort * len(piece) / SAMPLE_RATE)
            end = at + len(piece)
            yield Spoken(
                piece.astype(np.float32) / np.float32(32768),
                SAMPLE_RATE,
                _marks(request.text, at / len(sound), end / len(sound), len(sound)),
            )

    def sound(self, request: Say) -> Integers:
        """All of a sentence's sound."""
        seconds = len(request.text) / self.speaking.characters_per_second / request.speed
        numbers = np.arange(round(seconds * SAMPLE_RATE)) + 7919 * len(self.said)
        sound = (_LOWEST + numbers % _NUMBERS).astype(np.int16)
        self.said.append((request.text, sound))
        return sound


def _marks(text: str, start: float, end: float, samples: int) -> tuple[Mark, ...]:
    """The ends of words after `start` of a text that takes so many samples, and `end` (shares)."""
    ends = [at for at, letter in enumerate(text) if letter == " "] + [len(text)]
    seconds = samples / SAMPLE_RATE / len(text)
    return tuple(
        Mark(at, at * seconds) for at in ends if start * len(text) < at <= end * len(text) + 1e-9
    )
