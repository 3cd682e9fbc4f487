"""SubRip and WebVTT from the segments of a recording."""

import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from engines.recognition import Word
from routes.services import Segment

LINE: Final = 42
"""Most characters on a line, as broadcasters have it."""
LONGEST_SECONDS: Final = 6.0
"""Segments longer than this are split between words, where the times of words are known."""


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str


def srt(segments: Iterable[Segment]) -> str:
    """SubRip. It has no escapes; an arrow in the text is the one thing that would break it."""
    blocks = [
        f"{number}\n{_times(cue, ',')}\n{_lines(cue.text, lambda t: t.replace('-->', '->'))}\n"
        for number, cue in enumerate(cues(segments), 1)
    ]
    return "\n".join(blocks)


def vtt(segments: Iterable[Segment]) -> str:
    """WebVTT."""
    blocks = [f"{_times(cue, '.')}\n{_lines(cue.text, _escape)}\n" for cue in cues(segments)]
    return "\n".join(["WEBVTT\n", *blocks])


def cues(segments: Iterable[Segment]) -> Iterator[Cue]:
    """One cue for a segment; more for a long one whose words have times. None without text."""
    for segment in segments:
        if segment.end - segment.start > LONGEST_SECONDS and segment.words:
            yield from _split(segment.words)
        elif text := " ".join(segment.text.split()):
            yield Cue(segment.start, segment.end, text)


def _split(words: tuple[Word, ...]) -> Iterator[Cue]:
    held: list[Word] = []
    for word in words:
        if held and _is_full([*held, word]):
            yield _cue(held)
            held = []
        held.append(word)
    yield _cue(held)


def _is_full(words: list[Word]) -> bool:
    characters = sum(len(word.text) + 1 for word in words) - 1
    return words[-1].end - words[0].start > LONGEST_SECONDS or characters > 2 * LINE


def _cue(words: list[Word]) -> Cue:
    return Cue(words[0].start, words[-1].end, " ".join(word.text for word in words))


def _lines(text: str, escape: Callable[[str], str]) -> str:
    return "\n".join(escape(line) for line in textwrap.wrap(text, LINE))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _times(cue: Cue, point: str) -> str:
    start = max(0, round(cue.start * 1000))
    end = max(start, round(cue.end * 1000))
    return f"{_time(start, point)} --> {_time(end, point)}"


def _time(milliseconds: int, point: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}{point}{thousandths:03}"
