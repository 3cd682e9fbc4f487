"""Which words of a growing hypothesis have settled. No I/O, no clock.

LocalAgreement-2 (Liu et al., Interspeech 2020; Macháček et al. 2023): a word is settled once two
hypotheses in a row say it at the same place. The last word of a hypothesis is always held back,
because audio that ends inside a word is the most common cause of a wrong one.
"""

from collections.abc import Sequence
from dataclasses import replace

from engines.recognition import Word

SLACK = 0.1
"""Seconds that word times of two hypotheses may differ by for the same word."""


class LocalAgreement:
    """Feed it each hypothesis of one utterance; `settled` only ever grows."""

    def __init__(self) -> None:
        self._settled: list[Word] = []
        self._rest: Sequence[Word] = ()

    @property
    def settled(self) -> tuple[Word, ...]:
        """The words that will not change before the final."""
        return tuple(self._settled)

    def hear(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """Take the newest hypothesis of the whole utterance; return its unsettled words."""
        rest = self.beyond(words)
        agreed = 0
        for old, new in zip(self._rest, rest[:-1], strict=False):
            if normalised(old.text) != normalised(new.text):
                break
            agreed += 1
        self._settled += rest[:agreed]
        self._rest = rest[agreed:]
        return tuple(self._rest)

    def beyond(self, words: Sequence[Word]) -> Sequence[Word]:
        """The words of a hypothesis after those that have settled; settles none."""
        return after(self._settled, words)

    def repeats(self, words: Sequence[Word]) -> bool:
        """Whether a hypothesis of complete speech says again what was heard of it before.

        That is all words that have settled, or, if none have, the newest hypothesis, whose last
        word may have been cut.
        """
        known = self._settled or self._rest
        if _says(known, words):
            return bool(known)
        return not self._settled and len(known) > 1 and _says(known[:-1], words)

    def settle(self, words: Sequence[Word]) -> None:
        """Settle all words of a hypothesis that nothing needs to confirm."""
        self._settled += self.beyond(words)
        self._rest = ()

    def retime(self, words: Sequence[Word]) -> bool:
        """Give the settled words the times of a hypothesis that says them; false if it does not."""
        if not _says(self._settled, words):
            return False
        self._settled = [
            replace(mine, start=theirs.start, end=theirs.end, probability=theirs.probability)
            for mine, theirs in zip(self._settled, words, strict=False)
        ]
        return True

    def release(self, count: int) -> tuple[Word, ...]:
        """Give away the first settled words: the hypotheses to come begin after them."""
        released = tuple(self._settled[:count])
        del self._settled[:count]
        return released


def after(known: Sequence[Word], words: Sequence[Word]) -> Sequence[Word]:
    """The words of a hypothesis after those that are known."""
    if _says(known[: len(words)], words):
        return words[len(known) :]
    # It says something else where words are known: go on by time instead.
    return [word for word in words if word.start >= known[-1].end - SLACK]


def _says(known: Sequence[Word], words: Sequence[Word]) -> bool:
    return len(known) <= len(words) and all(
        normalised(mine.text) == normalised(theirs.text)
        for mine, theirs in zip(known, words, strict=False)
    )


def normalised(word: str) -> str:
    """A word without case and punctuation, for comparing hypotheses."""
    bare = "".join(c for c in word.casefold() if c.isalnum() or c == "'")
    return bare or word.casefold()
