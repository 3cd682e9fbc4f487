"""Which new jobs a seat may take: of several seats, one is kept free for what is more urgent."""

from collections import Counter
from collections.abc import Collection

from engines.base import JobClass, Recipe
from engines.jobs import Jobs, Seat
from engines.load import LIVE_SECONDS
from engines.tickets import URGENCY, Ticket


class Reservation:
    """While a lane sees live jobs, REST and BACKGROUND jobs never hold all of its seats, and do
    not take the last free one unless they are overdue: live work alone could keep the others busy
    forever. A lane of one seat reserves nothing, nor does one without live jobs.

    Where steps have room for a batch, PARTIALs leave the last seat to FINALs too, until they fill
    a batch, and FINALs leave it to a full batch of PARTIALs: see `Recipe.full_batch`."""

    def __init__(self, recipe: Recipe, jobs: Jobs) -> None:
        self._recipe = recipe
        self._jobs = jobs
        self._live_until = float("-inf")

    def saw_live(self, now: float) -> None:
        """There is a live job in the lane."""
        self._live_until = now + LIVE_SECONDS

    def newcomers(self, seat: Seat, now: float) -> Collection[Ticket]:
        """Those of the jobs without a seat that this one may take."""
        homeless: Collection[Ticket] = self._jobs.homeless.values()
        gathering = self._gathering(seat)
        if gathering is not None:
            homeless = [ticket for ticket in homeless if ticket.kind is not gathering]
        if not self._holds(now):
            return homeless
        if self._all_but_this_work_in_background(seat):
            return [ticket for ticket in homeless if ticket.kind.live]
        if self._another_is_free(seat):
            return homeless
        return [t for t in homeless if t.kind.live or _due(t) <= now]

    def worth_a_seat(self, now: float) -> bool:
        """Whether a job waits that could take a seat if one came free now."""
        seats = sum(bool(seat.background) for seat in self._jobs.seats)
        background = not self._holds(now) or seats < self._recipe.workers - 1
        return any(
            t.kind.live or (background and (not self._holds(now) or _due(t) <= now))
            for t in self._jobs.homeless.values()
        )

    def next_change(self, now: float) -> float | None:
        """When time alone may let a job board that may not now; None: no job waits for that."""
        held = [ticket for ticket in self._jobs.homeless.values() if not ticket.kind.live]
        if not held or not self._holds(now):
            return None
        return min([self._live_until, *(due for due in map(_due, held) if due > now)])

    def _holds(self, now: float) -> bool:
        return self._recipe.workers > 1 and now < self._live_until

    def _gathering(self, seat: Seat) -> JobClass | None:
        """The class whose jobs wait for each other, as those before them still run elsewhere."""
        full = self._recipe.full_batch
        if full is None or self._recipe.workers == 1:
            return None
        running = Counter(each.step_kind for each in self._jobs.seats if each is not seat)
        waiting = Counter(ticket.kind for ticket in self._jobs.homeless.values())
        behind = [JobClass.PARTIAL]
        if waiting[JobClass.PARTIAL] >= full:
            behind.append(JobClass.FINAL)
        for kind in behind:
            if running[kind] >= self._recipe.workers - 1 and waiting[kind] < full:
                return kind
        return None

    def _all_but_this_work_in_background(self, seat: Seat) -> bool:
        others = sum(bool(each.background) for each in self._jobs.seats if each is not seat)
        return others >= self._recipe.workers - 1

    def _another_is_free(self, seat: Seat) -> bool:
        if len(self._jobs.seats) < self._recipe.workers:
            return True
        others = (each for each in self._jobs.seats if each is not seat and each.alive)
        return any(each.has_room(self._recipe, live=True) for each in others)


def _due(ticket: Ticket) -> float:
    return ticket.waiting_since + URGENCY[ticket.kind]
