import json
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from pydantic import ValidationError

from engines.generation import Chat, Format, Sampling, Tool, ToolChoice
from routes.chat_requests import ChatRequest
from routes.errors import ApiError, api_error

USER = {"role": "user", "content": "Hi"}
HELLO = {"type": "text", "text": "Hello."}
WEATHER = {"name": "weather", "description": "Of a city.", "parameters": {"type": "object"}}
TIME = {"name": "time"}
TOOLS = [{"type": "function", "function": each} for each in (WEATHER, TIME)]
OFFERED = (Tool("weather", "Of a city.", {"type": "object"}), Tool("time"))


def read(**fields: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "tiny", "messages": [USER], **fields})


def chat(**fields: Any) -> Chat:
    prompt = read(**fields).asked()[0].prompt
    assert isinstance(prompt, Chat)
    return prompt


def refused(**fields: Any) -> ApiError:
    with pytest.raises((ApiError, ValidationError)) as raised:
        read(**fields)
    found = api_error(raised.value, make_mocked_request("POST", "/"))
    assert found is not None
    assert found.status == 400
    assert found.message.endswith(".")
    return found


def test_a_plain_request_has_openais_defaults() -> None:
    [asked] = read().asked()
    assert asked.prompt == Chat(({"role": "user", "content": "Hi"},))
    assert asked.sampling == Sampling()
    assert (asked.max_tokens, asked.stop, asked.logprobs) == (None, (), None)
    assert asked.format == Format()
    assert not asked.truncate


def test_every_sampling_parameter_is_understood() -> None:
    [asked] = read(
        temperature=0,
        top_p=0.5,
        top_k=40,
        min_p=0.05,
        frequency_penalty=1,
        presence_penalty=-1.5,
        repeat_penalty=1.1,
        seed=7,
        logit_bias={"5": -100, "17": 2.5},
        max_tokens=9,
        stop="END",
        logprobs=True,
        top_logprobs=3,
    ).asked()
    assert asked.sampling == Sampling(0, 0.5, 40, 0.05, 1, -1.5, 1.1, 7, {5: -100.0, 17: 2.5})
    assert (asked.max_tokens, asked.stop, asked.logprobs) == (9, ("END",), 3)


def test_null_is_as_good_as_absent() -> None:
    names = ("temperature", "stop", "tools", "seed", "stream_options", "n", "logit_bias", "store")
    assert read(**dict.fromkeys(names)).asked() == read().asked()


def test_each_choice_has_its_own_seed_if_one_is_given() -> None:
    assert [each.sampling.seed for each in read(n=3, seed=5).asked()] == [5, 6, 7]
    assert [each.sampling.seed for each in read(n=2).asked()] == [None, None]


def test_max_completion_tokens_wins() -> None:
    assert read(max_completion_tokens=5, max_tokens=9).asked()[0].max_tokens == 5


def test_empty_stops_stop_nothing() -> None:
    assert read(stop=["", "a"]).asked()[0].stop == ("a",)


def test_log_probabilities_without_alternatives_are_asked_for_as_such() -> None:
    assert read(logprobs=True).asked()[0].logprobs == 0


@pytest.mark.parametrize(
    ("asked", "format"),
    [
        ({"type": "text"}, Format()),
        ({"type": "json_object"}, Format("json_object")),
        (
            {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}},
            Format("json_schema", {"type": "array"}),
        ),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, Format("json_schema", {})),
    ],
)
def test_every_format_is_understood(asked: dict[str, Any], format: Format) -> None:
    assert read(response_format=asked).asked()[0].format == format


def test_effort_and_template_variables_go_to_the_template() -> None:
    assert chat(reasoning_effort="high").template == {
        "enable_thinking": True,
        "reasoning_effort": "high",
    }
    template = chat(
        reasoning_effort="minimal", chat_template_kwargs={"reasoning_effort": "none", "x": [None]}
    ).template
    assert template == {"enable_thinking": False, "reasoning_effort": "none", "x": [None]}


# Tools


@pytest.mark.parametrize(
    ("choice", "tools", "expected"),
    [
        (None, OFFERED, ToolChoice("auto")),
        ("auto", OFFERED, ToolChoice("auto")),
        ("none", OFFERED, ToolChoice("none")),
        ("required", OFFERED, ToolChoice("required")),
        (
            {"type": "function", "function": {"name": "time"}},
            OFFERED,
            ToolChoice("required", "time"),
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": TOOLS[1:]}},
            OFFERED[1:],
            ToolChoice("required"),
        ),
    ],
)
def test_every_choice_of_tools_is_understood(
    choice: Any, tools: tuple[Tool, ...], expected: ToolChoice
) -> None:
    found = chat(tools=TOOLS, tool_choice=choice)
    assert (found.tools, found.tool_choice) == (tools, expected)


def test_calls_may_be_kept_to_one() -> None:
    assert chat(tools=TOOLS).parallel_tool_calls
    assert not chat(tools=TOOLS, parallel_tool_calls=False).parallel_tool_calls


def test_functions_are_tools_of_which_one_is_called() -> None:
    request = read(functions=[WEATHER, TIME], function_call={"name": "time"})
    prompt = request.asked()[0].prompt
    assert isinstance(prompt, Chat)
    assert prompt.tools == OFFERED
    assert prompt.tool_choice == ToolChoice("required", "time")
    assert not prompt.parallel_tool_calls
    assert request.calls_functions
    assert chat(functions=[TIME], function_call="none").tool_choice == ToolChoice("none")
    assert not read(tools=TOOLS).calls_functions


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools"),
        ({"tools": TOOLS * 65}, "tools"),
        ({"tools": TOOLS, "tool_choice": "some"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "custom", "custom": {}}}, "tool_choice"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {
                "tools": TOOLS,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "mcp"}]},
                },
            },
            "tool_choice",
        ),
        (
            {
                "tools": TOOLS,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": []},
                },
            },
            "tool_choice",
        ),
        ({"functions": [TIME], "function_call": {"name": "x"}}, "function_call"),
        ({"functions": [TIME], "function_call": 3}, "function_call"),
        ({"functions": [TIME], "tools": TOOLS}, "functions"),
    ],
)
def test_tools_that_cannot_be_had_are_refused_by_name(fields: Any, param: str) -> None:
    assert refused(**fields).param == param


# Messages


def messages(*said: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(each) for each in chat(messages=list(said)).messages]


def test_every_role_is_understood() -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
    }
    read = messages(
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": "Be kind.", "name": "boss"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Hm."},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "Rain."}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "content": None, "refusal": "Never."},
    )
    assert read == [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": "Be kind.", "name": "boss"},
        {"role": "user", "content": "a\nb"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Hm.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": {"city": "Oslo"}},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Rain."},
        {"role": "assistant", "content": "No."},
        {"role": "assistant", "content": "Never."},
    ]


def test_calls_of_functions_become_calls_of_tools_and_find_their_results() -> None:
    def called(name: str) -> dict[str, Any]:
        return {"role": "assistant", "function_call": {"name": name, "arguments": ""}}

    read = messages(
        USER,
        called("time"),
        {"role": "function", "name": "time", "content": "Noon."},
        called("time"),
        {"role": "function", "name": "time", "content": None},
    )
    ids = [message["tool_calls"][0]["id"] for message in read if "tool_calls" in message]
    results = [message for message in read if message["role"] == "tool"]
    assert len(set(ids)) == 2
    assert [result["tool_call_id"] for result in results] == ids
    assert [result["content"] for result in results] == ["Noon.", ""]
    assert read[1]["tool_calls"][0]["function"] == {"name": "time", "arguments": {}}


@pytest.mark.parametrize("arguments", ["{", "[]", "3", '{"a": NaN}', '"{}"', "{}}", 3, {}, None])
def test_arguments_that_are_not_a_json_object_are_refused_by_name(arguments: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    found = refused(messages=[USER, {"role": "assistant", "tool_calls": [call]}])
    assert found.param == "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("image_url", "leave the image out"),
        ("input_audio", "transcript"),
        ("file", "text of the file"),
        ("video", "supported"),
    ],
)
def test_parts_that_are_not_text_are_refused_with_what_to_do(kind: str, advice: str) -> None:
    parts = [{"type": "text", "text": "See:"}, {"type": kind, kind: {"url": "data:,"}}]
    found = refused(messages=[{"role": "user", "content": parts}])
    assert found.param == "messages[0].content[1].type"
    assert "The model 'tiny' takes text only" in found.message
    assert advice in found.message


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("Hi", "messages[0]"),
        ({"content": "Hi"}, "messages[0].role"),
        ({"role": "robot", "content": "Hi"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "user", "content": 3}, "messages[0].content"),
        ({"role": "user", "content": {"type": "text"}}, "messages[0].content"),
        ({"role": "user", "content": ["Hi"]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"text": "Hi"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [{"type": "text", "text": 3}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [HELLO] * 1001}, "messages[0].content"),
        ({"role": "user", "content": "Hi", "name": 3}, "messages[0].name"),
        ({"role": "assistant"}, "messages[0].content"),
        ({"role": "tool", "content": "Hi"}, "messages[0].tool_call_id"),
        ({"role": "tool", "tool_call_id": "c"}, "messages[0].content"),
        ({"role": "function", "content": "Hi"}, "messages[0].name"),
        ({"role": "function", "name": "f", "content": "Hi"}, "messages[0].name"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]},
            "messages[0].tool_calls[0].type",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]},
            "messages[0].tool_calls[0].id",
        ),
    ],
)
def test_a_message_that_makes_no_sense_is_refused_by_its_path(message: Any, param: str) -> None:
    assert refused(messages=[message]).param == param


# Types


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("messages", []),
        ("messages", "Hi"),
        ("messages", None),
        ("messages", [USER] * 10_001),
        ("temperature", "0.5"),
        ("temperature", True),
        ("temperature", 2.1),
        ("top_p", -0.1),
        ("top_k", 1.5),
        ("min_p", 2),
        ("frequency_penalty", 3),
        ("presence_penalty", []),
        ("repeat_penalty", 0),
        ("seed", 1.0),
        ("seed", 2**63),
        ("n", 0),
        ("n", 17),
        ("n", True),
        ("stream", "true"),
        ("stream", 1),
        ("stream_options", []),
        ("stop", 3),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("max_tokens", 0),
        ("max_completion_tokens", "5"),
        ("logprobs", 3),
        ("top_logprobs", 3),
        ("logit_bias", []),
        ("logit_bias", {"a": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"²": 1}),
        ("logit_bias", {"5": "1"}),
        ("logit_bias", {"5": True}),
        ("logit_bias", {"5": 101}),
        ("logit_bias", {str(token): 0 for token in range(5000)}),
        ("response_format", "json"),
        ("tools", {}),
        ("modalities", ["text", "audio"]),
        ("modalities", "text"),
        ("reasoning_effort", "enormous"),
        ("chat_template_kwargs", [1]),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: Any) -> None:
    assert refused(**{name: value}).param == name


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": ["a", 3]}, "stop[1]"),
        ({"stop": ["x" * 1001]}, "stop[0]"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": []}}},
            "response_format.json_schema.schema",
        ),
        ({"modalities": ["smell"]}, "modalities[0]"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ],
)
def test_a_wrong_value_inside_is_refused_by_its_path(fields: Any, param: str) -> None:
    assert refused(**fields).param == param


def nested(levels: int) -> Any:
    return json.loads("[" * levels + "]" * levels)


@pytest.mark.parametrize("levels", [60, 64, 900])
def test_json_that_is_nested_deeply_is_refused_wherever_it_may_be(levels: int) -> None:
    schema = {"a": nested(levels)}
    places: list[tuple[str, dict[str, Any]]] = [
        ("chat_template_kwargs", {"chat_template_kwargs": schema}),
        (
            "tools[0].function.parameters",
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]},
        ),
        (
            "response_format.json_schema.schema",
            {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
        ),
    ]
    for param, fields in places:
        if levels < 64:
            read(**fields)
        else:
            assert refused(**fields).param == param
