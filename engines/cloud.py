"""An OpenAI-compatible provider elsewhere, over HTTP: requests passed on, and whole answers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engines.base import EngineError, ProviderError
from engines.cloud_bodies import encoded, question
from engines.cloud_errors import (
    CONNECT_SECONDS,
    NoSuchPath,
    Refusal,
    broken_off,
    key_refused,
    moved,
    refused,
    unreachable,
)
from engines.cloud_events import DONE, Events, Reading
from engines.cloud_vectors import embeddings, no_ranking, relevances
from engines.endpoints import Endpoint
from engines.generation import Embed, Embedding, Generate, GenerationEvent, Rank, Relevance

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response

__all__ = ["Endpoint", "PassedOn", "Provider", "RemoteModel"]

SILENT_SECONDS = 120.0
"""A stream that brings nothing for so long is given up."""
ANSWER_SECONDS = 600.0
"""An answer in one piece that has not come, or not come on, by then is given up: models think."""
REFUSAL_SECONDS = 10.0
REFUSAL_BYTES = 64 << 10
"""What is read of an error."""
ANSWER_BYTES = 256 << 20
"""Largest answer with vectors: the most that may be asked for, of the widest models."""
LEAVE_SECONDS = 0.2
"""How long the end of a stream is waited for after its last event, so that its connection can be
used again."""
CONNECTIONS = 256
KEPT_SECONDS = 30.0
"""How long an unused connection stays open: most pauses of somebody who speaks are shorter."""

_TOLD_HEADERS = ("content-type", "retry-after", "x-request-id")


class Provider:
    """The models at one endpoint. Belongs to the loop that uses it first."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._client: AsyncClient | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    def model(self, name: str) -> "RemoteModel":
        """The model that the provider calls `name`; nobody is asked whether it exists."""
        return RemoteModel(self, name)

    async def close(self) -> None:
        """Close the connections. What still runs ends with a `ProviderError`."""
        async with self._opening:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @asynccontextmanager
    async def send(self, path: str, body: Mapping[str, Any]) -> AsyncIterator["Response"]:
        """The answer to `body`, its content unread. Leaving closes the connection, unless all was
        read. Raises `EngineError` where there is no answer."""
        content = await asyncio.to_thread(encoded, body)
        client = await self._opened()
        from httpx2 import HTTPError, InvalidURL, Timeout

        silent = SILENT_SECONDS if body.get("stream") else ANSWER_SECONDS
        try:
            request = client.build_request(
                "POST",
                self.endpoint.url(path),
                content=content,
                headers=self.endpoint.headers,
                timeout=Timeout(silent, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
            )
            response = await client.send(request, stream=True)
        except (HTTPError, InvalidURL) as error:
            raise unreachable(self.endpoint, error) from None
        try:
            yield response
        finally:
            await response.aclose()

    async def pieces(self, response: "Response") -> AsyncGenerator[bytes, None]:
        """The content as it comes, not compressed any more. Raises `ProviderError` where it breaks
        off."""
        from httpx2 import HTTPError

        try:
            async with aclosing(response.aiter_bytes()) as pieces:
                async for piece in pieces:
                    yield piece
        except HTTPError as error:
            raise broken_off(self.endpoint, error) from None

    async def _opened(self) -> "AsyncClient":
        async with self._opening:
            if self._closed:
                raise EngineError("The server is stopping.")
            if self._client is None:
                self._client = await asyncio.to_thread(self._open)
            return self._client

    def _open(self) -> "AsyncClient":
        """Reads the authorities for TLS, hence not on the event loop. The proxies are those of the
        environment."""
        from httpx2 import AsyncClient, Limits

        limits = Limits(max_connections=CONNECTIONS, keepalive_expiry=KEPT_SECONDS)
        try:
            return AsyncClient(limits=limits)
        except (ImportError, ValueError, OSError) as error:
            raise ProviderError(
                f"The provider '{self.endpoint.name}' cannot be asked: the environment's settings "
                f"for proxies or TLS are not usable ({error})."
            ) from None


@dataclass(frozen=True, slots=True)
class PassedOn:
    """A provider's answer as it stands; see `routes.services.Answer`."""

    status: int
    headers: Mapping[str, str]
    _provider: Provider = field(repr=False)
    _response: "Response" = field(repr=False)

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises `ProviderError` when the provider breaks it off."""
        return self._provider.pieces(self._response)


class RemoteModel:
    """One model at a provider."""

    def __init__(self, provider: Provider, name: str) -> None:
        self.name = name
        self._provider = provider

    @asynccontextmanager
    async def post(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[PassedOn]:
        """Pass on a request with the provider's name of the model in it.

        The answer comes back as it is, an error too, unless it is about our key or sends us
        elsewhere. Raises `EngineError`.
        """
        endpoint = self._provider.endpoint
        async with self._provider.send(path, {**body, "model": self.name}) as response:
            status = response.status_code
            if status in (401, 403):
                raise key_refused(endpoint, status)
            if status in range(300, 400):
                raise moved(endpoint, status)
            told = {
                name: response.headers[name] for name in _TOLD_HEADERS if name in response.headers
            }
            yield PassedOn(status, told, self._provider, response)

    async def generate(self, request: Generate) -> AsyncGenerator[GenerationEvent, None]:
        """One answer, as it is made. Closing the generator closes the connection. Raises
        `EngineError`."""
        endpoint = self._provider.endpoint
        reading = Reading(endpoint)
        path, body = question(request, limit=endpoint.token_limit, templates=not endpoint.is_openai)
        async with self._asked(path, body) as response, aclosing(self._data(response)) as stream:
            async for data in stream:
                if data == DONE:
                    break
                for event in reading.take(data):
                    yield event
            yield reading.finished()
            with suppress(TimeoutError, ProviderError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    async for _ in stream:
                        pass

    async def embed(self, inputs: Sequence[Embed]) -> list[Embedding]:
        """A vector for each input, in order. `truncate` is left to the provider, which counts the
        tokens of all inputs together: each gets an equal share of them. Raises `EngineError`."""
        if not inputs:
            return []
        texts = [item.text if isinstance(item.text, str) else list(item.text) for item in inputs]
        body = {"input": texts, "encoding_format": "float"}
        async with self._asked("/embeddings", body) as response:
            answer = await self._whole(response)
        return await asyncio.to_thread(
            embeddings, self._provider.endpoint, answer, count=len(inputs)
        )

    async def rank(self, pairs: Sequence[Rank]) -> list[Relevance]:
        """How relevant each pair's document is, in order, by a route that Jina and Cohere have and
        OpenAI has not. Raises `EngineError`; `Unsupported` where the provider has none."""
        found: dict[int, Relevance] = {}
        for query in dict.fromkeys(pair.query for pair in pairs):
            places = [place for place, pair in enumerate(pairs) if pair.query == query]
            scores = await self._ranked(query, [pairs[place].document for place in places])
            found.update(zip(places, scores, strict=True))
        return [found[place] for place in range(len(pairs))]

    async def _ranked(self, query: str, documents: list[str]) -> list[Relevance]:
        endpoint = self._provider.endpoint
        body = {"query": query, "documents": documents, "top_n": len(documents)}
        try:
            async with self._asked("/rerank", body) as response:
                answer = await self._whole(response)
        except NoSuchPath:
            raise no_ranking(endpoint) from None
        return await asyncio.to_thread(relevances, endpoint, answer, count=len(documents))

    @asynccontextmanager
    async def _asked(self, path: str, body: Mapping[str, Any]) -> AsyncIterator["Response"]:
        """A good answer; a bad one raises what it means."""
        async with self._provider.send(path, {**body, "model": self.name}) as response:
            if response.status_code >= 300:
                refusal = Refusal(
                    response.status_code,
                    await self._beginning(response),
                    response.headers.get("retry-after"),
                )
                raise refused(self._provider.endpoint, self.name, refusal)
            yield response

    async def _data(self, response: "Response") -> AsyncGenerator[bytes, None]:
        """What the events of a stream hold."""
        events = Events(self._provider.endpoint)
        async with aclosing(self._provider.pieces(response)) as pieces:
            async for piece in pieces:
                for data in events.feed(piece):
                    yield data
        for data in events.end():
            yield data

    async def _beginning(self, response: "Response") -> bytes:
        """As much of an error as comes soon."""
        content = bytearray()
        with suppress(TimeoutError, ProviderError):
            async with (
                asyncio.timeout(REFUSAL_SECONDS),
                aclosing(self._provider.pieces(response)) as pieces,
            ):
                async for piece in pieces:
                    content += piece
                    if len(content) >= REFUSAL_BYTES:
                        break
        return bytes(content[:REFUSAL_BYTES])

    async def _whole(self, response: "Response") -> bytes:
        content = bytearray()
        async with aclosing(self._provider.pieces(response)) as pieces:
            async for piece in pieces:
                content += piece
                if len(content) > ANSWER_BYTES:
                    raise ProviderError(
                        f"The provider '{self._provider.endpoint.name}' answered with more than "
                        f"{ANSWER_BYTES >> 20} MiB."
                    )
        return bytes(content)
