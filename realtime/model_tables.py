"""The tables that `antiphon models` prints, one for each use of models."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from engines.base import EngineError
from engines.catalogue import Catalogue, ModelKind, ModelRecord
from engines.gguf_files import read_metadata
from engines.models import ModelStore
from engines.voices import Voices

WRITING: tuple[ModelKind, ...] = ("chat", "embedding", "rerank")
"""What language models are for."""


def tables(store: ModelStore, voices: Voices) -> list[Table]:
    """The models that hear, those that speak and, where there are any, those that write. Reads
    files."""
    shown = [_hearing(store), _speaking(store, voices)]
    writing = of_kinds(store.catalogue, WRITING)
    return [*shown, _writing(store.catalogue, writing)] if writing else shown


def of_kinds(catalogue: Catalogue, kinds: Sequence[ModelKind]) -> list[ModelRecord]:
    """The models that are for one of these."""
    return [record for record in catalogue.records() if catalogue.kind(record) in kinds]


def name_of(default: Callable[[], ModelRecord]) -> str | None:
    """The name of a default model; None where it is one of the catalogue's problems."""
    try:
        return default().name
    except EngineError:
        return None


def _hearing(store: ModelStore) -> Table:
    default = name_of(store.catalogue.default_transcription)
    table = _table("model", "engine", "languages", "aliases")
    for record in of_kinds(store.catalogue, ("transcription",)):
        languages = _languages(store, record)
        _add(table, (_marked(record, default), record.engine, languages, *_aliases(record)))
    return table


def _speaking(store: ModelStore, voices: Voices) -> Table:
    default = name_of(store.catalogue.default_speech)
    counts = [entry.model for entry in voices.names()]
    table = _table("model", "engine", "voices", "languages", "aliases")
    for record in of_kinds(store.catalogue, ("speech",)):
        count = str(counts.count(record.name))
        row = (_marked(record, default), record.engine, count, _languages(store, record))
        _add(table, (*row, *_aliases(record)))
    return table


def _writing(catalogue: Catalogue, records: Sequence[ModelRecord]) -> Table:
    default = name_of(catalogue.default_language)
    table = _table("model", "engine", "kind", "size", "context", "aliases")
    for record in records:
        row = (_marked(record, default), record.engine, catalogue.kind(record), *_size(record))
        _add(table, (*row, *_aliases(record)))
    return table


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="bold")


def _add(table: Table, row: Iterable[str]) -> None:
    table.add_row(*map(escape, row))


def _marked(record: ModelRecord, default: str | None) -> str:
    return f"{record.name} (default)" if record.name == default else record.name


def _aliases(record: ModelRecord) -> tuple[str]:
    return (", ".join(record.aliases),)


def _languages(store: ModelStore, record: ModelRecord) -> str:
    languages = store.capabilities(record).languages
    if languages is None:
        return "any"
    return ", ".join(sorted(languages)) if len(languages) <= 4 else f"{len(languages)} languages"


def _size(record: ModelRecord) -> tuple[str, str]:
    """How many weights of which form a language model has, and how many tokens it can see."""
    try:
        metadata = read_metadata(Path(record.source or ""))
    except EngineError:
        return "?", "?"  # it went away since the catalogue looked
    parameters = metadata.parameters
    weights = metadata.size_label or (f"{parameters / 1e6:.0f}M" if parameters else "")
    size = " ".join(part for part in (weights, metadata.quantisation) if part)
    return size, str(metadata.context_length or "")
