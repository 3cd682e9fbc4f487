import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.base import ProviderError
from engines.cloud_events import EVENT_BYTES, Events, Reading
from engines.endpoints import Endpoint
from engines.generation import (
    Finished,
    GenerationEvent,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

FAR = Endpoint("far", "http://127.0.0.1/v1")

LINES = st.binary(max_size=12).map(lambda line: line.translate(None, b"\r\n"))


def cut(stream: bytes, *places: int) -> list[bytes]:
    ends = [*sorted(places), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def data(pieces: list[bytes]) -> list[bytes]:
    events = Events(FAR)
    return [record for piece in pieces for record in events.feed(piece)] + events.end()


def read(*deltas: dict[str, Any], finish: str = "stop", **more: Any) -> list[GenerationEvent]:
    """The events of an answer with these deltas."""
    reading = Reading(FAR)
    found: list[GenerationEvent] = []
    for delta in deltas:
        found += reading.take(json.dumps({"choices": [{"delta": delta}]}).encode())
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], **more}
    found += reading.take(json.dumps(end).encode())
    return [*found, reading.finished()]


def call(**fields: Any) -> dict[str, Any]:
    function = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    return {"tool_calls": [{"function": function, **fields}]}


@given(
    st.lists(st.lists(LINES, min_size=1, max_size=3), max_size=4),
    st.sampled_from([b"\n", b"\r\n"]),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_events_are_the_same_wherever_a_stream_is_cut(
    events: list[list[bytes]], end: bytes, places: list[int]
) -> None:
    stream = b"".join(
        b"".join(b"data: " + line + end for line in lines) + b": a comment" + end + end
        for lines in events
    )
    assert data(cut(stream, *places)) == [b"\n".join(lines) for lines in events]


def test_only_data_counts_and_its_space_is_optional() -> None:
    stream = b"event: message\nid: 4\ndata:one\nretry: 3\n\n: ping\n\nevent: x\n\ndata:  two\n\n"
    assert data([stream]) == [b"one", b" two"]


def test_a_last_event_needs_no_empty_line() -> None:
    assert data([b"data: one\n\ndata: [DONE]"]) == [b"one", b"[DONE]"]


def test_an_event_may_be_large_but_not_without_bound() -> None:
    half = b"data: " + b"x" * (EVENT_BYTES // 2)
    assert len(data([half, b"\n\n", half, b"\n\n"])) == 2
    for pieces in ([half, half], [half, b"\n", half], [half + b"\n"] * 2):
        with pytest.raises(ProviderError, match="more than 1 MiB"):
            data(pieces)


def test_comments_may_come_for_ever() -> None:
    events = Events(FAR)
    for _ in range(200):
        assert events.feed(b": " + b"x" * 10_000 + b"\n") == []


def test_reasoning_comes_by_either_name_and_once() -> None:
    both = {"reasoning": "so", "reasoning_content": "so", "content": None}
    assert read({"reasoning_content": "if "}, {"reasoning": "then "}, both, {"content": "4"}) == [
        ReasoningDelta("if "),
        ReasoningDelta("then "),
        ReasoningDelta("so"),
        TextDelta("4"),
        Finished("stop", Usage()),
    ]


def test_content_in_parts_is_text_and_thought() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert read({"content": [thought, {"type": "text", "text": "4"}]}) == [
        ReasoningDelta("hm"),
        TextDelta("4"),
        Finished("stop", Usage()),
    ]


def test_a_refusal_is_what_the_model_says() -> None:
    assert read({"refusal": "No."})[0] == TextDelta("No.")


def test_calls_have_their_id_and_name_once_and_are_counted_from_0() -> None:
    assert read(
        call(index=0, id="a", name="look", arguments=""),
        call(index=0, arguments='{"x":'),
        call(index=0, id="a", name="look", arguments="1}"),
        call(index=1, id="b", name="go", arguments="{}"),
        finish="tool_calls",
    ) == [
        ToolCallDelta(0, "", "a", "look"),
        ToolCallDelta(0, '{"x":'),
        ToolCallDelta(0, "1}"),
        ToolCallDelta(1, "{}", "b", "go"),
        Finished("tool_calls", Usage()),
    ]


@pytest.mark.parametrize("index", [{"index": 0}, {"index": None}, {}, {"index": 7}])
def test_calls_with_one_index_are_told_apart_by_their_ids(index: dict[str, Any]) -> None:
    assert read(
        call(id="a", name="look", arguments="{", **index),
        call(arguments="}", **index),
        call(id="b", name="go", arguments="[", **index),
        call(id="c", arguments="]", **index),
    ) == [
        ToolCallDelta(0, "{", "a", "look"),
        ToolCallDelta(0, "}"),
        ToolCallDelta(1, "[", "b", "go"),
        ToolCallDelta(1, "]"),
        Finished("tool_calls", Usage()),
    ]


def test_a_call_without_an_id_gets_one() -> None:
    found = read(call(index=0, name="look", arguments="{}"))[0]
    assert isinstance(found, ToolCallDelta)
    assert found.id is not None
    assert found.id.startswith("call_")


def test_a_call_of_nothing_is_an_error() -> None:
    with pytest.raises(ProviderError):
        read(call(index=0, id="a", arguments="{}"))


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
    ],
)
def test_every_end_has_a_reason(told: str, meant: str) -> None:
    assert read({"content": "a"}, finish=told)[-1] == Finished(meant, Usage())  # type: ignore[arg-type]


@pytest.mark.parametrize("told", ["content_filter", "error"])
def test_an_answer_that_was_withheld_is_an_error(told: str) -> None:
    with pytest.raises(ProviderError):
        read({"content": "a"}, finish=told)


def test_the_last_usage_counts_wherever_it_comes() -> None:
    reading = Reading(FAR)
    for tokens in (1, 2):
        so_far = {"prompt_tokens": 9, "completion_tokens": tokens}
        chunk = {"choices": [{"delta": {}}], "usage": so_far}
        assert list(reading.take(json.dumps(chunk).encode())) == []
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": None},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage}
    assert list(reading.take(json.dumps(end).encode())) == []
    assert list(reading.take(b'{"choices": null, "usage": null}')) == []
    assert reading.finished().usage == Usage(prompt=9, completion=3, cached=4, reasoning=2)


def test_logprobs_come_with_their_text() -> None:
    token = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
    other = {"token": "e", "logprob": -1.5, "bytes": None}
    content = [{**token, "top_logprobs": [token, other]}]
    choice = {"delta": {"content": "é"}, "logprobs": {"content": content, "refusal": None}}
    (found,) = Reading(FAR).take(json.dumps({"choices": [choice]}).encode())
    same = TokenLogprob("é", "é".encode(), -0.5)
    assert found == TextDelta(
        "é",
        (TokenLogprob("é", "é".encode(), -0.5, (same, TokenLogprob("e", b"e", -1.5))),),
    )


def test_a_plain_completion_has_its_text_and_its_own_logprobs() -> None:
    logprobs = {
        "tokens": ["a", "b"],
        "token_logprobs": [None, -0.25],
        "top_logprobs": [None, {"b": -0.25, "c": -2}],
        "text_offset": [0, 1],
    }
    choice = {"index": 0, "text": "ab", "logprobs": logprobs, "finish_reason": "length"}
    reading = Reading(FAR)
    (found,) = reading.take(json.dumps({"choices": [choice]}).encode())
    assert isinstance(found, TextDelta)
    assert found.text == "ab"
    assert math.isnan(found.logprobs[0].logprob)
    top = (TokenLogprob("b", b"b", -0.25), TokenLogprob("c", b"c", -2.0))
    assert found.logprobs[1] == TokenLogprob("b", b"b", -0.25, top)
    assert reading.finished().reason == "length"


def test_other_answers_than_the_first_are_left_out() -> None:
    chunk = {"choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"}]}
    reading = Reading(FAR)
    assert list(reading.take(json.dumps(chunk).encode())) == []
    with pytest.raises(ProviderError, match="ended too early"):
        reading.finished()


NAMES = "choices delta content tool_calls function name error usage logprobs token text index"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 500) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES.split()), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["choices", "usage", "error"]), JSON) | JSON)
def test_whatever_a_chunk_holds_it_is_read_or_refused(chunk: Any) -> None:
    with suppress(ProviderError):
        for event in Reading(FAR).take(json.dumps(chunk).encode()):
            assert isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta)
