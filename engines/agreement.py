"""Which words of a growing hypothesis have settled. No I/O, no clock.

LocalAgreement-2 (Liu et al., Interspeech 2020; Macháček et al. 2023): a word is settled once two
hypotheses in a row say it at the same place. The last word of a hypothesis is always held back,
because audio that ends inside a word is the most common cause of a wrong one.
"""

from collections.abc import Sequence

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
        count = len(self._settled)
        if all(
            normalised(mine.text) == normalised(theirs.text)
            for mine, theirs in zip(self._settled, words, strict=False)
        ):
            return words[count:]
        # It says something else where words have settled: go on by time instead.
        end = self._settled[-1].end
        return [word for word in words if word.start >= end - SLACK]


def normalised(word: str) -> str:
    """A word without case and punctuation, for comparing hypotheses."""
    bare = "".join(c for c in word.casefold() if c.isalnum() or c == "'")
    return bare or word.casefold()
