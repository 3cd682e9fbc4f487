"""The settings of a conversation session: what it hears by, and how it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from realtime.answering import (
    TEMPERATURES,
    Answering,
    Modality,
    ResponseRequest,
    answering_echo,
    output_echo,
    override,
    read_answering,
    read_prompt,
)
from realtime.events import not_supported
from realtime.fields import Fields
from realtime.settings import (
    IDLE_TIMEOUT_MS,
    SemanticVad,
    ServerVad,
    Settings,
    check_type,
    input_echo,
    read_include,
    read_input,
    transcription_settings,
    turn_settings,
)

__all__ = [
    "Answering",
    "ConversationSettings",
    "MergedConversation",
    "Modality",
    "ResponseRequest",
    "Truncation",
    "TurnTaking",
    "conversation_transcription_settings",
    "conversation_turn_settings",
    "echo_conversation",
    "merge_conversation",
    "override",
]

EXTENSIONS = "antiphon"
"""The key of a session under which our own extensions are."""
LEAD_MS = (20, 5_000)
CONFIRM_MS = (0, 5_000)
RETENTIONS = (0.0, 1.0)
POST_INSTRUCTIONS = (0, 2**31 - 1)


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

    `called` is the client's own name for the model, if it gave one, and what it is told again.
    `input.transcription` is what utterances are understood with, also where `transcripts` says
    that the client is not told them. `lead_ms` None: sound is sent as it is made; else no more than
    so much of it before it can have been heard. `kept` is what clients may read back as they wrote
    it, by its key in the session.
    """

    model: str
    input: Settings
    transcripts: bool = False
    answering: Answering = field(default=Answering())
    turns: TurnTaking = field(default=TurnTaking())
    truncation: Truncation = field(default=Truncation())
    lead_ms: int | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)
    called: str | None = None


@dataclass(frozen=True, slots=True)
class MergedConversation:
    """New settings, and the paths in the update that mean nothing here."""

    settings: ConversationSettings
    ignored: tuple[str, ...] = ()


def merge_conversation(
    current: ConversationSettings, patch: Mapping[str, Any]
) -> MergedConversation:
    """`current` with the keys that `patch` has; all of it or `SettingsError`.

    A session keeps its model, whichever the patch names. Whether there is a voice or a
    transcription model of some name is not checked.
    """
    session = Fields(patch, "session")
    check_type(session, "realtime")
    session.string("model", None, None)
    source = session.child("audio").child("input")
    include = read_include(session, current.input.include)
    heard = replace(read_input(source, current.input), include=include)
    told = source.has("transcription")
    kept = _kept(session, current.kept)
    settings = replace(
        current,
        input=heard,
        transcripts=not source.is_null("transcription") if told else current.transcripts,
        answering=read_answering(session, current.answering),
        turns=_turns(source, current, heard),
        truncation=_truncation(session, current.truncation, kept.get("truncation", {})),
        kept=kept,
    )
    return MergedConversation(_extended(session, settings), tuple(session.unread()))


def echo_conversation(
    settings: ConversationSettings, session_id: str, expires_at: int, *, voice: str
) -> dict[str, Any]:
    """The whole effective session, as `session.created` and `session.updated` carry it; `voice` is
    the default voice's name.

    What was never set and has no default is left out, since strict clients take no null for it.
    """
    source = input_echo(settings.input)
    if not settings.transcripts:
        source["transcription"] = None
    if source["turn_detection"] is not None:
        source["turn_detection"] |= _turns_echo(settings)
    session = {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "expires_at": expires_at,
        "model": settings.called or settings.model,
        **answering_echo(settings.answering),
        "truncation": settings.truncation.mode,
        "audio": {"input": source, "output": output_echo(settings.answering, voice)},
        **settings.kept,
    }
    if settings.input.include is not None:
        session["include"] = list(settings.input.include)
    return session


def conversation_turn_settings(settings: ConversationSettings) -> Mapping[str, Any]:
    """What the voice-activity node is configured with; times in seconds."""
    turns = settings.turns
    detection = settings.input.turn_detection
    idle = turns.idle_timeout_ms if isinstance(detection, ServerVad) else None
    return {
        **turn_settings(settings.input),
        "interrupt": turns.interrupt_response,
        "confirm_speaking": turns.confirm_speaking_ms / 1000,
        "confirm_thinking": turns.confirm_thinking_ms / 1000,
        "idle_timeout": None if idle is None else idle / 1000,
        "eagerness": detection.eagerness if isinstance(detection, SemanticVad) else None,
    }


def conversation_transcription_settings(settings: ConversationSettings) -> Mapping[str, Any]:
    """What the transcription node is configured with."""
    return transcription_settings(settings.input)


def _turns(source: Fields, current: ConversationSettings, heard: Settings) -> TurnTaking:
    """What turns lead to. Another type of turn detection starts from the defaults."""
    detection, turns = heard.turn_detection, current.turns
    if type(detection) is not type(current.input.turn_detection):
        turns = replace(turns, create_response=True, interrupt_response=True, idle_timeout_ms=None)
    if detection is None or not source.has("turn_detection"):
        return turns
    fields = source.child("turn_detection")
    idle = None
    if isinstance(detection, ServerVad):
        idle = fields.integer("idle_timeout_ms", turns.idle_timeout_ms, None, IDLE_TIMEOUT_MS)
    return replace(
        turns,
        create_response=fields.boolean("create_response", turns.create_response, True),
        interrupt_response=fields.boolean("interrupt_response", turns.interrupt_response, True),
        idle_timeout_ms=idle,
    )


def _turns_echo(settings: ConversationSettings) -> dict[str, Any]:
    turns = settings.turns
    echoed: dict[str, Any] = {
        "create_response": turns.create_response,
        "interrupt_response": turns.interrupt_response,
    }
    if turns.idle_timeout_ms is not None:
        echoed["idle_timeout_ms"] = turns.idle_timeout_ms
    return echoed


def _truncation(session: Fields, current: Truncation, written: Mapping[str, Any]) -> Truncation:
    match session.value("truncation"):
        case None:
            return Truncation() if session.has("truncation") else current
        case "auto":
            return Truncation()
        case "disabled":
            return Truncation("disabled")
        case str(mode):
            raise session.error("truncation", not_supported(mode, ("auto", "disabled")))
        case _:
            return Truncation(retention=written["retention_ratio"])


def _written_truncation(session: Fields) -> dict[str, Any] | None:
    """A truncation in the form that says more than a word does."""
    if isinstance(session.value("truncation"), str | None):
        return None
    fields = session.child("truncation")
    kind = fields.text("type")
    if kind != "retention_ratio":
        raise fields.error("type", not_supported(kind, ("retention_ratio",)))
    fields.required("retention_ratio")
    ratio = fields.number("retention_ratio", 1.0, 1.0, RETENTIONS)
    if ratio == 0:
        message = "Invalid value: 0. Expected a value above 0, up to 1."
        raise fields.error("retention_ratio", message)
    limits = fields.child("token_limits")
    most = limits.integer("post_instructions", None, None, POST_INSTRUCTIONS)
    written = {"type": kind, "retention_ratio": ratio}
    return written if most is None else written | {"token_limits": {"post_instructions": most}}


def _kept(session: Fields, current: Mapping[str, Any]) -> dict[str, Any]:
    """What clients may read back as they wrote it; null takes it away."""
    kept = dict(current)
    for key, read in _KEPT.items():
        if session.has(key):
            value = read(session)
            kept.pop(key, None)
            if value is not None:
                kept[key] = value
    return kept


def _tracing(session: Fields) -> str | dict[str, Any] | None:
    value = session.value("tracing")
    if value is None:
        return None
    if value == "auto":
        return "auto"
    if isinstance(value, str):
        raise session.error("tracing", not_supported(value, ("auto",)))
    tracing = session.child("tracing")
    given = {
        "workflow_name": tracing.string("workflow_name", None, None),
        "group_id": tracing.string("group_id", None, None),
        "metadata": tracing.json("metadata"),
    }
    return {key: value for key, value in given.items() if value is not None}


def _temperature(session: Fields) -> float | None:
    return session.number("temperature", None, None, TEMPERATURES)


_KEPT: Mapping[str, Callable[[Fields], Any]] = {
    "tracing": _tracing,
    "prompt": read_prompt,
    "truncation": _written_truncation,
    "temperature": _temperature,
}


def _extended(session: Fields, settings: ConversationSettings) -> ConversationSettings:
    """`settings` with our own extensions of the session; those that a client has set are echoed."""
    if not session.has(EXTENSIONS):
        return settings
    shown = dict(settings.kept.get(EXTENSIONS, {}))
    fields = session.child(EXTENSIONS)
    if session.is_null(EXTENSIONS):
        fields = Fields(dict.fromkeys(shown), fields.path)
    turns, usual = settings.turns, TurnTaking()
    speaking, thinking = turns.confirm_speaking_ms, turns.confirm_thinking_ms
    values: dict[str, Any] = {
        "lead_ms": fields.integer("lead_ms", settings.lead_ms, None, LEAD_MS),
        "confirm_speaking_ms": fields.integer(
            "confirm_speaking_ms", speaking, usual.confirm_speaking_ms, CONFIRM_MS
        ),
        "confirm_thinking_ms": fields.integer(
            "confirm_thinking_ms", thinking, usual.confirm_thinking_ms, CONFIRM_MS
        ),
        "preemptive": fields.boolean("preemptive", turns.preemptive, usual.preemptive),
        "temperature": fields.number(
            "temperature", settings.answering.temperature, None, TEMPERATURES
        ),
    }
    for key, value in values.items():
        if fields.is_null(key):
            shown.pop(key, None)
        elif fields.has(key):
            shown[key] = value
    kept = {key: value for key, value in settings.kept.items() if key != EXTENSIONS}
    lead_ms, temperature = values.pop("lead_ms"), values.pop("temperature")
    return replace(
        settings,
        lead_ms=lead_ms,
        turns=replace(turns, **values),
        answering=replace(settings.answering, temperature=temperature),
        kept=kept | ({EXTENSIONS: shown} if shown else {}),
    )
