"""What to say of a piece of an answer: its words without Markdown, and where each character of them
stands in the piece.

Our own rules and no Markdown parser: a parser wants whole documents, leaves what is not closed yet
as it stands, and does not tell where in a line its text was.
"""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

_EMOJI = "\U0001f000-\U0001faff\u2600-\u27bf\u2b05-\u2b55\u25a0-\u25ff\u231a-\u231b\u23e9-\u23fa"
# Skin tones are among both: were the two told apart, each would be tried as either, for ever.
_EMOJI_RUN = rf"[{_EMOJI}][{_EMOJI}\ufe0f\u200d\u20e3\U000e0020-\U000e007f]*"
_PREFIX = re.compile(
    r"^[ \t]*(?:>[ \t]?)*(?:#{1,6}[ \t]+|[-*+•][ \t]+(?:\[[ xX]\][ \t]+)?|\[\^[^\]\n]+\]:[ \t]*)?",
    re.MULTILINE,
)
_NUMBER = re.compile(r"\A\s*(?:>[ \t]?)*(\d{1,3})[.)][ \t]+(?=\S)")
_REFERENCE = r"\[[^\]^\n]+\]:[ \t]+<?(?:https?://|www\.|/|#)\S*.*"
SILENT = rf"[ \t]*(?:(?:[-*_|:][ \t]*){{3,}}|={{2,}}[ \t]*|{_REFERENCE})\r?"
"""A line that says nothing: a rule, an underline, a table's second row, a link's address."""
_SILENT_LINE = re.compile(f"^{SILENT}$", re.MULTILINE)
_LINK = re.compile(
    r"!?\[((?:[^\[\]\\]|\\.)*)\]"  # [text]
    r"(?:\((?:[^()]|\([^()]*\))*\)|\[[^\[\]]*\])"  # (address) or [name of one]
    r"|!?\[([^\[\]]*)\]\([^)\s]*\Z"  # cut off
)
_URL = re.compile(
    r"(?:https?://|\bwww\.)(?:[^\s/@]*@)?(?:www\.)?([\w.\-]*[^\W_])(?::\d+)?"
    r"(?:[/?#](?:[^\s<>\u3000-\uffef]*[^\s<>.,;:!?)\"'\]*_|\u3000-\uffef])?)?",
    re.ASCII,
)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^>\s]+)>")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(
    r"</?[a-zA-Z][\w-]*(?:\s+[\w:@-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))*\s*/?>"
)
_FOOTNOTE = re.compile(r"\[\^[^\]]+\]")
_MAILTO = re.compile(r"\bmailto:")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|\w{2,31});")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_END_OF_HEADING = re.compile(r"[ \t]#+[ \t]*$", re.MULTILINE)
_EDGES_OF_ROW = re.compile(r"\A\s*\|\s*|\s*\|\s*\Z")
_CELLS = re.compile(r"\s*\|(?:\s*\|)*\s*")
_COLUMNS = re.compile(r" \| ")
_SPACES = re.compile(r"\s+")
_EDGES = re.compile(r"\A | \Z")
_EMOJIS = re.compile(rf"[ \t]?{_EMOJI_RUN}(?=[\s.,!?)]|\Z)|{_EMOJI_RUN}|[\ufe0f\u20e3•]")
_MARKS = re.compile(
    r"(?<![^\W_])_+|_+(?![^\W_])"  # inside a word _ belongs to it
    r"|\*{2,}|~~+|`+"
    r"|(?<![\sA-Za-z0-9])\*|\*(?![\sA-Za-z0-9])|(?<!\S)\*(?=\S)|(?<=\S)\*(?=\s|\Z)"
)
_MONEY = re.compile(
    r"(?<![\w$€£])([$€£])(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?"
    r"(?:(?P<short>[kKMBT])(?![\w])|(?P<large> (?:hundred|thousand|million|billion|trillion)\b))?"
    r"(?![\d])"
)
_UNITS = {"$": ("dollar", "cent", "cents"), "€": ("euro", "cent", "cents")}
_UNITS["£"] = ("pound", "penny", "pence")
_LARGE = {"k": " thousand", "K": " thousand", "M": " million", "B": " billion", "T": " trillion"}

Replacement = str | int


@dataclass(frozen=True, slots=True)
class Aligned:
    """A text made from a source. When its first n characters have been said, so have the first
    `ends[n - 1]` of the source."""

    text: str
    ends: tuple[int, ...]

    @classmethod
    def of(cls, source: str) -> "Aligned":
        return cls(source, tuple(range(1, len(source) + 1)))

    def sub(
        self, pattern: re.Pattern[str], replace: Callable[[re.Match[str]], Replacement]
    ) -> "Aligned":
        """Like `re.sub`; a number keeps that group of the match, with its places."""
        parts: list[str] = []
        ends: list[int] = []
        done = 0
        for match in pattern.finditer(self.text):
            parts.append(self.text[done : match.start()])
            ends.extend(self.ends[done : match.start()])
            new = replace(match)
            if isinstance(new, int):
                parts.append(self.text[match.start(new) : match.end(new)])
                ends.extend(self.ends[match.start(new) : match.end(new)])
            else:
                parts.append(new)
                ends.extend(self._spread(match, len(new)))
            done = match.end()
        if not done and not parts:
            return self
        parts.append(self.text[done:])
        ends.extend(self.ends[done:])
        return Aligned("".join(parts), tuple(ends))

    def _spread(self, match: re.Match[str], count: int) -> list[int]:
        """Ends for `count` characters in the place of a match."""
        if not count:
            return []
        begin = self.ends[match.start() - 1] if match.start() else 0
        length = (self.ends[match.end() - 1] if match.end() else 0) - begin
        return [begin + length * place // count for place in range(1, count + 1)]


def list_number(piece: str) -> int | None:
    """The number a piece begins with, if it could be a list item's."""
    match = _NUMBER.match(piece)
    return int(match[1]) if match else None


def say(piece: str, *, language: str | None, begins_line: bool, row: bool, item: bool) -> Aligned:
    """What to say of a piece that is no code. `begins_line`: it begins with a line; `row`: it is
    part of a table's row; `item`: its number is a list item's."""
    said = Aligned.of(piece)
    if item:
        said = said.sub(_NUMBER, _drop)
    said = _without_spans(_without_blocks(said, begins_line))
    if row:
        said = said.sub(_EDGES_OF_ROW, _drop)
    said = said.sub(_CELLS if row else _COLUMNS, _comma)
    if language is None or language.lower().startswith("en"):
        said = said.sub(_MONEY, _money)
    said = said.sub(_SPACES, _space).sub(_EDGES, _drop)
    return said if any(character.isalnum() for character in said.text) else Aligned.of("")


def _without_blocks(said: Aligned, begins_line: bool) -> Aligned:
    def leave(match: re.Match[str]) -> Replacement:
        return "" if match.start() or begins_line else 0

    return said.sub(_SILENT_LINE, leave).sub(_PREFIX, leave).sub(_END_OF_HEADING, _drop)


def _without_spans(said: Aligned) -> Aligned:
    said = said.sub(_COMMENT, _drop).sub(_AUTOLINK, _group).sub(_BREAK, _space).sub(_TAG, _drop)
    said = said.sub(_FOOTNOTE, _drop)
    for _ in range(2):  # an image may be a link's text
        said = said.sub(_LINK, _group)
    said = said.sub(_URL, _group).sub(_MAILTO, _drop)
    said = said.sub(_ENTITY, _character).sub(_ESCAPE, _group)
    return said.sub(_MARKS, _drop).sub(_EMOJIS, _drop)


def _drop(_: re.Match[str]) -> str:
    return ""


def _space(_: re.Match[str]) -> str:
    return " "


def _comma(_: re.Match[str]) -> str:
    return ", "


def _group(match: re.Match[str]) -> int:
    return match.lastindex or 0


def _character(match: re.Match[str]) -> str:
    return html.unescape(match[0])


def _money(match: re.Match[str]) -> str:
    one, coin, coins = _UNITS[match[1]]
    whole, part = match[2], match[3]
    large = match["large"] or _LARGE.get(match["short"] or "", "")
    if large or (part and len(part) != 2):
        return f"{whole}{f'.{part}' if part else ''}{large} {one}s"
    notes = "" if part and whole == "0" else f"{whole} {one if whole == '1' else f'{one}s'}"
    if not part or part == "00":
        return notes or f"0 {one}s"
    change = f"{int(part)} {coin if int(part) == 1 else coins}"
    return f"{notes} and {change}" if notes else change
