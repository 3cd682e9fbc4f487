"""What the server and its worker processes say to each other.

A message is a length (8 bytes, big endian) and a pickle. Both ends are this program.
"""

import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from engines.base import EngineError, Outcome, Work

LENGTH = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Step:
    """Do one step and forget the jobs in `drops` before it."""

    work: Sequence[Work]
    drops: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcomes of a step, or the error that failed it."""

    outcomes: Sequence[Outcome] = ()
    error: EngineError | None = None


def pack(message: object) -> bytes:
    """A message as it goes through the pipe."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body
