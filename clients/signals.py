"""What Ctrl-C does in a program that has something to finish."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` on the loop for SIGINT and SIGTERM, where this thread may say so."""
    loop = asyncio.get_running_loop()
    previous: dict[signal.Signals, Any] = {}

    def interrupted(*_: object) -> None:
        loop.call_soon_threadsafe(act)

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # not the main thread: somebody else's signals
            previous[number] = signal.signal(number, interrupted)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
