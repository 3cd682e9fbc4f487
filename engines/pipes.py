"""What the server and its worker processes say to each other.

A message is a length (8 bytes, big endian) and a pickle. Both ends are this program.
"""

import pickle
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engines.base import EngineError, Outcome, Work

LENGTH = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Step:
    """Do one step and forget the jobs in `drops` before it."""

    work: Sequence[Work]
    drops: Sequence[int] = ()


class Payloads:
    """Each job's payload travels once: the parent leaves it out of later steps, and the child puts
    it back. Both forget a job when it is done or dropped."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}

    def leave_out(self, work: Sequence[Work]) -> Sequence[Work]:
        """The work as it is sent: a payload that the child has is None."""
        sent = [replace(w, payload=None) if w.job in self._known else w for w in work]
        self._known |= dict.fromkeys(w.job for w in work)
        return sent

    def put_back(self, work: Sequence[Work]) -> Sequence[Work]:
        """The work as it was meant."""
        for each in work:
            self._known.setdefault(each.job, each.payload)
        return [replace(w, payload=self._known[w.job]) for w in work]

    def forget(self, jobs: Iterable[int]) -> None:
        """These jobs take part in no more steps."""
        for job in jobs:
            self._known.pop(job, None)


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcomes of a step, or the error that failed it. `memory`: the most bytes that the
    process has held, where its system tells."""

    outcomes: Sequence[Outcome] = ()
    error: EngineError | None = None
    memory: int | None = None


def pack(message: object) -> bytes:
    """A message as it goes through the pipe."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body
