"""The stream of a response: what a model does, as the events that OpenAI's clients expect.

Their order is strict: `response.created` is first; every item is added before its parts and deltas,
and done before the next is added; the last event is the response as it ended. No I/O.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from engines.generation import (
    Finished,
    GenerationEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from routes.response_items import Item, Status, new_id
from routes.response_objects import (
    Shell,
    logprob_json,
    message_item,
    reasoning_item,
    reasoning_part,
    text_part,
)

Event = dict[str, Any]


class ResponseEvents:
    """One response, from its first event to its last.

    `clock` gives Unix time. `response` is the Response object as it ended, `output` its items.
    """

    def __init__(self, shell: Shell, clock: Callable[[], float]) -> None:
        self.output: list[Item] = []
        self.response: dict[str, Any] | None = None
        self._shell = shell
        self._clock = clock
        self._open: _OpenItem | None = None
        self._number = 0

    def receive(self, event: GenerationEvent) -> list[Event]:
        """The events of the stream that `event` makes; the first ones begin the stream."""
        match event:
            case Finished():
                return self._numbered(self._begin() + self._finish(event))
            case TextDelta(text="", logprobs=()) | ReasoningDelta(text=""):
                return self._numbered(self._begin())
            case _:
                return self._numbered(self._begin() + self._extend(event))

    def fail(self, code: str, message: str) -> list[Event]:
        """The events that end a response which could not be finished; none where it was."""
        if self.response is not None:
            return []
        events = self._begin() + self._close("incomplete")
        self.response = self._shell.failed(self.output, code, message)
        return self._numbered([*events, {"type": "response.failed", "response": self.response}])

    def _begin(self) -> list[Event]:
        if self._number:
            return []
        response = self._shell.in_progress()
        return [
            {"type": "response.created", "response": response},
            {"type": "response.in_progress", "response": response},
        ]

    def _extend(self, event: TextDelta | ReasoningDelta | ToolCallDelta) -> list[Event]:
        events: list[Event] = []
        if self._open is None or not self._open.takes(event):
            events += self._close("completed")
            self._open = _open_item(event)
            events += self._placed(self._open.begin())
        return events + self._placed(self._open.extend(event))

    def _finish(self, event: Finished) -> list[Event]:
        cut = event.reason == "length"
        events = []
        if not cut and self._is_silent():
            events += self._extend_with_nothing()
        events += self._close("incomplete" if cut else "completed")
        if cut:
            self.response = self._shell.incomplete(self.output, event.usage)
        else:
            self.response = self._shell.completed(self.output, event.usage, int(self._clock()))
        return [*events, {"type": f"response.{self.response['status']}", "response": self.response}]

    def _is_silent(self) -> bool:
        """Whether nothing was said or called: clients wait for an answer, even an empty one."""
        return isinstance(self._open, _Reasoning | None) and all(
            item["type"] == "reasoning" for item in self.output
        )

    def _extend_with_nothing(self) -> list[Event]:
        events = self._close("completed")
        self._open = _Message()
        return events + self._placed(self._open.begin())

    def _close(self, status: Status) -> list[Event]:
        if self._open is None:
            return []
        events = self._placed(self._open.finish(status))
        self.output.append(self._open.item(status))
        self._open = None
        return events

    def _placed(self, events: Iterable[Event]) -> list[Event]:
        return [{**event, "output_index": len(self.output)} for event in events]

    def _numbered(self, events: list[Event]) -> list[Event]:
        first, self._number = self._number, self._number + len(events)
        return [{**event, "sequence_number": first + n} for n, event in enumerate(events)]


class _OpenItem(Protocol):
    """An item that is not done. Its events lack only where in the response it is."""

    def takes(self, event: GenerationEvent) -> bool:
        """Whether `event` goes on with this item."""
        ...

    def item(self, status: Status) -> Item: ...

    def begin(self) -> list[Event]: ...

    def extend(self, event: Any) -> list[Event]: ...

    def finish(self, status: Status) -> list[Event]: ...


def _open_item(event: TextDelta | ReasoningDelta | ToolCallDelta) -> _OpenItem:
    match event:
        case TextDelta():
            return _Message()
        case ReasoningDelta():
            return _Reasoning()
        case ToolCallDelta():
            return _FunctionCall(event)


class _Message:
    def __init__(self) -> None:
        self._id = new_id("msg")
        self._texts: list[str] = []
        self._logprobs: list[Item] = []

    def takes(self, event: GenerationEvent) -> bool:
        return isinstance(event, TextDelta)

    def item(self, status: Status) -> Item:
        return message_item(self._id, status, [self._part()])

    def begin(self) -> list[Event]:
        item = message_item(self._id, "in_progress", [])
        return [_added(item), self._at("response.content_part.added", part=text_part(""))]

    def extend(self, event: TextDelta) -> list[Event]:
        logprobs = [logprob_json(token) for token in event.logprobs]
        self._texts.append(event.text)
        self._logprobs += logprobs
        return [self._at("response.output_text.delta", delta=event.text, logprobs=logprobs)]

    def finish(self, status: Status) -> list[Event]:
        part = self._part()
        logprobs = part["logprobs"]
        return [
            self._at("response.output_text.done", text=part["text"], logprobs=logprobs),
            self._at("response.content_part.done", part=part),
            _done(self.item(status)),
        ]

    def _part(self) -> Item:
        return text_part("".join(self._texts), self._logprobs)

    def _at(self, kind: str, **fields: Any) -> Event:
        return {"type": kind, "item_id": self._id, "content_index": 0, **fields}


class _Reasoning:
    def __init__(self) -> None:
        self._id = new_id("rs")
        self._texts: list[str] = []

    def takes(self, event: GenerationEvent) -> bool:
        return isinstance(event, ReasoningDelta)

    def item(self, status: Status) -> Item:
        return reasoning_item(self._id, status, [self._part()])

    def begin(self) -> list[Event]:
        item = reasoning_item(self._id, "in_progress", [])
        return [_added(item), self._at("response.content_part.added", part=reasoning_part(""))]

    def extend(self, event: ReasoningDelta) -> list[Event]:
        self._texts.append(event.text)
        return [self._at("response.reasoning_text.delta", delta=event.text)]

    def finish(self, status: Status) -> list[Event]:
        part = self._part()
        return [
            self._at("response.reasoning_text.done", text=part["text"]),
            self._at("response.content_part.done", part=part),
            _done(self.item(status)),
        ]

    def _part(self) -> Item:
        return reasoning_part("".join(self._texts))

    def _at(self, kind: str, **fields: Any) -> Event:
        return {"type": kind, "item_id": self._id, "content_index": 0, **fields}


class _FunctionCall:
    def __init__(self, first: ToolCallDelta) -> None:
        self._id = new_id("fc")
        self._call_id = first.id or new_id("call")
        self._name = first.name or ""
        self._index = first.index
        self._arguments: list[str] = []

    def takes(self, event: GenerationEvent) -> bool:
        return isinstance(event, ToolCallDelta) and event.index == self._index

    def item(self, status: Status) -> Item:
        return {
            "id": self._id,
            "type": "function_call",
            "status": status,
            "call_id": self._call_id,
            "name": self._name,
            "arguments": "".join(self._arguments),
        }

    def begin(self) -> list[Event]:
        return [_added(self.item("in_progress"))]

    def extend(self, event: ToolCallDelta) -> list[Event]:
        if not event.arguments:
            return []
        self._arguments.append(event.arguments)
        return [self._at("delta", delta=event.arguments)]

    def finish(self, status: Status) -> list[Event]:
        """A whole call has arguments, if only an empty object: clients read them as JSON."""
        events = []
        if status == "completed" and not self._arguments:
            events = self.extend(ToolCallDelta(self._index, "{}"))
        item = self.item(status)
        return [*events, self._at("done", arguments=item["arguments"]), _done(item)]

    def _at(self, what: str, **fields: Any) -> Event:
        kind = f"response.function_call_arguments.{what}"
        return {"type": kind, "item_id": self._id, **fields}


def _added(item: Item) -> Event:
    return {"type": "response.output_item.added", "item": item}


def _done(item: Item) -> Event:
    return {"type": "response.output_item.done", "item": item}
