"""JSON values as they come from others."""

from collections.abc import Iterable
from typing import Any, Final

DEEPEST: Final = 64
"""Levels of nesting that are taken: what walks through a value, or writes it, has room to spare."""


MOST_VALUES: Final = 500_000
"""Values that a text may hold. Reading so many takes at most a tenth of a second, in which nothing
else runs, whatever thread it is done in."""


def has_few_values(text: bytes | str) -> bool:
    """Whether JSON text can hold `MOST_VALUES` values at most, going by what separates them."""
    if len(text) <= MOST_VALUES:
        return True
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return data.count(b",") + data.count(b"[") + data.count(b"{") <= MOST_VALUES


def is_shallow(value: object) -> bool:
    """Whether a value of dicts and lists is nested at most `DEEPEST` levels deep."""
    level = [value]
    for _ in range(DEEPEST):
        level = [part for each in level for part in _inside(each)]
        if not level:
            return True
    return False


def _inside(value: object) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()
