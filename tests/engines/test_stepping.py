"""Steps that take time: what shares one, who joins and leaves between them, and what breaks."""

import asyncio
from collections.abc import Sequence
from unittest.mock import AsyncMock

import pytest
from paced import Paced, PacedWorker, Task, collect, now, recipe, same_group, scheduling
from prometheus_client import CollectorRegistry

from engines.base import EngineError, JobClass, UpTo, Waiting, WorkerCrashed
from engines.statistics import SchedulerMetrics

pytestmark = pytest.mark.virtual_time

FINAL, PARTIAL, REST = JobClass.FINAL, JobClass.PARTIAL, JobClass.REST


async def test_jobs_of_many_steps_join_and_leave_between_steps() -> None:
    engine = Paced(base=0.1)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(8), slots=8))
        long = lane.submit(Task("long", steps=5), owner="a")
        await asyncio.sleep(0.15)
        short = lane.submit(Task("short", steps=2), owner="b")
        assert await collect(short) == ["short"] * 2
        assert await collect(long) == ["long"] * 5
        assert [len(names) for names in engine.order] == [1, 1, 2, 2, 1]
        assert set(engine.order[2]) == {"long", "short"}
        assert engine.done == {}


async def test_results_come_step_by_step() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(base=0.1)))
        ticket = lane.submit(Task("word", steps=3), owner="a")
        times = [now() async for _ in ticket]
        assert times == pytest.approx([0.1, 0.2, 0.3])


async def test_a_job_waits_for_a_slot_and_takes_it_as_soon_as_one_leaves() -> None:
    engine = Paced(base=0.1)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(8), slots=2))
        tickets = [lane.submit(Task(name, steps=3), owner=name) for name in "abc"]
        await asyncio.sleep(0.05)
        tickets[0].cancel()
        await asyncio.gather(*map(collect, tickets))
        assert list(map(sorted, engine.order)) == [["a", "b"], ["b", "c"], ["b", "c"], ["c"]]


async def test_jobs_that_cannot_share_a_step_take_turns_by_urgency() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=same_group))
        blocker = lane.submit(Task("blocker"), owner="z")
        await asyncio.sleep(0.5)
        tickets = []
        for number in range(6):
            group = "even" if number % 2 == 0 else "odd"
            kind = PARTIAL if group == "odd" else REST
            task = Task(f"{group}{number}", group=group)
            tickets.append(lane.submit(task, owner=str(number), kind=kind))
        await asyncio.gather(*map(collect, [blocker, *tickets]))
        assert engine.order[1:] == [("odd1", "odd3", "odd5"), ("even0", "even2", "even4")]


async def test_select_can_keep_background_work_out_of_a_live_batch() -> None:
    def not_mixed(waiting: list[Waiting]) -> list[Waiting]:
        return [each for each in waiting if each.kind.live == waiting[0].kind.live]

    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=not_mixed))
        kinds = [JobClass.BACKGROUND, FINAL, REST, PARTIAL]
        tickets = [lane.submit(Task(k.name), owner=k.name, kind=k) for k in kinds]
        await asyncio.gather(*map(collect, tickets))
        assert engine.order == [("FINAL", "PARTIAL"), ("REST", "BACKGROUND")]


async def test_the_deadline_decides_between_classes() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))
        blocker = lane.submit(Task("blocker"), owner="z")
        await asyncio.sleep(0.1)
        early = lane.submit(Task("partial"), owner="a", kind=PARTIAL)
        await asyncio.sleep(0.85)
        late = lane.submit(Task("final"), owner="b", kind=FINAL)
        await asyncio.gather(*map(collect, (blocker, early, late)))
        assert engine.order == [("blocker",), ("partial",), ("final",)]


async def test_a_job_that_ends_and_becomes_final_overtakes() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))
        blocker = lane.submit(Task("blocker"), owner="z")
        await asyncio.sleep(0.1)
        streams = [lane.submit(n, owner=n, kind=PARTIAL, streaming=True) for n in "ab"]
        for stream in streams:
            stream.push("audio")
        streams[1].finish(FINAL)
        await asyncio.gather(collect(blocker), collect(streams[1]), anext(streams[0]))
        assert engine.order == [("blocker",), ("b",), ("a",)]


async def test_a_queued_job_is_cancelled_at_once_and_a_running_one_after_its_step() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, slots=1))
        running = lane.submit(Task("running", steps=5), owner="a")
        queued = lane.submit(Task("queued"), owner="b")
        waiting = lane.submit(Task("waiting"), owner="c")
        await asyncio.sleep(0.5)
        queued.cancel()
        running.cancel()
        assert await collect(queued) == await collect(running) == []
        assert (now(), lane.live) == (0.5, 1)
        assert await collect(waiting) == ["waiting"]
        assert now() == pytest.approx(2.0)
        assert engine.order == [("running",), ("waiting",)]
        assert engine.dropped == [running.job]


async def test_jobs_that_all_go_while_the_device_is_busy_leave_nothing_to_choose_from() -> None:
    engine, other = Paced(), Paced()
    async with scheduling() as scheduler:
        busy = scheduler.open(recipe(other, "busy")).submit(Task("busy"), owner="b")
        await asyncio.sleep(0.1)
        lane = scheduler.open(recipe(engine, select=same_group))
        gone = lane.submit(Task("gone"), owner="a")
        await asyncio.sleep(0.1)
        gone.cancel()
        await collect(busy)
        await asyncio.sleep(1)
        assert await collect(lane.submit(Task("next"), owner="a")) == ["next"]
        assert engine.order == [("next",)]


async def test_a_fault_in_choosing_fails_the_jobs_and_not_the_lane(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def choose(waiting: Sequence[Waiting]) -> Sequence[Waiting]:
        if any(each.payload.name == "odd" for each in waiting):
            raise LookupError("what is this?")
        return waiting

    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=choose, slots=2))
        old = lane.submit(Task("old", steps=9), owner="a")
        await asyncio.sleep(0.5)
        odd = lane.submit(Task("odd"), owner="b")
        for ticket in (old, odd):
            with pytest.raises(EngineError, match="the lane failed: what is this"):
                await collect(ticket)
        assert caplog.messages == ["the lane paced failed"]
        assert await collect(lane.submit(Task("new"), owner="c")) == ["new"]
        assert (lane.live, engine.done, scheduler.device.free) == (0, {}, 1)
    caplog.clear()


class Stubborn(Paced):
    """Cannot be freed."""

    def close(self) -> None:
        raise RuntimeError("the library is wedged")


async def test_a_fault_costs_the_lane_nothing_but_its_jobs_where_the_engine_cannot_be_freed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def choose(waiting: Sequence[Waiting]) -> Sequence[Waiting]:
        if waiting[0].payload.name == "odd":
            raise LookupError("what is this?")
        return waiting

    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Stubborn(), select=choose))
        with pytest.raises(EngineError, match="the lane failed"):
            await collect(lane.submit(Task("odd"), owner="a"))
        assert await collect(lane.submit(Task("new"), owner="b")) == ["new"]
    assert caplog.messages[1:] == ["an engine of model paced could not be freed"] * 2
    caplog.clear()


async def test_a_fault_in_starting_is_told_to_who_waits_for_the_model(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced()))
        with monkeypatch.context() as patch:
            fault = AsyncMock(side_effect=RuntimeError("no thread can be started"))
            patch.setattr(PacedWorker, "start", fault)
            with pytest.raises(EngineError, match="the lane failed: no thread can be started"):
                await lane.start()
        await lane.start()
        assert await collect(lane.submit(Task("job"), owner="a")) == ["job"]
    caplog.clear()


async def test_a_reader_that_is_cancelled_with_its_job_leaves_nothing() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(8), slots=8))

        async def session() -> None:
            ticket = lane.submit(Task("gone", steps=10), owner="gone")
            try:
                await collect(ticket)
            finally:
                ticket.cancel()

        task = asyncio.create_task(session())
        mate = lane.submit(Task("mate", steps=4), owner="mate")
        await asyncio.sleep(1.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await collect(mate) == ["mate"] * 4
        assert engine.order[2:] == [("mate",)] * 2
        assert (lane.live, engine.done, scheduler.device.free) == (0, {}, 1)


@pytest.mark.parametrize("steps", [1, 3])
async def test_the_neighbours_of_a_poisoned_job_are_done_without_it(steps: int) -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(8)))
        mates = [lane.submit(Task(name, steps=steps), owner=name) for name in "abc"]
        poison = lane.submit(Task("poison", fault="poison"), owner="p")
        with pytest.raises(EngineError, match="poisoned"):
            await collect(poison)
        for name, ticket in zip("abc", mates, strict=True):
            assert await collect(ticket) == [name] * steps
        assert lane.live == 0


async def test_a_job_cancelled_in_a_step_that_fails_is_dropped_from_the_engine() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(8)))
        gone = lane.submit(Task("gone", steps=9), owner="a")
        await asyncio.sleep(1.5)
        poison = lane.submit(Task("poison", fault="poison"), owner="p")
        await asyncio.sleep(1)
        assert len(engine.order[-1]) == 2
        gone.cancel()
        with pytest.raises(EngineError, match="poisoned"):
            await collect(poison)
        await asyncio.sleep(0)
        assert engine.done == {}


async def test_a_job_cancelled_while_its_neighbours_are_retried_is_dropped_from_the_engine() -> (
    None
):
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(8)))
        gone = lane.submit(Task("gone", steps=9), owner="a")
        poison = lane.submit(Task("poison", fault="poison"), owner="p")
        await asyncio.sleep(2.5)
        assert engine.order == [("gone", "poison"), ("gone",), ("poison",)]
        gone.cancel()
        with pytest.raises(EngineError, match="poisoned"):
            await collect(poison)
        await asyncio.sleep(1)
        assert engine.done == {}


async def test_a_worker_that_dies_loses_only_its_step() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(8)))
        mate = lane.submit(Task("mate"), owner="a")
        deadly = lane.submit(Task("deadly", fault="die"), owner="b")
        assert await collect(mate) == ["mate"]
        assert await collect(deadly) == ["deadly"]


async def test_a_job_that_kills_every_worker_takes_nobody_with_it() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(8)))
        mates = [lane.submit(Task(name), owner=name) for name in "abc"]
        deadly = lane.submit(Task("deadly", fault="kill"), owner="d")
        with pytest.raises(WorkerCrashed):
            await collect(deadly)
        late = lane.submit(Task("late"), owner="e")
        for name, ticket in zip(["a", "b", "c", "late"], [*mates, late], strict=True):
            assert await collect(ticket) == [name]
        assert engine.order.count(("deadly",)) == 1


async def test_a_job_that_was_replaced_while_its_worker_died_is_not_done_again() -> None:
    engine = Paced()
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine))
        old = lane.submit(Task("old", fault="die"), owner="a", coalesce="a")
        await asyncio.sleep(0.5)
        new = lane.submit(Task("new"), owner="a", coalesce="a")
        assert await collect(old) == []
        assert await collect(new) == ["new"]
        assert engine.order == [("old",), ("new",)]


async def test_a_streaming_job_without_replay_fails_with_its_worker() -> None:
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(Paced(), select=UpTo(8)))
        lane.submit(Task("deadly", fault="die"), owner="b")
        stream = lane.submit("stream", owner="a", streaming=True)
        stream.push("audio")
        with pytest.raises(WorkerCrashed):
            await collect(stream)


async def test_what_a_lane_measured_can_be_read() -> None:
    registry = CollectorRegistry()
    async with scheduling(metrics=SchedulerMetrics(registry)) as scheduler:
        lane = scheduler.open(recipe(Paced(base=2.0), select=UpTo(2)))
        tickets = [lane.submit(Task("job"), owner=str(n), kind=FINAL) for n in range(5)]
        tickets[4].cancel()
        await asyncio.sleep(1)
        during = lane.statistics()
        assert (during.live, during.running, during.waiting) == (4, 2, 2)
        await asyncio.gather(*map(collect, tickets))
        snapshot = lane.statistics()
        assert (snapshot.live, snapshot.running, snapshot.waiting) == (0, 0, 0)
        assert snapshot.mean_batch == 2
        assert snapshot.service == {FINAL: pytest.approx(1.0)}
        assert 0 < snapshot.waits[FINAL] < 2
        assert (snapshot.counters["done"], snapshot.counters["cancelled"]) == (4, 1)
    labels = {"lane": "paced", "job_class": "final"}
    value = registry.get_sample_value
    assert value("antiphon_job_service_seconds_sum", labels) == pytest.approx(4.0)
    assert value("antiphon_step_class_jobs_sum", labels) == 4
    assert value("antiphon_jobs_shed_total", labels | {"result": "stale"}) == 0


async def test_what_was_shed_is_counted_by_class() -> None:
    registry = CollectorRegistry()
    async with scheduling(metrics=SchedulerMetrics(registry)) as scheduler:
        lane = scheduler.open(recipe(Paced()))
        lane.submit(Task("running"), owner="r")
        await asyncio.sleep(0.1)
        for _ in range(3):
            lane.submit(Task("job"), owner="a", kind=PARTIAL, coalesce="a", stale_after=0.2)
        await asyncio.sleep(0.5)
    labels = {"lane": "paced", "job_class": "partial"}
    shed = {
        result: registry.get_sample_value("antiphon_jobs_shed_total", labels | {"result": result})
        for result in ("coalesced", "stale", "refused", "offloaded")
    }
    assert shed == {"coalesced": 2, "stale": 1, "refused": 0, "offloaded": 0}
