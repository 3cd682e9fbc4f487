"""`antiphon serve` as it is, with what only a benchmark wants: a voice that takes no time in the
place of espeak, and an event loop that stands still at random."""

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import cast

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does, before numpy

sys.path[:0] = [str(Path(__file__).parents[1])]

from aiohttp import web  # noqa: E402

from bench import instant_voice  # noqa: E402
from engines.models import ENGINES  # noqa: E402
from realtime import log  # noqa: E402
from realtime.config import data_dir, load_configuration  # noqa: E402
from realtime.serving import prepare, serve  # noqa: E402

SEED = 5


def stalling(seconds: float, every: float) -> Callable[[web.Application], AsyncIterator[None]]:
    """Let the loop stand still for so long, at random moments, on average so far apart."""
    pick = random.Random(SEED)

    async def stall() -> None:
        while True:
            await asyncio.sleep(pick.expovariate(1 / every))
            time.sleep(seconds)  # noqa: ASYNC251 - to block the loop is the purpose

    async def run(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(stall())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return run


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--instant-voice", action="store_true")
    parser.add_argument("--stall", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--every", type=float, default=0.25, metavar="SECONDS")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config", type=Path, required=True)
    given = parser.parse_args(arguments)
    if given.instant_voice:
        cast(dict[str, ModuleType], ENGINES)["espeak"] = instant_voice
    overrides = {"server.port": given.port}
    configuration = load_configuration(given.config, os.environ, overrides)
    log.configure(configuration.server.log_level)
    application, context = prepare(configuration, data_dir(os.environ))
    if given.stall:
        application.cleanup_ctx.append(stalling(given.stall, given.every))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(application, configuration, context))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """The loop that the command would take."""
    try:
        import uvloop
    except ImportError:  # no uvloop on this platform
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
