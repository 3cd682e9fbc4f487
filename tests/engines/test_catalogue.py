import builtins
import json
import logging
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf_headers import MEAN, RANK, write_gguf
from piper_voices import write_voice
from voice import WHISPER_NANO

from engines import catalogue
from engines.base import EngineError, ModelNotFound, Unsupported
from engines.catalogue import (
    DEFAULT_NAMES,
    ESPEAK,
    SPEECH_NAMES,
    Catalogue,
    InstalledModel,
    ModelNotInstalled,
    ModelRecord,
    repository_of,
)
from engines.known_models import KNOWN, find_known


def install(data_dir: Path, short: str, at: float = 1.0) -> Path:
    """Put a model on the disk as a pull leaves it."""
    known = find_known(short)
    name = known.name if known else short
    directory = catalogue.model_directory(data_dir, name)
    shutil.copytree(WHISPER_NANO, directory)
    installed = InstalledModel(
        name=name,
        engine="whisper",
        aliases=known.aliases if known else (),
        repository=known.repository if known else short,
        revision="f" * 40,
        installed_at=at,
    )
    (directory / "model.json").write_text(installed.model_dump_json())
    return directory


def names(models: Catalogue) -> list[str]:
    return [record.name for record in models.records()]


def whisper(name: str, source: str | Path, *aliases: str) -> ModelRecord:
    return ModelRecord(name=name, engine="whisper", source=str(source), aliases=aliases)


def test_a_fresh_machine_hears_and_speaks_by_every_default_name(tmp_path: Path) -> None:
    models = Catalogue(tmp_path / "nothing")
    assert names(models) == ["pocketsphinx", "espeak"]
    for name in ("pocketsphinx", *DEFAULT_NAMES):
        assert models.resolve(name).engine == "pocketsphinx"
    assert models.problems() == []


def test_an_unknown_name_lists_what_is_there(tmp_path: Path) -> None:
    install(tmp_path, "base")
    with pytest.raises(ModelNotFound) as caught:
        Catalogue(tmp_path).resolve("whisper-2")
    assert caught.value.available == ("whisper-base", "pocketsphinx", "espeak")


@pytest.mark.parametrize("name", ["whisper-base", "base", "Systran/faster-whisper-base"])
def test_an_installed_model_is_found_by_each_of_its_names(tmp_path: Path, name: str) -> None:
    directory = install(tmp_path, "base")
    record = Catalogue(tmp_path).resolve(name)
    assert record.name == "whisper-base"
    assert record.engine == "whisper"
    assert record.source == str(directory)


def test_the_model_installed_last_is_the_default(tmp_path: Path) -> None:
    install(tmp_path, "base", at=2.0)
    install(tmp_path, "tiny", at=1.0)
    models = Catalogue(tmp_path)
    assert models.default_transcription().name == "whisper-base"
    assert {models.resolve(name).name for name in DEFAULT_NAMES} == {"whisper-base"}


def test_a_configured_whisper_model_is_preferred_to_installed_ones(tmp_path: Path) -> None:
    install(tmp_path, "base")
    configured = (
        ModelRecord(name="nothing", engine="null"),
        whisper("mine", WHISPER_NANO, "m"),
        whisper("other", WHISPER_NANO),
    )
    models = Catalogue(tmp_path, configured)
    assert models.default_transcription().name == "mine"
    assert models.resolve("m").source == str(WHISPER_NANO)
    assert names(models) == ["nothing", "mine", "other", "whisper-base", "pocketsphinx", "espeak"]


def test_the_configured_default_wins(tmp_path: Path) -> None:
    install(tmp_path, "base", at=2.0)
    install(tmp_path, "tiny", at=1.0)
    assert Catalogue(tmp_path, default="tiny").resolve("whisper-1").name == "whisper-tiny"
    assert Catalogue(tmp_path, default="pocketsphinx").resolve("default").name == "pocketsphinx"
    assert Catalogue(tmp_path, default="default").resolve("default").name == "whisper-base"


@pytest.mark.parametrize("default", ["small", "whisper-1", "gpt-4o-transcribe"])
def test_a_default_that_is_not_here_is_refused_and_reported(tmp_path: Path, default: str) -> None:
    models = Catalogue(tmp_path, default=default)
    for name in ("whisper-1", "default", default):
        with pytest.raises(ModelNotFound, match=f"'{default}'"):
            models.resolve(name)
    (problem,) = models.problems()
    assert problem.startswith("The default transcription model cannot be used.")
    assert models.resolve("pocketsphinx").name == "pocketsphinx"


def test_a_model_of_its_own_takes_one_of_the_default_names(tmp_path: Path) -> None:
    install(tmp_path, "base")
    models = Catalogue(tmp_path, [ModelRecord(name="x", engine="null", aliases=("whisper-1",))])
    assert models.resolve("whisper-1").name == "x"
    assert models.resolve("gpt-4o-transcribe").name == "whisper-base"


def test_a_configured_name_hides_an_installed_one_and_the_built_in_one(tmp_path: Path) -> None:
    install(tmp_path, "base")
    fast = ModelRecord(name="pocketsphinx", engine="pocketsphinx", options={"beam": 1e-60})
    models = Catalogue(tmp_path, [whisper("whisper-base", WHISPER_NANO), fast])
    assert names(models) == ["whisper-base", "pocketsphinx", "espeak"]
    assert models.resolve("whisper-base").source == str(WHISPER_NANO)
    assert models.resolve("pocketsphinx") == fast


@pytest.mark.parametrize("source", ["Systran/faster-whisper-base", "base", "whisper-base"])
def test_a_configured_repository_uses_what_was_pulled(tmp_path: Path, source: str) -> None:
    directory = install(tmp_path, "base")
    record = ModelRecord(name="mine", engine="whisper", source=source, options={"beam_size": 1})
    found = Catalogue(tmp_path, [record]).resolve("mine")
    assert found.source == str(directory)
    assert found.options == {"beam_size": 1}


def test_a_configured_repository_that_was_not_pulled_names_the_command(tmp_path: Path) -> None:
    models = Catalogue(tmp_path, [whisper("mine", "someone/whisper-de", "german")], default="mine")
    message = "The model 'mine' is configured but not downloaded; run: antiphon pull someone/"
    for name in ("mine", "german", "whisper-1"):
        with pytest.raises(ModelNotInstalled) as caught:
            models.resolve(name)
        assert str(caught.value) == message + "whisper-de"
    assert models.problems()[0] == message + "whisper-de"
    assert names(models) == ["pocketsphinx", "espeak"]
    install(tmp_path, "someone/whisper-de")
    models.refresh()
    assert models.resolve("german").name == "mine"
    assert models.problems() == []


def test_a_configured_directory_without_a_model_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "model.bin").write_bytes(b"x")
    (tmp_path / "half" / "vocabulary.txt").write_bytes(b"x")
    gone = tmp_path / "gone"
    models = Catalogue(tmp_path, [whisper("a", tmp_path / "half"), whisper("b", gone)])
    assert models.problems() == [
        f"The model 'a' cannot be used: {tmp_path / 'half'} lacks config.json, tokenizer.json.",
        f"The model 'b' cannot be used: {gone} lacks model.bin, config.json, tokenizer.json.",
    ]
    with pytest.raises(ModelNotInstalled, match="'b' cannot be used"):
        models.resolve("b")


def test_a_broken_installation_is_left_out_logged_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (install(tmp_path, "base") / "model.json").write_text("{")
    (install(tmp_path, "tiny") / "model.json").write_text('{"name": 3}')
    (install(tmp_path, "small") / "model.json").unlink()
    (install(tmp_path, "medium") / "model.bin").unlink()
    install(tmp_path, "large-v3").rename(tmp_path / "models" / "elsewhere")
    install(tmp_path, "turbo")
    with caplog.at_level(logging.WARNING, "engines.catalogue"):
        models = Catalogue(tmp_path)
    assert names(models) == ["whisper-large-v3-turbo", "pocketsphinx", "espeak"]
    root = tmp_path / "models"
    assert models.problems() == [
        f"{root}/elsewhere holds a model of another name; the model there is not used.",
        f"{root}/whisper-base/model.json is not a model record; the model there is not used.",
        f"{root}/whisper-medium lacks model.bin; the model there is not used.",
        f"{root}/whisper-small holds no model.json; the model there is not used.",
        f"{root}/whisper-tiny/model.json is not a model record; the model there is not used.",
    ]
    assert [record.message for record in caplog.records] == models.problems()


def test_what_a_pull_has_not_finished_is_not_a_model(tmp_path: Path) -> None:
    install(tmp_path, "base").rename(tmp_path / "models" / "whisper-base.partial")
    (tmp_path / "models" / ".whisper-base.lock").touch()
    models = Catalogue(tmp_path)
    assert names(models) == ["pocketsphinx", "espeak"]
    assert models.problems() == []


def test_a_model_appears_with_the_next_refresh(tmp_path: Path) -> None:
    models = Catalogue(tmp_path)
    install(tmp_path, "base")
    with pytest.raises(ModelNotFound):
        models.resolve("base")
    models.refresh()
    assert models.resolve("base").name == "whisper-base"


def test_the_data_directory_can_be_moved(tmp_path: Path) -> None:
    install(tmp_path / "old", "base")
    (tmp_path / "old").rename(tmp_path / "new")
    source = Catalogue(tmp_path / "new").resolve("base").source
    assert source == str(tmp_path / "new" / "models" / "whisper-base")


def test_looking_up_never_touches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "base")
    models = Catalogue(tmp_path, [whisper("mine", "a/b"), whisper("here", WHISPER_NANO)])

    def touched(*_: object, **__: object) -> None:
        raise AssertionError("the disk was read")

    with monkeypatch.context() as patch:
        for function in ("stat", "listdir", "scandir", "open"):
            patch.setattr(os, function, touched)
        patch.setattr(builtins, "open", touched)
        assert models.resolve("base").name == "whisper-base"
        assert models.resolve("whisper-1").name == "here"
        assert len(models.records()) == 4
        assert models.installed("base") is not None
        assert len(models.problems()) == 1
        with pytest.raises(ModelNotFound):
            models.resolve("zzz")


def test_what_was_installed_is_told(tmp_path: Path) -> None:
    install(tmp_path, "base", at=7.0)
    models = Catalogue(tmp_path)
    installed = models.installed("base")
    assert installed is not None
    assert (installed.installed_at, installed.repository) == (7.0, "Systran/faster-whisper-base")
    assert models.installed("pocketsphinx") is None
    assert models.installed("zzz") is None


@pytest.mark.parametrize("name", ["base", "whisper-base", "Systran/faster-whisper-base"])
def test_an_installed_model_is_removed_by_any_name(tmp_path: Path, name: str) -> None:
    directory = install(tmp_path, "base")
    models = Catalogue(tmp_path)
    models.remove(name)
    assert not directory.exists()
    assert names(models) == ["pocketsphinx", "espeak"]
    assert list((tmp_path / "models").iterdir()) == []


def test_what_an_unfinished_pull_left_is_removed(tmp_path: Path) -> None:
    install(tmp_path, "base").rename(tmp_path / "models" / "whisper-base.partial")
    Catalogue(tmp_path).remove("base")
    assert list((tmp_path / "models").iterdir()) == []


def test_only_what_was_pulled_can_be_removed(tmp_path: Path) -> None:
    models = Catalogue(tmp_path, [whisper("mine", WHISPER_NANO)])
    with pytest.raises(EngineError, match="'pocketsphinx' is built in and cannot be removed"):
        models.remove("pocketsphinx")
    with pytest.raises(EngineError, match="'mine' comes from the configuration"):
        models.remove("mine")
    for name in ("zzz", "..", "../models", "base"):
        with pytest.raises(ModelNotFound):
            models.remove(name)
    assert WHISPER_NANO.exists()
    assert tmp_path.exists()


def test_the_known_models_cover_the_usual_whisper_sizes() -> None:
    from faster_whisper.utils import _MODELS

    assert {short: KNOWN[short].repository for short in _MODELS} == _MODELS
    assert KNOWN["large"] is KNOWN["large-v3"]
    assert KNOWN["turbo"].name == "whisper-large-v3-turbo"
    assert KNOWN["base.en"].languages == {"en"}
    assert not KNOWN["base.en"].translate
    assert not KNOWN["turbo"].translate
    assert KNOWN["medium"].translate
    assert len(KNOWN["medium"].languages) == 99
    assert "yue" in KNOWN["large-v3"].languages
    assert "yue" not in KNOWN["large-v2"].languages


def test_a_source_is_a_repository_a_short_name_or_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert repository_of("large") == "Systran/faster-whisper-large-v3"
    assert repository_of("someone/model.v2") == "someone/model.v2"
    for source in ("/a/b", "./a/b", "../b", "a/b/c", "b", "~/b", "a\\b", ""):
        assert repository_of(source) is None
    (tmp_path / "someone" / "model.v2").mkdir(parents=True)
    assert repository_of("someone/model.v2") is None


def test_the_errors_can_be_sent_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ModelNotInstalled("a", "The model is not here.")))
    assert isinstance(error, ModelNotInstalled)
    assert (str(error), error.name, error.available) == ("The model is not here.", "a", ())


def install_gguf(
    data_dir: Path, name: str, *aliases: str, kind: str = "chat", at: float = 1.0, file: str = ""
) -> Path:
    """Put a language model on the disk as a pull leaves it; the path of its file."""
    known = find_known(name)
    directory = catalogue.model_directory(data_dir, name)
    path = write_gguf(directory / (file or (known and known.file) or "model.gguf"))
    installed = InstalledModel.model_validate(
        {
            "name": name,
            "engine": "llama",
            "kind": kind,
            "aliases": aliases or (known.aliases if known else ()),
            "repository": known.repository if known else name.partition(":")[0],
            "file": path.name,
            "installed_at": at,
        }
    )
    (directory / "model.json").write_text(installed.model_dump_json())
    return path


def llama(name: str, source: str | Path, **options: object) -> ModelRecord:
    return ModelRecord(name=name, engine="llama", source=str(source), options=options)


def test_an_installed_language_model_is_its_file(tmp_path: Path) -> None:
    path = install_gguf(tmp_path, "qwen3-0.6b")
    models = Catalogue(tmp_path)
    for name in ("qwen3-0.6b", "Qwen/Qwen3-0.6B-GGUF"):
        record = models.resolve(name)
        assert (record.name, record.engine, record.source) == ("qwen3-0.6b", "llama", str(path))
        assert models.kind(record) == "chat"
    assert models.kind(models.resolve("pocketsphinx")) == "transcription"


def test_a_record_written_before_there_were_kinds_is_a_transcription_model(tmp_path: Path) -> None:
    directory = install(tmp_path, "base")
    record = InstalledModel.model_validate_json((directory / "model.json").read_bytes())
    old = record.model_dump(exclude={"kind", "file"})
    (directory / "model.json").write_text(json.dumps(old))
    models = Catalogue(tmp_path)
    assert models.kind(models.resolve("base")) == "transcription"


def test_an_installed_language_model_needs_every_part(tmp_path: Path) -> None:
    path = install_gguf(tmp_path, "a/b:Q8_0", file="b-Q8_0-00001-of-00002.gguf")
    assert path.parent.name == "a--b@Q8_0"
    missing = "b-Q8_0-00002-of-00002.gguf"
    (problem,) = Catalogue(tmp_path).problems()
    assert problem == f"{path.parent} lacks {missing}; the model there is not used."
    write_gguf(path.parent / missing)
    assert Catalogue(tmp_path).resolve("a/b:Q8_0").source == str(path)


def test_an_installed_record_names_no_file_elsewhere(tmp_path: Path) -> None:
    path = install_gguf(tmp_path, "a/b")
    record = path.parent / "model.json"
    record.write_text(record.read_text().replace("model.gguf", "../b.gguf"))
    assert "is not a model record" in Catalogue(tmp_path).problems()[0]


@pytest.mark.parametrize("source", ["model.gguf", "."])
def test_a_configured_file_or_its_directory_is_used(tmp_path: Path, source: str) -> None:
    path = write_gguf(tmp_path / "here" / "model.gguf")
    models = Catalogue(tmp_path / "data", [llama("mine", path.parent / source)])
    assert models.resolve("mine").source == str(path)
    assert models.problems() == []


def test_a_configured_part_means_the_whole_model(tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "m-00001-of-00002.gguf", {"split.count": 2})
    second = write_gguf(tmp_path / "m-00002-of-00002.gguf", {"split.count": 2})
    assert Catalogue(tmp_path, [llama("mine", second)]).resolve("mine").source == str(first)


def test_what_a_configured_model_is_for_is_read_from_its_file(tmp_path: Path) -> None:
    head = ("token_embd.weight", "cls.output.weight")
    models = Catalogue(
        tmp_path,
        [
            llama("chat", write_gguf(tmp_path / "1.gguf")),
            llama("vectors", write_gguf(tmp_path / "2.gguf", MEAN, architecture="bert")),
            llama("rank", write_gguf(tmp_path / "3.gguf", RANK, architecture="bert")),
            llama("head", write_gguf(tmp_path / "4.gguf", tensors=head, architecture="bert")),
            llama("told", write_gguf(tmp_path / "5.gguf"), kind="embedding"),
        ],
    )
    kinds = {record.name: models.kind(record) for record in models.records()}
    assert kinds == {
        "chat": "chat",
        "vectors": "embedding",
        "rank": "rerank",
        "head": "rerank",
        "told": "embedding",
        "pocketsphinx": "transcription",
        "espeak": "speech",
    }


def test_a_configured_file_that_is_no_model_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("not found")
    (tmp_path / "empty").mkdir()
    sources = ("text.gguf", "gone.gguf", "empty")
    models = Catalogue(tmp_path, [llama(name, tmp_path / name) for name in sources])
    assert models.problems() == [
        f"The model 'text.gguf' cannot be used: {tmp_path}/text.gguf is not a GGUF file.",
        f"The model 'gone.gguf' cannot be used: {tmp_path}/gone.gguf does not exist.",
        f"The model 'empty' cannot be used: {tmp_path}/empty holds no GGUF file.",
    ]
    with pytest.raises(ModelNotInstalled, match="is not a GGUF file"):
        models.resolve("text.gguf")
    nothing = Catalogue(tmp_path, [ModelRecord(name="x", engine="llama")])
    assert nothing.problems()[0].startswith("The model 'x' cannot be used: it needs a 'source'")


@pytest.mark.parametrize(
    "source",
    [
        "qwen3-0.6b",
        "Qwen/Qwen3-0.6B-GGUF",
        "Qwen/Qwen3-0.6B-GGUF:q8_0",
        "Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf",
    ],
)
def test_a_configured_language_model_uses_what_was_pulled(tmp_path: Path, source: str) -> None:
    path = install_gguf(tmp_path, "qwen3-0.6b")
    install_gguf(tmp_path, "Qwen/Qwen3-0.6B-GGUF:Q4_K_M", "none", file="Qwen3-0.6B-Q4_K_M.gguf")
    models = Catalogue(tmp_path, [llama("mine", source, context=512)])
    record = models.resolve("mine")
    assert record.source == str(path)
    assert record.options == {"context": 512}
    assert models.kind(record) == "chat"


def test_a_quantisation_that_was_not_pulled_names_the_command(tmp_path: Path) -> None:
    install_gguf(tmp_path, "a/b:Q8_0", "a/b", file="b-Q8_0.gguf")
    install(tmp_path, "someone/whisper")
    sources = ("a/b:Q4_K_M", "qwen3-4b", "someone/whisper")
    models = Catalogue(tmp_path, [llama(source, source) for source in sources])
    assert models.problems() == [
        f"The model '{source}' is configured but not downloaded; run: antiphon pull {source}"
        for source in sources
    ]
    assert Catalogue(tmp_path, [llama("mine", "a/b/other.gguf")]).problems() == [
        "The model 'mine' is configured, but a/b/other.gguf is neither a file here nor "
        "downloaded; run: antiphon pull a/b/other.gguf"
    ]


def test_no_language_model_transcribes(tmp_path: Path) -> None:
    install_gguf(tmp_path, "qwen3-0.6b", at=9.0)
    configured = [llama("mine", write_gguf(tmp_path / "mine.gguf"))]
    models = Catalogue(tmp_path, configured)
    assert models.default_transcription().name == "pocketsphinx"
    assert models.resolve("whisper-1").name == "pocketsphinx"
    models = Catalogue(tmp_path, configured, default="mine")
    with pytest.raises(ModelNotFound, match="'mine' works on text and cannot transcribe"):
        models.default_transcription()
    assert "'mine' works on text" in models.problems()[0]


def test_the_default_language_model_is_configured_or_the_first_configured_or_the_newest(
    tmp_path: Path,
) -> None:
    install(tmp_path, "base", at=9.0)
    install_gguf(tmp_path, "qwen3-0.6b", at=1.0)
    install_gguf(tmp_path, "qwen3-4b", at=2.0)
    install_gguf(tmp_path, "bge-small-en-v1.5", at=3.0, kind="embedding")
    assert Catalogue(tmp_path).default_language().name == "qwen3-4b"
    assert Catalogue(tmp_path).default_language("embedding").name == "bge-small-en-v1.5"
    vectors = llama("vectors", write_gguf(tmp_path / "v.gguf", architecture="bert"))
    mine = llama("mine", write_gguf(tmp_path / "m.gguf"))
    models = Catalogue(tmp_path, [vectors, mine])
    assert models.default_language().name == "mine"
    assert models.default_language("embedding").name == "vectors"
    for name in ("default", "qwen3-0.6b"):
        models = Catalogue(tmp_path, [mine], language_default=name)
        assert models.default_language().name == ("mine" if name == "default" else name)
        assert models.problems() == []


def test_without_a_language_model_the_command_that_installs_one_is_named(tmp_path: Path) -> None:
    install(tmp_path, "base")
    with pytest.raises(ModelNotFound) as caught:
        Catalogue(tmp_path).default_language()
    assert str(caught.value) == "There is no language model here; run: antiphon pull qwen3-0.6b"
    wanted = [llama("vectors", "bge-small-en-v1.5"), llama("mine", "someone/else")]
    with pytest.raises(ModelNotInstalled, match="run: antiphon pull someone/else"):
        Catalogue(tmp_path, wanted).default_language()


@pytest.mark.parametrize("default", ["gone", "vectors", "pocketsphinx"])
def test_a_default_that_cannot_chat_is_refused_and_reported(tmp_path: Path, default: str) -> None:
    install_gguf(tmp_path, "qwen3-0.6b")
    vectors = llama("vectors", write_gguf(tmp_path / "v.gguf", architecture="bert"))
    models = Catalogue(tmp_path, [vectors], language_default=default)
    with pytest.raises(EngineError, match=f"'{default}'.*qwen3-0.6b"):
        models.default_language()
    (problem,) = models.problems()
    assert problem.startswith("The default language model cannot be used. The model '")


def test_a_text_task_lists_the_models_that_can_do_it(tmp_path: Path) -> None:
    install(tmp_path, "base")
    install_gguf(tmp_path, "qwen3-0.6b")
    install_gguf(tmp_path, "bge-small-en-v1.5", kind="embedding")
    models = Catalogue(tmp_path)
    assert models.resolve_text("Qwen/Qwen3-0.6B-GGUF", "chat").name == "qwen3-0.6b"
    assert models.resolve_text("default", "embedding").name == "bge-small-en-v1.5"
    with pytest.raises(ModelNotFound) as missing:
        models.resolve_text("gpt-4o", "chat")
    assert missing.value.available == ("qwen3-0.6b",)
    with pytest.raises(Unsupported) as wrong:
        models.resolve_text("base", "embedding")
    assert str(wrong.value) == "The model 'base' is no embedding model; there is bge-small-en-v1.5."
    assert wrong.value.param == "model"
    with pytest.raises(
        ModelNotInstalled, match=r"nor does any reranking model; run: antiphon pull"
    ):
        models.resolve_text("cohere", "rerank")
    with pytest.raises(ModelNotInstalled, match=r"is not installed; run: antiphon pull qwen3-4b$"):
        models.resolve_text("qwen3-4b", "chat")


def test_an_installed_language_model_is_removed_with_what_is_left_of_a_pull(tmp_path: Path) -> None:
    path = install_gguf(tmp_path, "a/b:Q8_0", "a/b")
    path.parent.with_name("a--b@Q8_0.partial").mkdir()
    models = Catalogue(tmp_path)
    models.remove("a/b")
    assert list((tmp_path / "models").iterdir()) == []
    assert names(models) == ["pocketsphinx", "espeak"]


def test_the_known_language_models_are_single_files_of_repositories() -> None:
    known = [model for model in KNOWN.values() if model.engine == "llama"]
    assert {model.kind for model in known} == {"chat", "embedding", "rerank"}
    for model in known:
        assert model.file is not None
        assert model.file.endswith(".gguf")
        assert find_known(model.repository) is model is find_known(model.name)
        assert model.download_bytes > 10_000_000


def speaking(name: str, path: Path, *aliases: str) -> ModelRecord:
    return ModelRecord(name=name, engine="piper", source=str(path), aliases=aliases)


def test_the_default_voice_is_configured_or_installed_or_the_built_in_one(tmp_path: Path) -> None:
    assert Catalogue(tmp_path).default_speech() == ESPEAK
    first = write_voice(tmp_path / "a" / "first.onnx")
    second = write_voice(tmp_path / "b" / "second.onnx")
    configured = [speaking("one", first, "uno"), speaking("two", second.parent)]
    models = Catalogue(tmp_path, configured)
    assert models.default_speech().name == "one"
    assert models.resolve("two").source == str(second)
    for name in SPEECH_NAMES:
        assert models.resolve_speech(name).name == "one"
    assert models.resolve_speech("uno").name == "one"
    assert models.resolve("default").name == "pocketsphinx"
    assert Catalogue(tmp_path, configured, speech_default="two").resolve_speech("tts-1").name == (
        "two"
    )
    assert Catalogue(tmp_path, configured, speech_default="default").default_speech().name == "one"


def test_what_does_not_speak_is_refused_with_what_does(tmp_path: Path) -> None:
    models = Catalogue(tmp_path, speech_default="pocketsphinx")
    message = "'pocketsphinx' is no model that speaks; there is espeak"
    with pytest.raises(Unsupported, match=message) as caught:
        models.resolve_speech("tts-1")
    assert caught.value.param == "model"
    (problem,) = models.problems()
    assert problem.startswith("The default speech model cannot be used. The model 'pocketsphinx'")
    with pytest.raises(ModelNotInstalled, match="run: antiphon pull en_US-lessac-medium"):
        models.resolve_speech("en_US-lessac-medium")
    with pytest.raises(ModelNotFound) as missing:
        models.resolve_speech("gone")
    assert missing.value.available == ("espeak",)
    for default in SPEECH_NAMES[1:]:
        with pytest.raises(ModelNotFound):
            Catalogue(tmp_path, speech_default=default).default_speech()
    with pytest.raises(Unsupported, match="is no language model"):
        models.resolve_text("espeak", "chat")
    deaf = Catalogue(tmp_path, default="espeak")
    with pytest.raises(ModelNotFound, match="'espeak' speaks and cannot transcribe"):
        deaf.default_transcription()
    with pytest.raises(EngineError, match="'espeak' is built in and cannot be removed"):
        models.remove("espeak")


def test_a_configured_voice_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    path = write_voice(tmp_path / "v.onnx")
    lonely = tmp_path / "lonely.onnx"
    lonely.write_bytes(b"x")
    configured = [
        speaking("here", path),
        speaking("lost", tmp_path / "lost.onnx"),
        speaking("lonely", lonely),
        speaking("far", Path("en_US-lessac-medium")),
        speaking("farther", Path("someone/voice")),
        ModelRecord(name="nowhere", engine="piper"),
    ]
    models = Catalogue(tmp_path / "data", configured)
    lost, alone, far, farther, nowhere = models.problems()
    assert lost.endswith(f"{tmp_path / 'lost.onnx'} does not exist.")
    assert alone.endswith("lonely.onnx.json does not exist.")
    assert far.endswith("not downloaded; run: antiphon pull en_US-lessac-medium")
    assert farther.endswith("not downloaded; run: antiphon pull someone/voice")
    assert "needs a 'source', an ONNX file" in nowhere
    assert models.default_speech().name == "here"
    with pytest.raises(ModelNotInstalled, match="antiphon pull en_US"):
        models.resolve_speech("far")


@pytest.mark.parametrize("engine", ["whisper", "piper", "llama"])
def test_a_source_that_the_system_does_not_even_look_for_is_a_problem_and_no_fault(
    tmp_path: Path, engine: str
) -> None:
    source = str(tmp_path / ("x" * 300))  # longer than any name can be
    models = Catalogue(tmp_path, [ModelRecord(name="mine", engine=engine, source=source)])
    (problem,) = models.problems()
    assert problem.startswith(f"The model 'mine' cannot be used: {source} ")
    assert names(models) == ["pocketsphinx", "espeak"]


def test_a_model_that_is_removed_while_it_is_looked_at_is_a_problem_and_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = install(tmp_path, "base")
    look = Path.iterdir

    def too_late(self: Path) -> Iterator[Path]:
        if self == directory:
            shutil.rmtree(directory)
        return look(self)

    monkeypatch.setattr(Path, "iterdir", too_late)
    models = Catalogue(tmp_path)
    assert names(models) == ["pocketsphinx", "espeak"]
    assert models.problems() == [f"{directory} cannot be read; the model there is not used."]
