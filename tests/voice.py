"""Speech for tests: espeak-ng's voice always, recordings of people where they are present."""

import functools
import os
import subprocess
import sys
import wave
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE = 16_000
ROOT = Path(__file__).parents[1]
ESPEAK = Path(__file__).with_name("espeak.py")
RECORDINGS = Path(os.environ.get("ANTIPHON_SPEECH", ROOT.parent / "shared" / "speech"))
WHISPER_NANO = ROOT / "tests" / "data" / "whisper-nano"


@functools.cache
def say(text: str, voice: str = "en-us", words_per_minute: int = 150) -> Samples:
    """`text` spoken by espeak-ng: float32 at 16 kHz, peak 0.5, no silence around it."""
    command = [sys.executable, str(ESPEAK), voice, str(words_per_minute), text]
    spoken = subprocess.run(command, check=True, capture_output=True).stdout
    rate = int.from_bytes(spoken[:4], "little")
    audio = soxr.resample(np.frombuffer(spoken[4:], "<i2").astype(np.float32) / 32768, rate, RATE)
    loud = np.flatnonzero(np.abs(audio) > 0.01)
    audio = audio[loud[0] : loud[-1] + 1]
    loudest = float(np.abs(audio).max())
    return np.asarray(audio * (0.5 / loudest), np.float32)


def silence(seconds: float) -> Samples:
    """A quiet room: noise at -70 dBFS, the same for every call of the same length."""
    noise = np.random.default_rng(1).standard_normal(round(seconds * RATE))
    return (noise * 10 ** (-70 / 20)).astype(np.float32)


def recording(name: str) -> Samples:
    """A recording such as `people/jfk.flac`, float32 at 16 kHz; skips where it is absent."""
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"recordings of speech are not present ({name}; set ANTIPHON_SPEECH)")
    return read_audio(path)


def spoken_text(name: str) -> str:
    """What is said in a recording."""
    return transcripts()[name]


@functools.cache
def transcripts() -> Mapping[str, str]:
    """What is said in the recordings that are present, by name."""
    path = RECORDINGS / "transcripts.tsv"
    if not path.is_file():
        return {}
    rows = (line.split("\t") for line in path.read_text("utf-8").splitlines()[1:])
    return {columns[0]: columns[2] for columns in rows if (RECORDINGS / columns[0]).is_file()}


@functools.cache
def read_audio(path: Path) -> Samples:
    """A whole audio file as float32 at 16 kHz."""
    resampler = av.AudioResampler("flt", "mono", RATE)
    with av.open(str(path)) as container:
        frames = [out for f in container.decode(audio=0) for out in resampler.resample(f)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)


def pcm16(samples: Samples, rate: int = 24_000) -> bytes:
    """Little-endian 16-bit PCM at `rate`, as clients send it."""
    if rate != RATE:
        samples = soxr.resample(samples, RATE, rate)
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def write_wav(path: Path, samples: Samples, rate: int = RATE) -> Path:
    """A mono WAV file of `samples`, which are at 16 kHz, resampled to `rate`."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm16(samples, rate))
    return path


def word_errors(said: str, heard: str) -> float:
    """Word error rate of `heard`, on lower-case words without punctuation."""
    want, got = _words(said), _words(heard)
    row = list(range(len(got) + 1))
    for i, word in enumerate(want, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            previous, row[j] = row[j], min(previous + (word != other), row[j] + 1, row[j - 1] + 1)
    return row[-1] / max(1, len(want))


def _words(text: str) -> list[str]:
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower())
    return kept.split()
