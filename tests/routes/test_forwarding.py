import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from language_models import Scripted
from openai import RateLimitError
from rest import openai, serving

from engines.base import EngineError, ProviderError
from routes import streaming

PATH = "/v1/chat/completions"
BODY = {"model": "there.big", "messages": "whatever", "odd": [1]}


@dataclass
class Provider:
    """Answers with the chunks of a script; in it are errors to raise and events to wait for."""

    script: tuple[bytes | Exception | asyncio.Event, ...]
    status: int = 200
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"Content-Type": "text/event-stream"}
    )
    refusal: EngineError | None = None
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def post(self, path: str, body: Mapping[str, Any]) -> AsyncIterator["Provider"]:
        self.asked.append((path, body))
        try:
            if self.refusal is not None:
                raise self.refusal
            yield self
        finally:
            self.closed.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        for step in self.script:
            match step:
                case bytes():
                    yield step
                case Exception():
                    raise step
                case _:
                    await step.wait()


def language(provider: Provider) -> Scripted:
    return Scripted(remotes={"there.big": provider})


async def test_a_request_for_a_providers_model_goes_there_as_it_is_and_comes_back_so() -> None:
    records = (b'data: {"a"', b": 1}\n\n", b": ping\n\n", b"data: [DONE]\n\n")
    provider = Provider(records)
    async with serving(language=language(provider)) as client:
        response = await client.post(PATH, json=BODY)
        assert await response.read() == b"".join(records)
        await client.post("/v1/completions", json=BODY)
    assert response.status == 200
    assert response.content_type == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["x-request-id"].startswith("req_")
    assert provider.asked == [("/chat/completions", BODY), ("/completions", BODY)]
    assert provider.closed.is_set()


async def test_a_refusal_comes_back_with_its_status_and_headers() -> None:
    told = b'{"error":{"message":"Slow down.","type":"x","param":null,"code":"rate"}}'
    headers = {"Content-Type": "application/json", "Retry-After": "7"}
    provider = Provider((told,), status=429, headers=headers)
    async with serving(language=language(provider)) as client, openai(client) as sdk:
        with pytest.raises(RateLimitError, match="Slow down") as raised:
            await sdk.chat.completions.create(
                model="there.big", messages=[{"role": "user", "content": "Hi"}]
            )
    assert raised.value.response.headers["Retry-After"] == "7"


async def test_a_provider_that_cannot_be_reached_is_502() -> None:
    provider = Provider((), refusal=ProviderError("The provider 'there' could not be reached."))
    async with serving(language=language(provider)) as client:
        response = await client.post(PATH, json=BODY)
        body = await response.json()
    assert response.status == 502
    assert body["error"]["message"] == "The provider 'there' could not be reached."


async def test_a_provider_that_breaks_off_breaks_the_response_off() -> None:
    provider = Provider((b"data: {}\n\n", ProviderError("The provider 'there' broke off.")))
    async with serving(language=language(provider)) as client:
        response = await client.post(PATH, json=BODY)
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    assert provider.closed.is_set()


async def test_a_client_that_leaves_ends_the_providers_work() -> None:
    provider = Provider((b"data: {}\n\n", asyncio.Event()))
    async with serving(language=language(provider)) as client:
        response = await client.post(PATH, json=BODY)
        await response.content.readuntil(b"\n\n")
        assert not provider.closed.is_set()
        response.close()
        async with asyncio.timeout(30):
            await provider.closed.wait()


@pytest.mark.one_loop
async def test_a_client_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WRITE_SECONDS", 0.2)
    provider = Provider((b"x" * (1 << 20),) * 200)
    async with serving(language=language(provider)) as client:
        response = await client.post(PATH, json=BODY)
        async with asyncio.timeout(30):
            await provider.closed.wait()
        response.close()
