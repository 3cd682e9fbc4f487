"""Reads one call of a tool, a character at a time: generators, so that it can end in the middle of
any piece of text."""

from collections.abc import Callable, Collection, Generator
from typing import Final, Protocol, TypeVar

SPACE: Final = " \t\r\n"
"""White space, as JSON has it."""

_ESCAPES: Final = {
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    '"': '"',
    "\\": "\\",
    "/": "/",
}

_T = TypeVar("_T")

Reading = Generator[None, str, _T]
"""Is sent one character after another; ends with the last one that belongs to it."""


class Broken(Exception):
    """The character that was sent last cannot be part of a call."""


class CallSink(Protocol):
    """What a call is told to while it is read."""

    @property
    def names(self) -> Collection[str]:
        """The functions that can be called."""
        ...

    def begin(self, name: str, call_id: str | None) -> None:
        """A call of `name`; what was read of it so far will not become text again."""
        ...

    def argue(self, text: str) -> None:
        """More of the arguments."""
        ...

    def end(self) -> None:
        """The call is complete, or as complete as it will be."""
        ...


class Call:
    """Reads one call: `{"name": …, "arguments": {…}}`, its members in any order."""

    def __init__(
        self, calls: CallSink, name: str | None = None, call_id: str | None = None
    ) -> None:
        self._calls = calls
        self._name = name
        self._id = call_id
        self._begun = False
        self._ended = False
        self._held: list[str] = []

    def members(self) -> Reading[None]:
        """The object, after its opening brace."""
        while True:
            if (yield from space()) != '"':
                raise Broken
            key: list[str] = []
            yield from _string(key.append)
            if (yield from space()) != ":":
                raise Broken
            yield from self._member("".join(key))
            character = yield from space()
            if character == "}":
                break
            if character != ",":
                raise Broken
        self._end()

    def arguments(self) -> Reading[None]:
        """Only the arguments, after their opening brace."""
        yield from self._object()
        self._end()

    def _member(self, key: str) -> Reading[None]:
        character = yield from space()
        match key:
            case "arguments" | "parameters" if not self._ended:
                if character == "{":
                    yield from self._object()
                elif character == '"':
                    yield from _string(self._argue)
                else:
                    yield from _null(character)
                self._ended = True
            case "name" | "id" | "type" if character == '"':
                value: list[str] = []
                yield from _string(value.append)
                self._learn(key, "".join(value))
            case _:
                raise Broken

    def _learn(self, key: str, value: str) -> None:
        if key == "id":
            self._id = self._id or value
        elif key == "name" and self._name is None:
            if value not in self._calls.names:
                raise Broken
            self._name = value
            if self._begun:
                self._calls.begin(value, self._id)
                self._calls.argue("".join(self._held))

    def _object(self) -> Reading[None]:
        self._argue("{")
        depth = 1
        while depth:
            character = yield
            if character == "<":
                raise Broken
            self._argue(character)
            if character == '"':
                yield from self._quoted()
            else:
                depth += (character in "{[") - (character in "}]")

    def _quoted(self) -> Reading[None]:
        character = ""
        while character != '"':
            character = yield
            self._argue(character)
            if character == "\\":
                self._argue((yield))

    def _argue(self, text: str) -> None:
        if not self._begun:
            text = text.lstrip(SPACE)
            if not text:
                return
            if not text.startswith("{"):
                raise Broken
            self._begun = True
            if self._name is not None:
                self._calls.begin(self._name, self._id)
        if self._name is None:
            self._held.append(text)
        else:
            self._calls.argue(text)

    def _end(self) -> None:
        if self._name is None:
            raise Broken
        if not self._begun:
            self._calls.begin(self._name, self._id)
            self._calls.argue("{}")
        self._calls.end()


def space() -> Reading[str]:
    """The first character that is no white space."""
    character = yield
    while character in SPACE:
        character = yield
    return character


def _null(character: str) -> Reading[None]:
    if character != "n":
        raise Broken
    for expected in "ull":
        if (yield) != expected:
            raise Broken


def _string(take: Callable[[str], None]) -> Reading[None]:
    """A JSON string after its opening quote; gives its characters to `take`, whole ones only."""
    high = 0
    while (character := (yield)) != '"':
        if character == "\\":
            character = yield from _escape()
        code = ord(character)
        if high and 0xDC00 <= code < 0xE000:
            take(chr(0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00)))
            high = 0
            continue
        if high:
            take("\ufffd")
        high = code if 0xD800 <= code < 0xDC00 else 0
        if not high:
            take("\ufffd" if 0xDC00 <= code < 0xE000 else character)
    if high:
        take("\ufffd")


def _escape() -> Reading[str]:
    character = yield
    if character != "u":
        if character not in _ESCAPES:
            raise Broken
        return _ESCAPES[character]
    digits = ""
    for _ in range(4):
        digit = yield
        if digit not in "0123456789abcdefABCDEF":
            raise Broken
        digits += digit
    return chr(int(digits, 16))
