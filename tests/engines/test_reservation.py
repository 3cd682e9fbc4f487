"""What is kept for live work: one seat of several while there is any, and places in each."""

import asyncio

import pytest
from paced import Paced, Task, collect, now, recipe, same_group, scheduling

from engines.base import JobClass, UpTo
from engines.load import LIVE_SECONDS
from engines.scheduler import Lane
from engines.tickets import Ticket

pytestmark = pytest.mark.virtual_time

LIVE = [JobClass.FINAL, JobClass.FIRST_SENTENCE, JobClass.PARTIAL]
PATIENT = [JobClass.REST, JobClass.BACKGROUND]


async def seen_live(lane: Lane) -> None:
    """A live job has been in the lane, and both seats are up."""
    jobs = [lane.submit(Task("live"), owner=f"l{n}", kind=JobClass.PARTIAL) for n in range(2)]
    await asyncio.gather(*map(collect, jobs))


@pytest.mark.parametrize("kind", PATIENT)
async def test_long_uploads_leave_a_seat_for_whoever_speaks(kind: JobClass) -> None:
    engine = Paced(base=0.1)
    async with scheduling(cores=2) as scheduler:
        lane = scheduler.open(recipe(engine, workers=2))
        await seen_live(lane)
        uploads = [lane.submit(Task("file", seconds=3), owner="u", kind=kind) for _ in range(3)]
        await asyncio.sleep(1)
        for live in LIVE:
            began = now()
            await collect(lane.submit(Task("live"), owner="a", kind=live))
            assert now() - began == pytest.approx(0.1)
        for ticket in uploads:
            assert await collect(ticket) == ["file"]


async def test_without_live_work_every_seat_is_used() -> None:
    engine = Paced(base=1.0)
    async with scheduling(cores=2) as scheduler:
        lane = scheduler.open(recipe(engine, workers=2))
        await asyncio.gather(
            *(collect(lane.submit(Task("file"), owner="u", kind=kind)) for kind in 2 * PATIENT)
        )
        assert now() == pytest.approx(2.0)


async def test_the_seat_is_kept_for_five_seconds_after_the_last_live_job() -> None:
    engine = Paced(base=0.1)
    async with scheduling(cores=2) as scheduler:
        lane = scheduler.open(recipe(engine, workers=2))
        await seen_live(lane)
        last = now()
        for _ in range(2):
            lane.submit(Task("file", seconds=60), owner="u", kind=JobClass.BACKGROUND)
        await asyncio.sleep(30)
        first, second = [at for at, names in engine.log if names == ("file",)]
        assert first == pytest.approx(last)
        assert second == pytest.approx(last + LIVE_SECONDS)


async def test_a_lane_of_one_seat_reserves_nothing() -> None:
    engine = Paced(base=0.1)
    async with scheduling(cores=2) as scheduler:
        lane = scheduler.open(recipe(engine))
        await collect(lane.submit(Task("live"), owner="a", kind=JobClass.FINAL))
        await collect(lane.submit(Task("file"), owner="u", kind=JobClass.BACKGROUND))
        assert now() == pytest.approx(0.2)


async def test_an_upload_is_done_however_long_somebody_speaks() -> None:
    engine = Paced(base=0.2)
    async with scheduling(cores=2) as scheduler:
        lane = scheduler.open(recipe(engine, workers=2))

        async def speak() -> None:
            while True:
                await collect(lane.submit(Task("live"), owner="a", kind=JobClass.PARTIAL))

        await seen_live(lane)
        speaker = asyncio.create_task(speak())
        await asyncio.sleep(1)
        began = now()
        assert await collect(lane.submit(Task("file"), owner="u")) == ["file"]
        assert now() - began <= 12
        speaker.cancel()
        await asyncio.gather(speaker, return_exceptions=True)


async def test_a_speaker_is_not_evicted_for_an_upload_that_may_not_board() -> None:
    engine = Paced(base=0.1)
    async with scheduling(cores=2) as scheduler:
        lane = scheduler.open(recipe(engine, workers=2, slots=1, replay=True))
        speakers = [
            lane.submit("speech", owner=o, kind=JobClass.PARTIAL, streaming=True) for o in "ab"
        ]
        for ticket in speakers:
            ticket.push("hello")
            assert await anext(ticket) == "hello"
        upload = lane.submit("upload", owner="u", streaming=True)
        upload.push("file")
        for _ in range(4):
            await asyncio.sleep(1)
            speakers[0].push("more")
            assert await anext(speakers[0]) == "more"
        assert engine.dropped == []
        speakers[1].cancel()
        speakers[0].cancel()
        upload.finish()
        assert await collect(upload) == ["file"]


async def test_partials_gather_behind_those_that_run_and_finals_find_a_seat() -> None:
    engine = Paced(base=1.0)
    async with scheduling(cores=2) as scheduler:
        lane = scheduler.open(recipe(engine, workers=2, full_batch=4, select=same_group))
        first = lane.submit(Task("p0"), owner="a", kind=JobClass.PARTIAL)
        await asyncio.sleep(0.1)
        later = [lane.submit(Task(f"p{n}"), owner=f"o{n}", kind=JobClass.PARTIAL) for n in (1, 2)]
        await asyncio.sleep(0.1)
        began = now()
        await collect(lane.submit(Task("final"), owner="b", kind=JobClass.FINAL))
        assert now() - began == pytest.approx(1.0)
        await asyncio.gather(*map(collect, [first, *later]))
        assert ("p1", "p2") in engine.order


async def test_a_full_batch_of_partials_takes_the_last_seat() -> None:
    engine = Paced(base=1.0)
    async with scheduling(cores=2) as scheduler:
        lane = scheduler.open(recipe(engine, workers=2, full_batch=4, select=same_group))
        tickets = [lane.submit(Task("p0"), owner="a", kind=JobClass.PARTIAL)]
        await asyncio.sleep(0.1)
        tickets += [lane.submit(Task("p"), owner=f"o{n}", kind=JobClass.PARTIAL) for n in range(4)]
        await asyncio.gather(*map(collect, tickets))
        at, names = engine.log[1]
        assert at == pytest.approx(0.1)
        assert names == ("p",) * 4


async def test_what_comes_within_a_tick_shares_a_step() -> None:
    engine = Paced(base=0.001)
    async with scheduling() as scheduler:
        ticks = {JobClass.PARTIAL: 0.02}
        lane = scheduler.open(recipe(engine, ticks=ticks, select=same_group))
        for n in range(7):
            lane.submit(Task(f"t{n}"), owner="a", kind=JobClass.PARTIAL)
            await asyncio.sleep(0.006)
        await asyncio.sleep(0.1)
        # The first is alone and does not wait; the others come at 6, 12, 18, then 24, 30, 36 ms.
        assert engine.order == [("t0",), ("t1", "t2", "t3"), ("t4", "t5", "t6")]


async def test_all_that_share_an_engine_with_an_urgent_job_are_stepped_as_often() -> None:
    engine = Paced(base=0.001)
    async with scheduling() as scheduler:
        ticks = {JobClass.FINAL: 0.01, JobClass.PARTIAL: 0.02}
        lane = scheduler.open(recipe(engine, ticks=ticks, select=same_group))
        urgent = lane.submit(Task("f"), owner="b", kind=JobClass.FINAL, streaming=True)
        urgent.push("now")
        for n in range(2):
            await asyncio.sleep(0.003)
            lane.submit(Task(f"p{n}"), owner="a", kind=JobClass.PARTIAL)
        await asyncio.sleep(0.015)
        urgent.cancel()
        for n in range(2, 4):
            lane.submit(Task(f"p{n}"), owner="a", kind=JobClass.PARTIAL)
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        assert [names for _, names in engine.log] == [("f",), ("p0", "p1"), ("p2", "p3")]
        assert [at for at, _ in engine.log] == pytest.approx([0, 0.01, 0.03])


async def test_finals_gather_while_a_full_batch_of_partials_waits() -> None:
    engine = Paced(base=1.0)
    async with scheduling(cores=2) as scheduler:
        lane = scheduler.open(recipe(engine, workers=2, full_batch=4, select=same_group))
        tickets = [lane.submit(Task("f", group="f"), owner="a", kind=JobClass.FINAL)]
        tickets += [lane.submit(Task("p0"), owner="b", kind=JobClass.PARTIAL)]
        await asyncio.sleep(0.5)
        for n in range(4):
            tickets.append(lane.submit(Task("p"), owner=f"o{n}", kind=JobClass.PARTIAL))
        for n in range(2):
            tickets.append(lane.submit(Task("f", group="f"), owner=f"f{n}", kind=JobClass.FINAL))
        await asyncio.gather(*map(collect, tickets))
        assert engine.order[2:] == [("f", "f"), ("p",) * 4]
        assert engine.log[-1][0] == pytest.approx(1.0), "both classes found a worker at once"


# Places inside a worker


def answers(lane: Lane, count: int, steps: int, kind: JobClass = JobClass.REST) -> list[Ticket]:
    """Jobs that hold their places for so many steps."""
    return [lane.submit(Task(kind.name, steps), owner=f"o{n}", kind=kind) for n in range(count)]


@pytest.mark.parametrize("kind", PATIENT)
async def test_a_live_job_finds_a_place_though_others_wait_for_one(kind: JobClass) -> None:
    engine = Paced(base=0.1)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(4), slots=4, reserved=1))
        others = answers(lane, 8, 100, kind)
        await asyncio.sleep(1.05)
        assert max(map(len, engine.order)) == 3
        began = now()
        live = lane.submit(Task("live"), owner="a", kind=JobClass.FIRST_SENTENCE)
        assert await collect(live) == ["live"]
        assert now() - began <= 0.2
        assert ("live", *3 * [kind.name]) in engine.order[-2:]
        for ticket in others:
            assert len(await collect(ticket)) == 100


async def test_live_jobs_take_the_common_places_too() -> None:
    engine = Paced(base=0.1)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(8), slots=4, reserved=1))
        live = answers(lane, 6, 5, JobClass.FIRST_SENTENCE)
        patient = answers(lane, 6, 5)
        await asyncio.gather(*map(collect, [*live, *patient]))
        assert engine.order[0] == ("FIRST_SENTENCE",) * 4
        assert max(order.count("REST") for order in engine.order) == 3


async def test_a_patient_job_is_done_however_many_live_ones_come() -> None:
    engine = Paced(base=0.1)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(2), slots=2, reserved=1))

        async def speak(owner: str) -> None:
            while True:
                kind = JobClass.FIRST_SENTENCE
                await collect(lane.submit(Task("live"), owner=owner, kind=kind))

        speakers = [asyncio.create_task(speak(f"s{n}")) for n in range(4)]
        await asyncio.sleep(1)
        began = now()
        assert await collect(lane.submit(Task("file"), owner="u")) == ["file"]
        assert now() - began <= 12
        for speaker in speakers:
            speaker.cancel()
        await asyncio.gather(*speakers, return_exceptions=True)


async def test_who_waits_for_a_common_place_does_not_keep_the_engine_spinning() -> None:
    engine = Paced(base=0.1)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(2), slots=2, reserved=1))
        holder = lane.submit("speech", owner="a", streaming=True)
        holder.push("hello")
        assert await anext(holder) == "hello"
        waits = lane.submit(Task("waits"), owner="b")
        await asyncio.sleep(5)
        assert engine.order == [("speech",)]
        holder.finish()
        assert await collect(waits) == ["waits"]


async def test_another_worker_is_started_where_only_reserved_places_are_left() -> None:
    engine = Paced(base=0.1)
    async with scheduling(cores=2) as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(2), slots=2, reserved=1, workers=2))
        tickets = answers(lane, 2, 10)
        await asyncio.sleep(0.5)
        assert len(lane.workers) == 2
        await asyncio.gather(*map(collect, tickets))
        assert now() == pytest.approx(1.0)


async def test_a_speaker_in_a_reserved_place_is_not_evicted_for_who_may_not_have_it() -> None:
    engine = Paced(base=0.1)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, slots=2, reserved=1, replay=True))
        speaker = lane.submit("speech", owner="s", kind=JobClass.PARTIAL, streaming=True)
        upload = lane.submit("upload", owner="u", streaming=True)
        for ticket in (speaker, upload):
            ticket.push("hello")
            assert await anext(ticket) == "hello"
        other = lane.submit("other", owner="o", streaming=True)
        other.push("file")
        other.finish()
        assert await collect(other) == ["file"]
        assert engine.dropped == [upload.job]


async def test_predictions_know_whose_places_are_left() -> None:
    engine = Paced(base=1.0)
    async with scheduling() as scheduler:
        lane = scheduler.open(recipe(engine, select=UpTo(4), slots=2, reserved=1))
        await collect(lane.submit(Task("measure", steps=10), owner="m"))
        holder, waits = answers(lane, 2, 10)
        await asyncio.sleep(0.5)
        assert lane.predicted_wait(JobClass.FIRST_SENTENCE) == pytest.approx(0.5)
        assert lane.predicted_wait(JobClass.REST) == pytest.approx(0.5 + 10 + 10, abs=1)
        await asyncio.sleep(9)
        # By now the one that waits is due before a live job would be, and still not in its way.
        assert lane.predicted_wait(JobClass.FIRST_SENTENCE) == pytest.approx(0.5)
        began = now()
        live = lane.submit(Task("live"), owner="a", kind=JobClass.FIRST_SENTENCE)
        assert await anext(live) == "live"
        assert now() - began == pytest.approx(1.5)
        await asyncio.gather(*map(collect, (holder, waits)))
