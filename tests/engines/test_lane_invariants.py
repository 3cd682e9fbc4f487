"""Whatever is submitted, pushed and cancelled: every job ends, nothing runs twice, nothing stays.

That no job is in two seats is checked by the paced worker at every step.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass

import pytest
from clock import VirtualTimeLoop
from hypothesis import given, settings
from hypothesis import strategies as st
from paced import Meter, Paced, Task, collect, recipe, same_group, scheduling

from engines.base import Busy, EngineError, JobClass, Recipe, UpTo
from engines.scheduler import Lane
from engines.tickets import Owner, Ticket


@dataclass(frozen=True)
class Order:
    """One session's wish."""

    at: float
    lane: int
    kind: JobClass
    owner: str
    tenant: str
    steps: int
    streaming: bool
    coalesce: bool
    fault: str
    stale_after: float | None
    cancel_after: float | None


seconds = st.floats(0, 8).map(lambda value: round(value, 2))
orders = st.builds(
    Order,
    at=seconds,
    lane=st.integers(0, 3),
    kind=st.sampled_from(JobClass),
    owner=st.sampled_from("abc"),
    tenant=st.sampled_from(["", "key1", "key2"]),
    steps=st.integers(1, 4),
    streaming=st.booleans(),
    coalesce=st.booleans(),
    fault=st.sampled_from(["", "", "", "", "poison", "die"]),
    stale_after=st.none() | seconds,
    cancel_after=st.none() | seconds,
)


def lanes(meter: Meter) -> list[Recipe]:
    """A batch engine that shares, one of slots and two seats, one whose jobs are alone, and one
    that keeps places for live jobs."""
    batch, steps, alone, kept = (Paced(base, 0.02, meter) for base in (0.3, 0.1, 0.5, 0.1))
    return [
        recipe(batch, "batch", select=same_group),
        recipe(steps, "steps", select=UpTo(3), slots=3, workers=2, replay=True, cores=2),
        recipe(alone, "alone", workers=2, longest_wait=0.5, capacity=12),
        recipe(kept, "kept", select=UpTo(3), slots=3, reserved=1, workers=2, replay=True),
    ]


async def carry_out(order: Order, lane: Lane, taken: list[Ticket]) -> str:
    """The session's life. Answers how its job ended."""
    await asyncio.sleep(order.at)
    task = Task(order.owner, order.steps, order.tenant, fault=order.fault)
    try:
        ticket = lane.submit(
            task,
            owner=Owner(order.owner, order.tenant),
            kind=order.kind,
            streaming=order.streaming,
            coalesce=order.owner if order.coalesce else None,
            stale_after=order.stale_after,
        )
    except Busy:
        return "refused"
    taken.append(ticket)
    if order.cancel_after is not None:
        asyncio.get_running_loop().call_later(order.cancel_after, ticket.cancel)
    if order.streaming:
        for number in range(order.steps):
            ticket.push(number)
            await asyncio.sleep(0.3)
        if not ticket.over:
            ticket.finish(JobClass.FINAL if order.kind is JobClass.PARTIAL else None)
    try:
        await collect(ticket)
    except EngineError:
        assert ticket.outcome == "failed"
    return ticket.outcome


async def play(schedule: list[Order], cores: int) -> None:
    meter = Meter()
    taken: list[Ticket] = []
    async with scheduling(cores) as scheduler:
        opened = [scheduler.open(each) for each in lanes(meter)]

        def is_for(order: Order, lane: Lane) -> bool:
            return opened[order.lane] is lane

        async with asyncio.timeout(3600):
            outcomes = await asyncio.gather(
                *(carry_out(order, opened[order.lane], taken) for order in schedule)
            )
            await asyncio.sleep(30)
        assert meter.most <= cores
        assert meter.held == 0
        assert scheduler.device.free == cores
        assert all(ticket.over for ticket in taken)
        for order, outcome in zip(schedule, outcomes, strict=True):
            assert outcome != "failed" or any(each.fault for each in schedule)
            assert outcome != "stale" or order.stale_after is not None
            assert outcome != "coalesced" or order.coalesce
            assert outcome != "cancelled" or order.cancel_after is not None
        for lane in opened:
            mine = [o for order, o in zip(schedule, outcomes, strict=True) if is_for(order, lane)]
            snapshot = lane.statistics()
            assert (snapshot.live, snapshot.waiting, snapshot.running) == (0, 0, 0)
            assert {r: n for r, n in snapshot.counters.items() if n} == Counter(mine)
            engine = lane.recipe.build()
            assert isinstance(engine, Paced)
            assert engine.done == {}


@pytest.mark.one_loop
@given(st.lists(orders, max_size=40), st.integers(2, 4))
@settings(max_examples=100, deadline=None)
def test_every_job_ends_and_nothing_is_left(schedule: list[Order], cores: int) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(play(schedule, cores))
