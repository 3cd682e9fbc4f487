"""One response as its client sees it: every event from `response.created` to `response.done`, in
the order that strict clients expect. No I/O.

What was opened is closed in every ending, the concatenated deltas are the done texts, and
`response.done` is last.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engines.generation import Usage
from pipelines.items import (
    FunctionCall,
    Item,
    Message,
    OutputAudio,
    OutputText,
    Status,
)
from realtime.actions import Send
from realtime.conversation_settings import Answering
from realtime.items import to_wire
from realtime.settings import format_echo
from realtime.wire import Wire

End = Literal["completed", "cancelled", "incomplete", "failed"]


@dataclass(frozen=True, slots=True)
class Shell:
    """What a response is, beside what is in it. `conversation` None: outside of it."""

    id: str
    answering: Answering
    voice: str
    conversation: str | None
    metadata: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a response ended, as its `status_details` tell it."""

    status: End
    reason: str | None = None
    code: str = ""
    message: str = ""
    usage: Usage | None = None

    def details(self) -> dict[str, Any] | None:
        if self.status == "completed":
            return None
        details: dict[str, Any] = {"type": self.status}
        if self.reason is not None:
            details["reason"] = self.reason
        if self.code:
            kind = "invalid_request_error" if self.code in _CLIENTS_FAULTS else "server_error"
            details["error"] = {"type": kind, "code": self.code, "message": self.message}
        return details


_CLIENTS_FAULTS = frozenset({"model_not_found", "invalid_value", "context_length_exceeded"})


class ResponseStream:
    """Makes the events. Items are the caller's; they are added by `begin` and closed by `close`."""

    def __init__(self, wire: Wire, shell: Shell) -> None:
        self.shell = shell
        self.output: list[Item] = []
        self._wire = wire
        self._open: dict[str, int] = {}
        self._sounding: set[str] = set()

    @property
    def open(self) -> list[str]:
        """The ids of the items that are not closed, in order."""
        return list(self._open)

    def created(self) -> Send:
        return self._wire.event("response.created", response=self._response(None))

    def begin(self, item: Item, previous: str | None) -> list[Send]:
        """A new item; `previous` is the one it follows in the conversation."""
        self._open[item.id] = len(self.output)
        self.output.append(item)
        events = [self._item_event("response.output_item.added", item)]
        events += self._in_conversation("conversation.item.added", item, previous)
        if isinstance(item, Message):
            kind = self.shell.answering.modality
            part = {"type": kind, "transcript" if kind == "audio" else "text": ""}
            events.append(self._part_event("response.content_part.added", item.id, part=part))
        return events

    def text(self, item_id: str, delta: str) -> Send:
        """More of a message's text, or of the transcript of what is said."""
        return self._part_event(f"{self._text_event}.delta", item_id, delta=delta)

    def audio(self, item_id: str, delta: str) -> Send:
        """More of a message's sound, in base64."""
        self._sounding.add(item_id)
        return self._part_event("response.output_audio.delta", item_id, delta=delta)

    def arguments(self, call: FunctionCall, delta: str) -> Send:
        """More of a call's arguments."""
        name = "response.function_call_arguments.delta"
        return self._call_event(name, call, {"delta": delta})

    def close(self, item: Item, previous: str | None, text: str = "") -> list[Send]:
        """An item is over, with its final status; `text` is all the text that was sent of it."""
        match item:
            case Message():
                events = self._message_done(item, text)
            case FunctionCall():
                done = {"arguments": item.arguments, "name": item.name}
                events = [self._call_event("response.function_call_arguments.done", item, done)]
            case _:
                events = []
        events += self._in_conversation("conversation.item.done", item, previous)
        events.append(self._item_event("response.output_item.done", item))
        del self._open[item.id]
        return events

    def done(self, ending: Ending) -> list[Send]:
        """The end of the response, whose items are closed."""
        assert not self._open, "every item is closed first"
        return [
            self._wire.event("response.done", response=self._response(ending)),
            # No quota is set on this server, so there is nothing to list.
            self._wire.event("rate_limits.updated", rate_limits=[]),
        ]

    @property
    def _text_event(self) -> str:
        audio = self.shell.answering.modality == "audio"
        return "response.output_audio_transcript" if audio else "response.output_text"

    def _message_done(self, item: Message, text: str) -> list[Send]:
        audio = self.shell.answering.modality == "audio"
        key = "transcript" if audio else "text"
        events = []
        if audio:
            events.append(self._part_event("response.output_audio.done", item.id))
        events.append(self._part_event(f"{self._text_event}.done", item.id, **{key: text}))
        part = {"type": "audio" if audio else "text", key: text}
        events.append(self._part_event("response.content_part.done", item.id, part=part))
        return events

    def _item_event(self, name: str, item: Item) -> Send:
        place = {"response_id": self.shell.id, "output_index": self._open[item.id]}
        return self._wire.event(name, **place, item=self._wire_item(item))

    def _in_conversation(self, name: str, item: Item, previous: str | None) -> list[Send]:
        if self.shell.conversation is None:
            return []
        fields = {"previous_item_id": previous, "item": self._wire_item(item)}
        return [self._wire.event(name, **fields)]

    @staticmethod
    def _wire_item(item: Item) -> dict[str, Any]:
        """An item as it is now; one in progress has no content yet."""
        shown = to_wire(item)
        if isinstance(item, Message) and item.status == "in_progress":
            shown["content"] = []
        return shown

    def _part_event(self, name: str, item_id: str, **fields: Any) -> Send:
        place = {
            "response_id": self.shell.id,
            "item_id": item_id,
            "output_index": self._open[item_id],
            "content_index": 0,
        }
        return self._wire.event(name, **place, **fields)

    def _call_event(self, event: str, call: FunctionCall, fields: Mapping[str, str]) -> Send:
        place = {
            "response_id": self.shell.id,
            "item_id": call.id,
            "output_index": self._open[call.id],
            "call_id": call.call_id,
            **fields,
        }
        return self._wire.event(event, **place)

    def _response(self, ending: Ending | None) -> dict[str, Any]:
        shell, answering = self.shell, self.shell.answering
        limit = answering.max_output_tokens
        return {
            "object": "realtime.response",
            "id": shell.id,
            "status": "in_progress" if ending is None else ending.status,
            "status_details": None if ending is None else ending.details(),
            "output": [] if ending is None else [to_wire(item) for item in self.output],
            "conversation_id": shell.conversation,
            "output_modalities": [answering.modality],
            "max_output_tokens": "inf" if limit is None else limit,
            "audio": {"output": {"format": format_echo(answering.format), "voice": shell.voice}},
            "usage": None if ending is None else _usage(ending.usage or Usage()),
            "metadata": shell.metadata,
        }


def new_message(item_id: str, *, spoken: bool) -> Message:
    """An empty message of the assistant, being made."""
    part = OutputAudio() if spoken else OutputText()
    return Message(item_id, "assistant", [part], "in_progress")


def item_status(end: End) -> Status:
    """The status of an item that was open when its response ended so."""
    return "completed" if end == "completed" else "incomplete"


def _usage(usage: Usage) -> dict[str, Any]:
    """Tokens are the language model's, which only knows text."""
    return {
        "total_tokens": usage.prompt + usage.completion,
        "input_tokens": usage.prompt,
        "output_tokens": usage.completion,
        "input_token_details": {
            "text_tokens": usage.prompt,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": usage.cached,
            "cached_tokens_details": {
                "text_tokens": usage.cached,
                "audio_tokens": 0,
                "image_tokens": 0,
            },
        },
        "output_token_details": {"text_tokens": usage.completion, "audio_tokens": 0},
    }
