"""Where the jobs of a lane are: which live, which could run now, and in whose engine."""

import asyncio
from collections.abc import Hashable

from engines.base import EngineError, JobClass, Recipe
from engines.tickets import Ticket
from engines.workers import Worker


class Seat:
    """One worker and the jobs that live in its engine."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.wake = asyncio.Event()
        self.settled = asyncio.Event()
        self.alive = False
        self.step_began: float | None = None
        """When the step that runs now began."""
        self.stepped_at = float("-inf")
        """When its newest step began."""
        self.step_kind: JobClass | None = None
        """The most urgent class in the step that runs now."""
        self.deaths = 0
        """How often in a row its worker died before it had started."""
        self.failure: EngineError | None = None
        self.jobs: dict[int, Ticket] = {}
        self.ready: dict[int, Ticket] = {}
        """Those of its jobs that could run now."""
        self.background: set[int] = set()
        """Those of its jobs that nobody waits for live."""
        self.drops: list[int] = []
        self.task: asyncio.Task[None] | None = None

    @property
    def stepping(self) -> bool:
        """Whether its engine works now."""
        return self.step_began is not None

    def settle(self, failure: EngineError | None) -> None:
        """Its worker has started, or why it has not."""
        self.failure = failure
        self.settled.set()

    def has_room(self, recipe: Recipe, *, live: bool) -> bool:
        """Whether another job, a live one or not, could board it; without slots it is one step at
        a time."""
        if recipe.slots is None:
            return not self.stepping
        return self.places(recipe, live=live) > 0

    def places(self, recipe: Recipe, *, live: bool) -> int:
        """How many more such jobs could live in its engine, which has slots."""
        assert recipe.slots is not None, "without slots there is no bound"
        free = recipe.slots - len(self.jobs)
        if not live:
            free = min(free, recipe.slots - recipe.reserved - len(self.background))
        return max(0, free)

    def can_replace(self, job: int, recipe: Recipe, *, live: bool) -> bool:
        """Whether such a job could have the place of this one of its jobs."""
        if live or recipe.slots is None or job in self.background:
            return True
        return len(self.background) < recipe.slots - recipe.reserved


class Jobs:
    """An index that is kept up to date job by job, so that no turn looks at idle ones."""

    def __init__(self) -> None:
        self.seats: list[Seat] = []
        self.live: dict[int, Ticket] = {}
        self.waiting: dict[int, Ticket] = {}
        """All that could run now."""
        self.homeless: dict[int, Ticket] = {}
        """Those of them that live in no engine yet."""
        self._homes: dict[int, Seat] = {}
        self._queued: dict[Hashable, Ticket] = {}

    def add(self, ticket: Ticket) -> None:
        """A new job."""
        self.live[ticket.job] = ticket
        if ticket.request.coalesce is not None:
            self._queued[ticket.request.coalesce] = ticket

    def remove(self, ticket: Ticket) -> Seat | None:
        """The job is over or elsewhere. Answers the seat it lived in."""
        del self.live[ticket.job]
        seat = self.leave(ticket)
        self.place(ticket)
        self._dequeue(ticket)
        return seat

    def queued(self, key: Hashable) -> Ticket | None:
        """The job with this coalescing key that has not started."""
        return self._queued.get(key)

    def home(self, ticket: Ticket) -> Seat | None:
        """The seat in whose engine the job lives."""
        return self._homes.get(ticket.job)

    def board(self, ticket: Ticket, seat: Seat) -> None:
        """The job goes into a step of the seat's engine."""
        self._dequeue(ticket)
        self.homeless.pop(ticket.job, None)
        self._homes[ticket.job] = seat
        seat.jobs[ticket.job] = ticket
        if not ticket.kind.live:
            seat.background.add(ticket.job)
        self.place(ticket)

    def leave(self, ticket: Ticket) -> Seat | None:
        """The job lives in no engine any more. Answers the seat it left."""
        seat = self._homes.pop(ticket.job, None)
        if seat is not None:
            del seat.jobs[ticket.job]
            seat.ready.pop(ticket.job, None)
            seat.background.discard(ticket.job)
        return seat

    def place(self, ticket: Ticket) -> bool:
        """Note whether the job could run now. Answers whether it could not until now."""
        job = ticket.job
        seat = self._homes.get(job)
        pool = self.homeless if seat is None else seat.ready
        if job not in self.live or not ticket.runnable:
            pool.pop(job, None)
            self.waiting.pop(job, None)
            return False
        began = job not in self.waiting
        pool[job] = self.waiting[job] = ticket
        return began

    def _dequeue(self, ticket: Ticket) -> None:
        key = ticket.request.coalesce
        if key is not None and self._queued.get(key) is ticket:
            del self._queued[key]
