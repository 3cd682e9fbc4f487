"""The virtual clock that timing tests rely on."""

import asyncio
import time

import pytest


@pytest.mark.virtual_time
async def test_an_hour_of_sleep_passes_at_once_and_in_order() -> None:
    order: list[int] = []

    async def wait(seconds: int) -> None:
        await asyncio.sleep(seconds)
        order.append(seconds)

    began = time.monotonic()
    await asyncio.gather(wait(3600), wait(10), wait(60))
    assert order == [10, 60, 3600]
    assert asyncio.get_running_loop().time() >= 3600
    assert time.monotonic() - began < 5


async def test_every_async_test_runs_on_both_loops(request: pytest.FixtureRequest) -> None:
    name = type(asyncio.get_running_loop()).__module__
    assert name.startswith("uvloop" if "uvloop" in request.node.name else "asyncio")
