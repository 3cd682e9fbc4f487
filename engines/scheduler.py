"""The shared scheduler: one lane per loaded model, the most urgent work of all sessions first.

A lane has seats, each a worker with one engine and one task. A seat's task takes the ready jobs
in the order of their deadlines, lets the engine's `select` say which can share a step, waits for
the device's grant, steps, and delivers. Batches come from being busy, never from waiting.
"""

import asyncio
import itertools
import logging
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from engines.base import Busy, EngineError, JobClass, Outcome, Recipe, Work, WorkerCrashed
from engines.devices import Device
from engines.statistics import LaneStatistics, SchedulerMetrics
from engines.tickets import Request, Ticket
from engines.workers import Worker, WorkerDied, worker_for

log = logging.getLogger(__name__)

CAPACITY = 1024
"""Most jobs alive in a lane whose recipe does not say."""

INPUTS_PER_STEP = 64
"""Most inputs one job takes into one step, so that a step stays short."""

TRIES = 2
"""How often a job may run into the death of its worker."""

IDLE_SEAT_SECONDS = 3.0
"""How long a job without new input keeps its place in a full engine while others wait."""

RESTART_SECONDS = 1.0
"""Pause after a worker that could not start, so that a broken model does not spin."""


class Scheduler:
    """All lanes of this process, over one device."""

    def __init__(self, device: Device, metrics: SchedulerMetrics | None = None) -> None:
        self.device = device
        self._metrics = metrics or SchedulerMetrics()
        self._lanes: dict[str, Lane] = {}

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
        """Close one lane, or all: their jobs end, their engines are freed."""
        lanes = [lane] if lane else list(self._lanes.values())
        for each in lanes:
            self._lanes.pop(each.recipe.name, None)
        await asyncio.gather(*(each.close() for each in lanes))


class _Seat:
    """One worker and the jobs that live in its engine."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.wake = asyncio.Event()
        self.settled = asyncio.Event()
        self.alive = False
        self.stepping = False
        self.deaths = 0
        """How often in a row its worker died before it had started."""
        self.failure: EngineError | None = None
        self.jobs: dict[int, Ticket] = {}
        self.drops: list[int] = []
        self.task: asyncio.Task[None] | None = None


class Lane:
    """The queue of one model."""

    def __init__(self, recipe: Recipe, device: Device, statistics: LaneStatistics) -> None:
        self.recipe = recipe
        self._device = device
        self._statistics = statistics
        self._numbers = itertools.count()
        self._jobs: dict[int, Ticket] = {}
        self._homes: dict[int, _Seat] = {}
        self._seats: list[_Seat] = []
        self._closed = False
        self._eviction: asyncio.TimerHandle | None = None

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The workers that were started."""
        return tuple(seat.worker for seat in self._seats)

    @property
    def live(self) -> int:
        """Jobs that are not over."""
        return len(self._jobs)

    async def start(self) -> None:
        """Start one worker now. Raises the `EngineError` that kept the model from loading."""
        seat = self._seats[0] if self._seats else self._grow()
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
    ) -> Ticket:
        """Queue a job. Raises `Busy` when the lane is full, `EngineError` when it is closed."""
        if self._closed:
            raise EngineError(f"the model '{self.recipe.name}' is being unloaded")
        if coalesce is not None:
            self._supersede(coalesce)
        capacity = self.recipe.capacity or CAPACITY
        if len(self._jobs) >= capacity:
            self._statistics.ended("refused")
            raise Busy(
                f"The model '{self.recipe.name}' is busy with {capacity} requests, the most it "
                "takes at once. Try again in a moment."
            )
        request = Request(payload, kind, owner, streaming, coalesce)
        ticket = Ticket(next(self._numbers), request, self._now(), self._changed)
        self._jobs[ticket.job] = ticket
        self._changed(ticket)
        return ticket

    async def close(self) -> None:
        """End all jobs and free the engines."""
        self._closed = True
        if self._eviction is not None:
            self._eviction.cancel()
        for ticket in list(self._jobs.values()):
            ticket.close(EngineError(f"the model '{self.recipe.name}' was unloaded"))
        tasks = [seat.task for seat in self._seats if seat.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(seat.worker.close() for seat in self._seats))
        self._seats.clear()

    def _supersede(self, key: Hashable) -> None:
        for ticket in list(self._jobs.values()):
            if ticket.request.coalesce == key and not ticket.started:
                ticket.cancel()

    # When a ticket changes

    def _changed(self, ticket: Ticket) -> None:
        """A ticket got work, room for results, or came to its end."""
        if ticket.over:
            self._forget(ticket)
        elif ticket.runnable:
            if ticket.inputs <= 1:  # it did not wait for a step until now
                ticket.waiting_since = self._now()
            home = self._homes.get(ticket.job)
            if home is not None:
                home.wake.set()
            else:
                self._find_seat()

    def _forget(self, ticket: Ticket) -> None:
        if self._jobs.pop(ticket.job, None) is None:
            return
        self._statistics.ended(ticket.outcome)
        seat = self._leave(ticket)
        if seat is not None and not ticket.running:
            seat.drops.append(ticket.job)
            seat.wake.set()

    def _leave(self, ticket: Ticket) -> _Seat | None:
        seat = self._homes.pop(ticket.job, None)
        if seat is not None:
            del seat.jobs[ticket.job]
        return seat

    def _find_seat(self) -> None:
        """Wake the seats that could take a job; start another, or make room, if none can."""
        if self._closed:
            return
        free = [seat for seat in self._seats if self._has_room(seat)]
        for seat in free:
            seat.wake.set()
        if free:
            return
        if len(self._seats) < self.recipe.workers:
            self._grow()
        elif self.recipe.replay and self._eviction is None:
            loop = asyncio.get_running_loop()
            self._eviction = loop.call_later(IDLE_SEAT_SECONDS, self._evict)

    def _has_room(self, seat: _Seat) -> bool:
        if self.recipe.slots is not None:
            return len(seat.jobs) < self.recipe.slots
        return not seat.stepping

    def _grow(self) -> _Seat:
        seat = _Seat(worker_for(self.recipe))
        seat.task = asyncio.create_task(self._run(seat), name=f"lane {self.recipe.name}")
        self._seats.append(seat)
        return seat

    def _evict(self) -> None:
        """The engines are full: a job whose input has stopped gives its place to one that waits."""
        self._eviction = None
        if self._closed or not any(self._homeless()):
            return
        limit = self._now() - IDLE_SEAT_SECONDS
        idle = [
            ticket
            for ticket in self._jobs.values()
            if ticket.job in self._homes
            and not (ticket.running or ticket.runnable)
            and ticket.waiting_since <= limit
        ]
        if idle:
            ticket = min(idle, key=lambda each: each.waiting_since)
            seat = self._leave(ticket)
            assert seat is not None
            seat.drops.append(ticket.job)
            ticket.park()
        self._find_seat()

    def _homeless(self) -> Iterator[Ticket]:
        return (t for t in self._jobs.values() if t.runnable and t.job not in self._homes)

    # One seat's life

    async def _run(self, seat: _Seat) -> None:
        try:
            await self._serve(seat)
        except Exception as error:  # a border: a fault of ours must not leave its jobs waiting
            log.exception("the lane %s failed", self.recipe.name)
            self._closed = True
            for ticket in list(self._jobs.values()):
                ticket.close(EngineError(f"the lane failed: {error}"))

    async def _serve(self, seat: _Seat) -> None:
        while True:
            seat.wake.clear()
            if not seat.alive:
                await self._start(seat)
            elif self._ready(seat):
                await self._turn(seat)
            elif seat.drops:
                await self._step(seat, [])
            else:
                await seat.wake.wait()

    async def _start(self, seat: _Seat) -> None:
        try:
            await seat.worker.start()
        except EngineError as error:
            if isinstance(error, WorkerDied):
                seat.deaths += 1
                self._statistics.crashed()
            if 0 < seat.deaths < TRIES:
                return  # killed while it started, as it may be while it works: try again
            log.error("model %s did not start: %s", self.recipe.name, error)
            seat.failure = error
            seat.settled.set()
            if not any(each.alive for each in self._seats):
                for ticket in list(self._jobs.values()):
                    ticket.close(error)
            await asyncio.sleep(RESTART_SECONDS)
            if not self._jobs:
                await seat.wake.wait()
        else:
            seat.alive, seat.failure, seat.deaths = True, None, 0
            seat.settled.set()

    def _ready(self, seat: _Seat) -> list[Ticket]:
        ready = [
            ticket
            for job, ticket in self._jobs.items()
            if ticket.runnable and self._homes.get(job, seat) is seat
        ]
        if self.recipe.slots is not None and len(seat.jobs) >= self.recipe.slots:
            ready = [ticket for ticket in ready if ticket.job in seat.jobs]
        ready.sort(key=_deadline)
        return ready

    async def _turn(self, seat: _Seat) -> None:
        def most_urgent() -> float:
            return min(map(_deadline, self._ready(seat)), default=float("inf"))

        async with self._device.grant(self.recipe.cores, most_urgent):
            # What is ready is asked again: it may have changed while the device was busy.
            chosen = self.recipe.select(self._fitting(seat))
            if chosen:
                await self._step(seat, [each for each in chosen if isinstance(each, Ticket)])

    def _fitting(self, seat: _Seat) -> list[Ticket]:
        ready = self._ready(seat)
        if self.recipe.slots is None:
            return ready
        room = self.recipe.slots - len(seat.jobs)
        newcomers = [ticket.job for ticket in ready if ticket.job not in seat.jobs][room:]
        return [ticket for ticket in ready if ticket.job not in newcomers]

    async def _step(self, seat: _Seat, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            self._board(seat, ticket)
        work = [self._work(ticket) for ticket in tickets]
        drops, seat.drops = seat.drops, []
        began = self._now()
        seat.stepping = True
        try:
            outcomes = await seat.worker.step(work, drops)
        except WorkerDied:
            self._lose(seat)
        except EngineError as error:
            await self._isolate(seat, tickets, work, error)
        else:
            self._statistics.stepped(self._now() - began, len(work))
            self._deliver(seat, outcomes)
        finally:
            seat.stepping = False
            for ticket in tickets:
                ticket.running = False
        if any(self._homeless()):
            self._find_seat()

    def _board(self, seat: _Seat, ticket: Ticket) -> None:
        if not ticket.started:
            self._statistics.waited(ticket.kind, self._now() - ticket.waiting_since)
        ticket.started = True
        ticket.running = True
        self._homes[ticket.job] = seat
        seat.jobs[ticket.job] = ticket

    def _work(self, ticket: Ticket) -> Work:
        inputs = ticket.take(INPUTS_PER_STEP, keep=self.recipe.replay)
        return Work(ticket.job, ticket.payload, inputs, ticket.ended)

    def _deliver(self, seat: _Seat, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            ticket = self._jobs.get(outcome.job)
            if not outcome.done and (ticket is None or outcome.error is not None):
                seat.drops.append(outcome.job)  # cancelled while the step ran, or failed
            if ticket is not None:
                ticket.waiting_since = self._now()
                ticket.deliver(outcome.events, done=outcome.done, error=outcome.error)

    # When a step fails

    async def _isolate(
        self, seat: _Seat, tickets: Sequence[Ticket], work: Sequence[Work], error: EngineError
    ) -> None:
        """A step raised: the poisoned job fails alone, its neighbours are tried one by one."""
        if len(tickets) <= 1:
            log.warning("a request to model %s failed: %s", self.recipe.name, error)
            for ticket in tickets:
                ticket.close(error)
                seat.drops.append(ticket.job)
            return
        for ticket, alone in zip(tickets, work, strict=True):
            if ticket.over or not seat.alive:
                continue
            try:
                self._deliver(seat, await seat.worker.step([alone], ()))
            except WorkerDied:
                self._lose(seat)
            except EngineError as cause:
                await self._isolate(seat, [ticket], [alone], cause)

    def _lose(self, seat: _Seat) -> None:
        """The worker died: its jobs start again from their first input, once; then they fail."""
        log.warning("a worker of model %s died and is started again", self.recipe.name)
        self._statistics.crashed()
        seat.alive = False
        seat.drops.clear()
        for ticket in list(seat.jobs.values()):
            self._leave(ticket)
            ticket.running = False
            ticket.tries += 1
            if ticket.tries >= TRIES or (ticket.request.streaming and not self.recipe.replay):
                ticket.close(WorkerCrashed("The process that worked on this request died."))
            else:
                ticket.rewind()
                ticket.waiting_since = self._now()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _deadline(ticket: Ticket) -> float:
    return ticket.deadline
