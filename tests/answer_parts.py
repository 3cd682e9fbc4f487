"""Reads answers with a parser, split in several ways, and puts together what comes of them."""

import random
from collections.abc import Iterable, Sequence

from engines.answers import AnswerParser, Delta
from engines.chat_families import Family
from engines.generation import Chat, ReasoningDelta, TextDelta, ToolCallDelta

Call = tuple[str, str]
Thought = tuple[str]
Part = str | Thought | Call


def parts_of(deltas: Iterable[Delta]) -> list[Part]:
    """The deltas put together: text, `(thought,)` and `(name, arguments)`."""
    parts: list[Part] = []
    count = 0
    for delta in deltas:
        last = parts[-1] if parts else None
        match delta:
            case TextDelta(text):
                if isinstance(last, str):
                    parts[-1] = last + text
                else:
                    parts.append(text)
            case ReasoningDelta(text):
                if isinstance(last, tuple) and len(last) == 1:
                    parts[-1] = (last[0] + text,)
                else:
                    parts.append((text,))
            case ToolCallDelta(index, arguments, call_id, name):
                if name is not None:
                    assert index == count
                    assert call_id
                    count += 1
                    parts.append((name, arguments))
                else:
                    assert index == count - 1
                    assert isinstance(last, tuple)
                    assert len(last) == 2
                    parts[-1] = (last[0], last[1] + arguments)
    return parts


def read(parser: AnswerParser, pieces: Sequence[str]) -> list[Part]:
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    parts = parts_of([*deltas, *parser.finish()])
    assert parser.called == any(isinstance(part, tuple) and len(part) == 2 for part in parts)
    return parts


def parts(family: Family, text: str, chat: Chat, *, thinking: bool = False) -> list[Part]:
    """What `text` consists of; the same for the whole, for characters and for random pieces."""
    whole = read(family.parser(chat, thinking=thinking), [text])
    assert read(family.parser(chat, thinking=thinking), list(text)) == whole
    chance = random.Random(text)
    for _ in range(2):
        assert read(family.parser(chat, thinking=thinking), split(text, chance)) == whole
    return whole


def split(text: str, chance: random.Random) -> list[str]:
    pieces = []
    while text:
        length = chance.randint(1, 9)
        pieces.append(text[:length])
        text = text[length:]
    return pieces
