"""One utterance's audio on its way from the event loop to the engine that decodes windows of it."""

import threading
from collections import deque

import numpy as np

from engines.base import InvalidInput
from engines.mel import Floats, LogMel
from engines.recognition import Samples


class Speech:
    """Grows on the event loop (`append`, `forget`), is read by an engine's thread (`features`).

    Audio is turned into log-mel frames once, by the first window that needs it, and kept until
    `forget` says that no window will. Positions are samples from the start of the utterance.
    """

    def __init__(self) -> None:
        self.language: str | None = None
        """The language an engine detected, for the windows to come."""
        self.encoded: dict[tuple[int, int, int], Floats] = {}
        """The encoder's output for the newest window, by its start, end and frames."""
        self._fresh: deque[Samples] = deque()
        self._needed = 0
        self._length = 0
        self._lock = threading.Lock()
        self._mel: LogMel | None = None

    @property
    def length(self) -> int:
        """Samples appended."""
        return self._length

    def append(self, samples: Samples) -> None:
        """Add audio: float32 at 16 kHz."""
        self._fresh.append(samples)
        self._length += len(samples)

    def forget(self, before: int) -> None:
        """No window will start before this position again."""
        self._needed = max(self._needed, before)

    def features(self, filters: Floats, start: int, end: int, frames: int) -> Floats:
        """The features of a window; see `LogMel.window`. Blocks.

        Raises `InvalidInput` for audio that is not finite float32 of one channel.
        """
        with self._lock:
            if self._mel is None:
                self._mel = LogMel(filters)
            while self._fresh:
                self._hear(self._mel, self._fresh.popleft())
            self._mel.forget(self._needed)
            return self._mel.window(start, end, frames)

    @staticmethod
    def _hear(mel: LogMel, samples: Samples) -> None:
        if samples.dtype == np.float32 and samples.ndim == 1 and np.isfinite(samples).all():
            mel.push(samples)
            return
        mel.push(np.zeros(len(samples), np.float32))  # what comes later keeps its place
        raise InvalidInput("Speech recognition needs finite float32 samples of one channel.")
