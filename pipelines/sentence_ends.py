"""Whether a sentence ends at a stop or at a line's end, or what comes next has to be seen first."""
# ruff: noqa: RUF001 - the marks of other scripts are meant as they stand

import re
from dataclasses import dataclass
from enum import Enum

from pipelines.abbreviations import MONTHS, Lexicon

_STRONG = "。！？｡؟۔।॥։።။។‼⁇⁈⁉"
STOPS = f".!?…．{_STRONG}"
_RUN = re.compile(f"[{STOPS}]+")
_OPENERS = "“‘«‹"  # of quotations in some languages, the ends of them in others
_SAME = re.compile(rf"([\"'*_~`{_OPENERS}])\1*")
_QUOTES = _OPENERS + "\"'”’»)]}」』）】》〉›"
_EMPHASIS = "*_~`"
_CLOSERS = re.compile(rf"(?:[{re.escape(_QUOTES + _EMPHASIS)}]|\[\^?\w{{1,10}}\])*")
_HALF_REFERENCE = re.compile(r"\[\^?\w{0,10}\Z")
_LEAD = re.compile(r"[\s\"'“‘„«(\[*_¿¡]{0,40}")
_WORD = re.compile(r"[^\W\d_](?:[\w'’]{0,14})")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_ORDINAL = re.compile(r"\d{1,2}|[IVX]{2,}")
_MARKER = re.compile(r"\s*(?:>\s*)*(?:[-*+]\s+)?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,4})")
_BEFORE = frozenset(" \t\r\n\u00a0\u202f\"'“”‘’„«»([{<*_~`|/—–")
_OPEN_CODE = re.compile(r"(`+)(?:(?!`).)+?\1(?!`)", re.DOTALL)
_OPEN_LINK = re.compile(r"\[[^\]]{0,80}\Z|\]\([^)\s]*\Z")
_LONGEST_ABBREVIATION = 24
_OPEN = 80
"""So many characters an opened code span or link is waited for to be closed."""


class Verdict(Enum):
    """No end here; or that cannot be told yet."""

    NO = "no"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is of a text: a piece begins at `start` and may not go beyond `limit`; `line` is
    where its current line begins. More may come after `text`, unless it is `final`."""

    text: str
    start: int
    limit: int
    line: int
    final: bool

    @property
    def missing(self) -> Verdict:
        return Verdict.NO if self.final else Verdict.WAIT


def unfinished(piece: str) -> bool:
    """Whether a piece ends inside a code span or a link."""
    tail = piece[-2 * _OPEN :]
    return "`" in _OPEN_CODE.sub("", tail)[-_OPEN:] or _OPEN_LINK.search(tail) is not None


def end_of_stop(seen: Seen, at: int, lexicon: Lexicon) -> int | Verdict:
    """Where the sentence ends whose stop, or run of stops, is at `at`: after closing quotes and
    brackets, and after one white space."""
    match = _RUN.match(seen.text, at, seen.limit)
    assert match is not None, "asked at a stop"
    run = match[0]
    closed = _after_closers(seen, match.end(), strong=run[-1] in _STRONG)
    if isinstance(closed, Verdict):
        return closed
    if closed >= seen.limit:
        return Verdict.NO
    if closed == len(seen.text):
        return closed if seen.final else Verdict.WAIT
    closers, following = seen.text[match.end() : closed], seen.text[closed]
    end = closed + following.isspace()
    if run[-1] in _STRONG:
        # A Japanese quotation goes on with its particle.
        return Verdict.NO if closers and following in "とっ、，," else _outside(seen, end)
    if not following.isspace():
        wide = following >= "\u2e80" and following.isalpha()
        return _outside(seen, end) if wide and run[-1] in "!?．" else Verdict.NO
    if _outside(seen, end) is Verdict.NO:
        return Verdict.NO
    quoted = any(closer not in _EMPHASIS for closer in closers)
    return _after_white_space(seen, match, end, quoted, lexicon)


def _outside(seen: Seen, end: int) -> int | Verdict:
    return Verdict.NO if unfinished(seen.text[seen.start : end]) else end


def _after_closers(seen: Seen, at: int, *, strong: bool) -> int | Verdict:
    """Where the quotes and brackets that belong to a stop end."""
    text = seen.text
    match = _CLOSERS.match(text, at, seen.limit)
    end = match.end() if match else at
    if strong:
        if end == len(text) and not seen.final:
            return Verdict.WAIT
        # Without white space after a stop, a quote that looks the same on both sides may open.
        for sign in _SAME.finditer(text, at, end):
            if sign[0] in _OPENERS or text.count(sign[0], seen.start, at) % 2 == 0:
                return sign.start()
    if not seen.final and end < seen.limit and _HALF_REFERENCE.match(text, end):
        return Verdict.WAIT
    if text[end : end + 1] in (" ", "\u00a0", "\u202f"):
        opened = text.count("«", seen.start, end) > text.count("»", seen.start, end)
        if opened and end + 1 == len(text):
            return end if seen.final else Verdict.WAIT
        if opened and text[end + 1] == "»":
            return min(end + 2, seen.limit)
    return end


def _after_white_space(
    seen: Seen, run: re.Match[str], end: int, quoted: bool, lexicon: Lexicon
) -> int | Verdict:
    """The verdict on stops that white space follows, which ends at `end` or later."""
    text = seen.text
    if run[0] == ".":
        line = text[seen.line : run.start()] if seen.line >= seen.start else None
        if line is not None and text[end - 1] != "\n" and _MARKER.fullmatch(line):
            return Verdict.NO
        word = _word_before(text, seen.start, run.start())
        verdict = _abbreviated(seen, word, run.start(), end, lexicon)
        if verdict is not None:
            return verdict
    elif not set(run[0]) & set("!?．"):
        return _unless_small(seen, end, also=("I", "I'm", "I've", "I'd", "I'll"))
    return _unless_small(seen, end) if quoted else end


def _word_before(text: str, start: int, at: int) -> str:
    """The word, or its last characters, that ends at `at`."""
    begin = at
    earliest = max(start, at - _LONGEST_ABBREVIATION)
    while begin > earliest and text[begin - 1] not in _BEFORE:
        begin -= 1
    return text[begin:at]


def _abbreviated(
    seen: Seen, word: str, at: int, end: int, lexicon: Lexicon
) -> int | Verdict | None:
    """The verdict on a stop that may belong to the `word` before it; None: it does not."""
    folded = word.lower()
    if folded in lexicon.never:
        return Verdict.NO
    if folded in lexicon.unless and len(word) > 1:
        return _unless_small(seen, end, digits=True)
    if (len(word) == 1 and word.isalpha()) or _DOTTED.fullmatch(word):
        return _after_initial(seen, word, end, lexicon)
    if lexicon.ordinals and _ORDINAL.fullmatch(word):
        before = _word_before(seen.text, seen.start, max(seen.start, at - len(word) - 1))
        return _after_ordinal(seen, before, end, lexicon)
    return None


def _ahead(seen: Seen, at: int) -> tuple[str, bool] | Verdict:
    """The next word, or what there is of it, and whether it is complete; "": none comes next."""
    text = seen.text
    lead = _LEAD.match(text, at)
    begin = lead.end() if lead else at
    if _BLANK_LINE.search(text, max(at - 1, 0), begin) or begin - at >= 40:
        return "", True
    if begin == len(text):
        return ("", True) if seen.final else Verdict.WAIT
    if text[begin].isdigit():
        return text[begin], True
    word = _WORD.match(text, begin)
    if word is None:
        return "", True
    return word[0], seen.final or word.end() < len(text) or len(word[0]) == 15


def _unless_small(
    seen: Seen, end: int, *, digits: bool = False, also: tuple[str, ...] = ()
) -> int | Verdict:
    """An end, unless a small letter (or a digit, or one of the words `also`) comes next."""
    ahead = _ahead(seen, end)
    if isinstance(ahead, Verdict):
        return ahead
    word, complete = ahead
    if word[:1].islower() or (digits and word[:1].isdigit()):
        return Verdict.NO
    if word and not complete and any(other.startswith(word) for other in also):
        return Verdict.WAIT
    return Verdict.NO if word in also else end


def _after_initial(seen: Seen, initial: str, end: int, lexicon: Lexicon) -> int | Verdict:
    """After one letter (`J.`) or several (`U.S.`), of which names and sentences may go on."""
    ahead = _ahead(seen, end)
    if isinstance(ahead, Verdict):
        return ahead
    word, complete = ahead
    if word[:1].islower() or word[:1].isdigit():
        return Verdict.NO
    if not word[:1].isupper():
        return end
    if not complete:
        return Verdict.WAIT
    if len(word) == 1 and _stop_follows(seen, end):
        return Verdict.NO
    if len(initial) == 1 and initial.islower():
        return end
    return end if word.replace("’", "'").lower() in lexicon.starters else Verdict.NO


def _stop_follows(seen: Seen, end: int) -> bool:
    lead = _LEAD.match(seen.text, end)
    place = (lead.end() if lead else end) + 1
    return seen.text[place : place + 1] == "."


def _after_ordinal(seen: Seen, before: str, end: int, lexicon: Lexicon) -> int | Verdict:
    """After a number that may be an ordinal: `der 3. Oktober`."""
    ahead = _ahead(seen, end)
    if isinstance(ahead, Verdict):
        return ahead
    word, complete = ahead
    if word[:1].islower() or word[:1].isdigit() or before.lower() in lexicon.before_ordinals:
        return Verdict.NO
    begun = word[:3].lower()
    if not complete and len(begun) < 3 and any(month.startswith(begun) for month in MONTHS):
        return Verdict.WAIT
    return Verdict.NO if begun in MONTHS else end
