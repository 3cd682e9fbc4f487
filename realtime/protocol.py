"""A transcription session of the Realtime API, without I/O: client events to frames for the
session's graph, and the graph's frames to server events.

Commit and Clear frames carry the client event's id as `request`, or "" when the client gave none,
so that a Clear that a node began by itself (None) is told from the answer to a client.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from engines.audio import AudioFormat
from engines.base import ModelNotFound, Unsupported
from pipelines.frames import (
    SAMPLE_RATE,
    Audio,
    Clear,
    Commit,
    Configure,
    Error,
    Frame,
    Samples,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from realtime.actions import Action, Close, Push, Send
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
from realtime.logprobs import logprobs_of
from realtime.settings import (
    Settings,
    SettingsError,
    echo,
    merge,
    transcription_settings,
    turn_settings,
)

MAX_ITEMS = 1_000
"""Items that can be retrieved; older ones are forgotten."""
MAX_OPEN_ITEMS = 64
"""Utterances with text that are not committed yet."""
MAX_RETRIEVED_AUDIO = 6_000_000
"""Bytes; more is left out, since clients refuse messages over 8 MiB of JSON."""

SUPPORTED_EVENTS = tuple(
    event.type
    for event in (SessionUpdate, Append, CommitBuffer, ClearBuffer, RetrieveItem, DeleteItem)
)

_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_TRANSCRIPTION_PARAM = "session.audio.input.transcription"


class Decoder(Protocol):
    """What turns the client's bytes into float32 mono at `SAMPLE_RATE`, across appends."""

    def feed(self, data: bytes) -> Samples: ...

    def flush(self) -> Samples:
        """What was held back; the next feed starts afresh."""
        ...

    def reset(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ProtocolSettings:
    """What one session is: `expires_at` is in seconds since the epoch, `max_seconds` the longest
    session; `tentative` says that the socket asked for unsettled text when it opened."""

    session_id: str
    expires_at: int
    max_seconds: int
    settings: Settings
    tentative: bool = False


@dataclass(slots=True)
class _Item:
    id: str
    deltas: str = ""
    transcript: str | None = None
    committed: bool = False
    settled: bool = False
    samples: int = 0
    held: Transcript | Error | None = None


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
        self._new_id = new_id
        self._check_model = check_model
        self._new_decoder = decoder
        self._decoder = decoder(terms.settings.format)
        self._audio_of = audio_of
        self._position = 0
        self._open_items: dict[str, _Item] = {}
        self._items: dict[str, _Item] = {}
        self._gone: dict[str, None] = {}
        self.contradictions = 0
        """Final transcripts that contradicted the deltas sent before them."""
        self.ignored: tuple[str, ...] = ()
        """Paths in the last accepted `session.update` that mean nothing here."""

    @property
    def settings(self) -> Settings:
        return self._settings

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
                return [self._error(event.code, event.message, event.param, event.event_id)]
            case Append():
                return self._heard(self._decoder.feed(event.audio))
            case CommitBuffer():
                tail = self._heard(self._decoder.flush())
                return [*tail, Push(Commit(request=event.event_id or ""))]
            case ClearBuffer():
                self._decoder.reset()
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
                place = {"item_id": frame.item, "audio_start_ms": _milliseconds(frame.at)}
                return [self._event("input_audio_buffer.speech_started", **place)]
            case SpeechStopped():
                place = {"item_id": frame.item, "audio_end_ms": _milliseconds(frame.at)}
                return [self._event("input_audio_buffer.speech_stopped", **place)]
            case Commit():
                return self._committed(frame)
            case Clear():
                return self._cleared(frame)
            case Transcript():
                return self._transcript(frame)
            case Error():
                return self._failed(frame)
            case _:
                return []

    def expire(self) -> list[Action]:
        """The session has lasted as long as it may."""
        message = f"Your session hit the maximum duration of {_duration(self._terms.max_seconds)}."
        return [self._error("session_expired", message), Close(1001, message)]

    def fail(self, code: str, message: str, kind: str = "server_error") -> list[Action]:
        """Tell the client of something that went wrong beside its events and the graph."""
        return [self._error(code, message, kind=kind)]

    def _update(self, event: SessionUpdate) -> list[Action]:
        old = self._settings
        try:
            merged = merge(old, event.session)
            new = merged.settings
            wanted = (new.model, new.transcription.language)
            if wanted != (old.model, old.transcription.language):
                self._check_model(*wanted)
        except SettingsError as error:
            return [self._error(error.code, error.message, error.param, event.event_id)]
        except ModelNotFound as error:
            param = f"{_TRANSCRIPTION_PARAM}.model"
            return [self._error("model_not_found", str(error), param, event.event_id)]
        except Unsupported as error:
            param = f"{_TRANSCRIPTION_PARAM}.{error.param or 'model'}"
            return [self._error("invalid_value", str(error), param, event.event_id)]
        self.ignored = merged.ignored
        self._settings = new
        tail: list[Action] = []
        if new.format != old.format:
            tail = self._heard(self._decoder.flush())
            self._decoder = self._new_decoder(new.format)
        return [*tail, *self._configure(old, new), self._session_event("session.updated")]

    def _configure(self, old: Settings | None, new: Settings) -> list[Action]:
        actions: list[Action] = []
        for node, settings_of in (("vad", turn_settings), ("transcribe", transcription_settings)):
            settings = settings_of(new)
            if old is None or settings != settings_of(old):
                actions.append(Push(Configure(node, settings)))
        return actions

    def _heard(self, samples: Samples) -> list[Action]:
        if not len(samples):
            return []
        frame = Audio(samples, self._position)
        self._position = frame.end
        return [Push(frame)]

    def _retrieve(self, event: RetrieveItem) -> Action:
        item = self._items.get(event.item_id)
        if item is None:
            return self._no_item("retriev", event.item_id, event.event_id)
        part = _part(item.transcript)
        audio = self._audio_of(item.id)
        if audio is not None and len(audio) <= MAX_RETRIEVED_AUDIO:
            part["audio"] = base64.b64encode(audio).decode()
        return self._event("conversation.item.retrieved", item=_message(item.id, part))

    def _delete(self, event: DeleteItem) -> Action:
        if self._items.pop(event.item_id, None) is None:
            return self._no_item("delet", event.item_id, event.event_id)
        self._forget(event.item_id)
        return self._event("conversation.item.deleted", item_id=event.item_id)

    def _no_item(self, stem: str, item_id: str, event_id: str | None) -> Action:
        name = item_id if len(item_id) <= 64 else item_id[:64] + "…"
        message = f"Error {stem}ing item: the item with id '{name}' does not exist."
        return self._error(f"item_{stem}e_invalid_item_id", message, "item_id", event_id)

    def _refuse(self, event: ClientEvent) -> Action:
        if isinstance(event, ResponseCancel):
            message = "Cancellation failed: no active response found"
            return self._error("response_cancel_not_active", message, None, event.event_id)
        reason = f"A transcription session does not take '{event.type}' events."
        message = f"{reason} {not_supported(event.type, SUPPORTED_EVENTS)}"
        return self._error("invalid_value", message, "type", event.event_id)

    def _committed(self, frame: Commit) -> list[Action]:
        if frame.item is None or frame.item in self._items or frame.item in self._gone:
            return []
        item = self._open_items.pop(frame.item, None) or _Item(frame.item)
        item.committed = True
        item.samples = frame.at - frame.start
        previous = next(reversed(self._items), None)
        _put(self._items, item.id, item, MAX_ITEMS)
        message = _message(item.id, _part(None))
        actions: list[Action] = [
            self._event(name, previous_item_id=previous, **fields)
            for name, fields in (
                ("input_audio_buffer.committed", {"item_id": item.id}),
                ("conversation.item.added", {"item": message}),
                ("conversation.item.done", {"item": message}),
            )
        ]
        return actions if item.held is None else [*actions, *self._settle(item, item.held)]

    def _cleared(self, frame: Clear) -> list[Action]:
        if frame.item is not None and frame.item not in self._items:
            self._open_items.pop(frame.item, None)
            self._forget(frame.item)
        return [] if frame.request is None else [self._event("input_audio_buffer.cleared")]

    def _transcript(self, frame: Transcript) -> list[Action]:
        item = self._listening(frame.item)
        if item is None:
            return []
        match frame.state:
            case "committed":
                return self._delta(item, frame.text)
            case "tentative" if self._terms.tentative:
                place = {"item_id": item.id, "content_index": 0}
                return [self._event("antiphon.transcription.tentative", **place, text=frame.text)]
            case "final":
                return self._settle(item, frame)
            case _:
                return []

    def _failed(self, frame: Error) -> list[Action]:
        if frame.item is None:
            return [self._error(frame.code, frame.message, None, frame.request or None, frame.kind)]
        item = self._listening(frame.item)
        return [] if item is None else self._settle(item, frame)

    def _listening(self, item_id: str) -> _Item | None:
        """The item that text may be added to; None for one that is settled or gone."""
        item = self._items.get(item_id) or self._open_items.get(item_id)
        if item is not None:
            return None if item.settled or item.held else item
        if item_id in self._gone:
            return None
        item = _Item(item_id)
        _put(self._open_items, item_id, item, MAX_OPEN_ITEMS)
        return item

    def _settle(self, item: _Item, frame: Transcript | Error) -> list[Action]:
        """End an item's transcription; until the client knows the item, hold the end back."""
        if not item.committed:
            item.held = frame
            return []
        item.held = None
        item.settled = True
        if isinstance(frame, Transcript):
            return self._completed(item, frame)
        error = {"type": frame.kind, "code": frame.code, "message": frame.message}
        place = {"item_id": item.id, "content_index": 0}
        return [self._event(f"{_TRANSCRIPTION}.failed", **place, error=error)]

    def _completed(self, item: _Item, frame: Transcript) -> list[Action]:
        transcript = frame.text.lstrip()
        rest: list[Action] = []
        if transcript.startswith(item.deltas):
            rest = self._delta(item, transcript[len(item.deltas) :])
        else:
            self.contradictions += 1
        item.transcript = transcript
        samples = frame.end - frame.start if frame.end else item.samples
        fields: dict[str, Any] = {
            "transcript": transcript,
            "usage": {"type": "duration", "seconds": round(max(0, samples) / SAMPLE_RATE, 1)},
        }
        logprobs = logprobs_of(frame.words) if self._settings.logprobs else None
        if logprobs is not None:
            fields["logprobs"] = logprobs
        place = {"item_id": item.id, "content_index": 0}
        return [*rest, self._event(f"{_TRANSCRIPTION}.completed", **place, **fields)]

    def _delta(self, item: _Item, text: str) -> list[Action]:
        text = text if item.deltas else text.lstrip()
        if not text:
            return []
        item.deltas += text
        place = {"item_id": item.id, "content_index": 0}
        return [self._event(f"{_TRANSCRIPTION}.delta", **place, delta=text)]

    def _forget(self, item_id: str) -> None:
        _put(self._gone, item_id, None, MAX_ITEMS)

    def _session_event(self, name: str) -> Send:
        session = echo(self._settings, self._terms.session_id, self._terms.expires_at)
        return self._event(name, session=session)

    def _error(
        self,
        code: str,
        message: str,
        param: str | None = None,
        event_id: str | None = None,
        kind: str = "invalid_request_error",
    ) -> Send:
        """An error event; `event_id` is the client's, which is how it knows what failed."""
        error = {"type": kind, "code": code, "message": message, "param": param}
        return self._event("error", error={**error, "event_id": event_id})

    def _event(self, name: str, **fields: Any) -> Send:
        return Send({"type": name, "event_id": self._new_id("event"), **fields})


_T = TypeVar("_T")


def _put(items: dict[str, _T], key: str, value: _T, most: int) -> None:
    """Add to a dictionary that forgets its oldest entry beyond `most`."""
    items[key] = value
    if len(items) > most:
        del items[next(iter(items))]


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


def _milliseconds(position: int) -> int:
    return position * 1000 // SAMPLE_RATE


def _duration(seconds: int) -> str:
    return f"{seconds // 60} minutes" if seconds % 60 == 0 else f"{seconds} seconds"
