"""Lanes on virtual time: engines whose steps take as long as they say, and log what they did."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from engines.base import EngineError, Outcome, Recipe, Waiting, Work
from engines.devices import Device
from engines.scheduler import Scheduler
from engines.statistics import SchedulerMetrics
from engines.tickets import Ticket
from engines.workers import InlineWorker, WorkerDied


@dataclass(frozen=True)
class Task:
    """What a paced engine is asked: it answers every step with the name."""

    name: str
    steps: int = 1
    group: str = ""
    seconds: float = 0.0
    """On top of what the step takes anyway."""
    fault: str = ""
    """`poison` fails its step, `kill` kills the worker, `die` only the first time that the job is
    stepped there."""


@dataclass
class Meter:
    """Counts the cores that steps hold at the same time, over all lanes that share it."""

    held: int = 0
    most: int = 0

    def take(self, cores: int) -> None:
        self.held += cores
        self.most = max(self.most, self.held)


@dataclass
class Paced:
    """An engine that batches, and that keeps jobs of many steps, like a language model's.

    A step takes `base` seconds and `each` more for every job in it.
    """

    base: float = 1.0
    each: float = 0.0
    meter: Meter = field(default_factory=Meter)
    log: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    """When each step began, and whom it stepped."""
    done: Counter[int] = field(default_factory=Counter)
    """Steps of the jobs that the engine still knows."""
    stepped: set[int] = field(default_factory=set)
    """Jobs in a step now, of all workers."""
    dropped: list[int] = field(default_factory=list)
    starts: list[EngineError | None] = field(default_factory=list)
    """What the next starts fail with, the last first; each takes as long as a step."""
    running: set[object] = field(default_factory=set)
    """Its workers; who is taken out is dead, which is noticed in its step."""

    @property
    def order(self) -> list[tuple[str, ...]]:
        return [names for _, names in self.log]

    def seconds(self, work: Sequence[Work]) -> float:
        tasks = [each.payload for each in work if isinstance(each.payload, Task)]
        return self.base + self.each * len(work) + sum(task.seconds for task in tasks)

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        if any(isinstance(w.payload, Task) and w.payload.fault == "poison" for w in work):
            raise ValueError("poisoned")
        return [self._one(each) for each in work]

    def _one(self, work: Work) -> Outcome:
        self.done[work.job] += 1
        task = work.payload
        if isinstance(task, Task) and task.steps > self.done[work.job]:
            return Outcome(work.job, (task.name,))
        if work.ended:
            del self.done[work.job]
        answer = (task.name,) if isinstance(task, Task) else work.inputs
        return Outcome(work.job, answer, done=work.ended)

    def drop(self, job: int) -> None:
        self.dropped.append(job)
        self.lose(job)

    def lose(self, job: int) -> None:
        """The worker that kept the job's state is gone."""
        self.done.pop(job, None)

    def close(self) -> None:
        """Nothing: what a worker kept goes with it."""


class PacedWorker(InlineWorker):
    """Steps take virtual time. No job is ever in two of them, or in one where its state is not."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe.build)
        self._cores = recipe.cores
        self._jobs: set[int] = set()
        self._died: set[int] = set()

    async def start(self) -> None:
        await super().start()
        assert isinstance(self._engine, Paced)
        self._engine.running.add(self)
        if self._engine.starts:
            fault = self._engine.starts.pop()
            await asyncio.sleep(self._engine.base)
            if fault is not None:
                raise fault

    async def step(self, work: Sequence[Work], drops: Sequence[int]) -> Sequence[Outcome]:
        engine = self._engine
        assert isinstance(engine, Paced)
        if self not in engine.running:
            self._die(engine)
        drops = [job for job in drops if job in self._jobs or job not in engine.done]
        await super().step([], drops)
        self._jobs.difference_update(drops)
        if not work:
            return ()
        jobs = {each.job for each in work}
        assert not jobs & engine.stepped, "a job is in two seats"
        assert not (jobs & set(engine.done)) - self._jobs, "a job's state is elsewhere"
        now = asyncio.get_running_loop().time()
        engine.log.append((now, tuple(_name(each) for each in work)))
        engine.stepped |= jobs
        self._jobs |= jobs
        engine.meter.take(self._cores)
        try:
            await asyncio.sleep(engine.seconds(work))
        finally:
            engine.meter.held -= self._cores
            engine.stepped -= jobs
        if self not in engine.running or self._deadly(work):
            self._die(engine)
        return await super().step(work, ())

    async def close(self) -> None:
        if isinstance(self._engine, Paced):
            self._lose_all(self._engine)
            self._engine.running.discard(self)
        await super().close()

    def _deadly(self, work: Sequence[Work]) -> bool:
        for each in work:
            task = each.payload
            if isinstance(task, Task) and (
                task.fault == "kill" or (task.fault == "die" and each.job not in self._died)
            ):
                self._died.add(each.job)
                return True
        return False

    def _die(self, engine: Paced) -> None:
        self._lose_all(engine)
        raise WorkerDied("the worker died")

    def _lose_all(self, engine: Paced) -> None:
        for job in self._jobs:
            engine.lose(job)
        self._jobs.clear()


def _name(work: Work) -> str:
    return work.payload.name if isinstance(work.payload, Task) else str(work.payload)


def recipe(engine: Paced, name: str = "paced", **settings: Any) -> Recipe:
    """A recipe for workers that share the engine."""
    return Recipe(name, lambda: engine, worker="inline", **settings)


@asynccontextmanager
async def scheduling(
    cores: int = 1, metrics: SchedulerMetrics | None = None
) -> AsyncIterator[Scheduler]:
    """A scheduler whose lanes are paced; it is closed at the end."""
    with patch("engines.scheduler.worker_for", PacedWorker):
        scheduler = Scheduler(Device(cores), metrics)
        try:
            yield scheduler
        finally:
            await scheduler.close()


def same_group(waiting: Sequence[Waiting]) -> Sequence[Waiting]:
    """Up to eight jobs of the most urgent one's group."""
    group = waiting[0].payload.group
    return [each for each in waiting if each.payload.group == group][:8]


async def collect(ticket: Ticket) -> list[Any]:
    """All results."""
    return [event async for event in ticket]


def now() -> float:
    return asyncio.get_running_loop().time()
