"""Reads the objects that clients send field by field: what is wrong becomes a `SettingsError`, and
what nobody asked for is known."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson

from engines.json_values import is_shallow
from realtime.events import Invalid, missing, not_supported, shown, wrong_type

MAX_NAME = 256
MAX_LIST = 1_000
MAX_JSON = 256 * 1024
"""Bytes of JSON that are kept for one value whose shape is the client's own."""

_T = TypeVar("_T")


class SettingsError(Invalid):
    """Something in a client's event that cannot be taken; nothing of the event was."""


class Fields:
    """One object, read field by field; `unread` is what nobody asked for.

    In every reader that takes them, an absent key gives `current` and a null gives `default`.
    """

    def __init__(self, values: object, path: str) -> None:
        if not isinstance(values, Mapping):
            raise SettingsError("invalid_value", wrong_type(path, "an object", values), path)
        self.path = path
        self._values = values
        self._read: set[str] = set()
        self._children: dict[str, Fields] = {}

    def has(self, key: str) -> bool:
        return key in self._values

    def is_null(self, key: str) -> bool:
        """Whether `key` is there and null; then it has been read."""
        null = key in self._values and self._values[key] is None
        if null:
            self._read.add(key)
        return null

    def value(self, key: str) -> Any:
        """What is there as it is; None if nothing is."""
        self._read.add(key)
        return self._values.get(key)

    def mapping(self) -> Mapping[str, Any]:
        """The whole object as it is; all of it has been read."""
        self._read.update(self._values)
        return self._values

    def child(self, key: str) -> "Fields":
        """The object at `key`, empty if it is absent or null."""
        if key not in self._children:
            value = self.value(key)
            self._children[key] = Fields({} if value is None else value, self.at(key))
        return self._children[key]

    def children(self, key: str, most: int = MAX_LIST) -> list["Fields"]:
        """The objects of the list at `key`, none if it is absent or null."""
        entries = self._list(key, most) or []
        children = [Fields(entry, f"{self.at(key)}[{i}]") for i, entry in enumerate(entries)]
        self._children.update({child.path: child for child in children})
        return children

    def required(self, key: str) -> Any:
        """What is there; absent or null is `missing_required_parameter`."""
        value = self.value(key)
        if value is None:
            param = self.at(key)
            raise SettingsError("missing_required_parameter", missing(param), param)
        return value

    def text(self, key: str, longest: int = MAX_NAME) -> str:
        """A string that has to be there."""
        return self._text(self.required(key), self.at(key), longest)

    def string(self, key: str, current: _T, default: _T, longest: int = MAX_NAME) -> str | _T:
        if not self.has(key):
            return current
        value = self.value(key)
        return default if value is None else self._text(value, self.at(key), longest)

    def choice(self, key: str, current: _T, default: _T, choices: Sequence[str]) -> str | _T:
        value = self.string(key, current, default)
        if self._values.get(key) is not None and value not in choices:
            raise self.error(key, not_supported(value, choices))
        return value

    def strings(
        self, key: str, current: tuple[str, ...] | None, choices: Sequence[str] = ()
    ) -> tuple[str, ...] | None:
        """A list of strings; null is None."""
        if not self.has(key):
            return current
        entries = self._list(key, MAX_LIST)
        if entries is None:
            return None
        texts = [self._text(v, f"{self.at(key)}[{i}]", MAX_NAME) for i, v in enumerate(entries)]
        for i, text in enumerate(texts):
            if choices and text not in choices:
                raise self.error(f"{key}[{i}]", not_supported(text, choices))
        return tuple(texts)

    def integer(self, key: str, current: _T, default: _T, bounds: tuple[int, int]) -> int | _T:
        if not self.has(key):
            return current
        value = self.value(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, wrong_type(self.at(key), "an integer", value))
        return int(self._within(key, value, bounds))

    def number(self, key: str, current: _T, default: _T, bounds: tuple[float, float]) -> float | _T:
        if not self.has(key):
            return current
        value = self.value(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, wrong_type(self.at(key), "a number", value))
        return self._within(key, value, bounds)

    def boolean(self, key: str, current: bool, default: bool) -> bool:
        if not self.has(key):
            return current
        value = self.value(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(key, wrong_type(self.at(key), "a boolean", value))
        return value

    def json(self, key: str, most: int = MAX_JSON) -> Any:
        """JSON of any shape, of at most `most` bytes and few levels; None if nothing is
        there."""
        value = self.value(key)
        try:
            size = len(orjson.dumps(value))
        except orjson.JSONEncodeError:
            raise self.error(key, f"Invalid '{self.at(key)}': nested too deeply.") from None
        if size > most:
            raise self.error(key, f"Invalid '{self.at(key)}': more than {most} bytes of JSON.")
        if not is_shallow(value):
            raise self.error(key, f"Invalid '{self.at(key)}': nested too deeply.")
        return value

    def unread(self) -> list[str]:
        """At most a few paths of keys that no reader asked for, children's after one's own."""
        paths = [self.at(str(key)[:64]) for key in self._values if key not in self._read]
        for child in self._children.values():
            paths += child.unread()
        return paths[:32]

    def at(self, key: str) -> str:
        """The path of a key, as errors name it."""
        return f"{self.path}.{key}"

    def error(self, key: str, message: str) -> SettingsError:
        """The error for a value that cannot be taken."""
        return SettingsError("invalid_value", message, self.at(key))

    def _list(self, key: str, most: int) -> list[Any] | None:
        value = self.value(key)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.error(key, wrong_type(self.at(key), "an array", value))
        if len(value) > most:
            raise self.error(key, f"Invalid '{self.at(key)}': more than {most} entries.")
        return value

    def _within(self, key: str, value: float, bounds: tuple[float, float]) -> float:
        low, high = bounds
        if not low <= value <= high:
            expected = f"Expected a value between {low} and {high}."
            raise self.error(key, f"Invalid value: {shown(value)}. {expected}")
        return value

    def _text(self, value: object, path: str, longest: int) -> str:
        if not isinstance(value, str):
            raise SettingsError("invalid_value", wrong_type(path, "a string", value), path)
        if len(value) > longest:
            long = f"Invalid '{path}': longer than {longest} characters."
            raise SettingsError("invalid_value", long, path)
        return value
