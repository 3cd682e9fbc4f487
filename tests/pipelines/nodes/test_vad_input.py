"""What waits for voice activity: pieces of sound of any size, and what else comes between."""

import asyncio

import numpy as np
import pytest

from pipelines.frames import Audio, Clear, Frame
from pipelines.nodes.vad_input import AudioInbox

pytestmark = pytest.mark.virtual_time


def sound(samples: int) -> Audio:
    return Audio(np.zeros(samples, np.float32), 0)


async def next_frame(inbox: AudioInbox) -> Frame | None:
    """The next frame, if there is one that is worth waking for."""
    try:
        return await asyncio.wait_for(inbox.get(), 1)
    except TimeoutError:
        return None


async def test_sound_is_given_once_there_is_enough_of_it() -> None:
    inbox = AudioInbox(enough=512)
    inbox.put(sound(320))
    assert (inbox.is_ready, await next_frame(inbox)) == (False, None)
    inbox.put(sound(320))
    first = await next_frame(inbox)
    assert isinstance(first, Audio)
    assert len(inbox.gather(first)) == 640
    inbox.enough = 512 - 128
    inbox.put(sound(320))
    assert await next_frame(inbox) is None
    inbox.put(sound(64))
    assert isinstance(await next_frame(inbox), Audio)


async def test_whatever_else_comes_does_not_wait_for_sound() -> None:
    inbox = AudioInbox(enough=512)
    inbox.put(sound(100))
    inbox.put(Clear())
    first = await next_frame(inbox)
    assert isinstance(first, Audio)
    assert len(inbox.gather(first)) == 100
    assert isinstance(await next_frame(inbox), Clear)
    assert (inbox.samples, inbox.is_ready) == (0, False)
