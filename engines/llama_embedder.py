"""Vectors of texts, and how relevant a text is to a question, on llama.cpp: as many in a batch as
fit."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.base import EngineError, InvalidInput, Outcome, Work
from engines.generation import ContextLengthExceeded, Embed, Embedding, Rank, Relevance
from engines.llama_context import Context, ContextSize, LlamaModel, Pooling, closing_all
from engines.llama_text import Tokeniser

STEP_SECONDS = 0.15
"""What a step aims to take, going by the last ones; one text is always computed."""

LONGEST = 2048
"""Tokens of one text where the configuration does not say and the model would take more: the
memory for a batch grows with it, and a text has to fit into one."""

MOST_TEXTS = 64
"""In one batch."""


@dataclass(frozen=True, slots=True)
class EmbedderSettings:
    """`context`: most tokens of one text. `pooling`: how a vector is made of its tokens' (None: as
    the model's file says)."""

    name: str
    path: str
    context: int | None
    pooling: Pooling | None
    threads: int
    gpu_layers: int | None


class LlamaEmbedder:
    """Jobs of `Embed`, or of `Rank` with a model that ranks; nothing is kept between steps but the
    tokens of those that wait."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._model = LlamaModel(settings.name, settings.path, settings.gpu_layers)
        with closing_all(self._model):
            longest = min(settings.context or LONGEST, self._model.trained_context)
            size = ContextSize(longest, MOST_TEXTS, longest, settings.threads)
            self._context = Context.pooled(self._model, size, settings.pooling)
            self._longest = longest
            self._tokeniser = Tokeniser(self._model.vocabulary)
            self._waiting: dict[int, list[int]] = {}
            self._token_seconds: float | None = None

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        batch: list[Work] = []
        room = self._room()
        for each in work:
            try:
                tokens = self._tokens(each)
            except EngineError as error:
                outcomes.append(Outcome(each.job, done=True, error=error))
                continue
            if batch and (len(tokens) > room or len(batch) == MOST_TEXTS):
                outcomes.append(Outcome(each.job))
                continue
            room -= len(tokens)
            batch.append(each)
        return outcomes + (self._compute(batch) if batch else [])

    def drop(self, job: int) -> None:
        self._waiting.pop(job, None)

    def close(self) -> None:
        self._context.close()
        self._model.close()

    def _compute(self, batch: Sequence[Work]) -> list[Outcome]:
        began = time.perf_counter()
        total = 0
        for sequence, each in enumerate(batch):
            tokens = self._waiting[each.job]
            total += len(tokens)
            self._context.add(tokens, 0, sequence, every=True)
        try:
            self._context.decode()
            found = [self._result(each, sequence) for sequence, each in enumerate(batch)]
        finally:
            self._context.clear_batch()
            self._context.clear()
        self._token_seconds = (time.perf_counter() - began) / total
        for each in batch:
            self.drop(each.job)
        return found

    def _result(self, work: Work, sequence: int) -> Outcome:
        tokens = len(self._waiting[work.job])
        if isinstance(work.payload, Rank):
            score = float(self._context.pooled_vector(sequence, 1)[0])
            return Outcome(work.job, (Relevance(score, tokens),), done=True)
        vector = self._context.pooled_vector(sequence, self._model.width)
        length = float(np.linalg.norm(vector))
        vector = vector / length if length else vector
        return Outcome(work.job, (Embedding(vector.astype(np.float32), tokens),), done=True)

    def _room(self) -> int:
        if self._token_seconds is None:
            return self._longest
        return min(self._longest, int(STEP_SECONDS / self._token_seconds))

    def _tokens(self, work: Work) -> list[int]:
        """The tokens of a job, made once. Raises `InvalidInput`."""
        if work.job not in self._waiting:
            self._waiting[work.job] = self._fitting(work.payload)
        return self._waiting[work.job]

    def _fitting(self, payload: Embed | Rank) -> list[int]:
        if isinstance(payload, Rank):
            tokens, truncate = self._tokeniser.pair(payload.query, payload.document), True
        elif isinstance(payload.text, str):
            tokens, truncate = self._tokeniser.framed(payload.text), payload.truncate
        else:
            tokens, truncate = self._known(payload.text), payload.truncate
        if not tokens:
            raise InvalidInput("The input is empty.", "input")
        if len(tokens) <= self._longest:
            return tokens
        if truncate:
            return [*tokens[: self._longest - 1], tokens[-1]]
        raise ContextLengthExceeded(
            f"This model's maximum context length is {self._longest} tokens. However, your input "
            f"resulted in {len(tokens)} tokens. Please reduce the length of the input.",
            "input",
        )

    def _known(self, tokens: Sequence[int]) -> list[int]:
        size = self._tokeniser.size
        wrong = next((each for each in tokens if not 0 <= each < size), None)
        if wrong is not None:
            raise InvalidInput(f"Token {wrong} is not in the vocabulary of {size}.", "input")
        return list(tokens)
