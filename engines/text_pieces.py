"""A long text cut where it hurts least, so that each part of it is a short piece of work."""

import re

_STOPS = "\u3002\uff01\uff1f"
"""The full stop, exclamation mark and question mark of Chinese and Japanese."""

SENTENCE_ENDS = (".", "!", "?", "\u2026", *_STOPS)

_BREAKS = (
    re.compile(rf"[.!?\u2026]+[\"'\u201d\u2019)\]]*\s+|[{_STOPS}]"),
    re.compile(r"[,;:\u2014\u3001\uff0c\uff1b\uff1a]\s*"),
    re.compile(r"\s+"),
)
"""Where a text may be cut, the best places first."""

_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def pieces(text: str, most: int) -> list[tuple[int, int]]:
    """Beginnings and ends of consecutive parts of `text`, of at most so many characters each.

    Cut at the end of a sentence, else of a clause, else between words; a place in the second half
    of what is allowed, or else any; inside a word where it is longer than allowed.
    """
    parts: list[tuple[int, int]] = []
    start = 0
    while len(text) - start > most:
        end = _cut(text, start, start + most)
        parts.append((start, end))
        start = end
    if start < len(text):
        parts.append((start, len(text)))
    return parts


def _cut(text: str, start: int, limit: int) -> int:
    for earliest in ((start + limit) // 2, start + 1):
        for place in _BREAKS:
            ends = [found.end() for found in place.finditer(text, start, limit)]
            if ends and ends[-1] >= earliest:
                return ends[-1]
    return limit


def speakable(text: str) -> str:
    """`text` with a space in place of each control character and lone surrogate, which libraries
    written in C cannot take. No character changes its place."""
    return _UNSPEAKABLE.sub(" ", text)
