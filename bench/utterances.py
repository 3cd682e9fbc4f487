"""Speech to dictate: utterances of known length and end, with pauses between them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from voice import RATE, RECORDINGS, pcm16, read_audio, say, silence  # noqa: E402

WIRE_RATE = 24_000
PAUSE_SECONDS = 0.8
APPEND_MS = 40
LOUD = 0.01
"""Amplitude from which a sample is sound; the pause around it is at -70 dBFS."""
LONGEST_HUSH = 0.05
"""Seconds of quiet that are left inside an utterance, so that no voice activity detection takes
one for its end."""

SPOKEN = (
    "The committee will meet again on Thursday to hear what the engineers have found.",
    "Nobody expected the river to rise so quickly after such a dry and quiet spring.",
    "She put the letters back into the drawer and went out to feed the horses.",
    "Every morning the old man walked along the harbour and counted the fishing boats.",
    "The train to the mountains leaves at seven and arrives there shortly before noon.",
    "They had painted the kitchen yellow because the room never saw any sunshine.",
)

_Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Utterance:
    """Where it is in its track; samples at 24 kHz. `next` is a whole number of appends away."""

    start: int
    """The first sound."""
    end: int
    """Just behind the last sound."""
    begin: int
    """Where its cell begins, with a pause."""
    next: int
    """Where the next one's cell begins."""


@dataclass(frozen=True, slots=True)
class Track:
    """Utterances behind each other, 24 kHz PCM of 16 bits, which can be played over and over."""

    pcm: bytes
    utterances: tuple[Utterance, ...]
    source: str

    @property
    def period(self) -> float:
        """Mean seconds from one utterance to the next."""
        return len(self.pcm) / 2 / WIRE_RATE / len(self.utterances)


def track(count: int = 12, shortest: float = 4.0, longest: float = 8.0, seed: int = 0) -> Track:
    """`count` utterances of `shortest` to `longest` seconds, the same for the same arguments."""
    words, source = _words()
    random = np.random.default_rng(seed)
    takes: list[_Samples] = []
    place = 0
    for seconds in random.permutation(np.linspace(shortest, longest, count)):
        size = round(seconds * RATE)
        takes.append(np.take(words, np.arange(place, place + size), mode="wrap"))
        place += size
    return track_of(takes, source, PAUSE_SECONDS)


def track_of(takes: Sequence[_Samples], source: str, pause: float = 0.0) -> Track:
    """These utterances (16 kHz), each behind so many seconds of pause."""
    pieces: list[_Samples] = []
    utterances = []
    at = 0
    for take in takes:
        sound = np.frombuffer(pcm16(_cell(take, pause)), "<i2")
        sound = np.append(sound, np.zeros(-len(sound) % _append(), np.int16))
        loud = np.flatnonzero(np.abs(sound) > LOUD * 32768)
        begin, at = at, at + len(sound)
        utterances.append(Utterance(begin + int(loud[0]), begin + int(loud[-1]) + 1, begin, at))
        pieces.append(sound)
    return Track(np.concatenate(pieces).astype("<i2").tobytes(), tuple(utterances), source)


def _append() -> int:
    return WIRE_RATE * APPEND_MS // 1000


def _cell(take: _Samples, seconds: float) -> _Samples:
    """The pause, then the utterance with a fade of 10 ms at its cuts, on the room's noise."""
    edge = np.minimum(np.arange(len(take)), np.arange(len(take))[::-1]) / (RATE / 100)
    pause = round(seconds * RATE)
    cell = silence((pause + len(take)) / RATE)[: pause + len(take)]
    cell[pause:] += take * np.minimum(1, edge).astype(np.float32)
    return cell


def _words() -> tuple[_Samples, str]:
    """Sound with nothing but short quiet in it, and where it is from."""
    paths = sorted(p for p in RECORDINGS.glob("people/*") if p.suffix in (".wav", ".flac"))
    if paths:
        takes = [read_audio(path) for path in paths]
        source = f"{len(paths)} recordings of people"
    else:
        takes = [say(text) for text in SPOKEN]
        source = "espeak-ng's voice (set ANTIPHON_SPEECH for recordings of people)"
    return np.concatenate([_dense(0.5 * take / np.abs(take).max()) for take in takes]), source


def _dense(take: _Samples) -> _Samples:
    """Without what is quieter than a fifteenth of the loudest for longer than `LONGEST_HUSH`."""
    frame = RATE // 100
    level = np.abs(take[: len(take) // frame * frame]).reshape(-1, frame).max(axis=1)
    kept = np.zeros(len(level), bool)
    hush = 0
    for place, loud in enumerate(level > np.abs(take).max() / 15):
        hush = 0 if loud else hush + 1
        kept[place] = hush <= LONGEST_HUSH * 100
    return take[: len(kept) * frame].reshape(-1, frame)[kept].reshape(-1)
