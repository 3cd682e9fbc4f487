"""From a request to tokens: the chat template, control tokens, and what has to be left out."""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engines.answers import AnswerParser
from engines.base import InvalidInput
from engines.chat_families import Family, family_of
from engines.chat_templates import ChatTemplate, truncated
from engines.chat_window import window
from engines.generation import Chat, ContextLengthExceeded, Generate, Plain
from engines.grammars import Grammar, json_grammar
from engines.llama_text import Tokeniser

MOST_CHARACTERS_PER_TOKEN = 256
"""The longest tokens of common vocabularies are half as long."""

LEAST_ANSWER = 1
"""Tokens that have to be left for the answer."""

ANSWER_SHARE = 8
"""One in so many tokens of the context is left for an answer of any length where messages are left
out for it; for one of a known length it is up to half."""

REMEMBERED_TEXTS = 8192
SHORT_TEXT = 2048
"""Texts of up to so many characters whose length in tokens is remembered: a conversation comes
again with each answer."""

AROUND = 8
"""Tokens that a template puts around a message, where it cannot be measured."""

_USER: Mapping[str, Any] = {"role": "user", "content": "x"}
_ASSISTANT: Mapping[str, Any] = {"role": "assistant", "content": "x"}


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
        self._remembered = functools.lru_cache(REMEMBERED_TEXTS)(self._count)
        self._frame, self._around = self._overhead()

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
            tokens = tokens[-max(1, int(most * request.retention)) :]
        grammar = None
        if request.format.kind != "text":
            schema = request.format.schema if request.format.kind == "json_schema" else None
            grammar = json_grammar(schema)
        return Prompt(tokens, grammar, None)

    def _chat(self, request: Generate, chat: Chat) -> Prompt:
        most = self._context - LEAST_ANSWER
        room = self._room(request) if request.truncate else most
        if request.truncate:
            chat = self._window(chat, room, request.retention)
        while True:
            pieces = self._template.render(chat)
            if not request.truncate:
                self._bounded(sum(map(len, pieces)), "messages")
            tokens = self._tokeniser.tokens(pieces, special=True, bos=True)
            if len(tokens) <= room:
                break
            shorter = self._shorter(chat, len(tokens) / room, pieces) if request.truncate else None
            if shorter is None and len(tokens) > most:
                raise self._too_long(len(tokens), "messages")
            if shorter is None:
                break
            chat = shorter
        thinking = bool(pieces) and pieces[-1].rstrip().endswith(self._family.think[0])
        grammar = self._family.grammar(chat, request.format, thinking=thinking)
        return Prompt(tokens, grammar, self._family.parser(chat, thinking=thinking))

    def _room(self, request: Generate) -> int:
        """Tokens for a prompt that can be made shorter for the sake of its answer."""
        asked = request.max_tokens
        answer = self._context // ANSWER_SHARE if asked is None else min(asked, self._context // 2)
        return self._context - max(answer, LEAST_ANSWER)

    def _window(self, chat: Chat, room: int, retention: float) -> Chat:
        """What is left of the chat for so many tokens, going by what its messages cost alone: what
        is asked of the whole would not be the same each time."""
        fixed = self._frame
        if chat.tools or chat.template:
            fixed = self._measured(chat, (_USER,), fixed + self._around) - self._around
        costs = [self._cost(message) for message in chat.messages]
        return window(chat, costs, room - fixed, room * retention - fixed)

    def _cost(self, message: Mapping[str, Any]) -> int:
        texts = [str(message.get("content") or "")]
        if calls := message.get("tool_calls"):
            texts.append(_json(calls))
        return self._around + sum(map(self._tokens, texts))

    def _tokens(self, text: str) -> int:
        """How many a text is; of one that is far too long, as many as is too many."""
        if len(text) > self._context * MOST_CHARACTERS_PER_TOKEN:
            return self._context
        return self._remembered(text) if len(text) <= SHORT_TEXT else self._count(text)

    def _count(self, text: str) -> int:
        return len(self._tokeniser.tokens((text,), special=False, bos=False))

    def _overhead(self) -> tuple[int, int]:
        """Tokens of a prompt without messages, and those around each message."""
        one = self._measured(Chat(()), (_USER,), 2 * AROUND)
        three = self._measured(Chat(()), (_USER, _ASSISTANT, _USER), one + 2 * AROUND)
        around = max(0, math.ceil((three - one) / 2))
        return max(0, one - around), around

    def _measured(self, chat: Chat, messages: tuple[Mapping[str, Any], ...], failing: int) -> int:
        """Tokens of the chat with other messages; `failing` where the template refuses them."""
        try:
            pieces = self._template.render(replace(chat, messages=messages))
        except InvalidInput:
            return failing
        return len(self._tokeniser.tokens(pieces, special=True, bos=True))

    def _shorter(self, chat: Chat, times: float, pieces: Sequence[str]) -> Chat | None:
        """Without as many of the oldest messages as make it so many times too long, or one."""
        total = sum(map(len, pieces))
        excess = total * (1 - 1 / times)
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


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _characters(chat: Chat) -> int:
    return sum(len(str(message.get("content") or "")) for message in chat.messages)
