"""Piper: natural voices, each of them a small network that speaks faster than real time."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from engines.base import (
    Capabilities,
    EngineError,
    InvalidInput,
    Outcome,
    Recipe,
    UpTo,
    Work,
)
from engines.espeak import checked_speed, mute
from engines.installed import ModelRecord
from engines.options import EngineOptions, language_code, read_options
from engines.piper_files import VoiceFile, read_voice
from engines.piper_network import Device, Network, Sound, Voicing
from engines.piper_words import WordEnd, cut_sentence, group_ends, match_words
from engines.recognition import RecognitionOptions
from engines.strict_yaml import nearest
from engines.synthesis import Mark, Say, Spoken, Voice
from engines.text_pieces import pieces, speakable

PIECE = 300
"""Characters that are turned into phonemes at once."""

MOST_PHONEMES = 300
"""Phonemes spoken in one step: longer sentences would take a second and hundreds of megabytes."""

_CAPACITY = 256


class PiperOptions(EngineOptions):
    """`device`: `auto` takes a GPU where onnxruntime can use one. `workers` speak at the same time
    (None: one for each core).

    `noise` makes each rendering of a text another, `noise_width` its rhythm (None: as the voice was
    made; 0: always the same). `gain` multiplies the sound. `speaker` is the one for requests that
    name none.
    """

    device: Device = "auto"
    workers: int | None = Field(default=None, ge=1, le=64)
    noise: float | None = Field(default=None, ge=0, le=2)
    noise_width: float | None = Field(default=None, ge=0, le=2)
    gain: float = Field(default=1.0, gt=0, le=10)
    speaker: str | None = None


options_model = PiperOptions


@dataclass(frozen=True, slots=True)
class _Settings:
    """A voice's file and what its owner set."""

    file: VoiceFile
    options: PiperOptions


@dataclass(frozen=True, slots=True)
class _Sentence:
    """What a step speaks: phonemes, and the words that end in them, in characters of the whole."""

    phonemes: list[str]
    words: Sequence[WordEnd]


@dataclass(slots=True)
class _Saying:
    """A job between two steps: parts of its text not looked at yet, sentences found, and how much
    was said."""

    text: str
    voicing: Voicing
    spans: deque[tuple[int, int]]
    sentences: deque[_Sentence] = field(default_factory=deque)
    samples: int = 0
    said: int = 0

    @property
    def last(self) -> bool:
        return not self.sentences and not self.spans


class Piper:
    """Jobs of `Say`; each step speaks a sentence of one of them.

    Marks follow the durations that the network gives its phonemes, where it tells them, and else
    suppose that all phonemes last equally long.
    """

    def __init__(self, network: Network, settings: _Settings) -> None:
        self._network = network
        self._settings = settings
        self._jobs: dict[int, _Saying] = {}
        network.open()

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [self._outcome(one) for one in work]

    def drop(self, job: int) -> None:
        self._jobs.pop(job, None)

    def close(self) -> None:
        self._jobs.clear()
        self._network.close()

    def _outcome(self, work: Work) -> Outcome:
        try:
            saying = self._jobs.get(work.job)
            if saying is None:
                saying = self._jobs[work.job] = self._begin(work.payload)
            spoken = self._next(saying)
        except EngineError as error:
            self.drop(work.job)
            return Outcome(work.job, done=True, error=error)
        if saying.last:
            self.drop(work.job)
        return Outcome(work.job, (spoken,) if spoken else (), done=saying.last)

    def _begin(self, request: Say) -> _Saying:
        options = self._settings.options
        speaker = self._speaker(request.voice or options.speaker)
        speed = checked_speed(request.speed)
        voicing = Voicing(speaker, 1 / speed, options.noise, options.noise_width)
        return _Saying(request.text, voicing, deque(pieces(request.text, PIECE)))

    def _speaker(self, voice: str | None) -> int | None:
        return None if voice is None else _number(self._network.name, self._settings.file, voice)

    def _next(self, saying: _Saying) -> Spoken | None:
        """The next sentence; None where there is nothing to say."""
        # One more than needed tells whether this one is the last: the rest may say nothing.
        while len(saying.sentences) < 2 and saying.spans:
            self._look_at(saying, *saying.spans.popleft())
        return self._speak(saying, saying.sentences.popleft()) if saying.sentences else None

    def _look_at(self, saying: _Saying, start: int, end: int) -> None:
        text = speakable(saying.text[start:end])
        found = [one for one in self._network.phonemes(text) if group_ends(one)]
        parts = [part for one in found for part in cut_sentence(one, MOST_PHONEMES)]
        matched = match_words(text, parts, self._network.phonemes)
        for phonemes, words in zip(parts, matched, strict=True):
            ends = [WordEnd(start + word.characters, word.group) for word in words]
            saying.sentences.append(_Sentence(phonemes, ends))

    def _speak(self, saying: _Saying, sentence: _Sentence) -> Spoken:
        rate = self._network.rate
        sound = self._network.sound(sentence.phonemes, saying.voicing)
        samples = np.clip(sound.samples * np.float32(self._settings.options.gain), -1, 1)
        marks = []
        for characters, at in _times(sentence, sound):
            if characters > saying.said:
                saying.said = characters
                marks.append(Mark(characters, (saying.samples + at) / rate))
        saying.samples += len(samples)
        if saying.last:
            while marks and marks[-1].characters == len(saying.text):
                marks.pop()
            marks.append(Mark(len(saying.text), saying.samples / rate))
        return Spoken(samples, rate, tuple(marks))


def _times(sentence: _Sentence, sound: Sound) -> Iterator[tuple[int, float]]:
    """The words of a sentence with the samples after which they have been said."""
    phonemes = np.concatenate(([sound.lead], sound.lead + np.cumsum(sound.lengths)))
    ends = phonemes[[0, *group_ends(sentence.phonemes)]]
    for word in sentence.words:
        yield word.characters, float(np.interp(word.group, np.arange(len(ends)), ends))


def _number(name: str, file: VoiceFile, voice: str) -> int | None:
    """The number of a speaker, by name or number. Raises `InvalidInput`."""
    speakers = file.speakers
    if voice in speakers:
        return speakers[voice]
    if _is_number(voice, len(speakers)):
        return list(speakers.values())[int(voice)]
    near = nearest(voice, speakers)
    hint = f"did you mean '{near}'?" if near else "some are: " + ", ".join(list(speakers)[:8])
    raise InvalidInput(f"The model '{name}' has no voice '{voice}'; {hint}", "voice")


def _is_number(voice: str, count: int) -> bool:
    return voice.isascii() and voice.isdigit() and len(voice) <= 6 and int(voice) < count


def recipe(record: ModelRecord, cores: int) -> Recipe:
    """How to run it: in threads that share the network, as onnxruntime releases the interpreter
    lock. Reads the voice's description."""
    options = read_options(record, PiperOptions)
    settings = _Settings(_file(record), options)
    if options.speaker is not None:
        _number(record.name, settings.file, options.speaker)
    network = Network(record.name, Path(record.source or ""), options.device)
    return Recipe(
        name=record.name,
        build=partial(Piper, network, settings),
        select=UpTo(1),
        worker="thread",
        workers=options.workers or (1 if options.device == "cuda" else max(1, cores)),
        capacity=_CAPACITY,
        cores=1,
    )


def voices(record: ModelRecord) -> tuple[Voice, ...]:
    """Its speakers, the one for requests that name none first. Reads the voice's description."""
    found = _file(record).voices()
    first = read_options(record, PiperOptions).speaker
    return tuple(sorted(found, key=lambda voice: voice.name != first))


def knows(voices: Sequence[Voice], voice: str) -> bool:
    """Whether one of a model's voices has this name or number."""
    return voice in {one.name for one in voices} or _is_number(voice, len(voices))


def capabilities(record: ModelRecord) -> Capabilities:
    """The language that the voice was made for. Reads the voice's description."""
    language = _file(record).tag
    return Capabilities(languages=frozenset({language_code(language)}) if language else None)


def check(record: ModelRecord, options: RecognitionOptions) -> None:
    """Raise `Unsupported`: it cannot transcribe."""
    del options
    raise mute(record.name)


def _file(record: ModelRecord) -> VoiceFile:
    if record.source is None:
        raise EngineError(f"Model '{record.name}' needs a 'source': an ONNX file.")
    return read_voice(Path(record.source))
