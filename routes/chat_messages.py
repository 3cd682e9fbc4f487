"""The messages of a chat: as clients send them, and as engines read them, with plain text only."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BeforeValidator, Field, TypeAdapter, field_validator

from routes.errors import invalid, missing
from routes.text_requests import Given, JsonObject

_OBJECT: Final[TypeAdapter[dict[str, Any]]] = TypeAdapter(JsonObject)

MOST_PARTS: Final = 1000
"""Parts, and calls, of one message."""

_INSTEAD: Final = {
    "image_url": "leave the image out",
    "input_audio": "send a transcript of the audio",
    "file": "send the text of the file",
}
"""What to do with a part that is not text."""


def _arguments(value: Any) -> dict[str, Any]:
    """Some models, and so their clients, write nothing where a function takes nothing."""
    if not isinstance(value, str):
        raise ValueError("Input should be a string that holds a JSON object")
    try:
        return _OBJECT.validate_python(orjson.loads(value) if value.strip() else {})
    except ValueError:
        raise ValueError(
            "Input should hold a valid JSON object that is not nested deeply"
        ) from None


def _parts(value: Any) -> Any:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if isinstance(value, list):
        return value
    raise ValueError("Input should be a string or a list of parts")


class Part(Given):
    type: str
    text: str | None = None
    refusal: str | None = None


class CalledFunction(Given):
    name: str
    arguments: Annotated[dict[str, Any], BeforeValidator(_arguments)]


class ToolCall(Given):
    type: str = "function"
    id: str
    function: CalledFunction

    @field_validator("type")
    @classmethod
    def _is_function(cls, value: str) -> str:
        if value != "function":
            raise ValueError("Input should be 'function'; other tools are not supported here")
        return value


class Message(Given):
    """A message of any role; which fields count depends on it."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: Annotated[list[Part] | None, BeforeValidator(_parts)] = Field(
        default=None, max_length=MOST_PARTS, fail_fast=True
    )
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] = Field(default=[], max_length=MOST_PARTS, fail_fast=True)
    function_call: CalledFunction | None = None
    tool_call_id: str | None = None


def conversation(messages: Sequence[Message], model: str) -> tuple[Mapping[str, Any], ...]:
    """The messages as `engines.generation.Chat` takes them. Raises `ApiError`.

    Calls of functions from before there were tools become calls of tools. They have no ids, so
    that a result belongs to the last call of its function.
    """
    calls: dict[str, str] = {}
    read = []
    for number, message in enumerate(messages):
        reader = _Reader(message, f"messages[{number}]", model)
        match message.role:
            case "assistant":
                if message.function_call is not None:
                    calls[message.function_call.name] = f"call_{number}"
                read.append(reader.assistant(f"call_{number}"))
            case "tool":
                read.append(reader.tool())
            case "function":
                read.append(reader.function(calls))
            case _:
                read.append(reader.named(content=reader.text()))
    return tuple(read)


class _Reader:
    """Reads one message, which is `where` in the request."""

    def __init__(self, message: Message, where: str, model: str) -> None:
        self._message = message
        self._where = where
        self._model = model

    def named(self, **fields: Any) -> dict[str, Any]:
        read = {"role": self._message.role, **fields}
        if self._message.name is not None:
            read["name"] = self._message.name
        return read

    def text(self) -> str:
        if self._message.content is None:
            raise missing(f"{self._where}.content")
        return "\n".join(
            self._part(part, f"{self._where}.content[{number}]")
            for number, part in enumerate(self._message.content)
        )

    def assistant(self, call_id: str) -> dict[str, Any]:
        """What a model said, called and thought; `call_id` is for a call that has none."""
        message = self._message
        calls = [_call(call.id, call.function) for call in message.tool_calls]
        if message.function_call is not None:
            calls.append(_call(call_id, message.function_call))
        content = self.text() if message.content is not None else message.refusal
        if content is None and not calls:
            raise missing(f"{self._where}.content")
        read = self.named(content=content)
        if message.reasoning_content is not None:
            read["reasoning_content"] = message.reasoning_content
        if calls:
            read["tool_calls"] = calls
        return read

    def tool(self) -> dict[str, Any]:
        if self._message.tool_call_id is None:
            raise missing(f"{self._where}.tool_call_id")
        return self.named(tool_call_id=self._message.tool_call_id, content=self.text())

    def function(self, calls: Mapping[str, str]) -> dict[str, Any]:
        """A function's result, for the call of it in `calls`."""
        name = self._message.name
        if name is None:
            raise missing(f"{self._where}.name")
        if name not in calls:
            raise invalid(
                f"{self._where}.name",
                f"Invalid value for '{self._where}.name': no message before calls it.",
            )
        content = self.text() if self._message.content is not None else ""
        return {"role": "tool", "tool_call_id": calls[name], "name": name, "content": content}

    def _part(self, part: Part, where: str) -> str:
        if part.type not in ("text", "refusal"):
            instead = _INSTEAD.get(part.type, "supported types are 'text' and 'refusal'")
            raise invalid(
                f"{where}.type",
                f"Invalid value for '{where}.type': The model '{self._model}' takes text only; "
                f"{instead}.",
            )
        text = part.text if part.type == "text" else part.refusal
        if text is None:
            raise missing(f"{where}.{part.type}")
        return text


def _call(id: str, function: CalledFunction) -> dict[str, Any]:
    called = {"name": function.name, "arguments": function.arguments}
    return {"id": id, "type": "function", "function": called}
