"""A language model of this machine as the rest of Antiphon uses it."""

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from engines.base import EngineError, JobClass
from engines.generation import Embed, Embedding, Generate, GenerationEvent, Rank, Relevance
from engines.scheduler import Lane
from engines.tickets import Ticket

AT_ONCE = 64
"""Texts of one request that a model is given at once: enough for its batches, and few beside what
its lane holds."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A loaded model behind its lane."""

    name: str
    lane: Lane

    async def generate(
        self, request: Generate, *, owner: str, kind: JobClass = JobClass.REST
    ) -> AsyncGenerator[GenerationEvent, None]:
        """One answer, as it is made. Closing the generator frees the engine. Raises
        `EngineError`."""
        ticket = self.lane.submit(request, owner=owner, kind=kind)
        try:
            finished = False
            async for event in ticket:
                finished = True
                yield event
            if not finished:
                raise EngineError(f"The model '{self.name}' gave no answer.")
        finally:
            ticket.cancel()

    async def embed(
        self, inputs: Sequence[Embed], *, owner: str, kind: JobClass = JobClass.REST
    ) -> list[Embedding]:
        """A vector for each input, in order. Raises `EngineError`."""
        return await self._each(inputs, owner, kind)

    async def rank(
        self, pairs: Sequence[Rank], *, owner: str, kind: JobClass = JobClass.REST
    ) -> list[Relevance]:
        """How relevant each pair's document is, in order. Raises `EngineError`."""
        return await self._each(pairs, owner, kind)

    async def _each(self, payloads: Sequence[Any], owner: str, kind: JobClass) -> list[Any]:
        results: list[Any] = []
        tickets: deque[Ticket] = deque()
        try:
            for payload in payloads:
                if len(tickets) == AT_ONCE:
                    results.append(await self._only(tickets[0]))
                    tickets.popleft()
                tickets.append(self.lane.submit(payload, owner=owner, kind=kind))
            while tickets:
                results.append(await self._only(tickets[0]))
                tickets.popleft()
        finally:
            for ticket in tickets:
                ticket.cancel()
        return results

    async def _only(self, ticket: Ticket) -> Any:
        async for result in ticket:
            return result
        raise EngineError(f"The model '{self.name}' gave no answer.")
