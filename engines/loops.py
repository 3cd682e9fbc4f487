"""Loops in recognised text: a decoder that got stuck says the same words again and again."""

from collections.abc import Sequence

from engines.agreement import normalised
from engines.recognition import Word

LONGEST_PHRASE = 8
LEAST_REPEATS_OF_A_WORD = 8
LEAST_REPEATS_OF_A_PHRASE = 3
LEAST_WORDS_OF_PHRASES = 12


def without_loops(words: Sequence[Word]) -> list[Word]:
    """The words with each loop cut down to its first round.

    A loop is a word said at least 8 times in a row, or a phrase of 2 to 8 words said at least 3
    times in a row and making at least 12 words; people seldom do that, stuck decoders always.
    """
    texts = [normalised(word.text) for word in words]
    kept: list[Word] = []
    at = 0
    while at < len(words):
        phrase, end = _loop(texts, at)
        kept += words[at : at + phrase]
        at = end
    return kept


def _loop(texts: Sequence[str], at: int) -> tuple[int, int]:
    """Length of the phrase that loops from `at`, and the loop's end; `(1, at + 1)`: no loop."""
    for phrase in range(1, LONGEST_PHRASE + 1):
        end = at + phrase
        while end < len(texts) and texts[end] == texts[end - phrase]:
            end += 1
        repeats = (end - at) // phrase
        if phrase == 1 and repeats >= LEAST_REPEATS_OF_A_WORD:
            return phrase, end
        if (
            phrase > 1
            and repeats >= LEAST_REPEATS_OF_A_PHRASE
            and repeats * phrase >= LEAST_WORDS_OF_PHRASES
        ):
            # What follows the last whole round belongs to the loop only if the text ends there.
            return phrase, end if end == len(texts) else at + repeats * phrase
    return 1, at + 1
