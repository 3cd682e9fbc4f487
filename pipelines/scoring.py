"""Speech probabilities of a stream of windows: Silero behind an energy gate."""

from collections import deque
from collections.abc import Callable

import numpy as np

from engines.recognition import Samples
from engines.tickets import Ticket
from pipelines.gate import REPLAY, EnergyGate
from pipelines.turns import WINDOW


class Scorer:
    """Scores one stream; has a place in the model only while the gate is open."""

    def __init__(self, gate: EnergyGate, open_voice_activity: Callable[[], Ticket]) -> None:
        self._gate = gate
        self._open = open_voice_activity
        self._recent: deque[Samples] = deque(maxlen=REPLAY)
        """The newest windows, which the model hears too when the gate opens."""
        self._ticket: Ticket | None = None

    async def score(self, windows: Samples) -> Samples:
        """Speech probabilities of the windows; silence is zero and costs nothing."""
        opened = [self._gate.hear(window) for window in windows]
        probabilities = np.zeros(len(windows), np.float32)
        start = 0
        while start < len(windows):
            stop = start + 1
            while stop < len(windows) and opened[stop] == opened[start]:
                stop += 1
            if opened[start]:
                probabilities[start:stop] = await self._listen(windows, start, stop)
            else:
                self.close()
            start = stop
        self._recent.extend(windows)
        return probabilities

    def close(self) -> None:
        """Give the place back."""
        if self._ticket is not None:
            self._ticket.cancel()
            self._ticket = None

    def forget(self) -> None:
        """What follows has nothing to do with what came before."""
        self.close()
        self._recent.clear()

    async def _listen(self, windows: Samples, start: int, stop: int) -> Samples:
        """Silero's answer for windows [start, stop), which follow each other behind the gate."""
        if self._ticket is None:
            self._ticket = self._open()
            replay = [*self._recent, *windows[:start]][-REPLAY:]
            if replay:
                await self._ask(self._ticket, np.concatenate(replay))
        return await self._ask(self._ticket, windows[start:stop].reshape(-1))

    @staticmethod
    async def _ask(ticket: Ticket, samples: Samples) -> Samples:
        ticket.push(samples, len(samples))
        pieces: list[Samples] = []
        missing = len(samples) // WINDOW
        while missing > 0:
            piece = await anext(ticket)
            missing -= len(piece)
            pieces.append(piece)
        return np.concatenate(pieces)
