"""What a busy lane does: predict, refuse, hand over, let go; live speech always gets through."""

import asyncio

import pytest
from paced import Paced, Task, collect, now, recipe, scheduling

from engines.base import Busy, JobClass, UpTo
from engines.load import LIVE_SECONDS, LIVE_WAIT, LONGEST_WAIT
from engines.scheduler import Lane
from engines.tickets import Ticket

pytestmark = pytest.mark.virtual_time

FINAL, PARTIAL, REST = JobClass.FINAL, JobClass.PARTIAL, JobClass.REST
BACKGROUND = JobClass.BACKGROUND


async def measured(lane: Lane, *kinds: JobClass) -> None:
    """The lane has done one job of each class."""
    for kind in kinds:
        await collect(lane.submit(Task("measure"), owner="m", kind=kind))


def submit(lane: Lane, number: int, kind: JobClass = REST) -> list[Ticket]:
    return [lane.submit(Task(kind.name), owner=f"o{n}", kind=kind) for n in range(number)]


# Prediction


async def test_an_idle_lane_predicts_no_wait() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced()))
        assert lane.predicted_wait(REST) == 0
        await measured(lane, REST)
        assert lane.predicted_wait(REST) == 0


async def test_a_new_job_waits_for_the_queue_before_it_and_the_rest_of_the_step() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=2.0)))
        await measured(lane, REST)
        submit(lane, 4)
        await asyncio.sleep(0.5)
        assert lane.predicted_wait(REST) == pytest.approx(3 * 2.0 + 1.5)
        assert lane.predicted_wait(BACKGROUND) == pytest.approx(3 * 2.0 + 1.5)
        assert lane.predicted_wait(FINAL) == pytest.approx(1.5)
        began = now()
        await collect(lane.submit(Task("new"), owner="new"))
        assert now() - began == pytest.approx(1.5 + 6 + 2)


async def test_a_batch_is_predicted_at_its_price_for_each() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=1.0), select=UpTo(4)))
        for _ in range(20):
            await asyncio.gather(*map(collect, submit(lane, 4)))
        for number in range(9):
            lane.submit(Task("new"), owner=f"new{number}")
        await asyncio.sleep(0.5)
        assert lane.predicted_wait(REST) == pytest.approx(0.5 + 5 / 4)


async def test_seats_that_work_at_once_halve_the_wait() -> None:
    async with scheduling(cores=2) as scheduler:
        lane = scheduler.open(recipe(Paced(base=2.0), workers=2))
        await measured(lane, REST)
        tickets = submit(lane, 6)
        await asyncio.sleep(1)
        assert lane.predicted_wait(REST) == pytest.approx(4 * 2 / 2 + 1)
        await asyncio.gather(*map(collect, tickets))


async def test_what_the_device_owes_to_other_lanes_counts() -> None:
    async with scheduling() as scheduler:
        busy = scheduler.open(recipe(Paced(base=2.0), "busy"))
        idle = scheduler.open(recipe(Paced(base=1.0), "idle"))
        aside = scheduler.open(recipe(Paced(base=1.0), "aside", cores=0))
        await measured(busy, REST)
        submit(busy, 4)
        await asyncio.sleep(0.5)
        assert idle.predicted_wait(REST) == pytest.approx(3 * 2.0 + 1.5)
        assert idle.predicted_wait(FINAL) == pytest.approx(1.5)
        assert aside.predicted_wait(REST) == 0
        await scheduler.close(busy)
        assert idle.predicted_wait(REST) == 0


async def test_a_job_of_many_steps_is_predicted_as_a_whole() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=0.5)))
        await collect(lane.submit(Task("talk", steps=10), owner="a"))
        assert lane.statistics().service[REST] == pytest.approx(5.0)
        lane.submit(Task("talk", steps=10), owner="a")
        await asyncio.sleep(1.25)
        assert lane.predicted_wait(REST) == pytest.approx(0.25)
        lane.submit(Task("talk", steps=10), owner="b")
        assert lane.predicted_wait(REST) == pytest.approx(0.25 + 5.0)


# Refusal


@pytest.mark.parametrize("kind", [REST, BACKGROUND])
async def test_work_that_would_wait_too_long_is_refused_with_the_time_it_would_take(
    kind: JobClass,
) -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=10.0)))
        await measured(lane, kind)
        taken = submit(lane, round(LONGEST_WAIT[kind]) // 10 + 1, kind)
        with pytest.raises(Busy, match="about") as refusal:
            submit(lane, 1, kind)
        assert refusal.value.retry_after == LONGEST_WAIT[kind] + 10
        assert lane.statistics().counters["refused"] == 1
        assert lane.live == len(taken)


async def test_a_recipe_can_have_its_own_limit() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=10.0), longest_wait=5.0))
        await measured(lane, REST)
        submit(lane, 1)
        with pytest.raises(Busy):
            submit(lane, 1)
        with pytest.raises(Busy):
            submit(lane, 1, BACKGROUND)


@pytest.mark.parametrize("kind", [FINAL, JobClass.FIRST_SENTENCE, PARTIAL])
async def test_live_jobs_are_never_refused_for_a_prediction(kind: JobClass) -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=60.0)))
        await measured(lane, kind)
        assert len(submit(lane, 50, kind)) == 50


# New sessions


async def test_a_lane_with_time_to_spare_takes_another_session() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=0.1)))
        lane.admit()
        for _ in range(20):
            await asyncio.gather(*map(collect, submit(lane, 10, PARTIAL)))
            lane.admit()


async def test_a_lane_that_is_behind_for_a_while_takes_no_more_sessions() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=0.5)))
        await measured(lane, FINAL)
        tickets = submit(lane, 20, FINAL)
        lane.admit()
        await asyncio.sleep(2)
        with pytest.raises(Busy) as refusal:
            lane.admit()
        assert refusal.value.retry_after >= LIVE_WAIT
        await asyncio.gather(*map(collect, tickets))
        lane.admit()


async def test_partials_that_waited_long_keep_new_sessions_out_until_nobody_speaks() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=1.0)))
        for _ in range(5):
            await asyncio.gather(*map(collect, submit(lane, 12, PARTIAL)))
        with pytest.raises(Busy):
            lane.admit()
        await asyncio.sleep(LIVE_SECONDS)
        lane.admit()


async def test_partials_that_all_become_stale_keep_new_sessions_out() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=1.0)))
        await measured(lane, FINAL)
        finals = submit(lane, 12, FINAL)
        stale = lane.submit(Task("old"), owner="p", kind=PARTIAL, stale_after=1.5)
        assert await collect(stale) == []
        assert lane.statistics().waits[PARTIAL] > LIVE_WAIT
        await asyncio.gather(*map(collect, finals))


# Stale and superseded jobs


async def test_a_job_that_did_not_start_in_time_ends_unread() -> None:
    engine = Paced(base=5.0)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))
        running = lane.submit(Task("running"), owner="a", kind=PARTIAL, stale_after=1.0)
        queued = lane.submit(Task("queued"), owner="b", kind=PARTIAL, stale_after=1.0)
        assert await collect(queued) == []
        assert now() == pytest.approx(1.0)
        assert (queued.outcome, queued.over) == ("stale", True)
        assert await collect(running) == ["running"]
        assert engine.order == [("running",)]
        assert lane.statistics().counters["stale"] == 1


async def test_finals_are_never_stale() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=5.0)))
        tickets = [
            lane.submit(Task("final"), owner="a", kind=FINAL, stale_after=1.0) for _ in range(3)
        ]
        for ticket in tickets:
            assert await collect(ticket) == ["final"]


async def test_a_newer_job_takes_the_place_of_the_one_it_replaces() -> None:
    engine = Paced(base=2.0)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))
        running = lane.submit(Task("running"), owner="r", kind=PARTIAL)
        await asyncio.sleep(0.1)
        old = lane.submit(Task("old"), owner="a", kind=PARTIAL, coalesce="a")
        await asyncio.sleep(0.1)
        other = lane.submit(Task("other"), owner="b", kind=PARTIAL, coalesce="b")
        new = lane.submit(Task("new"), owner="a", kind=PARTIAL, coalesce="a")
        assert await collect(old) == []
        assert old.outcome == "coalesced"
        await asyncio.gather(*map(collect, (running, other, new)))
        assert engine.order == [("running",), ("new",), ("other",)]
        assert lane.statistics().counters["coalesced"] == 1


async def test_a_job_that_runs_is_not_replaced() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))
        first = lane.submit(Task("first"), owner="a", coalesce="a")
        await asyncio.sleep(0.5)
        second = lane.submit(Task("second"), owner="a", coalesce="a")
        assert await collect(first) == ["first"]
        assert await collect(second) == ["second"]


# Handing over


class Elsewhere:
    """Takes jobs over and answers them later."""

    def __init__(self, willing: bool = True) -> None:
        self.willing = willing
        self.asked: list[Ticket] = []

    def __call__(self, ticket: Ticket) -> bool:
        self.asked.append(ticket)
        if self.willing:
            loop = asyncio.get_running_loop()
            loop.call_later(1.0, lambda: ticket.deliver(("elsewhere",), done=True, error=None))
        return self.willing


async def test_a_job_is_handed_over_rather_than_refused() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=10.0), longest_wait=5.0))
        await measured(lane, REST)
        lane.offload = Elsewhere()
        here, there = submit(lane, 2)
        assert await collect(there) == ["elsewhere"]
        assert await collect(here) == ["REST"]
        counters = lane.statistics().counters
        assert (counters["offloaded"], counters["refused"], counters["done"]) == (1, 0, 2)


async def test_a_full_lane_hands_over_too() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(), capacity=1))
        lane.offload = Elsewhere()
        _, there = submit(lane, 2, FINAL)
        assert await collect(there) == ["elsewhere"]


async def test_who_does_not_take_a_job_leaves_it_refused() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(), capacity=1))
        lane.offload = elsewhere = Elsewhere(willing=False)
        submit(lane, 1)
        with pytest.raises(Busy):
            submit(lane, 1)
        assert len(elsewhere.asked) == 1
        assert lane.statistics().counters["refused"] == 1


async def test_queued_jobs_that_wait_too_long_are_handed_over_but_no_live_ones() -> None:
    engine = Paced(base=2.0)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, longest_wait=10.0))
        lane.offload = elsewhere = Elsewhere()
        await measured(lane, FINAL, REST)
        files = submit(lane, 4)
        speech = submit(lane, 20, FINAL)
        assert await asyncio.gather(*map(collect, files)) == [["elsewhere"]] * 4
        assert await asyncio.gather(*map(collect, speech)) == [["FINAL"]] * 20
        assert {ticket.kind for ticket in elsewhere.asked} == {REST}
        assert lane.statistics().counters["offloaded"] == 4
        assert lane.live == 0


async def test_a_lane_that_keeps_up_hands_nothing_over() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=1.0)))
        lane.offload = elsewhere = Elsewhere()
        for ticket in submit(lane, 10):
            assert await collect(ticket) == ["REST"]
        assert elsewhere.asked == []
