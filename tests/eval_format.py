"""Scripted conversations in YAML: what is in such a file, and how one is read, strictly.

`tests/evals/README.md` documents the format.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from engines.strict_yaml import Document, load, read, validate


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class Section(BaseModel):
    """Keys that are not known are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sound(Section):
    """What the microphone hears: `says` for `seconds`, a `noise` or a `pause` of so many seconds.

    `probability` is what voice activity takes it for.
    """

    says: str | None = None
    seconds: float | None = Field(default=None, gt=0, le=60)
    noise: float | None = Field(default=None, gt=0, le=60)
    pause: float | None = Field(default=None, gt=0, le=60)
    probability: float = Field(default=0.95, gt=0, le=1)

    @model_validator(mode="after")
    def _one_kind(self) -> "Sound":
        if sum(kind is not None for kind in (self.says, self.noise, self.pause)) != 1:
            raise ValueError("needs one of 'says', 'noise' and 'pause'")
        if (self.says is None) != (self.seconds is None):
            raise ValueError("needs 'seconds' with 'says', and only there")
        return self

    @property
    def length(self) -> float:
        """Seconds of it."""
        return self.seconds or self.noise or self.pause or 0.0


class Call(Section):
    """A function call that the language model wants."""

    name: str
    arguments: dict[str, Any] = {}


class Stall(Section):
    """The language model stops for so long once it has written `after`."""

    after: str = Field(min_length=1)
    ms: int = Field(gt=0)


class Answer(Section):
    """What the language model does when it is asked: `text`, then `calls`, then how it `ends`.

    `told` is what it has to have been asked, one line for each message after the instructions.
    `given_up`: it has to be stopped before its end.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    first_token_ms: int = Field(default=200, ge=0)
    tokens_per_second: float = Field(default=50.0, gt=0)
    stalls: tuple[Stall, ...] = ()
    ends: Literal["stop", "length"] = "stop"
    fails: str | None = None
    told: tuple[str, ...] | None = None
    given_up: bool = False

    @model_validator(mode="after")
    def _stalls_somewhere(self) -> "Answer":
        for stall in self.stalls:
            if stall.after not in self.text:
                raise ValueError(f"stalls after '{stall.after}', which is not in its text")
        return self


class After(Section):
    """When a turn begins: `delay_ms` after the `nth` such event since the turn before it began;
    without an event, after all that was expected of that turn."""

    event: str | None = None
    nth: int = Field(default=1, ge=1)
    delay_ms: int = Field(default=0, ge=0)


class Heard(Section):
    """Of the newest spoken item when the turn begins, the text that stays in the conversation, and
    how far that may be from what the client's loudspeaker played, in words."""

    text: str
    words_off: int = Field(default=1, ge=0)


class Played(Section):
    """The sound of the newest response before the next turn, as the client got it.

    `seconds` is at least and at most so much; `gap_ms` the longest time for which the loudspeaker
    may run dry, `held_ms` for which it has to; `ahead_ms` the most sound that the client may have
    in hand.
    """

    seconds: tuple[float, float] | None = None
    gap_ms: int | None = None
    held_ms: int | None = None
    ahead_ms: int | None = None


KINDS = ("event", "absent", "sound", "heard", "requests")
_EVENT_ONLY = ("within_ms", "not_before_ms", "since", "keep")


class Expectation(Section):
    """Something that has to be: one of `KINDS`. The others say more of an event."""

    event: str | None = None
    absent: str | None = None
    sound: Played | None = None
    heard: Heard | None = None
    requests: int | None = None

    fields: dict[str, Any] = Field(default={}, alias="with")
    status: str | None = None
    reason: str | None = None
    code: str | None = None
    text: str | None = None
    within_ms: int | None = Field(default=None, ge=0)
    not_before_ms: int | None = None
    since: Literal["turn", "sound", "previous"] | None = None
    keep: dict[str, str] = {}
    for_ms: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_kind(self) -> "Expectation":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"needs one of {', '.join(KINDS)}")
        if given == ["event"]:
            wrong = {"for_ms"} & self.model_fields_set
        else:
            wrong = set(_EVENT_ONLY) & self.model_fields_set
            if given != ["absent"]:
                wrong |= {
                    "fields",
                    "status",
                    "reason",
                    "code",
                    "text",
                    "for_ms",
                } & self.model_fields_set
        if wrong:
            raise ValueError(f"has '{sorted(wrong)[0]}', which means nothing with '{given[0]}'")
        return self


class Turn(Section):
    """A moment of the conversation: `client` events and the `user`'s sounds begin at once, events
    in `then` are sent when the sounds are over; the `model` answers what it is asked from here on.
    """

    after: After = After()
    user: Annotated[tuple[Sound, ...], BeforeValidator(_listed)] = ()
    client: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_listed)] = ()
    then: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_listed)] = ()
    model: Annotated[tuple[Answer, ...], BeforeValidator(_listed)] = ()
    expect: Annotated[tuple[Expectation, ...], BeforeValidator(_listed)] = ()


class Recogniser(Section):
    """How speech is understood: its final text comes `final_ms` after the end of the utterance, or
    a failure does."""

    final_ms: int = Field(default=100, ge=0)
    language: str = "en"
    fails: str | None = None


class Voice(Section):
    """How answers are spoken: each piece of `piece_ms` takes `effort` times as long to make, the
    first of a sentence `first_ms` more. Sentences are cut as its `language` has them."""

    language: str = "en"
    characters_per_second: float = Field(default=15.0, gt=0)
    piece_ms: int = Field(default=200, gt=0)
    first_ms: int = Field(default=80, ge=0)
    effort: float = Field(default=0.1, ge=0)
    fails: str | None = None


class Engines(Section):
    """What the conversation is held with."""

    recogniser: Recogniser = Recogniser()
    voice: Voice = Voice()


class Client(Section):
    """What the client does by itself: its loudspeaker falls silent when the user begins to speak,
    and where it `truncates`, it tells the server then how much was played."""

    truncates: bool = False
    pressed: bool = False
    """Whether its microphone sends nothing while nobody speaks."""


class Eval(Section):
    """One conversation. `session` is what the client sets before the first turn."""

    name: str = Field(min_length=8)
    session: dict[str, Any] = {}
    engines: Engines = Engines()
    client: Client = Client()
    turns: tuple[Turn, ...] = Field(min_length=1)


class Script:
    """An eval and where its parts are written."""

    def __init__(self, document: Document) -> None:
        self.eval = validate(Eval, document)
        self._document = document

    def place(self, turn: int, *path: str | int) -> str:
        """The file and the line of something in a turn, for messages."""
        return f"{self._document.file}:{self._document.line_of(('turns', turn, *path))}"


def load_script(path: Path) -> Script:
    """Read a file. Blocks; raises `ConfigError`."""
    return Script(load(path, {}, path.name))


def read_script(text: str, file: str = "eval.yaml") -> Script:
    """Read a text. Raises `ConfigError`."""
    return Script(read(text, file))
