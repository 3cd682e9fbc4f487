"""From a request to tokens: the chat template, control tokens, and what has to be left out."""

from collections.abc import Sequence
from dataclasses import dataclass

from engines.answers import AnswerParser
from engines.base import InvalidInput
from engines.chat_families import Family, family_of
from engines.chat_templates import ChatTemplate, truncated
from engines.generation import Chat, ContextLengthExceeded, Generate, Plain
from engines.grammars import Grammar, json_grammar
from engines.llama_text import Tokeniser

MOST_CHARACTERS_PER_TOKEN = 256
"""The longest tokens of common vocabularies are half as long."""

LEAST_ANSWER = 1
"""Tokens that have to be left for the answer."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens to answer, what the answer has to look like, and who reads it (None: nobody, it
    is plain text)."""

    tokens: Sequence[int]
    grammar: Grammar | None
    parser: AnswerParser | None


class Prompts:
    """Makes prompts for one model. `context` is the most tokens of prompt and answer together."""

    def __init__(self, tokeniser: Tokeniser, template: str | None, context: int) -> None:
        self._tokeniser = tokeniser
        self._context = context
        self._family: Family = family_of(template)
        self._template = ChatTemplate(
            template,
            bos=tokeniser.bos,
            eos=tokeniser.eos,
            special=tokeniser.special_texts(),
        )

    def prompt(self, request: Generate) -> Prompt:
        """Raises `InvalidInput`, and `ContextLengthExceeded` before anything is computed."""
        if isinstance(request.prompt, Plain):
            return self._plain(request, request.prompt)
        return self._chat(request, request.prompt)

    def _bounded(self, characters: int, where: str) -> None:
        """Refuse what is far too long before it is cut into tokens."""
        most = self._context * MOST_CHARACTERS_PER_TOKEN
        if characters > most:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {self._context} tokens. However, your "
                f"{where} has {characters} characters. Please reduce the length of the {where}.",
                where,
            )

    def _plain(self, request: Generate, plain: Plain) -> Prompt:
        if isinstance(plain.text, str):
            self._bounded(len(plain.text), "prompt")
            tokens = self._tokeniser.tokens((plain.text,), special=False, bos=True)
        else:
            tokens = self._checked(plain.text)
        if not tokens:
            raise InvalidInput("The prompt is empty.", "prompt")
        most = self._context - LEAST_ANSWER
        if len(tokens) > most:
            if not request.truncate:
                raise self._too_long(len(tokens), "prompt")
            tokens = tokens[-most:]
        grammar = None
        if request.format.kind != "text":
            schema = request.format.schema if request.format.kind == "json_schema" else None
            grammar = json_grammar(schema)
        return Prompt(tokens, grammar, None)

    def _chat(self, request: Generate, chat: Chat) -> Prompt:
        while True:
            pieces = self._template.render(chat)
            if not request.truncate:
                self._bounded(sum(map(len, pieces)), "messages")
            tokens = self._tokeniser.tokens(pieces, special=True, bos=True)
            if len(tokens) <= self._context - LEAST_ANSWER:
                break
            shorter = self._shorter(chat, len(tokens), pieces) if request.truncate else None
            if shorter is None:
                raise self._too_long(len(tokens), "messages")
            chat = shorter
        thinking = bool(pieces) and pieces[-1].rstrip().endswith(self._family.think[0])
        grammar = self._family.grammar(chat, request.format, thinking=thinking)
        return Prompt(tokens, grammar, self._family.parser(chat, thinking=thinking))

    def _shorter(self, chat: Chat, tokens: int, pieces: Sequence[str]) -> Chat | None:
        """Without as many of the oldest messages as the excess of tokens is worth, or one."""
        total = sum(map(len, pieces))
        excess = total * (tokens - self._context + LEAST_ANSWER) / tokens
        around = (total - _characters(chat)) / len(chat.messages)
        # `around`: what the template puts around a message, on average.

        def worth(other: Chat) -> float:
            return _characters(other) + around * len(other.messages)

        shorter = truncated(chat)
        while shorter is not None and worth(chat) - worth(shorter) < excess:
            following = truncated(shorter)
            if following is None:
                break
            shorter = following
        return shorter

    def _checked(self, tokens: Sequence[int]) -> list[int]:
        wrong = next((each for each in tokens if not 0 <= each < self._tokeniser.size), None)
        if wrong is not None:
            raise InvalidInput(
                f"Token {wrong} is not in the model's vocabulary of {self._tokeniser.size}.",
                "prompt",
            )
        return list(tokens)

    def _too_long(self, tokens: int, where: str) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"This model's maximum context length is {self._context} tokens. However, your {where} "
            f"resulted in {tokens} tokens. Please reduce the length of the {where}.",
            where,
        )


def _characters(chat: Chat) -> int:
    return sum(len(str(message.get("content") or "")) for message in chat.messages)
