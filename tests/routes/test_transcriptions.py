import asyncio
import json
import wave
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientTimeout, FormData
from openai import APIError, BadRequestError, NotFoundError, RateLimitError
from openai.types.audio import TranscriptionVerbose
from rest import GOODBYE, HELLO, Client, Script, openai, serving
from voice import RATE, pcm16, silence

from engines.base import Busy, EngineError, WorkerCrashed
from routes import streaming
from routes.services import Segment

PATH = "/v1/audio/transcriptions"
TEXT = "Hello there. Good & bye."


def wav(seconds: float = 0.5) -> bytes:
    data = BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(pcm16(silence(seconds), RATE))
    return data.getvalue()


def form(content: bytes | None = None, /, **fields: str) -> FormData:
    data = FormData()
    for name, value in {"model": "whisper-1", **fields}.items():
        data.add_field(name, value)
    data.add_field("file", wav() if content is None else content, filename="speech.wav")
    return data


async def events(client: Client, **fields: str) -> list[Any]:
    """The events of a streamed transcription; comments as they stand."""
    response = await client.post(PATH, data=form(stream="true", **fields))
    assert response.status == 200
    assert response.content_type == "text/event-stream"
    records = (await response.text()).removesuffix("\n\n").split("\n\n")
    return [
        json.loads(record.removeprefix("data: ")) if record.startswith("data: {") else record
        for record in records
    ]


async def test_the_sdk_gets_json() -> None:
    script = Script(HELLO, GOODBYE)
    async with serving(script) as client, openai(client) as sdk:
        answer = await sdk.audio.transcriptions.create(
            file=("a.wav", wav(1.5)), model="whisper-1", language="en", prompt="Antiphon"
        )
    assert answer.text == TEXT
    assert answer.usage is not None
    assert (answer.usage.type, answer.usage.seconds) == ("duration", 1.5)  # type: ignore[union-attr]
    assert script.samples == 1.5 * RATE
    [(model, options, owner)] = script.calls
    assert model == "whisper-1"
    assert (options.language, options.prompt, options.partials) == ("en", "Antiphon", False)
    assert owner.startswith("req_")


@pytest.mark.parametrize(
    ("response_format", "text"),
    [
        ("text", f"{TEXT}\n"),
        (
            "srt",
            "1\n00:00:00,500 --> 00:00:01,500\nHello there.\n\n"
            "2\n00:00:02,000 --> 00:00:03,250\nGood & bye.\n",
        ),
        (
            "vtt",
            "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nHello there.\n\n"
            "00:00:02.000 --> 00:00:03.250\nGood &amp; bye.\n",
        ),
    ],
)
async def test_the_sdk_gets_text_and_subtitles(response_format: Any, text: str) -> None:
    async with serving(Script(HELLO, GOODBYE)) as client, openai(client) as sdk:
        answer = await sdk.audio.transcriptions.create(
            file=("a.wav", wav()), model="whisper-1", response_format=response_format
        )
    assert answer == text


async def test_the_sdk_gets_verbose_json_with_segments_by_default() -> None:
    async with serving(Script(HELLO, GOODBYE)) as client, openai(client) as sdk:
        answer = await sdk.audio.transcriptions.create(
            file=("a.wav", wav(0.25)), model="whisper-1", response_format="verbose_json"
        )
    assert isinstance(answer, TranscriptionVerbose)
    assert (answer.text, answer.language, answer.duration) == (TEXT, "english", 0.25)
    assert answer.segments is not None
    assert [(part.id, part.start, part.end, part.text) for part in answer.segments] == [
        (0, 0.5, 1.5, "Hello there."),
        (1, 2.0, 3.25, "Good & bye."),
    ]
    assert set(answer.segments[0].model_dump(exclude_unset=True)) == {"id", "start", "end", "text"}
    assert answer.words is None
    assert answer.usage is not None
    assert answer.usage.seconds == 0.25


async def test_the_sdk_gets_the_times_of_words_and_strict_validation_agrees() -> None:
    async with serving(Script(HELLO)) as client, openai(client, strict=True) as sdk:
        answer = await sdk.audio.transcriptions.create(
            file=("a.wav", wav()),
            model="whisper-1",
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )
    assert answer.segments is None
    assert answer.words is not None
    assert [(word.word, word.start, word.end) for word in answer.words] == [
        ("Hello", 0.5, 0.9),
        ("there.", 1.0, 1.5),
    ]


async def test_the_sdk_gets_a_stream_of_deltas() -> None:
    script = Script(HELLO, Segment(1.6, 1.7, " "), GOODBYE)
    async with serving(script) as client, openai(client) as sdk:
        stream = await sdk.audio.transcriptions.create(
            file=("a.wav", wav()), model="whisper-1", stream=True
        )
        seen = [event async for event in stream]
    assert [event.type for event in seen] == [
        "transcript.text.delta",
        "transcript.text.delta",
        "transcript.text.done",
    ]
    deltas = [event.delta for event in seen if event.type == "transcript.text.delta"]
    assert deltas == ["Hello there.", " Good & bye."]
    assert seen[-1].text == TEXT  # type: ignore[union-attr]


async def test_a_stream_ends_with_done_and_has_times_only_if_asked() -> None:
    async with serving(Script(HELLO)) as client:
        plain = await events(client)
        timed = await events(client, **{"timestamp_granularities[]": "segment"})
        words = await events(client, **{"timestamp_granularities[]": "word"})
    assert plain == [
        {"type": "transcript.text.delta", "delta": "Hello there."},
        {"type": "transcript.text.done", "text": "Hello there."},
        "data: [DONE]",
    ]
    assert timed[0] == {**plain[0], "start": 0.5, "end": 1.5}
    assert words[0]["words"][1] == {"word": "there.", "start": 1.0, "end": 1.5}


async def test_no_speech_gives_empty_text() -> None:
    async with serving(Script()) as client:
        answer = await (await client.post(PATH, data=form())).json()
        verbose = await client.post(PATH, data=form(response_format="verbose_json"))
        streamed = await events(client)
        subtitles = await client.post(PATH, data=form(response_format="vtt"))
        assert await subtitles.text() == "WEBVTT\n"
        assert subtitles.content_type == "text/vtt"
        body = await verbose.json()
    assert answer == {"text": "", "usage": {"type": "duration", "seconds": 0.5}}
    assert (body["segments"], body["language"]) == ([], "unknown")
    assert streamed == [{"type": "transcript.text.done", "text": ""}, "data: [DONE]"]


async def test_a_quiet_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SILENCE_SECONDS", 0.02)
    gate = asyncio.Event()
    async with serving(Script(HELLO, gate, GOODBYE)) as client:
        response = await client.post(PATH, data=form(stream="true"))
        seen = b""
        while seen.count(b": keep-alive\n\n") < 3:
            seen += await response.content.readany()
        gate.set()
        seen += await response.content.read()
    assert seen.endswith(b"data: [DONE]\n\n")
    assert b"Good & bye." in seen


async def test_the_sdk_ignores_what_keeps_the_stream_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streaming, "SILENCE_SECONDS", 0.01)
    gate = asyncio.Event()
    async with serving(Script(gate, HELLO)) as client, openai(client) as sdk:
        stream = await sdk.audio.transcriptions.create(
            file=("a.wav", wav()), model="whisper-1", stream=True
        )
        asyncio.get_running_loop().call_later(0.1, gate.set)
        assert [event.type for event in [e async for e in stream]] == [
            "transcript.text.delta",
            "transcript.text.done",
        ]


async def test_an_error_before_the_first_event_has_its_status() -> None:
    script = Script(Busy("All decoders are taken.", retry_after=3))
    async with serving(script) as client, openai(client) as sdk:
        with pytest.raises(RateLimitError) as raised:
            await sdk.audio.transcriptions.create(
                file=("a.wav", wav()), model="whisper-1", stream=True
            )
    assert raised.value.code == "rate_limit_exceeded"
    assert raised.value.response.headers["Retry-After"] == "3"


async def test_an_error_in_the_stream_is_its_last_event() -> None:
    script = Script(HELLO, WorkerCrashed("The worker died twice."))
    async with serving(script) as client, openai(client) as sdk:
        seen = await events(client)
        stream = await sdk.audio.transcriptions.create(
            file=("a.wav", wav()), model="whisper-1", stream=True
        )
        with pytest.raises(APIError, match="The worker died twice"):
            [event async for event in stream]
    assert seen[-1]["error"]["type"] == "server_error"
    assert len(seen) == 2


async def test_an_unforeseen_error_in_the_stream_says_nothing_about_the_inside() -> None:
    async with serving(Script(HELLO, KeyError("a secret"))) as client:
        seen = await events(client)
    assert "secret" not in str(seen)
    assert seen[-1]["error"]["type"] == "server_error"


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_a_client_that_leaves_ends_the_transcription(stream: str) -> None:
    script = Script(HELLO, asyncio.Event())
    async with serving(script) as client:
        sending = asyncio.create_task(
            client.post(PATH, data=form(stream=stream), timeout=ClientTimeout(30))
        )
        async with asyncio.timeout(30):
            await script.started.wait()
            if stream == "true":
                response = await sending
                await response.content.readuntil(b"\n\n")
                assert not script.ended.is_set()
                response.close()
            else:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            await script.ended.wait()


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_what_the_model_cannot_do_is_refused_by_name() -> None:
    async with serving() as client, openai(client) as sdk:
        with pytest.raises(BadRequestError) as french:
            await sdk.audio.transcriptions.create(
                file=("a.wav", wav()), model="whisper-1", language="fr"
            )
        with pytest.raises(BadRequestError) as translation:
            await sdk.audio.translations.create(file=("a.wav", wav()), model="whisper-1")
        with pytest.raises(NotFoundError) as unknown:
            await sdk.audio.transcriptions.create(file=("a.wav", wav()), model="gpt-9")
    assert (french.value.code, french.value.param) == ("invalid_value", "language")
    assert translation.value.param == "task"
    assert "antiphon pull small" in str(translation.value)
    assert unknown.value.code == "model_not_found"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_a_translation_is_english_in_every_format() -> None:
    script = Script(Segment(0, 1, "Good day."))
    model = "org/whisper:tiny"
    async with serving(script) as client, openai(client) as sdk:
        translations = sdk.audio.translations
        plain = await translations.create(file=("a.wav", wav()), model=model)
        verbose = await translations.create(
            file=("a.wav", wav()), model=model, response_format="verbose_json"
        )
        text = await translations.create(file=("a.wav", wav()), model=model, response_format="text")
    assert plain.text == "Good day."
    assert (verbose.language, verbose.duration, verbose.text) == ("english", 0.5, "Good day.")
    assert text == "Good day.\n"
    assert script.calls[0][1].task == "translate"


@pytest.mark.parametrize("content", [b"This is text.\n" * 100, b"\x00" * 5000, wav()[:20]])
async def test_a_file_that_is_not_audio_is_400_with_a_sentence(content: bytes) -> None:
    async with serving(Script(HELLO)) as client:
        for stream in ("true", "false"):
            response = await client.post(PATH, data=form(content, stream=stream))
            body = await response.json()
            assert response.status == 400
            assert body["error"]["type"] == "invalid_request_error"
            assert body["error"]["message"].endswith(".")


async def test_a_truncated_file_is_400_and_says_where_it_breaks_off() -> None:
    async with serving(Script(HELLO)) as client:
        response = await client.post(PATH, data=form(wav(3.0)[:-20_000]))
        assert response.status == 400
        assert "breaks off after 2.4 seconds" in (await response.json())["error"]["message"]


async def test_a_recording_that_is_too_long_is_400() -> None:
    async with serving(Script(HELLO), max_audio_seconds=1.0) as client:
        response = await client.post(PATH, data=form(wav(2.0)))
    assert response.status == 400


async def test_an_upload_over_the_limit_is_413() -> None:
    async with serving(Script(HELLO), max_upload_bytes=10_000) as client:
        response = await client.post(PATH, data=form())
        body = await response.json()
    assert response.status == 413
    assert body["error"]["code"] == "file_too_large"


async def test_fields_that_are_not_known_here_are_accepted() -> None:
    async with serving(Script(HELLO)) as client, openai(client) as sdk:
        answer = await sdk.audio.transcriptions.create(
            file=("a.wav", wav()),
            model="whisper-1",
            chunking_strategy={"type": "server_vad", "threshold": 0.4},
            include=["logprobs"],
        )
    assert answer.text == "Hello there."
    assert answer.logprobs is None


async def test_a_failing_engine_is_told_in_its_own_words() -> None:
    async with serving(Script(EngineError("The model does not fit in memory."))) as client:
        response = await client.post(PATH, data=form())
        body = await response.json()
    assert response.status == 500
    assert body["error"]["message"] == "The model does not fit in memory."
