"""The models this machine has: configured ones, installed ones, and the built-in ones."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engines.base import EngineError, ModelNotFound, Unsupported
from engines.gguf_files import Kind
from engines.installed import (
    LEFTOVER,
    PARTIAL,
    InstalledModel,
    ModelKind,
    ModelRecord,
    discard,
    model_directory,
    read_installed,
)
from engines.known_models import find_known
from engines.sources import locate, repository_of

__all__ = [
    "DEFAULT_NAMES",
    "ESPEAK",
    "POCKETSPHINX",
    "SPEECH_NAMES",
    "Catalogue",
    "InstalledModel",
    "Kind",
    "ModelKind",
    "ModelNotInstalled",
    "ModelRecord",
    "model_directory",
    "repository_of",
]

log = logging.getLogger(__name__)

DEFAULT_NAMES = (
    "default",
    "whisper-1",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-transcribe",
    "gpt-live-transcribe",
    "gpt-realtime-whisper",
)
"""Names that clients of OpenAI's API ask for; they mean the default transcription model."""

SPEECH_NAMES = ("default", "tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""The same for models that speak; `default` only where one of those is meant."""

POCKETSPHINX = ModelRecord(name="pocketsphinx", engine="pocketsphinx")
ESPEAK = ModelRecord(name="espeak", engine="espeak")
BUILT_IN = (POCKETSPHINX, ESPEAK)

_SPEAKING = ("espeak", "piper")

_EXAMPLES: Mapping[ModelKind, tuple[str, str]] = {
    "chat": ("language model", "qwen3-0.6b"),
    "embedding": ("embedding model", "nomic-embed-text-v1.5"),
    "rerank": ("reranking model", "bge-reranker-v2-m3"),
    "speech": ("model that speaks", "en_US-lessac-medium"),
}
"""What a model of each kind is called, and one to install."""


class ModelNotInstalled(ModelNotFound):
    """The model that a name means is not on this machine's disk, or of no use; the message says
    what to do."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(name)
        self.args = (message,)

    def __reduce__(self) -> tuple[type["ModelNotInstalled"], tuple[str, str]]:  # type: ignore[override]
        return type(self), (self.name, str(self))


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What one scan found. `by_name` includes aliases; `refused` says why a name cannot be used."""

    records: tuple[ModelRecord, ...] = ()
    by_name: Mapping[str, ModelRecord] = field(default_factory=dict)
    kinds: Mapping[str, ModelKind] = field(default_factory=dict)
    configured: frozenset[str] = frozenset()
    installed: Mapping[str, InstalledModel] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def kind(self, record: ModelRecord) -> ModelKind:
        return self.kinds.get(record.name, "transcription")

    def of_kind(self, kind: ModelKind) -> list[ModelRecord]:
        return [record for record in self.records if self.kind(record) == kind]

    def preferred(self, records: Sequence[ModelRecord]) -> ModelRecord:
        """The first that is configured, else the one installed last."""
        for record in records:
            if record.name in self.configured:
                return record
        return max(records, key=lambda record: self.installed[record.name].installed_at)


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
        language_default: str | None = None,
        speech_default: str | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._configured = tuple(configured)
        self._default = None if default == "default" else default
        self._language_default = None if language_default == "default" else language_default
        self._speech_default = None if speech_default == "default" else speech_default
        self._snapshot = _Snapshot()
        self.refresh()

    def refresh(self) -> None:
        """Look again at what is installed."""
        found, problems = self._scan()
        configured: list[ModelRecord] = []
        refused: dict[str, str] = {}
        kinds = {model.name: model.kind for model in found.values()}
        for record in self._configured:
            kinds.pop(record.name, None)
            try:
                located, kinds[record.name] = locate(record, found)
                configured.append(located)
            except EngineError as error:
                problems.append(str(error))
                refused |= dict.fromkeys((record.name, *record.aliases), str(error))
        taken = {record.name for record in self._configured}
        installed = [m.record(d) for d, m in found.items() if m.name not in taken]
        builtin = [record for record in BUILT_IN if record.name not in taken]
        kinds |= {record.name: locate(record, found)[1] for record in builtin}
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
            kinds=kinds,
            configured=frozenset(taken),
            installed={model.name: model for model in found.values()},
            refused=refused,
            problems=tuple(problems),
        )

    def records(self) -> list[ModelRecord]:
        """Every model that can be used, each once; `source` is where it lies on the disk."""
        return list(self._snapshot.records)

    def kind(self, record: ModelRecord) -> ModelKind:
        """What a model is for."""
        return self._snapshot.kind(record)

    def problems(self) -> list[str]:
        """One sentence for each model that is configured or installed but cannot be used."""
        problems = list(self._snapshot.problems)
        for what, configured, default in (
            ("transcription", self._default, self.default_transcription),
            ("language", self._language_default, self.default_language),
            ("speech", self._speech_default, self.default_speech),
        ):
            try:
                if configured is not None:
                    default()
            except (ModelNotFound, Unsupported) as error:
                if str(error) not in problems:
                    problems.append(f"The default {what} model cannot be used. {error}")
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
        if name in SPEECH_NAMES and name != self._speech_default:
            return self.default_speech()
        raise ModelNotFound(name, [record.name for record in snapshot.records])

    def resolve_text(self, name: str, kind: Kind) -> ModelRecord:
        """The model of this kind that a name means; `default` means the default one.

        Raises `Unsupported` for a model of another kind, and `ModelNotFound`, which lists those of
        this kind or names the command that installs one.
        """
        if name == "default" and name not in self._snapshot.by_name:
            return self.default_language(kind)
        return self._resolve_kind(name, kind)

    def resolve_speech(self, name: str) -> ModelRecord:
        """The model that speaks which a name means; OpenAI's names mean the default one. Raises as
        `resolve_text` does."""
        if name in SPEECH_NAMES and name not in self._snapshot.by_name:
            return self.default_speech()
        return self._resolve_kind(name, "speech")

    def _resolve_kind(self, name: str, kind: ModelKind) -> ModelRecord:
        snapshot = self._snapshot
        what, example = _EXAMPLES[kind]
        here = [record.name for record in snapshot.of_kind(kind)]
        install = f"run: antiphon pull {example}"
        try:
            record = self.resolve(name)
        except ModelNotInstalled:
            raise
        except ModelNotFound:
            known = find_known(name)
            if known is not None and known.kind == kind:
                message = f"The model '{name}' is not installed; run: antiphon pull {name}"
                raise ModelNotInstalled(name, message) from None
            if here:
                raise ModelNotFound(name, here) from None
            message = f"The model '{name}' does not exist here, nor does any {what}; {install}"
            raise ModelNotInstalled(name, message) from None
        if snapshot.kind(record) != kind:
            instead = f"there is {', '.join(here)}." if here else install
            raise Unsupported(f"The model '{name}' is no {what}; {instead}", "model")
        return record

    def default_transcription(self) -> ModelRecord:
        """The configured default; else the first configured Whisper model, the one installed
        last, or PocketSphinx. Raises `ModelNotFound` when the configured default is not here."""
        if self._default is not None:
            record = self.resolve(self._default)
            if self.kind(record) != "transcription":
                what = "speaks" if self.kind(record) == "speech" else "works on text"
                message = f"The model '{self._default}' {what} and cannot transcribe."
                raise ModelNotInstalled(self._default, message)
            return record
        snapshot = self._snapshot
        whisper = [record for record in snapshot.records if record.engine == "whisper"]
        if whisper:
            return snapshot.preferred(whisper)
        return snapshot.by_name.get(POCKETSPHINX.name, POCKETSPHINX)

    def default_speech(self) -> ModelRecord:
        """The configured default; else the first configured Piper voice, the one installed last,
        or espeak. Raises as `resolve_speech` does when the configured default is not here."""
        if self._speech_default is not None:
            return self._resolve_kind(self._speech_default, "speech")
        snapshot = self._snapshot
        piper = [record for record in snapshot.of_kind("speech") if record.engine == "piper"]
        if piper:
            return snapshot.preferred(piper)
        return snapshot.by_name.get(ESPEAK.name, ESPEAK)

    def default_language(self, kind: Kind = "chat") -> ModelRecord:
        """The configured default (of chat); else the first configured model of this kind, or the
        one installed last. Raises `ModelNotFound`, which says what to run, and `Unsupported`."""
        if kind == "chat" and self._language_default is not None:
            return self.resolve_text(self._language_default, kind)
        snapshot = self._snapshot
        models = snapshot.of_kind(kind)
        if models:
            return snapshot.preferred(models)
        for record in self._configured:
            if record.name in snapshot.refused and _expected_kind(record) in {kind, None}:
                raise ModelNotInstalled(record.name, snapshot.refused[record.name])
        what, example = _EXAMPLES[kind]
        message = f"There is no {what} here; run: antiphon pull {example}"
        raise ModelNotInstalled("default", message)

    def remove(self, name: str) -> None:
        """Delete an installed model, or what was downloaded of one. Raises `EngineError`."""
        known = find_known(name)
        installed = self.installed(name) or (self.installed(known.name) if known else None)
        official = installed.name if installed else known.name if known else name
        directory = model_directory(self._data_dir, official)
        partial = directory.with_name(directory.name + PARTIAL)
        if not installed and not partial.is_dir():
            record = self.resolve(name)
            what = "is built in" if record in BUILT_IN else "comes from the configuration"
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


def _expected_kind(record: ModelRecord) -> str | None:
    """What a model that is not here would be for, as far as its record tells."""
    if record.engine != "llama":
        return "speech" if record.engine in _SPEAKING else "transcription"
    known = find_known(record.source or "")
    kind = record.options.get("kind", known.kind if known else None)
    return None if kind is None else str(kind)
