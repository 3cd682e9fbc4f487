"""The items of a conversation as clients write them, and as they see them."""

import re
from collections.abc import Mapping
from typing import Any

from pipelines.items import (
    Detail,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    Item,
    Message,
    OutputAudio,
    OutputText,
    Part,
    Reference,
    Role,
    Status,
)
from realtime.events import (
    MAX_ID_LENGTH,
    Invalid,
    decode_audio,
    missing,
    not_supported,
    wrong_type,
)
from realtime.fields import Fields, SettingsError

MAX_TEXT = 2**20
MAX_PARTS = 256
MAX_SHOWN = 4 * 2**20
"""Characters of one item that clients are shown again, in messages they would refuse if longer."""

KINDS = ("message", "function_call", "function_call_output", "item_reference")
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
STATUSES: tuple[Status, ...] = ("completed", "incomplete", "in_progress")
DETAILS: tuple[Detail, ...] = ("auto", "low", "high")
PARTS: Mapping[Role, tuple[str, ...]] = {
    "system": ("input_text",),
    "user": ("input_text", "input_audio", "input_image"),
    "assistant": ("output_text",),
}

_IMAGE = re.compile(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/]+={0,2}", re.ASCII)


def read_item(item: Mapping[str, Any], path: str, *, images: bool) -> Item | Reference:
    """An item that a client wrote, at `path` of its event. Raises `SettingsError`.

    Its id is empty where the client gave none, and so is a call's. With `images`, the model takes
    pictures. Audio is base64, or bytes where that was decoded before.
    """
    fields = Fields(item, path)
    kind = fields.text("type")
    name = fields.string("id", "", "", MAX_ID_LENGTH)
    fields.choice("object", None, None, ("realtime.item",))
    match kind:
        case "message":
            return _message(fields, name, images=images)
        case "function_call":
            call_id = fields.string("call_id", "", "", MAX_ID_LENGTH)
            arguments = fields.text("arguments", MAX_TEXT)
            return FunctionCall(name, call_id, _filled(fields, "name"), arguments, _status(fields))
        case "function_call_output":
            output = fields.text("output", MAX_TEXT)
            return FunctionCallOutput(name, _filled(fields, "call_id"), output, _status(fields))
        case "item_reference":
            return Reference(_filled(fields, "id"))
        case _:
            raise fields.error("type", not_supported(kind, KINDS))


def to_wire(item: Item) -> dict[str, Any]:
    """An item as clients see it: without its audio, and without nulls where they take none."""
    shown = {"id": item.id, "object": "realtime.item", "type": _kind(item), "status": item.status}
    match item:
        case Message():
            return {**shown, "role": item.role, "content": [_part_echo(p) for p in item.content]}
        case FunctionCall():
            call = {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
            return {**shown, **call}
        case FunctionCallOutput():
            return {**shown, "call_id": item.call_id, "output": item.output}


def _message(fields: Fields, name: str, *, images: bool) -> Message:
    role = fields.text("role")
    if role not in ROLES:
        raise fields.error("role", not_supported(role, ROLES))
    fields.required("content")
    parts = [_part(part, role, images=images) for part in fields.children("content", MAX_PARTS)]
    if sum(map(_length, parts)) > MAX_SHOWN:
        long = f"more than {MAX_SHOWN} characters of text and images"
        raise fields.error("content", f"Invalid '{fields.at('content')}': {long}.")
    return Message(name, role, parts, _status(fields))


def _part(fields: Fields, role: Role, *, images: bool) -> Part:
    kind = fields.text("type")
    if role == "assistant" and kind == "text":
        kind = "output_text"
    if kind not in PARTS[role]:
        raise fields.error("type", _not_taken(kind, role))
    match kind:
        case "input_audio":
            return _audio(fields)
        case "input_image":
            return _image(fields, images=images)
        case "output_text":
            return OutputText(fields.text("text", MAX_TEXT))
        case _:
            return InputText(fields.text("text", MAX_TEXT))


def _not_taken(kind: str, role: Role) -> str:
    supported = not_supported(kind, PARTS[role])
    if role == "assistant" and kind in ("output_audio", "audio"):
        return f"{supported} Assistant audio cannot be added to a conversation."
    return supported


def _audio(fields: Fields) -> InputAudio:
    transcript = fields.string("transcript", None, None, MAX_TEXT)
    audio = fields.value("audio")
    if audio in (None, "", b"") and transcript is None:
        param = fields.at("audio")
        raise SettingsError("missing_required_parameter", missing(param), param)
    match audio:
        case None:
            return InputAudio(transcript)
        case bytes():
            return InputAudio(transcript, audio=audio)
        case str():
            return InputAudio(transcript, audio=_decoded(audio, fields.at("audio")))
        case _:
            raise fields.error("audio", wrong_type(fields.at("audio"), "a string", audio))


def _decoded(audio: str, param: str) -> bytes:
    try:
        return decode_audio(audio, param)
    except Invalid as error:
        raise SettingsError(error.code, error.message, error.param) from None


def _image(fields: Fields, *, images: bool) -> InputImage:
    if not images:
        message = "Invalid value: 'input_image'. The model of this session takes no images."
        raise fields.error("type", message)
    url = fields.text("image_url", MAX_SHOWN)
    if not _IMAGE.fullmatch(url):
        expected = "expected a data URI with a PNG, JPEG or WebP image in base64"
        raise fields.error("image_url", f"Invalid '{fields.at('image_url')}': {expected}.")
    detail = fields.choice("detail", "auto", "auto", DETAILS)
    return InputImage(url, next(known for known in DETAILS if known == detail))


def _status(fields: Fields) -> Status:
    """An item that a client writes is not in progress."""
    status = fields.choice("status", None, None, STATUSES)
    return "incomplete" if status == "incomplete" else "completed"


def _filled(fields: Fields, key: str) -> str:
    text = fields.text(key, MAX_ID_LENGTH)
    if not text:
        raise fields.error(key, f"Invalid '{fields.at(key)}': an empty string.")
    return text


def _length(part: Part) -> int:
    match part:
        case InputText(text) | OutputText(text):
            return len(text)
        case InputAudio(transcript=transcript) | OutputAudio(transcript):
            return len(transcript or "")
        case InputImage(url):
            return len(url)


def _kind(item: Item) -> str:
    match item:
        case Message():
            return "message"
        case FunctionCall():
            return "function_call"
        case FunctionCallOutput():
            return "function_call_output"


def _part_echo(part: Part) -> dict[str, Any]:
    match part:
        case InputText(text):
            return {"type": "input_text", "text": text}
        case InputAudio(transcript=transcript):
            return {"type": "input_audio", "transcript": transcript}
        case InputImage(url, detail):
            return {"type": "input_image", "image_url": url, "detail": detail}
        case OutputText(text):
            return {"type": "output_text", "text": text}
        case OutputAudio(transcript):
            return {"type": "output_audio", "transcript": transcript}
