import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from rest import openai, serving, settings

from routes.auth import authenticate, in_band, is_authorised, keys_from

PLACES = [
    ("/v1/models", {"Authorization": "Bearer right"}),
    ("/v1/models", {"Authorization": "bearer  right "}),
    ("/v1/models", {"api-key": "right"}),
    ("/v1/models?api-key=right", {}),
    ("/v1/models?api_key=right", {}),
    ("/v1/models", {"Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key.right"}),
]


@pytest.mark.parametrize(("path", "headers"), PLACES)
async def test_a_key_is_taken_from_every_place_that_clients_use(
    path: str, headers: dict[str, str]
) -> None:
    async with serving(api_keys=("left", "right")) as client:
        assert (await client.get(path, headers=headers)).status == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/models", {}),
        ("/v1/models", {"Authorization": "Bearer wrong"}),
        ("/v1/models", {"Authorization": "Bearer "}),
        ("/v1/models", {"Authorization": "Basic right"}),
        ("/v1/models", {"Authorization": "right"}),
        ("/v1/models", {"api-key": "righ"}),
        ("/v1/models", {"api-key": "rightt"}),
        ("/v1/models?api-key=", {}),
        ("/v1/models?key=right", {}),
        ("/v1/models", {"Sec-WebSocket-Protocol": "realtime, right"}),
        ("/v1/models", {"Upgrade": "websocket", "Connection": "Upgrade"}),
        ("/metrics", {}),
        ("/v1/unknown", {}),
        ("/web/../v1/models", {}),
    ],
)
async def test_without_the_right_key_the_answer_is_401(path: str, headers: dict[str, str]) -> None:
    async with serving(api_keys=("right",)) as client:
        response = await client.get(path, headers=headers)
        body = await response.json()
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert body["error"]["code"] == "invalid_api_key"
    assert body["error"]["type"] == "invalid_request_error"


def test_subprotocols_may_come_as_several_headers() -> None:
    request = make_mocked_request(
        "GET",
        "/",
        headers=[
            ("Sec-WebSocket-Protocol", "realtime"),
            ("Sec-WebSocket-Protocol", "openai-insecure-api-key.one,openai-insecure-api-key.two"),
        ],
    )
    assert keys_from(request) == ["one", "two"]


def test_one_right_key_among_wrong_ones_is_enough() -> None:
    request = make_mocked_request(
        "GET", "/?api-key=wrong", headers={"Authorization": "Bearer right"}
    )
    assert authenticate(request, ["other", "right"])
    assert not authenticate(request, ["other"])


async def test_a_key_that_is_not_ascii_is_compared_and_not_an_error() -> None:
    async with serving(api_keys=("sch\u00f6n",)) as client:
        assert client.port is not None
        for key, status in ((b"sch\xc3\xb6n", b"200"), (b"\xff\xfe", b"401")):
            reader, writer = await asyncio.open_connection(client.host, client.port)
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n")
            writer.write(b"Authorization: Bearer %b\r\n\r\n" % key)
            assert (await reader.readline()).split()[1] == status
            writer.close()
            await writer.wait_closed()


def test_without_configured_keys_everybody_is_authorised() -> None:
    request = make_mocked_request("GET", "/")
    assert is_authorised(request, settings())
    assert not is_authorised(request, settings(api_keys=("right",)))


@pytest.mark.parametrize("path", ["/", "/health", "/web/nothing.js"])
async def test_the_page_and_the_health_need_no_key(path: str) -> None:
    async with serving(api_keys=("right",)) as client:
        assert (await client.get(path)).status != 401
        assert (await client.head(path)).status != 401


async def test_an_in_band_endpoint_is_reached_without_a_key() -> None:
    @in_band
    async def endpoint(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("refused")
        await socket.close()
        return socket

    route = web.get("/v1/realtime", endpoint)
    async with serving(api_keys=("right",), extra=[route]) as client:
        async with client.ws_connect("/v1/realtime") as socket:
            assert await socket.receive_str() == "refused"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/v1/realtime", origin="https://evil.example")
    assert refused.value.status == 403


async def test_the_sdk_raises_its_authentication_error() -> None:
    from openai import AuthenticationError

    async with serving(api_keys=("right",)) as client, openai(client, "wrong") as sdk:
        with pytest.raises(AuthenticationError) as raised:
            await sdk.models.list()
    assert raised.value.code == "invalid_api_key"
    assert raised.value.request_id is not None
    async with serving(api_keys=("right",)) as client, openai(client, "right") as sdk:
        assert len((await sdk.models.list()).data) == 2
