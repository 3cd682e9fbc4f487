"""The file transcription client against a server that plays the wire, faults included."""

import asyncio
import io
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console
from voice import silence, write_wav

from clients.transcribe import TranscribeOptions, events, transcribe
from clients.wire import ClientError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/v1/audio/transcriptions", handler)
    async with TestServer(app) as running:
        yield str(running.make_url(""))


async def stream(request: web.Request, *records: dict[str, Any] | str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for record in records:
        line = record if isinstance(record, str) else f"data: {json.dumps(record)}"
        await response.write(f"{line}\n\n".encode())
    await response.write_eof()
    return response


def delta(start: float, end: float, text: str) -> dict[str, Any]:
    return {"type": "transcript.text.delta", "delta": text, "start": start, "end": end}


async def two_segments(request: web.Request) -> web.StreamResponse:
    await request.post()
    return await stream(
        request,
        ": keep-alive",
        delta(0.5, 2.25, "Black & white"),
        delta(3661.0, 3662.0005, " says [b]Jane[/b]."),
        {"type": "transcript.text.done", "text": "Black & white says [b]Jane[/b]."},
        "data: [DONE]",
    )


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "talk.wav", silence(1))


async def run(files: list[Path], url: str, **more: Any) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    out, errors = io.StringIO(), io.StringIO()
    async with asyncio.timeout(20):
        code = await transcribe(
            files,
            TranscribeOptions(url=url, **more),
            Console(file=out, width=30),
            Console(file=errors, width=30),
        )
    return code, out.getvalue(), errors.getvalue()


@pytest.mark.parametrize(
    ("format", "written"),
    [
        ("txt", "Black & white says [b]Jane[/b].\n"),
        (
            "srt",
            "1\n00:00:00,500 --> 00:00:02,250\nBlack & white\n\n"
            "2\n01:01:01,000 --> 01:01:02,000\nsays [b]Jane[/b].\n",
        ),
        (
            "vtt",
            "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\nBlack &amp; white\n\n"
            "01:01:01.000 --> 01:01:02.000\nsays [b]Jane[/b].\n",
        ),
    ],
)
async def test_one_file_goes_to_stdout_in_the_format_asked_for(
    sound: Path, format: str, written: str
) -> None:
    async with server(two_segments) as url:
        assert await run([sound], url, format=format) == (0, written, "")


async def test_json_has_the_text_and_its_segments(sound: Path) -> None:
    async with server(two_segments) as url:
        _, out, _ = await run([sound], url, format="json")
    assert json.loads(out) == {
        "text": "Black & white says [b]Jane[/b].",
        "segments": [
            {"start": 0.5, "end": 2.25, "text": "Black & white"},
            {"start": 3661.0, "end": 3662.0005, "text": "says [b]Jane[/b]."},
        ],
    }


async def test_the_request_is_what_the_sdk_would_send(tmp_path: Path) -> None:
    content = os.urandom(600_000)
    path = tmp_path / 'a "quoted" ü.mp3'
    path.write_bytes(content)
    seen: dict[str, Any] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        seen["length"] = request.content_length
        seen["key"] = request.headers.get("Authorization")
        form = await request.post()
        upload = form["file"]
        assert isinstance(upload, web.FileField)
        seen["name"], seen["same"] = upload.filename, upload.file.read() == content
        seen["fields"] = {name: value for name, value in form.items() if name != "file"}
        return await stream(request, {"type": "transcript.text.done", "text": ""})

    async with server(handler) as url:
        code, out, _ = await run([path], f"{url}/v1/", api_key="k", language="de", model="m")
    assert (code, out, seen["key"], seen["same"]) == (0, "\n", "Bearer k", True)
    assert seen["name"] == path.name
    assert seen["length"] > len(content)
    assert seen["fields"] == {
        "model": "m",
        "language": "de",
        "response_format": "json",
        "stream": "true",
        "timestamp_granularities[]": "segment",
    }


async def test_what_fails_gets_one_line_and_the_others_go_on(sound: Path, tmp_path: Path) -> None:
    bad = write_wav(tmp_path / "bad.wav", silence(0.1))

    async def handler(request: web.Request) -> web.StreamResponse:
        upload = (await request.post())["file"]
        assert isinstance(upload, web.FileField)
        if upload.filename == "bad.wav":
            error = {"message": "No audio\nin this file.", "type": "invalid_request_error"}
            return web.json_response({"error": error}, status=400)
        return await stream(request, {"type": "transcript.text.done", "text": "Fine."})

    missing = tmp_path / "missing.wav"
    async with server(handler) as url:
        code, out, errors = await run([missing, bad, tmp_path, sound], url)
    assert code == 1
    assert out == f"==> {sound} <==\nFine.\n"
    assert errors.splitlines() == [
        f"{missing}: cannot be read: No such file or directory.",
        f"{bad}: No audio in this file.",
        f"{tmp_path}: cannot be read: Is a directory.",
    ]


@pytest.mark.parametrize(
    "name", ["Gespr\udce4ch.wav", "a\r\nX-B: c.wav", 'a"b\\c.wav', "Gespräch.wav"]
)
async def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    names = []

    async def handler(request: web.Request) -> web.StreamResponse:
        upload = (await request.post())["file"]
        assert isinstance(upload, web.FileField)
        names.append(upload.filename)
        return await two_segments(request)

    sound = write_wav(tmp_path / name, silence(0.1))
    async with server(handler) as url:
        code, _, errors = await run([sound], url)
    assert (code, errors) == (0, "")
    assert names == [name.translate({0xDCE4: "?", 13: "?", 10: "?"})]


async def test_a_pipe_is_told_without_waiting_for_its_writer(tmp_path: Path) -> None:
    pipe = tmp_path / "sound.wav"
    os.mkfifo(pipe)
    code, out, errors = await run([pipe], "http://127.0.0.1:9")
    assert (code, out) == (1, "")
    assert "cannot be read: it is a pipe or a device" in errors


async def test_with_a_folder_every_file_gets_its_own(sound: Path, tmp_path: Path) -> None:
    twin = tmp_path / "talk.flac"
    other = tmp_path / "other.wav"
    for copy in (twin, other):
        write_wav(copy, silence(0.1))
    folder = tmp_path / "new" / "texts"
    async with server(two_segments) as url:
        assert await run([sound, twin, other], url, output=folder, format="srt") == (0, "", "")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["other.srt", "talk.flac.srt", "talk.wav.srt"]
    assert (folder / "other.srt").read_text().startswith("1\n00:00:00,500 -->")


async def test_two_files_never_share_a_target(sound: Path, tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="written twice"):
        await run([sound, sound], "http://127.0.0.1:9", output=tmp_path)


async def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "oddly-named.txt"
    path.write_bytes(b"RIFF")
    with pytest.raises(ClientError, match="written twice"):
        await run([path], "http://127.0.0.1:9", output=tmp_path)


async def test_an_upload_that_is_too_large_gets_the_servers_sentence(tmp_path: Path) -> None:
    path = tmp_path / "large.wav"
    with path.open("wb") as file:
        file.truncate(200 * 2**20)

    async def handler(request: web.Request) -> web.StreamResponse:
        error = {"message": "The file is larger than 25 MiB.", "type": "invalid_request_error"}
        return web.json_response({"error": error}, status=413)

    async with server(handler) as url:
        code, _, errors = await run([path], url)
    assert (code, errors) == (1, f"{path}: The file is larger than 25 MiB.\n")


async def test_a_full_server_is_asked_again(sound: Path) -> None:
    asked = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        await request.post()
        if asked < 3:
            error = {"message": "All workers are busy.", "type": "server_error"}
            return web.json_response({"error": error}, status=503, headers={"Retry-After": "0.05"})
        return await stream(request, {"type": "transcript.text.done", "text": "At last."})

    async with server(handler) as url:
        assert await run([sound], url) == (0, "At last.\n", "")
    assert asked == 3


async def test_a_failure_inside_the_stream_is_told(sound: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await request.post()
        return await stream(request, delta(0, 1, "So"), {"error": {"message": "It broke."}})

    async with server(handler) as url:
        assert await run([sound], url) == (1, "", f"{sound}: It broke.\n")


async def test_a_stream_that_ends_early_is_no_transcript(sound: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await request.post()
        return await stream(request, delta(0, 1, "So"))

    async with server(handler) as url:
        code, out, errors = await run([sound], url)
    assert (code, out) == (1, "")
    assert "ended before the transcript did" in errors


async def test_a_connection_that_breaks_is_told(sound: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await request.post()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"type": "transcript.text.delta", "delta": "So"}\n\n')
        assert request.transport
        request.transport.abort()
        return response

    async with server(handler) as url:
        code, out, errors = await run([sound], url)
    assert (code, out) == (1, "")
    assert re.match(f"{sound}: The connection to .* was lost: .+\n$", errors)


async def test_without_a_server_the_sentence_says_how_to_start_one(
    sound: Path, unused_tcp_port: int
) -> None:
    with pytest.raises(ClientError, match="antiphon serve"):
        await run([sound], f"http://127.0.0.1:{unused_tcp_port}")


async def test_subtitles_from_a_server_without_times_are_refused(sound: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await request.post()
        return web.json_response({"text": " Plain. "})

    async with server(handler) as url:
        assert (await run([sound], url))[:2] == (0, "Plain.\n")
        code, out, errors = await run([sound], url, format="vtt")
    assert (code, out) == (1, "")
    assert "--format txt" in errors


async def test_the_bar_shows_the_upload_and_then_the_position(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "ten {seconds}.wav", silence(10))
    screen = io.StringIO()
    drawn = Console(file=screen, force_terminal=True, width=100)
    shown = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.post()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {json.dumps(delta(0, 4, 'So'))}\n\n".encode())
        async with asyncio.timeout(15):
            while "transcribed 00:04 of 00:10" not in screen.getvalue():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        shown.set()
        await response.write(b'data: {"type": "transcript.text.done", "text": "So"}\n\n')
        return response

    async with server(handler) as url:
        code = await transcribe(
            [path], TranscribeOptions(url=url), Console(file=io.StringIO()), drawn
        )
    assert code == 0
    assert shown.is_set()
    assert "ten {seconds}.wav" in screen.getvalue()


async def test_events_survive_any_split_of_the_stream() -> None:
    raw = b': hi\n\ndata: {"a": "\xc3\xbc"}\r\n\r\nevent: x\ndata:{"b": 2}\n\ndata: [DONE]\n\n'

    async def split(size: int) -> AsyncIterator[bytes]:
        for i in range(0, len(raw), size):
            yield raw[i : i + size]

    for size in (1, 2, 7, len(raw)):
        assert [event async for event in events(split(size))] == [{"a": "ü"}, {"b": 2}]
