"""PocketSphinx as a streaming engine: it hears people, and one utterance leaves no trace on the
next."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from voice import RATE, Samples, recording, say, silence, spoken_text, word_errors

from engines import pocketsphinx
from engines.base import EngineError, InvalidInput, Unsupported, Work
from engines.catalogue import ModelRecord
from engines.pocketsphinx import Means, PocketSphinx
from engines.recognition import Hypothesis, RecognitionOptions
from engines.utterance import Utterance

RECORD = ModelRecord(name="pocketsphinx", engine="pocketsphinx")
OPTIONS = RecognitionOptions()
SENTENCE = "he was not an evil young man"

pytestmark = pytest.mark.one_loop


@pytest.fixture(scope="module")
def shared() -> Iterator[PocketSphinx]:
    engine = PocketSphinx()
    yield engine
    engine.close()


@pytest.fixture
def engine(shared: PocketSphinx) -> PocketSphinx:
    """The loaded decoder, as if no owner had spoken yet."""
    shared._means = Means()
    return shared


@pytest.fixture(scope="module")
def speech() -> Samples:
    return np.concatenate((silence(0.3), say(SENTENCE, words_per_minute=130), silence(0.3)))


def listen(
    engine: PocketSphinx,
    audio: Samples,
    chunk: float = 0.1,
    owner: str = "a",
    options: RecognitionOptions = OPTIONS,
) -> list[Hypothesis]:
    """Every hypothesis of an utterance that arrives `chunk` seconds at a time."""
    heard: list[Hypothesis] = []
    size = max(1, round(chunk * RATE))
    for at in range(0, max(1, len(audio)), size):
        ended = at + size >= len(audio)
        work = Work(1, Utterance(options, owner), (audio[at : at + size],), ended)
        (outcome,) = engine.step([work])
        assert outcome.error is None
        assert outcome.done is ended
        heard.extend(outcome.events)
    return heard


PEOPLE = ("people/austen-0880.wav", "people/austen-0920.wav", "people/cutter.flac")


def test_it_understands_people_reading_aloud(engine: PocketSphinx) -> None:
    errors = words = 0.0
    for name in PEOPLE:
        heard = listen(engine, recording(name), owner=name)[-1].text
        said = spoken_text(name)
        rate, length = word_errors(said, heard), len(said.split())
        print(f"{rate:.0%} {heard}")
        errors, words = errors + rate * length, words + length
    print(f"word error rate {errors / words:.0%}")
    assert errors / words < 0.6


def test_words_have_times_inside_the_audio_and_in_order(
    engine: PocketSphinx, speech: Samples
) -> None:
    final = listen(engine, speech)[-1]
    assert final.words
    times = [time for word in final.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] > 0.15
    assert times[-1] <= len(speech) / RATE
    for word in final.words:
        assert word.text.replace("'", "").isalpha()
        assert word.probability is not None
        assert 0 <= word.probability <= 1
    assert final.language == "en"


def test_partials_grow_and_one_final_comes_last(engine: PocketSphinx, speech: Samples) -> None:
    *partials, final = listen(engine, speech)
    assert final.final
    assert len(partials) >= 3
    assert not any(partial.final for partial in partials)
    texts = [partial.text for partial in partials]
    assert all(before != after for before, after in pairwise(texts))
    assert len(partials[0].words) < len(partials[-1].words)


def test_partials_come_only_when_wanted(engine: PocketSphinx, speech: Samples) -> None:
    (only,) = listen(engine, speech, options=replace(OPTIONS, partials=False))
    assert only.final
    assert only.text


def test_chunking_does_not_change_the_final(engine: PocketSphinx, speech: Samples) -> None:
    finals = set()
    for chunk in (0.01, 0.013, 0.1, 0.77, 100):
        engine._means = Means()
        finals.add(listen(engine, speech, chunk)[-1])
    assert len(finals) == 1


def test_other_peoples_utterances_do_not_change_the_final(
    engine: PocketSphinx, speech: Samples
) -> None:
    alone = listen(engine, speech, owner="a")[-1]
    listen(engine, say("good morning", voice="en-us+f3") * 0.1, owner="b")
    listen(engine, np.random.default_rng(3).standard_normal(RATE).astype(np.float32), owner="c")
    assert listen(engine, speech, owner="d")[-1] == alone


def test_a_known_owner_is_decoded_at_once_with_their_own_mean(
    engine: PocketSphinx, speech: Samples
) -> None:
    work = Work(1, Utterance(OPTIONS, "a"), (speech[: RATE // 2],), ended=False)
    engine.step([work])
    assert engine._open is not None
    assert not engine._open.decoding
    engine.drop(1)
    listen(engine, speech, owner="a")
    engine.step([replace(work, payload=Utterance(OPTIONS, "b"))])
    assert not engine._open.decoding
    engine.drop(1)
    engine.step([work])
    assert engine._open.decoding
    engine.drop(1)


def test_only_an_utterance_with_words_teaches_the_owners_mean(engine: PocketSphinx) -> None:
    listen(engine, silence(2), owner="a")
    assert len(engine._means) == 0
    listen(engine, say(SENTENCE), owner="a")
    listen(engine, say(SENTENCE) * 0.05, owner="b")
    loud, quiet = engine._means.of("a"), engine._means.of("b")
    assert loud is not None
    assert quiet is not None
    assert loud[0] > quiet[0] + 5


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(0, np.float32),
        np.zeros(1, np.float32),
        np.zeros(100, np.float32),
        np.zeros(3 * RATE, np.float32),
        np.concatenate((np.zeros(2 * RATE, np.float32), silence(0.5))),
        silence(0.05),
        silence(3),
    ],
    ids=["empty", "one sample", "100 samples", "zeros", "zeros then room", "50 ms", "room"],
)
def test_no_speech_gives_a_final_without_words(engine: PocketSphinx, audio: Samples) -> None:
    assert listen(engine, audio)[-1] == Hypothesis((), final=True, language="en")


def test_noise_gives_a_final_and_no_error(engine: PocketSphinx) -> None:
    noise = np.random.default_rng(2).standard_normal(2 * RATE).astype(np.float32)
    assert listen(engine, noise)[-1].final


def test_an_end_without_any_audio_gives_a_final(engine: PocketSphinx) -> None:
    (outcome,) = engine.step([Work(4, Utterance(OPTIONS, "a"), (), ended=True)])
    assert outcome.done
    assert outcome.events == (Hypothesis((), final=True, language="en"),)


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_after_a_drop_the_next_utterance_is_clean(
    engine: PocketSphinx, speech: Samples, seconds: float
) -> None:
    clean = listen(engine, speech)[-1]
    engine._means = Means()
    other = say("something else entirely was said here before")[: round(seconds * RATE)]
    engine.step([Work(9, Utterance(OPTIONS, "z"), (other,), ended=False)])
    engine.drop(8)
    engine.drop(9)
    engine.drop(9)
    assert listen(engine, speech)[-1] == clean


def test_unusable_samples_fail_their_utterance_and_leave_the_decoder_usable(
    engine: PocketSphinx, speech: Samples
) -> None:
    bad = speech.copy()
    bad[RATE] = np.nan
    payload = Utterance(OPTIONS, "a")
    engine.step([Work(1, payload, (speech,), ended=False)])
    (outcome,) = engine.step([Work(1, payload, (bad,), ended=False)])
    assert isinstance(outcome.error, InvalidInput)
    assert outcome.done
    assert listen(engine, speech)[-1].text


class Failing:
    """A decoder of which one call fails."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def process_raw(self, *arguments: Any) -> Any:
        if self._failed:
            return self._decoder.process_raw(*arguments)
        self._failed = True
        raise RuntimeError("Failed to process")


@pytest.mark.parametrize("part", ["_decoder", "_estimator"])
def test_a_fault_while_decoding_fails_its_utterance_and_leaves_the_decoder_usable(
    engine: PocketSphinx, speech: Samples, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(engine, part, Failing(getattr(engine, part)))
    work = Work(1, Utterance(OPTIONS, "fault"), (speech,), ended=True)
    (outcome,) = engine.step([work])
    assert outcome.done
    assert "could not decode the audio" in str(outcome.error)
    assert listen(engine, speech, owner="after it")[-1].text


def test_a_second_utterance_at_the_same_time_is_refused(
    engine: PocketSphinx, speech: Samples
) -> None:
    payload = Utterance(OPTIONS, "a")
    engine.step([Work(1, payload, (speech[:RATE],), ended=False)])
    (refused,) = engine.step([Work(2, payload, (speech,), ended=True)])
    assert refused.error is not None
    (outcome,) = engine.step([Work(1, payload, (speech[RATE:],), ended=True)])
    assert outcome.events[-1].text


def test_means_move_slowly_and_forget_the_owner_unheard_for_longest() -> None:
    means = Means(most=2)
    for owner in ("a", "b"):
        means.learn(owner, np.array([10.0]), seconds=1)
    means.learn("a", np.array([20.0]), seconds=1)
    assert means.of("a") == pytest.approx(15)
    for _ in range(50):
        means.learn("a", np.array([20.0]), seconds=1)
    means.learn("a", np.array([50.0]), seconds=1)
    assert means.of("a") == pytest.approx(25, abs=0.1)
    means.learn("c", np.array([1.0]), seconds=1)
    assert means.of("b") is None
    assert len(means) == 2


def test_the_recipe_is_a_bounded_pool_of_processes_that_pickles() -> None:
    plan = pocketsphinx.recipe(RECORD, cores=3)
    assert (plan.worker, plan.workers, plan.slots, plan.capacity) == ("process", 3, 1, 12)
    assert plan.replay
    build = pickle.loads(pickle.dumps(plan.build))
    assert build.func is PocketSphinx
    record = RECORD.model_copy(update={"options": {"decoders": 1, "max_states": 5000}})
    few = pocketsphinx.recipe(record, cores=3)
    assert (few.workers, few.capacity) == (1, 4)


def test_a_misspelled_option_is_refused_with_the_nearest_name() -> None:
    record = RECORD.model_copy(update={"options": {"decoder": 2}})
    with pytest.raises(EngineError, match="did you mean 'decoders'"):
        pocketsphinx.recipe(record, cores=1)


@pytest.mark.parametrize("language", [None, "", "en", "en-US", "EN_gb", "english"])
def test_english_in_any_spelling_is_understood(language: str | None) -> None:
    pocketsphinx.check(RECORD, replace(OPTIONS, language=language))


def test_another_language_is_refused_with_what_to_install() -> None:
    with pytest.raises(Unsupported) as caught:
        pocketsphinx.check(RECORD, replace(OPTIONS, language="fr"))
    assert str(caught.value) == (
        "The built-in 'pocketsphinx' model only understands English."
        " Install a multilingual model with: antiphon pull base"
    )
    assert caught.value.param == "language"
    assert pocketsphinx.capabilities(RECORD).languages == frozenset({"en"})


def test_a_translation_is_refused_with_what_to_install() -> None:
    with pytest.raises(Unsupported, match="antiphon pull base") as caught:
        pocketsphinx.check(RECORD, replace(OPTIONS, task="translate"))
    assert caught.value.param == "task"
    assert not pocketsphinx.capabilities(RECORD).translate
