"""Where the files of a configured model lie: its `source` as a place on this machine's disk."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from engines.base import EngineError
from engines.gguf_files import Kind, find_gguf, kind_of, read_language_model
from engines.installed import InstalledModel, ModelKind, ModelRecord, missing_files
from engines.known_models import find_known, is_repository
from engines.piper_files import NETWORK, find_voice, read_voice
from engines.repositories import Asked, asked_for, quantisation_of


def repository_of(source: str) -> str | None:
    """The Hugging Face repository that `source` names (short names too); None for a directory."""
    known = find_known(source)
    if known is not None:
        return known.repository
    return source if is_repository(source) and not Path(source).is_dir() else None


def locate(
    record: ModelRecord, found: Mapping[Path, InstalledModel]
) -> tuple[ModelRecord, ModelKind]:
    """`record` with a directory or the file to load as its source, and what the model is for.

    `found` are the installed models by directory. Raises `EngineError`, a whole sentence; blocks.
    """
    try:
        match record.engine:
            case "llama":
                return _language_model(record, found)
            case "whisper" if record.source is not None:
                return _whisper(record, record.source, found), "transcription"
            case "piper":
                return _voice(record, found), "speech"
            case "espeak":
                return record, "speech"
            case _:
                return record, "transcription"
    except OSError as error:
        reason = f"{record.source} cannot be read: {error.strerror or error}"
        raise _unusable(record, reason) from None


def _whisper(record: ModelRecord, source: str, found: Mapping[Path, InstalledModel]) -> ModelRecord:
    repository = repository_of(source)
    if repository is not None:
        for directory, installed in found.items():
            if installed.repository == repository and installed.engine == "whisper":
                return record.model_copy(update={"source": str(directory)})
        raise _not_downloaded(record)
    missing = missing_files(Path(source))
    if missing:
        raise _unusable(record, f"{source} lacks {', '.join(missing)}")
    return record


def _language_model(
    record: ModelRecord, found: Mapping[Path, InstalledModel]
) -> tuple[ModelRecord, ModelKind]:
    source = record.source
    if source is None:
        raise _unusable(record, "it needs a 'source', a GGUF file or a Hugging Face repository")
    forced = record.options.get("kind")
    kind: ModelKind | None = forced if forced in get_args(Kind) else None
    if find_known(source) is not None or not os.path.exists(source):
        pulled = _pulled(source, found, record.engine)
        if pulled is not None:
            directory, installed = pulled
            place = installed.record(directory).source
            return record.model_copy(update={"source": place}), kind or installed.kind
        asked = asked_for(source)
        if asked is not None:
            raise _not_downloaded(record, is_file=asked.file is not None)
    try:
        file = find_gguf(Path(source))
        metadata = read_language_model(file)
    except EngineError as error:
        raise _unusable(record, str(error)) from None
    return record.model_copy(update={"source": str(file)}), kind or kind_of(metadata)


def _voice(record: ModelRecord, found: Mapping[Path, InstalledModel]) -> ModelRecord:
    source = record.source
    if source is None:
        raise _unusable(record, "it needs a 'source', an ONNX file or a Hugging Face repository")
    if find_known(source) is not None or not os.path.exists(source):
        pulled = _pulled(source, found, record.engine)
        if pulled is not None:
            directory, installed = pulled
            return record.model_copy(update={"source": installed.record(directory).source})
        asked = asked_for(source)
        if asked is not None:
            raise _not_downloaded(record, is_file=source.endswith(NETWORK))
    try:
        network = find_voice(Path(source))
        read_voice(network)
    except EngineError as error:
        raise _unusable(record, str(error)) from None
    return record.model_copy(update={"source": str(network)})


def _pulled(
    source: str, found: Mapping[Path, InstalledModel], engine: str
) -> tuple[Path, InstalledModel] | None:
    """The installed model of this engine that `source` means: one of that name, or of the
    repository."""
    models = [(path, model) for path, model in found.items() if model.engine == engine]
    asked = asked_for(source)
    named = (one for one in models if source in (one[1].name, *one[1].aliases))
    fitting = (one for one in models if asked is not None and _fits(one[1], asked))
    return next(named, None) or next(fitting, None)


def _fits(installed: InstalledModel, asked: Asked) -> bool:
    file = installed.file or ""
    return (
        installed.repository == asked.repository
        and asked.quantisation in (None, quantisation_of(file))
        and (asked.file is None or asked.file.rpartition("/")[2] == file)
    )


def _not_downloaded(record: ModelRecord, is_file: bool = False) -> EngineError:
    neither = f", but {record.source} is neither a file here nor downloaded"
    what = neither if is_file else " but not downloaded"
    return EngineError(
        f"The model '{record.name}' is configured{what}; run: antiphon pull {record.source}"
    )


def _unusable(record: ModelRecord, reason: str) -> EngineError:
    return EngineError(f"The model '{record.name}' cannot be used: {reason}.")
