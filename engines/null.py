"""An engine that hears nothing: for measuring the server without the cost of recognition."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import Field

from engines.base import Capabilities, Outcome, Recipe, UpTo, Work
from engines.catalogue import ModelRecord
from engines.options import EngineOptions, read_options
from engines.recognisers import StreamedRecogniser
from engines.recognition import SAMPLE_RATE, Hypothesis, Recogniser, RecognitionOptions, Word
from engines.scheduler import Lane
from engines.utterance import Utterance

WORD = "word"

_MOST_JOBS_A_STEP = 256
_CAPACITY = 4096


class NullOptions(EngineOptions):
    """`words_per_second`: how often it says "word" in what it is given (0: never)."""

    words_per_second: float = Field(default=0.0, ge=0, le=20)


options_model = NullOptions


@dataclass(slots=True)
class _Count:
    samples: int = 0
    words: int = 0


class Null:
    """Streaming jobs of `Utterance`, any number at once. Takes audio and answers without hearing.

    The answer depends on the amount of audio alone: "word" for every 1 / `words_per_second`
    seconds, or no text. `utterances` counts the jobs that were given audio or ended.
    """

    def __init__(self, words_per_second: float = 0.0) -> None:
        self.utterances = 0
        self._rate = words_per_second
        self._counts: dict[int, _Count] = {}

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [self._outcome(one) for one in work]

    def drop(self, job: int) -> None:
        self._counts.pop(job, None)

    def close(self) -> None:
        self._counts.clear()

    def _outcome(self, work: Work) -> Outcome:
        count = self._counts.get(work.job)
        if count is None:
            count = self._counts[work.job] = _Count()
            self.utterances += 1
        count.samples += sum(len(audio) for audio in work.inputs)
        said = int(count.samples / SAMPLE_RATE * self._rate)
        if work.ended:
            self.drop(work.job)
            return Outcome(work.job, (Hypothesis(self._words(said), final=True),), done=True)
        utterance: Utterance = work.payload
        if not utterance.options.partials or said == count.words:
            return Outcome(work.job)
        count.words = said
        return Outcome(work.job, (Hypothesis(self._words(said)),))

    def _words(self, said: int) -> tuple[Word, ...]:
        return tuple(Word(WORD, n / self._rate, (n + 1) / self._rate) for n in range(said))


def recipe(record: ModelRecord, cores: int) -> Recipe:
    """How to run it: on the event loop, as a step of it costs less than the way to a thread."""
    del cores
    options = read_options(record, NullOptions)
    return Recipe(
        name=record.name,
        build=partial(Null, options.words_per_second),
        select=UpTo(_MOST_JOBS_A_STEP),
        worker="inline",
        capacity=_CAPACITY,
        cores=0,
    )


def recogniser(record: ModelRecord, able: Capabilities, lane: Lane) -> Recogniser:
    """The model as the rest of Antiphon sees it."""
    return StreamedRecogniser(record.name, able, lane)


def capabilities(record: ModelRecord) -> Capabilities:
    """It understands every language equally."""
    del record
    return Capabilities(translate=True)


def check(record: ModelRecord, options: RecognitionOptions) -> None:
    """Nothing is refused."""
    del record, options
