"""Where the sound comes from: a microphone, or a WAV file at the pace it was spoken."""

import asyncio
import collections
import itertools
import sys
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, Self

from clients.wire import ClientError

RATE = 24_000
"""What the Realtime API expects; other rates are an extension."""
CHUNKS_PER_SECOND = 10
_WAITING_SECONDS = 60

_NO_PORTAUDIO = {
    "linux": "sudo apt install libportaudio2 (Debian, Ubuntu) or your system's portaudio package",
    "darwin": "brew install portaudio",
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """100 ms of 16-bit mono PCM (the last may be shorter); `at` is in seconds from the start."""

    at: float
    data: bytes


class Source(Protocol):
    """A stream of sound. `rate` is known once the source was entered."""

    @property
    def rate(self) -> int: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *failure: object) -> None: ...

    async def read(self) -> Chunk | None:
        """The next chunk when it is there, None after the last. Cancelling it loses nothing."""
        ...

    def stop(self) -> None:
        """Hear no more; what was heard can still be read."""
        ...


class FileSource:
    """A WAV file of 16-bit PCM, read at the pace it was spoken; the first channel counts."""

    def __init__(self, path: Path, speed: float = 1.0) -> None:
        self._path = path
        self._speed = speed
        self._stopped = asyncio.Event()
        self._next: Chunk | None = None

    @property
    def rate(self) -> int:
        return self._file.getframerate()

    async def __aenter__(self) -> Self:
        self._file = await asyncio.to_thread(_open_wav, self._path)
        self._size = self.rate // CHUNKS_PER_SECOND
        self._begun = asyncio.get_running_loop().time()
        self._frames = 0
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._file.close()

    async def read(self) -> Chunk | None:
        if self._stopped.is_set():
            return None
        chunk = self._next = self._next or self._cut()
        if chunk is None:
            return None
        due = self._begun + (chunk.at + 1 / CHUNKS_PER_SECOND) / self._speed
        try:
            async with asyncio.timeout_at(due):
                await self._stopped.wait()
        except TimeoutError:
            self._next = None
            return chunk
        return None

    def stop(self) -> None:
        self._stopped.set()

    def _cut(self) -> Chunk | None:
        """The next 100 ms. A few kilobytes from a file that the system reads ahead."""
        data = self._file.readframes(self._size)
        if not data:
            return None
        at = self._frames / self.rate
        self._frames += self._size
        return Chunk(at, _first_channel(data, self._file.getnchannels()))


class MicrophoneSource:
    """A microphone through PortAudio, at 24 kHz or else at its own rate.

    What is not read in time waits, a minute at most; then the oldest is dropped, which shows as a
    gap between the chunks' `at`. `option` is how the user chooses another device.
    """

    def __init__(self, device: int | str | None = None, option: str = "--device") -> None:
        self._device = device
        self._option = option
        self._waiting: collections.deque[tuple[int, bytes]] = collections.deque(
            maxlen=_WAITING_SECONDS * CHUNKS_PER_SECOND
        )
        self._ready = asyncio.Event()
        self._ended = False
        self._stopped = False
        self._rate = RATE

    @property
    def rate(self) -> int:
        return self._rate

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._stream = await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._stopped = True
        await asyncio.to_thread(self._stream.close)

    async def read(self) -> Chunk | None:
        while not self._waiting:
            if self._stopped:
                return None
            if self._ended:
                raise ClientError("The microphone stopped. Plug it in again and start anew.")
            self._ready.clear()
            await self._ready.wait()
        number, data = self._waiting.popleft()
        return Chunk(number / CHUNKS_PER_SECOND, data)

    def stop(self) -> None:
        self._stopped = True
        self._ready.set()

    def _open(self) -> Any:
        portaudio = _portaudio()
        try:
            default_rate = int(portaudio.query_devices(self._device, "input")["default_samplerate"])
        except (ValueError, portaudio.PortAudioError) as error:
            raise _no_microphone(self._device, portaudio, self._option) from error
        try:
            return self._start(portaudio, RATE)
        except portaudio.PortAudioError:
            pass
        try:
            return self._start(portaudio, default_rate)
        except portaudio.PortAudioError as error:
            raise ClientError(
                f"The microphone cannot be opened ({error}). Close programs that use it, or choose"
                f" another with {self._option}; --list-devices shows them."
            ) from error

    def _start(self, portaudio: ModuleType, rate: int) -> Any:
        numbers = itertools.count()

        def heard(data: Any, frames: int, time: Any, status: Any) -> None:
            if not self._stopped:
                self._waiting.append((next(numbers), bytes(data)))
                self._wake()

        def finished() -> None:
            self._ended = True
            self._wake()

        stream = portaudio.RawInputStream(
            samplerate=rate,
            blocksize=rate // CHUNKS_PER_SECOND,
            device=self._device,
            channels=1,
            dtype="int16",
            callback=heard,
            finished_callback=finished,
        )
        self._rate = rate
        try:
            stream.start()
        except portaudio.PortAudioError:
            stream.close()
            self._ended = False
            raise
        return stream

    def _wake(self) -> None:
        """From PortAudio's thread; the loop may be gone when the stream is closed late."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.set)


def input_devices() -> Sequence[tuple[int, str]]:
    """Number and name of every microphone here."""
    portaudio = _portaudio()
    found = enumerate(portaudio.query_devices())
    return [(i, device["name"]) for i, device in found if device["max_input_channels"] > 0]


def _portaudio() -> ModuleType:
    try:
        import sounddevice
    except OSError as error:
        how = _NO_PORTAUDIO.get(sys.platform, "your system's portaudio package")
        raise ClientError(f"No PortAudio library found. Install it with: {how}") from error
    module: ModuleType = sounddevice
    return module


def _no_microphone(device: int | str | None, portaudio: ModuleType, option: str) -> ClientError:
    if not any(found["max_input_channels"] > 0 for found in portaudio.query_devices()):
        return ClientError("No microphone found. Plug one in, or check the sound settings.")
    if device is None:
        return ClientError(
            f"No microphone is the default. Choose one with {option} (a number from"
            " --list-devices)."
        )
    return ClientError(f"No single microphone is called '{device}'. --list-devices shows them.")


def _open_wav(path: Path) -> wave.Wave_read:
    try:
        file = wave.open(str(path), "rb")  # noqa: SIM115 - the source closes it
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (wave.Error, EOFError) as error:
        raise ClientError(f"{path} is not a WAV file of PCM. `transcribe` reads others.") from error
    if file.getsampwidth() != 2:
        file.close()
        raise ClientError(f"{path} is not 16-bit PCM. `transcribe` reads other files.")
    return file


def _first_channel(data: bytes, channels: int) -> bytes:
    if channels == 1:
        return data
    return memoryview(data).cast("h")[::channels].tobytes()
