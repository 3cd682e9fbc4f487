"""The settings of a transcription session: defaults, `session.update`, and what clients see.

What a session hears by (`audio.input`) is the same in a conversation session, and read here.

`null` turns off `turn_detection` (manual turns) and `noise_reduction`, and sets everything else
back to its default: a transcription session always transcribes, so `transcription: null` means the
server's default model without hints. `null` for `audio` or `audio.input` changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engines.audio import G711_RATE, HIGHEST_RATE, LOWEST_RATE, PCM_24K, AudioFormat, Encoding
from realtime.events import missing
from realtime.fields import Fields
from realtime.fields import SettingsError as SettingsError

PCM_RATES = (LOWEST_RATE, HIGHEST_RATE)
"""OpenAI knows 24 kHz only; other rates in this range are our extension."""
PADDING_MS = (0, 5_000)
SILENCE_MS = (20, 10_000)

SEMANTIC_SILENCE_MS: Mapping[str, int] = {"low": 1200, "medium": 700, "auto": 700, "high": 400}
"""Silence that ends a turn under semantic_vad, by eagerness."""
EAGERNESS = ("low", "medium", "high", "auto")
DELAYS = ("minimal", "low", "medium", "high", "xhigh")
LOGPROBS = "item.input_audio_transcription.logprobs"
INCLUDABLE = (LOGPROBS,)
NOISE_REDUCTIONS = ("near_field", "far_field")
TURN_DETECTIONS = ("server_vad", "semantic_vad")
IDLE_TIMEOUT_MS = (100, 600_000)

MAX_PROMPT = 16_384

_ENCODINGS: Mapping[str, Encoding] = {
    "audio/pcm": "pcm16",
    "audio/pcmu": "pcmu",
    "audio/pcma": "pcma",
}
_FORMAT_TYPES = {encoding: name for name, encoding in _ENCODINGS.items()}


@dataclass(frozen=True, slots=True)
class ServerVad:
    """Turns end after a fixed silence."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500


@dataclass(frozen=True, slots=True)
class SemanticVad:
    """Turns end after a silence chosen by eagerness (`SEMANTIC_SILENCE_MS`)."""

    eagerness: str = "auto"


@dataclass(frozen=True, slots=True)
class Transcription:
    """`model` None is the server's default. `languages` and `delay` are kept for the client to read
    back; no engine uses them."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    languages: tuple[str, ...] | None = None
    keywords: tuple[str, ...] | None = None
    delay: str | None = None


@dataclass(frozen=True, slots=True)
class NoiseReduction:
    """Kept for the client to read back."""

    type: str | None = None
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings of a transcription session."""

    default_model: str
    format: AudioFormat = PCM_24K
    transcription: Transcription = field(default=Transcription())
    turn_detection: ServerVad | SemanticVad | None = field(default=ServerVad())
    noise_reduction: NoiseReduction | None = None
    include: tuple[str, ...] | None = None

    @property
    def model(self) -> str:
        """The model in effect, as the client named it."""
        return self.transcription.model or self.default_model

    @property
    def logprobs(self) -> bool:
        """Whether transcripts come with the log-probabilities of their words."""
        return LOGPROBS in (self.include or ())


@dataclass(frozen=True, slots=True)
class Merged:
    """New settings, and the paths in the update that mean nothing here."""

    settings: Settings
    ignored: tuple[str, ...] = ()


def merge(current: Settings, patch: Mapping[str, Any]) -> Merged:
    """`current` with the keys that `patch` has; all of it or `SettingsError`."""
    session = Fields(patch, "session")
    check_type(session, "transcription")
    source = session.child("audio").child("input")
    settings = replace(read_input(source, current), include=read_include(session, current.include))
    _skip_responses(source, settings.turn_detection)
    return Merged(settings, tuple(session.unread()))


def read_input(source: Fields, current: Settings) -> Settings:
    """`current` with what an `audio.input` object has."""
    return replace(
        current,
        format=read_format(source, current.format),
        transcription=_transcription(source, current.transcription),
        turn_detection=_turn_detection(source, current.turn_detection),
        noise_reduction=_noise_reduction(source, current.noise_reduction),
    )


def read_include(session: Fields, current: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The outputs that a client wants beside the usual ones."""
    return session.strings("include", current, INCLUDABLE)


def echo(settings: Settings, session_id: str, expires_at: int) -> dict[str, Any]:
    """The whole effective session, as `session.created` and `session.updated` carry it.

    Hints that were never given are left out, since strict clients take no null for them.
    """
    return {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "id": session_id,
        "expires_at": expires_at,
        "include": None if settings.include is None else list(settings.include),
        "audio": {"input": input_echo(settings)},
    }


def input_echo(settings: Settings) -> dict[str, Any]:
    """What a session hears by, as clients see it."""
    return {
        "format": format_echo(settings.format),
        "transcription": _transcription_echo(settings),
        "noise_reduction": _noise_reduction_echo(settings.noise_reduction),
        "turn_detection": _turn_detection_echo(settings.turn_detection),
    }


def turn_settings(settings: Settings) -> Mapping[str, Any]:
    """What the voice-activity node is configured with: `mode` and, in seconds, the times."""
    detection = settings.turn_detection
    vad = ServerVad()
    if isinstance(detection, ServerVad):
        vad = detection
    elif isinstance(detection, SemanticVad):
        vad = replace(vad, silence_duration_ms=SEMANTIC_SILENCE_MS[detection.eagerness])
    return {
        "mode": "manual" if detection is None else "server",
        "threshold": vad.threshold,
        "prefix_padding": vad.prefix_padding_ms / 1000,
        "silence": vad.silence_duration_ms / 1000,
    }


def transcription_settings(settings: Settings) -> Mapping[str, Any]:
    """What the transcription node is configured with."""
    hints = settings.transcription
    return {
        "model": settings.model,
        "language": hints.language,
        "prompt": " ".join(filter(None, (", ".join(hints.keywords or ()), hints.prompt))),
        "word_times": settings.logprobs,
    }


def check_type(session: Fields, kind: Literal["realtime", "transcription"]) -> None:
    """The type of the session has to be named, and cannot be changed."""
    session.required("type")
    other = "realtime" if kind == "transcription" else "transcription"
    if session.value("type") == other:
        message = f"Passing a {other} session update event to a {kind} session is not allowed."
        raise session.error("type", message)
    session.choice("type", None, None, (kind,))


def read_format(source: Fields, current: AudioFormat) -> AudioFormat:
    """The audio format of an `audio.input` or `audio.output` object."""
    if source.is_null("format"):
        return PCM_24K
    fields = source.child("format")
    name = fields.choice("type", _FORMAT_TYPES[current.encoding], "audio/pcm", list(_ENCODINGS))
    encoding = _ENCODINGS[name]
    usual = PCM_24K.rate if encoding == "pcm16" else G711_RATE
    bounds = PCM_RATES if encoding == "pcm16" else (G711_RATE, G711_RATE)
    kept = current.rate if encoding == current.encoding else usual
    return AudioFormat(encoding, fields.integer("rate", kept, usual, bounds))


def _transcription(source: Fields, current: Transcription) -> Transcription:
    if source.is_null("transcription"):
        return Transcription()
    fields = source.child("transcription")
    return Transcription(
        model=fields.string("model", current.model, None) or None,
        language=fields.string("language", current.language, None) or None,
        prompt=fields.string("prompt", current.prompt, None, MAX_PROMPT),
        languages=fields.strings("languages", current.languages),
        keywords=fields.strings("keywords", current.keywords),
        delay=fields.choice("delay", current.delay, None, DELAYS),
    )


def _turn_detection(
    source: Fields, current: ServerVad | SemanticVad | None
) -> ServerVad | SemanticVad | None:
    if source.is_null("turn_detection"):
        return None
    if not source.has("turn_detection"):
        return current
    fields = source.child("turn_detection")
    kind = fields.choice("type", _detection_type(current), None, TURN_DETECTIONS)
    if kind is None:
        param = f"{fields.path}.type"
        raise SettingsError("missing_required_parameter", missing(param), param)
    if kind == "semantic_vad":
        kept = current.eagerness if isinstance(current, SemanticVad) else "auto"
        return SemanticVad(fields.choice("eagerness", kept, "auto", EAGERNESS))
    return _server_vad(fields, current if isinstance(current, ServerVad) else ServerVad())


def _skip_responses(source: Fields, detection: ServerVad | SemanticVad | None) -> None:
    """What turns mean for responses is checked, and means nothing where there are none."""
    if detection is not None and source.has("turn_detection"):
        fields = source.child("turn_detection")
        fields.boolean("create_response", True, True)
        fields.boolean("interrupt_response", True, True)
        if isinstance(detection, ServerVad):
            fields.integer("idle_timeout_ms", None, None, IDLE_TIMEOUT_MS)


def _server_vad(fields: Fields, vad: ServerVad) -> ServerVad:
    usual, padding, silence = ServerVad(), "prefix_padding_ms", "silence_duration_ms"
    return ServerVad(
        fields.number("threshold", vad.threshold, usual.threshold, (0, 1)),
        fields.integer(padding, vad.prefix_padding_ms, usual.prefix_padding_ms, PADDING_MS),
        fields.integer(silence, vad.silence_duration_ms, usual.silence_duration_ms, SILENCE_MS),
    )


def _detection_type(detection: ServerVad | SemanticVad | None) -> str | None:
    match detection:
        case ServerVad():
            return "server_vad"
        case SemanticVad():
            return "semantic_vad"
        case _:
            return None


def _noise_reduction(source: Fields, current: NoiseReduction | None) -> NoiseReduction | None:
    if source.is_null("noise_reduction"):
        return None
    if not source.has("noise_reduction"):
        return current
    fields = source.child("noise_reduction")
    kept = current or NoiseReduction()
    return NoiseReduction(
        type=fields.choice("type", kept.type, None, NOISE_REDUCTIONS),
        strength=fields.number("strength", kept.strength, 1.0, (0, 1)),
    )


def format_echo(format: AudioFormat) -> dict[str, Any]:
    """An audio format as clients see it."""
    name = _FORMAT_TYPES[format.encoding]
    return {"type": name, "rate": format.rate} if name == "audio/pcm" else {"type": name}


def _transcription_echo(settings: Settings) -> dict[str, Any]:
    hints = settings.transcription
    given = {
        "model": settings.model,
        "language": hints.language,
        "prompt": hints.prompt,
        "languages": hints.languages,
        "keywords": hints.keywords,
        "delay": hints.delay,
    }
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in given.items()
        if value is not None
    }


def _noise_reduction_echo(reduction: NoiseReduction | None) -> dict[str, Any] | None:
    if reduction is None:
        return None
    strength = {"strength": reduction.strength}
    return strength if reduction.type is None else {"type": reduction.type, **strength}


def _turn_detection_echo(detection: ServerVad | SemanticVad | None) -> dict[str, Any] | None:
    match detection:
        case ServerVad():
            return {
                "type": "server_vad",
                "threshold": detection.threshold,
                "prefix_padding_ms": detection.prefix_padding_ms,
                "silence_duration_ms": detection.silence_duration_ms,
            }
        case SemanticVad():
            return {"type": "semantic_vad", "eagerness": detection.eagerness}
        case _:
            return None
