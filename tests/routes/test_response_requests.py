"""What a request means for a model, and which requests are refused."""

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from pydantic import ValidationError

from engines.generation import Chat, Format, Generate, Sampling, Tool, ToolChoice
from routes.errors import ApiError, api_error
from routes.response_requests import ResponseRequest

LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
WAIT = {"type": "function", "name": "wait", "description": "Waits.", "strict": True}


def request(**fields: Any) -> ResponseRequest:
    made = ResponseRequest.model_validate({"model": "tiny", "input": "Hi", **fields})
    made.check()
    return made


def asked(**fields: Any) -> Generate:
    made = request(**fields)
    return made.generate(made.input)


def chat(**fields: Any) -> Chat:
    prompt = asked(**fields).prompt
    assert isinstance(prompt, Chat)
    return prompt


def refused(**fields: Any) -> ApiError:
    with pytest.raises((ApiError, ValidationError)) as raised:
        asked(**fields)
    found = api_error(raised.value, make_mocked_request("POST", "/"))
    assert found is not None
    assert found.status == 400
    return found


def test_a_plain_request_asks_with_openai_s_defaults() -> None:
    assert asked() == Generate(Chat(({"role": "user", "content": "Hi"},)))


def test_every_setting_reaches_the_model() -> None:
    made = asked(
        instructions="Be brief.",
        temperature=0,
        top_p=0.5,
        max_output_tokens=7,
        truncation="auto",
        parallel_tool_calls=False,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_object"}},
        top_logprobs=3,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
    )
    assert made.sampling == Sampling(temperature=0.0, top_p=0.5)
    assert (made.max_tokens, made.truncate, made.logprobs) == (7, True, 3)
    assert made.format == Format("json_object")
    assert isinstance(made.prompt, Chat)
    assert made.prompt.messages[0] == {"role": "system", "content": "Be brief."}
    assert not made.prompt.parallel_tool_calls
    assert made.prompt.template == {"enable_thinking": True, "reasoning_effort": "low"}


@pytest.mark.parametrize("effort", ["none", "minimal"])
def test_little_effort_is_no_thinking(effort: str) -> None:
    assert chat(reasoning={"effort": effort}).template["enable_thinking"] is False


def test_a_chat_template_gets_its_variables() -> None:
    made = chat(reasoning={"effort": "high"}, chat_template_kwargs={"enable_thinking": False})
    assert made.template == {"enable_thinking": False, "reasoning_effort": "high"}


def test_log_probabilities_are_asked_for_in_either_way() -> None:
    assert asked().logprobs is None
    assert asked(top_logprobs=2).logprobs == 2
    assert asked(include=["message.output_text.logprobs"]).logprobs == 0


def test_a_schema_is_the_format() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "thing", "schema": schema, "strict": True}
    assert asked(text={"format": form}).format == Format("json_schema", schema)


def test_null_is_as_good_as_nothing() -> None:
    fields = ResponseRequest.model_fields.keys() - {"model", "input"}
    assert asked(**dict.fromkeys(fields)) == asked()


def test_fields_that_are_not_known_here_are_ignored() -> None:
    assert asked(service_tier="flex", user=7, max_tool_calls="x", frobnicate=[]) == asked()


def test_tools_are_functions_of_the_client() -> None:
    prompt = chat(tools=[LOOK, WAIT])
    assert prompt.tools == (
        Tool("look", "", {"type": "object", "properties": {}}),
        Tool("wait", "Waits.", {}, strict=True),
    )
    assert prompt.tool_choice == ToolChoice("auto")


@pytest.mark.parametrize(
    ("choice", "expected", "names"),
    [
        ("none", ToolChoice("none"), ["look", "wait"]),
        ("required", ToolChoice("required"), ["look", "wait"]),
        ({"type": "function", "name": "wait"}, ToolChoice("required", "wait"), ["look", "wait"]),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "wait"}],
            },
            ToolChoice("required"),
            ["wait"],
        ),
    ],
)
def test_a_choice_of_tools(choice: Any, expected: ToolChoice, names: list[str]) -> None:
    prompt = chat(tools=[LOOK, WAIT], tool_choice=choice)
    assert prompt.tool_choice == expected
    assert [tool.name for tool in prompt.tools] == names


DEEP: Any = {}
for _ in range(100):
    DEEP = {"properties": {"a": DEEP}}
DEEP_FORMAT = {"type": "json_schema", "name": "a", "schema": DEEP}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 7}, "model"),
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input"),
        ({"instructions": ["Hi"]}, "instructions"),
        ({"stream": "true"}, "stream"),
        ({"store": 1}, "store"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"truncation": "middle"}, "truncation"),
        ({"include": "all"}, "include"),
        ({"previous_response_id": 7}, "previous_response_id"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a" * 65: "b"}}, "metadata"),
        ({"metadata": {"a": "b" * 513}}, "metadata"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"tools": [LOOK] * 2}, "tools"),
        ({"tools": "all"}, "tools"),
        ({"tool_choice": "look"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "run"}, "tools": [LOOK]}, "tool_choice"),
        ({"tool_choice": {"type": "web_search_preview"}, "tools": [LOOK]}, "tool_choice"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [7]}},
            "tool_choice",
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "look"}] * 129,
                },
                "tools": [LOOK],
            },
            "tool_choice",
        ),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [LOOK, {"name": "wait"}]}, "tools[1].type"),
        ({"tools": [LOOK | {"type": 7}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": [LOOK | {"parameters": DEEP}]}, "tools[0].parameters"),
        ({"text": {"format": DEEP_FORMAT}}, "text.format.schema"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


@pytest.mark.parametrize("kind", ["web_search", "file_search", "code_interpreter", "mcp", "custom"])
def test_tools_that_openai_runs_are_unsupported(kind: str) -> None:
    error = refused(tools=[LOOK, {"type": kind, "name": "x"}])
    assert (error.code, error.param) == ("unsupported", "tools[1].type")
    assert kind in error.message


def test_a_conversation_is_pointed_to_what_there_is() -> None:
    assert "previous_response_id" in refused(conversation={"id": "conv_1"}).message
