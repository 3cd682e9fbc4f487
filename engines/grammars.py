"""Grammars that keep a model's answer to JSON, or to JSON that fits a schema."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grammar:
    """A GBNF grammar; its root rule is `root`.

    `triggers`: patterns of text after which it is enforced, as llama.cpp's lazy grammars take them;
    none: from the first token.
    """

    text: str
    triggers: tuple[str, ...] = ()
