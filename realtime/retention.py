"""The audio of a session's latest items, so that clients can retrieve them."""

import asyncio
from collections import OrderedDict

import numpy as np

from engines.audio import to_pcm16
from engines.recognition import SAMPLE_RATE, Samples
from pipelines.frames import Audio, Frame

WIRE_RATE = 24_000


class RetainedAudio:
    """Keeps up to `seconds` of audio by item, the oldest items go first. As an observer of a graph
    it keeps utterances; what is said to the client is given to `keep`."""

    def __init__(self, seconds: float) -> None:
        self._most = seconds
        self._items: OrderedDict[str, list[tuple[Samples, int]]] = OrderedDict()
        self._length = 0.0
        self._prepared: tuple[str, bytes] | None = None

    def observe(self, sender: str, frame: Frame) -> None:
        """Keep the audio of utterances."""
        if isinstance(frame, Audio) and frame.item is not None:
            self.keep(frame.item, frame.samples, SAMPLE_RATE)

    def keep(self, item: str, samples: Samples, rate: int) -> None:
        """More audio of an item: float32 mono, all of it at the same rate."""
        self._items.setdefault(item, []).append((samples, rate))
        self._length += len(samples) / rate
        while self._length > self._most and len(self._items) > 1:
            _, pieces = self._items.popitem(last=False)
            self._length -= sum(map(_seconds, pieces))
        pieces = self._items[item]
        while self._length > self._most and pieces:  # one item alone is too long: its end is kept
            self._length -= _seconds(pieces.pop(0))

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


def _seconds(piece: tuple[Samples, int]) -> float:
    return len(piece[0]) / piece[1]


def _wire_audio(pieces: tuple[tuple[Samples, int], ...]) -> bytes:
    import soxr

    audio = np.concatenate([samples for samples, _ in pieces])
    resampled = soxr.resample(audio, pieces[0][1], WIRE_RATE)
    return to_pcm16(resampled.astype(np.float32, copy=False))
