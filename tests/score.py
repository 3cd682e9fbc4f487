"""What a Realtime session's two sides do, written down as steps, and a reader that follows a real
session along them: it says what to do next, and whether an event may come now.

In the fields of a step, `...` is any value that is there, a type any value of it, an `Id` an id
that stays the same wherever it is named, a dict one that has at least these keys, and a list one of
exactly these elements.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Id:
    """The name of an id that the server chooses."""

    name: str


@dataclass(frozen=True, slots=True)
class Client:
    """The client sends this event; an `Id` in it stands for what the server called it."""

    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Speech:
    """Sound with speech in it arrives. It goes on into the next step but one is `Silence`."""

    seconds: float
    says: str = "What time is it?"


@dataclass(frozen=True, slots=True)
class Silence:
    """Sound without speech arrives."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """A function call that the model wants; `arguments` are JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Model:
    """What the language model will answer when it is asked next.

    `ends`: `stop`; `length`, at the limit of tokens; `failed`; or `never`, so that the response is
    in progress until it is ended. Its text takes at least 40 ms a character to say.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    ends: str = "stop"


@dataclass(frozen=True, slots=True)
class Server:
    """An event of the server's. `least` and `most` (None: any number) say how often it comes."""

    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    least: int = 1
    most: int | None = 1


@dataclass(frozen=True, slots=True)
class Together:
    """Runs of events, each in its own order, in any order among each other."""

    runs: tuple[tuple[Server, ...], ...]


@dataclass(frozen=True, slots=True)
class Later:
    """A run of events that begins after the step before, and goes on beside the steps after."""

    run: tuple[Server, ...]


Input = Client | Speech | Silence | Model
Step = Input | Server | Together | Later


@dataclass(frozen=True, slots=True)
class Sequence:
    """One canonical sequence, in a session of the type `kind`."""

    name: str
    steps: tuple[Step, ...]
    kind: str = "realtime"

    @property
    def inputs(self) -> tuple[Input, ...]:
        return tuple(step for step in self.steps if isinstance(step, Input))


class Unexpected(AssertionError):
    """An event that may not come now."""


class Score:
    """Follows one session along a sequence.

    While not `finished`: do everything of `inputs()`, then give the next event to `take`.
    """

    def __init__(self, sequence: Sequence) -> None:
        self.names: dict[str, str] = {}
        """The ids that the server chose, by their names in the sequence."""
        self._steps = list(sequence.steps)
        self._group: list[_Run] = []
        self._beside: list[_Run] = []

    @property
    def finished(self) -> bool:
        """Whether every event came that has to."""
        return not self._steps and all(run.satisfied for run in (*self._group, *self._beside))

    @property
    def awaited(self) -> list[str]:
        """What has to come next, for messages."""
        return [run.steps[0].type for run in (*self._group, *self._beside) if not run.satisfied]

    def inputs(self) -> list[Client | Speech | Silence | Model]:
        """What to do now, once: ids in client events are the server's."""
        due: list[Input] = []
        while all(run.satisfied for run in self._group) and self._steps:
            step = self._steps[0]
            if isinstance(step, Server | Together):
                break
            self._steps.pop(0)
            if isinstance(step, Later):
                self._beside.append(_Run(list(step.run)))
                continue
            self._beside += self._group
            self._group = []
            due.append(Client(self._resolved(step.event)) if isinstance(step, Client) else step)
        return due

    def take(self, event: Event) -> None:
        """Go on by one event. Raises `Unexpected`."""
        while True:
            if any(run.take(event, self.names) for run in (*self._group, *self._beside)):
                return
            if not all(run.satisfied for run in self._group) or not self._advance():
                raise Unexpected(f"{event} came; awaited: {self.awaited}; ids: {self.names}")

    def _advance(self) -> bool:
        if not self._steps or isinstance(self._steps[0], Input):
            return False
        step = self._steps.pop(0)
        match step:
            case Later(run):
                self._beside.append(_Run(list(run)))
            case Server():
                self._group = [_Run([step])]
            case Together(runs):
                self._group = [_Run(list(run)) for run in runs]
        return True

    def _resolved(self, value: Any) -> Any:
        match value:
            case Id(name):
                return self.names[name]
            case dict():
                return {key: self._resolved(inner) for key, inner in value.items()}
            case list():
                return [self._resolved(inner) for inner in value]
            case _:
                return value


@dataclass(slots=True)
class _Run:
    steps: list[Server]
    count: int = 0

    @property
    def satisfied(self) -> bool:
        head, *rest = self.steps
        return self.count >= head.least and all(step.least == 0 for step in rest)

    def take(self, event: Event, names: dict[str, str]) -> bool:
        steps, count = self.steps, self.count
        while True:
            head = steps[0]
            found = dict(names)
            room = head.most is None or count < head.most
            if room and event.get("type") == head.type and _fits(head.fields, event, found):
                names.update(found)
                self.steps, self.count = steps, count + 1
                return True
            if count < head.least or len(steps) == 1:
                return False
            steps, count = steps[1:], 0


def _fits(pattern: Any, value: Any, names: dict[str, str]) -> bool:
    match pattern:
        case EllipsisType():
            return True
        case type():
            return isinstance(value, pattern) and not (pattern is int and isinstance(value, bool))
        case Id(name):
            return isinstance(value, str) and names.setdefault(name, value) == value
        case dict():
            return isinstance(value, dict) and all(
                key in value and _fits(inner, value[key], names) for key, inner in pattern.items()
            )
        case list():
            return (
                isinstance(value, list)
                and len(value) == len(pattern)
                and all(_fits(a, b, names) for a, b in zip(pattern, value, strict=True))
            )
        case _:
            return bool(pattern == value) and type(pattern) is type(value)
