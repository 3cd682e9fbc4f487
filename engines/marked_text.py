"""A text that carries marks through whatever is done to it, and hides them from who does it."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, SupportsIndex

MARK: Final = "\udfff"
"""Half a surrogate pair: no text that can be encoded, and so tokenised, has one. It is neither a
space nor a letter, so that trimming and changing case leave it alone."""


def plain(text: str) -> str:
    return text._plain if isinstance(text, Marked) else text.replace(MARK, "")


def marks_inside(text: str, start: int, end: int) -> Sequence[int]:
    """Where marks are between `start` and `end` (not at them) of `text` without marks."""
    return text._marks_inside(start, end) if isinstance(text, Marked) else ()


def marked(text: str) -> str:
    """`text`, with its marks hidden from its methods if it has any."""
    return Marked(text) if type(text) is str and MARK in text else text


class Marked(str):
    """A text with marks in it that its methods do not see: it compares, hashes, splits and measures
    as the text without them, and the parts it gives keep theirs.

    What is not defined here (an f-string, `%`) sees the marks and takes them along.
    """

    __slots__ = ("_found", "_plain")  # private: templates cannot reach them
    _found: "array[int] | None"
    _plain: str

    def __new__(cls, text: str) -> "Marked":
        self = super().__new__(cls, text)
        self._plain = text.replace(MARK, "")
        self._found = None
        return self

    @property
    def _marks(self) -> "array[int]":
        """Where the marks are in the text without them; few texts are ever asked."""
        if self._found is None:
            parts = str.split(self, MARK)
            self._found = array("L", accumulate(map(len, parts[:-1])))
        return self._found

    def _marks_inside(self, start: int, end: int) -> Sequence[int]:
        """Where the marks between `start` and `end` are, these two left out."""
        first = bisect_right(self._marks, start)
        return self._marks[first : bisect_left(self._marks, end)]

    def _part(self, start: int, end: int) -> str:
        """From `start` to `end` of the text without marks, with the marks at its ends."""
        if start >= end:
            return ""
        first = start + bisect_left(self._marks, start)
        last = end + bisect_right(self._marks, end)
        return marked(str.__getitem__(self, slice(first, last)))

    def _parts(self, texts: Iterable[str], gap: int = 0) -> list[str]:
        """`texts` of the text without marks, in order, at least `gap` apart, with their marks."""
        parts = []
        at = 0
        for text in texts:
            start = self._plain.index(text, at)
            parts.append(self._part(start, start + len(text)))
            at = start + len(text) + gap
        return parts

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        found = range(len(self._plain))[key]
        if isinstance(found, int):
            return self._part(found, found + 1)
        if found.step == 1:
            return self._part(found.start, found.stop)
        return marked("".join(self._part(at, at + 1) for at in found))

    def __iter__(self) -> Iterator[str]:
        return (self._part(at, at + 1) for at in range(len(self._plain)))

    def __add__(self, other: str, /) -> str:
        return marked("".join((self, other))) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str, /) -> str:
        return marked("".join((other, self))) if isinstance(other, str) else NotImplemented

    def __repr__(self) -> str:
        quote = repr(self._plain)[0]
        other = "'" if quote == '"' else '"'  # with it before them, all parts get the same quotes
        parts = (repr(other + part)[2:-1] for part in str.split(self, MARK))
        return marked(quote + MARK.join(parts) + quote)

    def strip(self, chars: str | None = None, /) -> str:
        start = len(self._plain) - len(self._plain.lstrip(_unseen(chars)))
        return self._part(start, len(self._plain.rstrip(_unseen(chars))))

    def lstrip(self, chars: str | None = None, /) -> str:
        start = len(self._plain) - len(self._plain.lstrip(_unseen(chars)))
        return self._part(start, len(self._plain))

    def rstrip(self, chars: str | None = None, /) -> str:
        return self._part(0, len(self._plain.rstrip(_unseen(chars))))

    def removeprefix(self, prefix: str, /) -> str:
        start = len(self._plain) - len(self._plain.removeprefix(plain(prefix)))
        return self._part(start, len(self._plain))

    def removesuffix(self, suffix: str, /) -> str:
        return self._part(0, len(self._plain.removesuffix(plain(suffix))))

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._parts(self._plain.split(_unseen(sep), maxsplit), len(_unseen(sep) or ""))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._parts(self._plain.rsplit(_unseen(sep), maxsplit), len(_unseen(sep) or ""))

    def splitlines(self, keepends: bool = False) -> list[str]:
        return self._parts(self._plain.splitlines(keepends))

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        at = self._plain.find(plain(sep))
        return self._around(at, plain(sep)) if at >= 0 else (self, "", "")

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        at = self._plain.rfind(plain(sep))
        return self._around(at, plain(sep)) if at >= 0 else ("", "", self)

    def _around(self, at: int, sep: str) -> tuple[str, str, str]:
        end = at + len(sep)
        return self._part(0, at), self._part(at, end), self._part(end, len(self._plain))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        if plain(old):
            return marked(str.join(new, self.split(old, count)))
        edges = ["", *self, ""]
        last = len(edges) - 1
        if 0 <= int(count) < last:
            last = int(count)
        return marked(str.join(new, [*edges[:last], "".join(edges[last:])]))


def _unseen(value: Any) -> Any:
    """An argument without marks."""
    if isinstance(value, tuple):
        return tuple(map(_unseen, value))
    return value._plain if isinstance(value, Marked) else value


def _look(name: str) -> Callable[..., Any]:
    method = getattr(str, name)

    def look(self: Marked, *arguments: Any) -> Any:
        return method(self._plain, *map(_unseen, arguments))

    return look


def _recase(name: str) -> Callable[..., Any]:
    change = getattr(str, name)

    def recase(self: Marked) -> str:
        whole = change(self._plain)
        if len(whole) != len(self._plain):  # such as ß, which is SS: each part for itself
            return marked(MARK.join(map(change, str.split(self, MARK))))
        edges = (0, *self._marks, len(whole))
        return marked(MARK.join(whole[start:end] for start, end in pairwise(edges)))

    return recase


for _name in (
    *("__contains__", "__len__", "__hash__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
    *("startswith", "endswith", "count", "find", "rfind", "index", "rindex"),
    *("isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower"),
    *("isnumeric", "isprintable", "isspace", "istitle", "isupper"),
):
    setattr(Marked, _name, _look(_name))

for _name in ("capitalize", "casefold", "lower", "swapcase", "title", "upper"):
    setattr(Marked, _name, _recase(_name))
