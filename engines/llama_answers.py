"""One answer on its way: its tokens, and what of them its reader gets to see."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from engines.answers import AnswerParser
from engines.base import EngineError
from engines.generation import (
    Finished,
    Generate,
    GenerationEvent,
    Plain,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from engines.llama_prompts import Prompt
from engines.llama_sampling import Sampled
from engines.llama_text import Tokeniser
from engines.text_stream import TextStream

_VISIBLE = frozenset(
    {
        *("<think>", "</think>", "[THINK]", "[/THINK]", "<tool_call>", "</tool_call>"),
        *("<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
    }
)
"""Control tokens that parsers look for; no other is ever shown."""


class Picks(Protocol):
    """A sampler: `engines.llama_sampling.Sampler`."""

    def sample(self, context: Any, index: int) -> Sampled: ...

    def seen(self, tokens: Sequence[int]) -> None: ...

    def close(self) -> None: ...


class Answer:
    """A job that writes. `tokens` are the prompt's and then its own; `sequence` is where they are
    in the context, or None while it has no place there."""

    def __init__(
        self, job: int, request: Generate, prompt: Prompt, sampler: Picks, tokeniser: Tokeniser
    ) -> None:
        self.job = job
        self.tokens = list(prompt.tokens)
        self.sequence: int | None = None
        self.cached = 0
        """Tokens of the prompt that were in the context when it came."""
        self.ended = False
        self.error: EngineError | None = None
        """Why it ended without an end."""
        self.live = False
        """Whether somebody listens for it."""
        self.prompt_length = len(self.tokens)
        self._request = request
        self._sampler = sampler
        self._tokeniser = tokeniser
        self._parser: AnswerParser | None = prompt.parser
        self._text = TextStream(request.stop)
        self._reasoning = 0
        self._logprobs: list[TokenLogprob] = []
        self._events: list[GenerationEvent] = []
        self._new: list[int] = []
        if isinstance(request.prompt, Plain) and request.prompt.echo:
            self._events.append(TextDelta(self._echo(request.prompt)))

    @property
    def written(self) -> int:
        """Tokens of its own."""
        return len(self.tokens) - self.prompt_length

    def take_events(self) -> tuple[GenerationEvent, ...]:
        """What has become of it since this was last asked; what goes on from each other is one."""
        events, self._events = self._events, []
        return tuple(_joined(events))

    def take_new(self) -> tuple[int, ...]:
        """Its tokens since this was last asked."""
        new, self._new = self._new, []
        return tuple(new)

    def go_on(self, tokens: Sequence[int]) -> None:
        """It wrote these before, in a process that died; its reader has seen them."""
        if not tokens:
            return
        self._sampler.seen(tokens)
        for token in tokens:
            self._write(token, None)
        self.take_events()
        self.take_new()

    def pick(self, context: Any, index: int, longest: int) -> None:
        """Choose the next token by what was computed at `index` of the last batch; the whole is
        never longer than `longest` tokens."""
        sampled = self._sampler.sample(context, index)
        if self._tokeniser.is_end(sampled.token):
            self._end("stop")
            return
        self._write(sampled.token, sampled)
        if self._text.stopped is not None:
            self._end("stop")
        elif self._full(longest):
            self._end("length")

    def fail(self, error: Exception) -> None:
        """It cannot go on."""
        if not isinstance(error, EngineError):
            error = EngineError(f"{type(error).__name__}: {error}")
        self.error = error
        self.ended = True

    def close(self) -> None:
        """Free the sampler."""
        self._sampler.close()

    def _full(self, longest: int) -> bool:
        most = self._request.max_tokens
        return len(self.tokens) >= longest or (most is not None and self.written >= most)

    def _write(self, token: int, sampled: Sampled | None) -> None:
        self.tokens.append(token)
        self._new.append(token)
        if self._parser is not None and self._parser.reasoning:
            self._reasoning += 1
        if sampled is not None and sampled.logprob is not None:
            self._logprobs.append(self._logprob(sampled))
        self._tell(self._text.feed(self._piece(token)))

    def _tell(self, text: str) -> None:
        if not text:
            return
        if self._parser is None:
            self._say([TextDelta(text)])
        else:
            self._say(self._parser.feed(text))

    def _say(self, events: Sequence[TextDelta | ReasoningDelta | ToolCallDelta]) -> None:
        """Tell what was parsed; log-probabilities go with the text that their tokens made."""
        for event in events:
            if isinstance(event, TextDelta):
                event = TextDelta(event.text, tuple(self._logprobs))
            self._logprobs.clear()
            self._events.append(event)

    def _end(self, reason: str) -> None:
        self._tell(self._text.finish())
        called = False
        if self._parser is not None:
            self._say(self._parser.finish())
            called = self._parser.called
        usage = Usage(
            prompt=self.prompt_length,
            completion=self.written,
            cached=self.cached,
            reasoning=self._reasoning,
        )
        if reason == "length":
            self._events.append(Finished("length", usage))
        else:
            self._events.append(Finished("tool_calls" if called else "stop", usage))
        self.ended = True

    def _piece(self, token: int) -> bytes:
        piece = self._tokeniser.piece(token, special=False)
        if not piece:
            special = self._tokeniser.piece(token, special=True)
            piece = special if special.decode("utf-8", "replace") in _VISIBLE else b""
        return piece

    def _logprob(self, sampled: Sampled) -> TokenLogprob:
        assert sampled.logprob is not None
        top = tuple(self._named(token, logprob) for token, logprob in sampled.top)
        return self._named(sampled.token, sampled.logprob, top)

    def _named(
        self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()
    ) -> TokenLogprob:
        piece = self._tokeniser.piece(token, special=True)
        return TokenLogprob(piece.decode("utf-8", "replace"), piece, logprob, top)

    def _echo(self, plain: Plain) -> str:
        if isinstance(plain.text, str):
            return plain.text
        pieces = (self._tokeniser.piece(token, special=True) for token in plain.text)
        return b"".join(pieces).decode("utf-8", "replace")


def _joined(events: Sequence[GenerationEvent]) -> list[GenerationEvent]:
    """The same in as few events as it can be told in: each costs its reader a message."""
    joined: list[GenerationEvent] = []
    for event in events:
        last = joined[-1] if joined else None
        match last, event:
            case TextDelta(), TextDelta():
                text, logprobs = last.text + event.text, last.logprobs + event.logprobs
                joined[-1] = TextDelta(text, logprobs)
            case ReasoningDelta(), ReasoningDelta():
                joined[-1] = ReasoningDelta(last.text + event.text)
            case ToolCallDelta(), ToolCallDelta() if last.index == event.index:
                joined[-1] = replace(last, arguments=last.arguments + event.arguments)
            case _:
                joined.append(event)
    return joined
