"""Turns the regular expressions of JSON schemas (`pattern`) into rules for JSON strings.

Understood: literals, `.`, classes, `\\d \\w \\s` and their opposites, groups, alternatives,
repetitions, and `^` and `$` at the ends. What is escaped in JSON is escaped in the rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engines.gbnf import Ranges, Rules, characters, inverse, literal, one_of

LONGEST: Final = 2_000
DEEPEST: Final = 32

MOST_OPTIONAL: Final = 64
"""Most parts that may be left out."""

MOST_BESIDE: Final = 1_000
"""Most times that parts are counted beside the part that is counted most."""

MOST_COUNTED: Final = 2_000
"""Most times that a part is counted in groups (see `_Part.times`): a reader follows all ways to
count."""

_DIGIT: Final[Ranges] = [(0x30, 0x39)]
_WORD: Final[Ranges] = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
_SPACE: Final[Ranges] = [
    (0x09, 0x0D),
    (0x20, 0x20),
    (0xA0, 0xA0),
    (0x2028, 0x2029),
    (0xFEFF, 0xFEFF),
]
_LINE_ENDS: Final[Ranges] = [(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)]
_CONTROLS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_PUNCTUATION: Final = frozenset("^$\\.*+?()[]{}|/-\"'`~!@#%&=:;<>, _")
_IN_JSON: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_NOT_PLAIN: Final[Ranges] = [(0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0xD800, 0xDFFF)]


class PatternError(Exception):
    """What in the pattern is not understood; a part of a sentence."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A rule's body. `empty`: it may match nothing. `times`: 1 for a character, at least 2 for a
    group, and how often its parts are counted, with the repetitions inside of repetitions."""

    body: str
    empty: bool
    times: int = 1


def pattern_rule(rules: Rules, pattern: str, any_character: str) -> str:
    """The rule for the inside of a JSON string that matches `pattern`. `any_character`: the rule
    for one character of a JSON string. Raises `PatternError`."""
    if len(pattern) > LONGEST:
        raise PatternError(f"it is longer than {LONGEST} characters")
    return _Parser(rules, pattern, any_character).whole()


class _Parser:
    def __init__(self, rules: Rules, pattern: str, any_character: str) -> None:
        self._rules = rules
        self._pattern = pattern
        self._any = any_character
        self._at = 0
        self._depth = 0
        self._optional = 0
        self._counts: list[int] = []

    def whole(self) -> str:
        bodies = []
        while True:
            before = "" if self._take("^") else f"{self._any}* "
            part = self._sequence()
            after = "" if self._take("$") else f" {self._any}*"
            bodies.append(f"{before}{part.body}{after}")
            if not self._take("|"):
                break
        if self._at < len(self._pattern):
            raise PatternError(f"'{self._pattern[self._at]}' at {self._at}")
        return self._rules.add("pattern", one_of(bodies))

    def _alternatives(self) -> _Part:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        times = max(part.times for part in parts)
        return _Part(one_of(part.body for part in parts), any(part.empty for part in parts), times)

    def _sequence(self) -> _Part:
        parts = []
        while self._at < len(self._pattern) and self._peek() not in "|)$":
            parts.append(self._repeated())
        body = " ".join(part.body for part in parts) or '""'
        times = max((part.times for part in parts), default=1)
        return _Part(body, all(part.empty for part in parts), times)

    def _repeated(self) -> _Part:
        part = self._atom()
        times = self._times()
        if times is None:
            return part
        least, most = times
        if part.empty:
            if most == 1:
                return part
            raise PatternError("a repeated part that may be empty")
        self._optional += least == 0
        if self._optional > MOST_OPTIONAL:
            raise PatternError("too many parts that may be left out")
        self._counts.append(most or least)
        if sum(self._counts) - max(self._counts) > MOST_BESIDE:
            raise PatternError("several repetitions that are too long")
        counted = part.times * max(1, most or least)
        if part.times > 1 and counted > MOST_COUNTED:
            raise PatternError("repetitions of groups that are too long")
        item = self._rules.add("part", part.body)
        return _Part(self._rules.repeat(item, least, most), least == 0, counted)

    def _times(self) -> tuple[int, int | None] | None:
        """The repetition at this place, if there is one."""
        if self._at == len(self._pattern):
            return None
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self._peek())
        if simple is not None:
            self._at += 1
        elif self._peek() == "{":
            simple = self._counted()
        else:
            return None
        self._take("?")
        return simple

    def _counted(self) -> tuple[int, int | None]:
        end = self._pattern.find("}", self._at)
        first, comma, second = self._pattern[self._at + 1 : max(end, 0)].partition(",")
        limits = [limit for limit in (first, second) if limit]
        if end < 0 or not first or not all(x.isascii() and x.isdigit() for x in limits):
            raise PatternError(f"'{{' at {self._at}")
        if any(len(limit) > 6 for limit in limits):
            raise PatternError("a repetition that is too long")
        self._at = end + 1
        most = int(second) if second else None if comma else int(first)
        if most is not None and most < int(first):
            raise PatternError("a repetition whose end is before its start")
        return int(first), most

    def _atom(self) -> _Part:
        match character := self._next():
            case "(":
                return self._group()
            case "[":
                return self._one_of(self._class())
            case ".":
                return self._one_of(inverse(_LINE_ENDS))
            case "\\":
                return self._one_of(self._escape())
            case "*" | "+" | "?" | "{" | "^" | "$":
                raise PatternError(f"'{character}' at {self._at - 1}")
            case _:
                return self._one_of([(ord(character), ord(character))])

    def _group(self) -> _Part:
        if self._take("?") and not self._take(":"):
            raise PatternError("a look-around or a named group")
        self._depth += 1
        if self._depth > DEEPEST:
            raise PatternError("groups that are nested too deep")
        part = self._alternatives()
        if not self._take(")"):
            raise PatternError("a group that does not end, or an anchor inside of one")
        self._depth -= 1
        return _Part(f"({part.body})", part.empty, max(part.times, 2))

    def _class(self) -> Ranges:
        excluded = self._take("^")
        ranges: Ranges = []
        while self._peek() != "]":
            low = self._class_part()
            following = self._pattern[self._at : self._at + 2]
            if following[:1] != "-" or following in ("-", "-]"):
                ranges += low
                continue
            self._at += 1
            high = self._class_part()
            if len({low[0], (low[0][0],) * 2}) + len({high[0], (high[0][0],) * 2}) > 2:
                raise PatternError(f"a range of characters at {self._at}")
            ranges.append((low[0][0], high[0][0]))
        self._at += 1
        return inverse(ranges) if excluded else ranges

    def _class_part(self) -> Ranges:
        character = self._next()
        if character == "\\":
            return [(8, 8)] if self._take("b") else self._escape()
        return [(ord(character), ord(character))]

    def _escape(self) -> Ranges:
        character = self._next()
        known = {"d": _DIGIT, "w": _WORD, "s": _SPACE}.get(character.lower())
        if known is not None:
            return list(known) if character.islower() else inverse(known)
        if character in "xu":
            return self._code(2 if character == "x" else 4)
        character = _CONTROLS.get(character, character if character in _PUNCTUATION else "")
        if not character:
            raise PatternError(f"'\\{self._pattern[self._at - 1]}'")
        return [(ord(character), ord(character))]

    def _code(self, digits: int) -> Ranges:
        text = self._pattern[self._at : self._at + digits]
        if len(text) < digits or not all(c in "0123456789abcdefABCDEF" for c in text):
            raise PatternError("an escape by code")
        self._at += digits
        return [(int(text, 16), int(text, 16))]

    def _one_of(self, ranges: Ranges) -> _Part:
        """One character of `ranges`, as a JSON string has it."""
        plain = _without(ranges, _NOT_PLAIN)
        bodies = [characters(plain)] if plain else []
        bodies += [
            literal(escaped)
            for character, escaped in _IN_JSON.items()
            if any(low <= ord(character) <= high for low, high in ranges)
        ]
        if not bodies:
            raise PatternError("a character that never occurs")
        body = one_of(bodies)
        return _Part(body if len(bodies) == 1 else f"({body})", empty=False)

    def _peek(self) -> str:
        if self._at >= len(self._pattern):
            raise PatternError("it ends too early")
        return self._pattern[self._at]

    def _next(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _take(self, character: str) -> bool:
        taken = self._pattern.startswith(character, self._at)
        self._at += taken
        return taken


def _without(ranges: Sequence[tuple[int, int]], removed: Sequence[tuple[int, int]]) -> Ranges:
    return inverse([*inverse(ranges), *removed])
