"""Turns JSON schemas into rules that a JSON text must follow to fit them.

The rules may be narrower than the schema, never wider, but for `oneOf`, which is read as `anyOf`:
properties keep the order of the schema, those that it does not name are left out unless it asks for
them, tuples are complete, numbers with bounds have no exponent. White space is bounded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from engines.gbnf import Other, Rules, json_text, literal, one_of, other_than, words
from engines.json_schemas import DEEPEST, Schemas
from engines.number_ranges import INTEGER, NUMBER, RangeError, integer_range, number_range
from engines.patterns import PatternError, pattern_rule
from engines.schema_keywords import Place, Plain, SchemaError, implied, unsupported
from engines.schema_likeness import Likeness

WHITE: Final = r'(" " | "\n" [ \t]{0,20})?'

MOST_ALIKE: Final = 256
"""Most ways to read a text that may be under way at once."""

_HEX: Final = "[0-9a-fA-F]"
_PLAIN_CHARACTER: Final = r'[^"\\\x00-\x1F]'
_NOT_IN_KEYS: Final = '"\\' + "".join(map(chr, range(0x20)))

_ESCAPE: Final = (
    r'"\\" (["\\/bfnrt] | "u" ('
    rf"[0-9abcefABCEF] {_HEX}{{3}} | [dD] [0-7] {_HEX}{{2}} | "
    rf'[dD] [89abAB] {_HEX}{{2}} "\\u" [dD] [c-fC-F] {_HEX}{{2}}))'
)
"""Half of a surrogate pair is no character: strict readers refuse it."""

_MONTH_DAYS: Final = (
    '("01" | "03" | "05" | "07" | "08" | "10" | "12") "-" ("0" [1-9] | [12] [0-9] | "3" [01]) | '
    '("04" | "06" | "09" | "11") "-" ("0" [1-9] | [12] [0-9] | "30") | '
    '"02-" ("0" [1-9] | "1" [0-9] | "2" [0-8])'
)
_LEAP_YEAR: Final = (
    '[1-9] [0-9] ("0" [48] | [2468] [048] | [13579] [26]) | ([2468] [048] | [13579] [26]) "00"'
)
_DATE: Final = f'[1-9] [0-9]{{3}} "-" ({_MONTH_DAYS}) | ({_LEAP_YEAR}) "-02-29"'
_CLOCK: Final = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]'
_TIME: Final = f'{_CLOCK} ":" [0-5] [0-9] ("." [0-9]{{1,6}})? ("Z" | [-+] {_CLOCK})'

_FORMATS: Final[Mapping[str, tuple[str, int, int]]] = {
    "date": (_DATE, 10, 10),
    "time": (_TIME, 9, 21),
    "date-time": (f'({_DATE}) "T" {_TIME}', 20, 32),
    "uuid": (' "-" '.join(f"{_HEX}{{{n}}}" for n in (8, 4, 4, 4, 12)), 36, 36),
}
"""The formats that are enforced, with the lengths that they have."""


@dataclass(slots=True)
class _Pending:
    """A rule whose parts are being made. `width`: of its alternatives; `weight`: the most of any of
    its parts; `into`: the outermost pending schema that it is a part of and contains."""

    width: int
    weight: int = 1
    name: str | None = None
    into: str | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """A rule that was made. `weight`: how many ways to read it may be under way at once."""

    name: str
    weight: int
    into: str | None


class SchemaRules:
    """Adds the rules of one schema to `rules`. Raises `SchemaError` and `TooLarge`."""

    def __init__(self, rules: Rules, schema: Mapping[str, Any]) -> None:
        self._rules = rules
        self._schemas = Schemas(schema)
        self._likeness = Likeness(self._schemas)
        self._known: dict[str, _Known] = {}
        self._pending: dict[str, _Pending] = {}
        self._white = rules.add("white", WHITE)

    def root(self) -> str:
        """The name of the rule for a value that fits the schema."""
        return self._rule(self._schemas.root)

    def _rule(self, place: Place) -> str:
        place = self._schemas.target(place)
        path = place.path
        if path in self._pending:
            return self._repeat(path)
        if path not in self._known:
            if len(self._pending) >= DEEPEST:
                raise SchemaError(f"the schema at {path} is nested deeper than {DEEPEST} levels")
            self._known[path] = self._new(place)
        known = self._known[path]
        if known.into in self._pending:
            self._loop(known.into)
        if self._pending:
            parent = next(reversed(self._pending.values()))
            parent.weight = max(parent.weight, known.weight)
        return known.name

    def _new(self, place: Place) -> "_Known":
        path = place.path
        plains = self._schemas.alternatives(place)
        pending = self._pending[path] = _Pending(self._likeness.width(plains))
        bodies = [body for plain in plains for body in self._bodies(plain, path)]
        del self._pending[path]
        if not bodies:
            raise SchemaError(f"no value fits the schema at {path}")
        weight = pending.width * pending.weight
        if weight > MOST_ALIKE:
            raise SchemaError(f"too many alternatives begin alike at {path}")
        body = one_of(dict.fromkeys(bodies))
        if pending.name is None:
            return _Known(self._rules.add(_last(path), body), weight, pending.into)
        self._rules.define(pending.name, body)
        return _Known(pending.name, weight, pending.into)

    def _repeat(self, path: str) -> str:
        """The name of a rule that contains itself."""
        self._loop(path)
        pending = self._pending[path]
        pending.name = pending.name or self._rules.reserve(_last(path))
        return pending.name

    def _loop(self, path: str | None) -> None:
        """All that is pending since `path` contains itself."""
        order = [*self._pending]
        start = order.index(path) if path is not None else 0
        for inside in order[start:]:
            pending = self._pending[inside]
            if pending.width > 1:
                raise SchemaError(f"alternatives at {inside} begin alike and contain themselves")
            if pending.into is None or order.index(pending.into) > start:
                pending.into = path

    def _bodies(self, plain: Plain, path: str) -> list[str]:
        """What a value that fits `plain` looks like, in one or more ways."""
        if plain.enum is not None:
            values = [value for value in plain.enum if _fits(value, plain, path)]
            return [literal(json_text(value)) for value in values]
        types = plain.types or implied(plain)
        if not types:
            return [any_value(self._rules)]
        if "number" in types:
            types = tuple(kind for kind in types if kind != "integer")
        return [self._typed(kind, plain, path) for kind in types]

    def _typed(self, kind: str, plain: Plain, path: str) -> str:
        match kind:
            case "object":
                return self._object(plain, path)
            case "array":
                return self._array(plain, path)
            case "string":
                return self._string(plain, path)
            case "number" | "integer":
                return self._number(kind, plain, path)
            case "boolean":
                return '"true" | "false"'
            case _:
                return '"null"'

    def _object(self, plain: Plain, path: str) -> str:
        members = {name: self._member(name, place) for name, place in plain.properties.items()}
        additional = plain.additional
        if additional is None and not members and not plain.required:
            additional = True
        unnamed = [name for name in plain.required if name not in members]
        if unnamed and additional is False:
            raise SchemaError(f"the required property '{unnamed[0]}' at {path} is forbidden")
        for name in unnamed:
            place = (
                additional
                if isinstance(additional, Place)
                else Place(True, f"{path}.required.{name}")
            )
            members[name] = self._member(name, place)
        if isinstance(additional, Place) or (additional is True and members):
            more = additional if isinstance(additional, Place) else Place(True, path)
            return self._members(members, plain.required, self._other(members, more))
        if additional is True:
            return any_object(self._rules)
        return self._members(members, plain.required, None)

    def _member(self, name: str, place: Place) -> str:
        return f"{literal(json_text(name) + ':')} {self._white} {self._rule(place)}"

    def _other(self, named: Iterable[str], place: Place) -> str:
        """A property that is none of the `named`; its name has no escapes, so that it is none in
        disguise either."""
        rest = self._rules.add("key", f"{_PLAIN_CHARACTER}*")
        other = Other(rest, excluded=_NOT_IN_KEYS, longer=True)
        key = other_than(self._rules, words(named), other)
        value = any_value(self._rules) if place.schema is True else self._rule(place)
        return self._rules.add("other", rf'"\"" {key} "\":" {self._white} {value}')

    def _members(
        self, members: Mapping[str, str], required: tuple[str, ...], other: str | None
    ) -> str:
        """An object of `members` in this order, and then any number of `other`."""
        white = self._white
        after = f'("," {white} {other})*' if other else ""
        firsts = [f"{other} {after}"] if other else []
        for name, member in reversed([*members.items()]):
            if name in required:
                firsts = [f"{member} {after}"]
                after = f'"," {white} {member} {after}'
            else:
                after = after and self._rules.add("members", after)
                firsts.append(f"{member} {after}")
                after = f'("," {white} {member})? {after}'
        if not firsts:
            return f'"{{" {white} "}}"'
        some = f"({one_of(reversed(firsts))}) {white}"
        if not any(name in required for name in members):
            some = f"({some})?"
        return f'"{{" {white} {some} "}}"'

    def _array(self, plain: Plain, path: str) -> str:
        least, most = plain.items
        prefix = plain.prefix[:most]
        rest = plain.rest
        if rest is None:
            rest = not prefix or least > len(prefix)
        last = len(prefix) if rest is False else most
        if last is not None and last < least:
            raise SchemaError(f"no value fits the schema at {path}")
        parts = [self._rule(place) for place in prefix]
        if last == len(prefix):
            return self._tuple(parts)
        item = self._rule(rest) if isinstance(rest, Place) else any_value(self._rules)
        more = None if last is None else last - len(prefix)
        return self._list(parts, item, max(least - len(prefix), 0), more)

    def _tuple(self, parts: list[str]) -> str:
        white = self._white
        items = f' "," {white} '.join(parts)
        return f'"[" {white} {items} {white} "]"' if items else f'"[" {white} "]"'

    def _list(self, parts: list[str], item: str, least: int, most: int | None) -> str:
        white = self._white
        following = self._rules.add("item", f'"," {white} {item}')
        if parts:
            some = f' "," {white} '.join(parts)
            return f'"[" {white} {some} {self._rules.repeat(following, least, most)} {white} "]"'
        further = None if most is None else most - 1
        some = f"{item} {self._rules.repeat(following, max(least - 1, 0), further)} {white}"
        return f'"[" {white} {some if least else f"({some})?"} "]"'

    def _string(self, plain: Plain, path: str) -> str:
        least, most = plain.length
        if most is not None and most < least:
            raise SchemaError(f"no value fits the schema at {path}")
        character = _character(self._rules)
        if plain.pattern is not None:
            if (least, most) != (0, None):
                raise unsupported("pattern", path, "it is combined with a length")
            try:
                inside = pattern_rule(self._rules, plain.pattern, character)
            except PatternError as error:
                raise unsupported("pattern", path, str(error)) from None
        elif plain.format is not None and plain.format in _FORMATS:
            body, shortest, longest = _FORMATS[plain.format]
            if least > shortest or (most is not None and most < longest):
                raise unsupported("format", path, "it is combined with a length")
            inside = self._rules.add(plain.format, body)
        else:
            inside = self._rules.repeat(character, least, most)
        return rf'"\"" {inside} "\""'

    def _number(self, kind: str, plain: Plain, path: str) -> str:
        bounds = plain.bounds
        if bounds.low is None and bounds.high is None:
            return self._rules.add(kind, INTEGER if kind == "integer" else NUMBER)
        try:
            return integer_range(bounds) if kind == "integer" else number_range(bounds)
        except RangeError:
            raise SchemaError(f"no number can be written between the bounds at {path}") from None


def any_value(rules: Rules) -> str:
    """The name of the rule for any JSON value."""
    _define_any(rules)
    return "value"


def any_object(rules: Rules) -> str:
    """The name of the rule for any JSON object."""
    _define_any(rules)
    return "object"


def _define_any(rules: Rules) -> None:
    if rules.has("value"):
        return
    white = rules.add("white", WHITE)
    string = rules.add("string", rf'"\"" {_character(rules)}* "\""')
    number = rules.add("number", NUMBER)
    member = rules.add("member", f'{string} ":" {white} value')
    rules.define("object", _listed("{", member, "}", white))
    rules.define("array", _listed("[", "value", "]", white))
    rules.define("value", f'object | array | {string} | {number} | "true" | "false" | "null"')


def _listed(opening: str, item: str, closing: str, white: str) -> str:
    some = f'{item} ("," {white} {item})* {white}'
    return f'"{opening}" {white} ({some})? "{closing}"'


def _character(rules: Rules) -> str:
    return rules.add("character", f"{_PLAIN_CHARACTER} | {_ESCAPE}")


def _last(path: str) -> str:
    """The end of `path`, to name a rule by."""
    return path.rsplit(".", 1)[-1]


def _fits(value: object, plain: Plain, path: str) -> bool:
    """Whether a listed value fits what is said beside the list."""
    if plain.types is not None and not any(_is(value, kind) for kind in plain.types):
        return False
    match value:
        case bool() | None:
            return True
        case int() | float():
            return Fraction(str(value)) in plain.bounds
        case str():
            if plain.pattern is not None:
                raise unsupported("pattern", path, "it is combined with a list of values")
            least, most = plain.length
            return least <= len(value) and (most is None or len(value) <= most)
        case _ if any(kind in ("object", "array") for kind in implied(plain)):
            raise unsupported("enum", path, "its objects and arrays would have to be checked")
        case _:
            return True


def _is(value: object, kind: str) -> bool:
    match value:
        case bool():
            return kind == "boolean"
        case None:
            return kind == "null"
        case int():
            return kind in ("integer", "number")
        case float():
            return kind == "number" or (kind == "integer" and value.is_integer())
        case str():
            return kind == "string"
        case list():
            return kind == "array"
        case _:
            return kind == "object"
