"""Whisper from a model directory: what it hears, what it refuses, and what it says when."""

import json
import logging
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from voice import RATE, WHISPER_NANO, Samples, say, silence, word_errors

from engines import whisper
from engines.base import EngineError, InvalidInput, Outcome, Unsupported, Work
from engines.catalogue import ModelRecord
from engines.recognition import Hypothesis, RecognitionOptions
from engines.whisper import Whisper, WhisperOptions, WhisperRequest

RECORD = ModelRecord(name="nano", engine="whisper", source=str(WHISPER_NANO))
OPTIONS = RecognitionOptions()
SENTENCES = (
    "The next meeting is on Friday at five in the evening.",
    "Who is responsible for the new website?",
    "There were eight support tickets next month.",
    "Anna takes the action to deliver the memo.",
)

pytestmark = pytest.mark.one_loop


@pytest.fixture(scope="module")
def engine() -> Iterator[Whisper]:
    loaded = Whisper("nano", str(WHISPER_NANO), WhisperOptions(device="cpu"))
    yield loaded
    loaded.close()


def spoken(text: str) -> Samples:
    return np.concatenate((silence(0.2), say(text), silence(0.3)))


def run(engine: Whisper, request: WhisperRequest, job: int = 1) -> tuple[Outcome, int]:
    """The last outcome of a job, and how many steps it took."""
    for step in range(1, 50):
        (outcome,) = engine.step([Work(job, request)])
        if outcome.done:
            return outcome, step
        assert outcome.events == ()
    raise AssertionError("the job does not end")


def hear(
    engine: Whisper, audio: Samples, *, final: bool = True, options: RecognitionOptions = OPTIONS
) -> Hypothesis:
    outcome, _ = run(engine, WhisperRequest(audio, options, final))
    assert outcome.error is None
    (hypothesis,) = outcome.events
    assert isinstance(hypothesis, Hypothesis)
    assert hypothesis.final is final
    return hypothesis


def test_it_hears_sentences_whose_words_it_knows(engine: Whisper) -> None:
    errors = [word_errors(text, hear(engine, spoken(text)).text) for text in SENTENCES]
    assert sum(errors) / len(errors) < 0.1, errors


def test_a_last_word_that_ends_with_the_audio_keeps_its_letters(engine: Whisper) -> None:
    text = "We lost an architect in Tokyo."
    assert hear(engine, np.concatenate((silence(0.3), say(text)))).text == text


@pytest.mark.parametrize("final", [True, False])
def test_words_have_times_inside_the_audio_and_in_order(engine: Whisper, final: bool) -> None:
    audio = spoken(SENTENCES[0])
    hypothesis = hear(engine, audio, final=final)
    assert len(hypothesis.words) > 8
    times = [time for word in hypothesis.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= len(audio) / RATE
    assert times[-1] > len(audio) / RATE - 1
    assert all(word.text == word.text.strip() != "" for word in hypothesis.words)
    assert all((word.probability is not None) is final for word in hypothesis.words)
    assert hypothesis.language == "en"


def test_the_words_of_a_final_stand_where_they_were_said(engine: Whisper) -> None:
    first, second = say("The next meeting is on Friday."), say("Who will update the draft?")
    audio = np.concatenate((silence(0.5), first, silence(1.0), second, silence(0.3)))
    words = {word.text.lower().strip(".?"): word for word in hear(engine, audio).words}
    pause = 0.5 + len(first) / RATE
    assert words["friday"].end == pytest.approx(pause, abs=0.25)
    assert words["who"].start == pytest.approx(pause + 1.0, abs=0.25)


def test_a_partial_of_the_beginning_says_the_beginning(engine: Whisper) -> None:
    audio = spoken(SENTENCES[0])
    final = [word.text for word in hear(engine, audio).words]
    for seconds in (1.5, 2.0):
        partial = hear(engine, audio[: round(seconds * RATE)], final=False)
        # The last word of a cut recording may be half a word.
        heard = [word.text.strip(".,?") for word in partial.words][:-1]
        assert heard == final[: len(heard)]
        assert len(heard) >= 2


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize(
    "audio",
    [np.zeros(0, np.float32), np.zeros(100, np.float32), np.zeros(RATE, np.float32), silence(3)],
    ids=["empty", "100 samples", "zeros", "room"],
)
def test_no_speech_gives_no_text(engine: Whisper, audio: Samples, final: bool) -> None:
    assert hear(engine, audio, final=final).text == ""


def test_each_step_is_one_piece_of_a_long_recording(engine: Whisper) -> None:
    pause = silence(28)
    audio = np.concatenate((spoken(SENTENCES[1]), pause, spoken(SENTENCES[2])))
    outcome, steps = run(engine, WhisperRequest(audio, OPTIONS, final=True))
    assert steps >= 3
    (hypothesis,) = outcome.events
    assert hypothesis.words[-1].start > 28


def test_jobs_of_one_step_advance_together_and_apart(engine: Whisper) -> None:
    requests = {n: WhisperRequest(spoken(SENTENCES[n]), OPTIONS, final=True) for n in (1, 2)}
    alone = {n: hear(engine, request.audio) for n, request in requests.items()}
    together: dict[int, Hypothesis] = {}
    while len(together) < 2:
        waiting = [Work(n, request) for n, request in requests.items() if n not in together]
        for outcome in engine.step(waiting):
            for event in outcome.events:
                together[outcome.job] = event
    assert together == alone


def test_a_dropped_job_starts_again_from_the_beginning(engine: Whisper) -> None:
    request = WhisperRequest(spoken(SENTENCES[1]), OPTIONS, final=True)
    whole, steps = run(engine, request)
    engine.step([Work(1, request)])
    engine.drop(1)
    engine.drop(77)
    assert run(engine, request) == (whole, steps)
    assert engine._jobs == {}


@pytest.mark.parametrize(
    "audio",
    [
        np.full(RATE, np.nan, np.float32),
        np.zeros(RATE, np.int16),
        np.zeros((2, RATE), np.float32),
    ],
    ids=["nan", "int16", "stereo"],
)
def test_unusable_samples_fail_their_own_job_only(engine: Whisper, audio: Samples) -> None:
    good = WhisperRequest(spoken(SENTENCES[1]), OPTIONS, final=True)
    wrong, right = engine.step([Work(1, WhisperRequest(audio, OPTIONS, True)), Work(2, good)])
    assert isinstance(wrong.error, InvalidInput)
    assert wrong.done
    assert right.error is None
    assert run(engine, good, job=2)[0].events[0].text


def test_a_prompt_and_a_temperature_reach_the_model(engine: Whisper) -> None:
    request = WhisperRequest(
        spoken(SENTENCES[1]), replace(OPTIONS, prompt="Friday.", temperature=0.3), final=True
    )
    engine.step([Work(1, request)])
    # The generator has what it was asked for; what the tiny model makes of it is no measure.
    asked = engine._jobs[1].segments.gi_frame.f_locals["options"]  # type: ignore[attr-defined]
    engine.drop(1)
    assert asked.initial_prompt == "Friday."
    assert asked.temperatures == (0.3,)
    assert asked.beam_size == 5


def test_only_a_final_is_tried_at_higher_temperatures(engine: Whisper) -> None:
    for final, temperatures in ((True, whisper.FALLBACK_TEMPERATURES), (False, (0.0,))):
        engine.step([Work(1, WhisperRequest(spoken(SENTENCES[1]), OPTIONS, final))])
        asked = engine._jobs[1].segments.gi_frame.f_locals["options"]  # type: ignore[attr-defined]
        engine.drop(1)
        assert asked.temperatures == temperatures
        assert asked.beam_size == (5 if final else 1)


@pytest.mark.parametrize("options", [{"language": "fr"}, {"task": "translate"}])
def test_an_english_model_never_ignores_what_it_was_asked_for(
    engine: Whisper, options: dict[str, Any]
) -> None:
    asked = replace(OPTIONS, **options)
    outcome, _ = run(engine, WhisperRequest(spoken(SENTENCES[1]), asked, final=True))
    assert isinstance(outcome.error, Unsupported)
    assert outcome.error.param in options
    with pytest.raises(Unsupported, match="antiphon pull base"):
        whisper.check(RECORD, asked)


def test_english_in_any_spelling_is_understood(engine: Whisper) -> None:
    for language in (None, "", "en", "en-US", "English"):
        options = replace(OPTIONS, language=language)
        whisper.check(RECORD, options)
        assert hear(engine, spoken(SENTENCES[1]), final=False, options=options).text


# A multilingual model, as far as one can be made of an English one: same weights, other names.


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with its last timestamp tokens renamed to what makes it multilingual."""
    directory = tmp_path_factory.mktemp("models") / "multi"
    shutil.copytree(WHISPER_NANO, directory)
    vocabulary = json.loads((WHISPER_NANO / "vocabulary.json").read_text())
    names = dict(zip(vocabulary[-4:], ["", "<|en|>", "<|fr|>", "<|yue|>"], strict=True))
    ids = [len(vocabulary) - 3 + n for n in range(3)]
    (directory / "vocabulary.json").write_text(json.dumps([names.get(t, t) for t in vocabulary]))
    tokenizer = json.loads((WHISPER_NANO / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        token["content"] = names.get(token["content"]) or token["content"]
    vocab = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {names.get(t) or t: n for t, n in vocab.items()}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((WHISPER_NANO / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "lang_ids": ids}))
    return directory


def test_a_multilingual_model_detects_the_language_or_takes_the_one_given(
    multilingual: Path,
) -> None:
    engine = Whisper("multi", str(multilingual), WhisperOptions(device="cpu"))
    audio = spoken(SENTENCES[1])
    assert hear(engine, audio, final=False).language in {"en", "fr", "yue"}
    french = replace(OPTIONS, language="fr-CA", task="translate")
    assert hear(engine, audio, final=False, options=french).language == "fr"
    unknown = WhisperRequest(audio, replace(OPTIONS, language="de"), final=False)
    outcome, _ = run(engine, unknown)
    assert isinstance(outcome.error, Unsupported)
    engine.close()


def test_what_a_model_can_do_is_read_from_its_vocabulary(multilingual: Path) -> None:
    english = whisper.capabilities(RECORD)
    assert english.languages == frozenset({"en"})
    assert not english.translate
    record = RECORD.model_copy(update={"name": "multi", "source": str(multilingual)})
    able = whisper.capabilities(record)
    assert able.languages == frozenset({"en", "fr", "yue"})
    assert able.translate
    whisper.check(record, replace(OPTIONS, language="fr", task="translate"))
    with pytest.raises(Unsupported, match="does not know the language 'xx'") as caught:
        whisper.check(record, replace(OPTIONS, language="xx"))
    assert caught.value.param == "language"


def test_an_older_vocabulary_with_a_token_on_each_line_is_read(tmp_path: Path) -> None:
    for tokens, languages in ((["a", "", "<|en|>", "<|fr|>"], {"en", "fr"}), (["<|fr|>"], {"en"})):
        directory = tmp_path / "-".join(sorted(languages))
        directory.mkdir()
        (directory / "vocabulary.txt").write_text("\n".join(tokens) + "\n")
        record = RECORD.model_copy(update={"source": str(directory)})
        assert whisper.capabilities(record).languages == frozenset(languages)


def test_a_turbo_model_is_not_asked_to_translate(multilingual: Path) -> None:
    record = ModelRecord(name="whisper-large-v3-turbo", engine="whisper", source=str(multilingual))
    with pytest.raises(Unsupported, match="cannot translate") as caught:
        whisper.check(record, replace(OPTIONS, task="translate"))
    assert caught.value.param == "task"


def test_without_its_files_a_model_is_judged_by_its_name(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    english = ModelRecord(name="my-base.en", engine="whisper", source=gone)
    assert whisper.capabilities(english).languages == frozenset({"en"})
    other = ModelRecord(name="mine", engine="whisper", source=gone)
    assert whisper.capabilities(other).languages is None


def test_a_vocabulary_that_cannot_be_read_is_logged_and_not_fatal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "vocabulary.json").write_text("[")
    record = ModelRecord(name="mine", engine="whisper", source=str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert whisper.capabilities(record).languages is None
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("tokenizer.json", "has no tokenizer.json"),
        ("model.bin", "has no model.bin"),
        ("", "could not be loaded"),
    ],
)
def test_a_bad_directory_is_an_error_of_one_sentence(
    tmp_path: Path, missing: str, sentence: str
) -> None:
    directory = tmp_path / "model"
    shutil.copytree(WHISPER_NANO, directory)
    (directory / "model.bin").write_bytes(b"not a model")
    if missing:
        (directory / missing).unlink()
    record = RECORD.model_copy(update={"source": str(directory)})
    with pytest.raises(EngineError, match=sentence) as caught:
        whisper.recipe(record, cores=1).build()
    assert "\n" not in str(caught.value)
    assert "'nano'" in str(caught.value)


@pytest.mark.parametrize("source", [None, "somebody/some-model"])
def test_it_never_goes_to_the_network_for_a_model(source: str | None) -> None:
    record = RECORD.model_copy(update={"source": source})
    with pytest.raises(EngineError, match=r"needs a 'source'|there is no directory"):
        whisper.recipe(record, cores=1).build()


def test_the_recipe_grants_no_more_threads_than_there_are_cores() -> None:
    record = RECORD.model_copy(update={"options": {"cpu_threads": 8, "beam_size": 2}})
    plan = whisper.recipe(record, cores=2)
    assert (plan.name, plan.worker, plan.workers, plan.cores) == ("nano", "thread", 1, 2)
    assert whisper.recipe(RECORD, cores=2).cores == 1
    build = pickle.loads(pickle.dumps(plan.build))
    assert build.func is Whisper


def test_a_misspelled_option_is_refused_with_the_nearest_name() -> None:
    record = RECORD.model_copy(update={"options": {"beamsize": 2}})
    with pytest.raises(EngineError, match="did you mean 'beam_size'"):
        whisper.recipe(record, cores=1)
    record = RECORD.model_copy(update={"options": {"device": "gpu"}})
    with pytest.raises(EngineError, match=r"'device'.*'gpu'"):
        whisper.recipe(record, cores=1)
