"""How often the turn model is right about labelled utterances, and what that is worth."""

from itertools import product

import pytest

from bench.turn_ends import (
    POINTS,
    SHARES,
    Utterance,
    compare,
    lasts_longer,
    utterances,
    with_full_stop,
)
from pipelines.turn_ends import Eagerness

HELD_OUT = utterances("held out")
LATER = utterances("later")
LANGUAGES = sorted({one.language for one in HELD_OUT})


def accuracy(said: list[Utterance]) -> float:
    return sum(one.right for one in said) / len(said)


def test_the_utterances_are_many_in_several_languages_and_half_of_them_are_unfinished() -> None:
    said = utterances("tuning", "held out", "later")
    assert len(said) >= 360
    assert len(LANGUAGES) >= 7
    assert 0.45 < sum(one.finished for one in said) / len(said) < 0.55
    assert len({(one.language, one.text) for one in said}) == len(said)


def test_nine_of_ten_held_out_utterances_are_judged_rightly() -> None:
    assert accuracy(HELD_OUT) >= 0.95
    assert accuracy(LATER) >= 0.9


@pytest.mark.parametrize("language", LANGUAGES)
def test_more_than_four_of_five_are_in_every_language(language: str) -> None:
    for said in (HELD_OUT, LATER):
        mine = [one for one in said if one.language == language]
        assert not mine or accuracy(mine) > 0.8


def test_a_full_stop_after_everything_misleads_little() -> None:
    assert accuracy([with_full_stop(one) for one in HELD_OUT]) >= 0.95
    assert accuracy([with_full_stop(one) for one in LATER]) >= 0.85


@pytest.mark.parametrize(
    ("eagerness", "median", "share"),
    [(each, *point) for each, medians in POINTS.items() for point in product(medians, SHARES)],
)
def test_semantic_ends_cut_off_fewer_than_a_silence_that_is_as_fast(
    eagerness: Eagerness, median: float, share: float
) -> None:
    found = compare(HELD_OUT + LATER, eagerness, median, share)
    assert found.cut < 0.85 * found.cut_by_silence
    assert found.silence_for_same > found.latency
    if not share:
        assert found.cut < 0.25 * found.cut_by_silence


def test_the_lengths_of_pauses_are_those_of_their_distribution() -> None:
    assert lasts_longer(0.1, 0.7) == 1.0, "shorter ones are not noticed"
    assert lasts_longer(0.7, 0.7) == pytest.approx(0.5, rel=0.03)
    assert lasts_longer(0.7, 0.7) > lasts_longer(1.0, 0.7) > lasts_longer(4.0, 0.7) > 0
