"""A transcription session of the Realtime API, without I/O: client events to frames for the
session's graph, and the graph's frames to server events.

Commit and Clear frames carry the client event's id as `request`, or "" when the client gave none,
so that a Clear that a node began by itself (None) is told from the answer to a client.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engines.audio import AudioFormat
from engines.base import ModelNotFound, Unsupported
from pipelines.frames import (
    Clear,
    Commit,
    Configure,
    Error,
    Frame,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from realtime.actions import Action, Close, Push, Send
from realtime.ear import Decoder, Ear, milliseconds
from realtime.events import (
    Append,
    BadEvent,
    ClearBuffer,
    ClientEvent,
    CommitBuffer,
    DeleteItem,
    ResponseCancel,
    RetrieveItem,
    SessionUpdate,
    not_supported,
)
from realtime.settings import (
    Settings,
    SettingsError,
    echo,
    merge,
    transcription_settings,
    turn_settings,
)
from realtime.transcribing import MAX_SETTLED, Transcribing
from realtime.wire import Wire

MAX_ITEMS = MAX_SETTLED
"""Items that can be retrieved; older ones are forgotten."""
MAX_RETRIEVED_AUDIO = 6_000_000
"""Bytes; more is left out, since clients refuse messages over 8 MiB of JSON."""

SUPPORTED_EVENTS = tuple(
    event.type
    for event in (SessionUpdate, Append, CommitBuffer, ClearBuffer, RetrieveItem, DeleteItem)
)

_TRANSCRIPTION_PARAM = "session.audio.input.transcription"


@dataclass(frozen=True, slots=True)
class ProtocolSettings:
    """What one session is: `expires_at` is in seconds since the epoch, `max_seconds` the longest
    session; `tentative` says that the socket asked for unsettled text when it opened."""

    session_id: str
    expires_at: int
    max_seconds: int
    settings: Settings
    tentative: bool = False


class RealtimeProtocol:
    """One transcription session.

    Every method returns what the session shall do, in order, and none raises for anything that a
    client sent. `new_id` makes a unique id from a prefix; `check_model` raises `ModelNotFound` or
    `Unsupported` for a model and a language; `audio_of` gives an item's audio where it was kept.
    """

    def __init__(
        self,
        terms: ProtocolSettings,
        *,
        new_id: Callable[[str], str],
        check_model: Callable[[str, str | None], None],
        decoder: Callable[[AudioFormat], Decoder],
        audio_of: Callable[[str], bytes | None] = lambda item: None,
    ) -> None:
        self._terms = terms
        self._settings = terms.settings
        self._check_model = check_model
        self._audio_of = audio_of
        self._wire = Wire(new_id)
        self._ear = Ear(decoder, terms.settings.format)
        self._transcribing = Transcribing(self._wire, tentative=terms.tentative)
        self._items: dict[str, None] = {}
        self.ignored: tuple[str, ...] = ()
        """Paths in the last accepted `session.update` that mean nothing here."""

    @property
    def settings(self) -> Settings:
        """The settings in effect."""
        return self._settings

    @property
    def format(self) -> AudioFormat:
        """How the client's audio is coded."""
        return self._settings.format

    @property
    def contradictions(self) -> int:
        """Final transcripts that contradicted the deltas sent before them."""
        return self._transcribing.contradictions

    def open(self) -> list[Action]:
        """Greet the client and configure the graph."""
        return [self._session_event("session.created"), *self._configure(None, self._settings)]

    def receive(self, event: ClientEvent | BadEvent) -> list[Action]:
        """What a client's event asks for.

        A transcription session has no responses and takes no items from the client, so
        `response.create`, `conversation.item.create` and the like get `invalid_value` with param
        `type`, as an unknown event does; `response.cancel` gets `response_cancel_not_active`.
        """
        match event:
            case BadEvent():
                return [self._wire.error(event.code, event.message, event.param, event.event_id)]
            case Append():
                return self._ear.hear(event.audio)
            case CommitBuffer():
                self._ear.reset()
                return [Push(Commit(request=event.event_id or ""))]
            case ClearBuffer():
                self._ear.reset()
                return [Push(Clear(request=event.event_id or ""))]
            case SessionUpdate():
                return self._update(event)
            case RetrieveItem():
                return [self._retrieve(event)]
            case DeleteItem():
                return [self._delete(event)]
            case _:
                return [self._refuse(event)]

    def send_frame(self, frame: Frame) -> list[Action]:
        """What the client is told about a frame that left the graph."""
        match frame:
            case SpeechStarted():
                place = {"item_id": frame.item, "audio_start_ms": milliseconds(frame.at)}
                return [self._wire.event("input_audio_buffer.speech_started", **place)]
            case SpeechStopped():
                place = {"item_id": frame.item, "audio_end_ms": milliseconds(frame.at)}
                return [self._wire.event("input_audio_buffer.speech_stopped", **place)]
            case Commit():
                return self._committed(frame)
            case Clear():
                return self._cleared(frame)
            case Transcript():
                return self._transcribing.transcript(frame)
            case Error(item=None):
                request = frame.request or None
                return [self._wire.error(frame.code, frame.message, None, request, frame.kind)]
            case Error():
                return self._transcribing.fail(frame)
            case _:
                return []

    def expire(self) -> list[Action]:
        """The session has lasted as long as it may."""
        return expired(self._wire, self._terms.max_seconds)

    def leave(self, code: str, message: str) -> list[Action]:
        """The session is about to end: there is nothing to close here."""
        return []

    def fail(self, code: str, message: str, kind: str = "server_error") -> list[Action]:
        """Tell the client of something that went wrong beside its events and the graph."""
        return [self._wire.error(code, message, kind=kind)]

    def _update(self, event: SessionUpdate) -> list[Action]:
        old = self._settings
        try:
            merged = merge(old, event.session)
            new = merged.settings
            wanted = (new.model, new.transcription.language)
            if wanted != (old.model, old.transcription.language):
                self._check_model(*wanted)
        except (SettingsError, ModelNotFound, Unsupported) as error:
            return [refused_update(self._wire, error, event.event_id)]
        self.ignored = merged.ignored
        self._settings = new
        self._transcribing.logprobs = new.logprobs
        if new.format != old.format:
            self._ear.change(new.format)
        return [*self._configure(old, new), self._session_event("session.updated")]

    def _configure(self, old: Settings | None, new: Settings) -> list[Action]:
        actions: list[Action] = []
        for node, settings_of in (("vad", turn_settings), ("transcribe", transcription_settings)):
            settings = settings_of(new)
            if old is None or settings != settings_of(old):
                actions.append(Push(Configure(node, settings)))
        return actions

    def _retrieve(self, event: RetrieveItem) -> Action:
        if event.item_id not in self._items:
            return no_item(self._wire, "retriev", event.item_id, event.event_id)
        part = _part(self._transcribing.transcript_of(event.item_id))
        audio = self._audio_of(event.item_id)
        if audio is not None and len(audio) <= MAX_RETRIEVED_AUDIO:
            part["audio"] = base64.b64encode(audio).decode()
        return self._wire.event("conversation.item.retrieved", item=_message(event.item_id, part))

    def _delete(self, event: DeleteItem) -> Action:
        if event.item_id not in self._items:
            return no_item(self._wire, "delet", event.item_id, event.event_id)
        del self._items[event.item_id]
        self._transcribing.delete(event.item_id)
        return self._wire.event("conversation.item.deleted", item_id=event.item_id)

    def _refuse(self, event: ClientEvent) -> Action:
        if isinstance(event, ResponseCancel):
            message = "Cancellation failed: no active response found"
            return self._wire.error("response_cancel_not_active", message, None, event.event_id)
        reason = f"A transcription session does not take '{event.type}' events."
        message = f"{reason} {not_supported(event.type, SUPPORTED_EVENTS)}"
        return self._wire.error("invalid_value", message, "type", event.event_id)

    def _committed(self, frame: Commit) -> list[Action]:
        if frame.item is None or self._transcribing.knows(frame.item):
            return []
        previous = next(reversed(self._items), None)
        self._items[frame.item] = None
        if len(self._items) > MAX_ITEMS:
            del self._items[next(iter(self._items))]
        message = _message(frame.item, _part(None))
        return [
            *(
                self._wire.event(name, previous_item_id=previous, **fields)
                for name, fields in (
                    ("input_audio_buffer.committed", {"item_id": frame.item}),
                    ("conversation.item.added", {"item": message}),
                    ("conversation.item.done", {"item": message}),
                )
            ),
            *self._transcribing.commit(frame.item, frame.at - frame.start),
        ]

    def _cleared(self, frame: Clear) -> list[Action]:
        if frame.item is not None:
            self._transcribing.clear(frame.item)
        return [] if frame.request is None else [self._wire.event("input_audio_buffer.cleared")]

    def _session_event(self, name: str) -> Send:
        session = echo(self._settings, self._terms.session_id, self._terms.expires_at)
        return self._wire.event(name, session=session)


def expired(wire: Wire, seconds: int) -> list[Action]:
    """The end of a session that has lasted as long as it may."""
    duration = f"{seconds // 60} minutes" if seconds % 60 == 0 else f"{seconds} seconds"
    message = f"Your session hit the maximum duration of {duration}."
    return [wire.error("session_expired", message), Close(1001, message)]


def refused_update(
    wire: Wire, error: SettingsError | ModelNotFound | Unsupported, event_id: str | None
) -> Send:
    """The answer to a `session.update` that cannot be applied."""
    if isinstance(error, SettingsError):
        return wire.error(error.code, error.message, error.param, event_id)
    if isinstance(error, ModelNotFound):
        param = f"{_TRANSCRIPTION_PARAM}.model"
        return wire.error("model_not_found", str(error), param, event_id)
    param = f"{_TRANSCRIPTION_PARAM}.{error.param or 'model'}"
    return wire.error("invalid_value", str(error), param, event_id)


def no_item(wire: Wire, stem: str, item_id: str, event_id: str | None) -> Send:
    """The answer to who asks for an item that is not there; `stem` as in `retriev`ing."""
    name = item_id if len(item_id) <= 64 else item_id[:64] + "…"
    message = f"Error {stem}ing item: the item with id '{name}' does not exist."
    return wire.error(f"item_{stem}e_invalid_item_id", message, "item_id", event_id)


def _part(transcript: str | None) -> dict[str, Any]:
    """A content part of audio; strict clients need the key `transcript` even for null."""
    return {"type": "input_audio", "transcript": transcript}


def _message(item_id: str, part: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [part],
    }
