"""espeak-ng: robotic speech in about a hundred languages, at once and on any machine, no download.

It runs in a process of its own: its state is global, and what makes it crash must not end the
server.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import Field, field_validator

from engines import espeak_voices
from engines.base import (
    Capabilities,
    EngineError,
    InvalidInput,
    Outcome,
    Recipe,
    Unsupported,
    UpTo,
    Work,
)
from engines.espeak_library import Library, Word
from engines.installed import ModelRecord
from engines.options import EngineOptions, language_code, read_options
from engines.recognition import RecognitionOptions
from engines.synthesis import SPEEDS, Mark, Say, Spoken, Voice
from engines.text_pieces import SENTENCE_ENDS, pieces, speakable

PIECE = 200
"""Characters spoken in one step: some 15 ms of work."""

WORDS_PER_MINUTE = 175
"""At speed 1. It cannot be slower than 80: speeds below 0.46 sound like 0.46."""

# espeak-ng 1.52 dies of a hyphen between a sign and letters that it has to spell: (-\u0928\u0928.
_DEADLY = re.compile(r"(?<=[^\w\s])-(?=[^\W\d_a-zA-Z])")

_AT_ONCE = 4
_CAPACITY = 256


class EspeakOptions(EngineOptions):
    """`voice` is the one for requests that name none; `pitch` is 50 as the voice has it."""

    voice: str = "en-us"
    pitch: int = Field(default=50, ge=0, le=99)

    @field_validator("voice")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            espeak_voices.identifier(name)
        except InvalidInput as error:
            raise ValueError(str(error)) from None
        return name


options_model = EspeakOptions


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a `Say` is: pieces and samples done, and whether anything of it was heard."""

    pieces: int = 0
    samples: int = 0
    heard: bool = False


class Espeak:
    """Jobs of `Say`; each step speaks a piece of every one. See the module."""

    def __init__(self, voice: str = "en-us", pitch: int = 50) -> None:
        self._voice = voice
        self._pitch = pitch
        self._library = Library()
        self._places: dict[int, _Place] = {}

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [self._outcome(one) for one in work]

    def drop(self, job: int) -> None:
        self._places.pop(job, None)

    def close(self) -> None:
        self._places.clear()
        self._library.close()

    def _outcome(self, work: Work) -> Outcome:
        place = self._places.get(work.job) or _last(work.progress)
        try:
            outcome, reached = self._piece(work.job, work.payload, place)
        except EngineError as error:
            self.drop(work.job)
            return Outcome(work.job, done=True, error=error)
        if outcome.done:
            self.drop(work.job)
        else:
            self._places[work.job] = reached
        return outcome

    def _piece(self, job: int, request: Say, place: _Place) -> tuple[Outcome, _Place]:
        voice = espeak_voices.identifier(request.voice or self._voice)
        speed = checked_speed(request.speed)
        spans = pieces(request.text, PIECE)
        if not spans:
            return Outcome(job, done=True), place
        start, end = spans[place.pieces]
        last = place.pieces + 1 == len(spans)
        text = _DEADLY.sub(" ", speakable(request.text[start:end]))
        samples, words = self._library.say(
            text,
            voice,
            round(WORDS_PER_MINUTE * speed),
            self._pitch,
            pause=not last and text.rstrip().endswith(SENTENCE_ENDS),
        )
        heard = place.heard or bool(words)
        reached = _Place(place.pieces + 1, place.samples + len(samples) * heard, heard)
        if not heard:
            return Outcome(job, done=last, progress=(reached,)), reached
        rate = self._library.rate
        marks = [
            Mark(start + characters, (place.samples + min(sample, len(samples))) / rate)
            for characters, sample in _said(text, words)
        ]
        marks.append(Mark(end, reached.samples / rate))
        spoken = Spoken(samples, rate, tuple(marks))
        return Outcome(job, (spoken,), done=last, progress=(reached,)), reached


def _last(progress: Sequence[_Place]) -> _Place:
    return progress[-1] if progress else _Place()


def _said(text: str, words: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """What has been said when each word begins: characters (all that stand before it), samples."""
    said = sample = 0
    for word in words:
        at = word.character
        # Each digit, and the space after a number or an emoji, counts as a word of its own.
        inside = at > 0 and text[at : at + 1].isdigit() and text[at - 1].isdigit()
        if at >= len(text) or inside or text[at].isspace():
            continue
        characters = len(text[:at].rstrip())
        if characters > said:
            # In texts that are no language, one is sometimes said to begin before the last.
            said, sample = characters, max(sample, word.sample)
            yield said, sample


def checked_speed(speed: float) -> float:
    """`speed`; raises `InvalidInput` where nobody can speak like that."""
    slowest, fastest = SPEEDS
    if not slowest <= speed <= fastest:
        raise InvalidInput(f"The speed is from {slowest} to {fastest:g}; it is {speed}.", "speed")
    return speed


def recipe(record: ModelRecord, cores: int) -> Recipe:
    """How to run it: one process, whose steps are too small to be granted cores."""
    del cores
    options = read_options(record, EspeakOptions)
    return Recipe(
        name=record.name,
        build=partial(Espeak, options.voice, options.pitch),
        select=UpTo(_AT_ONCE),
        worker="process",
        capacity=_CAPACITY,
        cores=0,
    )


def voices(record: ModelRecord) -> tuple[Voice, ...]:
    """All voices, the one for requests that name none first. Reads files."""
    first = read_options(record, EspeakOptions).voice
    known = espeak_voices.voices()
    chosen = next((voice for voice in known if voice.name == first), None)
    if chosen is None:
        base = first.partition("+")[0]
        language = next((v.language for v in known if v.name == base), None)
        chosen = Voice(first, language)
    return (chosen, *(voice for voice in known if voice.name != first))


def knows(voices: Sequence[Voice], voice: str) -> bool:
    """Whether it has a voice of this name; more than are listed, for the variants."""
    del voices
    return espeak_voices.is_voice(voice)


def capabilities(record: ModelRecord) -> Capabilities:
    """Every language that there is a voice of."""
    del record
    tags = (voice.language or voice.name for voice in espeak_voices.voices())
    return Capabilities(languages=frozenset(language_code(tag) for tag in tags))


def check(record: ModelRecord, options: RecognitionOptions) -> None:
    """Raise `Unsupported`: it cannot transcribe."""
    del options
    raise mute(record.name)


def mute(name: str) -> Unsupported:
    """The error for one who wants to transcribe with a model that speaks."""
    return Unsupported(f"The model '{name}' speaks and cannot transcribe speech.", "model")
