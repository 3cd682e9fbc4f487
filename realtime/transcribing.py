"""What clients are told of the text of utterances, without I/O: deltas while they are spoken, then
the transcript, once for each, and never before the client knows the item."""

from dataclasses import dataclass
from typing import Any, TypeVar

from pipelines.frames import SAMPLE_RATE, Error, Transcript
from realtime.actions import Action
from realtime.logprobs import logprobs_of
from realtime.wire import Wire

MAX_SETTLED = 1_000
"""Items that are remembered; older ones are forgotten."""
MAX_OPEN = 64
"""Utterances with text that are not committed yet."""

_EVENT = "conversation.item.input_audio_transcription"


@dataclass(slots=True)
class _Item:
    id: str
    deltas: str = ""
    understood: str = ""
    tentative: str = ""
    transcript: str | None = None
    failure: Error | None = None
    committed: bool = False
    settled: bool = False
    samples: int = 0
    held: Transcript | Error | None = None


class Transcribing:
    """The text of a session's utterances.

    `tentative`: the socket asked for unsettled text when it opened. `told` False: the client is
    told nothing. `logprobs`: transcripts come with the log-probabilities of their words.
    """

    def __init__(self, wire: Wire, *, tentative: bool = False, told: bool = True) -> None:
        self._wire = wire
        self._tentative = tentative
        self.told = told
        self.logprobs = False
        self.contradictions = 0
        """Final transcripts that contradicted the deltas sent before them."""
        self._open: dict[str, _Item] = {}
        self._items: dict[str, _Item] = {}
        self._gone: dict[str, None] = {}

    def transcript_of(self, item_id: str) -> str | None:
        """What an utterance said, once that is known."""
        item = self._items.get(item_id)
        return None if item is None else item.transcript

    def failure_of(self, item_id: str) -> Error | None:
        """Why an utterance was not understood, where that is so."""
        item = self._items.get(item_id)
        return None if item is None else item.failure

    def understood(self, item_id: str) -> str:
        """What an open utterance seems to say so far."""
        item = self._open.get(item_id)
        return "" if item is None else (item.understood + item.tentative).strip()

    def knows(self, item_id: str) -> bool:
        """Whether this was committed, or is gone."""
        return item_id in self._items or item_id in self._gone

    def commit(self, item_id: str, samples: int) -> list[Action]:
        """The client knows the item now; what is left to tell of its text, if that came before."""
        item = self._open.pop(item_id, None) or _Item(item_id)
        item.committed, item.samples = True, samples
        _put(self._items, item_id, item, MAX_SETTLED)
        return [] if item.held is None else self._settle(item, item.held)

    def clear(self, item_id: str) -> None:
        """An utterance that was not committed is gone."""
        if item_id not in self._items:
            self._open.pop(item_id, None)
            _put(self._gone, item_id, None, MAX_SETTLED)

    def delete(self, item_id: str) -> None:
        """Tell nothing more of a committed item."""
        self._items.pop(item_id, None)
        _put(self._gone, item_id, None, MAX_SETTLED)

    def transcript(self, frame: Transcript) -> list[Action]:
        """More text of an utterance."""
        item = self._listening(frame.item)
        if item is None:
            return []
        match frame.state:
            case "committed":
                item.understood, item.tentative = item.understood + frame.text, ""
                return self._delta(item, frame.text)
            case "tentative":
                item.tentative = frame.text
                return self._unsettled(item, frame.text)
            case _:
                return self._settle(item, frame)

    def fail(self, frame: Error) -> list[Action]:
        """The transcription of `frame.item` failed."""
        item = None if frame.item is None else self._listening(frame.item)
        return [] if item is None else self._settle(item, frame)

    def _listening(self, item_id: str) -> _Item | None:
        """The item that text may be added to; None for one that is settled or gone."""
        item = self._items.get(item_id) or self._open.get(item_id)
        if item is not None:
            return None if item.settled or item.held else item
        if item_id in self._gone:
            return None
        item = _Item(item_id)
        _put(self._open, item_id, item, MAX_OPEN)
        return item

    def _settle(self, item: _Item, frame: Transcript | Error) -> list[Action]:
        """End an item's transcription; until the client knows the item, hold the end back."""
        if not item.committed:
            item.held = frame
            return []
        item.held = None
        item.settled = True
        if isinstance(frame, Transcript):
            return self._completed(item, frame)
        item.failure = frame
        error = {"type": frame.kind, "code": frame.code, "message": frame.message}
        return self._event("failed", item, error=error)

    def _completed(self, item: _Item, frame: Transcript) -> list[Action]:
        transcript = frame.text.lstrip()
        rest: list[Action] = []
        if transcript.startswith(item.deltas):
            rest = self._delta(item, transcript[len(item.deltas) :])
        else:
            self.contradictions += 1
        item.transcript = transcript
        samples = frame.end - frame.start if frame.end else item.samples
        fields: dict[str, Any] = {
            "transcript": transcript,
            "usage": {"type": "duration", "seconds": round(max(0, samples) / SAMPLE_RATE, 1)},
        }
        logprobs = logprobs_of(frame.words) if self.logprobs else None
        if logprobs is not None:
            fields["logprobs"] = logprobs
        return [*rest, *self._event("completed", item, **fields)]

    def _delta(self, item: _Item, text: str) -> list[Action]:
        text = text if item.deltas else text.lstrip()
        if not text:
            return []
        item.deltas += text
        return self._event("delta", item, delta=text)

    def _unsettled(self, item: _Item, text: str) -> list[Action]:
        if not (self.told and self._tentative):
            return []
        place = {"item_id": item.id, "content_index": 0}
        return [self._wire.event("antiphon.transcription.tentative", **place, text=text)]

    def _event(self, name: str, item: _Item, **fields: Any) -> list[Action]:
        if not self.told:
            return []
        return [self._wire.event(f"{_EVENT}.{name}", item_id=item.id, content_index=0, **fields)]


_T = TypeVar("_T")


def _put(items: dict[str, _T], key: str, value: _T, most: int) -> None:
    """Add to a dictionary that forgets its oldest entry beyond `most`."""
    items[key] = value
    if len(items) > most:
        del items[next(iter(items))]
