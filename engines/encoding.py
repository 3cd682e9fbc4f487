"""Speech as files and streams carry it: MP3, Opus, AAC, FLAC, WAV and bare PCM, made bit by bit."""

import struct
from collections.abc import Iterable
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np

from engines.audio import PCM_24K, to_pcm16
from engines.recognition import Samples

if TYPE_CHECKING:
    from av import AudioStream, Packet

SpeechFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

MEDIA_TYPES: Final = MappingProxyType[SpeechFormat, str](
    {
        "mp3": "audio/mpeg",
        "opus": "audio/ogg",
        "aac": "audio/aac",
        "flac": "audio/flac",
        "wav": "audio/wav",
        "pcm": "audio/pcm",
    }
)

PCM_RATE: Final = PCM_24K.rate
"""What bare PCM is always at, as nothing in it says so."""

_OPUS_RATE: Final = 24_000
_RATES: Final = frozenset({16_000, 22_050, 24_000, 32_000, 44_100, 48_000})
"""What every decoder of MP3 and AAC knows; sound at another rate becomes `PCM_RATE`."""


class Encoder:
    """One stream of float32 mono at `rate` Hz to bytes of `format`, fed in pieces of any size.

    A piece takes up to about 15 ms of CPU for each second of sound: call it in a thread.
    """

    def __init__(self, format: SpeechFormat, rate: int) -> None:
        self.rate = _output_rate(format, rate)
        self._writer: _Writer
        match format:
            case "pcm":
                self._writer = _Pcm()
            case "wav":
                self._writer = _Wav(self.rate)
            case _:
                self._writer = _Container(format, self.rate)
        self._resampler = None
        if self.rate != rate:
            import soxr

            self._resampler = soxr.ResampleStream(rate, self.rate, 1, dtype="float32", quality="HQ")

    def feed(self, samples: Samples) -> bytes:
        """What became ready; often nothing, since codecs and the resampler hold samples back."""
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        return self._writer.write(samples)

    def finish(self) -> bytes:
        """The end of the stream; nothing may be fed after it."""
        tail = b""
        if self._resampler is not None:
            last = self._resampler.resample_chunk(np.empty(0, np.float32), last=True)
            tail = self._writer.write(last)
        return tail + self._writer.end()


class _Writer(Protocol):
    def write(self, samples: Samples) -> bytes: ...

    def end(self) -> bytes: ...


class _Pcm:
    """16-bit samples, little-endian, without anything else."""

    def write(self, samples: Samples) -> bytes:
        return to_pcm16(samples)

    def end(self) -> bytes:
        return b""


_UNKNOWN_SIZE: Final = 0xFFFF_FFFF
"""What stands in the header of a WAV stream that is not over: players read on to the end."""


class _Wav:
    """A RIFF header, then the samples."""

    def __init__(self, rate: int) -> None:
        self._header = struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            *(b"RIFF", _UNKNOWN_SIZE, b"WAVE"),
            *(b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16),
            *(b"data", _UNKNOWN_SIZE),
        )

    def write(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + to_pcm16(samples)

    def end(self) -> bytes:
        return self._header


_CONTAINERS: Final = {
    # Without a page duration, Opus comes in pages of two seconds. The headers that MP3 files have
    # tell their length, which no stream knows.
    "mp3": ("mp3", "libmp3lame", 96_000, {"write_xing": "0", "id3v2_version": "0"}),
    "opus": ("ogg", "libopus", 48_000, {"page_duration": "20000"}),
    "aac": ("adts", "aac", 96_000, {}),
    "flac": ("flac", "flac", None, {}),
}


class _Container:
    """What FFmpeg encodes and wraps."""

    def __init__(self, format: SpeechFormat, rate: int) -> None:
        import av

        container, codec, bit_rate, options = _CONTAINERS[format]
        self._sink = _Sink()
        self._rate = rate
        self._output = av.open(self._sink, "w", format=container, options=dict(options))
        stream = self._output.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        if bit_rate is not None:
            self._stream.bit_rate = bit_rate

    def write(self, samples: Samples) -> bytes:
        from av import AudioFrame

        if not len(samples):
            return b""
        integers = np.frombuffer(to_pcm16(samples), "<i2")[None, :]
        frame = AudioFrame.from_ndarray(integers, "s16", "mono")
        frame.sample_rate = self._rate
        self._mux(self._stream.encode(frame))
        return self._sink.taken()

    def end(self) -> bytes:
        self._mux(self._stream.encode(None))
        self._output.close()
        return self._sink.taken()

    def _mux(self, packets: "Iterable[Packet[AudioStream]]") -> None:
        for packet in packets:
            self._output.mux(packet)


class _Sink:
    """What FFmpeg writes to; it cannot seek, so that headers come first and stay as they are."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def taken(self) -> bytes:
        """What was written since it was last asked for."""
        data = bytes(self._data)
        self._data.clear()
        return data


def _output_rate(format: SpeechFormat, rate: int) -> int:
    match format:
        case "pcm":
            return PCM_RATE
        case "opus":
            return _OPUS_RATE
        case "mp3" | "aac" if rate not in _RATES:
            return PCM_RATE
        case _:
            return rate
