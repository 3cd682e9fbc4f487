"""The whole server inside a test, and a client that speaks the wire to it."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from voice import WHISPER_NANO, Samples, pcm16

from engines.catalogue import ModelRecord
from realtime.app import create_app
from realtime.config import Configuration, Defaults, Limits, ServerSettings
from realtime.serving import serving

Event = dict[str, Any]

NULL = ModelRecord(name="null", engine="null", options={"words_per_second": 3})
NANO = ModelRecord(name="nano", engine="whisper", source=str(WHISPER_NANO))
QUERY = "/v1/realtime?intent=transcription"


class Running:
    """A server that is not started yet: built before the loop, as in production."""

    def __init__(
        self,
        data_dir: Path,
        *models: ModelRecord,
        server: dict[str, Any] | None = None,
        **limits: Any,
    ) -> None:
        self.configuration = Configuration(
            server=ServerSettings.model_validate({"port": 0, "grace_seconds": 2} | (server or {})),
            models=models,
            defaults=Defaults(transcription=models[0].name if models else None),
            limits=Limits.model_validate(limits),
        )
        self.app: web.Application = create_app(self.configuration, data_dir)

    @asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        """Serve while the block runs."""
        async with serving(self.app, self.configuration, None) as url:
            yield url

    @asynccontextmanager
    async def client(self, query: str = QUERY, **options: Any) -> AsyncIterator["Client"]:
        """Serve, and open one socket."""
        async with self.url() as url, connect(url + query, **options) as client:
            yield client


async def built(data_dir: Path, *models: ModelRecord, **settings: Any) -> Running:
    """A server built while a loop runs: off the loop, because it reads the disk."""
    return await asyncio.to_thread(Running, data_dir, *models, **settings)


class Client:
    """A Realtime client that keeps every event it received."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[Event] = []
        self._seen = 0

    async def send(self, type_: str, **fields: Any) -> None:
        await self.socket.send_str(orjson.dumps({"type": type_, **fields}).decode())

    async def update(self, **source: Any) -> Event:
        """session.update of `audio.input`; gives the server's answer."""
        session = {"type": "transcription", "audio": {"input": source}}
        await self.send("session.update", session=session)
        return await self.next("session.updated", "error")

    async def append(self, data: bytes, size: int | None = None) -> None:
        """Append bytes in messages of `size` bytes."""
        for piece in pieces(data, size or len(data)):
            audio = base64.b64encode(piece).decode()
            await self.send("input_audio_buffer.append", audio=audio)

    async def say(self, samples: Samples) -> None:
        """Append 24 kHz PCM in messages of 100 ms, as fast as it goes."""
        await self.append(pcm16(samples), 4800)

    async def next(self, *types: str, seconds: float = 30.0) -> Event:
        """The next event of one of these types; what comes before it stays in `events`."""
        async with asyncio.timeout(seconds):
            while True:
                while self._seen < len(self.events):
                    event = self.events[self._seen]
                    self._seen += 1
                    if event["type"] in types:
                        return event
                self.events.append(orjson.loads(await self.socket.receive_str()))

    async def closed(self, seconds: float = 30.0) -> int | None:
        """Read until the server closes; the close code."""
        async with asyncio.timeout(seconds):
            while True:
                message = await self.socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return self.socket.close_code
                self.events.append(orjson.loads(message.data))

    def of(self, *types: str) -> list[Event]:
        """Every event received of these types."""
        return [event for event in self.events if event["type"] in types]


@asynccontextmanager
async def connect(url: str, **options: Any) -> AsyncIterator[Client]:
    """A socket to a running server, with `session.created` unread."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, max_msg_size=0, **options) as socket,
    ):
        yield Client(socket)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """`data` in pieces of `size` bytes."""
    return (data[start : start + size] for start in range(0, len(data), size))


def turns(client: Client) -> list[tuple[int, int]]:
    """Start and end of each utterance, in milliseconds."""
    starts = client.of("input_audio_buffer.speech_started")
    stops = client.of("input_audio_buffer.speech_stopped")
    return [
        (start["audio_start_ms"], stop["audio_end_ms"])
        for start, stop in zip(starts, stops, strict=True)
    ]
