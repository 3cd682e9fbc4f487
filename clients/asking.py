"""Which answer is asked for, which is being made, and which is not wanted any more. No I/O."""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from clients.commands import Command, Notice, Send
from clients.wire import as_object, as_text

_REQUEST: Final = "answer"
"""The id of our requests, which comes back with their errors."""
_BUSY: Final = "conversation_already_has_active_response"
_HARMLESS: Final = frozenset({"response_cancel_not_active", "input_audio_buffer_commit_empty"})


class Asking:
    """The answers of one conversation: one is made at a time."""

    def __init__(self) -> None:
        self._active: str | None = None
        self._asked = False
        """One was asked for that has not begun."""
        self._due = False
        """One is asked for when the active one is over."""
        self._unwanted = False
        """The one that was asked for is given up before it has begun."""
        self._over: deque[str] = deque(maxlen=16)
        self.failure: str | None = None
        """Why the last answer failed, if it did."""

    @property
    def busy(self) -> bool:
        """An answer is being made."""
        return self._asked or self._active is not None

    @property
    def expecting(self) -> bool:
        """An answer is being made or will be."""
        return self.busy or self._due

    def is_over(self, event: Mapping[str, Any]) -> bool:
        """Whether an event belongs to an answer that is not wanted."""
        return response_of(event) in self._over

    def ask(self) -> list[Command]:
        """Ask for an answer, now or when the active one is over."""
        self.failure = None
        if self.busy:
            self._due = True
            return []
        self._asked = True
        return [Send({"type": "response.create", "event_id": _REQUEST})]

    def cancel(self) -> list[Command]:
        """End the answer that is being made."""
        if not self.busy:
            return []
        named = {} if self._active is None else {"response_id": self._active}
        self._due = False
        return [Send({"type": "response.cancel", **named})]

    def give_up(self) -> None:
        """Nothing more of the answer that is being made shall be heard."""
        if self._active is not None:
            self._over.append(self._active)
        self._unwanted = self._asked

    def reset(self) -> None:
        """The server that made answers is gone."""
        self._active = None
        self._asked = self._due = self._unwanted = False

    def created(self, event: Mapping[str, Any]) -> None:
        """`response.created`"""
        self._active = response_of(event)
        if self._unwanted:
            self._over.append(self._active)
        self._asked = self._unwanted = False

    def done(self, event: Mapping[str, Any]) -> list[Command]:
        """`response.done`"""
        if response_of(event) == self._active:
            self._active = None
        told = self._ending(as_object(event.get("response")))
        return told + (self._ask_again() if not self.busy else [])

    def refused(self, event: Mapping[str, Any]) -> list[Command]:
        """`error`, of a request for an answer or of anything else"""
        error = as_object(event.get("error"))
        message = message_of(error) or "The server reports an error."
        if error.get("event_id") == _REQUEST:
            self._asked = self._unwanted = False
            if error.get("code") == _BUSY:
                self._due = True
                return []
            self.failure = message
        return [] if as_text(error.get("code")) in _HARMLESS else [Notice(message)]

    def _ask_again(self) -> list[Command]:
        due, self._due = self._due, False
        return self.ask() if due else []

    def _ending(self, response: Mapping[str, Any]) -> list[Command]:
        details = as_object(response.get("status_details"))
        match response.get("status"):
            case "failed":
                self.failure = message_of(details.get("error")) or "The answer failed."
                return [Notice(self.failure)]
            case "incomplete":
                reason = as_text(details.get("reason")) or "no reason given"
                return [Notice(f"The answer is not complete: {reason}.")]
        return []


def response_of(event: Mapping[str, Any]) -> str:
    """The id of the response that an event belongs to."""
    response = event.get("response")
    return as_text(response.get("id") if isinstance(response, dict) else event.get("response_id"))


def message_of(error: Any) -> str:
    """The message of an error, on one line; nothing if it has none."""
    return " ".join(as_text(error.get("message")).split()) if isinstance(error, dict) else ""
