from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from rest import serving, settings

from routes.errors import ApiError
from routes.origins import check_host, check_origin

SPEECH = "/v1/audio/transcriptions"


def host_passes(name: str | None, **changes: Any) -> bool:
    request = make_mocked_request("POST", "/", headers={} if name is None else {"Host": name})
    try:
        check_host(request, settings(**changes))
    except ApiError:
        return False
    return True


def origin_passes(origin: str, host: str = "127.0.0.1:8800", **changes: Any) -> bool:
    request = make_mocked_request("POST", "/", headers={"Host": host, "Origin": origin})
    try:
        check_origin(request, settings(**changes))
    except ApiError:
        return False
    return True


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8800",
        "LocalHost.:8800",
        "127.0.0.1:8800",
        "[::1]:8800",
        "[::1]",
        "192.168.1.20:8800",
        "[fe80::1]:8800",
    ],
)
def test_loopback_names_and_addresses_name_this_server(host: str) -> None:
    assert host_passes(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:8800",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "[::1].evil.example",
        "localhost:8800:1",
        "localhost evil.example",
    ],
)
def test_any_other_name_does_not(host: str | None) -> None:
    assert not host_passes(host)


def test_a_name_can_be_allowed() -> None:
    assert host_passes("Box.lan:8800", allowed_hosts=("box.LAN",))
    assert host_passes("anything.example", allowed_hosts=("*",))
    assert host_passes("box.lan", host="box.lan")
    assert not host_passes("other.lan", allowed_hosts=("box.lan",))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8800", "127.0.0.1:8800"),
        ("ws://127.0.0.1:8800", "127.0.0.1:8800"),
        ("https://box.lan", "box.lan"),
        ("https://box.lan", "box.lan:443"),
        ("http://box.lan:80", "box.lan"),
        ("http://Box.lan", "box.LAN"),
        ("https://[::1]:8800", "[::1]:8800"),
    ],
)
def test_the_servers_own_pages_may_use_it(origin: str, host: str) -> None:
    assert origin_passes(origin, host)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://127.0.0.1:3000",
        "http://127.0.0.1",
        "http://localhost:8800",
        "http://127.0.0.1:8800.evil.example",
        "http://127.0.0.1:8800@evil.example",
        "file://",
        "null",
        "",
        "chrome-extension://127.0.0.1:8800",
    ],
)
def test_pages_from_elsewhere_may_not(origin: str) -> None:
    assert not origin_passes(origin)


def test_an_origin_can_be_allowed() -> None:
    assert origin_passes("http://localhost:3000", allowed_origins=("http://LOCALHOST:3000/",))
    assert origin_passes("app://obsidian.md", allowed_origins=("app://obsidian.md",))
    assert origin_passes("null", allowed_origins=("*",))
    assert not origin_passes("null", allowed_origins=("null",))
    assert not origin_passes("http://localhost:30000", allowed_origins=("http://localhost:3000",))


async def test_a_client_without_an_origin_passes() -> None:
    async with serving() as client:
        response = await client.post(SPEECH)
    assert response.status == 400


async def test_a_page_elsewhere_cannot_upload() -> None:
    async with serving() as client:
        response = await client.post(SPEECH, headers={"Origin": "https://evil.example"})
        body = await response.json()
    assert response.status == 403
    assert body["error"]["code"] == "origin_not_allowed"
    assert "allowed_origins" in body["error"]["message"]
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", ["/v1/models", "/", "/metrics"])
async def test_a_rebound_name_reads_nothing(path: str) -> None:
    async with serving() as client:
        response = await client.get(path, headers={"Host": "evil.example:8800"})
        body = await response.json()
    assert response.status == 403
    assert body["error"]["code"] == "host_not_allowed"
    assert "allowed_hosts" in body["error"]["message"]


async def test_the_health_is_told_under_every_name() -> None:
    async with serving() as client:
        response = await client.get("/health", headers={"Host": "antiphon.svc.cluster.local"})
    assert response.status == 200


async def test_a_preflight_from_an_allowed_origin_reflects_what_was_asked() -> None:
    async with serving(allowed_origins=("https://app.example",), api_keys=("right",)) as client:
        response = await client.options(
            SPEECH,
            headers={
                "Origin": "https://app.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,x-stainless-lang",
                "Access-Control-Request-Private-Network": "true",
            },
        )
    headers = response.headers
    assert response.status == 204
    assert headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert headers["Access-Control-Allow-Headers"] == "authorization,x-stainless-lang"
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert headers["Access-Control-Allow-Private-Network"] == "true"
    assert headers["Access-Control-Max-Age"] == "600"
    assert "Origin" in headers.getall("Vary")


async def test_a_preflight_from_elsewhere_is_refused() -> None:
    async with serving() as client:
        response = await client.options(
            SPEECH,
            headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
        )
    assert response.status == 403
    assert not [name for name in response.headers if name.startswith("Access-Control")]


async def test_a_page_of_an_allowed_origin_can_read_answers_and_errors() -> None:
    headers = {"Origin": "https://app.example"}
    async with serving(allowed_origins=("*",)) as client:
        for path in ("/v1/models", "/v1/nothing"):
            response = await client.get(path, headers=headers)
            assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
            exposed = response.headers["Access-Control-Expose-Headers"]
            assert exposed == "Location, Retry-After, x-request-id"
            assert "Origin" in response.headers.getall("Vary")


async def test_options_without_cors_names_the_methods() -> None:
    async with serving() as client:
        response = await client.options("/v1/models")
        assert (response.status, response.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
        assert (await client.options("/v1/nothing")).status == 404
