"""Wire audio to samples: chunking, fidelity, G.711 and alignment in time."""

import functools

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from voice import RATE, pcm16, say

from engines.audio import (
    PCM_24K,
    PCMA,
    PCMU,
    AudioFormat,
    Decoder,
    decode_alaw,
    decode_ulaw,
    encode_alaw,
    encode_ulaw,
    from_pcm16,
    to_pcm16,
)
from engines.recognition import Samples

SENTENCE = "ask not what your country can do for you"
FORMATS = [
    PCM_24K,
    PCMU,
    PCMA,
    AudioFormat("pcm16", 8_000),
    AudioFormat("pcm16", 16_000),
    AudioFormat("pcm16", 44_100),
    AudioFormat("pcm16", 48_000),
]
ALL_CODES = np.arange(256, dtype=np.uint8)


def encode(samples: Samples, format: AudioFormat) -> bytes:
    """`samples`, which are at the rate of `format`, as it codes them."""
    match format.encoding:
        case "pcm16":
            return to_pcm16(samples)
        case "pcmu":
            return encode_ulaw(samples).tobytes()
        case "pcma":
            return encode_alaw(samples).tobytes()


def wire(samples: Samples, format: AudioFormat) -> bytes:
    """`samples`, at 16 kHz, as a client would send them in `format`."""
    return encode(soxr.resample(samples, RATE, format.rate), format)


def decode(data: bytes, format: AudioFormat) -> Samples:
    return Decoder(format).feed(data)


def delay(rate: int) -> int:
    """Samples by which the resampler's filter is late: 1 ms, or 16 samples of a lower rate."""
    return 0 if rate == RATE else round(16 * max(1, RATE / rate))


def snr_db(reference: Samples, heard: Samples, *, below: float) -> float:
    """Signal to noise ratio in the band from 100 Hz up to `below` Hz, over a whole recording."""
    assert len(reference) == len(heard)
    band = np.fft.rfftfreq(len(reference), 1 / RATE)
    kept = (band > 100) & (band < below)
    signal, noise = np.fft.rfft(reference)[kept], np.fft.rfft(heard - reference)[kept]
    return float(10 * np.log10(np.sum(np.abs(signal) ** 2) / np.sum(np.abs(noise) ** 2)))


@functools.cache
def spoken_wire(format: AudioFormat) -> tuple[bytes, Samples]:
    data = wire(say(SENTENCE)[: 2 * RATE], format)
    return data, decode(data, format)


@pytest.mark.parametrize("format", FORMATS, ids=str)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 20_000), max_size=30))
def test_any_chunking_gives_the_same_samples_bit_for_bit(
    format: AudioFormat, sizes: list[int]
) -> None:
    data, whole = spoken_wire(format)
    decoder, pieces, at = Decoder(format), [], 0
    for size in sizes:
        pieces.append(decoder.feed(memoryview(data)[at : at + size]))
        at += size
    pieces.append(decoder.feed(data[at:]))
    assert all(piece.dtype == np.float32 for piece in pieces)
    assert np.array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_one_byte_at_a_time_gives_the_same_samples(format: AudioFormat) -> None:
    data = spoken_wire(format)[0][:3000]
    decoder = Decoder(format)
    pieces = [decoder.feed(data[i : i + 1]) for i in range(len(data))]
    heard, whole = np.concatenate(pieces), decode(data, format)
    assert len(whole) - 2 * delay(format.rate) <= len(heard) <= len(whole)
    assert np.array_equal(heard, whole[: len(heard)])


@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize("milliseconds", [20, 32, 40, 100])
def test_chunks_give_the_samples_of_their_time_at_once(
    format: AudioFormat, milliseconds: int
) -> None:
    decoder, data = Decoder(format), spoken_wire(format)[0]
    step = format.bytes_per_second * milliseconds // 1000 // 2 * 2
    taken = 0
    for at in range(0, len(data) - step, step):
        taken += len(decoder.feed(data[at : at + step]))
        exact = (at + step) / format.bytes_per_second * RATE
        assert int(exact) <= taken <= exact + 1


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_after_a_reset_a_new_stream_begins(format: AudioFormat) -> None:
    data, whole = spoken_wire(format)
    decoder = Decoder(format)
    decoder.feed(data[:1001])
    decoder.reset()
    assert np.array_equal(decoder.feed(data), whole)


def test_a_chunk_of_20_mb_is_decoded_whole() -> None:
    count = 10_000_000
    data = np.tile(np.frombuffer(spoken_wire(PCM_24K)[0], np.uint8), 300)[: 2 * count].tobytes()
    samples = decode(data, PCM_24K)
    assert len(samples) == count * RATE // PCM_24K.rate
    assert np.isfinite(samples).all()


@pytest.mark.parametrize(
    ("rate", "below", "least_db"), [(24_000, 6_500, 65), (48_000, 6_500, 65), (8_000, 3_200, 60)]
)
def test_pcm_keeps_speech_as_it_was(rate: int, below: float, least_db: float) -> None:
    speech = say(SENTENCE)
    heard = decode(pcm16(speech, rate), AudioFormat("pcm16", rate))[delay(rate) :][: len(speech)]
    assert snr_db(speech[: len(heard)], heard, below=below) > least_db


@pytest.mark.parametrize("format", [PCMU, PCMA], ids=str)
def test_g711_keeps_30_db_of_the_8_khz_speech_it_codes(format: AudioFormat) -> None:
    speech = say(SENTENCE)
    reference = decode(wire(speech, AudioFormat("pcm16", 8_000)), AudioFormat("pcm16", 8_000))
    assert snr_db(reference, decode(wire(speech, format), format), below=4_000) > 30


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_a_click_is_as_late_as_the_filter(format: AudioFormat) -> None:
    for seconds in (0.1, 0.5, 0.9973):
        clicks = np.zeros(format.rate, np.float32)
        at = round(seconds * format.rate)
        clicks[at] = 0.9
        samples = decode(encode(clicks, format), format)
        heard = int(np.argmax(np.abs(samples))) - delay(format.rate)
        assert abs(heard / RATE - at / format.rate) < 0.0005


def test_ulaw_codes_mean_what_g711_says() -> None:
    levels = decode_ulaw(ALL_CODES) * 32768
    assert levels[[0xFF, 0x7F]].tolist() == [0, 0]
    assert levels[[0x80, 0x00]].tolist() == [32124, -32124]
    assert levels[[0xFE, 0x7E, 0xF0, 0xEF, 0x8F]].tolist() == [8, -8, 120, 132, 16764]


def test_alaw_codes_mean_what_g711_says() -> None:
    levels = decode_alaw(ALL_CODES) * 32768
    assert levels[[0xD5, 0x55]].tolist() == [8, -8]
    assert levels[[0xAA, 0x2A]].tolist() == [32256, -32256]
    assert levels[[0xD4, 0x80, 0x00, 0xC5]].tolist() == [24, 5504, -5504, 264]


def test_encoding_what_was_decoded_gives_every_code_again() -> None:
    assert np.array_equal(encode_alaw(decode_alaw(ALL_CODES)), ALL_CODES)
    want = ALL_CODES.copy()
    want[0x7F] = 0xFF  # the negative zero
    assert np.array_equal(encode_ulaw(decode_ulaw(ALL_CODES)), want)


@given(st.integers(-32768, 32767))
def test_g711_is_off_by_at_most_half_a_step(sample: int) -> None:
    value = np.array([sample / 32768], np.float32)
    for code in (decode_ulaw(encode_ulaw(value)), decode_alaw(encode_alaw(value))):
        # A step is a sixteenth of its segment, which µ-law biases by 132.
        assert abs(code[0] * 32768 - sample) <= max(8, (abs(sample) + 132) / 32)


@given(st.binary(max_size=2000).filter(lambda data: len(data) % 2 == 0))
def test_pcm_survives_a_round_trip(data: bytes) -> None:
    samples = from_pcm16(data)
    assert to_pcm16(samples) == data
    assert (np.abs(samples) <= 1).all()


def test_samples_beyond_full_scale_are_clipped() -> None:
    samples = np.array([2.0, -2.0, 1.0, -1.0], np.float32)
    assert np.frombuffer(to_pcm16(samples), "<i2").tolist() == [32767, -32768, 32767, -32768]


@pytest.mark.parametrize(
    ("encoding", "rate"), [("pcm16", 7_999), ("pcm16", 48_001), ("pcmu", 16_000), ("pcma", 24_000)]
)
def test_a_rate_that_a_format_cannot_have_is_refused(encoding: str, rate: int) -> None:
    with pytest.raises(ValueError, match=str(rate)):
        AudioFormat(encoding, rate)  # type: ignore[arg-type]


def test_formats_know_how_many_bytes_a_second_takes() -> None:
    assert (PCM_24K.bytes_per_sample, PCM_24K.bytes_per_second) == (2, 48_000)
    assert (PCMU.bytes_per_sample, PCMU.bytes_per_second) == (1, 8_000)
