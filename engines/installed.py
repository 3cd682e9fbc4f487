"""Models as directories on this machine's disk, and the record that says what each one is."""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from engines.base import EngineError
from engines.gguf_files import part_names
from engines.piper_files import DESCRIPTION, NETWORK

RECORD_FILE = "model.json"
PARTIAL = ".partial"
LEFTOVER = ".old"
NEEDED_FILES = ("model.bin", "config.json", "tokenizer.json")

ModelKind = Literal["transcription", "chat", "embedding", "rerank", "speech"]
"""What a model is for."""


class ModelRecord(BaseModel):
    """One model, as the configuration's `models:` list writes it.

    `engine` is the name of an engine (`whisper`, `llama`, `piper`, `pocketsphinx`, `espeak`,
    `null`); `source` is a directory, a GGUF file for `llama`, an ONNX file for `piper`, or a
    Hugging Face repository; `options` are the engine's
    own settings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    engine: str
    source: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    aliases: tuple[str, ...] = ()


class InstalledModel(BaseModel):
    """What `model.json` in an installed model's directory says about it.

    It names no path, so that the data directory can be moved. `installed_at` is Unix time. `file`
    is the one to load where that is not the directory: the GGUF file, or the first of its parts, or
    the ONNX file of a Piper voice.
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(min_length=1)
    engine: str
    kind: ModelKind = "transcription"
    aliases: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    repository: str
    revision: str | None = None
    file: str | None = Field(default=None, pattern=r"^[^/\\:]+\.([gG][gG][uU][fF]|onnx)$")
    installed_at: float
    bytes: int = 0

    def record(self, directory: Path) -> ModelRecord:
        return ModelRecord(
            name=self.name,
            engine=self.engine,
            source=str(directory / self.file if self.file else directory),
            options=self.options,
            aliases=self.aliases,
        )


def model_directory(data_dir: Path, name: str) -> Path:
    """Where the model of this name is installed."""
    return data_dir / "models" / name.replace("/", "--").replace(":", "@")


def read_installed(directory: Path) -> InstalledModel:
    """What is installed in `directory`. Raises `EngineError` when it is incomplete; blocks."""
    path = directory / RECORD_FILE
    try:
        installed = InstalledModel.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise EngineError(f"{directory} holds no {RECORD_FILE}") from None
    except ValueError:
        raise EngineError(f"{path} is not a model record") from None
    except OSError:
        raise EngineError(f"{path} cannot be read") from None
    try:
        missing = _missing(directory, installed)
    except OSError:  # it may be removed, or replaced, while we look
        raise EngineError(f"{directory} cannot be read") from None
    if missing:
        raise EngineError(f"{directory} lacks {', '.join(missing[:8])}")
    return installed


def _missing(directory: Path, installed: InstalledModel) -> list[str]:
    if not installed.file:
        return missing_files(directory)
    present = _present(directory)
    return [name for name in _files_of(installed.file) if name not in present]


def _files_of(file: str) -> tuple[str, ...]:
    return (file, file + DESCRIPTION) if file.endswith(NETWORK) else part_names(file)


def lacking(names: Collection[str]) -> list[str]:
    """What a CTranslate2 Whisper model needs beside files of these `names`."""
    missing = [name for name in NEEDED_FILES if name not in names]
    if not any(name.startswith("vocabulary.") for name in names):
        missing.append("vocabulary.json")
    return missing


def missing_files(directory: Path) -> list[str]:
    """The files a CTranslate2 Whisper model needs that `directory` lacks (or has empty)."""
    return lacking(_present(directory)) if directory.is_dir() else list(NEEDED_FILES)


def discard(directory: Path, successor: Path | None = None) -> None:
    """Delete a model's directory such that no scan sees it half deleted. The `successor` gets its
    name first: deleting gigabytes takes long enough to be interrupted."""
    leftover = directory.with_name(directory.name + LEFTOVER)
    shutil.rmtree(leftover, ignore_errors=True)
    directory.rename(leftover)
    if successor is not None:
        successor.rename(directory)
    shutil.rmtree(leftover)


def _present(directory: Path) -> frozenset[str]:
    """The names of the files in a directory that are not empty."""
    paths = directory.iterdir()
    return frozenset(path.name for path in paths if path.is_file() and path.stat().st_size > 0)
