"""The older dialect of the Realtime API (`OpenAI-Beta: realtime=v1`), translated at the edge.

The session itself only ever sees and sends today's events.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from realtime.beta_shapes import (
    FLAT_KEYS,
    Json,
    error_out,
    item_in,
    item_out,
    response_in,
    response_out,
    session_in,
    session_out,
)

HEADER = "OpenAI-Beta"
_VERSION = "realtime=v1"
_SUBPROTOCOL = "openai-beta.realtime-v1"
_TRANSCRIPTION_UPDATE = "transcription_session.update"

_RENAMED = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
}
_LEFT_OUT = frozenset({"conversation.item.done"})


def detect(versions: Iterable[str], subprotocols: Iterable[str], minted: bool = False) -> bool:
    """Whether a handshake asks for the older dialect.

    `versions` are the values of the header `HEADER`, `subprotocols` of `Sec-WebSocket-Protocol`
    (either may be a list in one line); `minted` says that the key is a secret that was minted in
    this dialect.
    """
    return minted or _VERSION in _entries(versions) or _SUBPROTOCOL in _entries(subprotocols)


def is_older(message: Mapping[str, Any]) -> bool:
    """Whether a client's event can only be of the older dialect: flat settings without a type."""
    if message.get("type") == _TRANSCRIPTION_UPDATE:
        return True
    session = message.get("session")
    if message.get("type") != "session.update" or not isinstance(session, dict):
        return False
    return "type" not in session and not FLAT_KEYS.isdisjoint(session)


class BetaDialect:
    """Translates events one by one; it never raises, and passes on what it does not know.

    `conversation` is the id that `conversation.created` announces; `new_id` makes event ids from
    a prefix.
    """

    def __init__(self, conversation: str, new_id: Callable[[str], str]) -> None:
        self._conversation = conversation
        self._new_id = new_id

    def inbound(self, message: Json) -> Json:
        """Today's event for a client's event."""
        match message:
            case {"type": "session.update" | "transcription_session.update"}:
                return _update(message)
            case {"type": "conversation.item.create", "item": item}:
                return {**message, "item": item_in(item)}
            case {"type": "response.create", "response": dict(response)}:
                return {**message, "response": response_in(response)}
            case _:
                return message

    def outbound(self, event: Json) -> list[Json]:
        """The older events for one of today's."""
        name = event.get("type")
        if not isinstance(name, str):
            return [event]
        if name in _LEFT_OUT:
            return []
        translated = {**event, "type": _RENAMED.get(name, name)}
        match event:
            case {"type": "session.created" | "session.updated", "session": dict(session)}:
                return self._session(event, session)
            case {"response": dict(response)}:
                translated["response"] = response_out(response)
            case {"item": dict(item)}:
                translated["item"] = item_out(item)
            case {"type": "error", "error": dict(error)}:
                translated["error"] = error_out(error)
        return [translated]

    def _session(self, event: Json, session: Json) -> list[Json]:
        told = {**event, "session": session_out(session)}
        if session.get("type") == "transcription":
            return [{**told, "type": f"transcription_{event['type']}"}]
        if event["type"] != "session.created":
            return [told]
        conversation = {"id": self._conversation, "object": "realtime.conversation"}
        created = {
            "type": "conversation.created",
            "event_id": self._new_id("event"),
            "conversation": conversation,
        }
        return [told, created]


class Dialect:
    """The dialect of one session: today's, unless the handshake (`older`) or the client's first
    `session.update` says otherwise. What was sent before that stays as it was.
    """

    def __init__(self, older: bool, conversation: str, new_id: Callable[[str], str]) -> None:
        self._beta = BetaDialect(conversation, new_id)
        self._older = older
        self._decided = older

    @property
    def older(self) -> bool:
        """Whether the client speaks the older dialect, as far as it has shown."""
        return self._older

    def inbound(self, message: Json) -> Json:
        """Today's event for a client's event."""
        self._listen(message)
        return self._beta.inbound(message) if self._older else message

    def outbound(self, event: Json) -> list[Json]:
        """What to send for one of today's events."""
        return self._beta.outbound(event) if self._older else [event]

    def _listen(self, message: Json) -> None:
        name = message.get("type")
        if name == _TRANSCRIPTION_UPDATE or (name == "session.update" and not self._decided):
            self._older = is_older(message)
            self._decided = True


def _update(message: Json) -> Json:
    translated = {**message, "type": "session.update"}
    session = message.get("session")
    if isinstance(session, dict):
        transcribing = message["type"] == _TRANSCRIPTION_UPDATE
        transcribing |= session.get("type") == "transcription"
        translated["session"] = session_in(session, "transcription" if transcribing else "realtime")
    return translated


def _entries(lines: Iterable[str]) -> set[str]:
    return {entry.strip() for line in lines for entry in line.split(",")}
