"""What a conversation consists of: messages, and calls of functions with their results."""

from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]
Status = Literal["in_progress", "completed", "incomplete"]
Detail = Literal["auto", "low", "high"]


@dataclass(slots=True)
class InputText:
    """Something written by the user or the system."""

    text: str


@dataclass(slots=True)
class InputAudio:
    """Something said by the user.

    `transcript` None: not known, or not yet. `samples`: its length at the session's `SAMPLE_RATE`,
    0 where nobody has measured it. `audio` is the client's own, as bytes in the session's input
    format, and empty for speech that the session heard.
    """

    transcript: str | None = None
    samples: int = 0
    audio: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class InputImage:
    """A picture that the user shows; `url` is a data URI."""

    url: str = field(repr=False)
    detail: Detail = "auto"


@dataclass(slots=True)
class OutputText:
    """Something that the assistant wrote."""

    text: str = ""


@dataclass(slots=True)
class OutputAudio:
    """Something that the assistant said; `transcript` is what the listener can have heard of it,
    where it was interrupted."""

    transcript: str = ""


Part = InputText | InputAudio | InputImage | OutputText | OutputAudio


@dataclass(slots=True)
class Message:
    """What one side said, in parts."""

    id: str
    role: Role
    content: list[Part] = field(default_factory=list)
    status: Status = "completed"


@dataclass(slots=True)
class FunctionCall:
    """The assistant wants a function to be called; `arguments` is JSON as text, in pieces until
    the call is complete."""

    id: str
    call_id: str
    name: str
    arguments: str = ""
    status: Status = "completed"


@dataclass(slots=True)
class FunctionCallOutput:
    """What the function that `call_id` names gave back."""

    id: str
    call_id: str
    output: str
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class Reference:
    """An item of the conversation, by its id, where a response is given other items to answer."""

    id: str


Item = Message | FunctionCall | FunctionCallOutput
