"""How long a new job would wait, and so which jobs and sessions a lane can still take."""

import math
from collections.abc import Iterator

from engines.base import Busy, JobClass, Recipe
from engines.devices import Device
from engines.fairness import Fairness
from engines.jobs import Jobs, Seat
from engines.load import LONGEST_WAIT, Load
from engines.tickets import URGENCY, Ticket


class Admission:
    """Predictions for one lane, from measured service. All seconds are of the event loop."""

    def __init__(
        self, recipe: Recipe, device: Device, jobs: Jobs, fairness: Fairness, load: Load
    ) -> None:
        self._recipe = recipe
        self._device = device
        self._jobs = jobs
        self._fairness = fairness
        self._load = load
        self._cores = min(recipe.cores, device.cores)
        self._at_once = recipe.workers
        if self._cores:
            self._at_once = min(recipe.workers, device.cores // self._cores)

    def predicted_wait(self, kind: JobClass, now: float) -> float:
        """Seconds until a new job of this class would start."""
        deadline = now + URGENCY[kind]
        wait = self.wait_behind(deadline, now)
        if not self._recipe.reserved:
            return wait
        if kind.live:
            # Who may not have a reserved place is due earlier, perhaps, but not in the way.
            return wait - self._locked_out(deadline) / self._at_once
        return wait + self._until_a_place()

    def wait_behind(self, deadline: float, now: float) -> float:
        """Seconds until all that is due by `deadline` has started.

        The work of the lane's own queue is spread over the seats that can run at once; that of
        other lanes over all cores, as if this lane got none of them meanwhile.
        """
        return self._before_queue(deadline, now) + self._queued(deadline) / self._at_once

    def work_before(self, deadline: float, now: float) -> float:
        """Core-seconds this lane will hold for jobs that are due by `deadline`."""
        return (sum(self._remaining(now)) + self._queued(deadline)) * self._cores

    def refusal(self, kind: JobClass, now: float) -> Busy | None:
        """Why a new job of this class would wait too long."""
        limit = self._limit(kind)
        if limit is None:
            return None
        wait = self.predicted_wait(kind, now)
        if wait <= limit:
            return None
        seconds = math.ceil(wait)
        return Busy(
            f"The model '{self._recipe.name}' is busy: this request would wait about {seconds} "
            "seconds. Try again later.",
            seconds,
        )

    def late(self, now: float) -> Iterator[Ticket]:
        """Queued jobs that will have waited longer than a new one of their class may expect to.

        A job that leaves the lane while this is iterated makes those behind it less late.
        """
        waiting = sorted(self._jobs.waiting.values(), key=self._fairness.deadline)
        own = 0.0
        for ticket in waiting:
            limit = self._limit(ticket.kind)
            if limit is not None and not ticket.started:
                ahead = self._before_queue(self._fairness.deadline(ticket), now) + own
                if now - ticket.waiting_since + ahead > limit:
                    yield ticket
            if ticket.job in self._jobs.live:
                own += self._load.work(ticket) / self._at_once

    def observe(self, now: float) -> None:
        """Note how long a partial would wait now; an overload has to last."""
        self._load.press(self.predicted_wait(JobClass.PARTIAL, now), now)

    def overload(self, now: float) -> Busy | None:
        """Why one more live session could not be kept up with."""
        self.observe(now)
        if not self._load.overloaded(now):
            return None
        return Busy(
            f"The model '{self._recipe.name}' is busy with as many speakers as it can keep up "
            "with. Try again in a moment.",
            max(1, math.ceil(self.predicted_wait(JobClass.PARTIAL, now))),
        )

    def _limit(self, kind: JobClass) -> float | None:
        limit = LONGEST_WAIT.get(kind)
        if limit is None or self._recipe.longest_wait is None:
            return limit
        return self._recipe.longest_wait

    def _before_queue(self, deadline: float, now: float) -> float:
        """Seconds until the first of the queue starts."""
        remaining = self._remaining(now)
        own = min(remaining) if len(remaining) >= self._at_once else 0.0
        elsewhere = self._device.work_elsewhere(self, deadline) if self._cores else 0.0
        return own + elsewhere

    def _locked_out(self, deadline: float) -> float:
        """Engine seconds of what is due by `deadline` and finds reserved places only."""
        due = self._fairness.deadline
        if self._common_room():
            return 0.0
        homeless = self._jobs.homeless.values()
        patient = (ticket for ticket in homeless if not ticket.kind.live)
        return sum(self._load.work(ticket) for ticket in patient if due(ticket) <= deadline)

    def _until_a_place(self) -> float:
        """Seconds from the running steps' end until a job in the common places is done, all of a
        seat sharing it. Between steps these jobs are part of the queue."""
        if self._common_room() or not all(seat.stepping for seat in self._jobs.seats):
            return 0.0
        return min(len(seat.jobs) * min(self._left(seat)) for seat in self._jobs.seats)

    def _left(self, seat: Seat) -> Iterator[float]:
        """Engine seconds that each of the jobs in its common places still needs."""
        for ticket in seat.jobs.values():
            if seat.can_replace(ticket.job, self._recipe, live=False):
                yield self._load.work(ticket)

    def _common_room(self) -> bool:
        if len(self._jobs.seats) < self._recipe.workers:
            return True
        return any(seat.has_room(self._recipe, live=False) for seat in self._jobs.seats)

    def _remaining(self, now: float) -> list[float]:
        """Seconds each step that runs now will still take."""
        began = (seat.step_began for seat in self._jobs.seats)
        return [self._load.remaining(now - each) for each in began if each is not None]

    def _queued(self, deadline: float) -> float:
        """Engine seconds of what waits and is due by `deadline`."""
        due = self._fairness.deadline
        waiting = self._jobs.waiting.values()
        return sum(self._load.work(ticket) for ticket in waiting if due(ticket) <= deadline)
