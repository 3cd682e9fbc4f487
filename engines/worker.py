"""The child process that runs one engine: `python -m engines.worker`, driven over its pipes.

The parent sends the engine's builder
once, then requests; each is answered by exactly one `Reply`. The child ends when its standard
input does, so it never outlives the server. Whatever the engine prints goes to standard error.
"""

import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from engines.base import Engine, EngineError, Outcome
from engines.pipes import LENGTH, Payloads, Reply, Step, pack


def _read(pipe: BinaryIO) -> Any:
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    return pickle.loads(pipe.read(LENGTH.unpack(head)[0]))


def _answer(act: Callable[[], Sequence[Outcome]]) -> Reply:
    # A border: whatever an engine raises is answered, and fails one step rather than the process.
    try:
        return Reply(outcomes=act(), memory=_memory())
    except EngineError as error:
        return Reply(error=error)
    except Exception as error:
        return Reply(error=EngineError(f"{type(error).__name__}: {error}"))


def _memory() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # which counts in KiB elsewhere


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    engines: list[Engine] = []
    payloads = Payloads()

    def build() -> Sequence[Outcome]:
        engines.append(_read(requests)())
        return ()

    def run(request: Step) -> Sequence[Outcome]:
        for job in request.drops:
            engines[0].drop(job)
        payloads.forget(request.drops)
        if not request.work:
            return ()
        outcomes = engines[0].step(payloads.put_back(request.work))
        payloads.forget(outcome.job for outcome in outcomes if outcome.done)
        return outcomes

    def reply(answer: Reply) -> None:
        replies.write(pack(answer))
        replies.flush()

    reply(_answer(build))
    while engines:
        request: Step = _read(requests)
        reply(_answer(lambda: run(request)))  # noqa: B023 - called at once


def main() -> None:
    """Serve the pipes that were standard input and output until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _serve(requests, replies)
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main()
