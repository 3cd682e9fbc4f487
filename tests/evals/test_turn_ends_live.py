"""Ends of turns by what a real Whisper understands while somebody speaks."""

import asyncio
import itertools
from pathlib import Path

import numpy as np
import pytest
from streaming import Ears, ears
from voice import RATE, say, silence

from pipelines.context import Context
from pipelines.frames import Audio, Configure, Frame, SpeechStopped
from pipelines.loader import CAPTIONS, load_plan

pytestmark = pytest.mark.one_loop

CHUNK = RATE // 50


async def settled(engine: Ears) -> None:
    """Wait until no engine has anything to do: nothing is ever understood late."""
    calm = 0
    while calm < 3:
        await asyncio.sleep(0.0005)
        lanes = [lane.statistics() for lane in engine.scheduler.lanes]
        calm = 0 if any(lane.waiting or lane.running for lane in lanes) else calm + 1


async def wait_after(text: str, engine: Ears) -> float:
    """Seconds from the end of this speech to the end of its turn."""
    stopped: list[int] = []

    def hear(frame: Frame) -> None:
        if isinstance(frame, SpeechStopped):
            stopped.append(frame.at)

    numbers = itertools.count()
    context = Context(
        "speaker",
        engine.store,
        engine.listen,
        lambda: f"item_{next(numbers)}",
        hear,
        model=engine.model,
    )
    graph = (await asyncio.to_thread(load_plan, CAPTIONS)).build(context)
    running = asyncio.create_task(graph.run())
    audio = np.concatenate((silence(0.5), say(text), silence(5)))
    try:
        graph.push(Configure("vad", {"eagerness": "medium", "silence": 0.7}))
        for at in range(0, len(audio), CHUNK):
            graph.push(Audio(audio[at : at + CHUNK], at))
            await settled(engine)
            if stopped:
                return stopped[0] / RATE - 0.5 - len(say(text)) / RATE
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    raise AssertionError("the turn never ended")


async def test_whoever_has_finished_is_answered_soon_and_others_are_waited_for(
    tmp_path: Path,
) -> None:
    async with ears(tmp_path) as engine:
        for text in ("Set a timer for ten minutes please.", "Who won the football game this year?"):
            assert await wait_after(text, engine) < 0.6, text
        for text in ("Can you tell me", "The next meeting is on"):
            assert await wait_after(text, engine) > 1.5, text
