"""What is expected of an eval's conversation, and what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from eval_client import Loudspeaker, substituted
from eval_engines import Integers
from eval_format import Expectation, Played, Turn
from score import Event
from wire_rules import broken_rules

Log = list[tuple[float, Event]]

_SLACK = 1e-6
_SHOWN = 14
"""Events that a message shows."""


@dataclass
class Progress:
    """One turn as it happens: its events, found in order as they come."""

    turn: Turn
    places: tuple[str, ...]
    """Where each expectation is written."""
    at: float
    index: int
    """How many events came before it."""
    sound_over: float | None = None
    """When the last of the user's sounds was over; None: not yet, or there is none."""
    spoken: str | None = None
    """The newest item with sound when it began."""
    played: float = 0.0
    """Seconds of that, without gaps, which the loudspeaker had played in the end."""
    found: list[tuple[int, float]] = field(default_factory=list)
    """Index and time of the event for each expectation of one."""

    @property
    def awaited(self) -> list[tuple[Expectation, str]]:
        """The events that have not come."""
        events = [pair for pair in self._pairs() if pair[0].event is not None]
        return events[len(self.found) :]

    def take(self, index: int, now: float, event: Event, names: dict[str, Any]) -> None:
        """Go on by one event."""
        if self.awaited and fits(self.awaited[0][0], event, names):
            expectation = self.awaited[0][0]
            self.found.append((index, now))
            for name, path in expectation.keep.items():
                names[name] = reached(event, path)

    def over_at(self) -> float:
        """When everything that lasts a given time, as far as it has begun, will have lasted."""
        lasts, at, found = [self.at], self.at, iter(self.found)
        for expectation, _ in self._pairs():
            if expectation.event is not None:
                at = next(found, (0, at))[1]
            elif expectation.for_ms is not None:
                lasts.append(at + expectation.for_ms / 1000)
        return max(lasts)

    def _pairs(self) -> list[tuple[Expectation, str]]:
        return list(zip(self.turn.expect, self.places, strict=True))

    def problems(self, log: Log, end: int, names: Mapping[str, Any]) -> Iterator[str]:
        """What of its events is wrong; the turn after it begins at the event `end`."""
        found = iter(self.found)
        before = (self.index - 1, self.at)
        missing = False
        for number, (expectation, place) in enumerate(self._pairs()):
            if expectation.event is not None and not missing:
                this = next(found, None)
                missing = this is None
                if this is None:
                    yield f"{place}: {_named(expectation)} never came; {shown(log, before[0] + 1)}"
                    continue
                yield from self._late(expectation, place, this[1], before[1])
                before = this
            elif expectation.absent is not None:
                upto = self._next_found(number, end)
                window = log[before[0] + 1 : upto]
                if expectation.for_ms is not None:
                    until = before[1] + expectation.for_ms / 1000
                    window = [entry for entry in log[before[0] + 1 :] if entry[0] < until]
                for at, event in window:
                    if fits(expectation, event, dict(names)):
                        since = round((at - before[1]) * 1000)
                        yield f"{place}: {_named(expectation)} came, {since} ms later"

    def _next_found(self, number: int, end: int) -> int:
        """Where the next event expected after the expectation of this number came."""
        events = sum(one.event is not None for one in self.turn.expect[:number])
        return self.found[events][0] if events < len(self.found) else end

    def _late(
        self, expectation: Expectation, place: str, at: float, previous: float
    ) -> Iterator[str]:
        since = expectation.since or ("sound" if self.turn.user else "turn")
        reference = {"turn": self.at, "sound": self.sound_over, "previous": previous}[since]
        # An event that comes while the user still speaks is early, however long that takes.
        took = -1.0 if reference is None else (at - reference) * 1000
        name = _named(expectation)
        if expectation.within_ms is not None and took > expectation.within_ms + _SLACK:
            yield f"{place}: {name} came after {took:.0f} ms, not within {expectation.within_ms}"
        if expectation.not_before_ms is not None and took < expectation.not_before_ms - _SLACK:
            yield f"{place}: {name} came after {took:.0f} ms, before {expectation.not_before_ms}"


def fits(expectation: Expectation, event: Event, names: Mapping[str, Any]) -> bool:
    """Whether this is such an event."""
    if event["type"] != (expectation.event or expectation.absent):
        return False
    details = (event.get("response") or {}).get("status_details") or {}
    code = (details.get("error") or event.get("error") or {}).get("code")
    status = (event.get("response") or event.get("item") or {}).get("status")
    return (
        _within(substituted_if_known(expectation.fields, names), event)
        and expectation.status in (None, status)
        and expectation.reason in (None, details.get("reason"))
        and expectation.code in (None, code)
        and (expectation.text is None or expectation.text in text_of(event))
    )


def substituted_if_known(fields: Any, names: Mapping[str, Any]) -> Any:
    """`fields` with what was kept; a name of which nothing is known yet fits nothing."""
    try:
        return substituted(fields, dict(names))
    except KeyError:
        return {"": ...}


def _within(pattern: Any, value: Any) -> bool:
    """Whether dicts have at least these keys, lists these elements, and all else is equal."""
    match pattern:
        case dict():
            return isinstance(value, dict) and all(
                key in value and _within(inner, value[key]) for key, inner in pattern.items()
            )
        case list():
            return (
                isinstance(value, list)
                and len(value) == len(pattern)
                and all(_within(a, b) for a, b in zip(pattern, value, strict=True))
            )
        case _:
            return bool(pattern == value)


def text_of(event: Event) -> str:
    """What an event says in words."""
    for key in ("transcript", "delta", "text", "arguments"):
        if isinstance(event.get(key), str):
            return str(event[key])
    items = [event["item"]] if "item" in event else event.get("response", {}).get("output", [])
    parts = [part for item in items for part in item.get("content", ())]
    return " ".join(part.get("transcript") or part.get("text") or "" for part in parts)


def reached(event: Event, path: str) -> Any:
    """What is at a path such as `item.call_id` or `response.output.0.id`."""
    value: Any = event
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def _named(expectation: Expectation) -> str:
    words = [f"'{expectation.event or expectation.absent}'"]
    for key in ("status", "reason", "code", "text"):
        if getattr(expectation, key) is not None:
            words.append(f"{key} {getattr(expectation, key)!r}")
    if expectation.fields:
        words.append(f"with {expectation.fields}")
    return " ".join(words)


def shown(log: Log, start: int) -> str:
    """The events from `start` on, for a message; runs of the same type are one."""
    runs: list[list[Any]] = []
    for at, event in log[start:]:
        if runs and runs[-1][1] == event["type"]:
            runs[-1][2] += 1
        else:
            runs.append([at, event["type"], 1, text_of(event)[:60]])
    told = [
        f"{at:.2f} {name}" + (f" x{count}" if count > 1 else f" {text!r}" if text else "")
        for at, name, count, text in runs[:_SHOWN]
    ]
    return "there came: " + ("; ".join(told) or "nothing")


def played_problems(wanted: Played, speaker: Loudspeaker, response: str | None) -> Iterator[str]:
    """What is wrong with the sound of a response."""
    if response is None or response not in speaker.responses:
        yield "there is no sound"
        return
    seconds, ahead = speaker.seconds(response), speaker.ahead[response] * 1000
    gap = speaker.gaps[response] * 1000
    if wanted.seconds is not None and not wanted.seconds[0] <= seconds <= wanted.seconds[1]:
        yield f"the sound takes {seconds:.2f} s, not {wanted.seconds[0]} to {wanted.seconds[1]}"
    if wanted.gap_ms is not None and gap > wanted.gap_ms + _SLACK:
        yield f"the loudspeaker ran dry for {gap:.0f} ms"
    if wanted.held_ms is not None and gap < wanted.held_ms:
        yield f"the sound was held for {gap:.0f} ms only"
    if wanted.ahead_ms is not None and ahead > wanted.ahead_ms + _SLACK:
        yield f"the client had {ahead:.0f} ms of sound in hand"


def always(
    log: Log, speaker: Loudspeaker, said: Sequence[tuple[str, Integers]], expected: set[int]
) -> Iterator[str]:
    """What is wrong with any conversation: the rules of the wire, errors that were not `expected`
    (by index), sound that is not what the voice made."""
    events = [event for _, event in log]
    yield from broken_rules(events)
    for index, (at, event) in enumerate(log):
        if event["type"] == "error" and index not in expected:
            yield f"an error came after {at:.2f} s: {event['error']}"
    done = {e["item"]["id"]: e["item"] for e in events if e["type"] == "response.output_item.done"}
    for item in speaker.sounds:
        whole = done.get(item, {}).get("status") == "completed"
        yield from _sound_problems(
            item,
            speaker.sound(item),
            said,
            text_of({"type": "", "item": done.get(item, {})}) if whole else None,
        )


def _sound_problems(
    item: str, sound: Integers, said: Sequence[tuple[str, Integers]], text: str | None
) -> Iterator[str]:
    """Sentences follow each other as the voice made them; only the last may be cut, and none of an
    item with a `text`, all of which is said."""
    borders = np.flatnonzero(np.diff(np.concatenate(([0], sound != 0, [0])).astype(np.int8)))
    spoken = []
    for number, (start, end) in enumerate(borders.reshape(-1, 2)):
        run = sound[start:end]
        found = [one for one in said if len(one[1]) and one[1][0] == run[0]]
        if not found or not np.array_equal(found[0][1][: len(run)], run):
            yield f"sentence {number + 1} of {item} is not what the voice said"
            return
        last = end == borders[-1]
        if len(run) < len(found[0][1]) and (text is not None or not last):
            yield f"sentence {number + 1} of {item} is cut"
        spoken.append(found[0][0])
    if text is not None and _letters(" ".join(spoken)) != _letters(text):
        yield f"{item} says {' '.join(spoken)!r}, and its text is {text!r}"


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
