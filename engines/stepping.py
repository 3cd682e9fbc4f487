"""A seat's life: start its worker, choose who steps, step, deliver, and mend what breaks."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from engines.admission import Admission
from engines.base import EngineError, Outcome, Recipe, Work, WorkerCrashed
from engines.devices import Device
from engines.fairness import Fairness
from engines.jobs import Jobs, Seat
from engines.reservation import Reservation
from engines.statistics import LaneStatistics
from engines.tickets import Ticket
from engines.workers import WorkerDied

log = logging.getLogger(__name__)

INPUTS_PER_STEP = 64
"""Most inputs one job takes into one step, so that a step stays short."""

TRIES = 2
"""How often a job may run into the death of its worker."""

RESTART_SECONDS = 1.0
"""Pause after a worker that could not start, so that a broken model does not spin."""

OBSERVE_SECONDS = 0.25
"""Least time between two looks at the lane's load."""


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What one lane is made of."""

    recipe: Recipe
    device: Device
    jobs: Jobs
    fairness: Fairness
    reservation: Reservation
    admission: Admission
    statistics: LaneStatistics


class Stepping:
    """Runs the seats of one lane.

    `find_seat` finds seats for the jobs that have none; `later` calls something after seconds.
    """

    def __init__(
        self,
        parts: LaneParts,
        find_seat: Callable[[], None],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._recipe, self._device, self._jobs = parts.recipe, parts.device, parts.jobs
        self._fairness, self._reservation = parts.fairness, parts.reservation
        self._admission, self._statistics = parts.admission, parts.statistics
        self._find_seat = find_seat
        self._later = later
        self._observe_at = float("-inf")

    async def serve(self, seat: Seat) -> None:
        """Run one seat until cancelled."""
        while True:
            seat.wake.clear()
            if not seat.alive:
                await self._start(seat)
            elif any(True for _ in self._ready(seat)):
                await self._turn(seat)
            elif seat.drops:
                await self._step(seat, [])
            else:
                self._wake_for_the_withheld()
                await seat.wake.wait()

    def _wake_for_the_withheld(self) -> None:
        change = self._reservation.next_change(_now())
        if change is not None:
            self._later(change - _now(), self._find_seat)

    async def _start(self, seat: Seat) -> None:
        try:
            await seat.worker.start()
        except EngineError as error:
            if isinstance(error, WorkerDied):
                seat.deaths += 1
                self._statistics.crashed()
            if 0 < seat.deaths < TRIES:
                return  # killed while it started, as it may be while it works: try again
            log.error("model %s did not start: %s", self._recipe.name, error)
            seat.settle(error)
            if not any(each.alive for each in self._jobs.seats):
                for ticket in list(self._jobs.live.values()):
                    ticket.close(error)
            await asyncio.sleep(RESTART_SECONDS)
            if not self._jobs.live:
                await seat.wake.wait()
        else:
            seat.alive, seat.deaths = True, 0
            seat.settle(None)

    def _ready(self, seat: Seat) -> Iterator[Ticket]:
        """The jobs this seat could step now, in no order."""
        yield from seat.ready.values()
        anyone = self._recipe.slots is None or seat.has_room(self._recipe, live=False)
        if anyone or seat.has_room(self._recipe, live=True):
            for ticket in self._reservation.newcomers(seat, _now()):
                if anyone or ticket.kind.live:
                    yield ticket

    async def _turn(self, seat: Seat) -> None:
        def most_urgent() -> float:
            return min(map(self._fairness.deadline, self._ready(seat)), default=float("inf"))

        if (early := seat.stepped_at + self._tick(seat) - _now()) > 0:
            await asyncio.sleep(early)
        async with self._device.grant(self._recipe.cores, most_urgent):
            # What is ready is asked again: it may have changed, or gone, while the device was busy.
            fitting = self._fitting(seat)
            chosen = self._recipe.select(fitting) if fitting else ()
            if chosen:
                await self._step(seat, _apart([e for e in chosen if isinstance(e, Ticket)]))

    def _tick(self, seat: Seat) -> float:
        ticks = self._recipe.ticks
        if not ticks:
            return 0.0
        # Also those that wait for their next input: it may come before the tick is over.
        kinds = {ticket.kind for ticket in seat.jobs.values()}
        return ticks.get(min(kinds.union(ticket.kind for ticket in self._ready(seat))), 0.0)

    def _fitting(self, seat: Seat) -> list[Ticket]:
        """The jobs of the next step, as many as there are slots for, the most urgent first."""
        ready = sorted(self._ready(seat), key=lambda t: (self._fairness.deadline(t), t.job))
        if self._recipe.slots is None:
            return ready
        free = seat.places(self._recipe, live=True)
        common = seat.places(self._recipe, live=False)
        fitting = []
        for ticket in ready:
            if ticket.job not in seat.jobs:
                if not (free if ticket.kind.live else min(free, common)):
                    continue
                free -= 1
                common -= not ticket.kind.live
            fitting.append(ticket)
        return fitting

    async def _step(self, seat: Seat, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            self._board(seat, ticket)
        work = [self._work(ticket) for ticket in tickets]
        drops, seat.drops = seat.drops, []
        seat.step_began = seat.stepped_at = _now()
        seat.step_kind = min((ticket.kind for ticket in tickets), default=None)
        if self._jobs.homeless:
            self._find_seat()
        try:
            await self._attempt(seat, tickets, work, drops)
        except WorkerDied:
            self._lose(seat, tickets)
        except EngineError as error:
            await self._isolate(seat, tickets, work, error)
        finally:
            seat.step_began = seat.step_kind = None
            for ticket in tickets:
                ticket.running = False
                self._jobs.place(ticket)
        if any(ticket.kind.live for ticket in tickets):
            self._reservation.saw_live(_now())
        self._observe()
        if self._jobs.homeless:
            self._find_seat()

    def _observe(self) -> None:
        now = _now()
        if now >= self._observe_at:
            self._observe_at = now + OBSERVE_SECONDS
            self._admission.observe(now)

    def _board(self, seat: Seat, ticket: Ticket) -> None:
        now = _now()
        if not ticket.started:
            self._statistics.waited(ticket.kind, now - ticket.waiting_since, now)
            ticket.cancel_expiry()
        ticket.started = True
        ticket.running = True
        self._jobs.board(ticket, seat)

    def _work(self, ticket: Ticket) -> Work:
        inputs = ticket.take(INPUTS_PER_STEP, keep=self._recipe.replay)
        progress = tuple(ticket.progress) if ticket.resumes else ()
        ticket.resumes = False
        return Work(ticket.job, ticket.payload, inputs, ticket.ended, progress, ticket.kind)

    async def _attempt(
        self, seat: Seat, tickets: Sequence[Ticket], work: Sequence[Work], drops: Sequence[int]
    ) -> None:
        began = _now()
        try:
            outcomes = await seat.worker.step(work, drops)
        finally:
            now = _now()
            self._fairness.charge(tickets, self._jobs.waiting.values(), now - began, now)
        kinds = Counter(ticket.kind for ticket in tickets)
        self._statistics.stepped(now - began, kinds)
        share = (now - began) / max(1, len(tickets))
        for ticket in tickets:
            ticket.suspect = False
            ticket.served += share
        for kind in {ticket.kind for ticket in tickets if ticket.request.streaming}:
            self._statistics.served(kind, share)
        self._deliver(seat, outcomes)

    def _deliver(self, seat: Seat, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            ticket = self._jobs.live.get(outcome.job)
            if not outcome.done and (ticket is None or outcome.error is not None):
                seat.drops.append(outcome.job)  # cancelled while the step ran, or failed
            if ticket is None:
                continue
            ticket.waiting_since = _now()
            ticket.progress += outcome.progress
            if outcome.done and not ticket.request.streaming:
                self._statistics.served(ticket.kind, ticket.served)
            ticket.deliver(outcome.events, done=outcome.done, error=outcome.error)

    # When a step fails

    async def _isolate(
        self, seat: Seat, tickets: Sequence[Ticket], work: Sequence[Work], error: EngineError
    ) -> None:
        """A step raised: the poisoned job fails alone, its neighbours are tried one by one."""
        if len(tickets) <= 1:
            log.warning("a request to model %s failed: %s", self._recipe.name, error)
            for ticket in tickets:
                ticket.close(error)
                seat.drops.append(ticket.job)
            return
        for ticket, alone in zip(tickets, work, strict=True):
            if not seat.alive:
                return
            if ticket.over:
                seat.drops.append(ticket.job)
                continue
            try:
                await self._attempt(seat, [ticket], [alone], ())
            except WorkerDied:
                self._lose(seat, [ticket])
            except EngineError as cause:
                await self._isolate(seat, [ticket], [alone], cause)
            ticket.running = False  # who cancels it from now on has it dropped

    def _can_go_on(self, ticket: Ticket) -> bool:
        """Whether another worker could do the job without telling its reader anything twice."""
        if ticket.request.streaming:
            return self._recipe.replay
        return bool(ticket.progress) or not ticket.told

    def _lose(self, seat: Seat, stepped: Sequence[Ticket]) -> None:
        """The worker died: its jobs go on elsewhere, from their progress or from their first input.
        Those that it stepped do so once, alone at first; then they fail."""
        log.warning("a worker of model %s died and is started again", self._recipe.name)
        for ticket in stepped:
            ticket.tries += 1
            ticket.suspect = True
        self._statistics.crashed()
        seat.alive = False
        seat.drops.clear()
        for ticket in list(seat.jobs.values()):
            self._jobs.leave(ticket)
            ticket.running = False
            if ticket.tries >= TRIES or not self._can_go_on(ticket):
                ticket.close(WorkerCrashed("The process that worked on this request died."))
            elif self._jobs.queued(ticket.request.coalesce) is not None:
                ticket.close(outcome="coalesced")
            else:
                ticket.rewind()
                self._jobs.place(ticket)
                ticket.waiting_since = _now()


def _apart(chosen: Sequence[Ticket]) -> Sequence[Ticket]:
    """Those of them that share the next step: a job that may have killed a worker steps alone, so
    that it takes nobody with it if it does so again."""
    if chosen[0].suspect:
        return chosen[:1]
    return [ticket for ticket in chosen if not ticket.suspect]


def _now() -> float:
    return asyncio.get_running_loop().time()
