"""Client events of the Realtime API: JSON text in, typed events out, whatever the text is.

Pure and thread-safe: a big message is parsed in a thread.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

MAX_APPEND_BYTES = 15 * 2**20
"""Most decoded audio that one append may carry."""
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
    type = "conversation.item.create"


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


@dataclass(frozen=True, slots=True)
class ResponseCreate(ClientEvent):
    type = "response.create"


@dataclass(frozen=True, slots=True)
class ResponseCancel(ClientEvent):
    type = "response.cancel"


@dataclass(frozen=True, slots=True)
class ClearOutput(ClientEvent):
    type = "output_audio_buffer.clear"


def parse(text: str) -> ClientEvent | BadEvent:
    """The event that a text message holds. Never raises."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return BadEvent("invalid_json", f"The message is not valid JSON: {error.msg}.")
    if not isinstance(message, dict):
        got = kind_of(message)
        return BadEvent("invalid_event", f"Expected an event, which is a JSON object; got {got}.")
    try:
        event_id = _event_id(message)
    except _Invalid as error:
        return error.event(None)
    try:
        return _reader(message)(message, event_id)
    except _Invalid as error:
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


class _Invalid(Exception):
    def __init__(self, code: str, message: str, param: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

    def event(self, event_id: str | None) -> BadEvent:
        return BadEvent(self.code, self.message, self.param, event_id)


def _event_id(message: dict[str, Any]) -> str | None:
    value = message.get("event_id")
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Invalid("invalid_value", wrong_type("event_id", "a string", value), "event_id")
    if len(value) > MAX_ID_LENGTH:
        long = f"Invalid 'event_id': longer than {MAX_ID_LENGTH} characters."
        raise _Invalid("invalid_value", long, "event_id")
    return value


def _field(message: dict[str, Any], name: str) -> Any:
    value = message.get(name)
    if value is None:
        raise _Invalid("missing_required_parameter", missing(name), name)
    return value


def _string(message: dict[str, Any], name: str) -> str:
    value = _field(message, name)
    if not isinstance(value, str):
        raise _Invalid("invalid_value", wrong_type(name, "a string", value), name)
    return value


def _object(message: dict[str, Any], name: str) -> dict[str, Any]:
    value = _field(message, name)
    if not isinstance(value, dict):
        raise _Invalid("invalid_value", wrong_type(name, "an object", value), name)
    return value


def _decoded(text: str) -> bytes:
    """Strict base64 of at most `MAX_APPEND_BYTES`, decoded slice by slice."""
    if len(text) // 4 * 3 > MAX_APPEND_BYTES + 2:
        raise _Invalid("invalid_value", _TOO_LONG, "audio")
    pieces: list[bytes] = []
    try:
        for at in range(0, len(text), _BASE64_SLICE):
            piece = text[at : at + _BASE64_SLICE]
            if piece.endswith("=") and at + len(piece) < len(text):
                raise _Invalid("invalid_value", _NOT_BASE64, "audio")
            pieces.append(base64.b64decode(piece, validate=True))
    except (binascii.Error, ValueError):
        raise _Invalid("invalid_value", _NOT_BASE64, "audio") from None
    audio = b"".join(pieces)
    if len(audio) > MAX_APPEND_BYTES:
        raise _Invalid("invalid_value", _TOO_LONG, "audio")
    return audio


_NOT_BASE64 = "Invalid 'audio': expected base64-encoded audio bytes, but it is not valid base64."
_TOO_LONG = f"Invalid 'audio': one append may carry {MAX_APPEND_BYTES // 2**20} MiB of audio."

_Reader = Callable[[dict[str, Any], str | None], ClientEvent]


def _plain(event: type[ClientEvent]) -> _Reader:
    return lambda message, event_id: event(event_id=event_id)


_READERS: dict[str, _Reader] = {
    SessionUpdate.type: lambda m, id_: SessionUpdate(_object(m, "session"), event_id=id_),
    Append.type: lambda m, id_: Append(_decoded(_string(m, "audio")), event_id=id_),
    CommitBuffer.type: _plain(CommitBuffer),
    ClearBuffer.type: _plain(ClearBuffer),
    CreateItem.type: _plain(CreateItem),
    RetrieveItem.type: lambda m, id_: RetrieveItem(_string(m, "item_id"), event_id=id_),
    DeleteItem.type: lambda m, id_: DeleteItem(_string(m, "item_id"), event_id=id_),
    TruncateItem.type: _plain(TruncateItem),
    ResponseCreate.type: _plain(ResponseCreate),
    ResponseCancel.type: _plain(ResponseCancel),
    ClearOutput.type: _plain(ClearOutput),
}


def _reader(message: dict[str, Any]) -> _Reader:
    name = _string(message, "type")
    reader = _READERS.get(name)
    if reader is None:
        raise _Invalid("invalid_value", not_supported(name, list(_READERS)), "type")
    return reader
