"""Keeps a caller's text from becoming control tokens when a template makes a prompt of it.

The caller's text is marked before the template runs. The marks travel with it through whatever the
template does, which does not see them, and afterwards tell the caller's text from the template's.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

from engines.base import InvalidInput
from engines.marked_text import MARK, Marked, marked, marks_inside, plain


class ControlTexts:
    """The texts of a vocabulary's control tokens, which a caller's text must not bring about.

    A mark follows every character of the caller's that could begin one, and precedes a text of the
    caller's that could go on with one; a control text with a mark inside is therefore none of the
    template's. This holds across texts that a template trims, joins or puts beside its own. It does
    not hold where a template cuts a text into parts and puts such a part behind the beginning of a
    control text, or makes new characters out of the caller's (as escapes do).

    Texts of one character cannot be cut, and white space is no control text; both stay as they are.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        known = sorted({text for text in texts if len(text) > 1 and not text.isspace()})
        self._longest = max(map(len, known), default=0)
        self._tails = frozenset(text[at:] for text in known for at in range(1, len(text)))
        self._insides = "\0".join(text[1:] for text in known)
        self._any = re.compile(f"(?=({_longest_of(known)}))") if known else None
        firsts = "".join(re.escape(first) for first in sorted({text[0] for text in known}))
        self._first = re.compile(f"([{firsts}])") if known else None

    def mark(self, value: Any) -> Any:
        """The caller's texts, mappings and sequences of them, with marks. Raises `InvalidInput` for
        text that has no encoding."""
        match value:
            case str():
                return self._mark(value)
            case Mapping():
                return {self.mark(key): self.mark(item) for key, item in value.items()}
            case Sequence():
                return [self.mark(item) for item in value]
            case _:
                return value

    def pieces(self, text: str) -> tuple[str, ...]:
        """`text` without marks, cut so that no piece has a control text that a mark is inside of.

        The pieces together are the whole text.
        """
        whole = plain(text)
        if self._any is None or not isinstance(text, Marked):
            return (whole,)
        cuts: set[int] = set()
        for found in self._any.finditer(whole):
            cuts.update(marks_inside(text, *found.span(1))[:1])
        edges = (0, *sorted(cuts), len(whole))
        return tuple(whole[start:end] for start, end in pairwise(edges))

    def _mark(self, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"A text is not valid Unicode: {error.reason}.", "messages"
            ) from None
        if self._first is None:
            return text
        body = text.lstrip()  # which is all that some templates use
        parts = (text[: len(text) - len(body)], body)
        after = rf"\1{MARK}"
        return marked("".join(self._before(part) + self._first.sub(after, part) for part in parts))

    def _before(self, text: str) -> str:
        """A mark, if `text` could go on with, or end, a control text that has begun."""
        inside = any(
            0 < len(part) < self._longest and part in self._insides
            for part in (text, text.rstrip())
        )
        lengths = range(1, min(len(text), self._longest) + 1)
        return MARK if inside or any(text[:end] in self._tails for end in lengths) else ""


def _longest_of(texts: Sequence[str]) -> str:
    """A pattern of the longest of `texts`, which are sorted, as a trie: thousands of alternatives
    would be tried one by one at every place."""
    least, most = texts[0], texts[-1]
    differ = (at for at, (one, other) in enumerate(zip(least, most, strict=False)) if one != other)
    shared = least[: next(differ, len(least))]
    tails = [text[len(shared) :] for text in texts]
    here = not tails[0]
    groups = groupby(tails[here:], key=lambda tail: tail[0])
    longer = "|".join(_longest_of(list(group)) for _, group in groups)
    return re.escape(shared) + (f"(?:{longer})" + "?" * here if longer else "")
