"""The energy gate: open for anything that could be speech, shut for a quiet room."""

import numpy as np
import pytest
from voice import Samples, say, silence

from pipelines.gate import HANGOVER, QUIET_RMS, EnergyGate
from pipelines.turns import WINDOW

LOUD = np.full(WINDOW, 0.1, np.float32)
QUIET = np.zeros(WINDOW, np.float32)


def windows(audio: Samples) -> Samples:
    return audio[: len(audio) // WINDOW * WINDOW].reshape(-1, WINDOW)


@pytest.mark.parametrize("quiet", [silence(10), np.zeros(160_000, np.float32)])
def test_it_stays_shut_in_silence_and_counts_it(quiet: Samples) -> None:
    gate = EnergyGate()
    assert not any(gate.hear(window) for window in windows(quiet))
    assert (gate.open_windows, gate.closed_windows) == (0, len(windows(quiet)))


def test_it_opens_with_the_first_loud_window_and_stays_open_for_a_while() -> None:
    gate = EnergyGate()
    heard = [gate.hear(window) for window in [QUIET, LOUD, *[QUIET] * (HANGOVER + 3)]]
    assert heard == [False, True] + [True] * (HANGOVER - 1) + [False] * 4
    assert gate.open_windows == HANGOVER
    assert gate.closed_windows == 5


def test_it_never_shuts_within_a_sentence() -> None:
    gate = EnergyGate()
    speech = windows(say("The next meeting is on Friday at five in the evening.") * 0.1)
    assert all(gate.hear(window) for window in speech[1:])


@pytest.mark.parametrize(("level", "opens"), [(QUIET_RMS * 1.01, True), (QUIET_RMS * 0.99, False)])
def test_the_level_is_a_root_mean_square(level: float, opens: bool) -> None:
    tone = np.sqrt(2) * level * np.sin(2 * np.pi * np.arange(WINDOW) / 32)
    assert EnergyGate().hear(tone.astype(np.float32)) is opens


def test_a_gate_of_level_zero_is_always_open() -> None:
    gate = EnergyGate(quiet_rms=0)
    assert all(gate.hear(QUIET) for _ in range(100))
