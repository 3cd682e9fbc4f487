"""A transcribed recording in each of the formats that OpenAI's audio routes answer with.

Fields that no engine here knows are left out, never invented: a segment has no `seek`, `tokens`,
`temperature`, `avg_logprob`, `compression_ratio` and `no_speech_prob`. OpenAI's clients accept
that, unless they are told to validate strictly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from aiohttp import web

from engines.recognition import Word
from routes import subtitles
from routes.forms import Granularity, ResponseFormat
from routes.languages import name_of
from routes.services import Segment

UNKNOWN_LANGUAGE = "unknown"


@dataclass(frozen=True, slots=True)
class Transcription:
    """A whole recording; `language` is the code that was asked for."""

    segments: Sequence[Segment]
    seconds: float
    task: Literal["transcribe", "translate"]
    language: str | None = None

    @property
    def text(self) -> str:
        return " ".join(text for segment in self.segments if (text := segment.text.strip()))

    @property
    def usage(self) -> dict[str, Any]:
        return {"type": "duration", "seconds": self.seconds}

    @property
    def language_name(self) -> str:
        """Of the text: a translation is English; else what was asked for, else what was heard."""
        if self.task == "translate":
            return "english"
        heard = (segment.language for segment in self.segments if segment.language)
        return name_of(self.language or next(heard, UNKNOWN_LANGUAGE))


def respond(
    result: Transcription, form: ResponseFormat, granularities: Sequence[Granularity]
) -> web.Response:
    """The whole response. It may take a while for hours of speech: not for the event loop."""
    match form:
        case "json":
            return _json({"text": result.text, "usage": result.usage})
        case "verbose_json":
            return _json(verbose(result, granularities or ["segment"]))
        case "text":
            return web.Response(text=f"{result.text}\n", content_type="text/plain")
        case "srt":
            return web.Response(text=subtitles.srt(result.segments), content_type="text/plain")
        case "vtt":
            return web.Response(text=subtitles.vtt(result.segments), content_type="text/vtt")


def verbose(result: Transcription, granularities: Sequence[Granularity]) -> dict[str, Any]:
    """`verbose_json`, with the lists that `granularities` names."""
    body: dict[str, Any] = {
        "task": result.task,
        "language": result.language_name,
        "duration": result.seconds,
        "text": result.text,
    }
    if "segment" in granularities:
        body["segments"] = [
            {
                "id": number,
                "start": round(part.start, 3),
                "end": round(part.end, 3),
                "text": part.text.strip(),
            }
            for number, part in enumerate(result.segments)
        ]
    if "word" in granularities:
        body["words"] = [word_json(word) for part in result.segments for word in part.words]
    body["usage"] = result.usage
    return body


def word_json(word: Word) -> dict[str, Any]:
    return {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
