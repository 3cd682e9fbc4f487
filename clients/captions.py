"""A transcription session's events, turned into utterances that grow and lines that are done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clients.wire import as_object, as_text

_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_TENTATIVE = "antiphon.transcription.tentative"
_MOST_OPEN = 256


@dataclass(slots=True)
class Utterance:
    """Speech that is being heard: `settled` text only grows, `unsettled` text may still change."""

    start: float
    settled: str = ""
    unsettled: str = ""
    committed: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A finished utterance; `start` in seconds. `problem` says what befell it, if anything did."""

    start: float
    text: str
    problem: str | None = None


class Captions:
    """What one connection's events say.

    `base` is where on the listener's clock the connection's audio begins, in seconds; `heard` is
    how much was sent, the time of an utterance that the server did not announce.
    """

    def __init__(self) -> None:
        self.base = 0.0
        self.heard = 0.0
        self.cleared = False
        """The server has dealt with everything up to our last event."""
        self._open: dict[str, Utterance] = {}

    @property
    def open(self) -> list[Utterance]:
        return list(self._open.values())

    def take(self, event: Mapping[str, Any]) -> Line | None:
        """Take one server event in; the line that it finished, if it did."""
        item = as_text(event.get("item_id"))
        match event.get("type"):
            case "input_audio_buffer.speech_started":
                begun = event.get("audio_start_ms")
                if isinstance(begun, int | float):
                    self._at(item).start = self.base + begun / 1000
            case "input_audio_buffer.committed":
                self._at(item).committed = True
            case "input_audio_buffer.cleared":
                self.cleared = True
                self._open = {i: u for i, u in self._open.items() if u.committed}
            case str(kind) if kind == f"{_TRANSCRIPTION}.delta":
                utterance = self._at(item)
                utterance.settled += as_text(event.get("delta"))
                utterance.unsettled = ""
            case str(kind) if kind == _TENTATIVE:
                self._at(item).unsettled = as_text(event.get("text"))
            case str(kind) if kind == f"{_TRANSCRIPTION}.completed":
                return self._done(item, as_text(event.get("transcript")), None)
            case str(kind) if kind == f"{_TRANSCRIPTION}.failed":
                reason = (
                    as_text(as_object(event.get("error")).get("message"))
                    or "the transcription failed"
                )
                return self._done(item, self._at(item).settled, reason)
        return None

    def abandon(self) -> list[Line]:
        """What was settled of the utterances that will not be finished."""
        left = [Line(u.start, u.settled.strip(), "cut off") for u in self.open if u.settled.strip()]
        self._open.clear()
        return left

    def _at(self, item: str) -> Utterance:
        if item not in self._open:
            self._open[item] = Utterance(self.heard)
            if len(self._open) > _MOST_OPEN:
                del self._open[next(iter(self._open))]
        return self._open[item]

    def _done(self, item: str, text: str, problem: str | None) -> Line | None:
        start = self._at(item).start
        del self._open[item]
        text = text.strip()
        return Line(start, text, problem) if text or problem else None
