"""The turns of a conversation as they are shown: words that grow, and what was said in the end."""

from dataclasses import dataclass
from typing import Final, Literal

Speaker = Literal["user", "assistant"]

USUAL_PACE: Final = 15.0
"""Characters that are spoken in a second, until a voice was heard."""
_LEAST_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Said:
    """A finished turn. `cut`: it was broken off, and `text` is what was heard of it."""

    speaker: Speaker
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Growing:
    """An open turn: `settled` text only grows, `unsettled` text may still change."""

    speaker: Speaker
    settled: str
    unsettled: str = ""


@dataclass(slots=True)
class Turn:
    """A turn that is going on; `text` is what is known of it, which may be more than was heard.

    `here`: the server that we are connected to has its item. `whole`: all of it came. `lost`: the
    connection was lost before.
    """

    speaker: Speaker
    item: str
    response: str | None = None
    text: str = ""
    unsettled: str = ""
    spoken: bool = False
    whole: bool = False
    cut: bool = False
    here: bool = True
    lost: bool = False
    shown: int = 0
    """Characters of `text` that were heard, where it is spoken."""
    odd: bytes = b""
    """Half a sample that waits for its other half."""

    @property
    def heard(self) -> str:
        """What its listener knows of it."""
        return self.text[: self.shown] if self.spoken else self.text

    def growing(self) -> Growing:
        return Growing(self.speaker, self.heard, self.unsettled)


class Pace:
    """How text and sound go together, which the wire does not say: words are taken to be evenly
    spread over a sound that is whole, and to come at the voice's usual pace before."""

    def __init__(self) -> None:
        self._pace = USUAL_PACE

    def hear(self, turn: Turn, played: float, given: float) -> None:
        """So many seconds of a turn were played, of so many that came."""
        place = played * self._pace
        if turn.whole and given:
            place = len(turn.text) * played / given
        elif turn.whole and not turn.cut:
            place = len(turn.text)  # an answer that could not be spoken
        turn.shown = max(turn.shown, _whole_words(turn.text, round(place)))

    def learn(self, turn: Turn, seconds: float) -> None:
        """A turn was heard from beginning to end."""
        if seconds >= _LEAST_SECONDS and turn.text:
            self._pace = len(turn.text) / seconds


def _whole_words(text: str, end: int) -> int:
    """The last place up to `end` where a word is over; anywhere in writing without spaces."""
    if end >= len(text) or " " not in text:
        return min(end, len(text))
    return end if text[end] == " " else text.rfind(" ", 0, end) + 1
