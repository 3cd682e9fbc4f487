import asyncio
import io
import json
import logging
from typing import Any, Literal

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import BaseModel, ValidationError
from rest import Client, serving

from engines.base import (
    Busy,
    EngineError,
    InvalidInput,
    ModelNotFound,
    Unsupported,
    WorkerCrashed,
)
from routes.errors import ApiError, api_error


def told(error: Exception) -> ApiError:
    found = api_error(error, make_mocked_request("GET", "/v1/thing"))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        (ModelNotFound("x", ["a", "b"]), 404, "model_not_found", "model"),
        (Unsupported("No French.", "language"), 400, "invalid_value", "language"),
        (InvalidInput("Not audio."), 400, "invalid_value", None),
        (Busy("All decoders are taken."), 429, "rate_limit_exceeded", None),
        (WorkerCrashed("The worker died twice."), 500, None, None),
        (EngineError("It failed."), 500, None, None),
    ],
)
def test_what_an_engine_could_not_do_has_a_status_and_keeps_its_sentence(
    error: EngineError, status: int, code: str | None, param: str | None
) -> None:
    found = told(error)
    assert (found.status, found.code, found.param) == (status, code, param)
    assert found.message == str(error)


def test_a_busy_server_says_when_to_come_back_in_whole_seconds() -> None:
    assert told(Busy("Later.", retry_after=2.1)).headers["Retry-After"] == "3"
    assert told(Busy("Later.", retry_after=0)).headers["Retry-After"] == "1"


def test_what_nobody_foresaw_is_not_told() -> None:
    assert api_error(KeyError("secret"), make_mocked_request("GET", "/")) is None


class Inner(BaseModel):
    name: str
    kinds: list[Literal["a", "b"]] = []


class Outer(BaseModel):
    plain: int = 0
    either: int | str | Inner | list[Inner] | dict[str, Inner] | None = None


@pytest.mark.parametrize(
    ("value", "param", "code"),
    [
        ({"plain": "x"}, "plain", "invalid_value"),
        ({"either": 1.5}, "either", "invalid_value"),
        ({"either": {"name": 3}}, "either.name", "invalid_value"),
        ({"either": [{"name": "x"}, {}]}, "either[1].name", "missing_required_parameter"),
        ({"either": [{"name": "x", "kinds": ["c"]}]}, "either[0].kinds[0]", "invalid_value"),
        ([], None, "invalid_value"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(value: Any, param: str | None, code: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate(value)
    found = told(raised.value)
    assert (found.status, found.param, found.code) == (400, param, code)
    assert found.message.endswith(".")


async def test_an_unknown_path_is_404_and_named() -> None:
    async with serving() as client:
        response = await client.get("/v1/chat/nothing")
        body = await response.json()
    assert response.status == 404
    assert body == {
        "error": {
            "message": "Invalid URL (GET /v1/chat/nothing).",
            "type": "invalid_request_error",
            "param": None,
            "code": "unknown_url",
        }
    }
    assert response.content_type == "application/json"


async def test_a_wrong_method_is_405_and_says_which_are_right() -> None:
    async with serving() as client:
        response = await client.delete("/v1/models/org%2Fwhisper:tiny")
        body = await response.json()
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert body["error"]["code"] == "method_not_allowed"


async def test_every_response_has_an_id_of_its_own_and_its_time() -> None:
    async with serving() as client:
        first = await client.get("/v1/models")
        second = await client.get("/v1/nothing", headers={"X-Request-Id": "mine"})
    ids = {response.headers["x-request-id"] for response in (first, second)}
    assert len(ids) == 2
    assert all(identifier.startswith("req_") for identifier in ids)
    assert int(first.headers["openai-processing-ms"]) >= 0


async def test_a_fault_of_ours_is_logged_once_and_says_nothing_about_the_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(_request: web.Request) -> web.Response:
        raise KeyError("a secret")

    async with serving(extra=[web.get("/v1/broken", broken)]) as client:
        with caplog.at_level(logging.ERROR):
            response = await client.get("/v1/broken")
        text = await response.text()
    assert response.status == 500
    assert (await response.json())["error"]["type"] == "server_error"
    assert "secret" not in text
    assert response.headers["x-request-id"] in text
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(records) == 1
    assert response.headers["x-request-id"] in records[0].getMessage()
    assert records[0].exc_info is not None


async def test_a_fault_in_the_middle_of_a_response_cuts_the_connection() -> None:
    import aiohttp

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise KeyError("a secret")

    async with serving(extra=[web.get("/v1/half", half)]) as client:
        response = await client.get("/v1/half")
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_redirects_pass_through() -> None:
    async def elsewhere(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/health")

    async with serving(extra=[web.get("/old", elsewhere)]) as client:
        response = await client.get("/old", allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (302, "/health")
    assert "x-request-id" in response.headers


async def _exchange(client: Client, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to the bytes of a request, which ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    try:
        writer.write(request)
        async with asyncio.timeout(30):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return head, body
    finally:
        writer.close()


@pytest.mark.parametrize("header", ["Host: caf\xe9", "Host: localhost\r\nOrigin: http://caf\xe9"])
async def test_a_header_that_is_no_unicode_can_be_quoted_in_an_error(header: str) -> None:
    path = "POST /v1/chat/completions HTTP/1.1"
    request = f"{path}\r\n{header}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    async with serving() as client:
        head, body = await _exchange(client, request.encode("latin-1"))
    assert head.startswith(b"HTTP/1.1 403")
    assert "caf?" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/v1/chat/completions", "application/json"),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=x"),
    ],
)
async def test_a_body_that_is_not_compressed_as_it_says_is_the_clients_fault(
    path: str, content_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Content-Type": content_type, "Content-Encoding": "gzip"}
    async with serving() as client:
        response = await client.post(path, data=b"this is no gzip", headers=headers)
        body = await response.json()
        after = await client.get("/v1/models")
    assert (response.status, after.status) == (400, 200)
    assert body["error"]["message"] == "The body is not encoded as its headers say."
    assert not caplog.records


async def test_a_body_of_countless_values_is_refused_unread() -> None:
    body = b'{"messages":[' + b"[]," * 1_000_000 + b"0]}"
    async with serving() as client:
        headers = {"Content-Type": "application/json"}
        data = io.BytesIO(body)
        response = await client.post("/v1/chat/completions", data=data, headers=headers)
        told = await response.json()
    assert response.status == 413
    assert told["error"]["message"] == "The body holds more than 500000 values."


async def test_an_expectation_that_nobody_knows_is_refused() -> None:
    head = b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nExpect: the-unexpected\r\n"
    async with serving() as client:
        answer, _ = await _exchange(client, head + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 417")
    assert b"x-request-id: req_" in answer.lower()
