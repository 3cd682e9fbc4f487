"""Text that becomes speech by the built-in voice, over REST as OpenAI's own client asks for it."""

import asyncio
import contextlib
import io
import math
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from openai import AsyncOpenAI, BadRequestError
from rest import openai, serving
from voice import RATE, WHISPER_NANO, Samples, word_errors

from engines.catalogue import Catalogue, ModelRecord
from engines.devices import Device
from engines.encoding import SpeechFormat
from engines.media import decode
from engines.models import ModelStore
from engines.recognition import RecognitionOptions
from engines.scheduler import Scheduler
from engines.voices import Voices

pytestmark = pytest.mark.one_loop

SENTENCES = (
    "Who is responsible for the new website?",
    "The engineer is not happy with the support backlog.",
)
NANO = ModelRecord(name="nano", engine="whisper", source=str(WHISPER_NANO))
FORMATS: tuple[SpeechFormat, ...] = get_args(SpeechFormat)


@asynccontextmanager
async def speaking(tmp_path: Path) -> AsyncIterator[tuple[AsyncOpenAI, ModelStore]]:
    scheduler = Scheduler(Device(1))
    store = await asyncio.to_thread(lambda: ModelStore(Catalogue(tmp_path, [NANO]), scheduler))
    voices = await asyncio.to_thread(Voices, store)
    try:
        async with serving(voices=voices) as client, openai(client, strict=True) as sdk:
            yield sdk, store
    finally:
        await store.close()
        await scheduler.close()


async def decoded(format: str, data: bytes) -> Samples:
    if format == "pcm":
        head = struct.pack("<IHHIIHH4sI", 16, 1, 1, 24_000, 48_000, 2, 16, b"data", len(data))
        data = b"RIFF\xff\xff\xff\xffWAVEfmt " + head + data
    return np.concatenate([block async for block in decode(io.BytesIO(data), max_seconds=60)])


async def transcript(store: ModelStore, sound: Samples) -> str:
    recogniser = await store.recogniser("nano")
    recognition = recogniser.open(RecognitionOptions(partials=False), owner="me")
    recognition.push(sound)
    recognition.finish()
    *_, final = [hypothesis async for hypothesis in recognition]
    return final.text


async def test_the_built_in_voice_is_heard_in_every_format(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (sdk, _):
        for format in FORMATS:
            request = sdk.audio.speech.with_streaming_response.create(
                model="tts-1", voice="alloy", input=" ".join(SENTENCES), response_format=format
            )
            async with request as response:
                data = b"".join([piece async for piece in response.iter_bytes()])
            sound = await decoded(format, data)
            assert 4 < len(sound) / RATE < 9
            assert math.sqrt(float(np.mean(sound**2))) > 0.02


async def test_what_was_said_is_heard_again(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (sdk, store):
        for sentence in SENTENCES:
            spoken = await sdk.audio.speech.create(
                model="tts-1",
                voice="en-us",
                input=f"**{sentence}**",
                response_format="wav",
                speed=0.85,
            )
            heard = await transcript(store, await decoded("wav", spoken.content))
            assert word_errors(sentence, heard) <= 0.3, heard


async def test_speed_makes_it_shorter_and_longer(tmp_path: Path) -> None:
    lengths = []
    async with speaking(tmp_path) as (sdk, _):
        for speed in (0.5, 1.0, 2.0):
            spoken = await sdk.audio.speech.create(
                model="tts-1", voice="alloy", input=SENTENCES[0], response_format="pcm", speed=speed
            )
            lengths.append(len(spoken.content))
    slow, normal, fast = lengths
    assert slow > 1.5 * normal > 2.25 * fast


async def test_a_voice_that_is_not_here_is_refused_with_the_nearest(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (sdk, _):
        with pytest.raises(BadRequestError, match="alloy") as refused:
            await sdk.audio.speech.create(model="tts-1", voice="aloy", input="Hello.")
    assert refused.value.param == "voice"


async def test_odd_text_is_said_or_refused_and_breaks_nothing(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (sdk, _):
        for text in ("a\0b", "\x1b[31m", "😀", "...", "\u202e", "<b>", "&", "\ufffe", "[[h@'l@U]]"):
            with contextlib.suppress(BadRequestError):
                await sdk.audio.speech.create(model="tts-1", voice="alloy", input=text)
            again = await sdk.audio.speech.create(model="tts-1", voice="alloy", input="Hello.")
            assert len(again.content) > 1_000


async def test_the_listed_voices_can_be_asked_for(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (sdk, _):
        listed = (await sdk.get("/audio/voices", cast_to=dict[str, Any]))["data"]
        assert len(listed) > 100
        ids = {voice["id"] for voice in listed}
        assert {"en-us", "fr", "de"} <= ids
        for name in ("de", "fr"):
            spoken = await sdk.audio.speech.create(model="tts-1", voice=name, input="Bonjour.")
            assert len(spoken.content) > 1_000
