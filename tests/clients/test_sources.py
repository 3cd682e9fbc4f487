"""Sound sources: WAV files for real; PortAudio by a stand-in, since test machines have no sound."""

import asyncio
import sys
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from voice import pcm16, silence, write_wav

from clients.sources import Chunk, FileSource, MicrophoneSource, input_devices
from clients.wire import ClientError


async def everything(source: FileSource) -> list[Chunk]:
    chunks = []
    while chunk := await source.read():
        chunks.append(chunk)
    return chunks


async def test_a_file_is_read_whole_at_the_pace_it_was_spoken(tmp_path: Path) -> None:
    room = silence(0.55)
    loop = asyncio.get_running_loop()
    async with FileSource(write_wav(tmp_path / "room.wav", room)) as source:
        begun = loop.time()
        chunks = await everything(source)
        took = loop.time() - begun
    assert b"".join(chunk.data for chunk in chunks) == pcm16(room, 16_000)
    assert [round(chunk.at, 3) for chunk in chunks] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert 0.55 <= took < 20


async def test_a_cancelled_read_loses_nothing(tmp_path: Path) -> None:
    room = silence(0.5)
    async with FileSource(write_wav(tmp_path / "room.wav", room), speed=5) as source:
        reading = asyncio.create_task(source.read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        chunks = await everything(source)
    assert b"".join(chunk.data for chunk in chunks) == pcm16(room, 16_000)


async def test_the_first_channel_of_a_stereo_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x01\x00\x02\x00" * 800)
    async with FileSource(path, speed=100) as source:
        chunk = await source.read()
        assert source.rate == 8000
    assert chunk == Chunk(0.0, b"\x01\x00" * 800)


class PortAudio(SimpleNamespace):
    """What the microphone uses of sounddevice, with one microphone that knows only some rates."""

    class PortAudioError(Exception):
        pass

    def __init__(self, rates: tuple[int, ...], devices: int = 1) -> None:
        found = {"name": "Desk mic", "max_input_channels": 1, "default_samplerate": 48_000.0}
        self.found = [found] * devices
        self.rates = rates
        self.opened: list[Any] = []
        super().__init__()

    def query_devices(self, device: object = None, kind: str | None = None) -> Any:
        if kind is None:
            return self.found
        if not self.found or device not in (None, 0, "Desk"):
            raise self.PortAudioError("Error querying device -1")
        return self.found[0]

    def RawInputStream(self, **settings: Any) -> "Stream":
        if settings["samplerate"] not in self.rates:
            raise self.PortAudioError("Invalid sample rate")
        stream = Stream(**settings)
        self.opened.append(stream)
        return stream


class Stream:
    """An input stream whose sound comes from a thread, as PortAudio's does."""

    def __init__(
        self,
        callback: Callable[..., None],
        finished_callback: Callable[[], None],
        blocksize: int,
        **settings: Any,
    ) -> None:
        self._callback = callback
        self._finished = finished_callback
        self.blocksize = blocksize
        self.closed = False

    def start(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True
        self._finished()

    def hear(self, blocks: int) -> None:
        def run() -> None:
            for i in range(blocks):
                self._callback(bytes([i % 256, 0]) * self.blocksize, self.blocksize, None, None)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    def unplug(self) -> None:
        thread = threading.Thread(target=self._finished)
        thread.start()
        thread.join()


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[..., PortAudio]:
    def plug(*rates: int, devices: int = 1) -> PortAudio:
        portaudio = PortAudio(rates, devices)
        monkeypatch.setitem(sys.modules, "sounddevice", portaudio)
        return portaudio

    return plug


async def test_a_microphone_gives_chunks_and_after_stop_what_was_heard(
    plug: Callable[..., PortAudio],
) -> None:
    portaudio = plug(24_000, 48_000)
    async with MicrophoneSource("Desk") as source:
        (stream,) = portaudio.opened
        assert (source.rate, stream.blocksize) == (24_000, 2_400)
        reading = asyncio.create_task(source.read())
        await asyncio.sleep(0)
        stream.hear(2)
        assert await reading == Chunk(0.0, b"\x00\x00" * 2_400)
        source.stop()
        assert await source.read() == Chunk(0.1, b"\x01\x00" * 2_400)
        assert await source.read() is None
    assert stream.closed


async def test_a_microphone_that_refuses_24_khz_is_heard_at_its_own_rate(
    plug: Callable[..., PortAudio],
) -> None:
    portaudio = plug(48_000)
    async with MicrophoneSource() as source:
        assert (source.rate, portaudio.opened[0].blocksize) == (48_000, 4_800)


async def test_sound_that_nobody_reads_is_bounded_and_the_gap_shows(
    plug: Callable[..., PortAudio],
) -> None:
    portaudio = plug(24_000)
    async with MicrophoneSource() as source:
        portaudio.opened[0].hear(650)
        source.stop()
        first = await source.read()
        assert first is not None
        assert first.at == 5.0
        rest = 0
        while await source.read():
            rest += 1
    assert rest == 599


async def test_an_unplugged_microphone_is_told(plug: Callable[..., PortAudio]) -> None:
    portaudio = plug(24_000)
    async with MicrophoneSource() as source:
        portaudio.opened[0].unplug()
        with pytest.raises(ClientError, match="microphone stopped"):
            await source.read()


@pytest.mark.parametrize(
    ("rates", "devices", "device", "sentence"),
    [
        ((), 1, None, r"cannot be opened \(Invalid sample rate\)\. Close programs"),
        ((24_000,), 0, None, "No microphone found"),
        ((24_000,), 1, "Attic", "called 'Attic'"),
    ],
)
async def test_a_microphone_that_cannot_be_used_is_told(
    plug: Callable[..., PortAudio],
    rates: tuple[int, ...],
    devices: int,
    device: str | None,
    sentence: str,
) -> None:
    plug(*rates, devices=devices)
    with pytest.raises(ClientError, match=sentence):
        async with MicrophoneSource(device):
            pass


def test_microphones_are_listed(plug: Callable[..., PortAudio]) -> None:
    plug(24_000, devices=2)
    assert input_devices() == [(0, "Desk mic"), (1, "Desk mic")]


def test_a_missing_portaudio_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(ClientError, match=r"No PortAudio library found\. Install it with: "):
        input_devices()
