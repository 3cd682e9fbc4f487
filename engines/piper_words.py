"""Which words of a text its phonemes belong to: when each has been said."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

_WORD = re.compile(r"\S+")
_SPACE = " "
_ROUNDING = 1e-6

Phonemes = list[str]


@dataclass(frozen=True, slots=True)
class WordEnd:
    """A word of a text ends with this character of it, and with this group of phonemes of its
    sentence (from 0; a part of a group where phonemes tell no words apart)."""

    characters: int
    group: float


def group_ends(phonemes: Phonemes) -> list[int]:
    """Where each group ends, in phonemes; punctuation belongs to the word before it."""
    ends: list[int] = []
    inside = False
    for index, phoneme in enumerate(phonemes):
        if phoneme == _SPACE:
            if inside:
                ends.append(index)
            inside = False
        elif inside or phoneme.isalpha():
            inside = True
    return [*ends, len(phonemes)] if inside else ends


def match_words(
    text: str, sentences: Sequence[Phonemes], phonemize: Callable[[str], Sequence[Phonemes]]
) -> list[list[WordEnd]]:
    """The words of a text that became these sentences, by sentence.

    A word is one group, or, where that does not come out right (numbers, abbreviations), as many
    as it becomes when it stands alone; what then still differs ("of the" is one group in English)
    is spread evenly.
    """
    words = list(_WORD.finditer(text))
    sizes = [len(group_ends(sentence)) for sentence in sentences]
    counts = [1] * len(words)
    if sum(sizes) != len(words):
        counts = [sum(len(group_ends(each)) for each in phonemize(word[0])) for word in words]
    said = list(accumulate(counts))
    scale = sum(sizes) / said[-1] if said and said[-1] else 0.0
    ends = [WordEnd(word.end(), at * scale) for word, at in zip(words, said, strict=True)]
    return list(_by_sentence(ends, sizes))


def _by_sentence(ends: Sequence[WordEnd], sizes: Sequence[int]) -> Iterator[list[WordEnd]]:
    start = 0
    for size in sizes:
        inside = (end for end in ends if start + _ROUNDING < end.group <= start + size + _ROUNDING)
        yield [WordEnd(end.characters, end.group - start) for end in inside]
        start += size


def cut_sentence(phonemes: Phonemes, most: int) -> list[Phonemes]:
    """A sentence in parts of at most so many phonemes, cut at spaces where it has them."""
    parts: list[Phonemes] = []
    while len(phonemes) > most:
        spaces = [index for index in range(most // 2, most) if phonemes[index] == _SPACE]
        end = spaces[-1] + 1 if spaces else most
        parts.append(phonemes[:end])
        phonemes = phonemes[end:]
    return [*parts, phonemes]
