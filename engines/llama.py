"""Language, embedding and ranking models in GGUF files: their options, and how they run."""

import importlib.util
from functools import partial

from pydantic import Field

from engines.base import Capabilities, EngineError, Recipe, Unsupported, UpTo
from engines.catalogue import ModelRecord
from engines.gguf_files import Kind, kind_of, read_metadata
from engines.llama_context import Pooling
from engines.llama_embedder import EmbedderSettings, LlamaEmbedder
from engines.llama_engine import LlamaEngine, LlamaSettings
from engines.options import EngineOptions, read_options
from engines.recognition import Recogniser, RecognitionOptions
from engines.scheduler import Lane

__all__ = ["LlamaOptions", "capabilities", "check", "options_model", "recipe", "recogniser"]

_TEXTS_WAITING = 4096
"""Texts that may wait to be embedded; each request brings a few at a time."""


class LlamaOptions(EngineOptions):
    """`kind`: what the model is for, where its file does not tell.

    `context`: most tokens of a prompt and its answer, or of a text to embed (None: what the model
    was trained with, up to 8,192; 2,048 for a text). `cache_tokens`: of all answers together, and
    of what is kept for prompts that begin alike (None: one context). `sequences`: answers written
    at the same time. `reserved`: how many of these only live conversations may have (None: an
    eighth, and at least one of several). `batch`: most tokens computed at once. `threads`: cores
    (None: all). `gpu_layers`: layers on a GPU (None: all, where there is one). `pooling`: how a
    text's vector is made (None: as the file says).
    """

    kind: Kind | None = None
    context: int | None = Field(default=None, ge=64)
    cache_tokens: int | None = Field(default=None, ge=64)
    sequences: int = Field(default=16, ge=1, le=240)
    reserved: int | None = Field(default=None, ge=0)
    batch: int = Field(default=512, ge=32, le=8192)
    threads: int | None = Field(default=None, ge=1, le=256)
    gpu_layers: int | None = Field(default=None, ge=0)
    pooling: Pooling | None = None


options_model = LlamaOptions


def capabilities(record: ModelRecord) -> Capabilities:
    """Nothing that has to do with speech."""
    return Capabilities(word_times=False)


def check(record: ModelRecord, options: RecognitionOptions) -> None:
    """Raise `Unsupported`: it cannot hear."""
    raise _deaf(record.name)


def recogniser(record: ModelRecord, able: Capabilities, lane: Lane) -> Recogniser:
    """Raises `Unsupported`: it cannot hear."""
    raise _deaf(record.name)


def recipe(record: ModelRecord, cores: int) -> Recipe:
    """How to run it: in a process, as llama.cpp ends its own on a failed assertion. Reads the head
    of its file; raises `EngineError`."""
    if importlib.util.find_spec("llama_cpp") is None:
        raise Unsupported(
            f"The model '{record.name}' needs llama.cpp, which is not installed; "
            "run: uv sync --extra llama",
            "model",
        )
    options = read_options(record, LlamaOptions)
    kind = options.kind or kind_of(read_metadata(_path(record)))
    threads = min(options.threads or cores, max(1, cores))
    if kind != "chat":
        return _embedding(record, options, threads)
    settings = LlamaSettings(
        name=record.name,
        path=str(_path(record)),
        context=options.context,
        cells=options.cache_tokens,
        sequences=options.sequences,
        batch=max(options.batch, options.sequences),
        threads=threads,
        gpu_layers=options.gpu_layers,
    )
    return Recipe(
        name=record.name,
        build=partial(LlamaEngine, settings),
        select=UpTo(options.sequences),
        slots=options.sequences,
        reserved=_reserved(record, options),
        worker="process",
        cores=threads,
    )


def _reserved(record: ModelRecord, options: LlamaOptions) -> int:
    sequences = options.sequences
    if options.reserved is None:
        return min(max(1, sequences // 8), sequences - 1)
    if options.reserved >= sequences:
        raise EngineError(
            f"Model '{record.name}': option 'reserved': {options.reserved} of {sequences} "
            "sequences leave none for other requests"
        )
    return options.reserved


def _embedding(record: ModelRecord, options: LlamaOptions, threads: int) -> Recipe:
    settings = EmbedderSettings(
        name=record.name,
        path=str(_path(record)),
        context=options.context,
        pooling=options.pooling,
        threads=threads,
        gpu_layers=options.gpu_layers,
    )
    return Recipe(
        name=record.name,
        build=partial(LlamaEmbedder, settings),
        select=UpTo(64),
        worker="process",
        capacity=_TEXTS_WAITING,
        cores=threads,
    )


def _path(record: ModelRecord) -> str:
    if record.source is None:
        raise EngineError(f"Model '{record.name}' needs a 'source': a GGUF file.")
    return record.source


def _deaf(name: str) -> Unsupported:
    return Unsupported(
        f"The model '{name}' is a language model and cannot transcribe speech.", "model"
    )
