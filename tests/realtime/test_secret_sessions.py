"""Sessions that are opened with client secrets, and in the older dialect, by a whole server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from live import NULL, QUERY, Client, built, connect
from openai import AsyncOpenAI

KEY = "sk-real"
BEARER = {"Authorization": f"Bearer {KEY}"}
MANUAL = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
SECOND = bytes(48_000)

pytestmark = pytest.mark.one_loop


@asynccontextmanager
async def server(data_dir: Path) -> AsyncIterator[str]:
    running = await built(data_dir, NULL, server={"api_key": KEY})
    async with running.url() as url:
        yield url


async def minted(url: str, path: str, **body: Any) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(headers=BEARER) as http,
        http.post(f"{url}/v1/realtime/{path}", json=body) as response,
    ):
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        return answer


def carrying(key: str) -> dict[str, Any]:
    """A key as a page in a browser sends it."""
    return {"protocols": ("realtime", f"openai-insecure-api-key.{key}")}


async def test_a_secret_opens_sessions_that_begin_as_it_says(tmp_path: Path) -> None:
    async with server(tmp_path) as url:
        secret = await minted(url, "client_secrets", session=MANUAL)
        for _ in range(2):
            async with connect(f"{url}/v1/realtime", **carrying(secret["value"])) as client:
                created = await client.next("session.created", "error")
                assert created["session"]["type"] == "transcription"
                assert created["session"]["audio"] == secret["session"]["audio"]
                assert client.socket.protocol == "realtime"


async def test_a_secret_opens_nothing_but_sessions(tmp_path: Path) -> None:
    async with server(tmp_path) as url:
        secret = await minted(url, "client_secrets", session=MANUAL)
        headers = {"Authorization": f"Bearer {secret['value']}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            for path in ("/v1/models", "/metrics"):
                assert (await http.get(url + path)).status == 401
            path = "/v1/realtime/client_secrets"
            assert (await http.post(url + path, json={})).status == 401


async def test_a_key_that_is_no_secret_opens_nothing(tmp_path: Path) -> None:
    async with server(tmp_path) as url, connect(url + QUERY, **carrying("ek_wrong")) as client:
        assert (await client.next("error"))["error"]["code"] == "invalid_api_key"
        assert await client.closed() == 3000


async def the_items(client: Client) -> list[dict[str, Any]]:
    """Commit a second of audio; what is told until its transcript came."""
    await client.append(SECOND)
    await client.send("input_audio_buffer.commit")
    await client.next("conversation.item.input_audio_transcription.completed", "error")
    return client.of("conversation.item.created", "conversation.item.added", "error")


async def test_an_older_secret_opens_sessions_of_the_older_dialect(tmp_path: Path) -> None:
    async with server(tmp_path) as url:
        told = await minted(url, "transcription_sessions", turn_detection=None)
        async with connect(
            f"{url}/v1/realtime", **carrying(told["client_secret"]["value"])
        ) as client:
            created = await client.next("transcription_session.created", "error")
            assert created["session"]["turn_detection"] is None
            (item,) = await the_items(client)
    assert item["type"] == "conversation.item.created"


async def test_flat_settings_switch_a_session_to_the_older_dialect(tmp_path: Path) -> None:
    async with server(tmp_path) as url, connect(url + QUERY, headers=BEARER) as client:
        assert (await client.next("session.created", "error"))["session"]["type"] == "transcription"
        flat = {"turn_detection": None, "input_audio_format": "pcm16"}
        await client.send("transcription_session.update", session=flat)
        updated = await client.next("transcription_session.updated", "error")
        assert updated["session"]["input_audio_format"] == "pcm16"
        (item,) = await the_items(client)
        await client.send("transcription_session.update", session={"input_audio_format": "mp3"})
        error = await client.next("error")
    assert item["type"] == "conversation.item.created"
    assert error["error"]["param"] == "session.input_audio_format"


async def test_openai_s_older_client_transcribes(tmp_path: Path) -> None:
    async with server(tmp_path) as url:
        base = f"{url}/v1".replace("http", "ws", 1)
        sdk = AsyncOpenAI(base_url=f"{url}/v1", websocket_base_url=base, api_key=KEY)
        query = {"intent": "transcription"}
        async with sdk, sdk.beta.realtime.connect(model="null", extra_query=query) as connection:
            first: Any = await connection.recv()
            assert first.type == "transcription_session.created"
            await connection.transcription_session.update(
                session={"turn_detection": {"type": "server_vad", "silence_duration_ms": 250}}
            )
            updated = await connection.recv()
    assert updated.type == "transcription_session.updated"
    assert updated.session.turn_detection is not None
    assert updated.session.turn_detection.silence_duration_ms == 250
