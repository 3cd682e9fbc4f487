"""A transcript with its times, and the formats it is written in."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

Format = Literal["txt", "srt", "vtt", "json"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One utterance; times in seconds from the start of the recording."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """A whole recording's text; without `segments` where the server sent no times."""

    text: str
    segments: tuple[Segment, ...] = ()


def render(transcript: Transcript, format: Format) -> str:
    """The transcript in `format`, ending in a newline (subtitles without text: in nothing)."""
    match format:
        case "txt":
            return f"{transcript.text}\n"
        case "srt":
            return "\n".join(_srt(transcript.segments))
        case "vtt":
            return "\n".join(["WEBVTT\n", *_vtt(transcript.segments)])
        case "json":
            return json.dumps(asdict(transcript), ensure_ascii=False, indent=2) + "\n"


def _srt(segments: Iterable[Segment]) -> Iterator[str]:
    for number, segment in enumerate(segments, 1):
        times = f"{_stamp(segment.start, ',')} --> {_stamp(segment.end, ',')}"
        yield f"{number}\n{times}\n{_one_line(segment.text)}\n"


def _vtt(segments: Iterable[Segment]) -> Iterator[str]:
    for segment in segments:
        text = _one_line(segment.text).replace("&", "&amp;").replace("<", "&lt;")
        times = f"{_stamp(segment.start, '.')} --> {_stamp(segment.end, '.')}"
        yield f"{times}\n{text.replace('>', '&gt;')}\n"


def _one_line(text: str) -> str:
    """A blank line would end the cue."""
    return " ".join(text.split())


def _stamp(seconds: float, point: str) -> str:
    """`hh:mm:ss`, the decimal point of the format, milliseconds."""
    second, milliseconds = divmod(round(max(0.0, seconds) * 1000), 1000)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return f"{hour:02}:{minute:02}:{second:02}{point}{milliseconds:03}"
