"""Client secrets over HTTP: what OpenAI's clients get, and what is refused."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError
from rest import Client, openai, serving

from engines.base import ModelNotFound
from realtime import secrets as core
from realtime.client_secrets import SESSION_BYTES, ClientSecrets
from realtime.conversation_settings import (
    ConversationSettings,
    echo_conversation,
    merge_conversation,
)
from realtime.secrets import Kind, Secrets
from realtime.settings import Settings, echo, merge

KEY = "sk-real"
BEARER = {"Authorization": f"Bearer {KEY}"}
NOW = 1_800_000_000.25
GA = "/v1/realtime/client_secrets"
OLDER = "/v1/realtime/sessions"
OLDER_TRANSCRIPTION = "/v1/realtime/transcription_sessions"

SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


class Transcription:
    def describe(
        self, patch: Mapping[str, Any], session_id: str, expires_at: int
    ) -> dict[str, Any]:
        settings = merge(Settings("nano"), patch).settings
        if settings.model != "nano":
            raise ModelNotFound(settings.model, ["nano"])
        return echo(settings, session_id, expires_at)


class Conversation:
    def describe(
        self, patch: Mapping[str, Any], session_id: str, expires_at: int
    ) -> dict[str, Any]:
        current = ConversationSettings(patch.get("model") or "small", Settings("nano"))
        settings = merge_conversation(current, patch).settings
        return echo_conversation(settings, session_id, expires_at, voice="alloy")


@asynccontextmanager
async def minting(*keys: str) -> AsyncIterator[tuple[Client, Secrets]]:
    """A server that mints secrets for those with one of `keys`."""
    secrets = Secrets()
    kinds: dict[Kind, Any] = {"realtime": Conversation(), "transcription": Transcription()}
    routes = ClientSecrets(secrets, kinds, lambda prefix: f"{prefix}_1", lambda: NOW).routes()
    async with serving(extra=routes, api_keys=keys) as client:
        yield client, secrets


async def refusal(path: str, body: object) -> dict[str, Any]:
    """The error that a 400 carries."""
    async with minting(KEY) as (client, secrets):
        response = await client.post(path, json=body, headers=BEARER)
        told: dict[str, Any] = await response.json()
        assert response.status == 400, told
        assert len(secrets) == 0
    error: dict[str, Any] = told["error"]
    assert error["type"] == "invalid_request_error"
    return error


async def test_a_secret_stands_for_a_session_of_whoever_minted_it() -> None:
    session = {"type": "realtime", "model": "small", "audio": {"output": {"voice": "ash"}}}
    async with minting("other", KEY) as (client, secrets):
        response = await client.post(
            GA, json={"session": session, "expires_after": {"seconds": 60}}, headers=BEARER
        )
        told = await response.json()
        mine = secrets.find(told["value"], NOW)
        other = await client.post(GA, json={}, headers={"api-key": "other"})
        theirs = secrets.find((await other.json())["value"], NOW)
    assert response.status == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert told["value"].startswith("ek_")
    assert told["expires_at"] == 1_800_000_060
    assert told["session"]["id"] == "sess_1"
    assert told["session"]["audio"]["output"]["voice"] == "ash"
    assert told["session"]["audio"]["input"]["turn_detection"]["interrupt_response"] is True
    assert mine is not None
    assert theirs is not None
    assert (mine.kind, mine.session, mine.older) == ("realtime", session, False)
    assert mine.expires_at == 1_800_000_060
    assert theirs.expires_at == 1_800_000_600
    assert mine.tenant != theirs.tenant
    assert KEY not in mine.tenant


async def test_openai_s_client_reads_secrets_for_conversations() -> None:
    tool: Any = {"type": "function", "name": "look", "parameters": SCHEMA}
    async with minting(KEY) as (client, _), openai(client, KEY, strict=True) as sdk:
        minted = await sdk.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 10},
            session={"type": "realtime", "model": "small", "tools": [tool], "instructions": "Hi."},
        )
        bare = await sdk.realtime.client_secrets.create()
    assert minted.session.type == "realtime"
    assert minted.session.model == "small"
    assert minted.session.instructions == "Hi."
    assert minted.expires_at == 1_800_000_010
    assert bare.session.type == "realtime"


async def test_openai_s_client_reads_secrets_for_transcription() -> None:
    async with minting(KEY) as (client, secrets), openai(client, KEY, strict=True) as sdk:
        minted = await sdk.realtime.client_secrets.create(
            session={"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        )
        found = secrets.find(minted.value, NOW)
    assert minted.session.type == "transcription"
    assert minted.session.audio is not None
    assert minted.session.audio.input is not None
    assert minted.session.audio.input.turn_detection is None
    assert found is not None
    assert found.kind == "transcription"


async def test_openai_s_older_client_reads_flat_sessions() -> None:
    async with minting(KEY) as (client, secrets), openai(client, KEY) as sdk:
        minted = await sdk.beta.realtime.sessions.create(
            modalities=["text"],
            voice="ash",
            input_audio_format="g711_ulaw",
            temperature=0.7,
            max_response_output_tokens=99,
            client_secret={"expires_after": {"anchor": "created_at", "seconds": 30}},
        )
        found = secrets.find(minted.client_secret.value, NOW)
    assert type(minted).model_validate(minted.to_dict(), strict=True)
    assert minted.client_secret.expires_at == 1_800_000_030
    assert minted.modalities == ["text"]
    assert minted.voice == "ash"
    assert minted.input_audio_format == "g711_ulaw"
    assert minted.temperature == 0.7
    assert minted.max_response_output_tokens == 99
    assert found is not None
    assert (found.kind, found.older) == ("realtime", True)
    assert found.session["audio"]["output"] == {"voice": "ash"}
    assert "client_secret" not in found.session


async def test_openai_s_older_client_reads_flat_transcription_sessions() -> None:
    async with minting(KEY) as (client, secrets), openai(client, KEY) as sdk:
        minted = await sdk.beta.realtime.transcription_sessions.create(
            input_audio_format="g711_alaw",
            input_audio_transcription={"language": "de", "prompt": "Bahn"},
            turn_detection={"type": "server_vad", "silence_duration_ms": 250},
            client_secret={"expires_at": {"anchor": "created_at", "seconds": 20}},
        )
        found = secrets.find(minted.client_secret.value, NOW)
    assert minted.client_secret.expires_at == 1_800_000_020
    assert minted.input_audio_format == "g711_alaw"
    assert minted.turn_detection is not None
    assert minted.turn_detection.silence_duration_ms == 250
    assert minted.input_audio_transcription is not None
    assert minted.input_audio_transcription.language == "de"
    assert found is not None
    assert (found.kind, found.older) == ("transcription", True)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"expires_after": {"seconds": 9}}, "expires_after.seconds", "invalid_value"),
        ({"expires_after": {"seconds": 7201}}, "expires_after.seconds", "invalid_value"),
        ({"expires_after": {"seconds": "60"}}, "expires_after.seconds", "invalid_value"),
        ({"expires_after": {"anchor": "now"}}, "expires_after.anchor", "invalid_value"),
        ({"session": "realtime"}, "session", "invalid_value"),
        ({"session": {}}, "session.type", "missing_required_parameter"),
        ({"session": {"type": "song"}}, "session.type", "invalid_value"),
        (
            {"session": {"type": "realtime", "audio": {"output": {"speed": 9}}}},
            "session.audio.output.speed",
            "invalid_value",
        ),
        (
            {"session": {"type": "transcription", "audio": {"input": {"format": {"rate": 1}}}}},
            "session.audio.input.format.rate",
            "invalid_value",
        ),
        (
            {"session": {"type": "realtime", "instructions": "x" * SESSION_BYTES}},
            "session",
            "invalid_value",
        ),
    ],
)
async def test_what_cannot_be_is_refused(body: Any, param: str, code: str) -> None:
    error = await refusal(GA, body)
    assert (error["param"], error["code"]) == (param, code)


async def test_older_clients_are_told_of_the_fields_they_know() -> None:
    error = await refusal(OLDER, {"speed": "fast"})
    assert error["param"] == "speed"
    assert "'speed'" in error["message"]
    error = await refusal(OLDER_TRANSCRIPTION, {"turn_detection": {"type": "ouija"}})
    assert error["param"] == "turn_detection.type"
    error = await refusal(OLDER, {"client_secret": {"expires_after": {"seconds": 1}}})
    assert error["param"] == "client_secret.expires_after.seconds"


async def test_openai_s_client_raises_its_errors() -> None:
    missing: Any = {"input": {"transcription": {"model": "whisper-9"}}}
    async with minting(KEY) as (client, _), openai(client, KEY) as sdk:
        with pytest.raises(NotFoundError) as unknown:
            await sdk.realtime.client_secrets.create(
                session={"type": "transcription", "audio": missing}
            )
        with pytest.raises(BadRequestError):
            await sdk.realtime.client_secrets.create(expires_after={"seconds": 1})
    assert unknown.value.code == "model_not_found"


@pytest.mark.parametrize("path", [GA, OLDER, OLDER_TRANSCRIPTION])
async def test_minting_needs_a_key_of_the_server(path: str) -> None:
    async with minting(KEY) as (client, secrets):
        assert (await client.post(path, json={})).status == 401
        minted = (await (await client.post(GA, json={}, headers=BEARER)).json())["value"]
        as_client = {"Authorization": f"Bearer {minted}"}
        assert (await client.post(path, json={}, headers=as_client)).status == 401
        assert len(secrets) == 1


async def test_a_secret_opens_nothing_of_rest() -> None:
    async with minting(KEY) as (client, _):
        minted = (await (await client.post(GA, json={}, headers=BEARER)).json())["value"]
        async with openai(client, minted) as sdk:
            with pytest.raises(AuthenticationError):
                await sdk.models.list()


async def test_a_server_without_keys_mints_for_everybody_but_pages_from_elsewhere() -> None:
    async with minting() as (client, secrets):
        assert (await client.post(GA, json={})).status == 200
        evil = {"Origin": "https://evil.example"}
        assert (await client.post(GA, json={}, headers=evil)).status == 403
        assert len(secrets) == 1


async def test_too_many_secrets_are_refused_until_some_expire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core, "MAX_LIVE", 2)
    async with minting(KEY) as (client, _):
        statuses = [(await client.post(GA, json={}, headers=BEARER)).status for _ in range(2)]
        refused = await client.post(GA, json={}, headers=BEARER)
        error = (await refused.json())["error"]
    assert statuses == [200, 200]
    assert refused.status == 429
    assert error["code"] == "rate_limit_exceeded"
    assert 599 <= int(refused.headers["Retry-After"]) <= 600


async def test_a_secret_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with minting(KEY) as (client, secrets):
        minted = (await (await client.post(GA, json={}, headers=BEARER)).json())["value"]
        await client.post(GA, json={"session": 5}, headers={"Authorization": f"Bearer {minted}"})
        found = secrets.find(minted, NOW)
        assert found is not None
        logging.getLogger("test").info("opened with %r", replace(found, tenant="mine"))
    assert minted not in caplog.text
