"""GBNF, the notation of llama.cpp's grammars: rules by name, and the rules that are easy to get
wrong (long repetitions, text up to a tag, text that is none of some words).

llama.cpp expands a repetition into that many rules and refuses 2,000; it looks for left recursion
along every path, so that nothing here puts a rule that can be empty at the start of another.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

MOST_RULES: Final = 10_000
MOST_CHARACTERS: Final = 1 << 20

BLOCK: Final = 256
"""A longer repetition is one of blocks of this many."""

MOST_REPETITIONS: Final = BLOCK * 1_000

_EXPANDED: Final = 20
"""Characters that a repetition counts for each time: llama.cpp makes a rule of it."""

LONGEST_WORD: Final = 128

Ranges = list[tuple[int, int]]

LAST: Final = 0x10FFFF
"""The last code point."""

ANY: Final = r"[^\x00]"


class TooLarge(Exception):
    """The grammar would have too many rules."""


def literal(text: str) -> str:
    """The rule for exactly `text`."""
    return '"' + "".join(_literal_character(character) for character in text) + '"'


def inverse(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All code points that are in none of `ranges`, ends included."""
    gaps: Ranges = []
    at = 0
    for low, high in sorted(ranges):
        if low > at:
            gaps.append((at, low - 1))
        at = max(at, high + 1)
    if at <= LAST:
        gaps.append((at, LAST))
    return gaps


def characters(ranges: Iterable[tuple[int, int]], *, excluded: bool = False) -> str:
    """The rule for one character in (or in none) of the code point `ranges`, ends included."""
    parts = (
        _class_end(low) if low == high else f"{_class_end(low)}-{_class_end(high)}"
        for low, high in ranges
    )
    return f"[{'^' if excluded else ''}{''.join(parts)}]"


def none_of(text: str) -> str:
    """The rule for one character that does not occur in `text`.

    An excluded class of llama.cpp bars the first byte of what it excludes, and with it many other
    characters; so it is only used for those of one byte.
    """
    if not text:
        return ANY
    barred = [(ord(character), ord(character)) for character in sorted(set(text))]
    return characters(barred, excluded=True) if text.isascii() else characters(inverse(barred))


def one_of(rules: Iterable[str]) -> str:
    return " | ".join(rules)


def json_text(value: object) -> str:
    """`value` as a model would write it, on one line."""
    text = json.dumps(value, ensure_ascii=False)
    return text if _encodable(text) else json.dumps(value)


class Rules:
    """The rules of one grammar. Rules with the same body share one name."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._characters = 0

    def add(self, hint: str, body: str) -> str:
        """The name of the rule `body`; `hint` is part of it. Raises `TooLarge`."""
        if body not in self._names:
            self.define(self.reserve(hint), body)
        return self._names[body]

    def has(self, name: str) -> bool:
        return name in self._bodies

    def reserve(self, hint: str) -> str:
        """A name for a rule that will be `define`d, for rules that mention themselves."""
        if len(self._bodies) >= MOST_RULES:
            raise TooLarge
        name = f"{_word(hint)}-{len(self._bodies)}"
        self._bodies[name] = ""
        return name

    def define(self, name: str, body: str) -> None:
        self._grow(len(name) + len(body))
        self._bodies[name] = body
        self._names.setdefault(body, name)

    def copy(self) -> "Rules":
        other = Rules()
        other._bodies = dict(self._bodies)
        other._names = dict(self._names)
        other._characters = self._characters
        return other

    def restore(self, other: "Rules") -> None:
        """Be again what the copy `other` is."""
        self._bodies, self._names = other._bodies, other._names
        self._characters = other._characters

    def text(self, root: str) -> str:
        """The grammar that begins with the rule `root`."""
        rules = (f"{name} ::= {body}" for name, body in self._bodies.items())
        return "\n".join((f"root ::= {root}", *rules)) + "\n"

    def repeat(self, item: str, least: int, most: int | None) -> str:
        """`item` (a rule's name; it must not be empty) from `least` to `most` times."""
        if max(least, most or 0) > MOST_REPETITIONS:
            raise TooLarge
        parts = [self._exactly(item, least)]
        if most is None:
            parts.append(f"{item}*")
        elif most > least:
            parts.append(self._up_to(item, most - least))
        return " ".join(part for part in parts if part) or '""'

    def until(self, tag: str, then: str, *, may_end: bool) -> str:
        """Any text up to the first `tag`, and then the rule `then`; with `may_end` the text may
        also end before (Knuth, Morris and Pratt's automaton, a rule for each state)."""
        states = [self.reserve("until") for _ in tag]
        targets = [*states, then]
        for state, name in enumerate(states):
            nexts = {character: _next_state(tag, state, character) for character in tag}
            known = "".join(character for character, target in nexts.items() if target)
            moves = [f"{none_of(known)} {states[0]}"]
            moves += [f"{literal(character)} {targets[nexts[character]]}" for character in known]
            if may_end:
                moves.append('""')
            self.define(name, one_of(moves))
        return states[0]

    def _grow(self, characters: int) -> None:
        self._characters += characters
        if self._characters > MOST_CHARACTERS:
            raise TooLarge

    def _exactly(self, item: str, times: int) -> str:
        blocks, rest = divmod(times, BLOCK)
        parts = []
        if blocks:
            parts.append(f"{self._block(item)}{{{blocks}}}")
        if rest:
            parts.append(item if rest == 1 else f"{item}{{{rest}}}")
        return " ".join(parts)

    def _up_to(self, item: str, times: int) -> str:
        blocks, rest = divmod(times, BLOCK)
        self._grow(_EXPANDED * (min(times, BLOCK) + blocks))
        if not blocks:
            return f"{item}{{0,{rest}}}"
        fewer = f"{item}{{0,{BLOCK - 1}}}"
        if blocks > 1:
            fewer = f"{self._block(item)}{{0,{blocks - 1}}} {fewer}"
        full = self._exactly(item, blocks * BLOCK)
        if rest:
            full += f" {item}{{0,{rest}}}"
        return self.add("up-to", one_of((fewer, full)))

    def _block(self, item: str) -> str:
        return self.add("block", f"{item}{{{BLOCK}}}")


@dataclass(slots=True)
class Word:
    """What follows a beginning of some words, for `other_than`."""

    next: dict[str, "Word"] = field(default_factory=dict)
    last: bool = False
    spaced: bool = False
    """Any white space may come here without changing what follows."""


def words(texts: Iterable[str]) -> Word:
    """A tree of `texts`."""
    root = Word()
    for text in texts:
        grown(root, text).last = True
    return root


def grown(tree: Word, text: str) -> Word:
    """The place in `tree` after `text`, made where it is not there. Raises `TooLarge`."""
    if len(text) > LONGEST_WORD:
        raise TooLarge
    for character in text:
        tree = tree.next.setdefault(character, Word())
    return tree


@dataclass(frozen=True, slots=True)
class Other:
    """How `other_than` goes on. `rest`: the rule for what follows once the text is different (it
    may be empty). `excluded`: characters that the text never has. `longer`: a text that begins
    with a word and goes on is different, too."""

    rest: str
    excluded: str = ""
    longer: bool = False


def other_than(rules: Rules, tree: Word, other: Other) -> str:
    """The name of the rule for a text that is (or, not `longer`, begins with) none of the words of
    `tree`."""
    name = rules.reserve("other")
    barred = "".join(tree.next) + other.excluded + (" \t\r\n" if tree.spaced else "")
    moves = [f"{none_of(barred)} {other.rest}"]
    for character, child in tree.next.items():
        if not child.last or other.longer:
            moves.append(f"{literal(character)} {other_than(rules, child, other)}")
    if tree.spaced:
        moves.append(rf"[ \t\r\n] {name}")
    if not tree.last:
        moves.append('""')
    rules.define(name, one_of(moves))
    return name


def _next_state(tag: str, state: int, character: str) -> int:
    """How much of a beginning of `tag` there is after `tag[:state]` and `character`."""
    text = tag[:state] + character
    return next(k for k in range(len(text), -1, -1) if text.endswith(tag[:k]))


def _literal_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if " " <= character <= "~" else _by_code(ord(character))


def _class_end(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else _by_code(code)


def _by_code(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def _word(hint: str) -> str:
    """`hint` as far as it can be part of a rule's name."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", hint[:40]).strip("-") or "rule"


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
