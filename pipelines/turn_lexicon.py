"""What a language's words tell about whether a sentence is over.

Words are as `turn_ends` cuts them: lower case, and in French and Italian split after an apostrophe.
"""

from collections.abc import Mapping
from dataclasses import dataclass


def words(*lists: str) -> frozenset[str]:
    """The words of the lists, which are apart by spaces."""
    return frozenset(word for each in lists for word in each.split())


def phrases(listed: str) -> frozenset[tuple[str, ...]]:
    """The phrases of the list, which are apart by commas, as their words."""
    return frozenset(tuple(phrase.split()) for phrase in listed.split(",") if phrase.strip())


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One language.

    `hangs` are words that something follows (articles, prepositions, conjunctions), and `leans`
    those that something mostly follows; `stranded` ones hang unless a question ends with them, and
    `particles` unless one of `particle_verbs` (beginnings of words) came before. `opens` are
    phrases that hang at the end. `answers` are whole utterances that are over however short they
    are. `modals` need an infinitive, which ends in one of `infinitives`. A sentence that begins
    with one of `subordinators` is over when it has a main clause: a second one of `subjects`, or,
    in languages that leave those out, enough words.
    """

    hangs: frozenset[str]
    leans: frozenset[str]
    opens: frozenset[tuple[str, ...]]
    fillers: frozenset[str]
    answers: frozenset[tuple[str, ...]]
    closes: frozenset[str]
    questions: frozenset[str]
    inversions: frozenset[str]
    subordinators: frozenset[str]
    digits: frozenset[str]
    numbers: frozenset[str]
    """Numbers of two digits."""
    dictations: Mapping[str, int]
    """Words that announce a number, and how many digits it has at least."""
    at: frozenset[str]
    dot: frozenset[str]
    stranded: frozenset[str] = frozenset()
    particles: frozenset[str] = frozenset()
    particle_verbs: tuple[str, ...] = ()
    subjects: frozenset[str] = frozenset()
    modals: frozenset[str] = frozenset()
    infinitives: tuple[str, ...] = ()
    elides: bool = False
    starters: frozenset[str] = frozenset()
    """Words before the beginning of a sentence that mean nothing to it."""
