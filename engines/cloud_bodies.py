"""What a `Generate` is in OpenAI's words: the path and body that ask a provider for it."""

from collections.abc import Mapping
from typing import Any

import orjson

from engines.base import InvalidInput
from engines.generation import Chat, Format, Generate, Plain, Sampling, Tool, ToolChoice

PLAIN_SAMPLING = Sampling()


def question(
    request: Generate, *, limit: str, templates: bool = True
) -> tuple[str, dict[str, Any]]:
    """The path and the body, without its model, that ask for a stream of the answer.

    `limit` is the provider's name for the most tokens; one without `templates` refuses variables of
    chat templates, and knows of them the effort to think alone. What is left at its default is
    left out: some models refuse every temperature, others every field they do not know. `truncate`
    has no name there.
    """
    body: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    body |= _sampling(request.sampling)
    if request.stop:
        body["stop"] = list(request.stop)
    if request.format.kind != "text":
        body["response_format"] = _format(request.format)
    match request.prompt:
        case Plain() as plain:
            body |= _plain(plain)
            body |= _present(max_tokens=request.max_tokens, logprobs=request.logprobs)
            return "/completions", body
        case Chat() as chat:
            body |= _chat(chat) | _variables(chat.template, templates)
            body |= _present(**{limit: request.max_tokens})
            if request.logprobs is not None:
                body |= {"logprobs": True, "top_logprobs": request.logprobs}
            return "/chat/completions", body


def encoded(body: Mapping[str, Any]) -> bytes:
    """`body` as JSON; may take a while. Raises `InvalidInput` for what JSON cannot hold."""
    try:
        return orjson.dumps(body, default=_as_dict)
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"The request cannot be written as JSON: {error}.") from None


def _as_dict(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is not JSON")


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _sampling(sampling: Sampling) -> dict[str, Any]:
    plain = PLAIN_SAMPLING
    values: dict[str, tuple[Any, Any]] = {
        "temperature": (sampling.temperature, plain.temperature),
        "top_p": (sampling.top_p, plain.top_p),
        "top_k": (sampling.top_k, plain.top_k),
        "min_p": (sampling.min_p, plain.min_p),
        "frequency_penalty": (sampling.frequency_penalty, plain.frequency_penalty),
        "presence_penalty": (sampling.presence_penalty, plain.presence_penalty),
        # llama.cpp and vLLM have a name each, and pass over the other's.
        "repeat_penalty": (sampling.repeat_penalty, plain.repeat_penalty),
        "repetition_penalty": (sampling.repeat_penalty, plain.repeat_penalty),
        "seed": (sampling.seed, plain.seed),
    }
    body = {name: value for name, (value, default) in values.items() if value != default}
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    return body


def _format(asked: Format) -> dict[str, Any]:
    if asked.kind == "json_object":
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": "answer", "schema": asked.schema}
    if _is_closed(asked.schema):
        schema["strict"] = True
    return {"type": "json_schema", "json_schema": schema}


def _is_closed(schema: Any) -> bool:
    """Whether every object in it has all its properties and no others. OpenAI holds a model to
    such a schema, and refuses to hold it to another; local servers hold theirs to any."""
    match schema:
        case Mapping():
            if schema.get("type") == "object" or "properties" in schema:
                names, required = schema.get("properties") or {}, schema.get("required") or []
                known = isinstance(names, Mapping) and isinstance(required, list)
                closed = schema.get("additionalProperties") is False
                if not (known and closed and all(name in required for name in names)):
                    return False
            return all(_is_closed(part) for part in schema.values())
        case list():
            return all(_is_closed(part) for part in schema)
        case _:
            return True


def _plain(prompt: Plain) -> dict[str, Any]:
    text = prompt.text if isinstance(prompt.text, str) else list(prompt.text)
    return {"prompt": text} | ({"echo": True} if prompt.echo else {})


def _chat(chat: Chat) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [_message(message) for message in chat.messages]}
    if chat.tools:
        body["tools"] = [_tool(tool) for tool in chat.tools]
        if chat.tool_choice != ToolChoice():
            body["tool_choice"] = _choice(chat.tool_choice)
        if not chat.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    return body


def _variables(template: Mapping[str, Any], templates: bool) -> dict[str, Any]:
    if not templates:
        return _present(reasoning_effort=template.get("reasoning_effort"))
    return {"chat_template_kwargs": template} if template else {}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """One of OpenAI's own: it knows no `reasoning_content`, and calls' arguments are text."""
    told = {name: value for name, value in message.items() if name != "reasoning_content"}
    if calls := told.get("tool_calls"):
        told["tool_calls"] = [_call(call) for call in calls]
    return told


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    if not isinstance(function.get("arguments"), str):
        function["arguments"] = encoded(function.get("arguments") or {}).decode()
    return {**call, "function": function}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.name is not None:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode
