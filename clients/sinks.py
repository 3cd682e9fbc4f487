"""Where speech goes: a loudspeaker, as it comes, or a file that appears once it is whole."""

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, BinaryIO, Final, Protocol, Self

from clients.commands import RATE
from clients.loudspeaker import RateConverter, open_loudspeaker
from clients.wire import ClientError

FORMATS: Final = MappingProxyType(
    {
        ".mp3": "mp3",
        ".opus": "opus",
        ".ogg": "opus",
        ".aac": "aac",
        ".flac": "flac",
        ".wav": "wav",
        ".pcm": "pcm",
    }
)
"""The format that the name of a file asks for."""

_BLOCK: Final = RATE // 10 * 2
"""Bytes handed to the loudspeaker at a time; so long may Ctrl-C take."""
_INSTEAD: Final = "Write a file instead: -o speech.mp3"


class Sink(Protocol):
    """Takes the bytes of one stream of speech in `format`, one of OpenAI's."""

    @property
    def format(self) -> str: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *failure: object) -> None:
        """Leave nothing half done behind."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises `ClientError`."""
        ...

    async def finish(self) -> None:
        """All has been written: make it last, or wait until it was heard. Raises `ClientError`."""
        ...


class FileSink:
    """A file in the format of its name's ending; an older one of that name stays until the end."""

    def __init__(self, path: Path) -> None:
        format = FORMATS.get(path.suffix.lower())
        if format is None:
            known = ", ".join(FORMATS)
            raise ClientError(f"{path} does not say which format it shall have: end it in {known}.")
        self.format = format
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._file: BinaryIO | None = None

    async def __aenter__(self) -> Self:
        self._file = await self._try(lambda: self._part.open("w+b"))
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._file is not None:
            await asyncio.to_thread(_discard, self._file, self._part)

    async def write(self, data: bytes) -> None:
        file = self._opened()
        await self._try(lambda: file.write(data))

    async def finish(self) -> None:
        file = self._opened()
        if self.format == "wav":
            await self._try(lambda: _tell_length(file))
        await self._try(file.close)
        await self._try(lambda: os.replace(self._part, self._path))
        self._file = None

    def _opened(self) -> BinaryIO:
        assert self._file is not None, "it is entered first"
        return self._file

    async def _try(self, action: Callable[[], Any]) -> Any:
        try:
            return await asyncio.to_thread(action)
        except OSError as error:
            reason = error.strerror or error
            raise ClientError(f"{self._path} cannot be written: {reason}.") from error


class SpeakerSink:
    """A loudspeaker through PortAudio; `device` is its number, or a part of its name."""

    format = "pcm"

    def __init__(self, device: str | None = None) -> None:
        self._device = int(device) if device is not None and device.isdecimal() else device
        self._rest = b""
        self._busy: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> Self:
        self._stream = await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, *failure: object) -> None:
        """Silence at once. PortAudio must not be asked two things at a time."""
        if self._busy is not None:
            await asyncio.gather(self._busy, return_exceptions=True)
        await asyncio.to_thread(self._stream.abort)
        await asyncio.to_thread(self._stream.close)

    async def write(self, data: bytes) -> None:
        data = self._rest + data
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        await self._play(self._converter.convert(data[:whole]))

    async def finish(self) -> None:
        await self._play(self._converter.flush())
        await self._do(self._stream.stop)

    async def _play(self, sound: bytes) -> None:
        for at in range(0, len(sound), _BLOCK):
            await self._do(partial(self._stream.write, sound[at : at + _BLOCK]))

    async def _do(self, action: Callable[[], Any]) -> None:
        self._busy = asyncio.ensure_future(asyncio.to_thread(action))
        try:
            await asyncio.shield(self._busy)
        except self._failure as error:
            raise ClientError(f"The loudspeaker stopped ({error}). {_INSTEAD}") from error

    def _open(self) -> Any:
        portaudio = _portaudio()
        self._failure: type[Exception] = portaudio.PortAudioError
        try:
            stream, rate = open_loudspeaker(portaudio, self._device)
        except (ValueError, portaudio.PortAudioError) as error:
            reason = " ".join(str(error).split())
            which = "No loudspeaker" if self._device is None else f"No loudspeaker '{self._device}'"
            raise ClientError(f"{which} can be opened ({reason}). {_INSTEAD}") from error
        self._converter = RateConverter(rate)
        return stream


def _portaudio() -> ModuleType:
    try:
        import sounddevice
    except OSError as error:
        raise ClientError(f"No PortAudio library found to play with. {_INSTEAD}") from error
    module: ModuleType = sounddevice
    return module


def _discard(file: BinaryIO, path: Path) -> None:
    with contextlib.suppress(OSError):  # on a full disk what is left cannot even be written
        file.close()
    path.unlink(missing_ok=True)


def _tell_length(file: BinaryIO) -> None:
    """Put into the header of a WAV file what the stream could not know: how long it is."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    header = file.read(44)
    if header[:4] != b"RIFF" or header[36:40] != b"data":
        return
    file.seek(4)
    file.write(struct.pack("<I", size - 8))
    file.seek(40)
    file.write(struct.pack("<I", size - 44))
