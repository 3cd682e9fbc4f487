"""A live session hears as well as an upload does, and tells while the speaker still speaks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from streaming import ears, padded
from voice import RATE, RECORDINGS, Samples, silence

from bench.accuracy import figures, measure, table

pytestmark = pytest.mark.one_loop


async def test_streaming_costs_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    if not (RECORDINGS / "synthetic").is_dir():
        pytest.skip("synthetic recordings of speech are not present; set ANTIPHON_SPEECH")
    clips = await measure()
    with capsys.disabled():
        print("", table(clips), sep="\n")
    found = figures(clips)
    assert found["live_word_error_percent"] <= found["upload_word_error_percent"] + 1
    assert found["contradicted_percent"] <= 10
    assert found["early_text_percent"] >= 90


def tones(frequencies: Sequence[float], seconds: float = 4.0) -> Samples:
    at = np.arange(round(seconds * RATE)) / RATE
    waves = [np.sin(2 * np.pi * frequency * at) for frequency in frequencies]
    return np.asarray(0.3 * sum(waves) / len(waves), np.float32)


def melody() -> Samples:
    """Chords that follow each other and fade."""
    fade = np.exp(-3 * np.arange(RATE // 2) / RATE).astype(np.float32)
    roots = (262, 330, 349, 392, 440, 392, 349, 330)
    return np.concatenate([tones((r, 1.25 * r, 1.5 * r), 0.5) * fade for r in roots])


def noise() -> Samples:
    return np.random.default_rng(3).normal(0, 0.05, 4 * RATE).astype(np.float32)


@pytest.mark.parametrize(
    "audio",
    [silence(6), noise(), tones((440, 554, 659)), melody(), tones([140.0 * n for n in (1, 2, 3)])],
    ids=["silence", "noise", "chord", "melody", "hum"],
)
async def test_what_is_no_speech_gives_no_text(audio: Samples, tmp_path: Path) -> None:
    async with ears(tmp_path) as engine:
        told = await engine.live(padded(audio))
    assert told.text == ""
    assert not any(utterance.committed for utterance in told.utterances.values())
