"""Turns what a language model makes into the frames of one response. No I/O."""

from collections.abc import Callable, Iterator

from engines.base import Busy, EngineError, InvalidInput, ModelNotFound, ProviderError
from engines.generation import (
    ContextLengthExceeded,
    Finished,
    GenerationEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from pipelines.frames import Answered, Text, ToolCall

AnswerFrame = Text | ToolCall | Answered

_CODES: tuple[tuple[type[EngineError], str], ...] = (
    (ModelNotFound, "model_not_found"),
    (Busy, "server_overloaded"),
    (ContextLengthExceeded, "context_length_exceeded"),
    (InvalidInput, "invalid_value"),
    (ProviderError, "provider_error"),
)


class AnswerFrames:
    """Gives each message and each call of an answer an item of its own.

    A message begins with its first visible character: blanks between two calls are none.
    """

    def __init__(self, response: str, new_item: Callable[[], str]) -> None:
        self._response = response
        self._new_item = new_item
        self._message: str | None = None
        self._blank = ""
        self._call: ToolCall | None = None
        self._index = -1

    def of(self, event: GenerationEvent) -> Iterator[AnswerFrame]:
        """The frames that an event becomes, `Answered` last of all."""
        match event:
            case TextDelta(text=text) if text:
                yield from self._say(text)
            case ToolCallDelta():
                yield from self._ask(event)
            case Finished(reason=reason, usage=usage):
                yield from self._close_call()
                yield Answered(self._response, "length" if reason == "length" else "stop", usage)
            case TextDelta() | ReasoningDelta():
                pass

    def _say(self, text: str) -> Iterator[AnswerFrame]:
        if self._message is None and not text.strip():
            self._blank += text
            return
        yield from self._close_call()
        if self._message is None:
            self._message = self._new_item()
            text, self._blank = self._blank + text, ""
        yield Text(self._response, self._message, text)

    def _ask(self, delta: ToolCallDelta) -> Iterator[AnswerFrame]:
        if self._call is None or delta.index != self._index:
            yield from self._close_call()
            self._message, self._blank = None, ""
            self._index = delta.index
            item = self._new_item()
            self._call = ToolCall(self._response, item, delta.id or item, delta.name or "")
            yield self._call
        if delta.arguments:
            yield self._piece(delta.arguments)

    def _close_call(self) -> Iterator[AnswerFrame]:
        if self._call is not None:
            yield self._piece(complete=True)
            self._call = None

    def _piece(self, arguments: str = "", *, complete: bool = False) -> ToolCall:
        assert self._call is not None, "a call is open"
        call = self._call
        return ToolCall(call.response, call.item, call.call, call.name, arguments, complete)


def failed(response: str, error: EngineError) -> Answered:
    """The end of a response whose model could not go on."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), "server_error")
    return Answered(response, "failed", code=code, message=str(error))
