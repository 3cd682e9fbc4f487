"""Turns are shared by those who want them: sessions, keys, classes; nobody waits forever."""

import asyncio

import pytest
from paced import Paced, Task, collect, now, recipe, scheduling

from engines.base import JobClass, UpTo
from engines.fairness import LONGEST_LEAD, Accounts
from engines.tickets import Owner, Ticket

pytestmark = pytest.mark.virtual_time

FINAL, PARTIAL, REST = JobClass.FINAL, JobClass.PARTIAL, JobClass.REST


def test_service_moves_the_next_start_on() -> None:
    accounts = Accounts()
    assert accounts.start("a", REST) == float("-inf")
    accounts.charge("a", REST, 3.0, now=100.0)
    accounts.charge("a", REST, 3.0, now=101.0)
    assert accounts.start("a", REST) == 106.0


def test_less_urgent_work_never_delays_more_urgent_work() -> None:
    accounts = Accounts()
    accounts.charge("a", PARTIAL, 1.5, now=100.0)
    assert accounts.start("a", FINAL) == 100.0
    assert accounts.start("a", PARTIAL) == accounts.start("a", REST) == 101.5


@pytest.mark.parametrize("kind", list(JobClass))
def test_the_lead_is_bounded(kind: JobClass) -> None:
    accounts = Accounts()
    for _ in range(10):
        accounts.charge("a", kind, 20.0, now=100.0)
    assert accounts.start("a", kind) == 100.0 + LONGEST_LEAD[kind]
    assert LONGEST_LEAD[FINAL] == LONGEST_LEAD[PARTIAL] == 2.0
    assert LONGEST_LEAD[REST] == 30.0


def test_names_that_owe_nothing_any_more_are_forgotten() -> None:
    accounts = Accounts()
    for number in range(10_000):
        accounts.charge(str(number), FINAL, 1.0, now=number * 0.1)
    assert len(accounts) < 200


async def test_fifty_jobs_of_one_owner_do_not_lock_out_the_one_of_another() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))
        greedy = [lane.submit(Task("greedy"), owner="greedy") for _ in range(50)]
        await asyncio.sleep(10.5)
        modest = lane.submit(Task("modest"), owner="modest")
        began = now()
        await collect(modest)
        assert now() - began <= 2.0
        assert engine.order[11] == ("modest",)
        for ticket in greedy:
            await collect(ticket)
        assert now() == pytest.approx(51.0)


@pytest.mark.parametrize("kind", [FINAL, PARTIAL, REST])
async def test_owners_who_always_want_more_are_served_alike(kind: JobClass) -> None:
    engine = Paced(base=0.2)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))
        tickets: list[Ticket] = []
        for owner, jobs in (("a", 80), ("b", 40), ("c", 40)):
            tickets += [lane.submit(Task(owner), owner=owner, kind=kind) for _ in range(jobs)]
        await asyncio.sleep(0.2 * 60)
        names = [name for (name,) in engine.order[:60]]
        assert all(abs(names.count(owner) - 20) <= 2 for owner in "abc")


async def test_tenants_share_alike_however_many_sessions_they_have() -> None:
    engine = Paced(base=0.2)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))
        for number in range(9):
            for _ in range(10):
                lane.submit(Task("many"), owner=Owner(f"many{number}", "many"))
        for _ in range(30):
            lane.submit(Task("one"), owner=Owner("one", "one"))
        await asyncio.sleep(0.2 * 40)
        names = [name for (name,) in engine.order[:40]]
        assert abs(names.count("one") - 20) <= 3


async def test_jobs_of_nobodys_tenant_are_not_charged_together() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))
        first = lane.submit(Task("first"), owner="a")
        await collect(first)
        second = lane.submit(Task("second"), owner="b")
        third = lane.submit(Task("third"), owner=Owner("c", "key"))
        await asyncio.gather(collect(second), collect(third))
        assert engine.order == [("first",), ("second",), ("third",)]


async def test_a_flood_of_finals_starves_nobody() -> None:
    engine = Paced(base=0.25)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))

        async def flood(owner: str) -> None:
            while True:
                await collect(lane.submit(Task("final"), owner=owner, kind=FINAL))

        floods = [asyncio.create_task(flood(f"speaker{n}")) for n in range(6)]
        await asyncio.sleep(5)
        began = now()
        waits = {}
        for kind in (PARTIAL, REST, JobClass.BACKGROUND):
            ticket = lane.submit(Task(kind.name), owner=kind.name, kind=kind)
            assert await collect(ticket) == [kind.name]
            waits[kind], began = now() - began, now()
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
    assert waits[PARTIAL] < 5
    assert waits[REST] < 15
    assert waits[JobClass.BACKGROUND] < 65


async def test_a_final_is_not_late_for_the_partials_that_its_session_had() -> None:
    engine = Paced(base=0.5)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))
        for _ in range(4):
            await collect(lane.submit(Task("partial"), owner="a", kind=PARTIAL))
        others = [lane.submit(Task("other"), owner=f"b{n}", kind=PARTIAL) for n in range(4)]
        final = lane.submit(Task("final"), owner="a", kind=FINAL)
        assert await collect(final) == ["final"]
        assert engine.order[4:].index(("final",)) == 0
        await asyncio.gather(*map(collect, others))


async def test_a_batch_is_charged_to_those_who_shared_it() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(4)))
        crowd = [lane.submit(Task(name), owner=name) for name in "abcd"]
        await asyncio.gather(*map(collect, crowd))
        alone = lane.submit(Task("alone", seconds=3.0), owner="e")
        await collect(alone)
        later = [lane.submit(Task(name), owner=name[0]) for name in ("e2", "a2")]
        await asyncio.gather(*map(collect, later))
        assert engine.order[-1] == ("a2", "e2")
