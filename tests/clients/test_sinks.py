import asyncio
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clients.sinks import FORMATS, FileSink, SpeakerSink
from clients.wire import ClientError


def wav(data: bytes) -> bytes:
    """As a server streams it: without knowing its length."""
    size = b"\xff\xff\xff\xff"
    rest = struct.pack("<IHHIIHH", 16, 1, 1, 24_000, 48_000, 2, 16)
    return b"RIFF" + size + b"WAVEfmt " + rest + b"data" + size + data


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize("ending", [*FORMATS, ".MP3"])
async def test_a_file_has_all_that_was_written_once_it_is_finished(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"speech{ending}"
    async with FileSink(path) as sink:
        assert sink.format == FORMATS[ending.lower()]
        await sink.write(b"one ")
        await sink.write(b"two")
        assert not path.exists()
        await sink.finish()
    assert path.read_bytes() == b"one two"
    assert files(tmp_path) == [path]


async def test_a_wav_file_says_how_long_it_is(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    async with FileSink(path) as sink:
        await sink.write(wav(b"\x01\x00" * 500))
        await sink.finish()
    data = path.read_bytes()
    assert struct.unpack("<I", data[4:8]) == (len(data) - 8,)
    assert struct.unpack("<I", data[40:44]) == (1000,)
    assert data[44:] == b"\x01\x00" * 500


async def test_what_breaks_off_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "speech.mp3"
    path.write_bytes(b"older")
    async with FileSink(path) as sink:
        await sink.write(b"newer")
    assert path.read_bytes() == b"older"
    assert files(tmp_path) == [path]


@pytest.mark.parametrize("name", ["speech", "speech.midi", ".mp3", "."])
def test_a_name_that_does_not_say_the_format_is_refused(name: str) -> None:
    with pytest.raises(ClientError, match=r"end it in \.mp3, \.opus, "):
        FileSink(Path(name))


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"nowhere/a\.mp3 cannot be written: No such file"):
        async with FileSink(tmp_path / "nowhere" / "a.mp3"):
            pass


async def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.mkdir()
    async with FileSink(path) as sink:
        with pytest.raises(ClientError, match=r"a\.mp3 cannot be written: Is a directory"):
            await sink.finish()
    assert files(tmp_path) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
@pytest.mark.parametrize("name", ["a.mp3", "a.wav"])
@pytest.mark.parametrize("pieces", [1, 100])
async def test_a_full_disk_is_told_and_nothing_is_left_on_it(
    tmp_path: Path, name: str, pieces: int
) -> None:
    async def write() -> None:
        async with FileSink(tmp_path / name) as sink:
            for _ in range(pieces):
                await sink.write(bytes(1000))
            await sink.finish()

    (tmp_path / f"{name}.part").symlink_to("/dev/full")
    with pytest.raises(ClientError, match=f"{name} cannot be written: No space left on device"):
        await write()
    assert files(tmp_path) == []


class PortAudio(ModuleType):
    """What the loudspeaker uses of sounddevice; a stream refuses to be asked two things at once."""

    class PortAudioError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.opened: list[Stream] = []
        self.fault: Exception | None = None
        self.only_rate: int | None = None
        """The one rate that it can play, where it cannot play any."""
        self.unplugged = False
        self.seconds = 0.0
        """How long a block takes to be written."""

    def RawOutputStream(self, **settings: Any) -> "Stream":
        if self.fault is not None:
            raise self.fault
        if self.only_rate not in (None, settings["samplerate"]):
            raise self.PortAudioError("Invalid sample rate")
        self.opened.append(Stream(self, settings))
        return self.opened[-1]

    def query_devices(self, device: object, kind: str) -> dict[str, float]:
        return {"default_samplerate": self.only_rate or 24_000.0}


class Stream:
    def __init__(self, portaudio: PortAudio, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.played = b""
        self.blocks = 0
        self.log: list[str] = []
        self._portaudio = portaudio
        self._alone = threading.Lock()

    def write(self, data: bytes) -> None:
        assert self._alone.acquire(blocking=False)
        try:
            time.sleep(self._portaudio.seconds)
            if self._portaudio.unplugged:
                raise self._portaudio.PortAudioError("Unanticipated host error")
            assert len(data) % 2 == 0
            self.played += data
            self.blocks += 1
        finally:
            self._alone.release()

    def _say(self, what: str) -> None:
        assert self._alone.acquire(blocking=False)
        self.log.append(what)
        self._alone.release()

    def start(self) -> None:
        self._say("start")

    def stop(self) -> None:
        self._say("stop")

    def abort(self) -> None:
        self._say("abort")

    def close(self) -> None:
        self._say("close")


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> PortAudio:
    portaudio = PortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", portaudio)
    return portaudio


async def test_the_loudspeaker_plays_every_sample_however_the_bytes_are_cut(
    portaudio: PortAudio,
) -> None:
    data = bytes(range(256)) * 100
    async with SpeakerSink() as sink:
        for at in range(0, len(data), 777):
            await sink.write(data[at : at + 777])
        await sink.finish()
    (stream,) = portaudio.opened
    assert stream.played == data
    assert stream.log == ["start", "stop", "abort", "close"]
    assert stream.settings == {
        "samplerate": 24_000,
        "blocksize": 0,
        "device": None,
        "channels": 1,
        "dtype": "int16",
    }


async def test_a_loudspeaker_with_a_rate_of_its_own_plays_all_at_that(portaudio: PortAudio) -> None:
    portaudio.only_rate = 44_100
    async with SpeakerSink() as sink:
        for _ in range(10):
            await sink.write(b"\x00\x20" * 2_400)
        await sink.finish()
    (stream,) = portaudio.opened
    assert abs(len(stream.played) // 2 - 44_100) <= 1
    assert stream.played[2_000:2_002] == b"\x00\x20"


@pytest.mark.parametrize(("device", "asked"), [("3", 3), ("Desk", "Desk"), ("²", "²")])
async def test_a_loudspeaker_is_chosen_by_number_or_by_name(
    portaudio: PortAudio, device: str, asked: int | str
) -> None:
    async with SpeakerSink(device):
        assert portaudio.opened[0].settings["device"] == asked


async def test_leaving_early_is_silent_at_once(portaudio: PortAudio) -> None:
    portaudio.seconds = 0.02
    speaking = asyncio.create_task(_play(bytes(48_000 * 60)))
    while not (portaudio.opened and portaudio.opened[0].blocks):  # noqa: ASYNC110 - it is a thread
        await asyncio.sleep(0.01)
    (stream,) = portaudio.opened
    before = stream.blocks
    speaking.cancel()
    await asyncio.wait([speaking])
    assert stream.log == ["start", "abort", "close"]
    assert stream.blocks <= before + 1


async def _play(data: bytes) -> None:
    async with SpeakerSink() as sink:
        await sink.write(data)


async def test_a_loudspeaker_that_stops_is_told(portaudio: PortAudio) -> None:
    portaudio.unplugged = True
    with pytest.raises(ClientError, match=r"The loudspeaker stopped \(Unanticipated"):
        await _play(bytes(100))
    assert portaudio.opened[0].log[-1] == "close"


@pytest.mark.parametrize(
    ("fault", "device", "says"),
    [
        (PortAudio.PortAudioError("Error querying device -1"), None, r"^No loudspeaker can be"),
        (ValueError("No output device matching 'x'"), "x", r"^No loudspeaker 'x' can be opened"),
    ],
)
async def test_without_a_loudspeaker_a_file_is_suggested(
    portaudio: PortAudio, fault: Exception, device: str | None, says: str
) -> None:
    portaudio.fault = fault
    with pytest.raises(ClientError, match=rf"{says}.*-o speech\.mp3$"):
        async with SpeakerSink(device):
            pass


@pytest.fixture
def no_portaudio(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    class Missing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    def unplug() -> None:
        monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
        monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])

    return unplug


async def test_without_the_library_a_file_is_suggested(no_portaudio: Callable[[], None]) -> None:
    no_portaudio()
    with pytest.raises(ClientError, match=r"No PortAudio library.*-o speech\.mp3$"):
        async with SpeakerSink():
            pass
