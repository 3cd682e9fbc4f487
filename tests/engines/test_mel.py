"""Log-mel features of growing audio: those of faster-whisper, each frame computed once."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voice import RATE, Samples, say, silence

from engines.base import InvalidInput
from engines.mel import FRAME, Floats, LogMel, mel_filters

TOLERANCE = 1e-5
SENTENCE = "The next meeting is on Friday at five in the evening."

Counted = Callable[[], int]


@functools.cache
def filters(mels: int = 80) -> Floats:
    return mel_filters(mels)


@functools.cache
def speech() -> Samples:
    """Five seconds with a loud click, so that windows differ in their clamp."""
    audio = np.concatenate((silence(0.4), say(SENTENCE), silence(2)))[: 5 * RATE]
    audio[3 * RATE] = 0.95
    return audio


@functools.cache
def extractor(mels: int) -> Callable[[Samples], Floats]:
    from faster_whisper.feature_extractor import FeatureExtractor

    made: Callable[[Samples], Floats] = FeatureExtractor(feature_size=mels)
    return made


def whole(audio: Samples, frames: int, mels: int = 80) -> Floats:
    """What faster-whisper's extractor gives for `audio` and then digital silence."""
    padded = np.pad(audio, (0, frames * FRAME - len(audio)))
    return extractor(mels)(padded)[:, :frames]


def pushed(audio: Samples, size: int | None = None, mels: int = 80) -> LogMel:
    mel = LogMel(filters(mels))
    for at in range(0, len(audio), size or max(1, len(audio))):
        mel.push(audio[at : at + (size or len(audio))])
    return mel


def assert_same(got: Floats, want: Floats) -> None:
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Counts the frames that were transformed."""
    counts: list[int] = []
    rfft = np.fft.rfft

    def counting(spans: Floats) -> object:
        counts.append(len(spans))
        return rfft(spans)

    monkeypatch.setattr("engines.mel.np.fft.rfft", counting)
    return lambda: sum(counts)


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("size", [320, 512, 1600, 777, None])
def test_any_chunking_gives_the_features_of_faster_whisper(size: int | None, mels: int) -> None:
    mel = pushed(speech(), size, mels)
    assert (mel.start, mel.end) == (0, len(speech()))
    assert_same(mel.window(0, mel.end, 600), whole(speech(), 600, mels))


@given(
    st.integers(0, 5 * RATE // FRAME), st.integers(0, 5 * RATE), st.integers(0, 900), st.booleans()
)
@settings(deadline=None, max_examples=150)
def test_a_window_anywhere_has_the_features_of_its_audio_alone(
    first: int, length: int, more: int, asked_before: bool
) -> None:
    mel = pushed(speech())
    if asked_before:
        mel.window(0, mel.end, 500)
    start = first * FRAME
    end = min(start + length, mel.end)
    frames = max(1, -(-(end - start) // FRAME)) + more
    assert_same(mel.window(start, end, frames), whole(speech()[start:end], frames))


@given(st.integers(0, 1000), st.integers(0, 4))
@settings(deadline=None, max_examples=150)
def test_audio_of_a_few_frames_is_right_at_both_edges(length: int, more: int) -> None:
    audio = speech()[RATE : RATE + length]
    frames = max(1, -(-length // FRAME)) + more
    assert_same(pushed(audio).window(0, length, frames), whole(audio, frames))


def test_a_loud_end_that_only_the_frame_after_the_window_hears_sets_the_level() -> None:
    audio = silence(1)
    audio[-10:] = 0.9
    assert_same(pushed(audio).window(0, RATE, 100), whole(audio, 100))


@pytest.mark.parametrize("frames", [1, 2, 3, 50])
def test_no_audio_is_digital_silence(frames: int) -> None:
    features = LogMel(filters()).window(0, 0, frames)
    assert_same(features, whole(np.zeros(0, np.float32), frames))
    assert np.ptp(features) < 1e-6


def test_digital_silence_and_full_scale_audio_have_the_features_of_faster_whisper() -> None:
    square = np.sign(np.sin(np.arange(RATE, dtype=np.float32))).astype(np.float32)
    for audio in (np.zeros(RATE, np.float32), square):
        assert_same(pushed(audio).window(0, RATE, 200), whole(audio, 200))


def test_a_window_stays_what_it_was_while_audio_grows_behind_it() -> None:
    mel = LogMel(filters())
    mel.push(speech()[:RATE])
    before = mel.window(FRAME, RATE - 70, 120)
    kept = before.copy()
    for at in range(RATE, len(speech()), 500):
        mel.push(speech()[at : at + 500])
        np.testing.assert_array_equal(mel.window(FRAME, RATE - 70, 120), kept)
    np.testing.assert_array_equal(before, kept)


def test_after_forgetting_the_windows_that_are_left_are_the_same() -> None:
    mel = pushed(speech(), 1000)
    mel.window(0, RATE, 100)
    for start in (1600, 1601, RATE, 3 * RATE + 159):
        mel.forget(start)
        assert mel.start == start // FRAME * FRAME
        assert_same(mel.window(mel.start, mel.end, 500), whole(speech()[mel.start :], 500))
    mel.forget(RATE)
    assert mel.start == 3 * RATE
    mel.push(speech())
    assert_same(
        mel.window(mel.start, mel.end, 800),
        whole(np.concatenate((speech()[3 * RATE :], speech())), 800),
    )


def test_forgetting_more_than_was_pushed_forgets_what_was_pushed() -> None:
    mel = pushed(speech()[:1000])
    mel.forget(10**9)
    assert (mel.start, mel.end) == (960, 1000)
    mel.push(speech()[1000:RATE])
    assert_same(mel.window(960, RATE, 100), whole(speech()[960:RATE], 100))


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        (1440, 3200, 100),
        (1601, 3200, 100),
        (3200, 3199, 100),
        (1600, RATE + 1, 100),
        (1600, 3361, 11),
        (1600, 1600, 0),
        (-160, 3200, 100),
    ],
)
def test_a_window_that_is_not_kept_or_does_not_fit_is_refused(
    start: int, end: int, frames: int
) -> None:
    mel = pushed(speech()[:RATE])
    mel.forget(1600)
    with pytest.raises(InvalidInput):
        mel.window(start, end, frames)
    assert_same(mel.window(1600, 3360, 11), whole(speech()[1600:3360], 11))


def test_each_frame_is_computed_once_however_many_windows_ask_for_it(computed: Counted) -> None:
    mel = LogMel(filters())
    windows = 0
    for at in range(0, len(speech()), 1600):
        mel.push(speech()[at : at + 1600])
        for start in range(0, min(mel.end, RATE), 4 * FRAME):
            mel.window(start, mel.end, 600)
            windows += 1
    assert windows > 1000
    edges = 5 * windows
    assert computed() <= len(speech()) // FRAME + edges
    before = computed()
    mel.window(0, mel.end, 3000)
    assert computed() - before <= 5


def test_frames_that_no_window_needs_are_not_computed(computed: Counted) -> None:
    mel = pushed(np.tile(speech(), 4))
    mel.forget(19 * RATE)
    mel.window(19 * RATE, 20 * RATE, 100)
    assert computed() <= 105


def test_two_hours_of_audio_are_held_in_the_memory_of_one_window() -> None:
    mel = LogMel(filters())
    ten_seconds = np.tile(speech(), 2)
    most = 0
    for _ in range(720):
        mel.push(ten_seconds)
        most = max(most, mel.nbytes)
        mel.forget(mel.end - 2 * RATE)
        mel.window(mel.start, mel.end, 200)
        most = max(most, mel.nbytes)
    assert mel.end == 7200 * RATE
    assert most <= 3 * (12 * RATE * 4 + 200 * 80 * 4)
    mel.forget(mel.end)
    assert mel.nbytes <= 1024 * (4 + 80 * 4)


def test_a_window_of_nothing_has_the_features_of_digital_silence() -> None:
    assert LogMel(filters()).window(0, 0, 10)[0, 5] == pytest.approx(-1.5, abs=1e-6)
