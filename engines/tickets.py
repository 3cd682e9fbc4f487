"""One job as its submitter sees it: push inputs, read results, cancel."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass
from typing import Any

from engines.base import EngineError, JobClass

RESULTS = 256
"""Results a ticket holds for its reader; a job whose reader is behind is not stepped."""

URGENCY = {
    JobClass.FINAL: 0.2,
    JobClass.FIRST_SENTENCE: 0.5,
    JobClass.PARTIAL: 1.0,
    JobClass.REST: 10.0,
    JobClass.BACKGROUND: 60.0,
}
"""Seconds from when a job could run to its deadline. Waiting brings every deadline nearer than
that of any job that comes later by more than the difference, so nothing starves."""


class Owner(str):
    """Who asks, a session or a request, and the `tenant` (an API key) it belongs to."""

    tenant: str

    def __new__(cls, name: str, tenant: str = "") -> "Owner":
        self = super().__new__(cls, name)
        self.tenant = tenant
        return self

    def __reduce__(self) -> tuple[type["Owner"], tuple[str, str]]:
        return type(self), (str(self), self.tenant)


@dataclass(frozen=True, slots=True)
class Request:
    """What was submitted. `owner` (a session; an `Owner` where it has a tenant) and its tenant are
    the units of fairness; of two queued jobs with the same `coalesce` key only the newer is done; a
    `streaming` job gets inputs pushed after it."""

    payload: Any
    kind: JobClass
    owner: str
    streaming: bool = False
    coalesce: Hashable | None = None

    @property
    def tenant(self) -> str:
        """The API key that it was submitted with; empty: nobody's."""
        return self.owner.tenant if isinstance(self.owner, Owner) else ""


class Ticket:
    """A bounded asynchronous iterator of a job's results, and the means to feed or cancel it.

    Iteration ends when the job is done or was cancelled, and raises the `EngineError` that failed
    it. A ticket that nobody reads stops its own job, not the lane.
    """

    def __init__(
        self, job: int, request: Request, now: float, changed: Callable[["Ticket"], None]
    ) -> None:
        self.job = job
        self.request = request
        self.kind = request.kind
        self.waiting_since = now
        self.started = False
        self.running = False
        self.tries = 0
        """How often a worker died in a step that it was in."""
        self.suspect = False
        """Whether no step that it was in has been done since."""
        self.served = 0.0
        """Engine seconds that were spent on it."""
        self.expiry: asyncio.TimerHandle | None = None
        """Ends it unless it has started."""
        self._changed = changed
        self._inputs: deque[tuple[Any, int]] = deque()
        self._taken: list[tuple[Any, int]] = []
        self.progress: list[Any] = []
        """What its steps named as needed to go on elsewhere."""
        self.told = False
        """Whether its reader has been given something."""
        self.resumes = False
        """Whether its next step has to go on from its progress."""
        self._backlog = 0
        self._ended = not request.streaming
        self._results: deque[Any] = deque()
        self._wake = asyncio.Event()
        self._parked = False
        self._over = False
        self.outcome = "cancelled"
        """How a job that is over ended: `done`, `failed`, `cancelled`, `coalesced` or `stale`."""
        self.error: EngineError | None = None

    # What the submitter does

    def push(self, value: Any, size: int = 1) -> None:
        """Give a streaming job another input; `size` (samples) counts toward its backlog."""
        if self._over:
            return
        assert not self._ended, "a finished job takes no more inputs"
        self._unpark()
        self._inputs.append((value, size))
        self._backlog += size
        self._changed(self)

    def finish(self, kind: JobClass | None = None) -> None:
        """No more inputs will come; `kind` may make the rest more urgent."""
        self._unpark()
        self._ended = True
        if kind is not None:
            self.kind = kind
        self._changed(self)

    def cancel(self) -> None:
        """Stop the job: at once while it is queued, else at the end of its step."""
        self.close()

    @property
    def backlog(self) -> int:
        """Size of the inputs that no step has taken yet."""
        return self._backlog

    @property
    def over(self) -> bool:
        """Whether the job is done, failed or cancelled."""
        return self._over

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._results:
            if self.error is not None:
                raise self.error
            if self._over:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        result = self._results.popleft()
        if len(self._results) == RESULTS - 1:  # there is room again
            if self._inputs or self._ended:
                self._unpark()
            self._changed(self)
        return result

    # What the lane does

    @property
    def payload(self) -> Any:
        """What was submitted."""
        return self.request.payload

    @property
    def inputs(self) -> int:
        """How many inputs wait."""
        return len(self._inputs)

    @property
    def runnable(self) -> bool:
        """Whether a step could do something for this job now."""
        if self._over or self.running or len(self._results) >= RESULTS:
            return False
        return not self.request.streaming or bool(self._inputs) or self._ended

    @property
    def ended(self) -> bool:
        """Whether all inputs that will ever come have been taken."""
        return self._ended and not self._inputs

    def take(self, most: int, *, keep: bool) -> tuple[Any, ...]:
        """Remove up to `most` inputs for a step; `keep` remembers them for a second try."""
        taken = [self._inputs.popleft() for _ in range(min(most, len(self._inputs)))]
        self._backlog -= sum(size for _, size in taken)
        if keep:
            self._taken += taken
        return tuple(value for value, _ in taken)

    def cancel_expiry(self) -> None:
        """It does not become stale any more."""
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None

    def park(self) -> None:
        """Leave the engine until the next input, and then start again from the first."""
        self._parked = True
        self.started = False

    def _unpark(self) -> None:
        if self._parked:
            self.rewind()

    def rewind(self) -> None:
        """Start again from the first input that was kept."""
        self._parked = False
        self._inputs.extendleft(reversed(self._taken))
        self._backlog += sum(size for _, size in self._taken)
        self._taken.clear()
        self.resumes = True
        self.started = False

    def deliver(self, events: tuple[Any, ...], *, done: bool, error: EngineError | None) -> None:
        """Hand results to the reader."""
        self._results.extend(events)
        self.told = self.told or bool(events)
        if done or error is not None:
            self.close(error, "done")
        else:
            self._wake.set()

    def close(self, error: EngineError | None = None, outcome: str = "cancelled") -> None:
        """End the job; results that were delivered can still be read."""
        if self._over:
            return
        self._over = True
        self.error = error
        self.outcome = outcome if error is None else "failed"
        self._inputs.clear()
        self._taken.clear()
        self.progress.clear()
        self._backlog = 0
        self._wake.set()
        self._changed(self)
