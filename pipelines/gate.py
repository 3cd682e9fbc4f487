"""An energy gate before voice activity: silence costs no inference. No I/O, no clock.

The gate looks at fixed windows, so the way audio was cut into messages never changes its answer.
It stays open for a while after the last loud window; when it opens, the caller replays `REPLAY`
windows, so that the model hears how the sound began.
"""

import numpy as np

from engines.recognition import Samples

REPLAY = 32
"""Windows before the gate's opening that the model hears too (about a second).

The model's memory is long: with a third of that, faint speech ended up to 250 ms elsewhere."""

HANGOVER = 32
"""Windows that the gate stays open after the last loud one (about a second)."""

QUIET_RMS = 10 ** (-62 / 20)
"""Root mean square below which a window cannot be speech that Silero would find."""


class EnergyGate:
    """Whether the windows of one stream are worth a model's attention."""

    def __init__(self, quiet_rms: float = QUIET_RMS) -> None:
        self._quiet = quiet_rms
        self._open_for = 0
        self.open_windows = 0
        self.closed_windows = 0

    def hear(self, window: Samples) -> bool:
        """Whether the gate is open for this window."""
        if float(np.dot(window, window)) >= self._quiet**2 * len(window):
            self._open_for = HANGOVER
        else:
            self._open_for = max(0, self._open_for - 1)
        if self._open_for:
            self.open_windows += 1
        else:
            self.closed_windows += 1
        return self._open_for > 0
