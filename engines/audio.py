"""Audio as clients send it, to and from samples: 16-bit PCM at any rate, G.711 µ-law and A-law."""

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from av import AudioFrame, AudioResampler
from numpy.typing import NDArray

from engines.recognition import SAMPLE_RATE, Samples

Encoding = Literal["pcm16", "pcmu", "pcma"]
Codes = NDArray[np.uint8]

LOWEST_RATE = 8_000
HIGHEST_RATE = 48_000
G711_RATE = 8_000
_TAPS = 16
"""What comes after a sample that FFmpeg's filter makes it of, at the lower of the two rates."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How mono audio is coded on the wire; `pcm16` is signed and little-endian.

    Raises ValueError for a rate the encoding cannot have: G.711 is always at 8 kHz, PCM between
    8 and 48 kHz.
    """

    encoding: Encoding
    rate: int

    def __post_init__(self) -> None:
        if self.encoding == "pcm16":
            if not LOWEST_RATE <= self.rate <= HIGHEST_RATE:
                raise ValueError(
                    f"PCM audio has a rate of {LOWEST_RATE} to {HIGHEST_RATE} Hz, not {self.rate}."
                )
        elif self.rate != G711_RATE:
            raise ValueError(f"G.711 audio has a rate of {G711_RATE} Hz, not {self.rate}.")

    @property
    def bytes_per_sample(self) -> int:
        return 2 if self.encoding == "pcm16" else 1

    @property
    def bytes_per_second(self) -> int:
        return self.rate * self.bytes_per_sample


PCM_24K = AudioFormat("pcm16", 24_000)
PCMU = AudioFormat("pcmu", G711_RATE)
PCMA = AudioFormat("pcma", G711_RATE)


class Decoder:
    """One stream of wire audio to float32 mono at `SAMPLE_RATE`, fed in chunks of any size.

    How the stream is cut into chunks changes not one bit of what comes out. The resampler is
    FFmpeg's, whose filter is less steep than that of soxr (4 dB down at 7.6 kHz) and so does not
    wait for up to 40 ms of what comes after: whoever answers a speaker waits for it. The filter's
    own delay, 1 ms and 2 ms at 8 kHz, stays in the sound: n samples give those of their time at
    once, and a window that ends with a chunk need not wait for the next.
    """

    def __init__(self, format: AudioFormat) -> None:
        self.format = format
        self._half = b""
        self._resampler: AudioResampler | None = None
        self._delay = round(_TAPS * max(1.0, SAMPLE_RATE / format.rate))

    def feed(self, data: bytes | memoryview) -> Samples:
        """The samples of the chunk's time.

        A chunk may end in the middle of a sample, since whoever forwards a byte stream cuts it
        where they like: that half is kept for the next chunk. Dropped, it would turn everything
        after it into noise.
        """
        samples = self._samples(data)
        if self.format.rate == SAMPLE_RATE or not len(samples):
            return samples
        begins = self._resampler is None
        if self._resampler is None:
            self._resampler = AudioResampler("flt", "mono", SAMPLE_RATE)
        frame = AudioFrame.from_ndarray(samples[np.newaxis], "flt", "mono")
        frame.sample_rate = self.format.rate
        resampled = [piece.to_ndarray().reshape(-1) for piece in self._resampler.resample(frame)]
        return np.concatenate([np.zeros(self._delay if begins else 0, np.float32), *resampled])

    def reset(self) -> None:
        """A new stream begins; half a sample at the end of this one is forgotten."""
        self._half = b""
        self._resampler = None

    def _samples(self, data: bytes | memoryview) -> Samples:
        match self.format.encoding:
            case "pcm16":
                whole = self._half + data if self._half else data
                end = len(whole) // 2 * 2
                self._half = bytes(whole[end:])
                return from_pcm16(whole[:end])
            case "pcmu":
                return decode_ulaw(np.frombuffer(data, np.uint8))
            case "pcma":
                return decode_alaw(np.frombuffer(data, np.uint8))


class Encoder:
    """Float32 mono sound to wire audio, fed in chunks of any size and of any rate.

    Sound of another rate than before begins anew. The resampler (soxr, HQ) holds some samples back:
    nobody waits for them, as sentences come whole, and people hear how steep its filter is.
    """

    def __init__(self, format: AudioFormat) -> None:
        self.format = format
        self._rate: int | None = None
        self._resampler: Any = None

    def feed(self, samples: Samples, rate: int) -> bytes:
        """The audio that became ready."""
        before = b""
        if rate != self._rate:
            before = self.flush()
            self._rate, self._resampler = rate, None
            if rate != self.format.rate:
                import soxr

                self._resampler = soxr.ResampleStream(
                    rate, self.format.rate, 1, dtype="float32", quality="HQ"
                )
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        return before + self._coded(samples)

    def flush(self) -> bytes:
        """What was held back; what is fed next begins anew."""
        if self._resampler is None:
            return b""
        tail: Samples = self._resampler.resample_chunk(np.empty(0, np.float32), last=True)
        self._resampler.clear()
        return self._coded(tail)

    def _coded(self, samples: Samples) -> bytes:
        match self.format.encoding:
            case "pcm16":
                return to_pcm16(samples)
            case "pcmu":
                return encode_ulaw(samples).tobytes()
            case "pcma":
                return encode_alaw(samples).tobytes()


def from_pcm16(data: bytes | memoryview) -> Samples:
    """Little-endian 16-bit samples as float32. Raises ValueError for an odd number of bytes."""
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def to_pcm16(samples: Samples) -> bytes:
    """Little-endian 16-bit samples, rounded, what is beyond full scale clipped."""
    return _integers(samples).astype("<i2").tobytes()


def decode_ulaw(codes: Codes) -> Samples:
    """G.711 µ-law codes as float32, full scale at 1."""
    return _ulaw_levels()[codes]


def decode_alaw(codes: Codes) -> Samples:
    """G.711 A-law codes as float32, full scale at 1."""
    return _alaw_levels()[codes]


def encode_ulaw(samples: Samples) -> Codes:
    """G.711 µ-law codes; a silent sample is 0xFF, never 0x7F (the negative zero)."""
    return _ulaw_codes()[_integers(samples).view(np.uint16)]


def encode_alaw(samples: Samples) -> Codes:
    """G.711 A-law codes."""
    return _alaw_codes()[_integers(samples).view(np.uint16)]


def _integers(samples: Samples) -> NDArray[np.int16]:
    scaled = np.rint(samples * np.float32(32768))
    integers: NDArray[np.int16] = np.clip(scaled, -32768, 32767).astype(np.int16)
    return integers


# ITU-T G.711 codes a sample as sign, segment (an exponent) and a step within the segment. Its
# tables are in 14 bits for µ-law and 13 for A-law; here both are shifted up to 16.

ULAW_BIAS = 132
"""What µ-law adds to a magnitude so that every segment starts at a power of two."""
ULAW_CLIP = 32_635
ALAW_TOGGLE = 0x55
"""A-law is sent with every other bit inverted."""


@functools.cache
def _ulaw_levels() -> Samples:
    codes = ~np.arange(256, dtype=np.uint8)
    segment, step = ((codes >> 4) & 7).astype(np.int32), (codes & 15).astype(np.int32)
    magnitude = (((step << 3) + ULAW_BIAS) << segment) - ULAW_BIAS
    return _signed(magnitude, negative=codes >= 128)


@functools.cache
def _alaw_levels() -> Samples:
    codes = np.arange(256, dtype=np.uint8) ^ ALAW_TOGGLE
    segment, step = ((codes >> 4) & 7).astype(np.int32), (codes & 15).astype(np.int32)
    linear = (step << 4) + 8
    magnitude = np.where(segment == 0, linear, (linear + 256) << np.maximum(segment - 1, 0))
    return _signed(magnitude, negative=codes < 128)


@functools.cache
def _ulaw_codes() -> Codes:
    """The code of every 16-bit sample, at its bits read as an unsigned number."""
    samples = _all_samples()
    magnitude = np.minimum(np.abs(samples), ULAW_CLIP) + ULAW_BIAS
    segment = _top_bit(magnitude) - 7
    step = (magnitude >> (segment + 3)) & 15
    sign = np.where(samples < 0, 128, 0)
    codes: Codes = ~(sign | (segment << 4) | step).astype(np.uint8)
    return codes


@functools.cache
def _alaw_codes() -> Codes:
    """The code of every 16-bit sample, at its bits read as an unsigned number."""
    samples = _all_samples()
    # A-law has no zero: a negative level reaches from -1 down, a positive one from 0 up.
    magnitude = np.where(samples < 0, ~samples, samples)
    segment = np.maximum(_top_bit(np.maximum(magnitude, 1)) - 7, 0)
    step = (magnitude >> (np.maximum(segment, 1) + 3)) & 15
    sign = np.where(samples < 0, 0, 128)
    codes: Codes = (sign | (segment << 4) | step).astype(np.uint8) ^ ALAW_TOGGLE
    return codes


def _all_samples() -> NDArray[np.int32]:
    return np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)


def _top_bit(magnitude: NDArray[np.int32]) -> NDArray[np.int32]:
    """The number of the highest bit set in positive integers."""
    return np.frexp(magnitude)[1].astype(np.int32) - 1


def _signed(magnitude: NDArray[np.int32], negative: NDArray[np.bool_]) -> Samples:
    return (np.where(negative, -magnitude, magnitude) / 32768).astype(np.float32)
