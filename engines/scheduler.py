"""The shared scheduler: one lane per loaded model, the most urgent work of all sessions first.

A lane has seats, each a worker with one engine and one task. A seat's task takes the ready jobs
in the order of their deadlines, lets the engine's `select` say which can share a step, waits for
the device's grant, steps, and delivers. Batches come from being busy, never from waiting.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from engines.admission import Admission
from engines.base import Busy, EngineError, JobClass, Recipe
from engines.devices import Device
from engines.fairness import Fairness
from engines.jobs import Jobs, Seat
from engines.reservation import Reservation
from engines.statistics import LaneSnapshot, LaneStatistics, SchedulerMetrics
from engines.stepping import RESTART_SECONDS, LaneParts, Stepping
from engines.tickets import Request, Ticket
from engines.workers import Worker, worker_for

log = logging.getLogger(__name__)

CAPACITY = 1024
"""Most jobs alive in a lane whose recipe does not say."""

IDLE_SEAT_SECONDS = 3.0
"""How long a job without new input keeps its place in a full engine while others wait."""


REVIEW_SECONDS = 1.0
"""How often queued jobs are offered to `Lane.offload`."""


class Scheduler:
    """All lanes of this process, over one device."""

    def __init__(self, device: Device, metrics: SchedulerMetrics | None = None) -> None:
        self.device = device
        self._metrics = metrics or SchedulerMetrics()
        self._lanes: dict[str, Lane] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def lanes(self) -> Sequence["Lane"]:
        """The open lanes."""
        return tuple(self._lanes.values())

    def open(self, recipe: Recipe) -> "Lane":
        """A lane for one model. Its workers start with the first job, or with `Lane.start`."""
        assert recipe.name not in self._lanes, "a lane's name is unique"
        lane = Lane(recipe, self.device, self._metrics.lane(recipe.name))
        self._lanes[recipe.name] = lane
        return lane

    async def close(self, lane: "Lane | None" = None) -> None:
        """Close one lane, or all: their jobs end, their engines are freed. It is done even if
        nobody waits for it any more."""
        for each in [lane] if lane else self.lanes:
            self._lanes.pop(each.recipe.name, None)
            closing = asyncio.create_task(each.close(), name=f"close {each.recipe.name}")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        if lane:
            await asyncio.shield(closing)
        else:
            await asyncio.gather(*self._closing)


class Lane:
    """The queue of one model."""

    def __init__(self, recipe: Recipe, device: Device, statistics: LaneStatistics) -> None:
        self.recipe = recipe
        self.offload: Callable[[Ticket], bool] | None = None
        """Asked before a job is refused, and for queued jobs that wait too long. True: it took the
        ticket over and will `deliver` its results; the lane has forgotten it."""
        self._device = device
        self._statistics = statistics
        self._numbers = itertools.count()
        self._jobs = jobs = Jobs()
        self._fairness = fairness = Fairness()
        self._reservation = reservation = Reservation(recipe, jobs)
        self._admission = admission = Admission(recipe, device, jobs, fairness, statistics.load)
        parts = LaneParts(recipe, device, jobs, fairness, reservation, admission, statistics)
        self._stepping = Stepping(parts, self._find_seat, self._later)
        self._closed = False
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        if recipe.cores:
            device.join(admission, lambda due: admission.work_before(due, self._now()))

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The workers that were started."""
        return tuple(seat.worker for seat in self._jobs.seats)

    @property
    def live(self) -> int:
        """Jobs that are not over."""
        return len(self._jobs.live)

    @property
    def memory(self) -> int | None:
        """The most bytes that its worker processes have held; None where they are threads."""
        known = [seat.worker.memory for seat in self._jobs.seats]
        return sum(each or 0 for each in known) if any(known) else None

    def statistics(self) -> LaneSnapshot:
        """What the lane measured until now."""
        load = self._statistics.load
        return LaneSnapshot(
            live=self.live,
            waiting=len(self._jobs.waiting),
            running=sum(ticket.running for ticket in self._jobs.live.values()),
            mean_batch=self._statistics.mean_batch,
            service=load.service,
            waits=load.waits,
            counters=dict(self._statistics.counters),
        )

    def predicted_wait(self, kind: JobClass) -> float:
        """Seconds until a new job of this class would start, going by measured service."""
        return self._admission.predicted_wait(kind, self._now())

    def admit(self) -> None:
        """Raise `Busy` when the lane could not keep up with one more live session."""
        refusal = self._admission.overload(self._now())
        if refusal is not None:
            raise refusal

    async def start(self) -> None:
        """Start one worker now. Raises the `EngineError` that kept the model from loading."""
        seat = self._jobs.seats[0] if self._jobs.seats else self._grow()
        if seat.failure is not None:
            seat.settled.clear()
            seat.wake.set()
        await seat.settled.wait()
        if seat.failure is not None:
            raise seat.failure

    def submit(
        self,
        payload: Any,
        *,
        owner: str,
        kind: JobClass = JobClass.REST,
        streaming: bool = False,
        coalesce: Hashable | None = None,
        stale_after: float | None = None,
    ) -> Ticket:
        """Queue a job. Raises `Busy` when it could not be done in time, `EngineError` when the
        lane is closed.

        It takes the place of a queued job with the same `coalesce` key. Unless it is a FINAL, it
        ends without results when it has not started after `stale_after` seconds.
        """
        if self._closed:
            raise EngineError(f"the model '{self.recipe.name}' is being unloaded")
        request = Request(payload, kind, owner, streaming, coalesce)
        ticket = Ticket(next(self._numbers), request, self._now(), self._changed)
        older = None if coalesce is None else self._jobs.queued(coalesce)
        if older is not None:
            older.close(outcome="coalesced")
        else:
            refusal = self._full() or self._admission.refusal(kind, self._now())
            if refusal is not None:
                return self._refuse(ticket, refusal)
        self._jobs.add(ticket)
        self._changed(ticket)
        if older is not None:
            ticket.waiting_since = older.waiting_since
        if stale_after is not None:
            loop = asyncio.get_running_loop()
            ticket.expiry = loop.call_later(stale_after, self._expire, ticket)
        return ticket

    async def close(self) -> None:
        """End all jobs and free the engines."""
        self._closed = True
        self._device.leave(self._admission)
        for timer in self._timers.values():
            timer.cancel()
        for ticket in list(self._jobs.live.values()):
            ticket.close(self._unloaded())
        seats = self._jobs.seats
        tasks = [seat.task for seat in seats if seat.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for seat in seats:
            seat.settle(self._unloaded())
        await asyncio.gather(*(self._free(seat.worker) for seat in seats))
        seats.clear()

    def _unloaded(self) -> EngineError:
        return EngineError(f"the model '{self.recipe.name}' was unloaded")

    # What is not done here

    def _full(self) -> Busy | None:
        capacity = self.recipe.capacity or CAPACITY
        if self.live < capacity:
            return None
        return Busy(
            f"The model '{self.recipe.name}' is busy with {capacity} requests, the most it "
            "takes at once. Try again in a moment."
        )

    def _refuse(self, ticket: Ticket, refusal: Busy) -> Ticket:
        if self._hand_over(ticket):
            return ticket
        self._statistics.ended(ticket.kind, "refused")
        raise refusal

    def _hand_over(self, ticket: Ticket) -> bool:
        if self.offload is None or not self.offload(ticket):
            return False
        self._statistics.ended(ticket.kind, "offloaded")
        return True

    def _review(self) -> None:
        """Offer the jobs that wait too long to whoever may take them over."""
        for ticket in self._admission.late(self._now()):
            if self._hand_over(ticket):
                self._jobs.remove(ticket)
                ticket.cancel_expiry()
        if not all(ticket.kind.live for ticket in self._jobs.homeless.values()):
            self._later(REVIEW_SECONDS, self._review)

    def _expire(self, ticket: Ticket) -> None:
        if ticket.started or ticket.kind is JobClass.FINAL:
            return
        now = self._now()
        # It counts as what it would have waited: lanes that are too slow must not look fast
        # because only their quickest jobs are measured.
        ahead = self._admission.wait_behind(self._fairness.deadline(ticket), now)
        self._statistics.load.waited(ticket.kind, now - ticket.waiting_since + ahead, now)
        ticket.close(outcome="stale")

    # When a ticket changes

    def _changed(self, ticket: Ticket) -> None:
        """A ticket got work, room for results, or came to its end."""
        if ticket.job not in self._jobs.live:
            return
        if ticket.over:
            self._forget(ticket)
            return
        if self._jobs.place(ticket):
            ticket.waiting_since = self._now()
        if not ticket.runnable:
            return
        if ticket.kind.live:
            self._reservation.saw_live(self._now())
        home = self._jobs.home(ticket)
        if home is not None:
            home.wake.set()
            return
        self._find_seat()
        if self.offload is not None and not ticket.kind.live:
            self._later(REVIEW_SECONDS, self._review)

    def _forget(self, ticket: Ticket) -> None:
        ticket.cancel_expiry()
        self._statistics.ended(ticket.kind, ticket.outcome)
        seat = self._jobs.remove(ticket)
        if seat is not None and not ticket.running:
            seat.drops.append(ticket.job)
            seat.wake.set()

    def _find_seat(self) -> None:
        """Wake the seats that could take a job; start another, or make room, if none can."""
        if self._closed:
            return
        seats = self._jobs.seats
        short = False
        for live in {ticket.kind.live for ticket in self._jobs.homeless.values()}:
            free = [seat for seat in seats if seat.has_room(self.recipe, live=live)]
            for seat in free:
                seat.wake.set()
            short = short or not free
        if not short:
            return
        if len(seats) < self.recipe.workers:
            self._grow()
        elif self.recipe.replay:
            self._later(IDLE_SEAT_SECONDS, self._evict)

    def _grow(self) -> Seat:
        seat = Seat(worker_for(self.recipe))
        seat.task = asyncio.create_task(self._run(seat), name=f"lane {self.recipe.name}")
        self._jobs.seats.append(seat)
        return seat

    def _evict(self) -> None:
        """The engines are full: a job whose input has stopped gives its place to one that waits."""
        if not self._jobs.homeless:
            return
        if self._reservation.worth_a_seat(self._now()):
            limit = self._now() - IDLE_SEAT_SECONDS
            live = any(ticket.kind.live for ticket in self._jobs.homeless.values())
            idle = [
                ticket
                for seat in self._jobs.seats
                for ticket in seat.jobs.values()
                if not (ticket.running or ticket.runnable)
                and ticket.waiting_since <= limit
                and seat.can_replace(ticket.job, self.recipe, live=live)
            ]
            if idle:
                ticket = min(idle, key=lambda each: each.waiting_since)
                seat = self._jobs.leave(ticket)
                assert seat is not None
                seat.drops.append(ticket.job)
                ticket.park()
        self._find_seat()

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do it once after so long; it is not asked for again before."""
        if self._closed or act in self._timers:
            return

        def ring() -> None:
            del self._timers[act]
            act()

        self._timers[act] = asyncio.get_running_loop().call_later(seconds, ring)

    async def _run(self, seat: Seat) -> None:
        while True:
            try:
                await self._stepping.serve(seat)
            except Exception as error:  # a border: a fault of ours must not leave its jobs waiting
                log.exception("the lane %s failed", self.recipe.name)
                seat.settle(EngineError(f"the lane failed: {error}"))
                for ticket in list(self._jobs.live.values()):
                    ticket.close(EngineError(f"the lane failed: {error}"))
                await self._renew(seat)

    async def _renew(self, seat: Seat) -> None:
        """Another worker for a seat whose own may be in any state."""
        former, seat.worker = seat.worker, worker_for(self.recipe)
        seat.alive = False
        seat.drops.clear()
        await self._free(former)
        await asyncio.sleep(RESTART_SECONDS)

    async def _free(self, worker: Worker) -> None:
        try:
            await worker.close()
        except Exception:  # a border: an engine that cannot be freed is given up
            log.exception("an engine of model %s could not be freed", self.recipe.name)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
