"""The settings of a conversation session: what it hears by, and how it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engines.audio import PCM_24K, AudioFormat
from engines.generation import Tool, ToolChoice
from realtime.settings import Settings

Modality = Literal["audio", "text"]


@dataclass(frozen=True, slots=True)
class Answering:
    """How responses are made; a response may differ from its session in any of it.

    `voice` None is the server's default voice, `max_output_tokens` None no limit, `temperature`
    None the model's default.
    """

    instructions: str = ""
    modality: Modality = "audio"
    format: AudioFormat = PCM_24K
    voice: str | None = None
    speed: float = 1.0
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    max_output_tokens: int | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None


@dataclass(frozen=True, slots=True)
class TurnTaking:
    """What turn detection does beside finding turns; times in milliseconds.

    `confirm_speaking_ms` and `confirm_thinking_ms` are how long speech over an answer that is
    heard, or that is still being made, must last to interrupt it.
    """

    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: int | None = None
    confirm_speaking_ms: int = 300
    confirm_thinking_ms: int = 150
    preemptive: bool = False
    """Begin to answer what was understood so far when the speaker pauses."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """What happens to a conversation that is too long for the model. `retention`: the share of the
    room for the prompt that is kept when something has to be left out."""

    mode: Literal["auto", "disabled"] = "auto"
    retention: float = 1.0


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """The effective settings of a conversation session.

    `input.transcription` is what utterances are understood with, also where `transcripts` says
    that the client is not told them. `lead_ms` None: sound is sent as it is made; else no more than
    so much of it before it can have been heard. `kept` is what clients may read back and has no
    effect here (`tracing`, `prompt`).
    """

    model: str
    input: Settings
    transcripts: bool = False
    answering: Answering = Answering()
    turns: TurnTaking = TurnTaking()
    truncation: Truncation = Truncation()
    lead_ms: int | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """What `response.create` asked for, beside what the session has.

    `input` None: the conversation is what is answered; else these items (as the client wrote them)
    are. `in_conversation` False: the answer stays outside of it.
    """

    answering: Answering
    in_conversation: bool = True
    input: tuple[Mapping[str, Any], ...] | None = None
    metadata: Mapping[str, str] | None = None
