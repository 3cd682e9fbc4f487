"""How models in GGUF files are run, by their records."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import gguf_models
import pytest

from engines import llama
from engines.base import EngineError, Unsupported
from engines.catalogue import ModelRecord
from engines.recognition import RecognitionOptions


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_models.scripted(tmp_path_factory.mktemp("gguf") / "model.gguf")


def record(path: Path, **options: object) -> ModelRecord:
    return ModelRecord(name="model", engine="llama", source=str(path), options=options)


def test_a_step_takes_all_cores_unless_threads_are_given(path: Path) -> None:
    assert llama.recipe(record(path), cores=4).cores == 4
    assert llama.recipe(record(path, threads=2), cores=4).cores == 2
    assert llama.recipe(record(path, threads=64), cores=4).cores == 4


def test_as_many_answers_live_in_the_engine_as_it_has_sequences(path: Path) -> None:
    assert llama.recipe(record(path, sequences=5), cores=1).slots == 5


@pytest.mark.parametrize(
    ("sequences", "reserved"), [(1, 0), (2, 1), (8, 1), (15, 1), (16, 2), (240, 30)]
)
def test_an_eighth_of_the_sequences_is_for_live_conversations(
    path: Path, sequences: int, reserved: int
) -> None:
    made = llama.recipe(record(path, sequences=sequences), cores=1)
    assert (made.slots, made.reserved) == (sequences, reserved)


def test_how_many_are_reserved_can_be_told(path: Path) -> None:
    assert llama.recipe(record(path, sequences=4, reserved=0), cores=1).reserved == 0
    assert llama.recipe(record(path, sequences=4, reserved=3), cores=1).reserved == 3
    with pytest.raises(EngineError, match="'reserved': 4 of 4 sequences leave none"):
        llama.recipe(record(path, sequences=4, reserved=4), cores=1)


def test_a_kind_that_is_given_counts_more_than_the_file(path: Path) -> None:
    assert llama.recipe(record(path, kind="embedding"), cores=1).slots is None


def test_without_the_extra_the_error_says_what_to_run(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(Unsupported, match="uv sync --extra llama"):
        llama.recipe(record(path), cores=1)


def test_a_record_without_a_file_is_refused() -> None:
    bare = ModelRecord(name="model", engine="llama")
    with pytest.raises(EngineError, match="needs a 'source'"):
        llama.recipe(bare, cores=1)


def test_a_language_model_cannot_hear(path: Path) -> None:
    with pytest.raises(Unsupported, match="cannot transcribe"):
        llama.check(record(path), RecognitionOptions())
