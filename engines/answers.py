"""Takes apart what a language model writes, while it is written: what it thought, what it says and
the tools that it calls."""

from collections.abc import Sequence
from typing import Literal, Protocol

from engines.call_reader import SPACE
from engines.generation import ReasoningDelta, TextDelta, ToolCallDelta
from engines.tool_calls import Spoken, held_from

Delta = TextDelta | ReasoningDelta | ToolCallDelta


class AnswerParser(Protocol):
    """Reads one answer. However the text is split over `feed`s, the deltas put together are the
    same; what could still become a tag is held back until it cannot."""

    def feed(self, text: str) -> Sequence[Delta]:
        """What `text` brings. Tags arrive as their texts, end-of-generation tokens never."""
        ...

    def finish(self) -> Sequence[Delta]:
        """What was held back; the answer is over."""
        ...

    @property
    def called(self) -> bool:
        """Whether at least one tool was called."""
        ...

    @property
    def reasoning(self) -> bool:
        """Whether the model is thinking now."""
        ...


class Said:
    """Everything is text: an answer that cannot call tools."""

    called = False

    def feed(self, text: str) -> list[TextDelta | ToolCallDelta]:
        return [TextDelta(text)] if text else []

    def finish(self) -> list[TextDelta | ToolCallDelta]:
        return []


class Answer:
    """An answer that may begin with thoughts between the `think` tags; `spoken` reads the rest.

    White space around the tags is dropped. `thinking`: the prompt ended inside the thoughts.
    """

    def __init__(self, spoken: Spoken, think: tuple[str, str], *, thinking: bool) -> None:
        self._spoken = spoken
        self._open, self._close = think
        self._text = ""
        self._part: Literal["start", "opened", "thoughts", "closed", "rest"] = (
            "opened" if thinking else "start"
        )

    @property
    def called(self) -> bool:
        return self._spoken.called

    @property
    def reasoning(self) -> bool:
        return self._part in ("opened", "thoughts")

    def feed(self, text: str) -> list[Delta]:
        if self._part == "rest":
            return [*self._spoken.feed(text)]
        self._text += text
        deltas: list[Delta] = []
        if self._part == "start":
            self._begin()
        if self.reasoning:
            deltas += self._think()
        if self._part == "closed":
            self._text = self._text.lstrip(SPACE)
            self._part = "rest" if self._text else "closed"
        if self._part == "rest":
            deltas += self._spoken.feed(self._text)
            self._text = ""
        return deltas

    def finish(self) -> list[Delta]:
        rest, self._text = self._text, ""
        if self.reasoning:
            return [ReasoningDelta(rest)] if rest else []
        return [*self._spoken.feed(rest), *self._spoken.finish()]

    def _begin(self) -> None:
        text = self._text.lstrip(SPACE)
        if text.startswith(self._open):
            self._text = text[len(self._open) :]
            self._part = "opened"
        elif not self._open.startswith(text):
            self._part = "rest"

    def _think(self) -> list[Delta]:
        if self._part == "opened":
            self._text = self._text.lstrip(SPACE)
            self._part = "thoughts" if self._text else "opened"
        at = self._text.find(self._close)
        if at >= 0:
            thought = self._text[:at].rstrip(SPACE)
            self._text = self._text[at + len(self._close) :]
            self._part = "closed"
        else:
            end = held_from(self._text, self._close)
            thought, self._text = self._text[:end], self._text[end:]
        return [ReasoningDelta(thought)] if thought else []
