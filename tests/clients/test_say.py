"""The speech client against a server that plays the wire, faults included."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from clients.say import SayOptions, say, sink_for, text_of
from clients.sinks import FileSink, SpeakerSink
from clients.wire import ClientError, Unavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/audio/speech", handler)
    async with TestServer(app) as running:
        yield str(running.make_url(""))


async def run(path: Path, url: str, text: str = "Hello.", **more: Any) -> bytes:
    options = SayOptions(url=url, output=path, **more)
    async with sink_for(options) as sink:
        await say(text, options, sink)
    return content(path)


def content(path: Path) -> bytes:
    return path.read_bytes()


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_the_request_says_all_that_was_asked_for(tmp_path: Path) -> None:
    asked: list[Any] = []

    async def speak(request: web.Request) -> web.StreamResponse:
        asked.extend((await request.json(), request.headers["Authorization"]))
        return web.Response(body=b"sound")

    async with server(speak) as url:
        more: dict[str, Any] = {"model": "m", "voice": "v", "speed": 1.5, "api_key": "k"}
        assert await run(tmp_path / "a.opus", url, **more) == b"sound"
    assert asked == [
        {
            "model": "m",
            "voice": "v",
            "speed": 1.5,
            "input": "Hello.",
            "response_format": "opus",
        },
        "Bearer k",
    ]


async def test_what_was_not_asked_for_is_left_to_the_server(tmp_path: Path) -> None:
    asked: list[Any] = []

    async def speak(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        return web.Response(body=b"sound")

    async with server(speak) as url:
        await run(tmp_path / "a.flac", url)
    assert asked == [{"model": "tts-1", "input": "Hello.", "response_format": "flac", "speed": 1.0}]


async def test_a_refusal_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        error = {"error": {"message": "There is no\nvoice 'x'."}}
        return web.json_response(error, status=400)

    async with server(refuse) as url:
        with pytest.raises(ClientError, match=r"^There is no voice 'x'\.$"):
            await run(tmp_path / "a.mp3", url)
    assert not files(tmp_path)


async def test_speech_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"so")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with server(break_off) as url:
        with pytest.raises(ClientError, match=r"^The connection to .* was lost: "):
            await run(tmp_path / "a.mp3", url)
    assert not files(tmp_path)


async def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="Start one with: antiphon serve"):
        await run(tmp_path / "a.mp3", "http://127.0.0.1:1")


def test_without_an_output_it_is_played() -> None:
    assert isinstance(sink_for(SayOptions()), SpeakerSink)
    assert isinstance(sink_for(SayOptions(output=Path("a.mp3"))), FileSink)


class Piped(io.TextIOWrapper):
    def __init__(self, data: bytes = b"", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def test_the_text_is_an_argument_a_file_or_what_comes_on_stdin(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(b"\xef\xbb\xbfAus der Datei: \xc3\xbc")
    piped = "Über stdin".encode()
    assert text_of("An argument", None, Piped(piped)) == "An argument"
    assert text_of(None, file, Piped(piped)) == "Aus der Datei: ü"
    assert text_of("-", None, Piped(piped, terminal=True)) == "Über stdin"
    assert text_of(None, None, Piped(piped)) == "Über stdin"


@pytest.mark.parametrize(
    ("text", "content", "stdin", "says"),
    [
        ("a", b"b", Piped(), "not both"),
        (None, None, Piped(terminal=True), "Give a text"),
        (" \n", None, Piped(), "the text is empty"),
        (None, None, Piped(b""), "the text is empty"),
        ("-", None, Piped(b"\xff\xfe"), "stdin is not text in UTF-8"),
        (None, b"\xff\xfe", Piped(), r"text\.txt is not text in UTF-8"),
        (None, b"a" * (4 * 2**20 + 1), Piped(), r"text\.txt is longer than 4 MiB"),
    ],
)
def test_what_is_no_text_is_told(
    text: str | None, content: bytes | None, stdin: Piped, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ClientError, match=says):
        text_of(text, None if content is None else file, stdin)


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"gone\.txt cannot be read: No such file"):
        text_of(None, tmp_path / "gone.txt", Piped())
