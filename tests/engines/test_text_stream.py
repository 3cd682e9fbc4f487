import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.text_stream import TextStream


def streamed(data: bytes, cuts: list[int], stops: list[str]) -> tuple[str, str | None]:
    """What a stream says of `data`, cut at `cuts`."""
    stream = TextStream(stops)
    text = ""
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    for start, end in pairwise(places):
        text += stream.feed(data[start:end])
    return text + stream.finish(), stream.stopped


def expected(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The same by trying every beginning of `text`."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(
    st.text("abé🙂", max_size=30),
    st.lists(st.integers(0, 200)),
    st.lists(st.text("abé🙂", max_size=5), max_size=4),
)
def test_any_cut_gives_the_text_before_the_first_stop(
    text: str, cuts: list[int], stops: list[str]
) -> None:
    assert streamed(text.encode(), cuts, stops) == expected(text, stops)


@given(st.binary(max_size=40), st.lists(st.integers(0, 200)))
def test_bytes_that_are_no_text_become_the_same_text_however_they_are_cut(
    data: bytes, cuts: list[int]
) -> None:
    assert streamed(data, cuts, []) == (data.decode("utf-8", "replace"), None)


def test_a_character_is_said_when_it_is_whole() -> None:
    stream = TextStream()
    assert [stream.feed(bytes([byte])) for byte in "€".encode()] == ["", "", "€"]


def test_an_incomplete_character_at_the_end_is_replaced() -> None:
    stream = TextStream()
    assert stream.feed(b"ab\xe2\x82") == "ab"
    assert stream.finish() == "\ufffd"
    assert stream.finish() == ""


def test_what_may_begin_a_stop_is_held_back_and_no_more() -> None:
    stream = TextStream(["</s>", "STOP"])
    assert stream.feed(b"one <") == "one "
    assert stream.feed(b"b> ST") == "<b> "
    assert stream.feed(b"AY") == "STAY"


def test_nothing_is_said_after_a_stop() -> None:
    stream = TextStream(["."])
    assert stream.feed(b"One. Two") == "One"
    assert (stream.feed(b" Three"), stream.finish(), stream.stopped) == ("", "", ".")


def test_a_stop_that_did_not_come_is_said_at_the_end() -> None:
    stream = TextStream(["stopping"])
    assert stream.feed(b"we stop") == "we "
    assert stream.finish() == "stop"
    assert stream.stopped is None


@pytest.mark.parametrize("stop", ["a" * 2000 + "b", "a" * 2000])
def test_a_long_stop_costs_no_more_than_a_short_one(stop: str) -> None:
    def seconds(stops: list[str]) -> float:
        best = 1.0
        for _ in range(3):
            stream = TextStream(stops)
            began = time.process_time()
            for _ in range(1900):
                stream.feed(b"a")
            best = min(best, time.process_time() - began)
        return best

    assert seconds([stop]) < 20 * seconds(["ab"]) + 0.05
