"""GGUF files, as llama.cpp reads them: which there are, and what the header of one says.

Only headers are read, piece by piece and within bounds: a file may be of many gigabytes, cut short,
or made by anyone. Their form is documented in ggml's docs/gguf.md.
"""

import os
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from engines.base import EngineError

Kind = Literal["chat", "embedding", "rerank"]
"""What a language model is for."""

Value = bool | int | float | str

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_PIECE = 1 << 16
_MOST_BYTES = 64 << 20
"""Bytes of one header that are read; vocabularies of 250,000 tokens take about 10 MB."""
_MOST_VALUES = 4096
_MOST_TENSORS = 1 << 16
_MOST_DIMENSIONS = 8
_LONGEST_NAME = (1 << 16) - 1
_KEPT_TEXT = 512
"""Bytes of a text that are kept; chat templates and licences are much longer."""

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_TEXT, _ARRAY = 8, 9
_SCALARS: Mapping[int, struct.Struct] = {
    code: struct.Struct(f"<{form}")
    for code, form in enumerate(("B", "b", "H", "h", "I", "i", "f", "?", "", "", "Q", "q", "d"))
    if form
}

_POOLING = ("none", "mean", "cls", "last", "rank")
_EMBEDDING_ARCHITECTURES = frozenset({"eurobert", "gemma-embedding", "llama-embed", "t5encoder"})
_QUANTISATIONS: Mapping[int, str] = {
    number: name
    for start, names in (
        (0, "F32 F16 Q4_0 Q4_1"),
        (7, "Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K"),
        (19, "IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS"),
        (31, "IQ1_M BF16"),
        (36, "TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0"),
    )
    for number, name in enumerate(names.split(), start)
}
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.gguf)\Z", re.ASCII | re.IGNORECASE)
_BESIDE_A_MODEL = re.compile(r"mmproj|imatrix(_unsloth)?\.gguf\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GgufMetadata:
    """What the header of a GGUF file says about its model.

    `parameters` counts the weights (None where other parts hold some of them). `pooling`: how an
    embedding model makes one vector of its tokens. `classifier`: it has a head that scores.
    """

    architecture: str
    name: str = ""
    type: str = "model"
    context_length: int | None = None
    size_label: str | None = None
    parameters: int | None = None
    pooling: str | None = None
    quantisation: str | None = None
    chat_template: bool = False
    classifier: bool = False
    parts: int = 1


def kind_of(metadata: GgufMetadata) -> Kind:
    """What the model was made for. Older rerankers say so by their scoring head alone."""
    if metadata.pooling == "rank" or metadata.classifier:
        return "rerank"
    architecture = metadata.architecture
    if "bert" in architecture or architecture in _EMBEDDING_ARCHITECTURES:
        return "embedding"
    return "chat" if metadata.pooling in {None, "none"} else "embedding"


def read_metadata(path: str | Path) -> GgufMetadata:
    """What a GGUF file, or the first of its parts, says. Raises `EngineError`; blocks briefly."""
    path = Path(path)
    try:
        if not path.is_file():
            raise _Unusable("is no file" if path.exists() else "does not exist")
        with path.open("rb", buffering=0) as file:
            return _metadata(_Header(file, os.fstat(file.fileno()).st_size))
    except _Unusable as error:
        raise EngineError(f"{path} {error}") from None
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}") from None


def read_language_model(path: Path) -> GgufMetadata:
    """As `read_metadata`, of a model with all its parts; adapters, vocabularies and the like are
    refused with an `EngineError` too."""
    metadata = read_metadata(path)
    if metadata.type != "model" or metadata.architecture == "clip":
        what = metadata.type if metadata.type != "model" else "mmproj"
        raise EngineError(f"{path} is not a language model, but of the type '{what}'")
    if metadata.parameters == 0:
        raise EngineError(f"{path} has no weights")
    names = part_names(path.name)
    if len(names) != metadata.parts:
        raise EngineError(f"{path} has {metadata.parts} part(s), which its name does not say")
    for name in names:
        if not (path.parent / name).is_file():
            raise EngineError(f"{path.parent} lacks {name}")
    return metadata


def is_model_name(name: str) -> bool:
    """Whether a file of this name can be a model, and not what some models have beside them."""
    return name.lower().endswith(".gguf") and _BESIDE_A_MODEL.search(_last(name)) is None


def part_names(name: str) -> tuple[str, ...]:
    """The names of all parts of the model that this file is a part of; itself, if it is whole."""
    match = _PART.match(name)
    if match is None or not 1 <= int(match[2]) <= int(match[3]):
        return (name,)
    stem, _, count, suffix = match.groups()
    return tuple(f"{stem}-{part:05}-of-{count}{suffix}" for part in range(1, int(count) + 1))


def find_gguf(source: Path) -> Path:
    """The file to load for `source`: a GGUF file, any part of one, or the directory that holds it.

    Raises `EngineError`; blocks.
    """
    try:
        if not source.is_dir():
            if not source.exists():
                raise EngineError(f"{source} does not exist")
            return source.with_name(part_names(source.name)[0])
        firsts = _first_names(path.name for path in source.iterdir() if path.is_file())
    except OSError as error:
        raise EngineError(f"{source} cannot be read: {error.strerror or error}") from None
    if not firsts:
        raise EngineError(f"{source} holds no GGUF file")
    if len(firsts) > 1:
        shown = ", ".join(firsts[:8]) + (", ..." if len(firsts) > 8 else "")
        raise EngineError(f"{source} holds several GGUF files, and one has to be named: {shown}")
    return source / firsts[0]


def _first_names(names: Iterable[str]) -> list[str]:
    return sorted({part_names(name)[0] for name in names if is_model_name(name)})


def _last(path: str) -> str:
    return path.rpartition("/")[2]


class _Unusable(Exception):
    """Why a file cannot be used; its name goes in front."""


class _Header:
    """Reads forward through a file; skipping costs nothing until something behind it is read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self._piece = b""
        self._at = 0
        self._left = _MOST_BYTES

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._piece):
            self._load(count)
        start = self._at
        self._at += count
        return self._piece[start : self._at]

    def skip(self, count: int) -> None:
        self._at += count

    def u32(self) -> int:
        number: int = _U32.unpack(self.take(4))[0]
        return number

    def u64(self) -> int:
        number: int = _U64.unpack(self.take(8))[0]
        return number

    def text(self, longest: int) -> str:
        """A text that may not be longer than so many bytes."""
        length = self.u64()
        if length > longest:
            raise _Unusable("has a damaged header")
        return self.take(length).decode("utf-8", "replace")

    def text_beginning(self, kept: int) -> str:
        """The first bytes of a text of any length."""
        length = self.u64()
        beginning = self.take(min(length, kept))
        self.skip(length - len(beginning))
        return beginning.decode("utf-8", "replace")

    def skip_texts(self, count: int) -> None:
        """Skip an array of texts; a vocabulary is long enough for a loop without calls."""
        piece, at = self._piece, self._at
        for _ in range(count):
            if at + 8 > len(piece):
                self._at = at
                self._load(8)
                piece, at = self._piece, 0
            at += 8 + _U64.unpack_from(piece, at)[0]
        self._at = at

    def finish(self) -> None:
        """Raise `_Unusable` when what was skipped last is not there."""
        if self._at > len(self._piece):
            self._load(0)

    def _load(self, count: int) -> None:
        """Make the piece begin where we are, with at least `count` bytes."""
        beyond = self._at - len(self._piece)
        if beyond > 0:
            if self._file.tell() + beyond > self.size:
                raise _Unusable("ends in the middle of its header")
            self._file.seek(beyond, os.SEEK_CUR)
        kept = self._piece[self._at :]
        self._piece, self._at = kept + self._read(max(_PIECE, count) - len(kept)), 0
        if len(self._piece) < count:
            raise _Unusable("ends in the middle of its header")

    def _read(self, count: int) -> bytes:
        if count > self._left:
            raise _Unusable("has a header that is too long")
        self._left -= count
        return self._file.read(count)


def _metadata(header: _Header) -> GgufMetadata:
    if header.size < len(_MAGIC) or header.take(len(_MAGIC)) != _MAGIC:
        raise _Unusable("is not a GGUF file")
    version = header.u32()
    if version not in _VERSIONS:
        big_endian = version & 0xFFFF == 0
        raise _Unusable("is big-endian" if big_endian else f"is of GGUF version {version}")
    tensors, count = header.u64(), header.u64()
    if tensors > _MOST_TENSORS or count > _MOST_VALUES:
        raise _Unusable("has a damaged header")
    values: dict[str, Value] = {}
    for _ in range(count):
        key = header.text(_LONGEST_NAME)
        value = _value(header)
        if value is not None and len(key) <= _KEPT_TEXT:
            values[key] = value
    parameters, classifier = _tensors(header, tensors)
    header.finish()
    return _described(values, parameters, classifier)


def _value(header: _Header) -> Value | None:
    """The next value, None for an array."""
    code = header.u32()
    if code == _ARRAY:
        _skip_array(header)
        return None
    if code == _TEXT:
        return header.text_beginning(_KEPT_TEXT)
    scalar = _SCALARS.get(code)
    if scalar is None:
        raise _Unusable("has a damaged header")
    value: Value = scalar.unpack(header.take(scalar.size))[0]
    return value


def _skip_array(header: _Header) -> None:
    code, count = header.u32(), header.u64()
    if code == _TEXT:
        header.skip_texts(count)
    elif code in _SCALARS:
        header.skip(count * _SCALARS[code].size)
    else:
        raise _Unusable("has a damaged header")


def _tensors(header: _Header, count: int) -> tuple[int, bool]:
    """How many weights the tensors have, and whether one is a scoring head's."""
    parameters, classifier = 0, False
    for _ in range(count):
        name = header.text(_LONGEST_NAME)
        dimensions = header.u32()
        if dimensions > _MOST_DIMENSIONS:
            raise _Unusable("has a damaged header")
        weights = 1
        for _ in range(dimensions):
            weights *= header.u64()
        header.skip(4 + 8)  # type and offset
        parameters += weights
        classifier = classifier or name.startswith("cls.output.")
    return parameters, classifier


def _described(values: Mapping[str, Value], parameters: int, classifier: bool) -> GgufMetadata:
    def text(key: str) -> str | None:
        value = values.get(key)
        return value if isinstance(value, str) and value else None

    def count(key: str) -> int | None:
        value = values.get(key)
        return int(value) if isinstance(value, int) and value >= 0 else None

    kind = text("general.type") or "model"
    architecture = text("general.architecture")
    if architecture is None and kind == "model":
        raise _Unusable("does not name its architecture")
    parts = max(1, count("split.count") or 1)
    pooling = count(f"{architecture}.pooling_type")
    file_type = count("general.file_type")
    return GgufMetadata(
        architecture=architecture or "",
        name=text("general.name") or "",
        type=kind,
        context_length=count(f"{architecture}.context_length"),
        size_label=text("general.size_label"),
        parameters=parameters if parts == 1 else None,
        pooling=_POOLING[pooling] if pooling is not None and pooling < len(_POOLING) else None,
        quantisation=None if file_type is None else _QUANTISATIONS.get(file_type),
        chat_template="tokenizer.chat_template" in values,
        classifier=classifier,
        parts=parts,
    )
