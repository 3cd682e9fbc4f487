"""Reads JSON schemas: follows references and takes apart `allOf`, `anyOf` and `oneOf`, so that what
is left is a choice between plain descriptions of a value."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final
from urllib.parse import unquote

from engines.number_ranges import Bounds
from engines.schema_keywords import (
    HARMLESS,
    UNDERSTOOD,
    Place,
    Plain,
    SchemaError,
    place_of,
    places,
    plain,
    same,
    typed,
    unsupported,
)

DEEPEST: Final = 64
MOST_CHARACTERS: Final = 1 << 16
MOST_ALTERNATIVES: Final = 256

MOST_EXPANDED: Final = 20_000
"""Most schemas that are looked at, those that are referred to each time."""


class Schemas:
    """One schema and what it refers to. Raises `SchemaError` where it is too large."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        _measure(root)
        self._root = root
        self._alternatives: dict[str, list[Plain]] = {}
        self._expanded = 0
        self.root: Final = Place(root, "$")

    def target(self, place: Place) -> Place:
        """What `place` stands for, where it is a reference and nothing else."""
        seen: set[str] = set()
        while isinstance(place.schema, Mapping) and _only_reference(place.schema):
            if place.path in seen:
                raise SchemaError(f"keyword '$ref' at {place.path} refers to itself")
            seen.add(place.path)
            place = self._follow(place.schema["$ref"], place.path)
        return place

    def alternatives(self, place: Place) -> list[Plain]:
        """The descriptions of which a value must fit one; none: no value fits."""
        place = self.target(place)
        if place.path not in self._alternatives:
            self._alternatives[place.path] = self._expand(place, ())
        return self._alternatives[place.path]

    def _expand(self, place: Place, within: tuple[str, ...]) -> list[Plain]:
        schema, path = place
        if isinstance(schema, bool):
            return [Plain()] if schema else []
        if path in within:
            raise SchemaError(f"the schema at {path} contains itself without an end")
        if len(within) >= DEEPEST:
            raise SchemaError(f"the schema at {path} is nested deeper than {DEEPEST} levels")
        self._expanded += 1
        if self._expanded > MOST_EXPANDED:
            raise SchemaError("its parts refer to each other too often")
        within = (*within, path)
        plains = [plain(schema, path)]
        if "$ref" in schema:
            target = self._follow(typed(schema, "$ref", path, str), path)
            plains = _each_with_each(plains, self._expand(target, within), path)
        for part in places(schema, "allOf", path):
            plains = _each_with_each(plains, self._expand(part, within), path)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                parts = places(schema, keyword, path)
                choice = [one for part in parts for one in self._expand(part, within)]
                plains = _each_with_each(plains, choice, path)
        return plains

    def _follow(self, reference: object, path: str) -> Place:
        if not isinstance(reference, str) or not (reference + "/").startswith("#/"):
            raise unsupported("$ref", path, "it must refer to a part of the same schema")
        found: Any = self._root
        where = "$"
        for part in reference.split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and name in found:
                found, where = found[name], f"{where}.{name}"
            elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found, where = found[int(name)], f"{where}[{int(name)}]"
            else:
                raise SchemaError(f"keyword '$ref' at {path} refers to nothing: {reference[:200]}")
        return place_of(found, where)


def _measure(root: Mapping[str, Any]) -> None:
    """Raise `SchemaError` for a schema that is nested too deep or too large."""
    todo: list[tuple[Any, int]] = [(root, 0)]
    size = 0
    while todo:
        value, depth = todo.pop()
        if depth > DEEPEST:
            raise SchemaError(f"it is nested deeper than {DEEPEST} levels")
        inside: list[Any] = []
        if isinstance(value, Mapping):
            size += sum(len(str(key)) for key in value)
            inside = [*value.values()]
        elif isinstance(value, list):
            inside = value
        elif isinstance(value, float) and not isfinite(value):
            raise SchemaError("it has a number that is too large")
        size += len(value) if isinstance(value, str) else 4
        if size > MOST_CHARACTERS:
            raise SchemaError(f"it is larger than {MOST_CHARACTERS >> 10} KiB")
        todo.extend((part, depth + 1) for part in inside)


def _only_reference(schema: Mapping[str, Any]) -> bool:
    return "$ref" in schema and not any(
        key in schema for key in (*UNDERSTOOD, *HARMLESS, "allOf", "anyOf", "oneOf")
    )


def _each_with_each(ones: Sequence[Plain], others: Sequence[Plain], path: str) -> list[Plain]:
    """What fits one of `ones` and one of `others`."""
    if len(ones) * len(others) > MOST_ALTERNATIVES:
        raise SchemaError(f"there are more than {MOST_ALTERNATIVES} alternatives at {path}")
    pairs = (_both(one, other, path) for one in ones for other in others)
    return [pair for pair in pairs if pair is not None]


def _both(one: Plain, other: Plain, path: str) -> Plain | None:
    """What fits `one` and `other`; None: nothing can."""
    types = _common_types(one.types, other.types)
    enum = _common_values(one.enum, other.enum)
    if types == () or enum == ():
        return None
    _check_closed(one, other, path)
    items_said = one if one.prefix or one.rest is not None else other
    if items_said is one and (other.prefix or other.rest is not None):
        _same_or_none((one.prefix, one.rest), (other.prefix, other.rest), "items", path)
    return Plain(
        types=types,
        enum=enum,
        properties=_common_properties(one.properties, other.properties),
        required=tuple(dict.fromkeys((*one.required, *other.required))),
        additional=other.additional if one.additional is None else one.additional,
        prefix=items_said.prefix,
        rest=items_said.rest,
        items=_common_counts(one.items, other.items),
        length=_common_counts(one.length, other.length),
        pattern=_same_or_none(one.pattern, other.pattern, "pattern", path),
        format=_same_or_none(one.format, other.format, "format", path),
        bounds=_common_bounds(one.bounds, other.bounds),
    )


def _common_types(
    one: tuple[str, ...] | None, other: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    common = []
    for kind in one:
        if kind in other or (kind == "integer" and "number" in other):
            common.append(kind)
        elif kind == "number" and "integer" in other:
            common.append("integer")
    return tuple(common)


def _common_values(
    one: tuple[Any, ...] | None, other: tuple[Any, ...] | None
) -> tuple[Any, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    return tuple(value for value in one if any(same(value, known) for known in other))


def _check_closed(one: Plain, other: Plain, path: str) -> None:
    """Two objects of which one says something about all properties that the other names."""
    for closed, more in ((one, other), (other, one)):
        if closed.additional in (None, True):
            continue
        both_say = more.additional is not None and more.additional != closed.additional
        if both_say or more.properties.keys() - closed.properties.keys():
            raise unsupported("additionalProperties", path, "it is combined with other properties")


def _common_properties(one: Mapping[str, Place], other: Mapping[str, Place]) -> dict[str, Place]:
    common = {**one, **other}
    for name in one.keys() & other.keys():
        first, second = one[name], other[name]
        if first != second:
            both = {"allOf": [first.schema, second.schema]}
            common[name] = Place(both, f"{first.path}&{second.path}")
    return common


def _common_counts(
    one: tuple[int, int | None], other: tuple[int, int | None]
) -> tuple[int, int | None]:
    most = [count for count in (one[1], other[1]) if count is not None]
    return max(one[0], other[0]), min(most) if most else None


def _common_bounds(one: Bounds, other: Bounds) -> Bounds:
    low = max(
        ((bounds.low, bounds.open_low) for bounds in (one, other) if bounds.low is not None),
        default=(None, False),
    )
    high = min(
        ((bounds.high, not bounds.open_high) for bounds in (one, other) if bounds.high is not None),
        default=(None, True),
    )
    return Bounds(low[0], high[0], low[1], not high[1])


def _same_or_none(one: Any, other: Any, keyword: str, path: str) -> Any:
    if one is None or other is None or one == other:
        return other if one is None else one
    raise unsupported(keyword, path, "it is said twice")
