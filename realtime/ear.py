"""The audio that a client sends, as frames on the session's one clock. No I/O."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from engines.audio import AudioFormat
from pipelines.frames import SAMPLE_RATE, Audio, Samples
from realtime.actions import Action, Push


class Decoder(Protocol):
    """What turns the client's bytes into float32 mono at `SAMPLE_RATE`, across appends."""

    def feed(self, data: bytes) -> Samples: ...

    def flush(self) -> Samples:
        """What was held back; the next feed starts afresh."""
        ...

    def reset(self) -> None: ...


class Ear:
    """Decodes what is appended; positions go on over changes of the format."""

    def __init__(self, decoder: Callable[[AudioFormat], Decoder], format: AudioFormat) -> None:
        self._new_decoder = decoder
        self._decoder = decoder(format)
        self.format = format
        self._position = 0

    def hear(self, data: bytes) -> list[Action]:
        """More audio in the current format."""
        return self._heard(self._decoder.feed(data))

    def flush(self) -> list[Action]:
        """What the decoder held back."""
        return self._heard(self._decoder.flush())

    def reset(self) -> None:
        """Forget what the decoder held back."""
        self._decoder.reset()

    def change(self, format: AudioFormat) -> list[Action]:
        """From here on audio comes in this format; the rest of what came before it."""
        tail = self.flush()
        self._decoder = self._new_decoder(format)
        self.format = format
        return tail

    def decode(self, data: bytes) -> Samples:
        """A recording of its own, in the current format, beside the stream."""
        decoder = self._new_decoder(self.format)
        return np.concatenate((decoder.feed(data), decoder.flush()))

    def _heard(self, samples: Samples) -> list[Action]:
        if not len(samples):
            return []
        frame = Audio(samples, self._position)
        self._position = frame.end
        return [Push(frame)]


def milliseconds(position: int) -> int:
    """A position of the session's clock as clients are told it."""
    return position * 1000 // SAMPLE_RATE
