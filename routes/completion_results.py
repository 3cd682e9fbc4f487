"""A plain completion on the wire: as one object, or as chunks while it is made."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engines.base import EngineError
from engines.generation import (
    Finished,
    GenerationEvent,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from routes.choices import total
from routes.text_results import Head, logprob_of, usage_json

KIND = "text_completion"


@dataclass(slots=True)
class Choice:
    """One answer: what comes of it, and what has come of it until now."""

    index: int
    _text: list[str] = field(default_factory=list)
    _length: int = 0
    _logprobs: list[tuple[int, TokenLogprob]] = field(default_factory=list)
    _finished: Finished | None = None

    def add(self, event: GenerationEvent) -> dict[str, Any] | None:
        """The choice as a chunk has it; None if there is nothing to say."""
        match event:
            case TextDelta() if event.text or event.logprobs:
                placed = self._placed(event)
                self._logprobs += placed
                return self._part(event.text, placed)
            case Finished():
                self._finished = event
                return self._part("", [], _reason(event))
            case ReasoningDelta() | ToolCallDelta():
                raise EngineError("The model answered a plain prompt as if it was a chat.")
        return None

    @property
    def usage(self) -> Usage:
        return self._end.usage

    def json(self) -> dict[str, Any]:
        """Raises `EngineError` if the answer has no end."""
        return {
            "index": self.index,
            "text": "".join(self._text),
            "logprobs": _logprobs_json(self._logprobs),
            "finish_reason": _reason(self._end),
        }

    @property
    def _end(self) -> Finished:
        if self._finished is None:
            raise EngineError("The model broke its answer off.")
        return self._finished

    def _placed(self, event: TextDelta) -> list[tuple[int, TokenLogprob]]:
        """Each token with its place in the text. Tokens that are parts of a character begin where
        it does."""
        start, self._length = self._length, self._length + len(event.text)
        self._text.append(event.text)
        placed = []
        before = b""
        for token in event.logprobs:
            placed.append((min(start + len(before.decode(errors="ignore")), self._length), token))
            before += token.bytes
        return placed

    def _part(
        self, text: str, tokens: list[tuple[int, TokenLogprob]], reason: str | None = None
    ) -> dict[str, Any]:
        return {
            "index": self.index,
            "text": text,
            "logprobs": _logprobs_json(tokens),
            "finish_reason": reason,
        }


def completion(head: Head, choices: Sequence[Choice], per_prompt: int) -> dict[str, Any]:
    body = head.around(KIND, [choice.json() for choice in choices])
    body["usage"] = usage_json(_used([choice.usage for choice in choices], per_prompt))
    return body


@dataclass(frozen=True, slots=True)
class Chunks:
    """Makes the chunks of a stream; `usage`: a last one has it, and the others have null."""

    head: Head
    usage: bool

    def of(self, part: dict[str, Any]) -> dict[str, Any]:
        chunk = self.head.around(KIND, [part])
        if self.usage:
            chunk["usage"] = None
        return chunk

    def closing(self, choices: Sequence[Choice], per_prompt: int) -> Iterable[dict[str, Any]]:
        """Raises `EngineError` if an answer has no end."""
        used = _used([choice.usage for choice in choices], per_prompt)
        if self.usage:
            yield self.head.around(KIND, []) | {"usage": usage_json(used)}


def _used(usages: Sequence[Usage], per_prompt: int) -> Usage:
    starts = range(0, len(usages), per_prompt)
    prompts = [total(usages[start : start + per_prompt]) for start in starts]
    return Usage(
        prompt=sum(usage.prompt for usage in prompts),
        completion=sum(usage.completion for usage in prompts),
        cached=sum(usage.cached for usage in prompts),
        reasoning=sum(usage.reasoning for usage in prompts),
    )


def _reason(end: Finished) -> str:
    return "length" if end.reason == "length" else "stop"


def _logprobs_json(placed: Sequence[tuple[int, TokenLogprob]]) -> dict[str, Any] | None:
    if not placed:
        return None
    tokens = [token for _, token in placed]
    top = [_top_json(token) for token in tokens] if any(token.top for token in tokens) else None
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [logprob_of(token) for token in tokens],
        "top_logprobs": top,
        "text_offset": [place for place, _ in placed],
    }


def _top_json(token: TokenLogprob) -> dict[str, float]:
    """The most probable tokens, and the one that was taken where it is not one of them."""
    return {each.text: logprob_of(each) for each in (token, *reversed(token.top))}
