"""Voice activity: the same probabilities however the audio arrives, each stream on its own."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from voice import Samples, say, silence

from engines.base import InvalidInput, Outcome, Work
from engines.silero import WINDOW, Silero, recipe

SENTENCE = "The next meeting is on Friday at five in the evening."


@pytest.fixture
def silero() -> Iterator[Silero]:
    engine = Silero()
    yield engine
    engine.close()


def windows(audio: Samples) -> Samples:
    return audio[: len(audio) // WINDOW * WINDOW]


def listen(engine: Silero, audio: Samples, job: int = 1, chunk: int = 10**6) -> Samples:
    """Probabilities of a whole stream that arrives `chunk` windows at a time."""
    heard: list[Samples] = []
    size = chunk * WINDOW
    for at in range(0, len(audio), size):
        ended = at + size >= len(audio)
        (outcome,) = engine.step([Work(job, None, (audio[at : at + size],), ended)])
        assert outcome.done is ended
        heard.extend(outcome.events)
    return np.concatenate(heard)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 31])
def test_any_chunking_gives_the_probabilities_of_one_go(silero: Silero, chunk: int) -> None:
    speech = windows(np.concatenate((silence(0.5), say(SENTENCE), silence(0.5))))
    at_once = listen(silero, speech)
    assert len(at_once) == len(speech) // WINDOW
    np.testing.assert_allclose(listen(silero, speech, chunk=chunk), at_once, atol=1e-6)


def test_inputs_of_one_step_are_one_stretch_of_sound(silero: Silero) -> None:
    speech = windows(say(SENTENCE))
    pieces = tuple(speech[at : at + WINDOW] for at in range(0, len(speech), WINDOW))
    (outcome,) = silero.step([Work(1, None, pieces, ended=True)])
    assert len(outcome.events) == 1
    np.testing.assert_array_equal(outcome.events[0], listen(silero, speech))


def test_speech_is_speech_and_a_quiet_room_is_not(silero: Silero) -> None:
    assert np.mean(listen(silero, windows(say(SENTENCE))) > 0.5) > 0.7
    assert listen(silero, windows(silence(5)))[1:].max() < 0.05


@pytest.mark.parametrize("quiet", [silence(20), np.zeros(20 * 16_000, np.float32)])
def test_a_silent_stream_beside_a_loud_one_stays_below_a_twentieth(
    silero: Silero, quiet: Samples
) -> None:
    loud, quiet = windows(say(SENTENCE)), windows(quiet)
    beside: tuple[list[Samples], list[Samples]] = ([], [])
    for at in range(0, len(loud), WINDOW):
        one = slice(at, at + WINDOW)
        outcomes = silero.step(
            [Work(1, None, (loud[one],), ended=False), Work(2, None, (quiet[one],), ended=False)]
        )
        assert [outcome.job for outcome in outcomes] == [1, 2]
        for heard, outcome in zip(beside, outcomes, strict=True):
            heard.extend(outcome.events)
    silero.drop(1)
    silero.drop(2)
    # The network's first answer to a new stream is a little higher (up to 0.1, alone or not).
    assert np.concatenate(beside[1])[1:].max() < 0.05
    np.testing.assert_allclose(np.concatenate(beside[0]), listen(silero, loud), atol=1e-6)
    alone = listen(silero, quiet[: len(loud)])
    np.testing.assert_allclose(np.concatenate(beside[1]), alone, atol=1e-6)


def test_a_dropped_job_is_forgotten(silero: Silero) -> None:
    speech = windows(say(SENTENCE))
    fresh = listen(silero, speech)
    middle = speech[: 20 * WINDOW]
    silero.step([Work(1, None, (middle,), ended=False)])
    (kept,) = silero.step([Work(1, None, (speech,), ended=False)])
    assert not np.allclose(kept.events[0][:3], fresh[:3], atol=1e-3)
    silero.drop(1)
    silero.drop(1)
    np.testing.assert_array_equal(listen(silero, speech), fresh)


def test_a_job_that_ended_is_forgotten(silero: Silero) -> None:
    speech = windows(say(SENTENCE))
    np.testing.assert_array_equal(listen(silero, speech), listen(silero, speech))


def test_the_end_without_audio_is_done_without_events(silero: Silero) -> None:
    assert silero.step([Work(5, None, (), ended=True)]) == [Outcome(5, done=True)]
    assert silero.step([Work(6, None, (), ended=False)]) == [Outcome(6)]


@pytest.mark.parametrize("bad", [np.zeros(500, np.float32), np.zeros(WINDOW, np.int16)])
def test_wrong_audio_fails_its_own_job_only(silero: Silero, bad: Samples) -> None:
    good = windows(say(SENTENCE))
    wrong, right = silero.step([Work(1, None, (bad,)), Work(2, None, (good,))])
    assert isinstance(wrong.error, InvalidInput)
    assert wrong.done
    assert right.error is None
    assert len(right.events[0]) == len(good) // WINDOW


def test_the_callers_audio_is_left_alone(silero: Silero) -> None:
    speech = windows(say(SENTENCE))
    before = speech.copy()
    listen(silero, speech, chunk=4)
    np.testing.assert_array_equal(speech, before)


def test_the_recipe_is_one_thread_that_takes_every_waiting_stream() -> None:
    plan = recipe(cores=8)
    assert (plan.worker, plan.workers, plan.cores) == ("thread", 1, 0)
    engine = plan.build()
    engine.close()


@pytest.mark.one_loop
def test_building_it_does_not_import_faster_whisper() -> None:
    program = (
        "import sys; from engines.silero import Silero; Silero();"
        "assert 'faster_whisper' not in sys.modules and 'onnxruntime' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
