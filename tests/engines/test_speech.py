"""An utterance grows on one thread while another takes features of its windows."""

import functools
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from voice import RATE, Samples, say, silence

from engines.base import InvalidInput
from engines.mel import FRAME, Floats, LogMel, mel_filters
from engines.speech import Speech

PIECE = 500


@functools.cache
def filters() -> Floats:
    return mel_filters(80)


@functools.cache
def audio() -> Samples:
    spoken = say("The next meeting is on Friday at five in the evening.")
    return np.concatenate((spoken, silence(1), spoken))[: 6 * RATE]


def alone(start: int, end: int, frames: int) -> Floats:
    """The features of a window of audio that came in one piece."""
    mel = LogMel(filters())
    mel.push(audio()[start:end])
    return mel.window(0, end - start, frames)


def pieces() -> Iterator[Samples]:
    for at in range(0, len(audio()), PIECE):
        yield audio()[at : at + PIECE]


def test_windows_are_right_while_another_thread_appends_and_forgets() -> None:
    speech = Speech()
    done = threading.Event()
    checked = 0

    def grow() -> None:
        for piece in pieces():
            speech.append(piece)
            done.wait(0.002)
        done.set()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        while not done.is_set() or not checked:
            end = speech.length
            start = max(0, end - RATE) // FRAME * FRAME
            speech.forget(start)
            found = speech.features(filters(), start, end, 110)
            np.testing.assert_allclose(found, alone(start, end, 110), rtol=0, atol=1e-5)
            checked += 1
    finally:
        done.set()
        writer.join()
    assert checked > 5


def test_two_threads_that_ask_at_once_get_the_same_features() -> None:
    speech = Speech()
    found: dict[int, Floats] = {}
    ready = threading.Barrier(2)

    def ask(number: int) -> None:
        ready.wait(5)
        found[number] = speech.features(filters(), 0, len(audio()), 700)

    for piece in pieces():
        speech.append(piece)
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], alone(0, len(audio()), 700), rtol=0, atol=1e-5)


def test_forgetting_never_goes_back_and_refuses_windows_before_it() -> None:
    speech = Speech()
    speech.append(audio())
    speech.forget(2 * RATE)
    speech.forget(RATE)
    with pytest.raises(InvalidInput):
        speech.features(filters(), RATE, 3 * RATE, 300)
    found = speech.features(filters(), 2 * RATE, 3 * RATE, 300)
    np.testing.assert_allclose(found, alone(2 * RATE, 3 * RATE, 300), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "rubbish",
    [
        np.full(100, np.nan, np.float32),
        np.full(100, np.inf, np.float32),
        np.zeros(100, np.int16),
        np.zeros((100, 2), np.float32),
    ],
)
def test_rubbish_is_refused_once_and_the_audio_before_it_can_still_be_had(rubbish: Samples) -> None:
    speech = Speech()
    speech.append(audio()[:RATE])
    speech.append(rubbish)
    with pytest.raises(InvalidInput):
        speech.features(filters(), 0, RATE, 100)
    for _ in range(2):
        found = speech.features(filters(), 0, RATE, 100)
        np.testing.assert_allclose(found, alone(0, RATE, 100), rtol=0, atol=1e-5)


def test_audio_after_rubbish_keeps_its_place() -> None:
    speech = Speech()
    speech.append(np.full(RATE, np.nan, np.float32))
    with pytest.raises(InvalidInput):
        speech.features(filters(), 0, RATE, 100)
    speech.append(audio())
    assert speech.length == RATE + len(audio())
    found = speech.features(filters(), RATE, speech.length, 700)
    np.testing.assert_allclose(found, alone(0, len(audio()), 700), rtol=0, atol=1e-5)


def test_a_window_of_audio_that_has_not_come_is_refused() -> None:
    speech = Speech()
    with pytest.raises(InvalidInput):
        speech.features(filters(), 0, 1, 100)
    speech.append(audio()[:RATE])
    with pytest.raises(InvalidInput):
        speech.features(filters(), 0, RATE + 1, 200)
    assert speech.features(filters(), 0, RATE, 200).shape == (80, 200)
