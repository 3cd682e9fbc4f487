"""The conversation client against a server that plays the wire, with scripted sound devices."""

import asyncio
import base64
import io
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from rich.console import Console
from sound_devices import PortAudio, Stream

from clients.talk import talk
from clients.talk_devices import list_devices, open_devices, screen_for
from clients.talk_options import TalkOptions
from clients.wire import ClientError

SPEECH = b"\x05\x06"
Event = dict[str, Any]


class Call:
    """One connection, seen from the server."""

    def __init__(self, socket: web.WebSocketResponse, number: int, request: web.Request) -> None:
        self.socket = socket
        self.number = number
        self.query = dict(request.query)
        self.heard: list[Event] = []

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send_str(json.dumps({"type": kind, "event_id": "e", **fields}))

    async def next(self, *kinds: str) -> Event:
        """The client's next event of these kinds."""
        async for message in self.socket:
            assert message.type is WSMsgType.TEXT
            event: Event = json.loads(message.data)
            self.heard.append(event)
            if event["type"] in kinds:
                return event
        raise ConnectionResetError(f"the client left before {kinds}")

    async def greet(self) -> Event:
        await self.say("session.created", session={})
        session: Event = (await self.next("session.update"))["session"]
        await self.say("session.updated", session=session)
        return session

    async def sound(self) -> bytes:
        """The next 100 ms of the microphone."""
        return base64.b64decode((await self.next("input_audio_buffer.append"))["audio"])

    async def answer(self, item: str, text: str, seconds: float = 0.0) -> None:
        place = {"response_id": f"resp_{item}", "item_id": item}
        await self.say("response.created", response={"id": f"resp_{item}"})
        if seconds:
            await self.say("response.output_audio_transcript.delta", **place, delta=text)
            audio = base64.b64encode(b"\x01\x02" * round(24_000 * seconds)).decode()
            await self.say("response.output_audio.delta", **place, delta=audio)
        else:
            await self.say("response.output_text.delta", **place, delta=text)

    async def over(self, item: str, status: str = "completed") -> None:
        await self.say("response.output_item.done", item={"id": item})
        await self.say("response.done", response={"id": f"resp_{item}", "status": status})


Play = Callable[[Call], Awaitable[None]]


@asynccontextmanager
async def server(play: Play) -> AsyncIterator[tuple[str, list[Call]]]:
    """Plays `play` on every connection; its address and the calls it took."""
    calls: list[Call] = []

    async def realtime(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        calls.append(Call(socket, len(calls), request))
        await play(calls[-1])
        return socket

    app = web.Application()
    app.router.add_get("/v1/realtime", realtime)
    async with TestServer(app) as running:
        yield str(running.make_url("")), calls


async def held(url: str, stdin: int, **options: Any) -> str:
    """Hold a conversation with what comes on `stdin`; what is printed."""
    out = io.StringIO()
    given = TalkOptions(url=url, **options)
    async with asyncio.timeout(20), open_devices(given, stdin) as devices:
        await talk(given, devices, screen_for(given, devices, Console(file=out, width=80)))
    return out.getvalue()


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> PortAudio:
    portaudio = PortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", portaudio)
    return portaudio


@pytest.fixture
def nobody() -> Iterator[int]:
    """A standard input at its end."""
    stdin = os.open(os.devnull, os.O_RDONLY)
    yield stdin
    os.close(stdin)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    outer, inner = pty.openpty()
    yield outer, inner
    os.close(outer)
    os.close(inner)


@pytest.fixture
def typed() -> Iterator[Callable[[str], int]]:
    """A standard input with this text, and then its end."""
    opened: list[int] = []

    def typed(text: str) -> int:
        stdin, writing = os.pipe()
        opened.append(stdin)
        os.write(writing, text.encode())
        os.close(writing)
        return stdin

    yield typed
    for stdin in opened:
        os.close(stdin)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not reached():  # noqa: ASYNC110 - what a thread does tells no event
            await asyncio.sleep(0.01)


def leave() -> None:
    os.kill(os.getpid(), signal.SIGINT)


async def test_the_session_is_what_the_options_say(
    portaudio: PortAudio, typed: Callable[[str], int]
) -> None:
    sessions: list[Event] = []

    async def play(call: Call) -> None:
        sessions.append(await call.greet())
        await call.socket.receive()

    async with server(play) as (url, calls):
        await held(url, typed(""), text=True, model="far.big-1", instructions="Be brief.")
        await held(url, typed(""), text=True, speak=True, voice="de")
    assert [call.query["model"] for call in calls] == ["far.big-1", "gpt-realtime"]
    assert sessions == [
        {
            "type": "realtime",
            "instructions": "Be brief.",
            "output_modalities": ["text"],
            "audio": {"input": {"turn_detection": None}},
        },
        {
            "type": "realtime",
            "output_modalities": ["audio"],
            "audio": {
                "input": {"turn_detection": None},
                "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "de"},
            },
        },
    ]


async def test_after_a_loss_the_conversation_goes_on_where_it_was(
    typed: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    async def play(call: Call) -> None:
        await call.greet()
        if call.number == 0:
            await call.next("response.create")
            await call.answer("a", "Four.")
            await call.over("a")
            await call.next("response.create")
            await call.answer("b", "Sev")
            await call.socket.close(code=1001, message=b"the server is restarting")
            return
        await call.next("response.create")
        await call.answer("c", "Seven.")
        await call.over("c")
        await call.socket.receive()

    async with server(play) as (url, calls):
        printed = await held(url, typed("2 + 2?\nplus 3?\n"), text=True)
    assert printed == (
        "You: 2 + 2?\nAssistant: Four.\nYou: plus 3?\nAssistant: Sev …\nAssistant: Seven.\n"
    )
    items = [event["item"] for event in calls[1].heard if "item" in event]
    assert [(item["role"], item["content"][0]["text"]) for item in items] == [
        ("user", "2 + 2?"),
        ("assistant", "Four."),
        ("user", "plus 3?"),
    ]
    assert capsys.readouterr().err == (
        "The connection was lost (the server is restarting). Trying again …\nConnected again.\n"
    )


@pytest.mark.parametrize("said", ["There is no language model here; run: antiphon pull qwen"])
async def test_a_refused_conversation_ends_with_the_servers_sentence(
    typed: Callable[[str], int], said: str
) -> None:
    async def play(call: Call) -> None:
        error = {"type": "invalid_request_error", "code": "model_not_found", "message": said}
        await call.say("error", error=error)
        await call.socket.close(code=4004, message=b"invalid_request_error.model_not_found")

    async with server(play) as (url, calls):
        with pytest.raises(ClientError, match=f"^{said}$"):
            await held(url, typed("Hello\n"), text=True)
    assert len(calls) == 1


async def test_speech_over_an_answer_silences_it_with_headphones(
    portaudio: PortAudio, nobody: int
) -> None:
    async def play(call: Call) -> None:
        session = await call.greet()
        assert session["audio"]["input"] == {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": {"model": "whisper-1"},
        }
        (loudspeaker,), (microphone,) = portaudio.loudspeakers, portaudio.microphones
        await call.answer("a", "This is a very long story about a machine.", 3.0)
        await until(lambda: loudspeaker.listen(1) != bytes(960))
        loudspeaker.listen(49)
        microphone.say(1)
        assert await call.sound() == SPEECH * 2400
        await call.say("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        cut = await call.next("conversation.item.truncate")
        assert (cut["item_id"], cut["audio_end_ms"]) == ("a", 1000)
        assert loudspeaker.listen(1) == bytes(960)
        await call.over("a", "cancelled")
        leave()
        await call.socket.receive()

    async with server(play) as (url, _):
        printed = await held(url, nobody, headphones=True)
    assert printed == "Assistant: This is a very …\n"


async def test_without_headphones_the_microphone_is_silent_while_the_answer_sounds(
    portaudio: PortAudio, nobody: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.talk.TAIL", 1.5)  # a slow machine looks within it, too

    async def play(call: Call) -> None:
        await call.greet()
        (loudspeaker,), (microphone,) = portaudio.loudspeakers, portaudio.microphones
        await call.answer("a", "Hello.", 0.5)
        await call.over("a")
        await until(lambda: loudspeaker.listen(1) != bytes(960))
        microphone.say(1)
        assert await call.sound() == bytes(4800)
        loudspeaker.listen(24)
        microphone.say(1)
        assert await call.sound() == bytes(4800), "the room still sounds"
        await asyncio.sleep(1.6)
        microphone.say(1)
        assert await call.sound() == SPEECH * 2400
        leave()
        await call.socket.receive()

    async with server(play) as (url, _):
        assert await held(url, nobody) == "Assistant: Hello.\n"


async def test_a_key_interrupts_and_the_end_of_input_leaves(
    portaudio: PortAudio, terminal: tuple[int, int]
) -> None:
    outer, inner = terminal

    async def play(call: Call) -> None:
        await call.greet()
        (loudspeaker,) = portaudio.loudspeakers
        await call.answer("a", "This is a very long story about a machine.", 3.0)
        await until(lambda: loudspeaker.listen(1) != bytes(960))
        os.write(outer, b" ")
        assert (await call.next("response.cancel"))["response_id"] == "resp_a"
        assert (await call.next("conversation.item.truncate"))["audio_end_ms"] == 20
        await call.over("a", "cancelled")
        os.write(outer, b"x\x04")
        await call.socket.receive()

    async with server(play) as (url, _):
        assert await held(url, inner) == ""


async def test_a_written_question_is_answered_aloud_to_the_end(
    portaudio: PortAudio, typed: Callable[[str], int]
) -> None:
    async def play(call: Call) -> None:
        await call.greet()
        await call.next("response.create")
        await call.answer("a", "Hello.", 0.2)
        await call.over("a")
        await call.socket.receive()

    async def listen(loudspeaker: Stream) -> None:
        while not loudspeaker.closed:
            loudspeaker.listen(1)
            await asyncio.sleep(0.02)

    async with server(play) as (url, _):
        holding = asyncio.create_task(held(url, typed("Hi\n"), text=True, speak=True))
        await until(lambda: bool(portaudio.loudspeakers))
        await listen(portaudio.loudspeakers[0])
        assert await holding == "You: Hi\nAssistant: Hello.\n"
    assert portaudio.loudspeakers[0].heard.count(b"\x01\x02") == 4800
    assert portaudio.microphones == []


async def test_an_answer_that_fails_aloud_is_told_and_the_conversation_goes_on(
    portaudio: PortAudio, nobody: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play(call: Call) -> None:
        await call.greet()
        await call.say("response.created", response={"id": "resp_a"})
        details = {"type": "failed", "error": {"message": "The model is gone."}}
        response = {"id": "resp_a", "status": "failed", "status_details": details}
        await call.say("response.done", response=response)
        await call.answer("b", "Hello.", 1.0)
        await until(lambda: portaudio.loudspeakers[0].listen(1) != bytes(960))
        leave()
        await call.socket.receive()

    async with server(play) as (url, _):
        assert await held(url, nobody) == ""
    assert "The model is gone." in capsys.readouterr().err


async def test_a_loudspeaker_that_is_unplugged_ends_it_with_a_sentence(
    portaudio: PortAudio, nobody: int
) -> None:
    async def play(call: Call) -> None:
        await call.greet()
        portaudio.loudspeakers[0].unplug()
        await call.socket.receive()

    async with server(play) as (url, _):
        with pytest.raises(ClientError, match="The loudspeaker stopped"):
            await held(url, nobody)


def test_both_kinds_of_devices_are_listed(portaudio: PortAudio) -> None:
    out = io.StringIO()
    list_devices(Console(file=out))
    assert out.getvalue() == "microphones:\n  0: Headset\nloudspeakers:\n  1: Headset\n"
