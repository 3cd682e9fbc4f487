"""The keywords of JSON schemas: which are understood, and what one schema says with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, NamedTuple

from engines.number_ranges import Bounds

TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")

UNDERSTOOD: Final = (
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "additionalItems",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
)
"""Keywords that say what a value must be; beside them there are `$ref` and the combinations."""

FORMATS: Final = ("date", "time", "date-time", "uuid")
"""The values of `format` that are more than a remark."""

HARMLESS: Final[Mapping[str, tuple[object, ...]]] = {
    "not": (),
    "if": (),
    "then": (),
    "else": (),
    "patternProperties": ({},),
    "propertyNames": ({}, True, {"type": "string"}),
    "dependentSchemas": ({},),
    "dependentRequired": ({},),
    "dependencies": ({},),
    "unevaluatedProperties": ({}, True),
    "unevaluatedItems": ({}, True),
    "contains": (),
    "minContains": (),
    "maxContains": (),
    "minProperties": (0,),
    "maxProperties": (),
    "uniqueItems": (False,),
    "multipleOf": (),
    "$dynamicRef": (),
    "$recursiveRef": (),
}
"""Keywords that are not supported, with the values that change nothing."""


class SchemaError(Exception):
    """Why a schema cannot be used; a sentence without its full stop."""


def unsupported(keyword: str, path: str, why: str = "") -> SchemaError:
    return SchemaError(f"keyword '{keyword}' at {path} is not supported{why and f': {why}'}")


class Place(NamedTuple):
    """A schema, and where in the whole it is."""

    schema: Mapping[str, Any] | bool
    path: str


@dataclass(frozen=True, slots=True)
class Plain:
    """What a value must be, by the names of JSON schema; None and empty: anything.

    `enum` holds `const`, too. `additional` True or a place: properties beside `properties` are
    wanted; False: they are forbidden; None: nothing was said. `rest` is the same for the items
    after the `prefix`.
    """

    types: tuple[str, ...] | None = None
    enum: tuple[Any, ...] | None = None
    properties: Mapping[str, Place] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    additional: Place | bool | None = None
    prefix: tuple[Place, ...] = ()
    rest: Place | bool | None = None
    items: tuple[int, int | None] = (0, None)
    length: tuple[int, int | None] = (0, None)
    pattern: str | None = None
    format: str | None = None
    bounds: Bounds = field(default_factory=Bounds)


def place_of(schema: object, path: str) -> Place:
    if not isinstance(schema, Mapping | bool):
        raise SchemaError(f"{path} must be a schema, which is an object or a boolean")
    return Place(schema, path)


def places(schema: Mapping[str, Any], keyword: str, path: str) -> tuple[Place, ...]:
    parts = typed(schema, keyword, path, list, [])
    return tuple(place_of(part, f"{path}.{keyword}[{n}]") for n, part in enumerate(parts))


def typed(
    schema: Mapping[str, Any], keyword: str, path: str, kind: type, default: Any = None
) -> Any:
    if keyword not in schema:
        return default
    value = schema[keyword]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise wrong(keyword, path)
    return value


def wrong(keyword: str, path: str) -> SchemaError:
    return SchemaError(f"keyword '{keyword}' at {path} has a value that it cannot have")


def plain(schema: Mapping[str, Any], path: str) -> Plain:
    """The keywords of `schema` itself, without what it refers to and consists of."""
    for keyword, harmless in HARMLESS.items():
        if keyword in schema and not any(
            schema[keyword] == value and type(schema[keyword]) is type(value) for value in harmless
        ):
            raise unsupported(keyword, path)
    tuple_items = isinstance(schema.get("items"), list)
    required = typed(schema, "required", path, list, [])
    if not all(isinstance(name, str) for name in required):
        raise wrong("required", path)
    return Plain(
        types=_types(schema, path),
        enum=_enum(schema, path),
        properties={
            name: place_of(part, f"{path}.properties.{name}")
            for name, part in typed(schema, "properties", path, Mapping, {}).items()
        },
        required=tuple(dict.fromkeys(required)),
        additional=_optional(schema, "additionalProperties", path),
        prefix=places(schema, "items" if tuple_items else "prefixItems", path),
        rest=_optional(schema, "additionalItems" if tuple_items else "items", path),
        items=_counts(schema, "minItems", "maxItems", path),
        length=_counts(schema, "minLength", "maxLength", path),
        pattern=typed(schema, "pattern", path, str),
        format=typed(schema, "format", path, str),
        bounds=_bounds(schema, path),
    )


def _types(schema: Mapping[str, Any], path: str) -> tuple[str, ...] | None:
    if "type" not in schema:
        return None
    types = schema["type"]
    named = [types] if isinstance(types, str) else types
    if not isinstance(named, list) or not all(kind in TYPES for kind in named):
        raise wrong("type", path)
    return tuple(dict.fromkeys(named))


def _enum(schema: Mapping[str, Any], path: str) -> tuple[Any, ...] | None:
    values = typed(schema, "enum", path, list)
    if "const" in schema:
        constant = schema["const"]
        if values is not None and not any(same(constant, value) for value in values):
            return ()
        return (constant,)
    return None if values is None else tuple(values)


def same(one: object, other: object) -> bool:
    """Whether two JSON values are equal; for Python, true is 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _optional(schema: Mapping[str, Any], keyword: str, path: str) -> Place | bool | None:
    if keyword not in schema:
        return None
    place = place_of(schema[keyword], f"{path}.{keyword}")
    return place.schema if isinstance(place.schema, bool) else place


def _counts(schema: Mapping[str, Any], least: str, most: str, path: str) -> tuple[int, int | None]:
    counts = []
    for keyword in (least, most):
        value = _bound(schema, keyword, path)
        if value is not None and (value < 0 or value.denominator != 1):
            raise wrong(keyword, path)
        counts.append(None if value is None else int(value))
    return counts[0] or 0, counts[1]


def _bounds(schema: Mapping[str, Any], path: str) -> Bounds:
    low, open_low = _end(schema, "minimum", "exclusiveMinimum", path)
    high, open_high = _end(schema, "maximum", "exclusiveMaximum", path)
    return Bounds(low, high, open_low, open_high)


def _end(
    schema: Mapping[str, Any], keyword: str, exclusive: str, path: str
) -> tuple[Fraction | None, bool]:
    """One end of a range, and whether it is outside itself (draft 4 says that with a boolean)."""
    end = _bound(schema, keyword, path)
    if isinstance(schema.get(exclusive), bool):
        return end, schema[exclusive]
    outside = _bound(schema, exclusive, path)
    if outside is None:
        return end, False
    inner = max if keyword == "minimum" else min
    if end is None or inner(end, outside) == outside:
        return outside, True
    return end, False


def _bound(schema: Mapping[str, Any], keyword: str, path: str) -> Fraction | None:
    if keyword not in schema:
        return None
    value = schema[keyword]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(keyword, path)
    return Fraction(str(value))


def implied(plain: Plain) -> tuple[str, ...]:
    """The types that the keywords are about, where none is said."""
    said = {
        "object": plain.properties or plain.required or plain.additional is not None,
        "array": plain.prefix or plain.rest is not None or plain.items != (0, None),
        "string": plain.pattern is not None or plain.format in FORMATS or plain.length != (0, None),
        "number": plain.bounds.low is not None or plain.bounds.high is not None,
    }
    return tuple(kind for kind, about in said.items() if about)
