"""Speech over REST, spoken by voices that a test scripts."""

import asyncio
import base64
import io
import json
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, get_args

import aiohttp
import numpy as np
import pytest
from language_models import Scripted
from openai import InternalServerError, NotFoundError
from rest import Client, openai, serving
from scripted_voices import PITCH, RATE, Entry, ScriptedVoices

from engines.base import Busy, EngineError
from engines.encoding import MEDIA_TYPES, SpeechFormat
from engines.media import decode
from engines.recognition import SAMPLE_RATE, Samples
from routes.speech import LONGEST_INPUT

PATH = "/v1/audio/speech"
TEXT = "This is the first sentence. Here is the second one."
BODY = {"model": "tts-1", "voice": "amy", "input": TEXT}
FORMATS: tuple[SpeechFormat, ...] = get_args(SpeechFormat)


@dataclass
class Provider:
    """A provider's model, and what it was asked."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "audio/mpeg"})
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    @asynccontextmanager
    async def post(self, path: str, body: Mapping[str, Any]) -> AsyncIterator["Provider"]:
        self.asked.append((path, body))
        yield self

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"so"
        yield b"und"


async def heard(format: str, data: bytes) -> Samples:
    """Float32 at 16 kHz."""
    if format == "pcm":
        head = struct.pack("<HHIIHH4sI", 1, 1, 24_000, 48_000, 2, 16, b"data", len(data))
        data = b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 16) + head + data
    return np.concatenate([block async for block in decode(io.BytesIO(data), max_seconds=60)])


def pitch_of(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * SAMPLE_RATE / len(samples))


async def refused(client: Client, **changes: Any) -> tuple[int, dict[str, Any]]:
    body = {name: value for name, value in {**BODY, **changes}.items() if value is not None}
    async with client.post(PATH, json=body) as response:
        assert response.content_type == "application/json"
        return response.status, (await response.json())["error"]


@pytest.mark.parametrize("format", FORMATS)
async def test_every_format_streams_to_openais_client(format: SpeechFormat) -> None:
    async with serving(voices=ScriptedVoices()) as client, openai(client, strict=True) as sdk:
        request = sdk.audio.speech.with_streaming_response.create(
            model="tts-1", voice="amy", input=TEXT, response_format=format
        )
        async with request as response:
            data = b"".join([piece async for piece in response.iter_bytes(4096)])
    assert response.headers["Content-Type"] == MEDIA_TYPES[format]
    assert "Content-Length" not in response.headers
    sound = await heard(format, data)
    assert len(sound) / SAMPLE_RATE == pytest.approx(1.0, abs=0.12)
    assert pitch_of(sound) == pytest.approx(PITCH, abs=2)


async def test_without_a_format_it_is_mp3() -> None:
    async with serving(voices=ScriptedVoices()) as client:
        response = await client.post(PATH, json=BODY)
        data = await response.read()
    assert response.content_type == "audio/mpeg"
    assert data[:2] == b"\xff\xf3"


@pytest.mark.parametrize(("voice", "name"), [("amy", "amy"), ({"id": "amy"}, "amy"), (None, None)])
async def test_the_voice_the_model_and_the_speed_reach_the_engine(
    voice: object, name: str | None
) -> None:
    voices = ScriptedVoices()
    async with serving(voices=voices) as client:
        more = {"voice": voice, "speed": 2, "instructions": "Whisper."}
        response = await client.post(PATH, json={**BODY, **more})
        await response.read()
    assert response.status == 200
    for call in voices.calls:
        assert (call.say.voice, call.say.speed, call.model) == (name, 2.0, "tts-1")
        assert call.owner.startswith("req_")
    assert "".join("".join(voices.texts).split()) == "".join(TEXT.split())


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"input": None}, "input", "missing_required_parameter"),
        ({"model": None}, "model", "missing_required_parameter"),
        ({"input": ""}, "input", "invalid_value"),
        ({"input": " \n\t "}, "input", "invalid_value"),
        ({"input": "a" * (LONGEST_INPUT + 1)}, "input", "invalid_value"),
        ({"input": ["a"]}, "input", "invalid_value"),
        ({"input": "---\n\n```\nx = 1\n```\n"}, "input", "invalid_value"),
        ({"response_format": "ogg"}, "response_format", "invalid_value"),
        ({"speed": 0.2}, "speed", "invalid_value"),
        ({"speed": 4.1}, "speed", "invalid_value"),
        ({"speed": "fast"}, "speed", "invalid_value"),
        ({"stream_format": "events"}, "stream_format", "invalid_value"),
        ({"voice": 3}, "voice", "invalid_value"),
        ({"voice": {"name": "amy"}}, "voice.id", "missing_required_parameter"),
        ({"voice": "nobody"}, "voice", "invalid_value"),
    ],
)
async def test_what_cannot_be_said_is_refused_by_name(
    changes: dict[str, Any], param: str, code: str
) -> None:
    async with serving(voices=ScriptedVoices()) as client:
        status, error = await refused(client, **changes)
    assert (status, error["param"], error["code"]) == (400, param, code)
    assert error["message"].endswith(".")


async def test_the_longest_text_is_accepted() -> None:
    voices = ScriptedVoices()
    async with serving(voices=voices) as client:
        text = ("word " * (LONGEST_INPUT // 5))[:LONGEST_INPUT]
        response = await client.post(PATH, json={**BODY, "input": text, "response_format": "pcm"})
        assert response.status == 200
        assert await response.content.readexactly(24_000)
        assert max(map(len, voices.texts)) < 1_000
        response.close()
        async with asyncio.timeout(30):
            await voices.idle.wait()


async def test_a_model_that_is_not_here_is_not_found() -> None:
    async with serving(voices=ScriptedVoices()) as client, openai(client) as sdk:
        with pytest.raises(NotFoundError, match="tiny-speech"):
            await sdk.audio.speech.create(model="nowhere", voice="amy", input="Hello.")


async def test_an_engine_that_is_full_says_when_to_come_again() -> None:
    voices = ScriptedVoices({"This": [Busy("It is full.", 3.0)]})
    async with serving(voices=voices) as client:
        response = await client.post(PATH, json=BODY)
        assert (response.status, response.headers["Retry-After"]) == (429, "3")


async def test_a_failure_before_the_first_sound_has_its_status() -> None:
    voices = ScriptedVoices({"This": [EngineError("The voice is broken.")]})
    async with serving(voices=voices) as client, openai(client) as sdk:
        with pytest.raises(InternalServerError, match="The voice is broken"):
            await sdk.audio.speech.create(model="tts-1", voice="amy", input=TEXT)
    assert voices.running == 0


async def test_a_failure_after_the_first_sound_breaks_the_connection() -> None:
    voices = ScriptedVoices({"Here": [EngineError("The voice is broken.")]})
    async with serving(voices=voices) as client:
        response = await client.post(PATH, json={**BODY, "response_format": "pcm"})
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_the_first_bytes_come_before_the_last_sentence_is_spoken() -> None:
    go_on = asyncio.Event()
    voices = ScriptedVoices({"Here": [go_on, 0.5]})
    async with serving(voices=voices) as client, asyncio.timeout(30):
        response = await client.post(PATH, json={**BODY, "response_format": "pcm"})
        first = await response.content.readexactly(22_000)
        assert np.abs(np.frombuffer(first, "<i2")).max() > 10_000
        assert not go_on.is_set()
        go_on.set()
        rest = await response.read()
    assert len(first) + len(rest) == 2 * 24_000


@pytest.mark.parametrize("script", [{"Here": [asyncio.Event()]}, {"This": [asyncio.Event()]}])
@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_a_client_that_leaves_frees_the_engine(
    script: dict[str, list[Any]], stream_format: str
) -> None:
    voices = ScriptedVoices(script)
    body = {**BODY, "stream_format": stream_format}
    async with serving(voices=voices) as client, asyncio.timeout(30):
        sending = asyncio.create_task(client.post(PATH, json=body))
        await voices.started.wait()
        if "This" in script:
            sending.cancel()
            await asyncio.wait([sending])
        else:
            (await sending).close()
        await voices.idle.wait()


async def test_events_bring_the_same_sound_and_say_how_much_it_was() -> None:
    async with serving(voices=ScriptedVoices()) as client, openai(client, strict=True) as sdk:
        request = sdk.audio.speech.with_streaming_response.create(
            model="tts-1",
            voice="amy",
            input=TEXT,
            response_format="wav",
            stream_format="sse",
        )
        async with request as response:
            lines = [line async for line in response.iter_lines() if line]
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert lines.pop() == "data: [DONE]"
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    data = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    assert len(data) == 44 + 2 * RATE
    assert done == {
        "type": "speech.audio.done",
        "usage": {
            "input_tokens": len(TEXT),
            "output_tokens": 20,
            "total_tokens": len(TEXT) + 20,
        },
    }


async def test_a_failure_among_events_is_one() -> None:
    voices = ScriptedVoices({"Here": [EngineError("The voice is broken.")]})
    async with serving(voices=voices) as client:
        response = await client.post(PATH, json={**BODY, "stream_format": "sse"})
        *_, last = (await response.text()).split("\n\n")[:-1]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["message"], error["type"]) == ("The voice is broken.", "server_error")


async def test_a_sentence_longer_than_a_second_comes_in_pieces() -> None:
    """So that its beginning need not wait until all of it is encoded."""
    voices = ScriptedVoices({"This": [10.0]})
    async with serving(voices=voices) as client:
        body = {**BODY, "input": "This.", "response_format": "wav", "stream_format": "sse"}
        response = await client.post(PATH, json=body)
        text = await response.text()
    assert text.count("speech.audio.delta") == 10


async def test_the_voices_are_listed() -> None:
    entries = [Entry("amy", voice="amy", description="Calm."), Entry("fr", "espeak", "fr", None)]
    async with serving(voices=ScriptedVoices(entries=entries)) as client:
        response = await client.get("/v1/audio/voices")
        listed = await response.json()
    assert listed == {
        "object": "list",
        "data": [
            {
                "id": "amy",
                "name": "amy",
                "model": "tiny-speech",
                "language": "en-us",
                "description": "Calm.",
            },
            {"id": "fr", "name": "fr", "model": "espeak", "language": None, "description": ""},
        ],
    }


@pytest.mark.parametrize(
    ("voice", "said"),
    [("amy", "dollars"), (None, "dollars"), ("fr", "$"), ("fr+f2", "$")],
)
async def test_text_is_read_in_the_language_of_its_voice(voice: str | None, said: str) -> None:
    voices = ScriptedVoices()
    async with serving(voices=voices) as client:
        body = {**BODY, "voice": voice, "input": "$3.50"}
        response = await client.post(PATH, json=body)
        assert response.status == 200
        await response.read()
    assert said in voices.texts[0]


async def test_a_providers_model_is_asked_there_with_the_body_as_it_is() -> None:
    provider = Provider()
    language = Scripted(remotes={"there.tts-1": provider, "default": provider})
    body = {"model": "there.tts-1", "voice": {"odd": 1}, "input": ""}
    voices = ScriptedVoices()
    async with serving(language=language, voices=voices) as client:
        response = await client.post(PATH, json=body)
        assert (await response.read(), response.content_type) == (b"sound", "audio/mpeg")
        assert provider.asked == [("/audio/speech", body)]
        ours = await client.post(PATH, json={**BODY, "model": "default"})
        assert ours.status == 200
        await ours.read()
    assert len(provider.asked) == 1
    assert voices.calls
