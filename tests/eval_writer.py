"""The language model of an eval: it answers what it is asked by its script, in order."""

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eval_format import Answer

from engines.base import EngineError, JobClass, ProviderError
from engines.generation import (
    Chat,
    Finished,
    Generate,
    GenerationEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
)


@dataclass
class Asked:
    """One request: when it came, what it was, and how its answer went."""

    at: float
    told: tuple[str, ...]
    answer: Answer
    place: str
    whole: bool = False
    """Whether the answer was read to its end."""


@dataclass
class Writer:
    """Answers the `due` scripts, each with the place in its file, one for each request."""

    instructions: str
    due: deque[tuple[Answer, str]] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    surplus: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    """Requests for which there was no script."""

    async def generate(
        self, model: str, request: Generate, *, owner: str, kind: JobClass
    ) -> AsyncGenerator[GenerationEvent, None]:
        now = asyncio.get_running_loop().time()
        assert isinstance(request.prompt, Chat)
        told = tuple(lines(request.prompt.messages, self.instructions))
        if not self.due:
            self.surplus.append((now, told))
            raise EngineError("The script has no answer to this.")
        answer, place = self.due.popleft()
        asked = Asked(now, told, answer, place)
        self.asked.append(asked)
        tokens = 0
        await asyncio.sleep(answer.first_token_ms / 1000)
        for token, wait in _paced(answer):
            tokens += 1
            yield TextDelta(token)
            await asyncio.sleep(wait)
        if answer.fails is not None:
            raise ProviderError(answer.fails)
        for index, call in enumerate(answer.calls):
            yield ToolCallDelta(index, "", f"call_{len(self.asked)}_{index}", call.name)
            yield ToolCallDelta(index, json.dumps(call.arguments))
        asked.whole = True
        reason = answer.ends if answer.ends == "length" or not answer.calls else "tool_calls"
        prompt = sum(len(line.split()) for line in told)
        yield Finished(reason, Usage(prompt, tokens))


def _paced(answer: Answer) -> Iterator[tuple[str, float]]:
    """The tokens, and the seconds from each to the next."""
    stalls = {answer.text.index(one.after) + len(one.after): one.ms / 1000 for one in answer.stalls}
    end = 0
    for found in re.finditer(r"\s*\S+\s*?", answer.text):
        start, end = end, found.end()
        stalled = sum(seconds for at, seconds in stalls.items() if start < at <= end)
        yield found[0], stalled + 1 / answer.tokens_per_second


def lines(messages: Sequence[Mapping[str, Any]], instructions: str) -> Iterator[str]:
    """Each message in a line: `user: What time is it?`, `assistant: [get_time {}]`."""
    if instructions and messages and messages[0].get("content") == instructions:
        messages = messages[1:]
    for message in messages:
        said = [_text(message.get("content"))]
        for call in message.get("tool_calls") or ():
            function = call["function"]
            said.append(f"[{function['name']} {json.dumps(function['arguments'])}]")
        yield f"{message['role']}: {' '.join(filter(None, said))}"


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", "(image)") for part in content)
    return content or ""
