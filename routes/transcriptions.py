"""POST /v1/audio/transcriptions and /v1/audio/translations: recordings to text.

With `stream=true` each utterance is a `transcript.text.delta`, and `transcript.text.done` brings
the whole text, without the token counts that no engine here has. An extension: with
`timestamp_granularities[]=segment` a delta also has `start` and `end`, with `word` also `words`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from aiohttp import web

from engines.media import decode
from engines.recognition import SAMPLE_RATE, Samples
from routes.forms import Granularity, TranscriptionForm, TranslationForm
from routes.middleware import owner_of
from routes.multipart import read_form
from routes.results import Transcription, respond, word_json
from routes.services import SERVICES, Segment
from routes.streaming import stream_events

_FIELDS: Final = frozenset({*TranscriptionForm.model_fields, *TranslationForm.model_fields})

_FormT = TypeVar("_FormT", TranscriptionForm, TranslationForm)


async def transcribe(request: web.Request) -> web.StreamResponse:
    """POST /v1/audio/transcriptions."""
    async with _recording(request, TranscriptionForm) as heard:
        form = heard.form
        if form.stream:
            async with aclosing(_events(heard.segments, form.timestamp_granularities)) as events:
                return await stream_events(request, events)
        segments = [segment async for segment in heard.segments]
    result = Transcription(segments, heard.audio.seconds, "transcribe", form.language)
    return await asyncio.to_thread(
        respond, result, form.response_format, form.timestamp_granularities
    )


async def translate(request: web.Request) -> web.StreamResponse:
    """POST /v1/audio/translations."""
    async with _recording(request, TranslationForm) as heard:
        segments = [segment async for segment in heard.segments]
    result = Transcription(segments, heard.audio.seconds, "translate")
    return await asyncio.to_thread(respond, result, heard.form.response_format, ())


class _Measured:
    """Audio on its way to an engine, and how much of it there was."""

    def __init__(self, blocks: AsyncIterator[Samples]) -> None:
        self._blocks = blocks
        self._samples = 0

    @property
    def seconds(self) -> float:
        return round(self._samples / SAMPLE_RATE, 3)

    def __aiter__(self) -> AsyncIterator[Samples]:
        return self

    async def __anext__(self) -> Samples:
        block = await anext(self._blocks)
        self._samples += len(block)
        return block


@dataclass(frozen=True, slots=True)
class _Heard(Generic[_FormT]):
    form: _FormT
    segments: AsyncIterator[Segment]
    audio: _Measured


@asynccontextmanager
async def _recording(request: web.Request, kind: type[_FormT]) -> AsyncIterator[_Heard[_FormT]]:
    """The request's form, and the segments of its file as they come.

    On the way out the engine is free, decoding is over and the upload is gone.
    """
    services = request.app[SERVICES]
    limit = services.settings.max_upload_bytes
    async with read_form(request, names=_FIELDS, max_file_bytes=limit) as upload:
        form = kind.from_fields(upload.fields)
        services.transcriber.check(form.model, form.options)
        blocks = decode(upload.file, max_seconds=services.settings.max_audio_seconds)
        audio = _Measured(blocks)
        segments = services.transcriber.transcribe(
            audio, form.model, form.options, owner=owner_of(request)
        )
        async with aclosing(blocks), aclosing(cast(AsyncGenerator[Segment, None], segments)):
            yield _Heard(form, segments, audio)


async def _events(
    segments: AsyncIterator[Segment], granularities: Collection[Granularity]
) -> AsyncGenerator[dict[str, Any], None]:
    """A delta for each segment with text, from the second on with its space; then the end."""
    texts: list[str] = []
    async for segment in segments:
        text = segment.text.strip()
        if not text:
            continue
        delta: dict[str, Any] = {
            "type": "transcript.text.delta",
            "delta": f" {text}" if texts else text,
        }
        if "segment" in granularities:
            delta |= {"start": segment.start, "end": segment.end}
        if "word" in granularities:
            delta["words"] = [word_json(word) for word in segment.words]
        texts.append(text)
        yield delta
    yield {"type": "transcript.text.done", "text": " ".join(texts)}
