"""Engines that do next to nothing, for tests of timing and faults; worker processes import them."""

import os
import signal
import time
from collections.abc import Sequence

from engines.base import EngineError, Outcome, Work


class Echo:
    """Answers each input with itself; a job that is not streaming with its payload.

    The payload `poison` raises, `kill` kills the process, `broken` fails politely.
    """

    def __init__(self, step_seconds: float = 0.0) -> None:
        self.steps: list[tuple[int, ...]] = []
        self.dropped: list[int] = []
        self.closed = False
        self._step_seconds = step_seconds

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        self.steps.append(tuple(each.job for each in work))
        if self._step_seconds:
            time.sleep(self._step_seconds)
        return [self._one(each) for each in work]

    def _one(self, work: Work) -> Outcome:
        if work.payload == "poison":
            raise ValueError("poisoned")
        if work.payload == "broken":
            return Outcome(work.job, done=True, error=EngineError("broken"))
        if work.payload == "kill" or "kill" in work.inputs:
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome(work.job, work.inputs or (work.payload,), done=work.ended)

    def drop(self, job: int) -> None:
        self.dropped.append(job)

    def close(self) -> None:
        self.closed = True


class KillsOnce(Echo):
    """Dies in its first step, in the first process that is given this flag file."""

    def __init__(self, flag: str) -> None:
        super().__init__()
        self._flag = flag

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        if not os.path.exists(self._flag):
            open(self._flag, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(work)


def refuses_to_load() -> Echo:
    """An engine whose model is broken."""
    raise EngineError("the model is broken")
