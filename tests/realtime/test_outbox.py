"""What waits to be sent, and who waits for it to leave."""

import asyncio

import pytest

from realtime.outbox import ROOMY_BYTES, Outbox, OutboxFull

pytestmark = pytest.mark.virtual_time


async def test_events_leave_in_order_as_json() -> None:
    outbox = Outbox(4)
    outbox.put({"type": "first"})
    outbox.put({"type": "second", "text": "ü"})
    assert [await outbox.get(), await outbox.get()] == [
        '{"type":"first"}',
        '{"type":"second","text":"ü"}',
    ]


@pytest.mark.parametrize(("drop", "left"), [(False, ["{}", None]), (True, [None])])
async def test_after_the_last_event_there_is_none(drop: bool, left: list[str | None]) -> None:
    outbox = Outbox(4)
    outbox.put({})
    outbox.end(drop=drop)
    outbox.put({"type": "late"})
    assert [await outbox.get() for _ in left] == left


async def test_who_waits_for_an_event_is_told_that_none_comes() -> None:
    outbox = Outbox(4)
    getting = asyncio.create_task(outbox.get())
    await asyncio.sleep(1)
    outbox.end(drop=False)
    assert await getting is None


async def test_more_than_may_wait_are_refused() -> None:
    outbox = Outbox(2)
    outbox.put({})
    outbox.put({})
    with pytest.raises(OutboxFull):
        outbox.put({})


@pytest.mark.parametrize(
    ("event", "many"), [({}, 5), ({"audio": "x" * ROOMY_BYTES}, 1)], ids=["events", "bytes"]
)
async def test_there_is_room_again_once_enough_has_left(event: dict[str, str], many: int) -> None:
    outbox = Outbox(8)
    for _ in range(many):
        outbox.put(event)
    room = asyncio.create_task(outbox.roomy())
    await asyncio.sleep(1)
    assert not room.done()
    await outbox.get()
    await asyncio.wait_for(room, 1)
