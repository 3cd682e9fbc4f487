"""The settings of a transcription session: defaults, `session.update`, and what clients see.

`null` turns off `turn_detection` (manual turns) and `noise_reduction`, and sets everything else
back to its default: a transcription session always transcribes, so `transcription: null` means the
server's default model without hints. `null` for `audio` or `audio.input` changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from engines.audio import G711_RATE, HIGHEST_RATE, LOWEST_RATE, PCM_24K, AudioFormat, Encoding
from realtime.events import missing, not_supported, shown, wrong_type

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

MAX_NAME = 256
MAX_PROMPT = 16_384
MAX_LIST = 1_000

_ENCODINGS: Mapping[str, Encoding] = {
    "audio/pcm": "pcm16",
    "audio/pcmu": "pcmu",
    "audio/pcma": "pcma",
}
_FORMAT_TYPES = {encoding: name for name, encoding in _ENCODINGS.items()}


class SettingsError(Exception):
    """A `session.update` that cannot be applied; nothing of it was."""

    def __init__(self, code: str, message: str, param: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


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
    session = _Fields(patch, "session")
    _check_type(session)
    source = session.child("audio").child("input")
    settings = replace(
        current,
        format=_format(source, current.format),
        transcription=_transcription(source, current.transcription),
        turn_detection=_turn_detection(source, current.turn_detection),
        noise_reduction=_noise_reduction(source, current.noise_reduction),
        include=session.strings("include", current.include, INCLUDABLE),
    )
    return Merged(settings, tuple(session.unread()))


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
        "audio": {
            "input": {
                "format": _format_echo(settings.format),
                "transcription": _transcription_echo(settings),
                "noise_reduction": _noise_reduction_echo(settings.noise_reduction),
                "turn_detection": _turn_detection_echo(settings.turn_detection),
            }
        },
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


_T = TypeVar("_T")


class _Fields:
    """One object of a patch, read field by field; `unread` is what nobody asked for.

    In every reader an absent key gives `current` and a null gives `default`.
    """

    def __init__(self, values: object, path: str) -> None:
        if not isinstance(values, Mapping):
            raise SettingsError("invalid_value", wrong_type(path, "an object", values), path)
        self.path = path
        self._values = values
        self._read: set[str] = set()
        self._children: list[_Fields] = []

    def has(self, key: str) -> bool:
        return key in self._values

    def is_null(self, key: str) -> bool:
        """Whether `key` is there and null; then it has been read."""
        null = key in self._values and self._values[key] is None
        if null:
            self._read.add(key)
        return null

    def child(self, key: str) -> "_Fields":
        """The object at `key`, empty if it is absent or null."""
        value = self._take(key)
        child = _Fields({} if value is None else value, self._at(key))
        self._children.append(child)
        return child

    def string(self, key: str, current: _T, default: _T, longest: int = MAX_NAME) -> str | _T:
        if not self.has(key):
            return current
        value = self._take(key)
        return default if value is None else self._text(value, self._at(key), longest)

    def choice(self, key: str, current: _T, default: _T, choices: Sequence[str]) -> str | _T:
        value = self.string(key, current, default)
        if self._values.get(key) is not None and value not in choices:
            raise self._error(key, not_supported(value, choices))
        return value

    def strings(
        self, key: str, current: tuple[str, ...] | None, choices: Sequence[str] = ()
    ) -> tuple[str, ...] | None:
        """A list of strings; null is None."""
        if not self.has(key):
            return current
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self._error(key, wrong_type(self._at(key), "an array", value))
        if len(value) > MAX_LIST:
            raise self._error(key, f"Invalid '{self._at(key)}': more than {MAX_LIST} entries.")
        texts = [self._text(v, f"{self._at(key)}[{i}]", MAX_NAME) for i, v in enumerate(value)]
        for i, text in enumerate(texts):
            if choices and text not in choices:
                raise self._error(f"{key}[{i}]", not_supported(text, choices))
        return tuple(texts)

    def integer(self, key: str, current: int, default: int, bounds: tuple[int, int]) -> int:
        value = self._values.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self._error(key, wrong_type(self._at(key), "an integer", value))
        return int(self.number(key, current, default, bounds))

    def number(
        self, key: str, current: float, default: float, bounds: tuple[float, float]
    ) -> float:
        if not self.has(key):
            return current
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(key, wrong_type(self._at(key), "a number", value))
        low, high = bounds
        if not low <= value <= high:
            expected = f"Expected a value between {low} and {high}."
            raise self._error(key, f"Invalid value: {shown(value)}. {expected}")
        return value

    def flag(self, key: str) -> None:
        """A boolean that is accepted and has no effect here."""
        value = self._take(key)
        if value is not None and not isinstance(value, bool):
            raise self._error(key, wrong_type(self._at(key), "a boolean", value))

    def unread(self) -> list[str]:
        """At most a few paths of keys that no reader asked for, children's after one's own."""
        paths = [self._at(key[:64]) for key in self._values if key not in self._read]
        for child in self._children:
            paths += child.unread()
        return paths[:32]

    def _take(self, key: str) -> Any:
        self._read.add(key)
        return self._values.get(key)

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}"

    def _error(self, key: str, message: str) -> SettingsError:
        return SettingsError("invalid_value", message, self._at(key))

    def _text(self, value: object, path: str, longest: int) -> str:
        if not isinstance(value, str):
            raise SettingsError("invalid_value", wrong_type(path, "a string", value), path)
        if len(value) > longest:
            long = f"Invalid '{path}': longer than {longest} characters."
            raise SettingsError("invalid_value", long, path)
        return value


def _check_type(session: _Fields) -> None:
    if not session.has("type") or session.is_null("type"):
        raise SettingsError("missing_required_parameter", missing("session.type"), "session.type")
    if session.string("type", None, None) == "realtime":
        raise SettingsError(
            "invalid_value",
            "Passing a realtime session update event to a transcription session is not allowed.",
            "session.type",
        )
    session.choice("type", None, None, ("transcription",))


def _format(source: _Fields, current: AudioFormat) -> AudioFormat:
    if source.is_null("format"):
        return PCM_24K
    fields = source.child("format")
    name = fields.choice("type", _FORMAT_TYPES[current.encoding], "audio/pcm", list(_ENCODINGS))
    encoding = _ENCODINGS[name]
    usual = PCM_24K.rate if encoding == "pcm16" else G711_RATE
    bounds = PCM_RATES if encoding == "pcm16" else (G711_RATE, G711_RATE)
    kept = current.rate if encoding == current.encoding else usual
    return AudioFormat(encoding, fields.integer("rate", kept, usual, bounds))


def _transcription(source: _Fields, current: Transcription) -> Transcription:
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
    source: _Fields, current: ServerVad | SemanticVad | None
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
    fields.flag("create_response")
    fields.flag("interrupt_response")
    if kind == "semantic_vad":
        kept = current.eagerness if isinstance(current, SemanticVad) else "auto"
        return SemanticVad(fields.choice("eagerness", kept, "auto", EAGERNESS))
    fields.integer("idle_timeout_ms", 0, 0, (0, 24 * 3_600_000))
    return _server_vad(fields, current if isinstance(current, ServerVad) else ServerVad())


def _server_vad(fields: _Fields, vad: ServerVad) -> ServerVad:
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


def _noise_reduction(source: _Fields, current: NoiseReduction | None) -> NoiseReduction | None:
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


def _format_echo(format: AudioFormat) -> dict[str, Any]:
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
