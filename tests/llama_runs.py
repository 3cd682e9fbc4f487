"""llama.cpp driven by hand, for tests of what stands on it."""

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _quiet(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
    """llama.cpp prints hundreds of lines about a model it loads."""


@dataclass(slots=True)
class Run:
    """A model and a context; each sequence goes on from what it was fed before."""

    model: Any
    context: Any
    positions: dict[int, int] = field(default_factory=dict)

    @property
    def vocab(self) -> Any:
        return llama_cpp.llama_model_get_vocab(self.model)

    def tokens(self, text: str, special: bool = True) -> list[int]:
        data = text.encode()
        room = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(
            self.vocab, data, len(data), room, len(room), False, special
        )
        return list(room[:count])

    def piece(self, token: int) -> bytes:
        room = ctypes.create_string_buffer(256)
        count = llama_cpp.llama_token_to_piece(self.vocab, token, room, len(room), 0, True)
        return room.raw[:count]

    def is_end(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self.vocab, token))

    def clear(self) -> None:
        """Forget all sequences."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        self.positions.clear()

    def feed(self, fed: Mapping[int, Sequence[int]]) -> dict[int, int]:
        """Decode each sequence's tokens in one batch; the batch index of each one's last."""
        total = sum(len(tokens) for tokens in fed.values())
        batch = llama_cpp.llama_batch_init(total, 0, 1)
        lasts: dict[int, int] = {}
        index = 0
        for sequence, tokens in fed.items():
            for number, token in enumerate(tokens):
                position = self.positions.get(sequence, 0)
                batch.token[index], batch.pos[index] = token, position
                batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
                batch.logits[index] = number == len(tokens) - 1
                self.positions[sequence] = position + 1
                lasts[sequence] = index
                index += 1
        batch.n_tokens = total
        try:
            code = llama_cpp.llama_decode(self.context, batch)
        finally:
            llama_cpp.llama_batch_free(batch)
        if code:
            raise RuntimeError(f"llama_decode: {code}")
        return lasts

    def logits(self, index: int) -> NDArray[np.float32]:
        view = llama_cpp.llama_get_logits_ith(self.context, index)
        size = llama_cpp.llama_vocab_n_tokens(self.vocab)
        return np.ctypeslib.as_array(view, (size,)).copy()

    def embedding(self, sequence: int) -> NDArray[np.float32]:
        """A pooled vector, or a reranker's score."""
        view = llama_cpp.llama_get_embeddings_seq(self.context, sequence)
        ranks = llama_cpp.llama_pooling_type(self.context) == llama_cpp.LLAMA_POOLING_TYPE_RANK
        size = 1 if ranks else llama_cpp.llama_model_n_embd(self.model)
        return np.ctypeslib.as_array(view, (size,)).copy()

    def greedy(self, prompt: str, most: int = 200) -> bytes:
        """The most probable answer to `prompt`, up to its end."""
        said = b""
        fed = self.tokens(prompt)
        for _ in range(most):
            token = int(self.logits(self.feed({0: fed})[0]).argmax())
            if self.is_end(token):
                break
            said += self.piece(token)
            fed = [token]
        return said


@contextmanager
def running(path: Path, *, sequences: int = 4, embeddings: bool = False) -> Iterator[Run]:
    """`path` loaded, with one context that its `sequences` share."""
    llama_cpp.llama_log_set(_quiet, ctypes.c_void_p(0))
    model = llama_cpp.llama_model_load_from_file(
        str(path).encode(), llama_cpp.llama_model_default_params()
    )
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {path}")
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_seq_max, settings.kv_unified = 0, sequences, True
    settings.n_threads = settings.n_threads_batch = 1
    settings.embeddings = embeddings
    context = llama_cpp.llama_init_from_model(model, settings)
    if not context:
        llama_cpp.llama_model_free(model)
        raise RuntimeError(f"llama.cpp cannot make a context for {path}")
    try:
        yield Run(model, context)
    finally:
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)
