"""The scheduler's order, batches, bounds and what happens when work fails."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from stand_ins import Echo, KillsOnce, refuses_to_load

from engines import silero
from engines.base import (
    Busy,
    EngineError,
    JobClass,
    Outcome,
    Recipe,
    UpTo,
    Work,
    WorkerCrashed,
)
from engines.devices import Device
from engines.scheduler import IDLE_SEAT_SECONDS, Lane, Scheduler
from engines.silero import Silero
from engines.statistics import SchedulerMetrics
from engines.tickets import RESULTS, Ticket


def inline(engine: Echo, **settings: Any) -> Recipe:
    return Recipe("echo", lambda: engine, worker="inline", **settings)


async def collect(ticket: Ticket) -> list[Any]:
    return [event async for event in ticket]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - the engine's thread has no event to wait for
            await asyncio.sleep(0.01)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_job_is_done_and_its_results_end() -> None:
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(inline(Echo()))
    assert await collect(lane.submit("hello", owner="a")) == ["hello"]
    assert lane.live == 0
    await scheduler.close()


async def test_the_most_urgent_class_goes_first() -> None:
    engine = Echo()
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(inline(engine))
    kinds = [JobClass.BACKGROUND, JobClass.REST, JobClass.PARTIAL, JobClass.FINAL]
    tickets = [lane.submit(kind, owner="a", kind=kind) for kind in kinds]
    await asyncio.gather(*map(collect, tickets))
    assert engine.steps == [(3,), (2,), (1,), (0,)]
    await scheduler.close()


@pytest.mark.virtual_time
async def test_waiting_makes_old_background_work_more_urgent_than_new_rest_work() -> None:
    engine, device = Echo(), Device(1)
    scheduler = Scheduler(device)
    lane = scheduler.open(inline(engine))
    async with device.grant(1, lambda: 0.0):
        old = lane.submit("old", owner="a", kind=JobClass.BACKGROUND)
        await asyncio.sleep(60)
        new = lane.submit("new", owner="b", kind=JobClass.REST)
        await settle()
    await asyncio.gather(collect(old), collect(new))
    assert engine.steps == [(0,), (1,)]
    await scheduler.close()


async def test_jobs_that_wait_while_the_engine_is_busy_share_the_next_step() -> None:
    engine, device = Echo(), Device(1)
    scheduler = Scheduler(device)
    lane = scheduler.open(inline(engine, select=UpTo(8)))
    async with device.grant(1, lambda: 0.0):
        tickets = [lane.submit(n, owner=str(n)) for n in range(5)]
        await settle()
    await asyncio.gather(*map(collect, tickets))
    assert engine.steps == [(0, 1, 2, 3, 4)]
    await scheduler.close()


async def test_a_streaming_job_is_stepped_only_when_it_has_input() -> None:
    engine = Echo()
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(inline(engine))
    ticket = lane.submit("audio", owner="a", streaming=True)
    await settle()
    assert engine.steps == []
    ticket.push("one", size=7)
    assert ticket.backlog == 7
    assert await anext(ticket) == "one"
    assert ticket.backlog == 0
    ticket.push("two")
    ticket.finish(JobClass.FINAL)
    assert await collect(ticket) == ["two"]
    await scheduler.close()


async def test_a_newer_job_replaces_its_older_queued_one() -> None:
    engine, device = Echo(), Device(1)
    scheduler = Scheduler(device)
    lane = scheduler.open(inline(engine))
    async with device.grant(1, lambda: 0.0):
        older = lane.submit("older", owner="a", coalesce="a")
        other = lane.submit("other", owner="b", coalesce="b")
        newer = lane.submit("newer", owner="a", coalesce="a")
        await settle()
    assert await collect(older) == []
    assert await collect(newer) == ["newer"]
    assert await collect(other) == ["other"]
    await scheduler.close()


async def test_a_poisoned_job_fails_alone() -> None:
    device = Device(1)
    scheduler = Scheduler(device)
    lane = scheduler.open(inline(Echo(), select=UpTo(8)))
    async with device.grant(1, lambda: 0.0):
        good, bad, fine = (lane.submit(p, owner="a") for p in ("good", "poison", "fine"))
        await settle()
    with pytest.raises(EngineError, match="poisoned"):
        await collect(bad)
    assert await collect(good) == ["good"]
    assert await collect(fine) == ["fine"]
    await scheduler.close()


async def test_a_job_can_fail_politely() -> None:
    scheduler = Scheduler(Device(1))
    with pytest.raises(EngineError, match="broken"):
        await collect(scheduler.open(inline(Echo())).submit("broken", owner="a"))
    await scheduler.close()


async def test_cancelling_a_queued_job_never_runs_it() -> None:
    engine, device = Echo(), Device(1)
    scheduler = Scheduler(device)
    lane = scheduler.open(inline(engine))
    async with device.grant(1, lambda: 0.0):
        ticket = lane.submit("never", owner="a")
        ticket.cancel()
        await settle()
    await settle()
    assert engine.steps == []
    assert await collect(ticket) == []
    await scheduler.close()


async def test_cancelling_between_steps_makes_the_engine_forget_the_job() -> None:
    engine = Echo()
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(inline(engine))
    ticket = lane.submit("audio", owner="a", streaming=True)
    ticket.push("one")
    assert await anext(ticket) == "one"
    ticket.cancel()
    await settle()
    assert engine.dropped == [ticket.job]
    assert lane.live == 0
    await scheduler.close()


async def test_cancelling_during_a_step_drops_its_result() -> None:
    engine = Echo(step_seconds=0.1)
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(Recipe("echo", lambda: engine))
    ticket = lane.submit("audio", owner="a", streaming=True)
    ticket.push("one")
    await until(lambda: bool(engine.steps))
    ticket.cancel()
    assert await collect(ticket) == []
    await until(lambda: engine.dropped == [ticket.job])
    await scheduler.close()


async def test_a_full_lane_refuses_with_a_time_to_retry() -> None:
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(inline(Echo(), capacity=2))
    tickets = [lane.submit(n, owner="a", streaming=True) for n in range(2)]
    with pytest.raises(Busy) as refusal:
        lane.submit("one too many", owner="a")
    assert refusal.value.retry_after > 0
    tickets[0].cancel()
    lane.submit("fits again", owner="a").cancel()
    await scheduler.close()


async def test_a_reader_that_is_behind_stops_its_own_job_only() -> None:
    engine = Echo()
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(inline(engine))
    slow = lane.submit("slow", owner="a", streaming=True)
    for number in range(RESULTS + 200):
        slow.push(number)
    slow.finish()
    await settle()
    assert slow.backlog > 0
    assert await collect(lane.submit("quick", owner="b")) == ["quick"]
    assert await collect(slow) == list(range(RESULTS + 200))
    await scheduler.close()


async def test_a_model_that_does_not_load_says_so_to_everyone_who_asks() -> None:
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(Recipe("broken", refuses_to_load))
    with pytest.raises(EngineError, match="the model is broken"):
        await lane.start()
    with pytest.raises(EngineError, match="the model is broken"):
        await collect(lane.submit("hello", owner="a"))
    await scheduler.close()


@pytest.mark.one_loop
async def test_a_process_that_cannot_be_started_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(processes(Echo))
    with monkeypatch.context() as patch:
        exhausted = AsyncMock(side_effect=OSError("too many open files"))
        patch.setattr("engines.workers.asyncio.create_subprocess_exec", exhausted)
        with pytest.raises(EngineError, match="no process could be started: too many open files"):
            await lane.start()
    assert await collect(lane.submit("hello", owner="a")) == ["hello"]
    await scheduler.close()


class Stubborn(Echo):
    """Cannot be freed."""

    def close(self) -> None:
        super().close()
        raise RuntimeError("the library is wedged")


@pytest.mark.parametrize("worker", ["inline", "thread"])
async def test_an_engine_that_cannot_be_freed_does_not_keep_others_from_it(
    worker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn, plain = Stubborn(), Echo()
    scheduler = Scheduler(Device(1))
    lanes = [
        scheduler.open(replace(inline(engine), name=name, worker=worker))
        for name, engine in {"stubborn": stubborn, "plain": plain}.items()
    ]
    await asyncio.gather(*(lane.start() for lane in lanes))
    await scheduler.close()
    assert stubborn.closed
    assert plain.closed
    assert caplog.messages == ["an engine of model stubborn could not be freed"]
    caplog.clear()


async def test_a_lane_is_closed_even_if_nobody_waits_for_it_any_more() -> None:
    go = threading.Event()

    class Held(Echo):
        def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
            outcomes = super().step(work)
            go.wait(10)
            return outcomes

    engine = Held()
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(Recipe("held", lambda: engine))
    lane.submit("hello", owner="a")
    await until(lambda: bool(engine.steps))
    unloading = asyncio.create_task(scheduler.close(lane))
    await settle()
    unloading.cancel()
    await asyncio.gather(unloading, return_exceptions=True)
    go.set()
    await scheduler.close()
    assert engine.closed


async def test_who_waits_for_a_model_to_load_is_told_when_its_lane_is_closed() -> None:
    go = threading.Event()

    def slow() -> Echo:
        go.wait(10)
        return Echo()

    scheduler = Scheduler(Device(1))
    lane = scheduler.open(Recipe("slow", slow))
    starting = asyncio.create_task(lane.start())
    await settle()
    await scheduler.close()
    go.set()
    with pytest.raises(EngineError, match="unloaded"):
        async with asyncio.timeout(10):
            await starting


async def test_closing_a_lane_ends_its_jobs_and_frees_the_engine() -> None:
    engine = Echo()
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(inline(engine))
    ticket = lane.submit("audio", owner="a", streaming=True)
    ticket.push("one")
    assert await anext(ticket) == "one"
    await scheduler.close()
    with pytest.raises(EngineError, match="unloaded"):
        await anext(ticket)
    assert engine.closed
    with pytest.raises(EngineError, match="unloaded"):
        lane.submit("late", owner="a")


@pytest.mark.virtual_time
async def test_a_silent_job_gives_its_place_to_one_that_waits_and_starts_again_later() -> None:
    engine = Echo()
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(inline(engine, slots=1, replay=True))
    idle = lane.submit("idle", owner="a", streaming=True)
    idle.push("first")
    assert await anext(idle) == "first"
    waiting = lane.submit("waiting", owner="b", streaming=True)
    waiting.push("hello")
    began = asyncio.get_running_loop().time()
    assert await anext(waiting) == "hello"
    assert asyncio.get_running_loop().time() - began <= 2 * IDLE_SEAT_SECONDS
    assert engine.dropped == [idle.job]
    waiting.finish()
    assert await collect(waiting) == ["waiting"]
    idle.push("second")
    idle.finish()
    assert await collect(idle) == ["first", "second"]
    await scheduler.close()


@pytest.mark.virtual_time
async def test_a_job_whose_reader_was_behind_starts_again_from_its_first_input() -> None:
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(inline(Echo(), slots=1, replay=True))
    slow = lane.submit("slow", owner="a", streaming=True)
    inputs = list(range(RESULTS + 10))
    for number in inputs:
        slow.push(number)
    slow.finish()
    await settle()
    assert await collect(lane.submit("waiting", owner="b")) == ["waiting"]
    assert await collect(slow) == inputs[:RESULTS] + inputs
    await scheduler.close()


async def test_what_happened_is_counted() -> None:
    registry = CollectorRegistry()
    scheduler = Scheduler(Device(1), SchedulerMetrics(registry))
    lane = scheduler.open(inline(Echo()))
    await collect(lane.submit("hello", owner="a", kind=JobClass.FINAL))
    lane.submit("never", owner="a").cancel()
    labels = {"lane": "echo"}
    assert registry.get_sample_value("antiphon_jobs_total", labels | {"result": "done"}) == 1
    assert registry.get_sample_value("antiphon_jobs_total", labels | {"result": "cancelled"}) == 1
    wait = labels | {"job_class": "final"}
    assert registry.get_sample_value("antiphon_job_wait_seconds_count", wait) == 1
    await scheduler.close()


def processes(build: Any, **settings: Any) -> Recipe:
    return Recipe("echo", build, worker="process", slots=1, **settings)


@pytest.mark.one_loop
async def test_a_worker_process_that_dies_is_replaced_and_its_job_is_done_again(
    tmp_path: Path,
) -> None:
    scheduler = Scheduler(Device(1))
    flag = str(tmp_path / "flag")
    lane = scheduler.open(processes(partial(KillsOnce, flag), replay=True))
    ticket = lane.submit("audio", owner="a", streaming=True)
    for value in ("one", "two"):
        ticket.push(value)
    ticket.finish()
    assert await collect(ticket) == ["one", "two"]
    await scheduler.close()


@pytest.mark.one_loop
async def test_a_job_that_kills_its_worker_twice_fails_and_others_do_not_notice() -> None:
    scheduler = Scheduler(Device(2))
    lane = scheduler.open(processes(Echo, replay=True, workers=2))
    neighbour = lane.submit("audio", owner="b", streaming=True)
    neighbour.push("before")
    assert await anext(neighbour) == "before"
    with pytest.raises(WorkerCrashed):
        await collect(lane.submit("kill", owner="a"))
    neighbour.push("after")
    neighbour.finish()
    assert await collect(neighbour) == ["after"]
    await _is_served(lane)
    await scheduler.close()


async def _is_served(lane: Lane) -> None:
    assert await collect(lane.submit("still here", owner="c")) == ["still here"]


async def test_sessions_that_are_silent_cost_a_turn_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Echo()
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(inline(engine, select=UpTo(64)))
    idle = [lane.submit("idle", owner=str(n), streaming=True) for n in range(500)]
    speaker = lane.submit("speech", owner="a", streaming=True)
    looks = 0
    runnable = vars(Ticket)["runnable"].fget

    def counted(ticket: Ticket) -> bool:
        nonlocal looks
        looks += 1
        return bool(runnable(ticket))

    monkeypatch.setattr(Ticket, "runnable", property(counted))
    for number in range(100):
        speaker.push(number)
        assert await anext(speaker) == number
    assert len(engine.steps) == 100
    assert looks <= 10 * 100
    for ticket in idle:
        ticket.cancel()
    await scheduler.close()


class Hearing(Silero):
    """The real network, which counts its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        self.steps.append(len(work))
        return super().step(work)


async def test_the_frames_of_all_streams_that_wait_go_through_the_network_in_one_step() -> None:
    engine = await asyncio.to_thread(Hearing)
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(replace(silero.recipe(1), build=lambda: engine))
    await lane.start()
    streams = [
        lane.submit(None, owner=str(n), kind=JobClass.PARTIAL, streaming=True) for n in range(20)
    ]
    for tick in range(1, 4):
        for stream in streams:
            stream.push(np.zeros(silero.WINDOW, np.float32), silero.WINDOW)
        answers = await asyncio.gather(*map(anext, streams))
        assert [len(each) for each in answers] == [1] * 20
        assert len(engine.steps) <= 2 * tick
        assert sum(engine.steps) == 20 * tick
    await scheduler.close()
