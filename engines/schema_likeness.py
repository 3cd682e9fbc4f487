"""Tells which alternatives of a schema a reader cannot tell apart before a value inside of them
begins.

A grammar follows all of them at once. Nested in each other they multiply, so that a short text
could make llama.cpp follow millions.
"""

from collections.abc import Sequence

from engines.gbnf import json_text
from engines.json_schemas import Schemas
from engines.schema_keywords import Place, Plain, implied


class Likeness:
    """Compares the alternatives of `schemas`."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._containers: dict[str, bool] = {}
        self._listed: dict[str, frozenset[str] | None] = {}

    def width(self, plains: Sequence[Plain]) -> int:
        """How many of `plains` may be under way together when an array or an object inside of them
        begins; at least 1."""
        arrays = [plain for plain in plains if _may_be("array", plain) and self._nests(plain)]
        objects = [plain for plain in plains if _may_be("object", plain)]
        alike = [sum(self._alike(one, other) for other in objects) for one in objects]
        return max(1, len(arrays), *alike)

    def _nests(self, array: Plain) -> bool:
        places = (*array.prefix, True if array.rest is None else array.rest)
        return any(self._holds(place) for place in places)

    def _alike(self, one: Plain, other: Plain) -> bool:
        if one is other:
            return True
        if self._told_apart(one, other):
            return False
        names = one.properties.keys() | other.properties.keys()
        pairs = [(_property(one, name), _property(other, name)) for name in names]
        pairs.append((_additional(one), _additional(other)))
        return any(self._holds(first) and self._holds(second) for first, second in pairs)

    def _told_apart(self, one: Plain, other: Plain) -> bool:
        """Whether the first property tells already."""
        first, second = (next(iter(plain.properties), None) for plain in (one, other))
        if first is None or second is None:
            return False
        if first not in one.required or second not in other.required:
            return False
        if first != second:
            return True
        left, right = (self._values(plain.properties[first]) for plain in (one, other))
        return left is not None and right is not None and left.isdisjoint(right)

    def _values(self, place: Place) -> frozenset[str] | None:
        """All values that fit `place`, where they are listed."""
        path = self._schemas.target(place).path
        if path not in self._listed:
            plains = self._schemas.alternatives(place)
            values = [None if plain.enum is None else [*plain.enum] for plain in plains]
            listed = [json_text(value) for some in values if some for value in some]
            self._listed[path] = None if None in values else frozenset(listed)
        return self._listed[path]

    def _holds(self, place: Place | bool) -> bool:
        """Whether an array or an object fits `place`."""
        if isinstance(place, bool):
            return place
        place = self._schemas.target(place)
        if place.path not in self._containers:
            self._containers[place.path] = any(
                _may_be(kind, plain)
                for plain in self._schemas.alternatives(place)
                for kind in ("array", "object")
            )
        return self._containers[place.path]


def _may_be(kind: str, plain: Plain) -> bool:
    kinds = plain.types or implied(plain) or (kind,)
    return plain.enum is None and kind in kinds


def _property(plain: Plain, name: str) -> Place | bool:
    return plain.properties.get(name, _additional(plain))


def _additional(plain: Plain) -> Place | bool:
    if plain.additional is None:
        return not plain.properties and not plain.required
    return plain.additional
