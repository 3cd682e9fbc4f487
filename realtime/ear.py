"""The audio that a client sends, as frames on the session's one clock. No I/O."""

from collections.abc import Callable
from typing import Protocol

from engines.audio import AudioFormat
from pipelines.frames import SAMPLE_RATE, Audio, Samples
from realtime.actions import Action, Push


class Decoder(Protocol):
    """What turns the client's bytes into float32 mono at `SAMPLE_RATE`, across appends."""

    def feed(self, data: bytes) -> Samples: ...

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

    def reset(self) -> None:
        """What comes next does not follow what came before."""
        self._decoder.reset()

    def change(self, format: AudioFormat) -> None:
        """From here on audio comes in this format."""
        self._decoder = self._new_decoder(format)
        self.format = format

    def decode(self, data: bytes) -> Samples:
        """A recording of its own, in the current format, beside the stream."""
        return self._new_decoder(self.format).feed(data)

    def _heard(self, samples: Samples) -> list[Action]:
        if not len(samples):
            return []
        frame = Audio(samples, self._position)
        self._position = frame.end
        return [Push(frame)]


def milliseconds(position: int) -> int:
    """A position of the session's clock as clients are told it."""
    return position * 1000 // SAMPLE_RATE
