"""How a device grants its cores."""

import asyncio

from engines.devices import Device


async def _hold(device: Device, deadline: float, log: list[float], cores: int = 1) -> None:
    async with device.grant(cores, lambda: deadline):
        log.append(deadline)
        await asyncio.sleep(0)


async def test_the_most_urgent_claim_is_granted_first() -> None:
    device, log = Device(1), list[float]()
    async with device.grant(1, lambda: 0.0):
        tasks = [asyncio.create_task(_hold(device, d, log)) for d in (3.0, 1.0, 2.0)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert log == [1.0, 2.0, 3.0]
    assert device.free == 1


async def test_a_claim_that_becomes_urgent_while_it_waits_overtakes() -> None:
    device, log = Device(1), list[float]()
    deadlines = {"a": 1.0, "b": 2.0}

    async def claim(name: str) -> None:
        async with device.grant(1, lambda: deadlines[name]):
            log.append(deadlines[name])

    async with device.grant(1, lambda: 0.0):
        tasks = [asyncio.create_task(claim(name)) for name in "ab"]
        await asyncio.sleep(0)
        deadlines["b"] = 0.5
    await asyncio.gather(*tasks)
    assert log == [0.5, 1.0]


async def test_a_wide_claim_is_not_starved_by_narrow_ones_that_come_later() -> None:
    device, log = Device(2), list[float]()
    async with device.grant(1, lambda: 0.0):
        wide = asyncio.create_task(_hold(device, 1.0, log, cores=2))
        await asyncio.sleep(0)
        narrow = asyncio.create_task(_hold(device, 2.0, log))
        await asyncio.sleep(0)
        assert log == []
    await asyncio.gather(wide, narrow)
    assert log == [1.0, 2.0]


async def test_a_cancelled_claim_gives_everything_back() -> None:
    device, log = Device(1), list[float]()
    async with device.grant(1, lambda: 0.0):
        task = asyncio.create_task(_hold(device, 1.0, log))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert device.free == 1
    async with device.grant(1, lambda: 0.0):
        assert device.free == 0


async def test_claims_that_are_cancelled_together_give_back_only_what_they_held() -> None:
    device, log = Device(1), list[float]()
    tasks = [asyncio.create_task(_hold(device, d, log)) for d in (1.0, 2.0, 3.0)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (log, device.free) == ([1.0], 1)


async def test_a_claim_that_is_cancelled_as_it_is_granted_gives_everything_back() -> None:
    device, log = Device(1), list[float]()
    async with device.grant(1, lambda: 0.0):
        task = asyncio.create_task(_hold(device, 1.0, log))
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (log, device.free) == ([], 1)


async def test_work_too_small_for_a_grant_never_waits() -> None:
    device = Device(1)
    async with device.grant(1, lambda: 0.0), device.grant(0, lambda: 9.0):
        assert device.free == 0


def test_work_elsewhere_is_that_of_the_other_lanes_spread_over_all_cores() -> None:
    device = Device(2)
    device.join("a", lambda deadline: 4.0)
    device.join("b", lambda deadline: 6.0 if deadline > 10 else 0.0)
    assert device.work_elsewhere("a", 20.0) == 3.0
    assert device.work_elsewhere("a", 5.0) == 0.0
    assert device.work_elsewhere("c", 20.0) == 5.0
    device.leave("b")
    assert device.work_elsewhere("a", 20.0) == 0.0
