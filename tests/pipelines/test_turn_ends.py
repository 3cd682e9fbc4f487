"""The turn model's features, the patience that follows from it, and what it is asked about."""

import logging
import time

import numpy as np
import pytest

from engines.recognition import Samples, Word
from pipelines.frames import Transcript
from pipelines.turn_ends import (
    CERTAIN_SECONDS,
    LEXICONS,
    LONGEST_WAIT,
    WEIGHTS,
    Eagerness,
    TextTurnModel,
    TurnJudge,
    features,
    patience,
)
from pipelines.turns import PAUSE_SECONDS

MODEL = TextTurnModel()
SILENCE = 0.7
NO_AUDIO: Samples = np.zeros(0, np.float32)


def finished(text: str, language: str = "en") -> float:
    likelihood = MODEL.finished(text, language)
    assert likelihood is not None
    return likelihood


@pytest.mark.parametrize(
    ("text", "language", "feature"),
    [
        ("I'd like a coffee with", "en", "hangs"),
        ("can you tell me", "en", "hangs"),
        ("so I was, um", "en", "hesitates"),
        ("Yes.", "en", "answers"),
        ("the weather in Paris please", "en", "closes"),
        ("when I was a child", "en", "subordinate"),
        ("my phone number is 555 12", "en", "dictates"),
        ("my phone number is 555 1234", "en", "dictated"),
        ("my email is ann dot lee at example", "en", "dictates"),
        ("it is ann.lee@example.com", "en", "dictated"),
        ("where is the station?", "en", "question mark"),
        ("and then we went home...", "en", "comma"),
        ("ich muss noch", "de", "leans"),
        ("könnten Sie bitte den Herrn Maier", "de", "no infinitive"),
        ("ich schalte das Licht an", "de", "long"),
        ("j'ai acheté du pain et", "fr", "hangs"),
        ("la persona que", "es", "hangs"),
    ],
)
def test_a_text_has_the_features_that_a_reader_would_name(
    text: str, language: str, feature: str
) -> None:
    assert feature in features(text, LEXICONS[language])


def test_every_feature_has_a_weight_and_more_of_an_ending_is_likelier_an_end() -> None:
    assert finished("what are you looking for") > 0.5 > finished("I am looking for")
    assert finished("turn it on") > 0.5 > finished("I rely on")
    assert finished("if it rains we stay at home") > 0.5 > finished("if it rains")
    assert finished("it is four") > finished("my card number is four")
    assert set(WEIGHTS) > features("is it?", LEXICONS["en"])


@pytest.mark.parametrize("language", LEXICONS)
@pytest.mark.parametrize("text", ["", "...", "?", "7", "@", "x y", "a" * 5000, "um " * 5000])
def test_any_text_has_a_likelihood_in_every_language(text: str, language: str) -> None:
    assert 0 < finished(text, language) < 1


def test_a_long_text_is_judged_in_a_moment() -> None:
    text = "and then I said to him that we should go " * 500
    began = time.process_time()
    for _ in range(10):
        finished(text)
    assert (time.process_time() - began) / 10 < 0.1


def test_a_language_is_known_with_its_region_and_case() -> None:
    assert finished("ich möchte", "de-AT") == finished("ich möchte", "DE") < 0.5
    assert MODEL.finished("mida sa teed", "et") is None
    assert MODEL.finished("hello", None) is None


@pytest.mark.parametrize("eagerness", LONGEST_WAIT)
def test_patience_grows_with_doubt_up_to_the_longest_wait(eagerness: Eagerness) -> None:
    waits = [patience(likelihood, eagerness) for likelihood in (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.0)]
    assert waits[0] == waits[1] == pytest.approx(CERTAIN_SECONDS)
    assert waits[1] < waits[2] < waits[3] < waits[4] < waits[5]
    assert waits[5] == waits[6] == pytest.approx(LONGEST_WAIT[eagerness])


# The judge


def transcript(text: str, state: str = "tentative", until: float = 0.0) -> Transcript:
    words = (Word(text, 0.0, until),) if until else ()
    assert state in ("committed", "tentative", "final")
    return Transcript("item", text, state, words=words, language="en")  # type: ignore[arg-type]


def judge(*heard: Transcript, since: float = 1.0) -> float | None:
    judging = TurnJudge(MODEL)
    for each in heard:
        judging.take(each)
    return judging.patience("medium", since, SILENCE, NO_AUDIO)


def test_committed_and_tentative_text_are_judged_together() -> None:
    wait = judge(transcript("turn on", "committed"), transcript("the light please", until=1.0))
    assert wait == judge(transcript("turn on the light please", until=1.0))
    assert wait == pytest.approx(CERTAIN_SECONDS, abs=0.05)


def test_newly_committed_text_takes_the_place_of_the_tentative() -> None:
    wait = judge(
        transcript("book a table for"),
        transcript("book a table for two please", "committed", until=1.0),
        transcript(""),
    )
    assert wait == pytest.approx(CERTAIN_SECONDS, abs=0.05)


def test_a_final_text_takes_the_place_of_all() -> None:
    wait = judge(transcript("book a", "committed"), transcript("yes please", "final", until=1.0))
    assert wait == pytest.approx(CERTAIN_SECONDS, abs=0.05)


def test_text_of_less_than_all_that_was_said_never_shortens_the_wait() -> None:
    assert judge(transcript("I want a coffee please", until=1.0), since=3.0) == SILENCE
    late = judge(transcript("I want a coffee and a", until=1.0), since=3.0)
    assert late is not None
    assert late > SILENCE


def test_nothing_understood_is_nothing_to_go_by() -> None:
    assert judge() is None
    assert judge(transcript("  ")) is None


def test_the_wait_is_never_shorter_than_a_pause() -> None:
    class Hasty:
        def finished(self, text: str, language: str | None, audio: Samples | None = None) -> float:
            assert audio is NO_AUDIO
            return 1.0

    judging = TurnJudge(Hasty())
    judging.take(transcript("yes", until=1.0))
    wait = judging.patience("high", 1.0, SILENCE, NO_AUDIO)
    assert wait is not None
    assert wait >= PAUSE_SECONDS


def test_an_unknown_language_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    judging = TurnJudge(MODEL)
    for _ in range(3):
        judging.begin()
        judging.take(Transcript("item", "mida sa teed", "tentative", language="et"))
        assert judging.patience("medium", 1.0, SILENCE, NO_AUDIO) is None
    (said,) = caplog.messages
    assert "'et'" in said
