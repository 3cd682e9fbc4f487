"""Keeps a caller's text from becoming control tokens when a template makes a prompt of it.

The caller's text is marked before the template runs. The marks travel with it through whatever the
template does, which does not see them, and afterwards tell the caller's text from the template's.
"""

import re
from bisect import bisect_left
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
        self._firsts = sorted({text[0] for text in known})
        self._any = re.compile(f"(?=({_longest_of(known)}))") if known else None
        self._tails = sorted({text[at:] for text in known for at in range(1, len(text))})
        self._whole_tails = frozenset(self._tails)
        self._longest_tail = max(map(len, self._tails), default=0)

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
        body = text.lstrip()  # which is all that some templates use
        space = text[: len(text) - len(body)]
        found = self._before(space) + self._after_firsts(space)
        return marked(found + self._before(body) + self._after_firsts(body))

    def _after_firsts(self, text: str) -> str:
        for first in self._firsts:
            text = text.replace(first, first + MARK)
        return text

    def _before(self, text: str) -> str:
        """A mark, if `text` could go on with, or end, a control text that has begun."""
        could = any(self._is_inside(part) for part in (text, text.rstrip()) if part)
        lengths = range(1, min(len(text), self._longest_tail) + 1)
        return MARK if could or any(text[:end] in self._whole_tails for end in lengths) else ""

    def _is_inside(self, text: str) -> bool:
        """Whether a control text has `text` in it, after its first character."""
        at = bisect_left(self._tails, text)
        return at < len(self._tails) and self._tails[at].startswith(text)


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
