"""What a Whisper model can do, read from its files or known by its name; its options."""

import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from voice import WHISPER_NANO
from whisper_models import write_multilingual

from engines import whisper
from engines.base import EngineError, JobClass, Unsupported
from engines.catalogue import ModelRecord
from engines.decoding import Decode
from engines.recognition import RecognitionOptions
from engines.speech import Speech

RECORD = ModelRecord(name="nano", engine="whisper", source=str(WHISPER_NANO))
OPTIONS = RecognitionOptions()


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_multilingual(tmp_path_factory.mktemp("models") / "multi")


@pytest.mark.parametrize("options", [{"language": "fr"}, {"task": "translate"}])
def test_an_english_model_never_ignores_what_it_was_asked_for(options: dict[str, str]) -> None:
    with pytest.raises(Unsupported, match="antiphon pull base") as caught:
        whisper.check(RECORD, replace(OPTIONS, **options))  # type: ignore[arg-type]
    assert caught.value.param in options


@pytest.mark.parametrize("language", [None, "", "en", "en-US", "English"])
def test_english_in_any_spelling_is_understood(language: str | None) -> None:
    whisper.check(RECORD, replace(OPTIONS, language=language))


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


@pytest.mark.parametrize("content", [b"", b'{"version": "1.0", ', b"<html>", b"\xff\x00"])
def test_a_tokeniser_that_cannot_be_read_is_named_with_its_model(
    tmp_path: Path, content: bytes
) -> None:
    directory = tmp_path / "model"
    shutil.copytree(WHISPER_NANO, directory)
    (directory / "tokenizer.json").write_bytes(content)
    record = RECORD.model_copy(update={"source": str(directory)})
    with pytest.raises(EngineError, match=r"Model 'nano' .* tokenizer\.json cannot be read"):
        whisper.recipe(record, cores=1).build()


@pytest.mark.parametrize("source", [None, "somebody/some-model"])
def test_it_never_goes_to_the_network_for_a_model(source: str | None) -> None:
    record = RECORD.model_copy(update={"source": source})
    with pytest.raises(EngineError, match=r"needs a 'source'|there is no directory"):
        whisper.recipe(record, cores=1).build()


def test_the_recipe_has_a_worker_for_each_core_and_no_more_threads_than_cores() -> None:
    plain = whisper.recipe(RECORD, cores=2)
    assert (plain.name, plain.worker, plain.workers, plain.cores) == ("nano", "thread", 2, 1)
    wide = RECORD.model_copy(update={"options": {"cpu_threads": 8}})
    plan = whisper.recipe(wide, cores=2)
    assert (plan.workers, plan.cores) == (1, 2)
    chosen = RECORD.model_copy(update={"options": {"workers": 3, "device": "cuda"}})
    assert whisper.recipe(chosen, cores=2).workers == 3


@dataclass(frozen=True)
class Queued:
    """A job that waits, as `select` sees it."""

    payload: Decode
    kind: JobClass = JobClass.PARTIAL
    inputs: int = 0


def window(frames: int = 500, *, final: bool = False, language: str | None = None) -> Decode:
    options = replace(OPTIONS, language=language)
    return Decode(Speech(), 0, 16_000, frames, options, final)


def test_a_batch_holds_the_most_urgent_window_and_those_like_it() -> None:
    waiting = [
        Queued(window(500 if n % 3 else 1000, language=("en", "fr")[n % 2])) for n in range(9)
    ]
    select = whisper.recipe(RECORD, cores=2).select
    assert select(waiting) == [waiting[0], waiting[3], waiting[6]]
    assert len(select([Queued(window()) for _ in range(50)])) == 8
    assert len(select([Queued(window(final=True)) for _ in range(50)])) == 4


@pytest.mark.parametrize(("first", "others", "together"), [(500, 750, 5), (750, 500, 5)])
def test_windows_of_about_the_same_length_fill_a_small_batch(
    first: int, others: int, together: int
) -> None:
    select = whisper.recipe(RECORD, cores=2).select
    far = [Queued(window(1500)), Queued(window(500, final=True))]
    waiting = [Queued(window(first)), *far, *(Queued(window(others)) for _ in range(4))]
    chosen = select(waiting)
    assert len(chosen) == together
    assert not any(one in far for one in chosen)


def test_windows_of_another_length_do_not_join_a_batch_that_is_large_enough() -> None:
    select = whisper.recipe(RECORD, cores=2).select
    waiting = [*(Queued(window(500)) for _ in range(4)), *(Queued(window(750)) for _ in range(4))]
    assert select(waiting) == waiting[:4]


def test_recordings_never_make_a_live_batch_longer_nor_a_step_long() -> None:
    select = whisper.recipe(RECORD, cores=2).select
    live = [Queued(window(final=True), JobClass.FINAL)]
    files = [Queued(window(final=True), JobClass.REST) for _ in range(6)]
    assert select([*live, *files]) == live
    assert select([files[0], *live, *files[1:]]) == files[:4]
    long = [Queued(window(3000, final=True), JobClass.BACKGROUND) for _ in range(6)]
    assert select(long) == long[:1]


def test_a_misspelled_option_is_refused_with_the_nearest_name() -> None:
    record = RECORD.model_copy(update={"options": {"beamsize": 2}})
    with pytest.raises(EngineError, match="did you mean 'beam_size'"):
        whisper.recipe(record, cores=1)
    record = RECORD.model_copy(update={"options": {"device": "gpu"}})
    with pytest.raises(EngineError, match=r"'device'.*'gpu'"):
        whisper.recipe(record, cores=1)
