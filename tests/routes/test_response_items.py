"""What input means: items as they are kept, and as the messages that a model is given."""

from typing import Any

import pytest
from openai.types.responses import ResponseItem
from pydantic import TypeAdapter

from routes.errors import ApiError
from routes.response_items import MOST_ITEMS, messages, read_input, resolved

ITEM: TypeAdapter[Any] = TypeAdapter(ResponseItem)

DEEP: Any = []
for _ in range(1000):
    DEEP = [DEEP]

CALL = {"type": "function_call", "call_id": "call_a", "name": "look", "arguments": '{"at": 1}'}
RESULT = {"type": "function_call_output", "call_id": "call_a", "output": "a cat"}


def refused(value: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        messages(read_input(value))
    assert raised.value.status == 400
    assert raised.value.message.endswith(".")
    return raised.value


def said(*items: Any, instructions: str = "") -> list[Any]:
    return list(messages(read_input(list(items)), instructions))


def thought(text: str) -> dict[str, Any]:
    return {
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}],
    }


def test_a_text_is_a_message_of_the_user() -> None:
    assert messages(read_input("Hi")) == ({"role": "user", "content": "Hi"},)


def test_instructions_are_the_system_s_first_words() -> None:
    assert said({"role": "user", "content": "Hi"}, instructions="Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_neighbours_of_the_system_are_one_message() -> None:
    assert said(
        {"role": "developer", "content": "Rhyme."},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "No more rhymes."},
        instructions="Be brief.",
    ) == [
        {"role": "system", "content": "Be brief.\n\nRhyme."},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "No more rhymes."},
    ]


def test_the_parts_of_a_message_are_its_lines() -> None:
    parts = [{"type": "input_text", "text": "One"}, {"type": "input_text", "text": "Two"}]
    assert said({"role": "user", "content": parts}) == [{"role": "user", "content": "One\nTwo"}]


def test_what_the_model_said_and_refused_is_the_assistant_s() -> None:
    parts = [
        {"type": "output_text", "text": "Yes", "annotations": [], "logprobs": []},
        {"type": "refusal", "refusal": "No"},
    ]
    message = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": parts,
    }
    assert said(message) == [{"role": "assistant", "content": "Yes\nNo"}]


def test_calls_belong_to_the_message_before_them_and_outputs_have_the_function_s_name() -> None:
    second = CALL | {"call_id": "call_b", "name": "wait", "arguments": ""}
    assert said(
        {"role": "user", "content": "What is there?"},
        {"role": "assistant", "content": "Let me see."},
        CALL,
        second,
        RESULT,
        {**RESULT, "call_id": "call_b", "output": [{"type": "input_text", "text": "done"}]},
    ) == [
        {"role": "user", "content": "What is there?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "call_a",
                    "type": "function",
                    "function": {"name": "look", "arguments": {"at": 1}},
                },
                {
                    "id": "call_b",
                    "type": "function",
                    "function": {"name": "wait", "arguments": {}},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "call_a", "name": "look", "content": "a cat"},
        {"role": "tool", "tool_call_id": "call_b", "name": "wait", "content": "done"},
    ]


def test_a_call_after_an_output_is_a_new_message() -> None:
    roles = [m["role"] for m in said(CALL, RESULT, CALL | {"call_id": "call_b"})]
    assert roles == ["assistant", "tool", "assistant"]


def test_a_model_sees_what_it_thought_since_the_user_spoke() -> None:
    found = said(
        {"role": "user", "content": "Hi"},
        thought("Old."),
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Look!"},
        thought("New."),
        CALL,
        RESULT,
    )
    assert [message.get("reasoning_content") for message in found] == [
        None,
        None,
        None,
        "New.",
        None,
    ]


def test_reasoning_of_another_server_is_left_out() -> None:
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "AAAA"}
    assert said(sealed, {"role": "user", "content": "Hi"}) == [{"role": "user", "content": "Hi"}]


def test_null_is_as_good_as_nothing() -> None:
    call = CALL | {"id": None, "status": None}
    assert said(call, RESULT | {"id": None})[0]["tool_calls"][0]["id"] == "call_a"


@pytest.mark.parametrize(
    "value",
    [
        {"role": "user", "content": "Hi"},
        {"role": "developer", "content": [{"type": "input_text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hi"},
        CALL,
        RESULT,
        thought("Hm."),
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
    ],
)
def test_every_item_is_kept_as_openai_would_show_it(value: Any) -> None:
    [item] = read_input([value])
    ITEM.validate_python(item, strict=True)
    assert read_input([item]) == [item], "what was shown can be sent back"


def test_a_reference_is_what_it_means() -> None:
    [meant] = read_input("Hi")
    known = {meant["id"]: meant}
    for reference in ({"type": "item_reference", "id": meant["id"]}, {"id": meant["id"]}):
        assert resolved(read_input([reference]), known.get) == [meant]
    with pytest.raises(ApiError, match="'msg_gone' not found") as raised:
        resolved(read_input([{"id": meant["id"]}, {"id": "msg_gone"}]), known.get)
    assert (raised.value.status, raised.value.param) == (404, "input[1].id")


@pytest.mark.parametrize(
    ("value", "param"),
    [
        (7, "input"),
        ({"role": "user", "content": "Hi"}, "input"),
        (["Hi"], "input[0]"),
        ([{"role": "user", "content": "Hi"}, None], "input[1]"),
        ([{"role": "king", "content": "Hi"}], "input[0].role"),
        ([{"role": "user"}], "input[0].content"),
        ([{"role": "user", "content": 7}], "input[0].content"),
        ([{"role": "user", "content": ["Hi"]}], "input[0].content[0]"),
        ([{"role": "user", "content": [{"text": "Hi"}]}], "input[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "input_text"}]}], "input[0].content[0].text"),
        (
            [{"role": "user", "content": [{"type": "input_text", "text": 7}]}],
            "input[0].content[0].text",
        ),
        ([{"type": "function_call", "name": "look", "arguments": "{}"}], "input[0].call_id"),
        ([CALL | {"arguments": "{"}], "input[0].arguments"),
        ([CALL | {"arguments": "[]"}], "input[0].arguments"),
        ([CALL | {"arguments": '{"a":' * 100 + "1" + "}" * 100}], "input[0].arguments"),
        ([{}], "input[0].id"),
        ([{"type": DEEP}], "input[0].type"),
        ([{"role": "user", "content": "Hi", "id": ""}], "input[0].id"),
        ([{"role": "user", "content": "Hi", "status": "late"}], "input[0].status"),
        ([{"role": "user", "content": "Hi"}] * (MOST_ITEMS + 1), "input"),
    ],
)
def test_what_is_wrong_is_named(value: Any, param: str) -> None:
    assert refused(value).param == param


@pytest.mark.parametrize("kind", ["input_image", "input_file", "input_audio"])
def test_a_model_that_reads_text_takes_nothing_else(kind: str) -> None:
    error = refused([{"role": "user", "content": [{"type": kind, "image_url": "data:"}]}])
    assert error.param == "input[0].content[0].type"
    assert "read text only" in error.message
    assert kind in error.message


def test_an_image_from_a_function_is_refused_too() -> None:
    error = refused([CALL, RESULT | {"output": [{"type": "input_image", "image_url": "data:"}]}])
    assert error.param == "input[1].output[0].type"


@pytest.mark.parametrize("kind", ["web_search_call", "computer_call", "mcp_call", "x" * 1000])
def test_items_of_tools_that_are_not_here_are_unsupported(kind: str) -> None:
    error = refused([{"type": kind, "id": "x_1"}])
    assert (error.code, error.param) == ("unsupported", "input[0].type")
    assert len(error.message) < 200


def test_an_output_needs_its_call() -> None:
    assert "call_id 'call_a'" in refused([RESULT, CALL]).message
