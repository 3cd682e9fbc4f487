"""The engine that hears nothing answers by the amount of audio alone."""

import numpy as np
import pytest
from voice import Samples

from engines import null
from engines.base import Capabilities, EngineError, Work
from engines.catalogue import ModelRecord
from engines.null import Null
from engines.recognition import Hypothesis, RecognitionOptions
from engines.utterance import Utterance

RECORD = ModelRecord(name="null", engine="null")
UTTERANCE = Utterance(RecognitionOptions(), owner="session")


def sound(seconds: float) -> Samples:
    return np.zeros(round(seconds * 16_000), np.float32)


def test_it_says_nothing_and_ends_with_an_empty_final() -> None:
    engine = Null()
    (growing,) = engine.step([Work(1, UTTERANCE, (sound(3),), ended=False)])
    assert growing.events == ()
    assert not growing.done
    (last,) = engine.step([Work(1, UTTERANCE, (sound(1),), ended=True)])
    assert last.events == (Hypothesis((), final=True),)
    assert last.done


def test_words_come_at_the_rate_that_was_asked_for() -> None:
    engine = Null(words_per_second=2)
    texts = []
    for ended in (False, False, True):
        (outcome,) = engine.step([Work(1, UTTERANCE, (sound(0.5),), ended)])
        texts += [(event.text, event.final) for event in outcome.events]
    assert texts == [("word", False), ("word word", False), ("word word word", True)]
    word = outcome.events[0].words[2]
    assert (word.start, word.end) == (1.0, 1.5)


def test_partials_come_only_when_wanted_and_when_there_is_something_new() -> None:
    engine = Null(words_per_second=1)
    quiet = Utterance(RecognitionOptions(partials=False), owner="session")
    (unwanted,) = engine.step([Work(1, quiet, (sound(2),), ended=False)])
    assert unwanted.events == ()
    engine.step([Work(2, UTTERANCE, (sound(1),), ended=False)])
    (unchanged,) = engine.step([Work(2, UTTERANCE, (sound(0.5),), ended=False)])
    assert unchanged.events == ()


def test_jobs_of_one_step_are_counted_apart() -> None:
    engine = Null(words_per_second=1)
    outcomes = engine.step([Work(n, UTTERANCE, (sound(n),)) for n in range(4)])
    assert [len(outcome.events[0].words) for outcome in outcomes] == [0, 1, 2, 3]


def test_it_counts_utterances() -> None:
    engine = null.recipe(RECORD, cores=2).build()
    assert isinstance(engine, Null)
    assert engine.utterances == 0
    engine.step([Work(1, UTTERANCE, (sound(1),), ended=False)])
    engine.step([Work(1, UTTERANCE, (sound(1),), ended=True)])
    engine.step([Work(2, UTTERANCE, (), ended=True)])
    assert engine.utterances == 2


def test_a_dropped_job_starts_again_from_nothing() -> None:
    engine = Null(words_per_second=1)
    engine.step([Work(1, UTTERANCE, (sound(5),), ended=False)])
    engine.drop(1)
    engine.drop(99)
    (outcome,) = engine.step([Work(1, UTTERANCE, (sound(1),))])
    assert outcome.events[0].text == "word"


def test_the_recipe_takes_the_models_options() -> None:
    record = RECORD.model_copy(update={"options": {"words_per_second": 3}})
    plan = null.recipe(record, cores=2)
    assert (plan.name, plan.worker, plan.cores) == ("null", "inline", 0)
    (outcome,) = plan.build().step([Work(1, UTTERANCE, (sound(1),))])
    assert len(outcome.events[0].words) == 3


def test_a_misspelled_option_is_refused_with_the_nearest_name() -> None:
    record = RECORD.model_copy(update={"options": {"word_per_second": 3}})
    with pytest.raises(EngineError, match=r"'word_per_second'; did you mean 'words_per_second'\?"):
        null.recipe(record, cores=2)


def test_a_value_that_cannot_be_is_refused_by_name() -> None:
    record = RECORD.model_copy(update={"options": {"words_per_second": -1}})
    with pytest.raises(EngineError, match=r"Model 'null': option 'words_per_second'.*-1"):
        null.recipe(record, cores=2)


def test_it_refuses_no_language_and_no_task() -> None:
    null.check(RECORD, RecognitionOptions(language="fr", task="translate"))
    assert null.capabilities(RECORD) == Capabilities(translate=True)
