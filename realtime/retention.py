"""The audio of a session's latest utterances, so that clients can retrieve them."""

import asyncio
from collections import OrderedDict

import numpy as np

from engines.audio import to_pcm16
from engines.recognition import SAMPLE_RATE, Samples
from pipelines.frames import Audio, Frame

WIRE_RATE = 24_000


class RetainedAudio:
    """An observer of a graph: keeps up to `seconds` of audio by item, the oldest items go first."""

    def __init__(self, seconds: float) -> None:
        self._most = round(seconds * SAMPLE_RATE)
        self._items: OrderedDict[str, list[Samples]] = OrderedDict()
        self._length = 0
        self._prepared: tuple[str, bytes] | None = None

    def observe(self, sender: str, frame: Frame) -> None:
        """Keep the audio of utterances."""
        if not isinstance(frame, Audio) or frame.item is None:
            return
        self._items.setdefault(frame.item, []).append(frame.samples)
        self._length += len(frame.samples)
        while self._length > self._most and len(self._items) > 1:
            _, pieces = self._items.popitem(last=False)
            self._length -= sum(map(len, pieces))
        if self._length > self._most:  # one item alone is too long: its end is kept
            pieces = self._items[frame.item]
            while self._length > self._most:
                self._length -= len(pieces.pop(0))

    async def prepare(self, item: str) -> None:
        """Make the item's audio ready for `audio_of`, off the event loop."""
        self._prepared = None
        pieces = self._items.get(item)
        if pieces:
            self._prepared = item, await asyncio.to_thread(_wire_audio, tuple(pieces))

    def audio_of(self, item: str) -> bytes | None:
        """The prepared item's audio as PCM16 at 24 kHz, if it is still here."""
        if self._prepared is None or self._prepared[0] != item:
            return None
        return self._prepared[1]


def _wire_audio(pieces: tuple[Samples, ...]) -> bytes:
    import soxr

    audio = soxr.resample(np.concatenate(pieces), SAMPLE_RATE, WIRE_RATE)
    return to_pcm16(audio.astype(np.float32, copy=False))
