"""The frames that flow through a pipeline.

Positions (`at`) count samples at `SAMPLE_RATE` from the first sample the session ever received:
the session's one audio clock, never wall time. `item` names the utterance a frame belongs to, and
is the id that clients see. Frames are immutable; a node that changes one sends a new one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from engines.generation import Generate, Usage
from engines.recognition import SAMPLE_RATE, Samples, Word
from engines.synthesis import Mark

__all__ = ["SAMPLE_RATE", "Mark", "Samples", "Word"]


@dataclass(frozen=True, slots=True)
class Frame:
    """What every frame is. An `urgent` frame overtakes others in an inbox; a `droppable` one may
    be left out when a receiver is behind."""

    urgent: ClassVar[bool] = False
    droppable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Audio(Frame):
    """Sound from the client: float32 mono; `at` is the position of its first sample.

    Before the voice-activity node `item` is None; after it, audio belongs to an utterance.
    """

    samples: Samples
    at: int
    item: str | None = None

    @property
    def end(self) -> int:
        return self.at + len(self.samples)


@dataclass(frozen=True, slots=True)
class SpeechStarted(Frame):
    """Somebody began to speak; `at` includes the prefix padding."""

    item: str
    at: int


@dataclass(frozen=True, slots=True)
class Pause(Frame):
    """The speaker has been silent for a moment, until `at`: the utterance may be over.

    With `resumed` it is not: after such a pause, speech goes on at `at`. Either comes between the
    audio before `at` and the audio after it. `voiced`: seconds of speech until now, where known.
    """

    item: str
    at: int
    resumed: bool = False
    voiced: float | None = None


@dataclass(frozen=True, slots=True)
class SpeechStopped(Frame):
    """The speaker fell silent; `at` includes the silence that proved it."""

    item: str
    at: int


@dataclass(frozen=True, slots=True)
class Commit(Frame):
    """An utterance is complete. From a client `item` is None: it asks for what is buffered.

    `start` and `at` bound the utterance. `request` is the id of the client event that asked, if
    one did and named itself. `voiced`: seconds of speech in it, where voice activity ended it.
    """

    item: str | None = None
    start: int = 0
    at: int = 0
    request: str | None = None
    voiced: float | None = None


@dataclass(frozen=True, slots=True)
class Clear(Frame):
    """Forget the audio that was not committed; `item` is the utterance that ends unheard."""

    item: str | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True)
class Transcript(Frame):
    """Text of an utterance.

    committed: `text` is appended to what was committed before (it brings its own leading space).
    tentative: `text` is everything after the committed text, and replaces the last tentative.
    final: `text` is the whole utterance, authoritative. `words` have times in seconds of session
    audio; `start` and `end` bound the utterance in samples.
    """

    item: str
    text: str
    state: Literal["committed", "tentative", "final"]
    words: tuple[Word, ...] = ()
    language: str | None = None
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Hold(Frame):
    """Somebody may be speaking over the answer, from `at` on: send no more of its sound.

    With `over` they were not: it goes on where it stopped. Speech that is confirmed ends a hold by
    `SpeechStarted`.
    """

    at: int
    over: bool = False


@dataclass(frozen=True, slots=True)
class IdleTimeout(Frame):
    """Nobody has spoken for as long as was agreed; `Commit` of the silent `item` follows."""

    item: str
    start: int
    at: int


@dataclass(frozen=True, slots=True)
class Respond(Frame):
    """Make an answer: `request` goes to the language model of this name.

    With `spoken`, its text is said by `voice` at `speed`; `language` is the voice's, where that is
    known. A `provisional` one is only made ready:
    the same request without it may follow, and is answered with what was made meanwhile; any other
    makes it void.
    """

    urgent: ClassVar[bool] = True
    response: str
    model: str
    request: Generate
    spoken: bool = False
    voice: str | None = None
    speed: float = 1.0
    language: str | None = None
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class Text(Frame):
    """A piece of an answer's text."""

    response: str
    item: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall(Frame):
    """More of a function call that the model wants: another piece of its `arguments` (JSON).

    The first of each item has none; the one that is `complete` is the last.
    """

    response: str
    item: str
    call: str
    name: str
    arguments: str = ""
    complete: bool = False


@dataclass(frozen=True, slots=True)
class AudioOut(Frame):
    """A piece of a spoken item: float32 mono at `rate`.

    `marks` count characters of the item's text (its `Text` pieces joined) and seconds of the
    item's sound, both from its beginning.
    """

    response: str
    item: str
    samples: Samples
    rate: int
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered(Frame):
    """All of a response has been made, and, where it is spoken, its sound sent before this.

    `reason` is `stop`, `length` (the limit of tokens), or `failed`, with `code` and `message`.
    """

    response: str
    reason: Literal["stop", "length", "failed"] = "stop"
    usage: Usage | None = None
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Document(Frame):
    """Anything structured that a node produces, such as minutes of a meeting."""

    kind: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Configure(Frame):
    """New settings for the node of this name, in effect from here on in the stream."""

    node: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interrupt(Frame):
    """Everything that belongs to this response is over (None: to any response)."""

    urgent: ClassVar[bool] = True
    response: str | None = None


@dataclass(frozen=True, slots=True)
class End(Frame):
    """No more will come: finish what is open, then pass this on."""


@dataclass(frozen=True, slots=True)
class Metrics(Frame):
    """A measurement worth showing beside the transcript, by name."""

    droppable: ClassVar[bool] = True
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Error(Frame):
    """Something failed; the stream goes on. With `item`, the transcription of that item failed."""

    code: str
    message: str
    item: str | None = None
    request: str | None = None
    kind: str = "invalid_request_error"
    """The error's type in OpenAI's terms: `invalid_request_error` or `server_error`."""
    cause: Exception | None = field(default=None, compare=False)
    """The error itself, for who answers in other terms."""


HEARD: tuple[type[Frame], ...] = (
    *(Transcript, SpeechStarted, Pause, SpeechStopped, Hold, IdleTimeout),
    *(Commit, Clear, Configure, End, Error),
)
"""What comes of hearing; the nodes that answer pass it on as it comes."""
