"""A chat completion on the wire: as one object, or as chunks while it is made.

`reasoning_content`, what a model thought before it answered, is where other local servers have it.
"""

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


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    def function(self) -> dict[str, Any]:
        return {"name": self.name, "arguments": "".join(self.arguments)}


@dataclass(slots=True)
class Choice:
    """One answer, put together. `functions`: its call is a `function_call`, from before there were
    tools."""

    index: int
    functions: bool = False
    _text: list[str] = field(default_factory=list)
    _thought: list[str] = field(default_factory=list)
    _calls: list[_Call] = field(default_factory=list)
    _logprobs: list[dict[str, Any]] = field(default_factory=list)
    _finished: Finished | None = None

    def add(self, event: GenerationEvent) -> None:
        match event:
            case TextDelta():
                self._text.append(event.text)
                self._logprobs += map(_logprob_json, event.logprobs)
            case ReasoningDelta():
                self._thought.append(event.text)
            case ToolCallDelta():
                if event.id is not None:
                    self._calls.append(_Call(event.id, event.name or ""))
                self._calls[event.index].arguments.append(event.arguments)
            case Finished():
                self._finished = event

    @property
    def usage(self) -> Usage:
        return self._end.usage

    @property
    def _end(self) -> Finished:
        if self._finished is None:
            raise EngineError("The model broke its answer off.")
        return self._finished

    def json(self) -> dict[str, Any]:
        """Raises `EngineError` if the answer has no end."""
        return {
            "index": self.index,
            "message": self._message(),
            "logprobs": _logprobs_json(self._logprobs),
            "finish_reason": _reason(self._end, self.functions),
        }

    def _message(self) -> dict[str, Any]:
        text = "".join(self._text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if self._calls and not text else text,
            "refusal": None,
        }
        if self._thought:
            message["reasoning_content"] = "".join(self._thought)
        if self._calls and self.functions:
            message["function_call"] = self._calls[0].function()
        elif self._calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": call.function()}
                for call in self._calls
            ]
        return message


def completion(head: Head, choices: Sequence[Choice]) -> dict[str, Any]:
    body = head.around("chat.completion", [choice.json() for choice in choices])
    body["usage"] = usage_json(total([choice.usage for choice in choices]))
    return body


@dataclass(frozen=True, slots=True)
class Chunks:
    """Makes the chunks of a stream; `usage`: a last one has it, and the others have null."""

    head: Head
    usage: bool = False
    functions: bool = False

    def opening(self, choices: int) -> Iterable[dict[str, Any]]:
        """One chunk for each choice, in order, as some clients expect them the first time."""
        for index in range(choices):
            yield self._chunk(index, {"role": "assistant", "content": "", "refusal": None})

    def of(self, index: int, event: GenerationEvent) -> Iterable[dict[str, Any]]:
        """The chunk for an event of a choice, if there is anything to say."""
        match event:
            case TextDelta() if event.text or event.logprobs:
                logprobs = _logprobs_json([_logprob_json(each) for each in event.logprobs])
                yield self._chunk(index, {"content": event.text}, logprobs)
            case ReasoningDelta() if event.text:
                yield self._chunk(index, {"reasoning_content": event.text})
            case ToolCallDelta():
                yield self._chunk(index, self._call(event))
            case Finished():
                yield self._chunk(index, {}, reason=_reason(event, self.functions))

    def closing(self, usages: Sequence[Usage]) -> Iterable[dict[str, Any]]:
        if self.usage:
            chunk = self.head.around("chat.completion.chunk", [])
            yield chunk | {"usage": usage_json(total(usages))}

    def _call(self, call: ToolCallDelta) -> dict[str, Any]:
        function = {"arguments": call.arguments}
        if call.id is None:
            delta: dict[str, Any] = {"index": call.index, "function": function}
        else:
            function = {"name": call.name or "", **function}
            delta = {"index": call.index, "id": call.id, "type": "function", "function": function}
        return {"function_call": function} if self.functions else {"tool_calls": [delta]}

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        logprobs: dict[str, Any] | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        chunk = self.head.around("chat.completion.chunk", [choice])
        if self.usage:
            chunk["usage"] = None
        return chunk


def _reason(end: Finished, functions: bool) -> str:
    return "function_call" if functions and end.reason == "tool_calls" else end.reason


def _logprobs_json(tokens: list[dict[str, Any]]) -> dict[str, Any] | None:
    return {"content": tokens, "refusal": None} if tokens else None


def _logprob_json(token: TokenLogprob) -> dict[str, Any]:
    return _token_json(token) | {"top_logprobs": [_token_json(each) for each in token.top]}


def _token_json(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.text, "logprob": logprob_of(token), "bytes": list(token.bytes)}
