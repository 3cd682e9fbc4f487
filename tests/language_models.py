"""Language models that a test scripts: what they answer, when, and what they were asked."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engines.base import EngineError, ModelNotFound, Unsupported
from engines.generation import (
    Embed,
    Embedding,
    Finished,
    Generate,
    GenerationEvent,
    Rank,
    Relevance,
    TextDelta,
    Usage,
)
from routes.services import Remote, TextTask

Step = GenerationEvent | Exception | asyncio.Event | float
"""An event to give, an error to raise, something to wait for, or seconds to sleep."""

HELLO: tuple[Step, ...] = (
    TextDelta("Hello"),
    TextDelta(" there."),
    Finished("stop", Usage(prompt=5, completion=2)),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of `generate`."""

    model: str
    request: Generate
    owner: str


class Scripted:
    """Plays one of `answers` for each request, in order; the last one for all that follow.

    `models` do the `tasks`; `remotes` are models of providers, by their whole names. `error` is
    raised by `embed` and `rank`; without it a text's vector has width 4 and length 1, a text and
    its words are as many tokens, and a document is as relevant as it has words of the query.
    """

    def __init__(
        self,
        *answers: Sequence[Step],
        models: Collection[str] = ("tiny",),
        tasks: Collection[TextTask] = ("chat", "embedding", "rerank"),
        remotes: Mapping[str, Remote] | None = None,
        error: EngineError | None = None,
    ) -> None:
        self.answers = answers or (HELLO,)
        self.models = models
        self.tasks = tasks
        self.remotes = remotes or {}
        self.error = error
        self.calls: list[Call] = []
        self.embedded: list[Embed] = []
        self.ranked: list[Rank] = []
        self.running = 0
        """Generators that have begun and are neither over nor closed."""
        self.started = asyncio.Event()
        """A generator has begun."""
        self.idle = asyncio.Event()
        """At least one has begun, and none is running."""

    @property
    def requests(self) -> list[Generate]:
        return [call.request for call in self.calls]

    def check(self, model: str, task: TextTask) -> None:
        if model in self.remotes:
            return
        if model not in self.models:
            raise ModelNotFound(model, sorted(self.models))
        if task not in self.tasks:
            raise Unsupported(f"The model '{model}' is not for {task}.", "model")

    def remote(self, model: str) -> Remote | None:
        return self.remotes.get(model)

    async def generate(
        self, model: str, request: Generate, *, owner: str
    ) -> AsyncGenerator[GenerationEvent, None]:
        self.check(model, "chat")
        answer = self.answers[min(len(self.calls), len(self.answers) - 1)]
        self.calls.append(Call(model, request, owner))
        self.running += 1
        self.idle.clear()
        self.started.set()
        try:
            for step in answer:
                match step:
                    case Exception():
                        raise step
                    case asyncio.Event():
                        await step.wait()
                    case float():
                        await asyncio.sleep(step)
                    case _:
                        yield step
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()

    async def embed(self, model: str, inputs: Sequence[Embed], *, owner: str) -> list[Embedding]:
        self.check(model, "embedding")
        if self.error is not None:
            raise self.error
        self.embedded.extend(inputs)
        return [_embedding(item.text) for item in inputs]

    async def rank(self, model: str, pairs: Sequence[Rank], *, owner: str) -> list[Relevance]:
        self.check(model, "rerank")
        if self.error is not None:
            raise self.error
        self.ranked.extend(pairs)
        return [_relevance(pair) for pair in pairs]


def _embedding(text: str | tuple[int, ...]) -> Embedding:
    tokens = len(text.split()) if isinstance(text, str) else len(text)
    vector = np.asarray([1.0, tokens, len(text), 0.5], dtype=np.float32)
    return Embedding(vector / np.linalg.norm(vector), tokens)


def _relevance(pair: Rank) -> Relevance:
    query, document = pair.query.lower().split(), pair.document.lower().split()
    return Relevance(float(len(set(query) & set(document))), len(query) + len(document))
