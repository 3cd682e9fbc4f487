"""How many tokens a step can take, from how long steps took on this machine."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

STEP_SECONDS = 0.2
"""What a step may take while nobody writes."""

INTERLEAVED_SECONDS = 0.1
"""What prompts may add to the step of those that write: their readers see a pause of so long."""

LEAST_TOKENS = 16
FIRST_TOKENS = 64
"""Of a prompt, before anything was measured."""

_FEW = 4
"""Answers for which steps of their own can be cheaper than a batch."""

_WEIGHT = 0.2


class Pace:
    """`batch`: most tokens of one decode."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._prompt_token: float | None = None
        self._writing: dict[int, float] = {}

    def took(self, tokens: int, answers: int, seconds: float) -> None:
        """A decode of so many tokens of so many answers took so long."""
        if tokens == answers:
            self._writing[answers] = _moved(self._writing.get(answers), seconds)
        elif tokens - answers >= LEAST_TOKENS // 2:
            self._prompt_token = _moved(self._prompt_token, seconds / tokens)

    def prompt_tokens(self, writing: int) -> int:
        """Tokens of prompts that the next step takes beside a token for each of `writing`."""
        room = self._batch - writing
        if self._prompt_token is None:
            return min(room, FIRST_TOKENS)
        limit = INTERLEAVED_SECONDS if writing else STEP_SECONDS
        return min(room, max(LEAST_TOKENS, int(limit / self._prompt_token)))

    def groups(self, writing: Sequence[T]) -> Iterator[Sequence[T]]:
        """Those that write, in the batches that cost least: with llama.cpp on a CPU a batch of two
        or three can take longer than as many steps of one."""
        count = len(writing)
        if count == 0:
            return
        size = 1 if count <= _FEW and self._alone_is_cheaper(count) else self._batch
        for begin in range(0, count, size):
            yield writing[begin : begin + size]

    def _alone_is_cheaper(self, count: int) -> bool:
        alone, together = self._writing.get(1), self._writing.get(count)
        if alone is None or together is None:
            return alone is None  # measure the one, and then the other
        return count * alone < together


def _moved(average: float | None, measured: float) -> float:
    return measured if average is None else average + _WEIGHT * (measured - average)
