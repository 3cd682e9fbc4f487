"""A conversation: items in order, and what a language model is told of them. No I/O."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from engines.json_values import is_shallow
from pipelines.frames import Mark
from pipelines.items import (
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    Item,
    Message,
    OutputAudio,
    Part,
)

MAX_ITEMS = 1_000
"""Items that a conversation holds; older ones are forgotten."""
ROUNDING = 0.005
"""Seconds by which sums of lengths of sound may differ."""
ROOT = "root"
"""The place before the first item, as clients name it."""
NO_RESULT = "There is no result yet."
"""What a language model is told of a call whose result has not come."""


class NoSuchItem(Exception):
    """No item of the conversation has this id."""


class DuplicateItem(Exception):
    """An item of the conversation has this id already."""


@dataclass(slots=True)
class Said:
    """A spoken item as it was made: its whole text, and when its words are over in its sound.

    `seconds` is the length of its sound that was sent.
    """

    text: str = ""
    seconds: float = 0.0
    marks: list[Mark] = field(default_factory=list)

    def until(self, seconds: float) -> str:
        """The words that are over after so much of the sound."""
        characters = 0
        for mark in self.marks:
            if mark.seconds > seconds + ROUNDING:
                break
            characters = mark.characters
        return self.text[:characters].rstrip()


class Conversation:
    """Items by id, in the order in which they count."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._order: list[str] = []
        self._said: dict[str, Said] = {}

    def __iter__(self) -> Iterator[Item]:
        return (self._items[item] for item in self._order)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    @property
    def last(self) -> str | None:
        """The id of the newest item."""
        return self._order[-1] if self._order else None

    def get(self, item_id: str) -> Item | None:
        """The item of this id."""
        return self._items.get(item_id)

    def insert(self, item: Item, after: str | None = None) -> str | None:
        """Add an item at the end, or after another (`ROOT`: before all); the id it follows then.

        Raises `NoSuchItem` and `DuplicateItem`.
        """
        if item.id in self._items:
            raise DuplicateItem(item.id)
        place = self._place(after)
        self._order.insert(place, item.id)
        self._items[item.id] = item
        previous = self._order[place - 1] if place else None
        if len(self._order) > MAX_ITEMS:
            self.remove(self._order[0 if place else 1])
        return previous

    def remove(self, item_id: str) -> None:
        """Forget an item. Raises `NoSuchItem`."""
        if item_id not in self._items:
            raise NoSuchItem(item_id)
        del self._items[item_id]
        self._said.pop(item_id, None)
        self._order.remove(item_id)

    def said(self, item_id: str) -> Said:
        """What was said as this item, to be filled while it is made."""
        return self._said.setdefault(item_id, Said())

    def cut(self, item_id: str, seconds: float) -> None:
        """Of a spoken item, keep what is over after `seconds`. Cutting again starts from what was
        said, so that a later cut may keep more."""
        match self._items.get(item_id):
            case Message(content=[OutputAudio() as part]) if item_id in self._said:
                part.transcript = self._said[item_id].until(seconds)

    def unheard(self, items: Iterable[Item] | None = None) -> list[str]:
        """The ids of items that were spoken to us and are not understood yet."""
        return [
            item.id
            for item in (self if items is None else items)
            if isinstance(item, Message) and any(map(_is_unheard, item.content))
        ]

    def _place(self, after: str | None) -> int:
        if after is None:
            return len(self._order)
        if after == ROOT:
            return 0
        if after not in self._items:
            raise NoSuchItem(after)
        return self._order.index(after) + 1


def chat_messages(items: Iterable[Item], instructions: str) -> tuple[Mapping[str, Any], ...]:
    """What a language model is told: messages as `engines.generation.Chat` has them.

    Items without any content are left out: an answer nobody heard, speech without words. So are
    calls that were interrupted, and results of calls that are not there.

    Providers refuse a call that its result does not follow, so a call is told where its result
    came, and `NO_RESULT` follows one that has none. Calls that follow each other, and the message
    before them, are one message.
    """
    items = tuple(items)
    results = _results(items)
    calls = {result: call for call, result in results.items()}
    messages = _Messages(instructions)
    for place, item in enumerate(items):
        match item:
            case Message():
                messages.say(item)
            case FunctionCall() if place in results:
                messages.end_results()
            case FunctionCall(status="completed"):
                messages.end_results()
                messages.tell(place, item, None)
            case FunctionCallOutput() if place in calls:
                call = items[calls[place]]
                assert isinstance(call, FunctionCall)
                messages.tell(calls[place], call, item.output)
    return messages.all()


def _results(items: Sequence[Item]) -> dict[int, int]:
    """Where the result of each call is that has one, by the call's place.

    Providers may give one id to several calls: a result is that of the newest before it.
    """
    newest = {
        item.call_id: place
        for place, item in reversed(tuple(enumerate(items)))
        if isinstance(item, FunctionCall)
    }
    results: dict[int, int] = {}
    for place, item in enumerate(items):
        match item:
            case FunctionCall(call_id=name):
                newest[name] = place
            case FunctionCallOutput(call_id=name) if name in newest:
                results[newest[name]] = place
    return results


class _Messages:
    """Messages in the making, with calls that are to be told together."""

    def __init__(self, instructions: str) -> None:
        self._told: list[dict[str, Any]] = []
        self._calls: list[tuple[int, FunctionCall, str | None]] = []
        """Each with its place, where the calls were made, and its result."""
        if instructions:
            self._told.append({"role": "system", "content": instructions})

    def say(self, item: Message) -> None:
        content = _content(item.content)
        if content:
            self._end_calls()
            self._told.append({"role": item.role, "content": content})

    def tell(self, place: int, call: FunctionCall, result: str | None) -> None:
        self._calls.append((place, call, result))

    def end_results(self) -> None:
        """What is told next was called after the results so far were known."""
        if self._calls and self._calls[-1][2] is not None:
            self._end_calls()

    def all(self) -> tuple[Mapping[str, Any], ...]:
        self._end_calls()
        return tuple(self._told)

    def _in_order(self) -> list[FunctionCall]:
        return [call for _, call, _ in sorted(self._calls, key=lambda told: told[0])]

    def _end_calls(self) -> None:
        if not self._calls:
            return
        if not self._told or self._told[-1]["role"] != "assistant":
            self._told.append({"role": "assistant", "content": None})
        self._told[-1]["tool_calls"] = [_call(call) for call in self._in_order()]
        for _, call, result in self._calls:
            content = NO_RESULT if result is None else result
            self._told.append({"role": "tool", "tool_call_id": call.call_id, "content": content})
        self._calls.clear()


def _call(item: FunctionCall) -> dict[str, Any]:
    function = {"name": item.name, "arguments": _arguments(item.arguments)}
    return {"id": item.call_id, "type": "function", "function": function}


def _arguments(text: str) -> dict[str, Any]:
    """Those of a call; none where a client's own call has what no model could have written."""
    try:
        arguments = orjson.loads(text or "{}")
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) and is_shallow(arguments) else {}


def _content(parts: Iterable[Part]) -> str | list[dict[str, Any]]:
    """The text of a message; with pictures, OpenAI's content parts."""
    contents: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, InputImage):
            image = {"url": part.url, "detail": part.detail}
            contents.append({"type": "image_url", "image_url": image})
        elif text := text_of(part).strip():
            contents.append({"type": "text", "text": text})
    if any(content["type"] == "image_url" for content in contents):
        return contents
    return "\n".join(content["text"] for content in contents)


def text_of(part: Part) -> str:
    """What a part says, in words."""
    match part:
        case InputImage():
            return ""
        case InputAudio(transcript=transcript):
            return transcript or ""
        case OutputAudio(transcript=transcript):
            return transcript
        case _:
            return part.text


def _is_unheard(part: Part) -> bool:
    return isinstance(part, InputAudio) and part.transcript is None
