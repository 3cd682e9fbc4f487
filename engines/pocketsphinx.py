"""PocketSphinx with the English model inside its wheel: streaming speech to text, no download.

It holds the interpreter lock while it decodes, so it runs in processes of its own.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from engines.audio import to_pcm16
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
from engines.catalogue import ModelRecord
from engines.options import EngineOptions, language_code, read_options
from engines.recognisers import StreamedRecogniser
from engines.recognition import (
    SAMPLE_RATE,
    Hypothesis,
    Recogniser,
    RecognitionOptions,
    Samples,
    Word,
)
from engines.scheduler import Lane
from engines.utterance import Utterance

MEAN_SECONDS = 1.3
"""How much of an utterance its cepstral mean is estimated on (a padded start included)."""

MEMORY_SECONDS = 5.0
"""The weight that an owner's mean has at most against a new estimate."""

MOST_OWNERS = 256

_DEFAULT_MEAN = "40,3,-1"
_FRAME = 0.01
_PIECE = SAMPLE_RATE // 20
"""Samples decoded at once; always the same, as the decoder's scores depend on it a little."""

_WAITING_PER_DECODER = 4
_FILLER = re.compile(r"<.*>|\[.*\]|\+\+.*\+\+")
_VARIANT = re.compile(r"\(\d+\)$")

Mean = NDArray[np.float64]


class PocketSphinxOptions(EngineOptions):
    """`decoders`: processes at most, about 160 MB each (None: one for each core).

    `max_states`: HMMs searched per frame; 5000 takes a fifth less time and makes a few more errors.
    """

    decoders: int | None = Field(default=None, ge=1, le=64)
    max_states: int = Field(default=8000, ge=500, le=100_000)


options_model = PocketSphinxOptions


class Means:
    """What is known of each owner's cepstral mean: their microphone, room and voice.

    A running mean over utterances, bounded in owners (the one unheard for longest is forgotten).
    """

    def __init__(self, most: int = MOST_OWNERS) -> None:
        self._most = most
        self._known: OrderedDict[str, tuple[Mean, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, owner: str) -> Mean | None:
        """The owner's mean, if they were heard before."""
        return self._known[owner][0] if owner in self._known else None

    def learn(self, owner: str, mean: Mean, seconds: float) -> None:
        """Add an estimate that was made on so many seconds."""
        old, weight = self._known.pop(owner, (mean, 0.0))
        total = weight + seconds
        self._known[owner] = ((old * weight + mean * seconds) / total, min(total, MEMORY_SECONDS))
        if len(self._known) > self._most:
            self._known.popitem(last=False)


def _no_samples() -> Samples:
    return np.zeros(0, np.float32)


@dataclass(slots=True)
class _Open:
    """The utterance being decoded. `head` is its first sound, for the mean; `held` is what was not
    decoded yet."""

    job: int
    options: RecognitionOptions
    owner: str
    head: Samples = field(default_factory=_no_samples)
    held: Samples = field(default_factory=_no_samples)
    samples: int = 0
    decoding: bool = False
    text: str = ""

    def add(self, inputs: Sequence[Samples]) -> None:
        audio = np.concatenate(inputs) if inputs else _no_samples()
        room = round(MEAN_SECONDS * SAMPLE_RATE) - len(self.head)
        if room > 0:
            self.head = np.concatenate((self.head, audio[:room]))
        self.held = np.concatenate((self.held, audio))
        self.samples += len(audio)

    @property
    def head_full(self) -> bool:
        return len(self.head) >= round(MEAN_SECONDS * SAMPLE_RATE)


class PocketSphinx:
    """Streaming jobs of `Utterance`, one at a time; an input is float32 at 16 kHz in [-1, 1].

    Answers with a `Hypothesis` whenever the text changed (if partials are wanted) and a final one.
    It decodes without sampling and without a text context, so `temperature` and `prompt` have
    nothing to act on. The settings and the cepstral mean are what made the fewest errors on
    recordings of people; decoding begins when the mean is known.
    """

    def __init__(self, max_states: int = 8000) -> None:
        import pocketsphinx

        try:
            self._decoder: Any = pocketsphinx.Decoder(
                pocketsphinx.Config(
                    loglevel="FATAL", maxhmmpf=max_states, fwdflat=False, silprob=0.05
                )
            )
            # A search for one phrase loads no language model; only its front end is used.
            self._estimator: Any = pocketsphinx.Decoder(
                pocketsphinx.Config(
                    loglevel="FATAL", lm=None, keyphrase="hello", kws_threshold=1e-5
                )
            )
        except RuntimeError as error:
            raise EngineError(f"PocketSphinx could not load its English model: {error}.") from error
        self._means = Means()
        self._open: _Open | None = None

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [self._outcome(one) for one in work]

    def drop(self, job: int) -> None:
        if self._open is None or self._open.job != job:
            return
        decoding, self._open = self._open.decoding, None
        if decoding:
            self._decoder.end_utt()

    def close(self) -> None:
        if self._open is not None:
            self.drop(self._open.job)
        del self._decoder, self._estimator

    def _outcome(self, work: Work) -> Outcome:
        try:
            events = self._advance(self._utterance(work), work)
        except EngineError as error:
            self.drop(work.job)
            return Outcome(work.job, done=True, error=error)
        except RuntimeError as error:
            self.drop(work.job)
            failure = EngineError(f"PocketSphinx could not decode the audio: {error}.")
            return Outcome(work.job, done=True, error=failure)
        return Outcome(work.job, events, done=work.ended)

    def _utterance(self, work: Work) -> _Open:
        if self._open is None:
            request: Utterance = work.payload
            self._open = _Open(work.job, request.options, request.owner)
        if self._open.job != work.job:
            raise EngineError("This decoder is busy with another utterance.")
        return self._open

    def _advance(self, utterance: _Open, work: Work) -> tuple[Hypothesis, ...]:
        utterance.add([_checked(audio) for audio in work.inputs])
        if not utterance.decoding and utterance.samples:
            self._begin(utterance, ended=work.ended)
        if utterance.decoding:
            self._decode(utterance, ended=work.ended)
        if work.ended:
            return (self._final(utterance),)
        return self._partial(utterance)

    def _begin(self, utterance: _Open, *, ended: bool) -> None:
        mean = self._means.of(utterance.owner)
        if mean is None:
            if not utterance.head_full and not ended:
                return
            mean = self._estimate(utterance.head)
        _start(self._decoder, _DEFAULT_MEAN if mean is None else _written(mean))
        utterance.decoding = True

    def _decode(self, utterance: _Open, *, ended: bool) -> None:
        audio = utterance.held
        usable = len(audio) if ended else len(audio) // _PIECE * _PIECE
        for at in range(0, usable, _PIECE):
            piece = to_pcm16(audio[at : min(at + _PIECE, usable)])
            self._decoder.process_raw(piece, False, False)
        utterance.held = audio[usable:]

    def _estimate(self, head: Samples) -> Mean | None:
        """The mean of this sound; None where there is none (digital silence, a few samples)."""
        _start(self._estimator, _DEFAULT_MEAN)
        try:
            self._estimator.process_raw(to_pcm16(head), True, True)
            mean = np.array([float(value) for value in self._estimator.get_cmn(True).split(",")])
        finally:
            self._estimator.end_utt()  # or no other utterance could ever be started
        return mean if np.isfinite(mean).all() else None

    def _partial(self, utterance: _Open) -> tuple[Hypothesis, ...]:
        if not (utterance.decoding and utterance.options.partials):
            return ()
        hypothesis = Hypothesis(self._words(utterance, final=False), language="en")
        if hypothesis.text == utterance.text:
            return ()
        utterance.text = hypothesis.text
        return (hypothesis,)

    def _final(self, utterance: _Open) -> Hypothesis:
        self._open = None
        if not utterance.decoding:
            return Hypothesis((), final=True, language="en")
        self._decoder.end_utt()
        words = self._words(utterance, final=True)
        mean = self._estimate(utterance.head) if words else None
        if mean is not None:
            self._means.learn(utterance.owner, mean, len(utterance.head) / SAMPLE_RATE)
        return Hypothesis(words, final=True, language="en")

    def _words(self, utterance: _Open, *, final: bool) -> tuple[Word, ...]:
        end = utterance.samples / SAMPLE_RATE
        return tuple(_spoken(self._decoder.seg() or (), end, final=final))


def _start(decoder: Any, mean: str) -> None:
    # Without a new front end the noise heard in earlier utterances changes this one's text.
    decoder.reinit_feat()
    decoder.set_cmn(mean)
    decoder.start_utt()


def _spoken(segments: Iterable[Any], end: float, *, final: bool) -> Iterable[Word]:
    for segment in segments:
        if _FILLER.fullmatch(segment.word):
            continue
        yield Word(
            text=_VARIANT.sub("", segment.word),
            start=min(end, round(segment.start_frame * _FRAME, 2)),
            end=min(end, round((segment.end_frame + 1) * _FRAME, 2)),
            # Only the last pass over the word lattice finds posteriors.
            probability=min(1.0, segment.prob) if final else None,
        )


def _checked(audio: Samples) -> Samples:
    if audio.dtype != np.float32 or audio.ndim != 1 or not np.isfinite(audio).all():
        raise InvalidInput("Speech recognition needs finite float32 samples of one channel.")
    return audio


def _written(mean: Mean) -> str:
    return ",".join(f"{value:.5f}" for value in mean)


def recipe(record: ModelRecord, cores: int) -> Recipe:
    """How to run it: a process for each decoder, which has one utterance at a time."""
    options = read_options(record, PocketSphinxOptions)
    workers = options.decoders or max(1, cores)
    return Recipe(
        name=record.name,
        build=partial(PocketSphinx, options.max_states),
        select=UpTo(1),
        worker="process",
        workers=workers,
        slots=1,
        capacity=_WAITING_PER_DECODER * workers,
        cores=1,
        replay=True,
    )


def recogniser(record: ModelRecord, able: Capabilities, lane: Lane) -> Recogniser:
    """The model as the rest of Antiphon sees it."""
    return StreamedRecogniser(record.name, able, lane)


def capabilities(record: ModelRecord) -> Capabilities:
    """English, and nothing but English."""
    del record
    return Capabilities(languages=frozenset({"en"}))


def check(record: ModelRecord, options: RecognitionOptions) -> None:
    """Raise `Unsupported` for another language or a translation."""
    install = "Install a multilingual model with: antiphon pull base"
    if options.language and language_code(options.language) != "en":
        raise Unsupported(
            f"The built-in '{record.name}' model only understands English. {install}", "language"
        )
    if options.task == "translate":
        raise Unsupported(f"The built-in '{record.name}' model cannot translate. {install}", "task")
