"""Recordings to samples: containers, damage, limits, and a thread that keeps to its bounds."""

import asyncio
import functools
import io
import struct
import tempfile
import threading
import time
import zlib
from contextlib import aclosing
from pathlib import Path
from typing import IO, cast

import av
import numpy as np
import psutil
import pytest
from av.audio.stream import AudioStream
from numpy.typing import NDArray
from voice import RATE, say, write_wav

from engines.base import InvalidInput
from engines.media import AHEAD, MediaError, Source, decode
from engines.recognition import Samples

SENTENCE = "the quick brown fox jumps over the lazy dog and runs into the deep forest"
CONTAINERS = {
    "wav": ("pcm_s16le", 44_100),
    "flac": ("flac", 44_100),
    "mp3": ("libmp3lame", 44_100),
    "ogg": ("libopus", 48_000),
    "webm": ("libopus", 48_000),
    "mp4": ("aac", 44_100),
    "adts": ("aac", 44_100),
    "avi": ("pcm_s16le", 44_100),
}


@functools.cache
def speech() -> Samples:
    return say(SENTENCE)


def encode(
    channels: NDArray[np.float32],
    container: str,
    codec: str,
    rate: int,
    options: dict[str, str] | None = None,
) -> bytes:
    """A recording of `channels`, shape (channels, samples) at 16 kHz."""
    integers = (channels.T * 32767).astype(np.int16)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
    sink = io.BytesIO()
    with av.open(sink, "w", format=container, options=options or {}) as output:
        stream = cast(AudioStream, output.add_stream(codec, rate=rate, layout=layout))
        for at in range(0, len(integers), RATE):
            packed = np.ascontiguousarray(integers[at : at + RATE]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, "s16", layout)
            frame.sample_rate = RATE
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return sink.getvalue()


@functools.cache
def recorded(container: str) -> bytes:
    return encode(speech()[None], container, *CONTAINERS[container])


def wav(channels: NDArray[np.float32]) -> bytes:
    return encode(channels, "wav", "pcm_s16le", RATE)


def a_picture() -> bytes:
    """A PNG of four by four red pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\xff\0\0" * 4) * 4)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def a_wav_without_samples() -> bytes:
    format = struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + format + b"data" + bytes(4)


async def blocks(source: Source | bytes, max_seconds: float = 600) -> list[Samples]:
    got: list[Samples] = []
    await collect(got, source, max_seconds)
    return got


async def collect(got: list[Samples], source: Source | bytes, max_seconds: float = 600) -> None:
    opened = io.BytesIO(source) if isinstance(source, bytes) else source
    async with aclosing(decode(opened, max_seconds=max_seconds)) as decoded:
        async for block in decoded:
            got.append(block)


def likeness(original: Samples, heard: Samples) -> tuple[float, float]:
    """The best normalised correlation of the two, and how many seconds `heard` is late there."""
    size = 1 << (len(original) + len(heard)).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(original, size))
    correlation = np.fft.irfft(spectrum, size)
    best = int(np.argmax(correlation))
    norm = float(np.linalg.norm(original) * np.linalg.norm(heard))
    late = best if best < size // 2 else best - size
    return float(correlation[best]) / norm, late / RATE


def decoding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "antiphon-media"]


@pytest.mark.parametrize("container", CONTAINERS)
async def test_every_container_gives_the_speech_that_was_recorded(container: str) -> None:
    got = await blocks(recorded(container))
    heard = np.concatenate(got)
    assert all(block.dtype == np.float32 for block in got)
    assert {len(block) for block in got[:-1]} == {RATE}
    assert abs(len(heard) - len(speech())) / RATE < 0.1
    correlation, late = likeness(speech(), heard)
    assert correlation > 0.97
    assert abs(late) < 0.07


async def test_a_path_and_a_spooled_file_are_read_from_their_beginning(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "speech.wav", speech())
    from_path = np.concatenate(await blocks(path))
    with tempfile.SpooledTemporaryFile(max_size=1000) as spooled:
        spooled.write(path.read_bytes())
        from_spooled = np.concatenate(await blocks(cast(io.BytesIO, spooled)))
        assert not spooled.closed
    assert len(from_path) == len(speech())
    assert np.array_equal(from_path, from_spooled)


@pytest.mark.parametrize("channels", [2, 6])
async def test_channels_are_mixed_without_growing_beyond_full_scale(channels: int) -> None:
    loud = speech() * np.float32(1.9)
    heard = np.concatenate(await blocks(wav(np.tile(loud, (channels, 1)))))
    assert np.allclose(heard, loud, atol=0.001)


async def test_a_file_that_is_already_as_wanted_comes_out_whole() -> None:
    original = encode(speech()[None], "wav", "pcm_s32le", RATE)
    assert np.allclose(np.concatenate(await blocks(original)), speech(), atol=0.001)


async def test_stereo_at_44_khz_with_one_silent_channel_is_heard() -> None:
    both = np.stack([speech(), np.zeros_like(speech())])
    heard = np.concatenate(await blocks(encode(both, "flac", "flac", 44_100)))
    correlation, late = likeness(speech(), heard)
    assert correlation > 0.99
    assert abs(late) < 0.001


async def test_sound_that_changes_its_rate_midway_is_heard_to_the_end() -> None:
    second = encode(speech()[None], "adts", "aac", 24_000)
    heard = np.concatenate(await blocks(recorded("adts") + second))
    assert abs(len(heard) - 2 * len(speech())) / RATE < 0.3
    for half in (heard[: len(speech())], heard[-len(speech()) :]):
        assert likeness(speech(), half)[0] > 0.9


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Dear diary, today I recorded nothing at all.\n" * 200, "could not be read as audio"),
        (b"hm", "could not be read as audio"),
        (bytes(10_000), "could not be read as audio"),
        (np.random.default_rng(3).bytes(50_000), "could not be read as audio"),
        (b"", "The file is empty"),
        (a_picture(), "no audio in the file"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nA subtitle.\n", "no audio in the file"),
        (a_wav_without_samples(), "no audio in the file"),
    ],
    ids=["text", "short", "zeros", "noise", "empty", "picture", "subtitles", "no samples"],
)
async def test_what_is_no_recording_is_refused_in_a_sentence(
    content: bytes, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "memo.mp3"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(MediaError, match=said) as caught:
            await blocks(source)
        assert isinstance(caught.value, InvalidInput)
        assert str(caught.value).endswith(".")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("container", ["flac", "wav", "adts", "fragmented mp4"])
async def test_where_a_truncated_file_breaks_off_is_said_after_what_was_good(
    container: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if container == "fragmented mp4":
        flags = {"movflags": "empty_moov+default_base_moof+frag_every_frame"}
        whole = encode(speech()[None], "mp4", "aac", 44_100, flags)
    else:
        whole = recorded(container)
    got: list[Samples] = []
    with pytest.raises(MediaError, match=r"breaks off after \d\.\d seconds") as caught:
        await collect(got, whole[: len(whole) * 6 // 10 - 5])
    seconds = sum(len(block) for block in got) / RATE
    assert f"after {seconds:.1f} seconds" in str(caught.value)
    assert seconds > 0.5 * len(speech()) / RATE
    heard = np.concatenate(got)
    assert likeness(speech()[: len(heard)], heard)[0] > 0.9
    assert capfd.readouterr() == ("", "")


async def test_a_truncated_mp4_without_its_index_is_refused() -> None:
    whole = recorded("mp4")
    with pytest.raises(MediaError, match="incomplete"):
        await blocks(whole[: len(whole) // 2])


@pytest.mark.parametrize("container", ["mp3", "ogg", "webm"])
async def test_a_truncated_file_that_looks_short_gives_what_is_there(container: str) -> None:
    whole = recorded(container)
    heard = np.concatenate(await blocks(whole[: len(whole) // 2]))
    assert 0.2 < len(heard) / len(speech()) < 0.7


@pytest.mark.parametrize("size", [0, 0x7FFF_F000, 0xFFFF_FFFF])
async def test_a_streamed_wav_of_unknown_size_is_whole(size: int) -> None:
    data = bytearray(wav(speech()[None]))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", size)
    assert len(np.concatenate(await blocks(bytes(data)))) == len(speech())


async def test_a_damaged_packet_is_passed_over_as_players_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = bytearray(recorded("mp3"))
    middle = len(data) // 2
    data[middle : middle + 300] = np.random.default_rng(5).bytes(300)
    heard = np.concatenate(await blocks(bytes(data)))
    assert abs(len(heard) - len(speech())) / RATE < 0.15
    assert "damaged" in caplog.text


async def test_a_foreign_tag_behind_an_mp3_is_no_damage() -> None:
    tag = np.random.default_rng(7).bytes(500)
    heard = np.concatenate(await blocks(recorded("mp3") + tag))
    assert abs(len(heard) - len(speech())) / RATE < 0.1


async def test_metadata_in_another_alphabet_is_no_obstacle() -> None:
    data = wav(speech()[None])
    title = b"INFOINAM" + struct.pack("<I", 6) + "Gespräch".encode("latin-1")[:6]
    chunk = b"LIST" + struct.pack("<I", len(title)) + title
    tagged = bytearray(data[:12] + chunk + data[12:])
    tagged[4:8] = struct.pack("<I", len(tagged) - 8)
    assert len(np.concatenate(await blocks(bytes(tagged)))) == len(speech())


async def test_a_longer_recording_than_allowed_is_refused_as_soon_as_it_is() -> None:
    source = io.BytesIO(wav(np.tile(speech(), (1, 40))))
    with pytest.raises(MediaError, match=r"longer than the limit of 2\.5 seconds"):
        await blocks(source, max_seconds=2.5)
    assert source.tell() < 1_000_000 < len(source.getvalue())
    seconds = len(speech()) / RATE
    assert len(np.concatenate(await blocks(recorded("wav"), seconds + 0.01))) == len(speech())


@pytest.mark.parametrize("rate", [1, 0x7FFF_FFFF])
async def test_a_sample_rate_that_no_sound_has_is_refused(rate: int) -> None:
    data = bytearray(wav(speech()[None]))
    at = data.index(b"fmt ") + 12
    data[at : at + 8] = struct.pack("<II", rate, (2 * rate) & 0xFFFF_FFFF)
    with pytest.raises(MediaError):
        await blocks(bytes(data), max_seconds=1e9)


@pytest.mark.parametrize(
    "listing",
    [
        "ffconcat version 1.0\nfile secret.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.wav\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 45678 RTP/AVP 0\n",
    ],
    ids=["concat", "hls", "sdp"],
)
async def test_a_listing_of_other_files_or_hosts_opens_none_of_them(
    listing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wav(tmp_path / "secret.wav", speech())
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    with pytest.raises(MediaError, match="could not be read"):
        await blocks(listing.encode())
    assert time.monotonic() - began < 5


async def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await blocks(tmp_path / "nowhere.wav")


async def test_an_error_of_the_source_reaches_the_reader() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 50_000:
                raise OSError("the disk is gone")
            return super().read(size)

    with pytest.raises(OSError, match="the disk is gone"):
        await blocks(Failing(wav(np.tile(speech(), (1, 10)))))
    assert decoding_threads() == []


@functools.cache
def ten_minutes() -> bytes:
    channels = np.tile(speech(), (1, 600 * RATE // len(speech()) + 1))[:, : 600 * RATE]
    return encode(channels, "flac", "flac", RATE)


@pytest.mark.one_loop
async def test_ten_minutes_pass_in_bounded_memory_without_holding_the_loop() -> None:
    source = io.BytesIO(ten_minutes())
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            gaps.append(time.perf_counter() - began)

    process, heard = psutil.Process(), 0
    await blocks(recorded("flac"))
    ticker = asyncio.create_task(tick())
    before, cpu, most = process.memory_info().rss, time.thread_time(), 0
    async with aclosing(decode(source, max_seconds=600)) as decoded:
        async for block in decoded:
            heard += len(block)
            most = max(most, process.memory_info().rss)
    cpu = time.thread_time() - cpu
    ticker.cancel()
    assert heard == 600 * RATE
    # All of it as samples would be 38 MB.
    assert most - before < 16e6
    assert cpu / 600 < 0.002, "decoding belongs to the other thread"
    assert np.median(gaps) < 0.05


@pytest.mark.one_loop
async def test_decoding_waits_for_its_reader() -> None:
    source = io.BytesIO(wav(np.tile(speech(), (1, 40))))
    async with aclosing(decode(source, max_seconds=600)) as decoded:
        for taken in range(1, 21):
            await anext(decoded)
            async with asyncio.timeout(60):
                while source.tell() / (2 * RATE) - taken < AHEAD - 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.03)
            read_ahead = source.tell() / (2 * RATE) - taken
            # FFmpeg reads a second at a time, and the samples short of a block come on top.
            assert read_ahead < AHEAD + 3


class Slow(io.BytesIO):
    """A file that takes 10 ms for every kilobyte."""

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(0.01)
        return super().read(1024)


async def test_closing_early_ends_the_thread() -> None:
    decoded = decode(io.BytesIO(ten_minutes()), max_seconds=600)
    await anext(decoded)
    assert len(decoding_threads()) == 1
    async with asyncio.timeout(30):
        await decoded.aclose()
    assert decoding_threads() == []


@pytest.mark.parametrize("wait", [0.05, 0.6])
async def test_cancelling_the_reader_ends_the_thread_before_and_after_it_has_sound(
    wait: float,
) -> None:
    source = Slow(recorded("wav") * 20)
    reader = asyncio.create_task(blocks(cast(IO[bytes], source)))  # type: ignore[arg-type]
    await asyncio.sleep(wait)
    assert len(decoding_threads()) == 1
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert decoding_threads() == []
    assert source.tell() < len(source.getvalue())


async def test_a_generator_never_started_starts_no_thread() -> None:
    decoded = decode(io.BytesIO(b""), max_seconds=1)
    assert decoding_threads() == []
    await decoded.aclose()
