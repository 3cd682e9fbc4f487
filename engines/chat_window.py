"""Which messages of a conversation that has become too long its model still gets to see."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from engines.chat_templates import call_groups
from engines.generation import Chat


def window(chat: Chat, costs: Sequence[float], room: float, target: float) -> Chat:
    """The chat without the messages that had to go while it grew, message by message, to what it
    is: each time it outgrew `room`, the oldest went until `target` was enough for the others.

    As all of that is gone through again each time, a conversation that goes on loses no more until
    it is too long again, and its prompts begin alike. What may go is said at `truncated`.
    """
    history = _History(chat.messages)
    total = 0.0
    for at, cost in enumerate(costs):
        total += cost
        history.add(at)
        if total > room:
            while total > target and (oldest := history.oldest()) is not None:
                total -= sum(costs[member] for member in history.drop(oldest))
    if not history.gone:
        return chat
    kept = (message for at, message in enumerate(chat.messages) if at not in history.gone)
    return replace(chat, messages=tuple(kept))


class _History:
    """A conversation up to a message, and what of it is gone."""

    def __init__(self, messages: Sequence[Mapping[str, Any]]) -> None:
        self.gone: set[int] = set()
        self._messages = messages
        self._edge = 0
        """From here on all stays: the user's last message, or the last of all without any."""
        self._asked = False
        self._members: dict[int, list[int]] = {}
        for at, group in enumerate(call_groups(messages)):
            if messages[group]["role"] not in ("system", "developer"):
                self._members.setdefault(group, []).append(at)

    def add(self, at: int) -> None:
        """The conversation goes on with this message."""
        asks = self._messages[at]["role"] == "user"
        self._asked = self._asked or asks
        if asks or not self._asked:
            self._edge = at

    def oldest(self) -> int | None:
        """The first group of messages that may go."""
        for group, members in self._members.items():
            if group >= self._edge:
                return None
            if members[-1] < self._edge:
                return group
        return None

    def drop(self, group: int) -> list[int]:
        """Leave it out. Answers its messages."""
        members = self._members.pop(group)
        self.gone.update(members)
        return members
