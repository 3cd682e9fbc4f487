"""Items of the Responses API: read from a request, and as the messages that a model is given.

An item is kept in the shape in which the API shows it, with an id: a message, a function call, its
output, or reasoning.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from routes.errors import ApiError, invalid, missing
from routes.text_requests import Given, JsonObject

Item = Mapping[str, Any]
Status = Literal["in_progress", "completed", "incomplete"]
"""Of an item."""

MOST_ITEMS: Final = 10_000
"""Items of one request."""
MOST_PARTS: Final = 1000
"""Parts of one item."""

_OBJECT: Final[TypeAdapter[dict[str, Any]]] = TypeAdapter(JsonObject)


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


def quoted(text: str) -> str:
    """`text` for a sentence of ours: not longer than a name is."""
    return f"'{text[:64]}'"


def json_object(text: str) -> dict[str, Any]:
    """The JSON object that `text` is; nothing is an empty one. Raises `ValueError`."""
    try:
        return _OBJECT.validate_python(orjson.loads(text) if text.strip() else {})
    except ValueError:
        raise ValueError("it must be a JSON object, and not nested deeply") from None


def read_input(value: Any) -> list[Item]:
    """The `input` of a request: a user's text, or items. Raises `ApiError`.

    An `item_reference` stays one; `resolved` puts what it means in its place.
    """
    if isinstance(value, str):
        return [Message.model_validate({"role": "user", "content": value}).item()]
    if not isinstance(value, list):
        raise invalid("input", "Invalid type for 'input': expected a string or a list of items.")
    if len(value) > MOST_ITEMS:
        raise invalid("input", f"Invalid value for 'input': more than {MOST_ITEMS} items.")
    return [_read_item(entry, f"input[{index}]") for index, entry in enumerate(value)]


def resolved(items: Iterable[Item], find: Callable[[str], Item | None]) -> list[Item]:
    """`items`, with what `find` finds for each reference. Raises `ApiError` where it is nothing."""
    return [
        _referenced(item["id"], find, index) if item["type"] == "item_reference" else item
        for index, item in enumerate(items)
    ]


def _referenced(id: str, find: Callable[[str], Item | None], index: int) -> Item:
    item = find(id)
    if item is None:
        message = f"Item with id {quoted(id)} not found."
        raise ApiError(404, message, param=f"input[{index}].id")
    return item


def messages(items: Sequence[Item], instructions: str = "") -> tuple[Mapping[str, Any], ...]:
    """A conversation as `engines.generation.Chat` takes it, `instructions` first.

    A model is shown what it thought since the user last spoke, and no older thoughts. Raises
    `ApiError` for an output without its call.
    """
    conversation = _Conversation()
    if instructions:
        conversation.tell("system", instructions)
    for item in items:
        conversation.add(item)
    return conversation.messages()


_Id = Annotated[str, Field(min_length=1, max_length=256)]
_PartT = TypeVar("_PartT")
_Several = Annotated[list[_PartT], Field(max_length=MOST_PARTS, fail_fast=True)]


def _readable_part(kind: str) -> str:
    """The type of a part, unless it is of what no model here can read."""
    if kind in ("input_image", "input_file", "input_audio"):
        raise ValueError(
            f"the language models here read text only, and cannot take '{kind}'; leave it out"
        )
    if kind not in ("input_text", "output_text", "text", "refusal"):
        raise ValueError("supported values are 'input_text', 'output_text' and 'refusal'")
    return kind


class _Part(Given):
    type: Annotated[str, AfterValidator(_readable_part)]
    text: str = Field(validation_alias=AliasChoices("text", "refusal"))

    def as_input(self) -> Item:
        return {"type": "input_text", "text": self.text}

    def as_output(self) -> Item:
        if self.type == "refusal":
            return {"type": "refusal", "refusal": self.text}
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": []}


def _as_parts(value: Any) -> Any:
    return [{"type": "input_text", "text": value}] if isinstance(value, str) else value


class Message(Given):
    """What somebody said; `type` may be left out."""

    id: _Id = Field(default_factory=lambda: new_id("msg"))
    role: Literal["user", "assistant", "system", "developer"]
    content: _Several[_Part]
    status: Status = "completed"

    _parts = field_validator("content", mode="before")(_as_parts)

    def item(self) -> Item:
        said = self.role == "assistant"
        return {
            "id": self.id,
            "type": "message",
            "role": self.role,
            "status": self.status,
            "content": [part.as_output() if said else part.as_input() for part in self.content],
        }


class _FunctionCall(Given):
    id: _Id = Field(default_factory=lambda: new_id("fc"))
    call_id: _Id
    name: _Id
    arguments: str
    status: Status = "completed"

    @field_validator("arguments")
    @classmethod
    def _is_object(cls, value: str) -> str:
        json_object(value)
        return value

    def item(self) -> Item:
        return {"type": "function_call", **self.model_dump()}


class _FunctionCallOutput(Given):
    id: _Id = Field(default_factory=lambda: new_id("fco"))
    call_id: _Id
    output: _Several[_Part]
    status: Status = "completed"

    _parts = field_validator("output", mode="before")(_as_parts)

    def item(self) -> Item:
        return {
            "id": self.id,
            "type": "function_call_output",
            "call_id": self.call_id,
            "output": [part.as_input() for part in self.output],
            "status": self.status,
        }


class _Thought(Given):
    type: Literal["summary_text", "reasoning_text"]
    text: str


class _Reasoning(Given):
    """`encrypted_content` is of another server; nobody here can read it."""

    id: _Id = Field(default_factory=lambda: new_id("rs"))
    summary: _Several[_Thought] = Field(default=[])
    content: _Several[_Thought] = Field(default=[])
    status: Status = "completed"

    def item(self) -> Item:
        return {"type": "reasoning", **self.model_dump()}


class _ItemReference(Given):
    id: _Id

    def item(self) -> Item:
        return {"type": "item_reference", "id": self.id}


_ItemModel = Message | _FunctionCall | _FunctionCallOutput | _Reasoning | _ItemReference

_KINDS: Final[Mapping[str, type[_ItemModel]]] = {
    "message": Message,
    "function_call": _FunctionCall,
    "function_call_output": _FunctionCallOutput,
    "reasoning": _Reasoning,
    "item_reference": _ItemReference,
}


def _read_item(value: Any, path: str) -> Item:
    if not isinstance(value, dict):
        raise invalid(path, f"Invalid type for '{path}': expected an object.")
    kind = value.get("type") or ("message" if "role" in value else "item_reference")
    if not isinstance(kind, str):
        raise invalid(f"{path}.type", f"Invalid type for '{path}.type': expected a string.")
    model = _KINDS.get(kind)
    if model is None:
        raise unsupported(f"{path}.type", f"Items of the type {quoted(kind)} are not")
    try:
        return model.model_validate(value).item()
    except ValidationError as error:
        raise _located(error, path) from None


def unsupported(param: str, what: str) -> ApiError:
    """The refusal of a feature; `what` is the beginning of its sentence."""
    return ApiError(400, f"{what} supported by this server.", code="unsupported", param=param)


def _located(error: ValidationError, path: str) -> ApiError:
    """The 400 for what pydantic did not like inside of `path`."""
    first = error.errors(include_url=False, include_context=False)[0]
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]]
    param = path + "".join(steps)
    if first["type"] == "missing":
        return missing(param)
    reason = first["msg"].removeprefix("Value error, ").rstrip(".")
    return invalid(param, f"Invalid value for '{param}': {reason}.")


class _Conversation:
    """Messages, as items are added to them."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._functions: dict[str, str] = {}
        self._thoughts: list[str] = []

    def messages(self) -> tuple[Mapping[str, Any], ...]:
        roles = [message["role"] for message in self._messages]
        asked = max((i for i, role in enumerate(roles) if role == "user"), default=0)
        for message in self._messages[:asked]:
            message.pop("reasoning_content", None)
        return tuple(self._messages)

    def add(self, item: Item) -> None:
        match item["type"]:
            case "message" if item["role"] == "assistant":
                self._answer(_text(item["content"]))
            case "message":
                role = "user" if item["role"] == "user" else "system"
                self.tell(role, _text(item["content"]))
            case "function_call":
                self._call(item)
            case "function_call_output":
                self._return(item)
            case "reasoning":
                self._thoughts += [thought["text"] for thought in item["content"]]

    def tell(self, role: str, content: str) -> None:
        """What a user or a system says. Neighbours of the system are one message: many chat
        templates take only the first."""
        self._thoughts.clear()
        last = self._messages[-1] if self._messages else None
        if role == "system" and last is not None and last["role"] == "system":
            last["content"] = f"{last['content']}\n\n{content}"
        else:
            self._messages.append({"role": role, "content": content})

    def _answer(self, content: str | None) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if self._thoughts:
            message["reasoning_content"] = "\n".join(self._thoughts)
            self._thoughts.clear()
        self._messages.append(message)
        return message

    def _call(self, item: Item) -> None:
        last = self._messages[-1] if self._messages else None
        if last is None or last["role"] != "assistant" or self._thoughts:
            last = self._answer(None)
        self._functions[item["call_id"]] = item["name"]
        try:
            arguments = json_object(item["arguments"])
        except ValueError:
            call = quoted(item["call_id"])
            message = f"The arguments of the function call {call} are not a JSON object."
            raise invalid("input", message) from None
        function = {"name": item["name"], "arguments": arguments}
        calls = last.setdefault("tool_calls", [])
        calls.append({"id": item["call_id"], "type": "function", "function": function})

    def _return(self, item: Item) -> None:
        call_id = item["call_id"]
        name = self._functions.get(call_id)
        if name is None:
            call = quoted(call_id)
            message = f"No tool call found for function call output with call_id {call}."
            raise invalid("input", message)
        content = _text(item["output"])
        self._messages.append(
            {"role": "tool", "tool_call_id": call_id, "name": name, "content": content}
        )


def _text(parts: Iterable[Item]) -> str:
    return "\n".join(part.get("text") or part.get("refusal", "") for part in parts)
