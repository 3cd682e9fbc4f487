"""Windows and history: the same whatever pieces a stream arrives in."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from voice import Samples

from pipelines.windows import History, Windows

sizes = st.lists(st.integers(0, 40), max_size=40)


def numbered(count: int, start: int = 0) -> Samples:
    return np.arange(start, start + count, dtype=np.float32)


@given(sizes, st.integers(1, 17))
def test_any_chunking_gives_the_windows_of_one_go(chunks: list[int], size: int) -> None:
    stream = numbered(sum(chunks))
    windows = Windows(size)
    pieces, at = [], 0
    for chunk in chunks:
        fed = windows.feed(stream[at : at + chunk])
        assert fed.shape[1] == size
        pieces.append(fed.reshape(-1))
        at += chunk
        assert len(windows.rest) < size
    heard = np.concatenate([*pieces, windows.rest])
    np.testing.assert_array_equal(heard, stream)
    np.testing.assert_array_equal(windows.flush(), stream[len(stream) // size * size :])
    assert len(windows.rest) == 0


def test_the_rest_survives_a_caller_that_reuses_its_buffer() -> None:
    windows, buffer = Windows(4), numbered(3)
    windows.feed(buffer)
    buffer[:] = -1
    np.testing.assert_array_equal(windows.feed(numbered(1, 3)), [numbered(4)])


@given(sizes, st.integers(1, 60), st.integers(0, 200), st.integers(0, 2000))
def test_history_gives_back_the_end_of_the_stream(
    chunks: list[int], most: int, offset: int, wanted: int
) -> None:
    history = History(most)
    total = sum(chunks)
    stream = numbered(total, offset)
    at = 0
    for chunk in chunks:
        history.add(offset + at, stream[at : at + chunk])
        at += chunk
    start, samples = history.since(wanted)
    if not len(samples):
        assert start == wanted
        assert wanted >= offset + total or total == 0
        return
    assert start == samples[0] >= wanted
    np.testing.assert_array_equal(samples, stream[start - offset :])
    assert history.start is not None
    kept = offset + total - history.start
    assert min(most, total) <= kept < most + max(chunks)
    assert start == max(wanted, history.start)


def test_what_was_forgotten_is_not_given_again() -> None:
    history = History(100)
    history.add(0, numbered(10))
    history.add(10, numbered(10, 10))
    history.forget(13)
    assert history.start == 13
    start, samples = history.since(0)
    assert start == 13
    np.testing.assert_array_equal(samples, numbered(7, 13))
    history.forget(20)
    assert history.start is None
    history.add(20, numbered(5, 20))
    assert history.start == 20


def test_forgetting_makes_room() -> None:
    history = History(10)
    history.add(0, numbered(10))
    history.forget(5)
    history.add(10, numbered(5, 10))
    assert history.start == 5
