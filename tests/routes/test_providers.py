"""The routes, with the model of a provider behind them."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientTimeout
from aiohttp.test_utils import unused_port
from far import ANSWER, KEY, Far, breaks_off, far, refuses, says, streams
from language_models import Scripted
from openai import InternalServerError, RateLimitError
from rest import Client, openai, serving

from engines.cloud import Provider
from engines.endpoints import Endpoint

CHAT: dict[str, Any] = {"model": "far.big-1", "messages": [{"role": "user", "content": "Hi"}]}
ROUTES = {
    "/v1/chat/completions": CHAT,
    "/v1/embeddings": {"model": "far.big-1", "input": "a"},
    "/v1/rerank": {"model": "far.big-1", "query": "a", "documents": ["b"]},
}


def before(there: Far) -> AbstractAsyncContextManager[Client]:
    """Our server, which knows the provider as `far`."""
    return serving(language=Scripted(remotes={"far.big-1": there.model}))


async def test_the_sdk_gets_a_providers_stream() -> None:
    async with (
        far(streams(*ANSWER)) as there,
        before(there) as client,
        openai(client) as sdk,
        sdk.chat.completions.stream(**CHAT, stream_options={"include_usage": True}) as stream,
    ):
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "Hello"
    assert final.usage is not None
    assert final.usage.total_tokens == 9
    assert there.sent[0].body["model"] == "big-1"


async def test_a_stream_arrives_byte_for_byte() -> None:
    async with far(streams(*ANSWER)) as there, before(there) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        assert response.content_type == "text/event-stream"
        assert await response.read() == b"".join(ANSWER)


@pytest.mark.parametrize("path", ROUTES)
async def test_every_route_passes_on_what_a_provider_says(path: str) -> None:
    async with far(says({"odd": 1}, 418, Retry_After="5")) as there, before(there) as client:
        response = await client.post(path, json=ROUTES[path])
        assert (response.status, await response.json()) == (418, {"odd": 1})
        assert response.headers["Retry-After"] == "5"
    assert there.sent[0].path == path
    assert there.sent[0].body == {**ROUTES[path], "model": "big-1"}


@pytest.mark.parametrize("path", ROUTES)
async def test_a_key_that_a_provider_refuses_is_a_bad_gateway(path: str) -> None:
    async with far(refuses(f"Bad key {KEY}", 401)) as there, before(there) as client:
        response = await client.post(path, json=ROUTES[path])
        body = await response.text()
    assert response.status == 502
    assert '"code":"provider_error"' in body
    assert KEY not in body


async def test_a_provider_that_is_not_there_is_a_bad_gateway() -> None:
    provider = Provider(Endpoint("far", f"http://127.0.0.1:{unused_port()}/v1"))
    language = Scripted(remotes={"far.big-1": provider.model("big-1")})
    async with serving(language=language) as client, openai(client) as sdk:
        with pytest.raises(InternalServerError, match="'far' could not be reached") as raised:
            await sdk.chat.completions.create(**CHAT)
    await provider.close()
    assert (raised.value.status_code, raised.value.code) == (502, "provider_error")


async def test_a_providers_limit_of_requests_is_told_as_it_is() -> None:
    handler = says({"error": {"message": "Slow down", "code": "slow"}}, 429, Retry_After="12")
    async with far(handler) as there, before(there) as client, openai(client) as sdk:
        with pytest.raises(RateLimitError, match="Slow down") as raised:
            await sdk.chat.completions.create(**CHAT)
    assert raised.value.response.headers["Retry-After"] == "12"


async def test_a_stream_that_a_provider_breaks_off_does_not_look_whole() -> None:
    async with far(breaks_off(*ANSWER[:2])) as there, before(there) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        assert await response.content.readuntil(b"\n\n") == ANSWER[0]
        with pytest.raises(ClientPayloadError):
            await response.content.read()


async def test_a_client_that_leaves_ends_the_providers_work() -> None:
    async with far(streams(ANSWER[0], asyncio.Event())) as there, before(there) as client:
        response = await client.post(
            "/v1/chat/completions", json={**CHAT, "stream": True}, timeout=ClientTimeout(30)
        )
        await response.content.readuntil(b"\n\n")
        assert not there.left.is_set()
        response.close()
        async with asyncio.timeout(30):
            await there.left.wait()
