import json
from types import MappingProxyType
from typing import Any

import pytest
from openai.types.chat import completion_create_params
from pydantic import TypeAdapter

from engines.base import InvalidInput
from engines.cloud_bodies import encoded, question
from engines.generation import Chat, Format, Generate, Plain, Sampling, Tool, ToolChoice

USER = {"role": "user", "content": "Hi"}
LOOK = Tool("look", "Looks.", {"type": "object", "properties": {}}, strict=True)


def asked(**fields: Any) -> dict[str, Any]:
    """The body of a chat request, as it is sent."""
    prompt = fields.pop("prompt", Chat((USER,)))
    path, body = question(Generate(prompt, **fields), limit="max_tokens")
    assert path == "/chat/completions"
    found: dict[str, Any] = json.loads(encoded(body))
    return found


def is_openais(body: dict[str, Any]) -> None:
    """Raises unless OpenAI's own types agree with the body."""
    adapter = TypeAdapter[Any](completion_create_params.CompletionCreateParamsStreaming)
    adapter.validate_python({"model": "m", **body})


def test_what_is_left_at_its_default_is_left_out() -> None:
    body = asked()
    assert body == {
        "messages": [USER],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    is_openais(body)


def test_all_that_openai_knows_is_passed_on_by_its_names() -> None:
    sampling = Sampling(0.0, 0.5, frequency_penalty=0.1, presence_penalty=-0.2, seed=3)
    body = asked(
        sampling=sampling,
        max_tokens=7,
        stop=("\n", "END"),
        logprobs=2,
        prompt=Chat((USER,), (LOOK,), ToolChoice(name="look"), parallel_tool_calls=False),
    )
    is_openais(body)
    assert {name: body[name] for name in ("temperature", "top_p", "seed", "max_tokens")} == {
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 3,
        "max_tokens": 7,
    }
    assert (body["frequency_penalty"], body["presence_penalty"]) == (0.1, -0.2)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert body["stop"] == ["\n", "END"]
    assert body["tools"][0]["function"] == {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {}},
        "strict": True,
    }
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert body["parallel_tool_calls"] is False


def test_biases_are_by_tokens_as_text() -> None:
    assert asked(sampling=Sampling(logit_bias={5: -100.0}))["logit_bias"] == {"5": -100.0}


def test_what_only_local_servers_know_is_sent_when_it_is_asked_for() -> None:
    body = asked(
        sampling=Sampling(top_k=40, min_p=0.1, repeat_penalty=1.1),
        prompt=Chat((USER,), template={"enable_thinking": False}),
    )
    assert (body["top_k"], body["min_p"]) == (40, 0.1)
    assert body["repeat_penalty"] == body["repetition_penalty"] == 1.1
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_who_has_no_chat_templates_is_told_the_effort_alone() -> None:
    """OpenAI refuses every field that it does not know, `chat_template_kwargs` too."""
    for template, told in (
        ({"enable_thinking": True, "reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"enable_thinking": False}, {}),
    ):
        chat = Chat((USER,), template=template)
        _, body = question(Generate(chat), limit="max_completion_tokens", templates=False)
        assert body == asked() | told
        is_openais(body)


@pytest.mark.parametrize("mode", ["none", "required"])
def test_whether_a_tool_has_to_be_called_is_a_word(mode: Any) -> None:
    body = asked(prompt=Chat((USER,), (LOOK,), ToolChoice(mode)))
    assert body["tool_choice"] == mode
    assert "tool_choice" not in asked(prompt=Chat((USER,), (), ToolChoice(mode)))


def test_earlier_calls_have_their_arguments_as_text_and_thoughts_stay_here() -> None:
    function = MappingProxyType({"name": "look", "arguments": {"x": [1]}})
    said = {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Hm.",
        "tool_calls": [{"id": "a", "type": "function", "function": function}],
    }
    seen = {"role": "tool", "tool_call_id": "a", "content": "a tree"}
    body = asked(prompt=Chat((USER, MappingProxyType(said), seen)))
    is_openais(body)
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"x":[1]}'},
                }
            ],
        },
        seen,
    ]


def test_formats_have_their_shapes() -> None:
    schema = {"type": "object"}
    assert asked(format=Format("json_object"))["response_format"] == {"type": "json_object"}
    body = asked(format=Format("json_schema", schema))
    is_openais(body)
    assert body["response_format"]["json_schema"]["schema"] == schema


POINT = {
    "type": "object",
    "properties": {"x": {"type": "number"}},
    "required": ["x"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (POINT, True),
        ({"type": "array", "items": POINT}, True),
        ({"type": "string"}, True),
        ({**POINT, "required": []}, False),
        ({**POINT, "additionalProperties": True}, False),
        ({"anyOf": [POINT, {"type": "object"}]}, False),
        ({**POINT, "properties": 4}, False),
        ({**POINT, "required": 5}, False),
        ({**POINT, "required": [["x"]]}, False),
    ],
)
def test_only_a_schema_of_closed_objects_is_held_to_strictly(schema: Any, strict: bool) -> None:
    body = asked(format=Format("json_schema", schema))
    assert body["response_format"]["json_schema"].get("strict", False) is strict


def test_parts_of_a_message_are_passed_on_as_they_are() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}}
    message = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}
    body = asked(prompt=Chat((message,)))
    assert body["messages"] == [message]
    is_openais(body)


@pytest.mark.parametrize(("text", "sent"), [("Once", "Once"), ((1, 2), [1, 2])])
def test_a_plain_prompt_goes_to_completions(text: str | tuple[int, ...], sent: Any) -> None:
    request = Generate(Plain(text, echo=True), max_tokens=4, logprobs=1)
    path, body = question(request, limit="max_completion_tokens")
    assert path == "/completions"
    assert json.loads(encoded(body)) == {
        "prompt": sent,
        "echo": True,
        "max_tokens": 4,
        "logprobs": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("value", ["\ud800", {1: 2}, object(), 1 << 70])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="JSON"):
        encoded({"a": value})
