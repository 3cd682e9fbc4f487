"""The live captions client against a server that plays the wire, faults included."""

import asyncio
import io
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from rich.console import Console
from voice import silence, write_wav

from clients.captions import Line, Utterance
from clients.listen import ListenOptions, listen
from clients.screen import Screen
from clients.wire import ClientError

TRANSCRIPTION = "conversation.item.input_audio_transcription"
Speak = Callable[["Call"], Awaitable[None]]


class Call:
    """One connection, seen from the server."""

    def __init__(self, socket: web.WebSocketResponse, number: int, request: web.Request) -> None:
        self.socket = socket
        self.number = number
        self.query = dict(request.query)
        self.key = request.headers.get("Authorization")
        self.session: dict[str, Any] = {}
        self.appends = 0

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send_str(json.dumps({"type": kind, "event_id": "e", **fields}))

    async def greet(self) -> None:
        await self.say("session.created", session={})
        event = await self.hear("session.update")
        self.session = event["session"]
        await self.say("session.updated", session=self.session)

    async def hear(self, kind: str) -> dict[str, Any]:
        """The client's next event of this kind; appends on the way are counted."""
        async for message in self.socket:
            assert message.type is WSMsgType.TEXT
            event: dict[str, Any] = json.loads(message.data)
            self.appends += event["type"] == "input_audio_buffer.append"
            if event["type"] == kind:
                return event
        raise ConnectionResetError(f"the client left before {kind}")

    async def hear_sound(self, appends: int) -> None:
        for _ in range(appends):
            await self.hear("input_audio_buffer.append")

    async def utterance(self, item: str, start_ms: int, *deltas: str) -> None:
        await self.say("input_audio_buffer.speech_started", item_id=item, audio_start_ms=start_ms)
        for delta in deltas:
            await self.say(f"{TRANSCRIPTION}.delta", item_id=item, content_index=0, delta=delta)

    async def complete(self, item: str, text: str) -> None:
        await self.say("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        done = {"item_id": item, "content_index": 0, "transcript": text}
        await self.say(f"{TRANSCRIPTION}.completed", **done, usage={"type": "duration"})

    async def end(self, item: str, text: str) -> None:
        """Let the client finish in its own time."""
        await self.hear("input_audio_buffer.commit")
        await self.hear("input_audio_buffer.clear")
        await self.say("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        await self.say("input_audio_buffer.cleared")
        await self.complete(item, text)
        await self.socket.receive()


@asynccontextmanager
async def server(speak: Speak) -> AsyncIterator[tuple[str, list[Call]]]:
    """A server that plays `speak` on every connection; its address and the calls it took."""
    calls: list[Call] = []

    async def realtime(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        calls.append(Call(socket, len(calls), request))
        await speak(calls[-1])
        return socket

    app = web.Application()
    app.router.add_get("/v1/realtime", realtime)
    async with TestServer(app) as running:
        yield str(running.make_url("")), calls


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """0.4 seconds of a quiet room."""
    return write_wav(tmp_path / "room.wav", silence(0.4))


async def heard(url: str, sound: Path, **more: Any) -> str:
    """What the client prints where there is no terminal."""
    out = io.StringIO()
    options = ListenOptions(url=url, file=sound, **more)
    async with asyncio.timeout(20):
        await listen(options, Console(file=out, width=40))
    return out.getvalue()


async def test_finished_utterances_are_printed_with_their_times(sound: Path) -> None:
    async def speak(call: Call) -> None:
        await call.greet()
        await call.utterance("a", 100, "Hello", " there.")
        await call.complete("a", "Hello there, [b]this line is longer than the console[/b].")
        await call.utterance("b", 65_000, "And")
        await call.end("b", "And goodbye.")

    async with server(speak) as (url, calls):
        printed = await heard(url, sound, api_key="sesame", language="en")
    assert printed == (
        "[00:00] Hello there, [b]this line is longer than the console[/b].\n[01:05] And goodbye.\n"
    )
    assert calls[0].key == "Bearer sesame"
    assert calls[0].query == {"intent": "transcription", "extensions": "antiphon.tentative"}
    assert calls[0].session["audio"]["input"] == {
        "format": {"type": "audio/pcm", "rate": 16_000},
        "transcription": {"model": "whisper-1", "language": "en"},
    }
    assert calls[0].appends == 4


async def test_a_terminal_shows_unsettled_words_dimmed(sound: Path) -> None:
    async def speak(call: Call) -> None:
        await call.greet()
        await call.utterance("a", 0, "Sure")
        kind = "antiphon.transcription.tentative"
        await call.say(kind, item_id="a", content_index=0, text=" perhaps")
        await call.end("a", "Sure enough.")

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system="standard", width=60)
    async with server(speak) as (url, _), asyncio.timeout(20):
        await listen(ListenOptions(url=url, file=sound), console)
    shown = screen.getvalue()
    assert "Sure\x1b[2m perhaps\x1b[0m" in shown
    assert shown.index("perhaps") < shown.index("Sure enough.")
    assert "Sure enough.\x1b[2m" not in shown


@pytest.mark.parametrize("height", [1, 5])
def test_a_terminal_shows_the_latest_words_of_an_utterance_that_is_too_long_for_it(
    height: int,
) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=20, height=height)
    with Screen(console) as screen:
        screen.grow([Utterance(0, " ".join(f"word{n}" for n in range(60)))])
        shown = out.getvalue()
    assert "word59" in shown
    assert shown.count("\n") < height


def test_what_a_terminal_would_obey_is_left_out() -> None:
    out, file = io.StringIO(), io.StringIO()
    with Screen(Console(file=out), file) as screen:
        screen.line(Line(0, "Good\x1b]0;evil\x07 morning", "cut\x1b[2J off"))
    assert out.getvalue() == file.getvalue() == "[00:00] Good]0;evil morning\n"


async def test_it_connects_again_and_times_go_on(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = write_wav(tmp_path / "long.wav", silence(1.6))

    async def speak(call: Call) -> None:
        await call.greet()
        if call.number == 0:
            await call.utterance("a", 0, "Half a")
            await call.hear_sound(11)
            await call.socket.close(code=1001, message=b"the server is restarting")
            return
        await call.hear_sound(1)
        await call.utterance("b", 0, "Whole")
        await call.end("b", "Whole again.")

    async with server(speak) as (url, calls):
        printed = await heard(url, long)
    assert printed == "[00:00] Half a\n[00:01] Whole again.\n"
    assert len(calls) == 2
    assert calls[0].appends + calls[1].appends >= 16
    notices = capsys.readouterr().err.splitlines()
    assert notices == [
        "Listening; Ctrl-C ends it.",
        "The connection was lost (the server is restarting). Trying again …",
        "[00:00] cut off",
        "Connected again.",
    ]


async def test_the_output_file_gets_the_lines(sound: Path, tmp_path: Path) -> None:
    async def speak(call: Call) -> None:
        await call.greet()
        await call.end("a", "Written down.")

    file = tmp_path / "lines.txt"
    async with server(speak) as (url, _):
        await heard(url, sound, output=file)
    assert file.read_text() == "[00:00] Written down.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
async def test_an_output_file_on_a_full_disk_is_told(sound: Path) -> None:
    async def speak(call: Call) -> None:
        await call.greet()
        await call.end("a", "Written down.")

    async with server(speak) as (url, _):
        with pytest.raises(ClientError, match=r"cannot be written: No space left on device\.$"):
            await heard(url, sound, output=Path("/dev/full"))


async def test_a_failed_utterance_is_told(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def speak(call: Call) -> None:
        await call.greet()
        await call.utterance("a", 2000)
        error = {"type": "server_error", "code": "busy", "message": "The worker died."}
        await call.say(f"{TRANSCRIPTION}.failed", item_id="a", content_index=0, error=error)
        await call.end("b", "Fine.")

    async with server(speak) as (url, _):
        assert await heard(url, sound) == "[00:00] Fine.\n"
    assert "[00:02] The worker died." in capsys.readouterr().err


async def test_a_model_that_is_not_there_ends_it_with_the_servers_sentence(sound: Path) -> None:
    sentence = "The model 'huge' does not exist here. Installed models: pocketsphinx."

    async def speak(call: Call) -> None:
        await call.say("session.created", session={})
        await call.hear("session.update")
        error = {"type": "invalid_request_error", "code": "model_not_found", "message": sentence}
        await call.say("error", error=error)
        await call.socket.receive()

    async with server(speak) as (url, _):
        with pytest.raises(ClientError, match=r"^The model 'huge' does not exist here\."):
            await heard(url, sound, model="huge")


async def test_a_refused_key_in_the_socket_is_not_tried_again(sound: Path) -> None:
    async def speak(call: Call) -> None:
        error = {"type": "invalid_request_error", "code": "invalid_api_key", "message": "Bad key."}
        await call.say("error", error=error)
        await call.socket.close(code=3000, message=b"invalid_request_error.invalid_api_key")

    async with server(speak) as (url, calls):
        with pytest.raises(ClientError, match="Bad key"):
            await heard(url, sound)
    assert len(calls) == 1


async def test_a_refused_handshake_says_where_the_key_goes(sound: Path) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "No key."}}, status=401)

    app = web.Application()
    app.router.add_get("/v1/realtime", refuse)
    async with TestServer(app) as running:
        with pytest.raises(ClientError, match=r"^No key\. Give .* ANTIPHON_API_KEY\.$"):
            await heard(str(running.make_url("")), sound)


async def test_without_a_server_the_sentence_says_how_to_start_one(
    sound: Path, unused_tcp_port: int
) -> None:
    with pytest.raises(ClientError, match="antiphon serve"):
        await heard(f"http://127.0.0.1:{unused_tcp_port}", sound)


async def test_an_address_that_is_none_is_told(sound: Path) -> None:
    with pytest.raises(ClientError, match="not a server's address"):
        await heard("ftp://example.org", sound)


async def test_a_server_that_never_finishes_is_not_waited_for(
    sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def speak(call: Call) -> None:
        await call.greet()
        await call.utterance("a", 0, "Unfinished")
        await call.hear("input_audio_buffer.clear")
        await call.say("input_audio_buffer.committed", item_id="a")
        await call.socket.receive()

    async with server(speak) as (url, _):
        printed = await heard(url, sound, finish_seconds=0.2)
    assert printed == "[00:00] Unfinished\n"
    assert "did not finish the last words" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_ends_it_after_the_last_words(
    tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    async def speak(call: Call) -> None:
        await call.greet()
        await call.hear_sound(2)
        os.kill(os.getpid(), number)
        await call.end("a", "Last words.")

    minute = write_wav(tmp_path / "minute.wav", silence(60))
    async with server(speak) as (url, _):
        async with asyncio.timeout(30):
            assert await heard(url, minute) == "[00:00] Last words.\n"
    assert signal.getsignal(number) is before


async def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    async def speak(call: Call) -> None:
        await call.greet()
        await call.hear_sound(1)
        os.kill(os.getpid(), signal.SIGINT)
        await call.hear("input_audio_buffer.clear")
        os.kill(os.getpid(), signal.SIGINT)
        await call.socket.receive()

    minute = write_wav(tmp_path / "minute.wav", silence(60))
    async with server(speak) as (url, _):
        async with asyncio.timeout(30):
            assert await heard(url, minute) == ""


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "cannot be read: No such file"), (b"ID3 something", "not a WAV file")],
)
async def test_a_file_that_cannot_be_played_is_told(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "sound.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClientError, match=sentence):
        await heard("http://127.0.0.1:9", path)
