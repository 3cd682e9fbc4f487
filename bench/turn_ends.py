"""How well the ends of turns are told from pauses by their text, beside silence alone.

`python bench/turn_ends.py`. Judges the labelled utterances in `tests/evals/turn_ends.tsv`. Then a
model of pauses: those inside a turn have log-normal lengths (the shape after Campione and Véronis
2002, "A large-scale multilingual study of silent pause duration"; median and spread are
assumptions, so several are shown), and none under 0.2 s is noticed. Text is known `KNOWN` seconds
after the end of speech, and no turn ends before. A share of the pauses comes where the sentence
could be over. The silence that semantic ends are compared with is as long as they take on average
after finished utterances.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from pipelines.turn_ends import Eagerness, TextTurnModel, patience  # noqa: E402
from pipelines.turns import PAUSE_SECONDS  # noqa: E402

DATA = ROOT / "tests" / "evals" / "turn_ends.tsv"
SPREAD = 0.6
"""Standard deviation of the logarithm of a pause's length."""
POINTS: Mapping[Eagerness, Sequence[float]] = {
    "low": (0.7,),
    "medium": (0.5, 0.7, 1.0),
    "high": (0.7,),
}
"""Medians of the pauses, in seconds, for each eagerness."""
SHARES = (0.0, 0.25, 0.5)
KNOWN = 0.4
SPLITS = ("tuning", "held out", "later")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One labelled text. `split`: `tuning` was looked at to make the model, `held out` was written
    with it and kept apart, `later` was written when the model was done."""

    split: str
    language: str
    finished: bool
    text: str

    @property
    def likelihood(self) -> float:
        """What the model says."""
        finished = TextTurnModel().finished(self.text, self.language)
        assert finished is not None, self.language
        return finished

    @property
    def right(self) -> bool:
        """Whether the model is right."""
        return (self.likelihood >= 0.5) == self.finished


@dataclass(frozen=True, slots=True)
class Comparison:
    """What semantic ends cost and save; rates are of pauses inside a turn that end it."""

    latency: float
    """Mean seconds from the end of speech to the end of a finished turn."""
    cut_by_silence: float
    """With a silence of `latency`."""
    cut: float
    silence_for_same: float
    """The silence that would cut off no more than semantic ends do."""


def utterances(*splits: str) -> list[Utterance]:
    """The labelled utterances of these splits."""
    rows = [line.split("\t") for line in DATA.read_text("utf-8").splitlines()[1:]]
    return [
        Utterance(split, language, label == "finished", text)
        for split, language, label, text in rows
        if split in splits
    ]


def lasts_longer(seconds: float, median: float) -> float:
    """The share of the noticed pauses that are longer."""

    def survival(length: float) -> float:
        return math.erfc(math.log(length / median) / (SPREAD * math.sqrt(2))) / 2

    return survival(max(seconds, PAUSE_SECONDS)) / survival(PAUSE_SECONDS)


def compare(
    said: Sequence[Utterance], eagerness: Eagerness, median: float, share: float
) -> Comparison:
    """Semantic ends beside a silence that is as fast. `share` of the pauses are at places where
    the text looks like the finished ones."""
    waits = [(one.finished, max(KNOWN, patience(one.likelihood, eagerness))) for one in said]
    after = [wait for finished, wait in waits if finished]
    inside = [wait for finished, wait in waits if not finished]
    latency = sum(after) / len(after)
    cut = (1 - share) * _cut(inside, median) + share * _cut(after, median)
    return Comparison(latency, lasts_longer(latency, median), cut, _silence_for(cut, median))


def _cut(waits: Sequence[float], median: float) -> float:
    return sum(lasts_longer(wait, median) for wait in waits) / len(waits)


def _silence_for(rate: float, median: float) -> float:
    low, high = PAUSE_SECONDS, 60.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if lasts_longer(middle, median) > rate else (low, middle)
    return high


def right(said: Sequence[Utterance]) -> str:
    """How many of them are judged rightly."""
    count = sum(one.right for one in said)
    return f"{count}/{len(said)} ({100 * count / len(said):.0f} %)" if said else ""


def with_full_stop(one: Utterance) -> Utterance:
    """As a recogniser writes it that begins everything with a capital and ends it with a stop."""
    bare = one.text.rstrip(".?!")
    return replace(one, text=f"{bare[:1].upper()}{bare[1:]}.")


def accuracies() -> Iterator[str]:
    """How many utterances are judged rightly, in Markdown."""
    languages = list(dict.fromkeys(one.language for one in utterances(*SPLITS)))
    yield f"| split | all | with full stops | {' | '.join(languages)} |"
    yield "|---" * (len(languages) + 3) + "|"
    for split in SPLITS:
        said = utterances(split)
        stopped = right([with_full_stop(one) for one in said])
        cells = [right([one for one in said if one.language == each]) for each in languages]
        yield f"| {split} | {right(said)} | {stopped} | {' | '.join(cells)} |"


def comparisons() -> Iterator[str]:
    """What the utterances that the model was not made from cost and save, in Markdown."""
    yield (
        "| eagerness | median pause | pauses that look like ends | mean wait at an end "
        "| cut off by a silence as long | cut off | silence that cuts off as few |"
    )
    yield "|---" * 7 + "|"
    said = utterances("held out", "later")
    for eagerness, medians in POINTS.items():
        for median, share in product(medians, SHARES):
            found = compare(said, eagerness, median, share)
            yield (
                f"| {eagerness} | {median:.1f} s | {100 * share:.0f} % | {found.latency:.2f} s "
                f"| {100 * found.cut_by_silence:.0f} % | {100 * found.cut:.0f} % "
                f"| {found.silence_for_same:.2f} s |"
            )


if __name__ == "__main__":
    print(*accuracies(), "", *comparisons(), sep="\n")
