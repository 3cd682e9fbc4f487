"""What the lines of a Markdown text are, and whether a sentence goes on in the next one."""
# ruff: noqa: RUF001 - typographic quotes are meant as they stand

import re
from enum import Enum

from pipelines.sentence_ends import Seen, Verdict
from pipelines.spoken_text import SILENT

_INDENT = r"[ \t]*(?:>[ \t]?)*"
_FENCE_PREFIX = re.compile(rf"{_INDENT}(?:(?:[-*+•]|\d{{1,3}}[.)])[ \t]+)?")
_ROW = re.compile(rf"{_INDENT}\|")
_HEADING = re.compile(rf"{_INDENT}#{{1,6}}\s")
_ITEM = re.compile(rf"{_INDENT}(?:[-*+•]|\d{{1,3}}[.)])[ \t]")
_RULE = re.compile(SILENT)
_BLANKS = re.compile(r"[ \t\r]{0,40}")
_QUOTE_MARKS = re.compile(r"[ \t>]{0,40}")
_NUMBER = re.compile(r"\d{1,4}")
_LETTER = re.compile(r"[\s\"'“‘„«(\[*_¿¡]{0,10}")
_WRAPPED = 50
"""A line with fewer characters was not broken because it was full."""


class Line(Enum):
    TEXT = "text"
    HEADING = "heading"
    ITEM = "item"
    ROW = "row"
    RULE = "rule"


def kind_of(line: str) -> Line:
    """What a line is, or seems to be as far as it has come."""
    if _RULE.fullmatch(line):
        return Line.RULE
    if _ROW.match(line):
        return Line.ROW
    if _HEADING.match(line):
        return Line.HEADING
    return Line.ITEM if _ITEM.match(line) else Line.TEXT


def end_of_line(seen: Seen, at: int, kind: Line) -> int | Verdict:
    """Where the sentence ends, if it does, that has a line's end `at`."""
    end = at + 1
    line = seen.text[max(seen.line, seen.start) : at]
    if kind in (Line.HEADING, Line.ROW, Line.RULE) or _RULE.fullmatch(line) or " | " in line:
        return end
    blanks = _QUOTE_MARKS if line.lstrip().startswith(">") else _BLANKS
    match = blanks.match(seen.text, end)
    begin = match.end() if match else end
    if begin == len(seen.text):
        return end if seen.final else Verdict.WAIT
    if seen.text[begin] == "\n":
        return end
    block = _begins_block(seen, begin)
    if isinstance(block, Verdict):
        return block
    if block:
        return end
    short = kind is Line.ITEM or at - seen.line < _WRAPPED
    if line.rstrip().endswith("."):  # which was found to end no sentence
        short = False
    return _unless_small(seen, begin, end) if short else Verdict.NO


def _unless_small(seen: Seen, begin: int, end: int) -> int | Verdict:
    match = _LETTER.match(seen.text, begin)
    letter = match.end() if match else begin
    if letter == len(seen.text):
        return end if seen.final else Verdict.WAIT
    return Verdict.NO if seen.text[letter].islower() else end


def _begins_block(seen: Seen, at: int) -> bool | Verdict:
    """Whether a line whose first sign is `at` begins a block of its own."""
    text = seen.text
    sign, following = text[at], text[at + 1 : at + 2]
    if sign in "#>|":
        return True
    if sign in "-*+•":
        if not following:
            return Verdict.WAIT if not seen.final else False
        return following.isspace() or following == sign
    if sign in "`~":
        fence = text[at : at + 3]
        whole = len(fence) == 3 or fence != sign * len(fence) or seen.final
        return fence == sign * 3 if whole else Verdict.WAIT
    number = _NUMBER.match(text, at) if sign.isdecimal() else None
    return False if number is None else _numbered(seen, number)


def _numbered(seen: Seen, number: re.Match[str]) -> bool | Verdict:
    if len(number[0]) == 4:
        return False
    marker = seen.text[number.end() : number.end() + 2]
    if marker[:1] and marker[0] not in ".)":
        return False
    if len(marker) < 2:
        return False if seen.final else Verdict.WAIT
    return marker[1].isspace()


def code_fence(seen: Seen, at: int) -> str | Verdict:
    """The fence that begins `at`, if one does: what is before it in its line is no text."""
    text = seen.text
    if seen.line < seen.start or not _FENCE_PREFIX.fullmatch(text, seen.line, at):
        return Verdict.NO
    sign = text[at]
    end = at
    while end < len(text) and end < seen.limit and text[end] == sign:
        end += 1
    if end == len(text) and not seen.final and end < seen.limit:
        return Verdict.WAIT
    if end - at < 3:
        return Verdict.NO
    newline = text.find("\n", end, seen.limit)
    stop = newline if newline >= 0 else min(len(text), seen.limit)
    if sign == "`" and "`" in text[end:stop]:
        return Verdict.NO
    if newline < 0 and len(text) < seen.limit and not seen.final:
        return Verdict.WAIT
    return text[at:end]


def closes(line: str, fence: str) -> bool:
    """Whether a line of code is the end of it."""
    found = line.strip().lstrip("> \t")
    return len(found) >= len(fence) and not found.strip(fence[0])
