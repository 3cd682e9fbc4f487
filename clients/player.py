"""A loudspeaker that can be silenced at once and knows what it has played."""

import asyncio
import sys
import threading
from collections import deque
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, Self

from clients.loudspeaker import RateConverter, open_loudspeaker
from clients.wire import ClientError

_BLOCK: Final = 0.02
"""Seconds of sound that PortAudio asks for at a time."""
_INSTEAD: Final = "type instead: --text"
_NO_PORTAUDIO: Final = {
    "linux": "sudo apt install libportaudio2 (Debian, Ubuntu) or your system's portaudio package",
    "darwin": "brew install portaudio",
}


@dataclass(slots=True)
class _Piece:
    """So many `samples` at 24 kHz, as `sound` at the loudspeaker's rate, `taken` bytes of it."""

    samples: int
    sound: bytes
    taken: int = 0

    @property
    def played(self) -> int:
        return self.samples * self.taken // len(self.sound) if self.sound else self.samples

    def take(self, most: int) -> bytes:
        piece = self.sound[self.taken : self.taken + most]
        self.taken += len(piece)
        return piece


class Player:
    """A loudspeaker through PortAudio, for 16-bit mono PCM at 24 kHz; `device` is its number or a
    part of its name."""

    def __init__(self, device: int | str | None = None) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._waiting: deque[_Piece] = deque()
        self._played = 0
        """Samples of all pieces before those that wait."""
        self._closing = False
        self._ended = False

    @property
    def latency(self) -> float:
        """Seconds from what was played, as `position` has it, to what is heard."""
        return float(self._stream.latency)

    @property
    def position(self) -> int:
        """Samples played since the start, silence not counted. Raises `ClientError`."""
        if self._ended and not self._closing:
            raise ClientError(f"The loudspeaker stopped. Plug it in again, or {_INSTEAD}")
        with self._lock:
            return self._played + (self._waiting[0].played if self._waiting else 0)

    async def __aenter__(self) -> Self:
        self._stream = await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._closing = True
        await asyncio.to_thread(self._stream.abort)
        await asyncio.to_thread(self._stream.close)

    def play(self, data: bytes) -> None:
        """Whole samples, after what is playing."""
        piece = _Piece(len(data) // 2, self._converter.convert(data))
        with self._lock:
            self._waiting.append(piece)

    def flush(self) -> None:
        """Be silent; what the device has taken already is still heard."""
        self._converter.flush()
        with self._lock:
            if self._waiting:
                self._played += self._waiting[0].played
            self._waiting.clear()

    def _open(self) -> Any:
        sound = portaudio()
        try:
            stream, rate = open_loudspeaker(
                sound,
                self._device,
                block=_BLOCK,
                latency="low",
                callback=self._fill,
                finished_callback=self._finished,
            )
        except (ValueError, sound.PortAudioError) as error:
            reason = " ".join(str(error).split())
            which = "No loudspeaker" if self._device is None else f"No loudspeaker '{self._device}'"
            raise ClientError(
                f"{which} can be opened ({reason}). Choose one with --output, or {_INSTEAD}"
            ) from error
        self._converter = RateConverter(rate)
        self._ended = False
        return stream

    def _fill(self, block: Any, frames: int, time: Any, status: Any) -> None:
        """From PortAudio's thread: the next samples, and silence when there are no more."""
        wanted, at = 2 * frames, 0
        with self._lock:
            while self._waiting and at < wanted:
                piece = self._waiting[0]
                taken = piece.take(wanted - at)
                block[at : at + len(taken)] = taken
                at += len(taken)
                if piece.taken == len(piece.sound):
                    self._played += piece.samples
                    self._waiting.popleft()
        block[at:wanted] = bytes(wanted - at)

    def _finished(self) -> None:
        self._ended = True


def portaudio() -> ModuleType:
    """sounddevice. Raises `ClientError` where it finds no PortAudio."""
    try:
        import sounddevice
    except OSError as error:
        how = _NO_PORTAUDIO.get(sys.platform, "your system's portaudio package")
        message = f"No PortAudio library found. Install it with: {how}; or {_INSTEAD}"
        raise ClientError(message) from error
    module: ModuleType = sounddevice
    return module


def output_devices() -> list[tuple[int, str]]:
    """Number and name of every loudspeaker here."""
    found = enumerate(portaudio().query_devices())
    return [(i, device["name"]) for i, device in found if device["max_output_channels"] > 0]
