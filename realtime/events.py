"""Client events of the Realtime API: JSON text in, typed events out, whatever the text is.

Pure and thread-safe: a big message is parsed in a thread.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from engines.json_values import MOST_VALUES, has_few_values

MAX_AUDIO_BYTES = 15 * 2**20
"""Most decoded audio that one append, or one part of an item, may carry."""
MAX_ID_LENGTH = 512
_BASE64_SLICE = 2**20
"""Characters decoded at once: the decoder holds the interpreter's lock, so never for long."""


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """What a client asked for; `event_id` is the name it gave to the event, if it did."""

    type: ClassVar[str]
    event_id: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class BadEvent:
    """A message that is no event; the fields are those of the error it is answered with."""

    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class SessionUpdate(ClientEvent):
    type = "session.update"
    session: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Append(ClientEvent):
    """`audio` is decoded from base64, in the session's input format."""

    type = "input_audio_buffer.append"
    audio: bytes

    def split(self, max_bytes: int) -> "list[Append]":
        """This append as several of at most `max_bytes`, cut between 16-bit samples."""
        step = max(2, max_bytes - max_bytes % 2)
        if len(self.audio) <= step:
            return [self]
        starts = range(0, len(self.audio), step)
        return [Append(self.audio[at : at + step], event_id=self.event_id) for at in starts]


@dataclass(frozen=True, slots=True)
class CommitBuffer(ClientEvent):
    type = "input_audio_buffer.commit"


@dataclass(frozen=True, slots=True)
class ClearBuffer(ClientEvent):
    type = "input_audio_buffer.clear"


@dataclass(frozen=True, slots=True)
class CreateItem(ClientEvent):
    """`item` is as the client wrote it, but that its audio is decoded from base64.

    `previous_item_id` None appends it; `root` puts it first.
    """

    type = "conversation.item.create"
    item: Mapping[str, Any]
    previous_item_id: str | None = None


@dataclass(frozen=True, slots=True)
class RetrieveItem(ClientEvent):
    type = "conversation.item.retrieve"
    item_id: str


@dataclass(frozen=True, slots=True)
class DeleteItem(ClientEvent):
    type = "conversation.item.delete"
    item_id: str


@dataclass(frozen=True, slots=True)
class TruncateItem(ClientEvent):
    type = "conversation.item.truncate"
    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class ResponseCreate(ClientEvent):
    """`response` is as the client wrote it, but that the audio of its input is decoded."""

    type = "response.create"
    response: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResponseCancel(ClientEvent):
    """`response_id` None: whichever response the conversation waits for."""

    type = "response.cancel"
    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class ClearOutput(ClientEvent):
    type = "output_audio_buffer.clear"


def parse(text: str) -> ClientEvent | BadEvent:
    """The event that a text message holds. Never raises."""
    message = decode(text)
    return message if isinstance(message, BadEvent) else read(message)


def decode(text: str) -> dict[str, Any] | BadEvent:
    """The JSON object that a text message holds. Never raises."""
    if not has_few_values(text):
        return BadEvent("invalid_event", f"The message holds more than {MOST_VALUES} values.")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return BadEvent("invalid_json", f"The message is not valid JSON: {error.msg}.")
    if not isinstance(message, dict):
        got = kind_of(message)
        return BadEvent("invalid_event", f"Expected an event, which is a JSON object; got {got}.")
    return message


def read(message: dict[str, Any]) -> ClientEvent | BadEvent:
    """The event that a JSON object is. Never raises."""
    try:
        event_id = _event_id(message)
    except Invalid as error:
        return error.event(None)
    try:
        return _reader(message)(message, event_id)
    except Invalid as error:
        return error.event(event_id)


def binary_event() -> BadEvent:
    """The answer to a binary frame."""
    return BadEvent(
        "invalid_event", "Events are JSON text messages; a binary message was received."
    )


def kind_of(value: object) -> str:
    """A JSON value's type in words, for messages to users."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def shown(value: object) -> str:
    """A JSON value as an error message may quote it: short, whatever it is."""
    if isinstance(value, str):
        return repr(value if len(value) <= 64 else value[:64] + "…")
    return str(value) if isinstance(value, int | float) else kind_of(value)


def not_supported(value: object, supported: Sequence[str]) -> str:
    """The message for a value outside a fixed set."""
    quoted = [f"'{name}'" for name in supported]
    match quoted:
        case [only]:
            listed = f"Supported value is: {only}"
        case [first, second]:
            listed = f"Supported values are: {first} and {second}"
        case _:
            listed = f"Supported values are: {', '.join(quoted[:-1])}, and {quoted[-1]}"
    return f"Invalid value: {shown(value)}. {listed}."


def wrong_type(param: str, expected: str, value: object) -> str:
    """The message for a value of the wrong JSON type."""
    return f"Invalid type for '{param}': expected {expected}, but got {kind_of(value)} instead."


def missing(param: str) -> str:
    """The message for a required field that is not there."""
    return f"Missing required parameter: '{param}'."


class Invalid(Exception):
    """Something that a client sent cannot be taken; the fields are those of the error event."""

    def __init__(self, code: str, message: str, param: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

    def event(self, event_id: str | None) -> BadEvent:
        """The answer to the client event of this id."""
        return BadEvent(self.code, self.message, self.param, event_id)


def _event_id(message: dict[str, Any]) -> str | None:
    value = message.get("event_id")
    if value is None:
        return None
    if not isinstance(value, str):
        raise Invalid("invalid_value", wrong_type("event_id", "a string", value), "event_id")
    if len(value) > MAX_ID_LENGTH:
        long = f"Invalid 'event_id': longer than {MAX_ID_LENGTH} characters."
        raise Invalid("invalid_value", long, "event_id")
    return value


def _field(message: dict[str, Any], name: str) -> Any:
    value = message.get(name)
    if value is None:
        raise Invalid("missing_required_parameter", missing(name), name)
    return value


def _string(message: dict[str, Any], name: str) -> str:
    value = _field(message, name)
    if not isinstance(value, str):
        raise Invalid("invalid_value", wrong_type(name, "a string", value), name)
    return value


def _object(message: dict[str, Any], name: str) -> dict[str, Any]:
    value = _field(message, name)
    if not isinstance(value, dict):
        raise Invalid("invalid_value", wrong_type(name, "an object", value), name)
    return value


def _optional_string(message: dict[str, Any], name: str) -> str | None:
    return None if message.get(name) is None else _string(message, name)


def _count(message: dict[str, Any], name: str) -> int:
    value = _field(message, name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid("invalid_value", wrong_type(name, "an integer", value), name)
    if value < 0:
        raise Invalid("invalid_value", f"Invalid value: {value}. Expected 0 or more.", name)
    return value


def decode_audio(text: str, param: str) -> bytes:
    """Strict base64 of at most `MAX_AUDIO_BYTES`, decoded slice by slice. Raises `Invalid`."""
    if len(text) // 4 * 3 > MAX_AUDIO_BYTES + 2:
        raise _too_long(param)
    pieces: list[bytes] = []
    try:
        for at in range(0, len(text), _BASE64_SLICE):
            piece = text[at : at + _BASE64_SLICE]
            if piece.endswith("=") and at + len(piece) < len(text):
                raise _not_base64(param)
            pieces.append(base64.b64decode(piece, validate=True))
    except (binascii.Error, ValueError):
        raise _not_base64(param) from None
    audio = b"".join(pieces)
    if len(audio) > MAX_AUDIO_BYTES:
        raise _too_long(param)
    return audio


def _not_base64(param: str) -> Invalid:
    expected = "expected base64-encoded audio bytes, but it is not valid base64"
    return Invalid("invalid_value", f"Invalid '{param}': {expected}.", param)


def _too_long(param: str) -> Invalid:
    most = f"one event may carry {MAX_AUDIO_BYTES // 2**20} MiB of audio"
    return Invalid("invalid_value", f"Invalid '{param}': {most}.", param)


def _item(item: object, param: str) -> Any:
    """An item with its audio decoded, here since big messages are read in a thread.

    Whatever else is wrong with an item is left to whoever reads it.
    """
    if not isinstance(item, dict) or not isinstance(item.get("content"), list):
        return item
    parts = [
        {**part, "audio": decode_audio(part["audio"], f"{param}.content[{i}].audio")}
        if isinstance(part, dict) and isinstance(part.get("audio"), str)
        else part
        for i, part in enumerate(item["content"])
    ]
    return {**item, "content": parts}


def _response(message: dict[str, Any]) -> dict[str, Any]:
    if message.get("response") is None:
        return {}
    response = _object(message, "response")
    if not isinstance(response.get("input"), list):
        return response
    items = [_item(item, f"response.input[{i}]") for i, item in enumerate(response["input"])]
    return {**response, "input": items}


_Reader = Callable[[dict[str, Any], str | None], ClientEvent]


def _plain(event: type[ClientEvent]) -> _Reader:
    return lambda message, event_id: event(event_id=event_id)


_READERS: dict[str, _Reader] = {
    SessionUpdate.type: lambda m, id_: SessionUpdate(_object(m, "session"), event_id=id_),
    Append.type: lambda m, id_: Append(decode_audio(_string(m, "audio"), "audio"), event_id=id_),
    CommitBuffer.type: _plain(CommitBuffer),
    ClearBuffer.type: _plain(ClearBuffer),
    CreateItem.type: lambda m, id_: CreateItem(
        _item(_object(m, "item"), "item"), _optional_string(m, "previous_item_id"), event_id=id_
    ),
    RetrieveItem.type: lambda m, id_: RetrieveItem(_string(m, "item_id"), event_id=id_),
    DeleteItem.type: lambda m, id_: DeleteItem(_string(m, "item_id"), event_id=id_),
    TruncateItem.type: lambda m, id_: TruncateItem(
        _string(m, "item_id"),
        _count(m, "content_index"),
        _count(m, "audio_end_ms"),
        event_id=id_,
    ),
    ResponseCreate.type: lambda m, id_: ResponseCreate(_response(m), event_id=id_),
    ResponseCancel.type: lambda m, id_: ResponseCancel(
        _optional_string(m, "response_id"), event_id=id_
    ),
    ClearOutput.type: _plain(ClearOutput),
}


def _reader(message: dict[str, Any]) -> _Reader:
    name = _string(message, "type")
    reader = _READERS.get(name)
    if reader is None:
        raise Invalid("invalid_value", not_supported(name, list(_READERS)), "type")
    return reader
