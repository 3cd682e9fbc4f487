"""Whatever is submitted, pushed, cancelled, killed and unloaded: every job ends, nothing runs
twice, nothing is told twice or left out, nothing stays.

That no job is in two seats, or in one where its state is not, is checked by the paced worker at
every step.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from unittest.mock import patch

import pytest
from clock import VirtualTimeLoop
from hypothesis import given, settings
from hypothesis import strategies as st
from paced import Meter, Paced, Task, collect, recipe, same_group, scheduling

from engines.base import Busy, EngineError, JobClass, Outcome, Recipe, UpTo, Work
from engines.scheduler import Lane, Scheduler
from engines.tickets import Owner, Ticket
from engines.workers import WorkerDied


@dataclass(frozen=True)
class Order:
    """One session's wish."""

    at: float
    lane: int
    kind: JobClass
    owner: str
    tenant: str
    steps: int
    seconds: float
    streaming: bool
    coalesce: bool
    fault: str
    stale_after: float | None
    cancel_after: float | None
    read_after: float


@dataclass(frozen=True)
class Trouble:
    """What befalls a lane."""

    at: float
    lane: int
    what: Literal["kill", "bad start", "deadly start", "unload"]


@dataclass
class Life:
    """What became of an order."""

    order: Order
    ticket: Ticket | None = None
    outcome: str = "refused"
    error: str = ""
    told: list[tuple[int, ...]] = field(default_factory=list)


seconds = st.floats(0, 8).map(lambda value: round(value, 2))
orders = st.builds(
    Order,
    at=seconds,
    lane=st.sampled_from([0, 1, 1, 2, 3, 3]),
    kind=st.sampled_from(JobClass),
    owner=st.sampled_from("abc"),
    tenant=st.sampled_from(["", "key1", "key2"]),
    steps=st.integers(1, 6),
    seconds=st.sampled_from([0.0, 0.0, 0.0, 4.0]),
    streaming=st.booleans(),
    coalesce=st.booleans(),
    fault=st.sampled_from(["", "", "", "", "poison", "die", "kill"]),
    stale_after=st.none() | seconds,
    cancel_after=st.none() | seconds,
    read_after=st.sampled_from([0.0, 0.0, 6.0]),
)
troubles = st.builds(
    Trouble,
    at=seconds,
    lane=st.sampled_from([0, 1, 1, 2, 3, 3]),
    what=st.sampled_from(["kill", "bad start", "deadly start", "unload", "unload"]),
)


@dataclass
class Remembering(Paced):
    """Tells at each step what it has heard, or which step it is; another worker can go on."""

    heard: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def _one(self, work: Work) -> Outcome:
        heard = self.heard[work.job] = self.heard.get(work.job, ()) + work.inputs
        if work.job not in self.done:
            self.done[work.job] = len(work.progress)
        outcome = super()._one(work)
        if outcome.done:
            del self.heard[work.job]
        step = self.done.get(work.job, work.payload.steps)
        streams = work.payload.name == "stream"
        return Outcome(
            work.job,
            (heard if streams else (step,),),
            done=outcome.done,
            progress=() if streams else (step,),
        )

    def lose(self, job: int) -> None:
        super().lose(job)
        self.heard.pop(job, None)


def lanes(meter: Meter) -> list[Recipe]:
    """A batch engine that shares, one of slots and two seats, one whose jobs are alone, and one
    that keeps places for live jobs."""
    batch, steps, alone, kept = (Remembering(base, 0.02, meter) for base in (0.3, 0.1, 0.5, 0.1))
    return [
        recipe(batch, "batch", select=same_group),
        recipe(steps, "steps", select=UpTo(2), slots=2, workers=2, replay=True, cores=2),
        recipe(alone, "alone", workers=2, longest_wait=0.5, capacity=12),
        recipe(kept, "kept", select=UpTo(2), slots=2, reserved=1, workers=2, replay=True),
    ]


def engine_of(lane: Lane) -> Remembering:
    engine = lane.recipe.build()
    assert isinstance(engine, Remembering)
    return engine


async def carry_out(life: Life, opened: Sequence[Lane]) -> None:
    """The session's life."""
    order = life.order
    await asyncio.sleep(order.at)
    name = "stream" if order.streaming else "job"
    try:
        life.ticket = ticket = opened[order.lane].submit(
            Task(name, order.steps, order.tenant, order.seconds, order.fault),
            owner=Owner(order.owner, order.tenant),
            kind=order.kind,
            streaming=order.streaming,
            coalesce=order.owner if order.coalesce else None,
            stale_after=order.stale_after,
        )
    except Busy:
        return
    if order.cancel_after is not None:
        asyncio.get_running_loop().call_later(order.cancel_after, ticket.cancel)
    if order.streaming:
        for number in range(order.steps):
            ticket.push(number)
            await asyncio.sleep(0.3)
        if not ticket.over:
            ticket.finish(JobClass.FINAL if order.kind is JobClass.PARTIAL else None)
    await asyncio.sleep(order.read_after)
    try:
        async for event in ticket:
            life.told.append(event)
    except EngineError as error:
        life.error = str(error)
    life.outcome = ticket.outcome


async def befall(
    trouble: Trouble, scheduler: Scheduler, opened: list[Lane], counters: list[Counter[str]]
) -> None:
    await asyncio.sleep(trouble.at)
    lane = opened[trouble.lane]
    engine = engine_of(lane)
    match trouble.what:
        case "kill":
            if engine.running:
                engine.running.pop()
        case "bad start":
            engine.starts.append(EngineError("no room"))
        case "deadly start":
            engine.starts.append(WorkerDied("out of memory"))
        case "unload":
            closing = asyncio.create_task(scheduler.close(lane))
            await asyncio.sleep(0)
            opened[trouble.lane] = scheduler.open(lane.recipe)
            await closing
            counters[trouble.lane].update(lane.statistics().counters)


def check(life: Life, troubles: Sequence[Trouble], faults: set[str]) -> None:
    order, outcome = life.order, life.outcome
    assert (outcome == "failed") == bool(life.error)
    assert not life.error or faults or troubles
    assert "the lane failed" not in life.error
    assert outcome != "stale" or order.stale_after is not None
    assert outcome != "coalesced" or order.coalesce
    assert outcome != "cancelled" or order.cancel_after is not None
    if outcome == "done" and order.streaming:
        assert life.told[-1] == tuple(range(order.steps))
    elif not order.streaming:
        expected = [(step,) for step in range(1, order.steps + 1)]
        assert life.told == expected[: len(life.told)]
        assert outcome != "done" or life.told == expected


async def submit_four(lane: Lane) -> list[Any]:
    tickets = [lane.submit(Task("calm"), owner=o, kind=JobClass.FINAL) for o in "abcd"]
    answers: list[Any] = await asyncio.gather(*map(collect, tickets), return_exceptions=True)
    return answers


async def play(schedule: list[Order], troubles: list[Trouble], cores: int) -> None:
    meter = Meter()
    lives = [Life(order) for order in schedule]
    counters = [Counter[str]() for _ in range(4)]
    async with scheduling(cores) as scheduler:
        opened = [scheduler.open(each) for each in lanes(meter)]
        async with asyncio.timeout(3600):
            await asyncio.gather(
                *(carry_out(life, opened) for life in lives),
                *(befall(trouble, scheduler, opened, counters) for trouble in troubles),
            )
            await asyncio.sleep(30)
        assert meter.most <= cores
        assert meter.held == 0
        assert scheduler.device.free == cores
        assert all(life.ticket is None or life.ticket.over for life in lives)
        for life in lives:
            check(life, troubles, {order.fault for order in schedule} - {""})
        for number, lane in enumerate(opened):
            snapshot = lane.statistics()
            assert (snapshot.live, snapshot.waiting, snapshot.running) == (0, 0, 0)
            counters[number].update(snapshot.counters)
            mine = Counter(life.outcome for life in lives if life.order.lane == number)
            assert +counters[number] == mine
            assert engine_of(lane).done == {}
            assert engine_of(lane).heard == {}
            engine_of(lane).starts.clear()
            await submit_four(lane)  # and some notice only now that their worker was killed
            assert await submit_four(lane) == [[(1,)]] * 4
    assert scheduler.device.free == cores
    assert meter.held == 0


@pytest.mark.one_loop
@given(
    st.lists(orders, max_size=40),
    st.lists(troubles, max_size=6, unique_by=lambda trouble: (trouble.at, trouble.lane)),
    st.integers(2, 4),
)
@settings(max_examples=100, deadline=None)
def test_every_job_ends_and_nothing_is_left(
    schedule: list[Order], troubles: list[Trouble], cores: int
) -> None:
    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
        patch("engines.tickets.RESULTS", 3),
    ):
        runner.run(play(schedule, troubles, cores))
