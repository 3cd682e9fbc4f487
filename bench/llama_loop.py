"""What llama.cpp does without a server: a loop around `llama_decode`, in a process of its own, as
one JSON line. `python bench/llama_loop.py --help`."""

import argparse
import ctypes
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

import llama_cpp as llama  # noqa: E402

from bench.gguf_random import words  # noqa: E402
from bench.load import tell  # noqa: E402

BATCH = 512


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _quiet(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """Nothing of what it says while it loads is a measurement."""


class Loop:
    """A model, a context for `streams` sequences, and a sampler for each."""

    def __init__(self, path: Path, streams: int, cells: int, threads: int) -> None:
        llama.llama_log_set(_quiet, ctypes.c_void_p(0))
        self.model = llama.llama_model_load_from_file(
            str(path).encode(), llama.llama_model_default_params()
        )
        self.vocabulary = llama.llama_model_get_vocab(self.model)
        parameters = llama.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = cells, streams
        parameters.kv_unified = True
        parameters.n_batch = parameters.n_ubatch = BATCH
        parameters.n_threads = parameters.n_threads_batch = threads
        self.context = llama.llama_init_from_model(self.model, parameters)
        self.batch = llama.llama_batch_init(BATCH, 0, 1)
        self.samplers = [_sampler(seed) for seed in range(streams)]

    def tokens(self, text: str) -> list[int]:
        data = text.encode()
        buffer = (ctypes.c_int32 * (len(data) + 2))()
        found = llama.llama_tokenize(
            self.vocabulary, data, len(data), buffer, len(buffer), True, False
        )
        return list(buffer[:found])

    def answer(self, prompts: Sequence[Sequence[int]], tokens: int) -> None:
        """Answer all prompts with so many tokens each, together."""
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        last = [self._read(sequence, prompt) for sequence, prompt in enumerate(prompts)]
        for step in range(tokens - 1):
            for sequence, token in enumerate(last):
                self._put(sequence, token, len(prompts[sequence]) + step, wanted=True)
            self._decode()
            last = [
                llama.llama_sampler_sample(sampler, self.context, place)
                for place, sampler in enumerate(self.samplers[: len(prompts)])
            ]

    def _read(self, sequence: int, prompt: Sequence[int]) -> int:
        for begin in range(0, len(prompt), BATCH):
            part = prompt[begin : begin + BATCH]
            for place, token in enumerate(part, begin):
                self._put(sequence, token, place, wanted=place == len(prompt) - 1)
            used = len(part)
            self._decode()
        return int(llama.llama_sampler_sample(self.samplers[sequence], self.context, used - 1))

    def _put(self, sequence: int, token: int, position: int, *, wanted: bool) -> None:
        row = self.batch.n_tokens
        self.batch.token[row], self.batch.pos[row] = token, position
        self.batch.n_seq_id[row], self.batch.seq_id[row][0] = 1, sequence
        self.batch.logits[row] = wanted
        self.batch.n_tokens += 1

    def _decode(self) -> None:
        assert llama.llama_decode(self.context, self.batch) == 0
        self.batch.n_tokens = 0


def _sampler(seed: int) -> Any:
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    for part in (
        llama.llama_sampler_init_top_k(40),
        llama.llama_sampler_init_top_p(0.95, 1),
        llama.llama_sampler_init_temp(0.8),
        llama.llama_sampler_init_dist(seed),
    ):
        llama.llama_sampler_chain_add(chain, part)
    return chain


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", type=Path, required=True)
    for name in ("streams", "rounds", "tokens", "prompt", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args(arguments)
    cells = given.streams * (given.prompt + given.tokens + 8)
    loop = Loop(given.source, given.streams, cells, given.threads)
    prompts = [loop.tokens(words(given.prompt, seed)) for seed in range(given.streams)]
    loop.answer(prompts, min(4, given.tokens))
    seconds = []
    for _ in range(given.rounds):
        began = time.perf_counter()
        loop.answer(prompts, given.tokens)
        seconds.append(time.perf_counter() - began)
    tell(
        event="looped",
        tokens_a_second=given.streams * given.tokens * given.rounds / sum(seconds),
        median_seconds=statistics.median(seconds),
    )


if __name__ == "__main__":
    main()
