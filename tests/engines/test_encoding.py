"""Encoded speech, decoded again: its length, its pitch, and how soon it comes."""

import io
import struct
from collections.abc import Iterator
from typing import get_args

import av
import numpy as np
import pytest
from av.container import InputContainer

from engines.encoding import MEDIA_TYPES, PCM_RATE, Encoder, SpeechFormat
from engines.media import decode
from engines.recognition import SAMPLE_RATE, Samples

FORMATS: tuple[SpeechFormat, ...] = get_args(SpeechFormat)
PITCH = 440.0
SIGNATURES = {
    "opus": b"OggS",
    "flac": b"fLaC",
    "wav": b"RIFF",
    "aac": b"\xff\xf1",
    "mp3": b"\xff\xf3",
}


def tone(seconds: float, rate: int) -> Samples:
    times = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * PITCH * times)).astype(np.float32)


def pieces(samples: Samples, size: int) -> Iterator[Samples]:
    for at in range(0, len(samples), size):
        yield samples[at : at + size]


def encoded(format: SpeechFormat, samples: Samples, rate: int, size: int = 1000) -> bytes:
    encoder = Encoder(format, rate)
    return b"".join([*map(encoder.feed, pieces(samples, size)), encoder.finish()])


async def decoded(format: SpeechFormat, data: bytes) -> Samples:
    """Float32 at 16 kHz."""
    if format == "pcm":
        data = wav(data, PCM_RATE)
    return np.concatenate([block async for block in decode(io.BytesIO(data), max_seconds=60)])


def wav(data: bytes, rate: int) -> bytes:
    sizes = (len(data) + 36, len(data))
    riff = struct.pack("<4sI4s4sIHHII", b"RIFF", sizes[0], b"WAVE", b"fmt ", 16, 1, 1, rate, 0)
    return riff + struct.pack("<HH4sI", 2, 16, b"data", sizes[1]) + data


def pitch_of(samples: Samples, rate: int) -> float:
    """The loudest frequency of the middle of a sound."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return float(np.argmax(spectrum) * rate / len(middle))


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 11_025])
@pytest.mark.parametrize("format", FORMATS)
async def test_what_was_encoded_has_its_length_its_pitch_and_its_loudness(
    format: SpeechFormat, rate: int
) -> None:
    heard = await decoded(format, encoded(format, tone(2.0, rate), rate))
    assert len(heard) / SAMPLE_RATE == pytest.approx(2.0, abs=0.12)
    assert pitch_of(heard, SAMPLE_RATE) == pytest.approx(PITCH, abs=2)
    assert np.abs(heard[8000:-8000]).max() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("format", FORMATS)
def test_how_the_sound_is_cut_into_pieces_changes_nothing(format: SpeechFormat) -> None:
    sound = tone(1.0, 22_050)
    assert _body(format, encoded(format, sound, 22_050, 317)) == _body(
        format, encoded(format, sound, 22_050, 22_050)
    )


def _body(format: SpeechFormat, data: bytes) -> list[bytes]:
    """The packets, as the serial number of an Ogg stream is drawn by lot."""
    if format == "pcm":
        return [data]
    with av.open(io.BytesIO(data)) as container:
        assert isinstance(container, InputContainer)
        return [bytes(packet) for packet in container.demux(audio=0)]


@pytest.mark.parametrize(
    ("format", "within"),
    [("mp3", 0.14), ("opus", 0.1), ("aac", 0.14), ("flac", 0.25), ("wav", 0.02), ("pcm", 0.02)],
)
def test_sound_comes_out_soon_and_goes_on_coming(format: SpeechFormat, within: float) -> None:
    rate, size = 24_000, 480
    encoder = Encoder(format, rate)
    sizes = [len(encoder.feed(piece)) for piece in pieces(tone(2.0, rate), size)]
    headers = 2 if format == "opus" else 1
    came = [number for number, length in enumerate(sizes, 1) if length]
    sound = came[headers - 1 :] if sizes[0] else came
    assert sound[0] * size / rate <= within
    gaps = np.diff(sound) * size / rate
    assert gaps.max() <= within


@pytest.mark.parametrize("format", FORMATS)
def test_a_stream_without_sound_has_a_header_at_most(format: SpeechFormat) -> None:
    data = encoded(format, np.empty(0, np.float32), 22_050)
    assert data.startswith(SIGNATURES[format]) if format in ("flac", "wav") else not data


@pytest.mark.parametrize("format", sorted(SIGNATURES))
def test_a_stream_begins_as_its_format_does(format: SpeechFormat) -> None:
    assert encoded(format, tone(0.5, 24_000), 24_000).startswith(SIGNATURES[format])


def test_pcm_is_always_at_24_khz_without_a_header() -> None:
    data = encoded("pcm", tone(1.0, 22_050), 22_050)
    samples = np.frombuffer(data, "<i2").astype(np.float32)
    assert len(samples) == 24_000
    assert pitch_of(samples, 24_000) == pytest.approx(PITCH, abs=2)


def test_a_wav_keeps_its_rate_and_does_not_say_how_long_it_is() -> None:
    data = encoded("wav", tone(1.0, 22_050), 22_050)
    assert struct.unpack("<I", data[4:8]) == struct.unpack("<I", data[40:44]) == (0xFFFFFFFF,)
    assert struct.unpack("<HHII", data[20:32]) == (1, 1, 22_050, 44_100)
    assert len(data) == 44 + 2 * 22_050


@pytest.mark.parametrize("format", FORMATS)
async def test_what_is_too_loud_is_clipped_and_does_not_wrap_around(format: SpeechFormat) -> None:
    heard = await decoded(format, encoded(format, 4 * tone(1.0, 24_000), 24_000))
    assert pitch_of(heard, SAMPLE_RATE) == pytest.approx(PITCH, abs=2)
    assert np.sqrt(np.mean(heard[4000:-4000] ** 2)) > 0.8


def test_every_format_has_a_media_type() -> None:
    assert set(MEDIA_TYPES) == set(FORMATS)
