"""OpenAI's own Realtime client, with each event that it gets validated strictly."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import orjson
import pytest
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter, ValidationError
from voice import Samples, pcm16, silence
from wire_rules import broken_rules

Event = dict[str, Any]

GA: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)

QUESTION = "Who is responsible for the new website?"
WEATHER_QUESTION = "What is the weather in Paris?"
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}

_BYTES_PER_MESSAGE = 4800
_SECONDS_PER_MESSAGE = 0.1


class StrictClient:
    """A connection that keeps every event it received; one that is not valid is a failure."""

    def __init__(self, connection: Any, adapter: TypeAdapter[Any]) -> None:
        self.connection = connection
        self.events: list[Event] = []
        self._adapter = adapter

    async def next(self, *types: str, seconds: float = 20.0) -> Event:
        """The next event of one of these types. Fails at an error event."""
        async with asyncio.timeout(seconds):
            while True:
                event = self._checked(await self.connection.recv_bytes())
                self.events.append(event)
                assert event["type"] != "error", event
                if event["type"] in types:
                    return event

    def _checked(self, data: bytes) -> Event:
        event: Event = orjson.loads(data)
        try:
            assert self._adapter.validate_json(data, strict=True).type == event["type"]
        except ValidationError as error:
            others = {e["loc"][0] for e in error.errors() if e["loc"][1:] == ("type",)}
            wrong = [e for e in error.errors() if e["loc"][0] not in others]
            pytest.fail(f"{event} is not valid: {wrong}")
        return event

    async def speak(self, *sounds: Samples, pace: float = 2.0) -> None:
        """Append sound and the quiet after it, at `pace` times real time."""
        data = pcm16(np.concatenate((*sounds, silence(1.6))))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number, start in enumerate(range(0, len(data), _BYTES_PER_MESSAGE)):
            piece = base64.b64encode(data[start : start + _BYTES_PER_MESSAGE]).decode()
            await self.connection.input_audio_buffer.append(audio=piece)
            due = begun + (number + 1) * _SECONDS_PER_MESSAGE / pace
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def type(self, text: str, **response: Any) -> None:
        """Send a typed message, and ask for the response."""
        item = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
        }
        await self.connection.conversation.item.create(item=item)
        await self.connection.response.create(response=response or {})

    def of(self, type_: str) -> list[Event]:
        return [event for event in self.events if event["type"] == type_]

    def sound(self, delta: str = "response.output_audio.delta") -> bytes:
        """All sound received so far: 24 kHz PCM."""
        return b"".join(base64.b64decode(event["delta"]) for event in self.of(delta))


@asynccontextmanager
async def openai_client(url: str, key: str = "sk-local", **more: Any) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client of the server at `url`."""
    async with AsyncOpenAI(
        base_url=f"{url}/v1",
        websocket_base_url=f"{url.replace('http', 'ws', 1)}/v1",
        api_key=key,
        max_retries=0,
        _strict_response_validation=True,
        **more,
    ) as client:
        yield client


@asynccontextmanager
async def conversation(
    url: str, key: str = "sk-local", **session: Any
) -> AsyncIterator[StrictClient]:
    """A session, updated with `session`. At its end the rules of the wire are checked."""
    async with (
        openai_client(url, key) as sdk,
        sdk.realtime.connect(model="gpt-realtime") as connection,
    ):
        client = StrictClient(connection, GA)
        await client.next("session.created")
        if session:
            wanted: Any = {"type": "realtime", **session}
            await connection.session.update(session=wanted)
            await client.next("session.updated")
        yield client
        assert broken_rules(client.events) == []
