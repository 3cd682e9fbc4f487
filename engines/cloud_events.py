"""Reads a provider's stream: server-sent events, and the answer that their chunks make up.

Providers differ in small ways from OpenAI; what they are known to do otherwise is read here too.
"""

import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Field, ValidationError

from engines.base import ProviderError
from engines.cloud_errors import broken_off, failed_midway, unreadable
from engines.endpoints import Endpoint
from engines.generation import (
    Finished,
    GenerationEvent,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

EVENT_BYTES = 1 << 20
"""Largest event of a stream."""

DONE = b"[DONE]"


class Events:
    """Cuts a stream into the data of its events, wherever its pieces were cut.

    The framing is that of server-sent events in the HTML standard, but for lone carriage returns.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that end in `piece`. Raises `ProviderError` for one too large."""
        ended: list[bytes] = []
        *lines, rest = piece.split(b"\n")
        for line in lines:
            self._extend(line)
            whole = bytes(self._line.removesuffix(b"\r"))
            self._line.clear()
            if whole:
                self._keep(whole)
            elif self._data:
                ended.append(b"\n".join(self._data))
                self._data.clear()
                self._size = 0
        self._extend(rest)
        return ended

    def end(self) -> list[bytes]:
        """The data of a last event that only the stream's end has ended."""
        return self.feed(b"\n\n")

    def _extend(self, part: bytes) -> None:
        self._line += part
        if len(self._line) + self._size > EVENT_BYTES:
            raise ProviderError(
                f"The provider '{self._endpoint.name}' sent an event of more than "
                f"{EVENT_BYTES >> 20} MiB."
            )

    def _keep(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value) + 1


class _Part(BaseModel):
    """Of Mistral's models that think: a piece of a text, or of what was thought before it."""

    text: str | None = None
    thinking: list["_Part"] | None = None


class _Function(BaseModel):
    name: str | None = None
    arguments: str | None = None


class _Call(BaseModel):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(BaseModel):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None

    @property
    def said(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content)
        return self.content or self.refusal or ""

    @property
    def thought(self) -> str:
        if isinstance(self.content, list):
            parts = [piece for part in self.content for piece in part.thinking or ()]
            return "".join(part.text or "" for part in parts)
        return self.reasoning_content or self.reasoning or ""


class _Alternative(BaseModel):
    token: str
    logprob: float
    bytes: list[Annotated[int, Field(ge=0, le=255)]] | None = None

    def read(self, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        raw = self.token.encode() if self.bytes is None else bytes(self.bytes)
        return TokenLogprob(self.token, raw, self.logprob, top)


class _Token(_Alternative):
    top_logprobs: list[_Alternative] | None = None


class _Logprobs(BaseModel):
    """A chat's `content`, or the three lists of a plain completion."""

    content: list[_Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None

    def read(self) -> tuple[TokenLogprob, ...]:
        if self.content is not None:
            return tuple(
                token.read(tuple(other.read() for other in token.top_logprobs or ()))
                for token in self.content
            )
        return tuple(self._plain())

    def _plain(self) -> Iterator[TokenLogprob]:
        tokens = self.tokens or []
        values = self.token_logprobs or []
        tops = self.top_logprobs or [None] * len(tokens)
        for text, value, top in zip(tokens, values, tops, strict=False):
            others = tuple(_logprob(other, found) for other, found in (top or {}).items())
            yield _logprob(text, value, others)


class _Choice(BaseModel):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Details(BaseModel):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None

    def read(self) -> Usage:
        prompt = self.prompt_tokens_details or _Details()
        completion = self.completion_tokens_details or _Details()
        return Usage(
            prompt=self.prompt_tokens or 0,
            completion=self.completion_tokens or 0,
            cached=prompt.cached_tokens or 0,
            reasoning=completion.reasoning_tokens or 0,
        )


class _Chunk(BaseModel):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


@dataclass(slots=True)
class _OpenCall:
    """A tool call that may get more arguments: the provider's id of it, and our number."""

    id: str | None
    number: int


class Reading:
    """Makes the events of one answer of the chunks of its stream."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._empty = True
        self._reason: str | None = None
        self._usage = Usage()
        self._calls: dict[int, _OpenCall] = {}
        self._count = 0

    def take(self, data: bytes) -> Iterator[GenerationEvent]:
        """The events that a chunk brings. Raises `ProviderError`."""
        try:
            chunk = _Chunk.model_validate(orjson.loads(data))
        except (orjson.JSONDecodeError, ValidationError):
            raise unreadable(self._endpoint) from None
        self._empty = False
        if chunk.error:
            raise failed_midway(self._endpoint, data)
        if chunk.usage is not None:
            self._usage = chunk.usage.read()
        for choice in chunk.choices or ():
            if choice.index == 0:
                yield from self._choice(choice)

    def finished(self) -> Finished:
        """The end of the answer. Raises `ProviderError` if there was none, or not a good one."""
        match self._reason:
            case None if self._empty:
                raise unreadable(self._endpoint)
            case None:
                raise broken_off(self._endpoint)
            case "content_filter":
                raise ProviderError(
                    f"The provider '{self._endpoint.name}' withheld the answer (content_filter)."
                )
            case "error":
                raise ProviderError(f"The provider '{self._endpoint.name}' failed in its answer.")
            case "length" | "max_tokens" | "model_length":
                return Finished("length", self._usage)
            case "tool_calls" | "function_call":
                return Finished("tool_calls", self._usage)
            case _:
                # Of a call that had to be made, OpenAI says "stop"; Ollama says it of every call.
                return Finished("tool_calls" if self._count else "stop", self._usage)

    def _choice(self, choice: _Choice) -> Iterator[GenerationEvent]:
        delta = choice.delta or _Delta()
        if thought := delta.thought:
            yield ReasoningDelta(thought)
        said = delta.said or choice.text or ""
        logprobs = choice.logprobs.read() if choice.logprobs else ()
        if said or (logprobs and not thought and not delta.tool_calls):
            yield TextDelta(said, logprobs)
        for call in delta.tool_calls or ():
            yield from self._call(call)
        self._reason = choice.finish_reason or self._reason

    def _call(self, call: _Call) -> Iterator[ToolCallDelta]:
        function = call.function or _Function()
        place = -1 if call.index is None else call.index
        found = self._calls.get(place)
        # Gemini gives every call the same index, old versions of vLLM every piece another id.
        if found is None or (function.name and call.id and call.id != found.id):
            if not function.name:
                raise unreadable(self._endpoint)
            self._calls[place] = _OpenCall(call.id, self._count)
            identity = call.id or f"call_{uuid.uuid4().hex}"
            yield ToolCallDelta(self._count, function.arguments or "", identity, function.name)
            self._count += 1
        elif function.arguments:
            yield ToolCallDelta(found.number, function.arguments)


def _logprob(text: str, value: float | None, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    """Of a plain completion, which tells no bytes; the first token of an echo has no value."""
    return TokenLogprob(text, text.encode(), math.nan if value is None else value, top)
