"""A stream of samples as windows of fixed size, and the stretch of it that is still remembered."""

from collections import deque

import numpy as np

from engines.recognition import Samples


class Windows:
    """Cuts a stream into windows of `size` samples, however it arrives."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rest: Samples = np.zeros(0, np.float32)

    @property
    def rest(self) -> Samples:
        """The samples that do not fill a window yet."""
        return self._rest

    def feed(self, samples: Samples) -> Samples:
        """As many whole windows as there are now, shape (windows, size)."""
        whole = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        count = len(whole) // self._size
        self._rest = whole[count * self._size :].copy()
        return whole[: count * self._size].reshape(count, self._size)

    def flush(self) -> Samples:
        """The samples that do not fill a window, which are forgotten."""
        rest, self._rest = self._rest, np.zeros(0, np.float32)
        return rest


class History:
    """The latest samples of a stream, up to `most`, by their position."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: deque[tuple[int, Samples]] = deque()
        self._length = 0

    @property
    def start(self) -> int | None:
        """The position of the oldest sample, if there is one."""
        return self._pieces[0][0] if self._pieces else None

    def add(self, at: int, samples: Samples) -> None:
        """Remember samples, which follow those before."""
        if len(samples):
            self._pieces.append((at, samples))
            self._length += len(samples)
        while self._pieces and self._length - len(self._pieces[0][1]) >= self._most:
            self._length -= len(self._pieces.popleft()[1])

    def since(self, position: int) -> tuple[int, Samples]:
        """The position and samples from `position` on, or from the oldest if that is later."""
        kept = [
            (max(at, position), samples[max(0, position - at) :])
            for at, samples in self._pieces
            if at + len(samples) > position
        ]
        if not kept:
            return position, np.zeros(0, np.float32)
        return kept[0][0], np.concatenate([samples for _, samples in kept])

    def forget(self, position: int) -> None:
        """Drop everything before `position`."""
        at, samples = self.since(position)
        self._pieces.clear()
        self._length = 0
        self.add(at, samples)
