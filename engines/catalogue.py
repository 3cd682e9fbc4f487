"""The models this machine has: configured ones, installed ones, and the built-in ones."""

import json
import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from engines.base import EngineError, ModelNotFound
from engines.known_models import find_known, is_repository

log = logging.getLogger(__name__)

RECORD_FILE = "model.json"
PARTIAL = ".partial"
LEFTOVER = ".old"
NEEDED_FILES = ("model.bin", "config.json", "tokenizer.json")
DEFAULT_NAMES = (
    "default",
    "whisper-1",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-realtime-whisper",
)
"""Names that clients of OpenAI's API ask for; they mean the default transcription model."""


class ModelRecord(BaseModel):
    """One model, as the configuration's `models:` list writes it.

    `engine` is the name of an engine (`whisper`, `pocketsphinx`, `null`); `source` is a directory
    or a Hugging Face repository; `options` are the engine's own settings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    engine: str
    source: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    aliases: tuple[str, ...] = ()


POCKETSPHINX = ModelRecord(name="pocketsphinx", engine="pocketsphinx")


class InstalledModel(BaseModel):
    """What `model.json` in an installed model's directory says about it.

    It names no path, so that the data directory can be moved. `installed_at` is Unix time.
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(min_length=1)
    engine: str
    aliases: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    repository: str
    revision: str | None = None
    installed_at: float
    bytes: int = 0

    def record(self, directory: Path) -> ModelRecord:
        return ModelRecord(
            name=self.name,
            engine=self.engine,
            source=str(directory),
            options=self.options,
            aliases=self.aliases,
        )


class ModelNotInstalled(ModelNotFound):
    """The model is configured, but what it needs is not on this machine's disk."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(name)
        self.args = (message,)

    def __reduce__(self) -> tuple[type["ModelNotInstalled"], tuple[str, str]]:  # type: ignore[override]
        return type(self), (self.name, str(self))


def repository_of(source: str) -> str | None:
    """The Hugging Face repository that `source` names (short names too); None for a directory."""
    known = find_known(source)
    if known is not None:
        return known.repository
    return source if is_repository(source) and not Path(source).is_dir() else None


def model_directory(data_dir: Path, name: str) -> Path:
    """Where the model of this name is installed."""
    return data_dir / "models" / name.replace("/", "--")


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
    missing = missing_files(directory)
    if missing:
        raise EngineError(f"{directory} lacks {', '.join(missing)}")
    return installed


def lacking(names: Collection[str]) -> list[str]:
    """What a CTranslate2 Whisper model needs beside files of these `names`."""
    missing = [name for name in NEEDED_FILES if name not in names]
    if not any(name.startswith("vocabulary.") for name in names):
        missing.append("vocabulary.json")
    return missing


def missing_files(directory: Path) -> list[str]:
    """The files a CTranslate2 Whisper model needs that `directory` lacks (or has empty)."""
    if not directory.is_dir():
        return list(NEEDED_FILES)
    return lacking([p.name for p in directory.iterdir() if p.is_file() and p.stat().st_size > 0])


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What one scan found. `by_name` includes aliases; `refused` says why a name cannot be used."""

    records: tuple[ModelRecord, ...] = ()
    by_name: Mapping[str, ModelRecord] = field(default_factory=dict)
    installed: Mapping[str, InstalledModel] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Catalogue:
    """The models that can be used now, looked up by name or alias without touching the disk.

    Configured models come before installed ones, and those before the built-in one, wherever
    two of them claim a name. Construction, `refresh` and `remove` read the disk: call them off
    the event loop. Every other method answers from the last scan, from any thread.
    """

    def __init__(
        self,
        data_dir: Path,
        configured: Sequence[ModelRecord] = (),
        default: str | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._configured = tuple(configured)
        self._default = None if default == "default" else default
        self._snapshot = _Snapshot()
        self.refresh()

    def refresh(self) -> None:
        """Look again at what is installed."""
        found, problems = self._scan()
        configured: list[ModelRecord] = []
        refused: dict[str, str] = {}
        for record in self._configured:
            located = self._locate(record, found)
            if isinstance(located, ModelRecord):
                configured.append(located)
                continue
            problems.append(located)
            refused |= dict.fromkeys((record.name, *record.aliases), located)
        taken = {record.name for record in self._configured}
        installed = [m.record(d) for d, m in found.items() if m.name not in taken]
        builtin = [] if POCKETSPHINX.name in taken else [POCKETSPHINX]
        by_name: dict[str, ModelRecord] = {}
        for layer in (configured, installed, builtin):
            for record in layer:
                by_name.setdefault(record.name, record)
            for record in layer:
                for alias in record.aliases:
                    by_name.setdefault(alias, record)
        self._snapshot = _Snapshot(
            records=(*configured, *installed, *builtin),
            by_name={name: record for name, record in by_name.items() if name not in refused},
            installed={model.name: model for model in found.values()},
            refused=refused,
            problems=tuple(problems),
        )

    def records(self) -> list[ModelRecord]:
        """Every model that can be used, each once; `source` is a directory where there is one."""
        return list(self._snapshot.records)

    def problems(self) -> list[str]:
        """One sentence for each model that is configured or installed but cannot be used."""
        problems = list(self._snapshot.problems)
        if self._default is not None:
            try:
                self.default_transcription()
            except ModelNotFound as error:
                if str(error) not in problems:
                    problems.append(f"The default transcription model cannot be used. {error}")
        return problems

    def installed(self, name: str) -> InstalledModel | None:
        """What was pulled as the model of this name or alias, if it was."""
        record = self._snapshot.by_name.get(name)
        return self._snapshot.installed.get(record.name if record else name)

    def resolve(self, name: str) -> ModelRecord:
        """The model that a name, an alias or one of OpenAI's names means.

        Raises `ModelNotFound`, or `ModelNotInstalled` naming the command that installs it.
        """
        snapshot = self._snapshot
        record = snapshot.by_name.get(name)
        if record is not None:
            return record
        if name in snapshot.refused:
            raise ModelNotInstalled(name, snapshot.refused[name])
        if name in DEFAULT_NAMES and name != self._default:
            return self.default_transcription()
        raise ModelNotFound(name, [record.name for record in snapshot.records])

    def default_transcription(self) -> ModelRecord:
        """The configured default; else the first configured Whisper model, the one installed
        last, or PocketSphinx. Raises `ModelNotFound` when the configured default is not here."""
        if self._default is not None:
            return self.resolve(self._default)
        snapshot = self._snapshot
        whisper = [record for record in snapshot.records if record.engine == "whisper"]
        names = {record.name for record in self._configured}
        for record in whisper:
            if record.name in names:
                return record
        if whisper:
            return max(whisper, key=lambda r: snapshot.installed[r.name].installed_at)
        return snapshot.by_name.get(POCKETSPHINX.name, POCKETSPHINX)

    def remove(self, name: str) -> None:
        """Delete an installed model, or what was downloaded of one. Raises `EngineError`."""
        known = find_known(name)
        installed = self.installed(name) or (self.installed(known.name) if known else None)
        official = installed.name if installed else known.name if known else name
        directory = model_directory(self._data_dir, official)
        partial = directory.with_name(directory.name + PARTIAL)
        if not installed and not partial.is_dir():
            record = self.resolve(name)
            what = "is built in" if record is POCKETSPHINX else "comes from the configuration"
            raise EngineError(f"The model '{name}' {what} and cannot be removed.")
        try:
            if installed:
                discard(directory)
            if partial.is_dir():
                shutil.rmtree(partial)
        except OSError as error:
            raise EngineError(f"{directory} cannot be removed: {error.strerror}.") from None
        finally:
            self.refresh()

    def _scan(self) -> tuple[dict[Path, InstalledModel], list[str]]:
        """Installed models by directory, and what was wrong with the others."""
        found: dict[Path, InstalledModel] = {}
        problems: list[str] = []
        root = self._data_dir / "models"
        try:
            directories = sorted(path for path in root.iterdir() if path.is_dir())
        except FileNotFoundError:
            return found, problems
        except OSError as error:
            return found, [f"{root} cannot be read: {error.strerror}."]
        for directory in directories:
            if directory.name.endswith((PARTIAL, LEFTOVER)):
                continue
            try:
                installed = read_installed(directory)
                if model_directory(self._data_dir, installed.name) != directory:
                    raise EngineError(f"{directory} holds a model of another name")
                found[directory] = installed
            except EngineError as error:
                problems.append(f"{error}; the model there is not used.")
                log.warning("%s", problems[-1])
        return found, problems

    def _locate(
        self, record: ModelRecord, found: Mapping[Path, InstalledModel]
    ) -> ModelRecord | str:
        """`record` with a directory as its source, or why there is none."""
        if record.engine != "whisper" or record.source is None:
            return record
        repository = repository_of(record.source)
        if repository is not None:
            for directory, installed in found.items():
                if installed.repository == repository:
                    return record.model_copy(update={"source": str(directory)})
            return (
                f"The model '{record.name}' is configured but not downloaded; "
                f"run: antiphon pull {record.source}"
            )
        missing = missing_files(Path(record.source))
        if missing:
            return (
                f"The model '{record.name}' cannot be used: "
                f"{record.source} lacks {', '.join(missing)}."
            )
        return record


def discard(directory: Path) -> None:
    """Delete a model's directory such that no scan sees it half deleted."""
    leftover = directory.with_name(directory.name + LEFTOVER)
    shutil.rmtree(leftover, ignore_errors=True)
    directory.rename(leftover)
    shutil.rmtree(leftover)
