"""A llama.cpp model and a context on it: loading, batches, and the memory of sequences.

Facts about the library that this relies on: a batch longer than the context's aborts the process,
`llama_decode` answers 1 without any change when the cache is full, and copying a prefix between
sequences of a unified cache moves nothing.
"""

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from engines.base import EngineError

Pooling = Literal["mean", "cls", "last", "rank"]

_POOLING: dict[Pooling | None, int] = {None: -1, "mean": 1, "cls": 2, "last": 3, "rank": 4}

CACHE_FULL = 1
"""`decode` found no room for the batch."""

_ALL = -1


class LlamaModel:
    """Weights in memory. Blocks while it loads; raises `EngineError`."""

    def __init__(self, name: str, path: str, gpu_layers: int | None) -> None:
        llama = library()
        parameters = llama.llama_model_default_params()
        offload = llama.llama_supports_gpu_offload()
        layers = _ALL if gpu_layers is None else gpu_layers
        parameters.n_gpu_layers = layers if offload else 0
        self._llama = llama
        self.name = name
        self.pointer = llama.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.pointer:
            raise EngineError(f"Model '{name}': {path} is no GGUF that llama.cpp can load.")
        self.vocabulary = llama.llama_model_get_vocab(self.pointer)

    @property
    def template(self) -> str | None:
        """The chat template in the file."""
        template = self._llama.llama_model_chat_template(self.pointer, None)
        return template.decode("utf-8", "replace") if template else None

    @property
    def trained_context(self) -> int:
        """Tokens of context it was trained with."""
        return int(self._llama.llama_model_n_ctx_train(self.pointer))

    @property
    def forgets_whole(self) -> bool:
        """Whether its memory can only be cleared, not cut (recurrent layers)."""
        llama = self._llama
        return bool(
            llama.llama_model_is_recurrent(self.pointer)
            or llama.llama_model_is_hybrid(self.pointer)
        )

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return int(self._llama.llama_model_n_embd(self.pointer))

    def close(self) -> None:
        """Free the weights; contexts go first."""
        if self.pointer:
            self._llama.llama_model_free(self.pointer)
            self.pointer = None


@dataclass(frozen=True, slots=True)
class ContextSize:
    """`cells` of cache for all `sequences`; `batch` is the most tokens of one decode."""

    cells: int
    sequences: int
    batch: int
    threads: int


class Context:
    """The state of many sequences, and the batch that is decoded next."""

    def __init__(self, model: LlamaModel, size: ContextSize) -> None:
        self._start(model, size, embeddings=False, pooling=None)

    @classmethod
    def pooled(cls, model: LlamaModel, size: ContextSize, pooling: Pooling | None) -> "Context":
        """One that makes a vector of each sequence; pooling None: as the model's file says."""
        self = cls.__new__(cls)
        self._start(model, size, embeddings=True, pooling=pooling)
        return self

    def _start(
        self, model: LlamaModel, size: ContextSize, *, embeddings: bool, pooling: Pooling | None
    ) -> None:
        llama = self._llama = library()
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = size.cells
        parameters.n_seq_max = size.sequences
        parameters.n_batch = size.batch
        # Pooling sees only the last micro-batch, so there a batch is not cut into several.
        parameters.n_ubatch = size.batch if embeddings else min(size.batch, 512)
        parameters.n_threads = parameters.n_threads_batch = size.threads
        parameters.kv_unified = True
        parameters.swa_full = True
        parameters.no_perf = True
        parameters.embeddings = embeddings
        parameters.pooling_type = _POOLING[pooling]
        self.pointer = llama.llama_init_from_model(model.pointer, parameters)
        if not self.pointer:
            raise EngineError(
                f"Model '{model.name}': there is not enough memory for {size.cells} tokens."
            )
        self._memory = llama.llama_get_memory(self.pointer)
        self._rows = _Rows(llama, size.batch)

    @property
    def room(self) -> int:
        """Tokens that the batch can still take."""
        return self._rows.room

    def add(self, tokens: Sequence[int], position: int, sequence: int, *, every: bool) -> int:
        """Put tokens of a sequence into the batch, the first at `position`; answers the place of
        the last, whose result can be asked for after the decode (with `every`: all of theirs)."""
        return self._rows.add(tokens, position, sequence, every=every)

    def clear_batch(self) -> None:
        """Forget what was put into the batch."""
        self._rows.used = 0

    def decode(self) -> int:
        """Compute the batch and empty it: 0, or `CACHE_FULL`, after which the batch is still
        there. Raises `EngineError`, after which any part of it may be in the memory."""
        batch = self._rows.batch()
        compute = self._llama.llama_decode if self._memory else self._llama.llama_encode
        code = int(compute(self.pointer, batch))
        if code != CACHE_FULL:
            self.clear_batch()
        if code not in (0, CACHE_FULL):
            raise EngineError(f"llama.cpp could not compute a step (code {code}).")
        return code

    def copy(self, source: int, target: int, count: int) -> None:
        """Let `target` begin with the first `count` tokens of `source`."""
        self._llama.llama_memory_seq_cp(self._memory, source, target, 0, count)

    def cut(self, sequence: int, count: int) -> bool:
        """Keep the first `count` tokens; False when its memory cannot be cut there."""
        return bool(self._llama.llama_memory_seq_rm(self._memory, sequence, count, _ALL))

    def clear(self) -> None:
        """Forget all sequences."""
        if self._memory:
            self._llama.llama_memory_clear(self._memory, True)

    def pooled_vector(self, sequence: int, length: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The vector of a sequence after the decode: float32 [length]."""
        found = self._llama.llama_get_embeddings_seq(self.pointer, sequence)
        if not found:
            raise EngineError("llama.cpp gave no vector: the model does not pool its tokens.")
        return np.array(np.ctypeslib.as_array(found, (length,)), np.float32)

    def close(self) -> None:
        """Free the cache."""
        if self.pointer:
            self._llama.llama_free(self.pointer)
            self.pointer = None


class _Rows:
    """A batch in arrays of our own, filled a range at a time."""

    def __init__(self, llama: Any, size: int) -> None:
        self.used = 0
        self._size = size
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._counts = np.ones(size, np.int32)
        self._sequences = np.zeros(size, np.int32)
        self._wanted = np.zeros(size, np.int8)
        pointer = ctypes.POINTER(ctypes.c_int32)
        base = self._sequences.ctypes.data
        self._owners = (pointer * size)(
            *(ctypes.cast(base + 4 * row, pointer) for row in range(size))
        )
        self._batch = llama.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(pointer),
            embd=None,
            pos=self._positions.ctypes.data_as(pointer),
            n_seq_id=self._counts.ctypes.data_as(pointer),
            seq_id=self._owners,
            logits=self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    @property
    def room(self) -> int:
        return self._size - self.used

    def add(self, tokens: Sequence[int], position: int, sequence: int, *, every: bool) -> int:
        begin, end = self.used, self.used + len(tokens)
        assert begin < end <= self._size, "llama.cpp would abort"
        rows = slice(begin, end)
        self._tokens[rows] = tokens
        self._positions[rows] = range(position, position + len(tokens))
        self._sequences[rows] = sequence
        self._wanted[rows] = every
        self._wanted[end - 1] = True
        self.used = end
        return end - 1

    def batch(self) -> Any:
        assert self.used, "an empty batch is an error to llama.cpp"
        self._batch.n_tokens = self.used
        return self._batch


def library() -> Any:
    """llama-cpp-python, quiet."""
    # A debugger that is installed would be started for each abort.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    import llama_cpp

    _silence(llama_cpp)
    return llama_cpp


_silent: list[Any] = []
"""The callback that llama.cpp holds; it must outlive every model."""


def _silence(llama: Any) -> None:
    if _silent:
        return

    @llama.llama_log_callback  # type: ignore[untyped-decorator]
    def ignore(level: int, text: bytes, data: ctypes.c_void_p) -> None:
        """Some 500 lines for each model."""

    _silent.append(ignore)
    llama.llama_log_set(ignore, ctypes.c_void_p(0))
    llama.llama_backend_init()


@contextmanager
def closing_all(*things: Any) -> Iterator[None]:
    """Close what was opened when the block fails."""
    try:
        yield
    except BaseException:
        for thing in reversed(things):
            thing.close()
        raise
