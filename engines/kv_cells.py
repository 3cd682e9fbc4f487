"""Which sequence holds which tokens in a shared key-value cache, and how many cells that takes.

A book of llama.cpp's unified cache, without llama.cpp: a prefix that was copied from one sequence
to another takes no cells of its own, and its cells come free with the last sequence that has them.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_Integers = NDArray[np.intc]


def _integers() -> "array[int]":
    return array("i")


@dataclass(eq=False, slots=True)
class _Held:
    tokens: "array[int]" = field(default_factory=_integers)
    cells: "array[int]" = field(default_factory=_integers)
    touched: int = 0
    idle: bool = False


class Cells:
    """`capacity` cells and as many sequences as `sequences`, by ids from 0.

    A sequence is active, idle (its tokens are kept for whoever begins alike) or free.
    """

    def __init__(self, capacity: int, sequences: int) -> None:
        self._held: dict[int, _Held] = {}
        self._free = list(range(sequences - 1, -1, -1))
        self._vacant = list(range(capacity - 1, -1, -1))
        self._holders = np.zeros(capacity, np.intc)
        self._clock = 0

    @property
    def room(self) -> int:
        """Cells that no sequence has."""
        return len(self._vacant)

    @property
    def open_ids(self) -> int:
        """How many sequences could be opened."""
        return len(self._free)

    @property
    def idle(self) -> list[int]:
        """The idle sequences, the one that was used longest ago first."""
        idle = [(held.touched, number) for number, held in self._held.items() if held.idle]
        return [number for _, number in sorted(idle)]

    def held(self, sequence: int) -> int:
        """How many tokens it holds."""
        return len(self._held[sequence].tokens)

    def longest_prefix(self, tokens: Sequence[int]) -> tuple[int, int]:
        """The sequence that shares most of its beginning with `tokens`, and how many of them;
        (-1, 0) when none does."""
        wanted = np.asarray(tokens, np.intc)
        best = (-1, 0)
        for number, held in self._held.items():
            shared = _shared(np.frombuffer(held.tokens, np.intc), wanted) if held.tokens else 0
            if shared > best[1]:
                best = (number, shared)
        return best

    def open(self) -> int:
        """A new active sequence without tokens; there has to be an id for it."""
        number = self._free.pop()
        self._held[number] = _Held()
        self._touch(number)
        return number

    def share(self, source: int, target: int, count: int) -> None:
        """Give an empty sequence the first `count` tokens of another one."""
        of, to = self._held[source], self._held[target]
        assert not to.tokens, "a prefix comes first"
        to.tokens, to.cells = of.tokens[:count], of.cells[:count]
        self._holders[_view(to.cells)] += 1
        self._touch(source)

    def extend(self, sequence: int, tokens: Sequence[int]) -> None:
        """The sequence got these tokens more, in cells of its own; there has to be room."""
        held = self._held[sequence]
        begin = len(self._vacant) - len(tokens)
        assert begin >= 0, "more tokens than cells"
        cells = self._vacant[begin:]
        del self._vacant[begin:]
        self._holders[cells] = 1
        held.tokens.extend(tokens)
        held.cells.extend(cells)
        self._touch(sequence)

    def cut(self, sequence: int, count: int) -> None:
        """Keep the first `count` tokens of a sequence."""
        held = self._held[sequence]
        self._vacate(held.cells[count:])
        del held.tokens[count:], held.cells[count:]

    def rest(self, sequence: int) -> None:
        """Nobody works on it now; its tokens stay until room is needed."""
        self._held[sequence].idle = True
        self._touch(sequence)

    def free(self, sequence: int) -> None:
        """Forget the sequence."""
        self._vacate(self._held.pop(sequence).cells)
        self._free.append(sequence)

    def _vacate(self, cells: "array[int]") -> None:
        left = _view(cells)
        self._holders[left] -= 1
        self._vacant += left[self._holders[left] == 0].tolist()

    def _touch(self, sequence: int) -> None:
        self._clock += 1
        self._held[sequence].touched = self._clock


def _view(integers: "array[int]") -> _Integers:
    return np.frombuffer(integers, np.intc) if integers else np.zeros(0, np.intc)


def _shared(one: _Integers, other: _Integers) -> int:
    """Length of the common beginning."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length
