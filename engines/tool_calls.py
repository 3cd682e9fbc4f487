"""Finds the calls of tools in what a language model says, while it says it.

A call that turns out to be none, before the first of its arguments was given away, becomes text
again.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from engines.call_reader import SPACE, Broken, Call, CallSink, Reading, space
from engines.generation import TextDelta, ToolCallDelta

PYTHON_TAG: Final = "<|python_tag|>"
HERMES_TAGS: Final = ("<tool_call>", "</tool_call>")
MISTRAL_TAG: Final = "[TOOL_CALLS]"

_HEADER_EXTRA: Final = 96
"""Most characters between a function's name and its arguments: a call id and two tags."""

_HEADER: Final = re.compile(r"(.+?)(?:\[CALL_ID\](\w+))?(?:\[ARGS\])?\s*\{", re.DOTALL)


class Spoken(Protocol):
    """Reads what is said after the thoughts; see `AnswerParser`."""

    @property
    def called(self) -> bool: ...

    def feed(self, text: str) -> Sequence[TextDelta | ToolCallDelta]: ...

    def finish(self) -> Sequence[TextDelta | ToolCallDelta]: ...


@dataclass(frozen=True, slots=True)
class Opening:
    """Where calls begin: `text[:said]` is text, `text[end:]` goes to the reader."""

    said: int
    end: int


class Syntax(Protocol):
    """How one family of models writes calls."""

    close: str
    """The tag that ends a call; a part of it is no text at the end of an answer."""

    def opening(self, text: str, *, first: bool, ended: bool) -> Opening | int:
        """Where calls begin in `text`, or how much of it is text for certain. `first`: nothing was
        said before it. `ended`: nothing will follow."""
        ...

    def read(self, calls: CallSink) -> Reading[str]:
        """Reads calls; returns what it read after them that is none of theirs."""
        ...


def held_from(text: str, tag: str) -> int:
    """From where on `text` could be white space before `tag`, or before a beginning of it."""
    end = len(text)
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:length]):
            end -= length
            break
    return len(text[:end].rstrip(SPACE))


class ToolCalls:
    """Calls of the tools `names`, written in `syntax`; everything else is text.

    White space before and between calls is dropped. `new_id` names a call that the model gave no
    name.
    """

    def __init__(self, syntax: Syntax, names: Collection[str], new_id: Callable[[], str]) -> None:
        self.names: Final = frozenset(names)
        self._syntax = syntax
        self._new_id = new_id
        self._text = ""
        self._reading: Reading[str] | None = None
        self._raw: list[str] = []
        self._first = True
        self._after_call = False
        self._count = 0
        self._open = False
        self._arguments: list[str] = []
        self._deltas: list[TextDelta | ToolCallDelta] = []

    @property
    def called(self) -> bool:
        return self._count > 0

    def feed(self, text: str) -> list[TextDelta | ToolCallDelta]:
        self._text += text
        while self._text and self._advance(ended=False):
            pass
        return self._taken()

    def finish(self) -> list[TextDelta | ToolCallDelta]:
        while self._text and self._advance(ended=True):
            pass
        if self._open:
            self.end()
        rest = "".join(self._raw)
        self._raw.clear()
        noise = rest.strip(SPACE + ",;]")
        if not self.called or (noise and not self._syntax.close.startswith(noise)):
            self._say(rest)
        return self._taken()

    def begin(self, name: str, call_id: str | None) -> None:
        """A call of `name`; what was read of it so far will not become text again."""
        self._raw.clear()
        self._deltas.append(ToolCallDelta(self._count, id=call_id or self._new_id(), name=name))
        self._count += 1
        self._open = True

    def argue(self, text: str) -> None:
        """More of the arguments."""
        self._arguments.append(text)

    def end(self) -> None:
        """The call is complete, or as complete as it will be."""
        self._flush()
        self._open = False
        self._after_call = True

    def _taken(self) -> list[TextDelta | ToolCallDelta]:
        self._flush()
        deltas, self._deltas = self._deltas, []
        return deltas

    def _flush(self) -> None:
        if self._arguments:
            arguments = "".join(self._arguments)
            self._deltas.append(ToolCallDelta(self._count - 1, arguments))
            self._arguments.clear()

    def _say(self, text: str) -> None:
        if text:
            self._deltas.append(TextDelta(text))
            self._after_call = False

    def _advance(self, *, ended: bool) -> bool:
        if self._reading is not None:
            self._read(self._reading)
            return True
        if self._after_call:
            self._text = self._text.lstrip(SPACE)
        opening = self._syntax.opening(self._text, first=self._first, ended=ended)
        if isinstance(opening, int):
            self._say(self._text[:opening])
            self._text = self._text[opening:]
            self._first = self._first and opening == 0
            return False
        self._say(self._text[: opening.said])
        self._raw = [*self._text[opening.said : opening.end]]
        self._text = self._text[opening.end :]
        self._first = False
        self._reading = self._syntax.read(self)
        next(self._reading)
        return True

    def _read(self, reading: Reading[str]) -> None:
        text, self._text = self._text, ""
        for at, character in enumerate(text):
            if not self._open:
                self._raw.append(character)
            try:
                reading.send(character)
            except StopIteration as stop:
                self._raw.clear()
                self._resume(stop.value + text[at + 1 :])
                return
            except Broken:
                self._break()
                self._resume(text[at:])
                return

    def _break(self) -> None:
        if self._open:
            self.end()
            return
        self._raw.pop()
        self._say("".join(self._raw))
        self._raw.clear()

    def _resume(self, text: str) -> None:
        self._reading = None
        self._text = text


class Hermes:
    """`<tool_call>{"name": …, "arguments": {…}}</tool_call>`, once for each call."""

    close = HERMES_TAGS[1]

    def opening(self, text: str, *, first: bool, ended: bool) -> Opening | int:
        return _tagged(text, HERMES_TAGS[0], ended=ended)

    def read(self, calls: CallSink) -> Reading[str]:
        if (yield from space()) != "{":
            raise Broken
        yield from Call(calls).members()
        read = yield from space()
        while read != self.close:
            if not self.close.startswith(read):
                return read
            read += yield
        return ""


class Llama:
    """The whole answer is `{"name": …, "parameters": {…}}`, or several of them with semicolons."""

    close = ""

    def opening(self, text: str, *, first: bool, ended: bool) -> Opening | int:
        start = len(text) - len(text.lstrip(SPACE))
        if first and text.startswith("{", start):
            return Opening(0, start)
        if first and text.startswith(PYTHON_TAG, start):
            return Opening(0, start + len(PYTHON_TAG))
        undecided = first and not ended and PYTHON_TAG.startswith(text[start:])
        return 0 if undecided else len(text)

    def read(self, calls: CallSink) -> Reading[str]:
        if (yield from space()) != "{":
            raise Broken
        read = "{"
        while read == "{":
            yield from Call(calls).members()
            read = yield from space()
            while read == ";":
                read = yield from space()
        return read


class Mistral:
    """`[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, or `[TOOL_CALLS]name[ARGS]{…}` with a
    `[CALL_ID]` between, maybe."""

    close = ""

    def opening(self, text: str, *, first: bool, ended: bool) -> Opening | int:
        return _tagged(text, MISTRAL_TAG, ended=ended)

    def read(self, calls: CallSink) -> Reading[str]:
        read = yield from space()
        match read:
            case "[":
                yield from _array(calls)
            case "{":
                yield from Call(calls).members()
            case _:
                return (yield from _named(calls, read))
        return ""


def _tagged(text: str, tag: str, *, ended: bool) -> Opening | int:
    at = text.find(tag)
    if at >= 0:
        return Opening(len(text[:at].rstrip(SPACE)), at + len(tag))
    return len(text) if ended else held_from(text, tag)


def _array(calls: CallSink) -> Reading[None]:
    character = ","
    while character == ",":
        if (yield from space()) != "{":
            raise Broken
        yield from Call(calls).members()
        character = yield from space()
    if character != "]":
        raise Broken


def _named(calls: CallSink, read: str) -> Reading[str]:
    first = True
    while True:
        while not read.endswith("{"):
            if not _could_name(calls.names, read):
                if first:
                    raise Broken
                return read
            read += yield
        header = _HEADER.fullmatch(read)
        if header is None or header[1] not in calls.names:
            raise Broken
        yield from Call(calls, header[1], header[2]).arguments()
        first = False
        read = yield from space()


def _could_name(names: Collection[str], read: str) -> bool:
    return any(
        name.startswith(read)
        or (read.startswith(f"{name}[") and len(read) <= len(name) + _HEADER_EXTRA)
        for name in names
    )
