"""POST /v1/audio/speech: text to speech. An extension: GET /v1/audio/voices lists the voices.

No engine here counts tokens, so `usage` has its own measure: a token of input is a character, and
one of output is 50 ms of sound.
"""

import asyncio
import base64
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from pydantic import AfterValidator, Field

from engines.base import EngineError, JobClass
from engines.encoding import MEDIA_TYPES, Encoder, SpeechFormat
from engines.recognition import Samples
from engines.synthesis import SPEEDS, Say, Spoken
from routes.bodies import read_json, validated
from routes.errors import invalid, json_response
from routes.forwarding import forward
from routes.middleware import owner_of
from routes.reading import read_aloud, sentences
from routes.services import SERVICES, Services
from routes.streaming import stream_events, write
from routes.text_requests import Given, model_of

LONGEST_INPUT: Final = 100_000
"""Characters of one request."""

TOKEN_SECONDS: Final = 0.05
"""Sound that counts as one token of output."""

_PIECE_SECONDS: Final = 1.0
"""Sound that is encoded in one go."""

_HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def _sayable(text: str) -> str:
    if not text.strip():
        raise ValueError("Input should have some text to say")
    if len(text) > LONGEST_INPUT:
        raise ValueError(f"Input should have at most {LONGEST_INPUT} characters")
    return text


class VoiceId(Given):
    id: str


class SpeechRequest(Given):
    """The fields of OpenAI's request. `instructions` are for models that can be told how to
    speak, and there is none here."""

    model: str
    input: Annotated[str, AfterValidator(_sayable)]
    voice: str | VoiceId | None = None
    response_format: SpeechFormat = "mp3"
    speed: float = Field(default=1.0, ge=SPEEDS[0], le=SPEEDS[1])
    instructions: str = ""
    stream_format: Literal["audio", "sse"] = "audio"

    @property
    def voice_name(self) -> str | None:
        return self.voice.id if isinstance(self.voice, VoiceId) else self.voice


async def speak(request: web.Request) -> web.StreamResponse:
    """POST /v1/audio/speech."""
    body = await read_json(request)
    model = model_of(body)
    services = request.app[SERVICES]
    # Without a dot it cannot be a provider's, but may mean the provider that answers chats.
    if "." in model and (remote := services.language.remote(model)) is not None:
        return await forward(request, remote, "/audio/speech", body)
    asked = await validated(body, SpeechRequest)
    chosen = services.voices.resolve(asked.voice_name, asked.model)
    reading = _Reading(asked.response_format)
    async with (
        aclosing(sentences(asked.input, chosen.language)) as lines,
        aclosing(read_aloud(lines, _Speaker(services, asked, owner_of(request)))) as sound,
        aclosing(reading.encoded(sound)) as pieces,
    ):
        if asked.stream_format == "audio":
            return await _stream(request, pieces, MEDIA_TYPES[asked.response_format])
        async with aclosing(_events(pieces, reading, len(asked.input))) as events:
            return await stream_events(request, events)


async def voices(request: web.Request) -> web.Response:
    """GET /v1/audio/voices."""
    entries = await asyncio.to_thread(request.app[SERVICES].voices.names)
    data = [
        {
            "id": entry.name,
            "name": entry.name,
            "model": entry.model,
            "language": entry.language,
            "description": entry.description,
        }
        for entry in entries
    ]
    return json_response({"object": "list", "data": data})


class _Speaker:
    """Has sentences said as one request wants it."""

    def __init__(self, services: Services, asked: SpeechRequest, owner: str) -> None:
        self._voices = services.voices
        self._asked = asked
        self._owner = owner

    def __call__(self, text: str, kind: JobClass) -> AsyncGenerator[Spoken, None]:
        asked = self._asked
        say = Say(text, asked.voice_name, asked.speed)
        return self._voices.say(say, model=asked.model, owner=self._owner, kind=kind)


class _Reading:
    """Sound on its way into a format, and how much of it there was."""

    def __init__(self, format: SpeechFormat) -> None:
        self._format = format
        self.seconds = 0.0

    async def encoded(self, sound: AsyncIterator[Spoken]) -> AsyncGenerator[bytes, None]:
        """Bytes as they become ready. Raises `ApiError` if there is no sound at all."""
        encoder: Encoder | None = None
        rate = 0
        async for spoken in sound:
            if encoder is None:
                rate = spoken.rate
                encoder = await asyncio.to_thread(Encoder, self._format, rate)
            elif spoken.rate != rate:
                raise EngineError("The voice changed its sample rate.")
            for piece in _pieces(spoken):
                self.seconds += len(piece) / rate
                if data := await asyncio.to_thread(encoder.feed, piece):
                    yield data
        if encoder is None or not self.seconds:
            raise invalid("input", "There is nothing in 'input' that can be said.")
        if data := await asyncio.to_thread(encoder.finish):
            yield data


def _pieces(spoken: Spoken) -> Iterator[Samples]:
    size = round(_PIECE_SECONDS * spoken.rate)
    for at in range(0, len(spoken.samples), size):
        yield spoken.samples[at : at + size]


async def _stream(
    request: web.Request, pieces: AsyncIterator[bytes], media_type: str
) -> web.StreamResponse:
    """Nothing is sent before there is sound, so that an error can still have its status."""
    first = await anext(pieces)
    response = web.StreamResponse(headers={**_HEADERS, "Content-Type": media_type})
    await response.prepare(request)
    await write(response, first)
    async for piece in pieces:
        await write(response, piece)
    await response.write_eof()
    return response


async def _events(
    pieces: AsyncIterator[bytes], reading: _Reading, characters: int
) -> AsyncGenerator[dict[str, Any], None]:
    async for piece in pieces:
        yield {"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()}
    tokens = math.ceil(reading.seconds / TOKEN_SECONDS)
    usage = {
        "input_tokens": characters,
        "output_tokens": tokens,
        "total_tokens": characters + tokens,
    }
    yield {"type": "speech.audio.done", "usage": usage}
