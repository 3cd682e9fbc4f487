"""Fixtures that every test gets: both event loops, virtual time, blocking-call detection."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop
from blockbuster import BlockBuster, blockbuster_ctx
from clock import VirtualTimeLoop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, object]:
    """Run every async test on asyncio and on uvloop, unless its marker says otherwise."""
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    if item.get_closest_marker("one_loop"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def blocking_calls_fail() -> Iterator[BlockBuster]:
    """A blocking call made by our code on the event loop fails the test."""
    with blockbuster_ctx(scanned_modules=["realtime", "routes", "engines", "pipelines"]) as buster:
        yield buster
