"""Sound leaves in order, no earlier than it may; what was heard of it is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.frames import Answered, AudioOut, Mark
from pipelines.playback import PIECE_SECONDS, Ahead, Playback

RATE = 16_000


def sound(
    seconds: float,
    response: str = "r",
    item: str = "a",
    first: float = 0.0,
    marks: tuple[Mark, ...] = (),
) -> AudioOut:
    samples = first + np.arange(round(seconds * RATE), dtype=np.float32)
    return AudioOut(response, item, samples, RATE, marks)


def leaving(playback: Playback, now: float) -> list[AudioOut | Answered]:
    frames = []
    while (frame := playback.take(now)) is not None:
        frames.append(frame)
    return frames


def heard(playback: Playback, now: float, item: str = "a") -> int | None:
    """The milliseconds of an item."""
    told = playback.heard(item, now)
    return None if told is None else round(told * 1000)


def seconds_of(frames: list[AudioOut | Answered]) -> float:
    return sum(len(frame.samples) / RATE for frame in frames if isinstance(frame, AudioOut))


def test_without_a_lead_sound_leaves_whole_as_it_comes() -> None:
    playback = Playback()
    first, second = sound(3.0), sound(2.0)
    playback.add(first)
    assert playback.take(10.0) is first
    playback.add(second)
    assert playback.take(10.0) is second
    assert playback.take(10.0) is None
    assert playback.until == pytest.approx(15.0)


def test_a_lead_is_filled_at_once_and_then_kept() -> None:
    playback = Playback(0.1)
    playback.add(sound(1.0))
    assert seconds_of(leaving(playback, 5.0)) == pytest.approx(0.1)
    assert playback.due() == pytest.approx(5.02)
    assert leaving(playback, 5.01) == []
    assert seconds_of(leaving(playback, 5.02)) == pytest.approx(PIECE_SECONDS)
    assert seconds_of(leaving(playback, 5.1)) == pytest.approx(0.08)
    assert seconds_of(leaving(playback, 5.5)) == pytest.approx(0.1)
    assert playback.until == pytest.approx(5.6)


def test_a_lead_below_a_piece_sends_each_piece_when_the_last_is_heard() -> None:
    playback = Playback(0.0)
    playback.add(sound(0.1))
    assert seconds_of(leaving(playback, 1.0)) == pytest.approx(PIECE_SECONDS)
    assert playback.due() == pytest.approx(1.0 + PIECE_SECONDS)


def test_pieces_have_the_marks_of_their_own_sound() -> None:
    marks = tuple(Mark(n + 1, (n + 1) * 0.05) for n in range(4))
    playback = Playback(10.0)
    playback.add(sound(0.2, marks=marks))
    playback.add(sound(0.1, marks=(Mark(5, 0.3),)))
    position, seen = 0.0, []
    for piece in leaving(playback, 0.0):
        assert isinstance(piece, AudioOut)
        assert len(piece.samples) / RATE < 2 * PIECE_SECONDS
        for mark in piece.marks:
            assert position < mark.seconds <= position + len(piece.samples) / RATE + 1e-6
            seen.append(mark)
        position += len(piece.samples) / RATE
    assert tuple(seen) == (*marks, Mark(5, 0.3))


def test_the_end_of_a_response_waits_for_its_own_sound_only() -> None:
    playback = Playback(0.1)
    assert not playback.finish(Answered("written"))
    playback.add(sound(0.2))
    assert not playback.finish(Answered("written"))
    assert playback.finish(Answered("r"))
    assert Answered("r") not in leaving(playback, 0.0)
    assert leaving(playback, 1.0)[-1] == Answered("r")


def test_what_was_heard_counts_gaps() -> None:
    playback = Playback()
    playback.add(sound(1.0))
    leaving(playback, 0.0)
    assert heard(playback, 0.4) == 400
    assert heard(playback, 3.0) == 1000
    playback.add(sound(1.0))
    leaving(playback, 3.0)
    assert heard(playback, 3.25) == 1250


def test_of_two_items_the_one_that_is_heard_is_told() -> None:
    playback = Playback()
    playback.add(sound(1.0, item="a"))
    playback.add(sound(1.0, item="b"))
    leaving(playback, 0.0)
    assert heard(playback, 0.5) == 500
    assert heard(playback, 1.5, "b") == 500
    assert heard(playback, 9.0, "b") == 1000
    assert heard(playback, 0.5, "another") is None


def test_an_item_that_is_held_back_whole_was_not_heard() -> None:
    playback = Playback()
    assert heard(playback, 0.0) is None
    playback.on_hold = True
    playback.add(sound(1.0))
    assert leaving(playback, 0.0) == []
    assert playback.holding_back
    assert heard(playback, 1.0) == 0


def test_an_interruption_forgets_only_the_sound_of_its_response() -> None:
    playback = Playback(0.1)
    playback.add(sound(1.0, "r", "a"))
    playback.add(sound(1.0, "s", "b"))
    leaving(playback, 0.0)
    playback.interrupt("r", 0.05)
    assert heard(playback, 0.5) == 50
    assert playback.until == pytest.approx(0.05)
    (first, *_) = leaving(playback, 0.05)
    assert isinstance(first, AudioOut)
    assert first.item == "b"


def test_what_comes_after_interrupted_sound_is_heard_sooner() -> None:
    playback = Playback()
    playback.add(sound(20.0, "r", "a"))
    playback.add(sound(2.0, "s", "b"))
    leaving(playback, 0.0)
    playback.interrupt("r", 5.0)
    assert playback.until == pytest.approx(7.0)
    assert (heard(playback, 9.0, "a"), heard(playback, 5.5, "b")) == (5000, 500)


def test_an_interruption_of_what_is_silent_leaves_the_other_sound_alone() -> None:
    playback = Playback()
    playback.add(sound(1.0))
    leaving(playback, 0.0)
    playback.interrupt("written", 0.2)
    assert playback.until == pytest.approx(1.0)
    assert heard(playback, 0.5) == 500


def test_what_is_ahead_of_the_listener_stands_still_during_a_hold() -> None:
    ahead = Ahead()
    ahead.give("r", 10.0, 100.0)
    assert ahead.left(104.0) == pytest.approx(6.0)
    ahead.hold(104.0)
    ahead.hold(105.0)
    ahead.give("r", 1.0, 106.0)
    assert ahead.left(110.0) == pytest.approx(7.0)
    ahead.go_on(110.0)
    assert ahead.left(112.0) == pytest.approx(5.0)
    ahead.forget(None, 112.0)
    assert ahead.left(112.0) == 0.0


def test_what_is_forgotten_of_one_response_brings_the_others_nearer() -> None:
    ahead = Ahead()
    ahead.give("r", 5.0, 0.0)
    ahead.give("s", 2.0, 0.0)
    ahead.give("r", 5.0, 0.0)
    ahead.forget("r", 1.0)
    assert ahead.left(1.0) == pytest.approx(2.0)
    assert ahead.left(2.5) == pytest.approx(0.5)
    ahead.give("s", 1.0, 10.0)
    assert ahead.left(10.0) == pytest.approx(1.0)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 5000)),
        st.tuples(st.just("wait"), st.integers(1, 400)),
        st.tuples(st.sampled_from(["hold", "go on", "interrupt"]), st.just(0)),
    ),
    max_size=40,
)


class Listener:
    """Takes what leaves of one response after another; the samples of each are counted up."""

    def __init__(self, lead: float | None) -> None:
        self.lead = lead
        self.playback = Playback(lead)
        self.now = 0.0
        self.response = 0
        self.came = 0
        self.sent: list[float] = []

    def do(self, step: str, amount: int) -> None:
        match step:
            case "add":
                name = str(self.response)
                self.playback.add(sound(amount / RATE, name, f"item {name}", self.came))
                self.came += amount
            case "wait":
                self.now += amount / 1000
            case "interrupt":
                self.interrupt()
            case _:
                self.playback.on_hold = step == "hold"

    def interrupt(self) -> None:
        name = str(self.response)
        told = self.playback.heard(f"item {name}", self.now)
        assert told is None or 0 <= told <= len(self.sent) / RATE + 1e-6
        self.playback.interrupt(name, self.now)
        self.response, self.came, self.sent = self.response + 1, 0, []

    def listen(self) -> None:
        for frame in leaving(self.playback, self.now):
            assert not self.playback.on_hold
            assert isinstance(frame, AudioOut)
            assert frame.response == str(self.response)
            self.sent.extend(frame.samples)
        assert self.sent == list(range(len(self.sent)))
        assert len(self.sent) <= self.came
        if self.lead is not None:
            ahead = self.playback.until - self.now
            assert ahead <= max(self.lead, 2 * PIECE_SECONDS) + 1e-5


@given(steps, st.none() | st.floats(0.0, 0.5))
def test_whatever_happens_what_leaves_is_a_beginning_of_what_came(
    script: list[tuple[str, int]], lead: float | None
) -> None:
    listener = Listener(lead)
    for step, amount in script:
        listener.do(step, amount)
        listener.listen()
    listener.do("go on", 0)
    while (due := listener.playback.due()) is not None:
        listener.now = max(listener.now, due)
        listener.listen()
    assert len(listener.sent) == listener.came
