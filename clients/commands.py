"""What a conversation wants done: events to send, sound to play, words to show."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from clients.turns import Said

RATE: Final = 24_000
"""Samples a second of the assistant's sound: 16-bit mono PCM."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this event to the server."""

    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Play:
    """Play this after what is playing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Flush:
    """Be silent at once, and tell the conversation by `flushed`."""


@dataclass(frozen=True, slots=True)
class Show:
    """Write a finished turn."""

    said: Said


@dataclass(frozen=True, slots=True)
class Notice:
    """Tell the user something that nobody said."""

    text: str


Command = Send | Play | Flush | Show | Notice


def append(sound: bytes) -> Send:
    """Let the server hear this."""
    audio = base64.b64encode(sound).decode()
    return Send({"type": "input_audio_buffer.append", "audio": audio})


def create(said: Said) -> Send:
    """Add a turn to the server's conversation, as text."""
    kind = "input_text" if said.speaker == "user" else "output_text"
    content = [{"type": kind, "text": said.text}]
    item = {"type": "message", "role": said.speaker, "content": content}
    return Send({"type": "conversation.item.create", "item": item})


def truncate(item: str, samples: int) -> Send:
    """Only so much of an item was heard."""
    place = {"item_id": item, "content_index": 0, "audio_end_ms": samples * 1000 // RATE}
    return Send({"type": "conversation.item.truncate", **place})
