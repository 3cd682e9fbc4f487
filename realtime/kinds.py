"""The two kinds of sessions: the settings they begin with, their pipeline and their protocol."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engines.audio import Decoder
from engines.base import JobClass
from engines.models import ModelStore
from engines.recognition import RecognitionOptions
from engines.voices import Voices
from pipelines.floor import Floor
from pipelines.loader import Plan
from realtime.config import Configuration
from realtime.conversation_settings import (
    Answering,
    ConversationSettings,
    TurnTaking,
    echo_conversation,
    merge_conversation,
)
from realtime.conversing import ConversationProtocol
from realtime.language import LanguageModels
from realtime.opening import Opening, language_model
from realtime.protocol import ProtocolSettings, RealtimeProtocol
from realtime.retention import RetainedAudio
from realtime.session import SessionProtocol
from realtime.settings import Settings, Transcription, echo, merge
from realtime.surroundings import Surroundings, Terms


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that is being opened: its id, and what it keeps."""

    id: str
    opening: Opening
    retained: RetainedAudio
    floor: Floor


class SessionKind(Protocol):
    """One of the two."""

    plan: Plan
    hearing: JobClass
    """How urgent it is to know whether somebody speaks."""

    def protocol(self, opened: Opened) -> SessionProtocol:
        """The protocol of a new session."""
        ...

    async def warm(self, opened: Opened) -> None:
        """Have the session's models in memory before its first turn ends. Raises `EngineError`."""
        ...

    def describe(
        self, patch: Mapping[str, Any], session_id: str, expires_at: int
    ) -> dict[str, Any]:
        """The effective session that `patch` makes, as `session.created` would carry it.

        Raises `SettingsError` and `EngineError`.
        """
        ...


class TranscriptionSessions:
    """Sessions that write down what is said."""

    hearing = JobClass.PARTIAL

    def __init__(
        self,
        configuration: Configuration,
        plan: Plan,
        models: ModelStore,
        new_id: Callable[[str], str],
    ) -> None:
        self.plan = plan
        self._configuration = configuration
        self._models = models
        self._new_id = new_id

    def protocol(self, opened: Opened) -> SessionProtocol:
        limits = self._configuration.limits
        settings = self._begin(opened.opening.model)
        if opened.opening.patch is not None:
            settings = merge(settings, opened.opening.patch).settings
        terms = ProtocolSettings(
            session_id=opened.id,
            expires_at=round(time.time() + limits.session_seconds),
            max_seconds=round(limits.session_seconds),
            settings=settings,
            tentative=opened.opening.tentative,
        )
        return RealtimeProtocol(
            terms,
            new_id=self._new_id,
            check_model=self.check_model,
            decoder=Decoder,
            audio_of=opened.retained.audio_of,
        )

    def describe(
        self, patch: Mapping[str, Any], session_id: str, expires_at: int
    ) -> dict[str, Any]:
        default = self._models.catalogue.default_transcription().name
        settings = merge(self._begin(default), patch).settings
        self.check_model(settings.model, settings.transcription.language)
        return echo(settings, session_id, expires_at)

    async def warm(self, opened: Opened) -> None:
        await self._models.recogniser(opened.opening.model)

    def check_model(self, model: str, language: str | None) -> None:
        """Raise `EngineError` when a model cannot transcribe this language."""
        self._models.check(model, RecognitionOptions(language=language))

    def _begin(self, model: str) -> Settings:
        language = self._configuration.defaults.language
        return Settings(model, transcription=Transcription(language=language))


class ConversationSessions:
    """Sessions that listen and answer."""

    hearing = JobClass.FINAL

    def __init__(
        self,
        configuration: Configuration,
        plan: Plan,
        models: ModelStore,
        language: LanguageModels,
        voices: Voices,
        *,
        new_id: Callable[[str], str],
    ) -> None:
        self.plan = plan
        self._configuration = configuration
        self._models = models
        self._language = language
        self._voices = voices
        self._new_id = new_id

    def protocol(self, opened: Opened) -> SessionProtocol:
        limits = self._configuration.limits
        model = opened.opening.model
        settings = self._begin(model, opened.opening.called)
        if opened.opening.patch is not None:
            settings = merge_conversation(settings, opened.opening.patch).settings
        terms = Terms(
            session_id=opened.id,
            expires_at=round(time.time() + limits.session_seconds),
            max_seconds=round(limits.session_seconds),
            settings=settings,
            voice=self._default_voice,
            tentative=opened.opening.tentative,
        )
        surroundings = Surroundings(
            new_id=self._new_id,
            decoder=Decoder,
            check_model=self._check_model,
            check_voice=lambda voice: self._voices.resolve(voice).language,
            local=not self._language.sees(model),
            audio_of=opened.retained.audio_of,
            heard=opened.floor.heard,
        )
        return ConversationProtocol(terms, surroundings)

    def describe(
        self, patch: Mapping[str, Any], session_id: str, expires_at: int
    ) -> dict[str, Any]:
        written = patch.get("model")
        called = written if isinstance(written, str) else None
        model = language_model(called)
        self._language.check(model, "chat")
        settings = merge_conversation(self._begin(model, called), patch).settings
        self._check_model(settings.input.model, settings.input.transcription.language)
        if settings.answering.voice is not None:
            self._voices.resolve(settings.answering.voice)
        return echo_conversation(settings, session_id, expires_at, voice=self._default_voice)

    async def warm(self, opened: Opened) -> None:
        await self._models.recogniser("default")
        await self._models.speech(self._voices.resolve(self._default_voice).model)
        await self._language.warm(opened.opening.model)

    @property
    def _default_voice(self) -> str:
        return self._configuration.defaults.voice or "alloy"

    def _check_model(self, model: str, language: str | None) -> None:
        self._models.check(model, RecognitionOptions(language=language))

    def _begin(self, model: str, called: str | None) -> ConversationSettings:
        usual = self._configuration.conversation
        heard_with = self._models.catalogue.default_transcription().name
        language = self._configuration.defaults.language
        return ConversationSettings(
            model,
            Settings(heard_with, transcription=Transcription(language=language)),
            answering=Answering(instructions=usual.instructions),
            turns=TurnTaking(
                confirm_speaking_ms=usual.confirm_speaking_ms,
                confirm_thinking_ms=usual.confirm_thinking_ms,
                preemptive=usual.preemptive,
            ),
            lead_ms=usual.lead_ms,
            called=called,
        )
