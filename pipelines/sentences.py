"""Sentences out of text that is still being written, each with what to say of it.

The rules are our own: libraries of sentence boundaries want whole texts, or hold every sentence
back until the next one begins, and cut through code, tables and links.
"""
# ruff: noqa: RUF001 - the marks of other scripts are meant as they stand

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipelines.abbreviations import lexicon
from pipelines.lines import Line, closes, code_fence, end_of_line, kind_of
from pipelines.sentence_ends import STOPS, Seen, Verdict, end_of_stop, unfinished
from pipelines.spoken_text import Aligned, list_number, say

_EVENT = re.compile(
    rf"(?P<stop>[{STOPS}]+)|(?P<line>\n)|(?P<fence>[`~])|(?P<clause>[-,;:—–、，；：])"
)
_CLAUSE = re.compile(r"[,;:—–]\s|\s-\s|[、，；：]")
_SPACE = re.compile(r"\s")
_ADDRESS = re.compile(r"(?:https?://|\bwww\.|\]\()\S*\Z")
_REST_OF_ADDRESS = re.compile(r"[^\s)]*\)?")
_WIDE = "\u2e80"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, or a part of one. `text` is a slice of the source, and the slices joined are all
    of it; `spoken` is what to say, "" for nothing."""

    text: str
    spoken: str
    ends: tuple[int, ...] = field(default=(), repr=False, compare=False)
    """For each character of `spoken`: so many of `text` have been said with it."""


def marks_to_text(sentence: Sentence, characters_of_spoken: int) -> int:
    """How many characters of `text` have been said when so many of `spoken` have."""
    if characters_of_spoken >= len(sentence.spoken):
        return len(sentence.text)
    if characters_of_spoken <= 0:
        return 0
    if sentence.ends:
        return sentence.ends[characters_of_spoken - 1]
    return characters_of_spoken * len(sentence.text) // len(sentence.spoken)


class SentenceSplitter:
    """Takes text as it comes; however it is cut, the sentences are the same.

    The first thing to be said may end with a clause, once it has `first` characters; one of a
    script without spaces counts as three. Nothing is longer than `longest` characters.
    """

    def __init__(self, *, language: str | None = None, first: int = 60, longest: int = 250) -> None:
        if longest < 1:
            raise ValueError("a sentence has at least one character")
        self._language = language
        self._lexicon = lexicon(language)
        self._first: int | None = first
        self._longest = longest
        self._text = ""
        self._start = 0  # of the sentence that is being looked for
        self._at = 0  # what is before was looked at
        self._line = 0  # where the line begins that `_at` is in
        self._line_of_start = 0  # where the line begins that `_start` is in
        self._kind = Line.TEXT  # of that line, where its beginning has been let go
        self._fence: str | None = None  # the one that code stands in
        self._in_address = False  # the last sentence ended in an address too long for it
        self._cuts_address = False  # the same of the one about to be let go
        self._numbers: set[int] = set()  # of list items

    def feed(self, text: str) -> list[Sentence]:
        """The sentences that are certainly complete now."""
        self._text += text
        return list(self._sentences(final=False))

    def flush(self) -> list[Sentence]:
        """The rest; the text is over."""
        return list(self._sentences(final=True))

    def overdue(self) -> list[Sentence]:
        """What is complete if nothing more comes soon: text that ends in a stop."""
        waits = self._text[self._start :].rstrip()
        if self._fence is not None or waits[-1:] not in set(STOPS):
            return []
        return self.flush()

    def _sentences(self, *, final: bool) -> Iterator[Sentence]:
        while self._start < len(self._text):
            seen = self._seen(final)
            in_code = self._fence is not None
            end = self._end_of_code(seen) if in_code else self._end(seen)
            if end is None:
                break
            yield self._let_go(end, in_code)
        self._forget()

    def _seen(self, final: bool) -> Seen:
        return Seen(self._text, self._start, self._start + self._longest, self._line, final)

    def _forget(self) -> None:
        """Keep no text that was let go."""
        gone = self._start
        self._text = self._text[gone:]
        self._start = 0
        self._at -= gone
        self._line -= gone
        self._line_of_start -= gone

    def _end(self, seen: Seen) -> int | None:
        """Where the sentence ends; None: it may go on."""
        available = min(seen.limit, len(self._text))
        while event := _EVENT.search(self._text, self._at, available):
            verdict = self._verdict(self._seen(seen.final), event)
            match verdict:
                case int():
                    return verdict
                case Verdict.WAIT:
                    self._at = event.start()
                    return None
                case Verdict.NO:
                    self._at = event.end()
                    if event.lastgroup == "line":
                        self._line = event.end()
        self._at = available
        if len(self._text) >= seen.limit:
            return self._forced_end()
        return available if seen.final else None

    def _verdict(self, seen: Seen, event: re.Match[str]) -> int | Verdict:
        at = event.start()
        match event.lastgroup:
            case "stop" if self._kind_of_line(at) is not Line.ROW:
                return end_of_stop(seen, at, self._lexicon)
            case "line" if self._text[self._start : at].strip():
                return end_of_line(seen, at, self._kind_of_line(at))
            case "fence":
                return self._verdict_on_fence(seen, at)
            case "clause" if self._first is not None:
                return self._verdict_on_clause(seen, at)
            case _:
                return Verdict.NO

    def _kind_of_line(self, until: int) -> Line:
        if self._line >= self._start:
            return kind_of(self._text[self._line : until])
        return self._kind

    def _verdict_on_fence(self, seen: Seen, at: int) -> int | Verdict:
        fence = code_fence(seen, at)
        if isinstance(fence, Verdict):
            return fence
        if self._text[self._start : self._line].strip():
            return self._line
        self._fence = fence
        newline = self._text.find("\n", at, seen.limit)
        return newline + 1 if newline >= 0 else min(len(self._text), seen.limit)

    def _verdict_on_clause(self, seen: Seen, at: int) -> int | Verdict:
        """The first thing to be said need not be a sentence."""
        piece = self._text[self._start : at + 1].lstrip()
        if self._first is None or 3 * len(piece) < self._first or unfinished(piece):
            return Verdict.NO
        if len(piece) + 2 * sum(sign >= _WIDE for sign in piece) < self._first:
            return Verdict.NO
        if self._kind_of_line(at) is Line.ROW:
            return Verdict.NO
        clause = _CLAUSE.match(self._text, at - (piece[-1] == "-"), seen.limit)
        if clause:
            return clause.end()
        return seen.missing if at + 1 == len(self._text) else Verdict.NO

    def _end_of_code(self, seen: Seen) -> int | None:
        newline = self._text.find("\n", self._at, seen.limit)
        if newline < 0 and len(self._text) < seen.limit and not seen.final:
            self._at = len(self._text)
            return None
        return newline + 1 if newline >= 0 else min(len(self._text), seen.limit)

    def _forced_end(self) -> int:
        """Where to cut what is too long: at the last clause, else at the last space."""
        window = self._text[self._start : self._start + self._longest]
        spaces = [match.end() for match in _SPACE.finditer(window)]
        clauses = [match.end() for match in _CLAUSE.finditer(window)]
        good = (
            end
            for ends in (clauses, spaces)
            for end in reversed(ends)
            if end > self._longest // 3 and not unfinished(window[:end])
        )
        end = next(good, spaces[-1] if spaces else len(window))
        begun = not spaces and self._in_address and ")" not in window
        self._cuts_address = end == len(window) and (begun or bool(_ADDRESS.search(window)))
        return self._start + end

    def _let_go(self, end: int, in_code: bool) -> Sentence:
        text = self._text[self._start : end]
        begins_line = self._line_of_start == self._start
        said = Aligned.of("") if self._fence else self._said(text, begins_line)
        self._kind = self._kind_until(end)
        if said.text:
            self._first = None
        if self._fence and in_code and begins_line and closes(text, self._fence):
            self._fence = None
        self._in_address, self._cuts_address = self._cuts_address, False
        self._start = self._at = end
        self._line = self._line_of_start
        return Sentence(text, said.text, said.ends)

    def _kind_until(self, end: int) -> Line:
        """The kind of the line that `end` is in, which becomes the line of the next start."""
        self._line = self._line_of_start
        newline = self._text.rfind("\n", self._start, end) + 1
        if newline:
            self._line = newline
        kind = self._kind_of_line(end)
        self._line_of_start = self._line
        return kind

    def _said(self, text: str, begins_line: bool) -> Aligned:
        skipped = _REST_OF_ADDRESS.match(text) if self._in_address else None
        skip = skipped.end() if skipped else 0
        begun = text.lstrip()
        own_line = begins_line or "\n" in text[: len(text) - len(begun)]
        kind = kind_of(begun) if own_line else self._kind
        number = list_number(text) if own_line else None
        item = number is not None and (number == 1 or bool({number, number - 1} & self._numbers))
        if number is not None and item:
            self._numbers.add(number)
        said = say(
            text[skip:],
            language=self._language,
            begins_line=begins_line,
            row=kind is Line.ROW,
            item=item,
        )
        return Aligned(said.text, tuple(end + skip for end in said.ends)) if skip else said
