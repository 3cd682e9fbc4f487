import asyncio
import os
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData, web
from rest import Client, serving

from routes import multipart
from routes.errors import json_response
from routes.multipart import read_form


async def echo(request: web.Request) -> web.Response:
    """Answers with what was read."""
    async with read_form(request, names={"model", "tags"}, max_file_bytes=3_000_000) as form:
        data = await asyncio.to_thread(form.file.read)
        return json_response({"fields": form.fields, "size": len(data), "sum": sum(data)})


ECHO = web.post("/echo", echo)


async def post(client: Client, data: Any, **options: Any) -> tuple[int, dict[str, Any]]:
    response = await client.post("/echo", data=data, **options)
    return response.status, await response.json()


def form(content: bytes = b"abc", /, **fields: str) -> FormData:
    data = FormData()
    data.add_field("file", BytesIO(content), filename="a.wav")
    for name, value in fields.items():
        data.add_field(name, value)
    return data


async def test_fields_may_come_after_the_file_and_with_brackets() -> None:
    data = form(model="m")
    data.add_field("tags[]", "one")
    data.add_field("tags[]", "two")
    data.add_field("tags", "three")
    data.add_field("unknown", "x")
    data.add_field("chunking_strategy[type]", "server_vad")
    data.add_field("model", "")
    async with serving(extra=[ECHO]) as client:
        status, body = await post(client, data)
    assert status == 200
    assert body["fields"] == {"model": ["m"], "tags": ["one", "two", "three"]}
    assert body["size"] == 3


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 262_144, 262_145, 3_000_000])
async def test_files_of_every_size_arrive_whole(size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with serving(extra=[ECHO]) as client:
        status, body = await post(client, form(content))
    assert (status, body["size"], body["sum"]) == (200, size, sum(content))


async def test_a_large_file_lies_on_disk_and_not_in_memory() -> None:
    sizes: list[tuple[bool, int]] = []

    async def measure(request: web.Request) -> web.Response:
        async with read_form(request, names=(), max_file_bytes=3_000_000) as found:
            sizes.append((found.file._rolled, found.file.seek(0, 2)))  # type: ignore[attr-defined]
        return web.Response()

    async with serving(extra=[web.post("/echo", measure)]) as client:
        await client.post("/echo", data=form(b"x" * 2_000_000))
        await client.post("/echo", data=form(b"x" * 1_000))
    assert sizes == [(True, 2_000_000), (False, 1_000)]


async def test_an_upload_over_the_limit_is_413_with_a_sentence() -> None:
    async def chunks() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(60):
            yield bytes(100_000)
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with serving(extra=[ECHO]) as client:
        for data, options in ((form(bytes(3_000_001)), {}), (chunks(), {"headers": headers})):
            status, body = await post(client, data, **options)
            assert status == 413
            assert body["error"]["code"] == "file_too_large"
            assert "3000000 bytes" in body["error"]["message"]


async def test_a_length_that_is_too_great_is_refused_before_the_body_is_read() -> None:
    async with serving(extra=[ECHO]) as client:
        assert client.port is not None
        reader, writer = await asyncio.open_connection(client.host, client.port)
        head = (
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        writer.write(head.encode())
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert status.split()[1] == b"413"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"model": "m"}', "application/json"),
        (b"model=m", "application/x-www-form-urlencoded"),
        (b"rubbish", "multipart/form-data; boundary=b"),
        (b"", "multipart/form-data; boundary=b"),
        (b"--b\r\n", "multipart/form-data; boundary=b"),
        (b"--b\r\nrubbish\r\n\r\n", "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhalf',
            "multipart/form-data; boundary=b",
        ),
        (
            b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--\r\n",
            "multipart/form-data; boundary=b",
        ),
        (b"--b--\r\n", "multipart/form-data"),
        (b"--b--\r\n", f"multipart/form-data; boundary={'b' * 71}"),
        (b"--b--\r\n", "multipart/form-data; boundary="),
    ],
)
async def test_a_body_that_is_no_form_is_400(body: bytes, content_type: str) -> None:
    async with serving(extra=[ECHO]) as client:
        status, answer = await post(client, body, headers={"Content-Type": content_type})
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert "multipart/form-data" in answer["error"]["message"]


async def test_a_missing_an_empty_and_a_second_file_are_refused() -> None:
    none = FormData()
    none.add_field("model", "m", content_type="text/plain")
    two = form()
    two.add_field("file", b"abc", filename="b.wav")
    async with serving(extra=[ECHO]) as client:
        missing = await post(client, none)
        empty = await post(client, form(b""))
        second = await post(client, two)
    assert missing[0] == empty[0] == second[0] == 400
    assert missing[1]["error"]["code"] == "missing_required_parameter"
    assert empty[1]["error"]["message"] == "The file is empty."
    assert [answer["error"]["param"] for _, answer in (missing, empty, second)] == ["file"] * 3


async def test_fields_are_bounded_in_number_and_size() -> None:
    many = form(**{f"field_{n}": "x" for n in range(multipart.FIELDS)})
    binary = form()
    binary.add_field("model", BytesIO(b"\xff\xfe"), content_type="text/plain")
    async with serving(extra=[ECHO]) as client:
        assert (await post(client, many))[0] == 400
        status, body = await post(client, form(model="x" * 70_000))
        assert (status, body["error"]["param"]) == (400, "model")
        assert (await post(client, form(unknown="x" * 70_000)))[0] == 200
        assert (await post(client, binary))[1]["error"]["param"] == "model"


async def test_an_upload_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "IDLE_SECONDS", 0.05)
    async with serving(extra=[ECHO]) as client:
        assert client.port is not None
        reader, writer = await asyncio.open_connection(client.host, client.port)
        head = (
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        writer.write(head.encode())
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert status.split()[1] == b"408"


async def test_a_client_that_leaves_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    closed = asyncio.Event()
    spool_close = multipart._Spool.close

    async def close(spool: multipart._Spool) -> None:
        await spool_close(spool)
        assert spool._file.closed
        closed.set()

    monkeypatch.setattr(multipart._Spool, "close", close)
    async with serving(extra=[ECHO]) as client:
        assert client.port is not None
        _, writer = await asyncio.open_connection(client.host, client.port)
        head = (
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        )
        writer.write(head.encode() + bytes(1_000_000))
        await writer.drain()
        writer.close()
        async with asyncio.timeout(30):
            await closed.wait()
    assert os.listdir(tmp_path) == []
