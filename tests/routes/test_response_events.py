"""The order and the shapes of a response's stream, for whatever a model does."""

from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from engines.generation import (
    Finished,
    GenerationEvent,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from routes.response_events import Event, ResponseEvents
from routes.response_objects import Shell
from routes.response_requests import ResponseRequest

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
USAGE = Usage(prompt=7, completion=5, cached=3, reasoning=2)
PART = (["content_part.added"], ["content_part.done"])
FILLED = {
    "message": ("output_text", *PART),
    "reasoning": ("reasoning_text", *PART),
    "function_call": ("function_call_arguments", [], []),
}
"""By the type of an item: the name of its deltas, and what comes before and after them."""
LAST = ("response.completed", "response.incomplete", "response.failed")


def answer() -> ResponseEvents:
    request = ResponseRequest.model_validate({"model": "tiny", "input": "Hi"})
    return ResponseEvents(Shell("resp_1", 1_700_000_000, request.echo()), lambda: 1_700_000_060.5)


def played(*events: GenerationEvent) -> tuple[ResponseEvents, list[Event]]:
    made = answer()
    return made, [event for given_ in events for event in made.receive(given_)]


def kinds(events: list[Event]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def logprobs(text: str) -> tuple[TokenLogprob, ...]:
    other = TokenLogprob("?", b"?", float("-inf"))
    return (TokenLogprob(text, text.encode(), -0.25, (other,)),)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
said = st.builds(TextDelta, texts)
scored = texts.map(lambda text: TextDelta(text, logprobs(text)))
thought = st.builds(ReasoningDelta, texts)
call = st.lists(texts, max_size=3)
runs = st.lists(st.one_of(said, scored, thought, call), max_size=12)
ends = st.sampled_from(["stop", "length", "tool_calls", "failure"])


@st.composite
def generations(draw: st.DrawFn) -> tuple[list[GenerationEvent], str]:
    """What a model may do: deltas and calls in any order, and how it ends."""
    events: list[GenerationEvent] = []
    index = 0
    for step in draw(runs):
        if isinstance(step, list):
            events.append(ToolCallDelta(index, "", f"call_{index}", "look"))
            events += [ToolCallDelta(index, part) for part in step]
            index += 1
        else:
            events.append(step)
    return events, draw(ends)


def streamed(events: list[GenerationEvent], end: str) -> tuple[ResponseEvents, list[Event]]:
    made, seen = played(*events)
    match end:
        case "failure":
            seen += made.fail("server_error", "The worker died.")
        case "stop" | "length" | "tool_calls" as reason:
            seen += made.receive(Finished(reason, USAGE))
    return made, seen


@settings(deadline=None)
@given(generations())
def test_every_event_is_one_that_openai_sends(run: tuple[list[GenerationEvent], str]) -> None:
    made, seen = streamed(*run)
    for event in seen:
        EVENTS.validate_python(event, strict=True)
    assert made.response is not None
    Response.model_validate(made.response, strict=True)


@settings(deadline=None)
@given(generations())
def test_the_stream_has_its_strict_order(run: tuple[list[GenerationEvent], str]) -> None:
    made, seen = streamed(*run)
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    assert kinds(seen)[:2] == ["created", "in_progress"]
    assert [event["type"] for event in seen if event["type"] in LAST] == [seen[-1]["type"]]
    assert seen[-1]["response"] is made.response
    _check_items(seen[2:-1], made.output)


def _check_items(events: list[Event], output: list[Any]) -> None:
    """Item after item, each added, filled and done, as the response shows them at its end."""
    groups = [list(group) for _, group in groupby(events, key=itemgetter("output_index"))]
    assert [group[0]["output_index"] for group in groups] == list(range(len(output)))
    for (added, *inside, done), item in zip(groups, output, strict=True):
        assert kinds([added, done]) == ["output_item.added", "output_item.done"]
        assert done["item"] == item
        assert (added["item"]["id"], added["item"]["type"]) == (item["id"], item["type"])
        assert {event["item_id"] for event in inside} == {item["id"]}
        name, before, after = FILLED[item["type"]]
        deltas = kinds(inside).count(f"{name}.delta")
        assert kinds(inside) == [*before, *[f"{name}.delta"] * deltas, f"{name}.done", *after]
        text = "".join(event.get("delta", "") for event in inside)
        ended = inside[len(before) + deltas]
        assert text == _text(item) == ended.get("text", ended.get("arguments"))


def _text(item: Any) -> str:
    return str(item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"])


@settings(deadline=None)
@given(generations())
def test_the_helper_of_the_sdk_follows_the_stream(run: tuple[list[GenerationEvent], str]) -> None:
    made, seen = streamed(*run)
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=[], text_format=omit)
    for event in seen:
        state.handle_event(EVENTS.validate_python(event))
    assert made.response is not None
    if made.response["status"] == "completed":
        assert state._completed_response is not None
        assert len(state._completed_response.output) == len(made.output)


@settings(deadline=None)
@given(generations())
def test_the_deltas_are_all_there(run: tuple[list[GenerationEvent], str]) -> None:
    _, seen = streamed(*run)
    for kind, name in ((TextDelta, "output_text"), (ReasoningDelta, "reasoning_text")):
        whole = "".join(event.text for event in run[0] if isinstance(event, kind))
        deltas = [e["delta"] for e in seen if e["type"] == f"response.{name}.delta"]
        assert "".join(deltas) == whole
    called = [event.id for event in run[0] if isinstance(event, ToolCallDelta) and event.id]
    calls = [item for item in seen[-1]["response"]["output"] if item["type"] == "function_call"]
    assert [item["call_id"] for item in calls] == called


def test_text_is_a_message_of_one_part() -> None:
    made, seen = played(TextDelta("Hel"), TextDelta("lo"), Finished("stop", USAGE))
    assert kinds(seen) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert seen[2]["item"]["content"] == []
    assert seen[2]["item"]["status"] == "in_progress"
    assert seen[0]["response"]["status"] == "in_progress"
    assert seen[0]["response"]["output"] == []
    assert made.response is not None
    assert made.response["completed_at"] == 1_700_000_060
    assert made.response["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }


def test_a_thought_a_text_and_two_calls_are_four_items() -> None:
    made, seen = played(
        ReasoningDelta("Hm."),
        TextDelta("Let me see."),
        ToolCallDelta(0, "", "call_a", "look"),
        ToolCallDelta(0, '{"at":'),
        ToolCallDelta(0, "1}"),
        ToolCallDelta(1, "", "call_b", "wait"),
        Finished("tool_calls", USAGE),
    )
    assert made.response is not None
    assert [item["type"] for item in made.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert {item["status"] for item in made.output} == {"completed"}
    assert made.output[0]["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    first, second = made.output[2:]
    assert (first["call_id"], first["name"], first["arguments"]) == ("call_a", "look", '{"at":1}')
    assert first["id"].startswith("fc_")
    assert second["arguments"] == "{}", "clients read arguments as JSON"
    assert made.response["status"] == "completed"
    opened = [event["item"]["status"] for event in seen if event["type"].endswith("item.added")]
    assert opened == ["in_progress"] * 4


def test_text_after_a_call_is_a_new_message() -> None:
    made, _ = played(
        TextDelta("One."),
        ToolCallDelta(0, "{}", "call_a", "look"),
        TextDelta("Two."),
        Finished("stop", USAGE),
    )
    assert [item["type"] for item in made.output] == ["message", "function_call", "message"]
    assert len({item["id"] for item in made.output}) == 3


def test_the_limit_of_tokens_leaves_the_last_item_incomplete() -> None:
    made, seen = played(
        ReasoningDelta("Hm."),
        ToolCallDelta(0, '{"at"', "call_a", "look"),
        Finished("length", USAGE),
    )
    assert made.response is not None
    assert kinds(seen)[-1] == "incomplete"
    assert made.response["status"] == "incomplete"
    assert made.response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in made.output] == ["completed", "incomplete"]
    assert made.output[1]["arguments"] == '{"at"'
    assert made.response["completed_at"] is None


@pytest.mark.parametrize("before", [[], [ReasoningDelta("Hm.")]])
def test_a_model_that_says_nothing_says_an_empty_text(before: list[GenerationEvent]) -> None:
    made, seen = played(*before, Finished("stop", USAGE))
    assert made.output[-1]["content"][0]["text"] == ""
    assert "output_text.done" in kinds(seen)
    assert "output_text.delta" not in kinds(seen)


def test_a_failure_finishes_what_is_open_and_is_the_end() -> None:
    made, seen = played(TextDelta("Hel"))
    seen += made.fail("server_error", "The worker died.")
    assert made.response is not None
    assert kinds(seen)[-2:] == ["output_item.done", "failed"]
    assert seen[-1]["response"]["error"] == {"code": "server_error", "message": "The worker died."}
    assert [item["status"] for item in made.output] == ["incomplete"]
    assert made.response["usage"] is None
    assert made.fail("server_error", "Again.") == []


def test_a_failure_before_anything_else_still_begins_the_stream() -> None:
    made = answer()
    assert kinds(made.fail("server_error", "No.")) == ["created", "in_progress", "failed"]


def test_a_failure_after_the_end_changes_nothing() -> None:
    made, _ = played(Finished("stop", USAGE))
    assert made.fail("server_error", "Too late.") == []
    assert made.response is not None
    assert made.response["status"] == "completed"


def test_an_event_does_not_change_after_it_was_given() -> None:
    made = answer()
    first = made.receive(TextDelta("a", logprobs("a")))
    before = repr(first)
    for event in (TextDelta("b", logprobs("b")), Finished("stop", USAGE)):
        made.receive(event)
    assert repr(first) == before


def test_log_probabilities_come_with_the_delta_and_with_the_whole() -> None:
    made, seen = played(
        TextDelta("a", logprobs("a")), TextDelta("é", logprobs("é")), Finished("stop", USAGE)
    )
    [first, second] = [event for event in seen if event["type"].endswith("text.delta")]
    assert first["logprobs"] == [
        {
            "token": "a",
            "bytes": [97],
            "logprob": -0.25,
            "top_logprobs": [{"token": "?", "bytes": [63], "logprob": -9999.0}],
        }
    ]
    assert second["logprobs"][0]["bytes"] == [195, 169]
    whole = made.output[0]["content"][0]["logprobs"]
    assert whole == first["logprobs"] + second["logprobs"]


def test_sequence_numbers_go_on_from_event_to_event() -> None:
    made = answer()
    numbers = [
        event["sequence_number"]
        for step in (ReasoningDelta("a"), TextDelta(""), TextDelta("b"), Finished("stop", USAGE))
        for event in made.receive(step)
    ]
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))
