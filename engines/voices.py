"""Voices by name, whichever model has them."""

import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from pydantic import BaseModel, ConfigDict, Field

from engines.base import EngineError, InvalidInput, JobClass, ModelNotFound
from engines.catalogue import SPEECH_NAMES, ModelRecord
from engines.known_models import find_known
from engines.models import ENGINES, ModelStore
from engines.strict_yaml import nearest
from engines.synthesis import SPEEDS, Say, Spoken, Voice

log = logging.getLogger(__name__)

_ESPEAK = {
    "alloy": "en-us+f2",
    "ash": "en-us+m1",
    "ballad": "en-gb-x-rp+m2",
    "cedar": "en-us+m7",
    "coral": "en-us+f1",
    "echo": "en-us+m3",
    "fable": "en-gb-x-rp+m4",
    "marin": "en-us+linda",
    "nova": "en-us+f3",
    "onyx": "en-us+m5",
    "sage": "en-us+f4",
    "shimmer": "en-us+f5",
    "verse": "en-us+m6",
}
"""What stands in for OpenAI's voices where only espeak is here."""

OPENAI_VOICES = tuple(_ESPEAK)
"""Names that clients of OpenAI's API ask for; they mean voices of the default model."""


class VoiceRecord(BaseModel):
    """A voice that the owner named: what the configuration's `voices:` says of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: str | None = Field(default=None, min_length=1)
    """A model that speaks; None: the default one."""
    voice: str | None = Field(default=None, min_length=1)
    """One of the model's voices or speakers; None: its first."""
    speed: float = Field(default=1.0, ge=SPEEDS[0], le=SPEEDS[1])


@dataclass(frozen=True, slots=True)
class VoiceEntry:
    """A voice as lists show it. `voice` is what its `model` calls it, `name` what clients can."""

    name: str
    model: str
    voice: str | None
    language: str | None
    description: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a name of a voice means: a model, its voice (None: its first), how fast, and the tag of
    the language that it speaks, where the model knows it."""

    model: str
    voice: str | None = None
    speed: float = 1.0
    language: str | None = field(default=None, compare=False)


class Voices:
    """The voices of all models that speak, and those that the owner named.

    `default` is the name of the voice for requests that name neither a voice nor a model.
    Constructing one reads the models' files, so it is done off the event loop.
    """

    def __init__(
        self,
        store: ModelStore,
        configured: Mapping[str, VoiceRecord] | None = None,
        default: str | None = None,
    ) -> None:
        self._store = store
        self._configured = dict(configured or {})
        self._default = default
        self._voices: dict[str, tuple[Voice, ...]] = {}
        self._records = list(self._read())

    def names(self) -> list[VoiceEntry]:
        """Those the owner named, then those of each model, the default one's first.

        Variants of espeak's voices (`en-us+f3`) and OpenAI's names are understood, not listed.
        """
        return [*self._named(), *(entry for r in self._records for entry in self._of(r))]

    def problems(self) -> list[str]:
        """A sentence for each name in the configuration that means nothing."""
        found = []
        for name in (*self._configured, *filter(None, [self._default])):
            try:
                self.resolve(name)
            except EngineError as error:
                found.append(f"The voice '{name}' cannot be used. {error}")
        return list(dict.fromkeys(found))

    def resolve(self, voice: str | None, model: str | None = None) -> Chosen:
        """What `voice` means, in this order: one that the owner named; one of the model's;
        `MODEL:VOICE` or a model's own name; one of espeak's; one of OpenAI's.

        `model` None, or one of OpenAI's names, is any model. Raises `InvalidInput` (its `param` is
        `voice`) with the nearest name, also for a voice of another model than the one asked for,
        and `ModelNotFound` or `Unsupported` for the model.
        """
        chosen = self._resolve(voice, model)
        return replace(chosen, language=self._language(chosen))

    def _resolve(self, voice: str | None, model: str | None) -> Chosen:
        any_model = model is None or model in SPEECH_NAMES
        record = self._store.catalogue.resolve_speech(model or "default")
        if voice is None:
            if any_model and self._default is not None:
                return self._resolve(self._default, None)
            return Chosen(record.name)
        found = self._find(voice, record)
        if found is None:
            raise self._unknown(voice)
        if not any_model and found.model != record.name:
            raise InvalidInput(
                f"The voice '{voice}' is one of the model '{found.model}', not of '{record.name}'.",
                "voice",
            )
        return found

    async def say(
        self,
        request: Say,
        *,
        model: str | None = None,
        owner: str,
        kind: JobClass = JobClass.REST,
    ) -> AsyncGenerator[Spoken, None]:
        """One sentence, as it is made. `request.voice` is any name of a voice; its speed is
        multiplied with the one that the owner gave that voice.

        Closing the generator frees the engine. Raises `EngineError`.
        """
        chosen = self.resolve(request.voice, model)
        speaker = await self._store.speech(chosen.model)
        speed = min(max(request.speed * chosen.speed, SPEEDS[0]), SPEEDS[1])
        said = replace(request, voice=chosen.voice, speed=speed)
        async with aclosing(speaker.say(said, owner=owner, kind=kind)) as pieces:
            async for spoken in pieces:
                yield spoken

    def _language(self, chosen: Chosen) -> str | None:
        # A variant (`en-us+f3`) is not listed, and speaks the language of its voice.
        name = chosen.voice and chosen.voice.partition("+")[0]
        voices = self._voices.get(chosen.model, ())
        return next((one.language for one in voices if name in (None, one.name)), None)

    def _find(self, voice: str, record: ModelRecord) -> Chosen | None:
        own = self._configured.get(voice)
        if own is not None:
            return self._chosen(own)
        if self._has(record, voice):
            return Chosen(record.name, voice)
        other = self._of_another(voice)
        if other is not None:
            return other
        espeak = next((one for one in self._records if one.engine == "espeak"), None)
        if espeak is not None and self._has(espeak, voice):
            return Chosen(espeak.name, voice)
        return self._stand_in(voice, record) if voice in _ESPEAK else None

    def _chosen(self, own: VoiceRecord) -> Chosen:
        record = self._store.catalogue.resolve_speech(own.model or "default")
        if own.voice is not None and not self._has(record, own.voice):
            raise self._unknown(own.voice, record)
        return Chosen(record.name, own.voice, own.speed)

    def _of_another(self, voice: str) -> Chosen | None:
        """`MODEL:VOICE`, or the name or alias of a model."""
        for name, own in ((voice, ""), (voice.rpartition(":")[0], voice.rpartition(":")[2])):
            record = next((r for r in self._records if name in (r.name, *r.aliases)), None)
            if record is None:
                continue
            if own and not self._has(record, own):
                raise self._unknown(own, record)
            return Chosen(record.name, own or None)
        return None

    def _stand_in(self, voice: str, record: ModelRecord) -> Chosen:
        if record.engine == "espeak":
            return Chosen(record.name, _ESPEAK[voice])
        voices = self._voices.get(record.name, ())
        if len(voices) < 2:
            return Chosen(record.name)
        number = OPENAI_VOICES.index(voice) % len(voices)
        return Chosen(record.name, voices[number].name)

    def _has(self, record: ModelRecord, voice: str) -> bool:
        voices = self._voices.get(record.name, ())
        return bool(ENGINES[record.engine].knows(voices, voice))

    def _unknown(self, voice: str, record: ModelRecord | None = None) -> InvalidInput:
        known = find_known(voice)
        if record is None and known is not None and known.kind == "speech":
            message = f"The voice '{voice}' is not installed; run: antiphon pull {voice}"
            return InvalidInput(message, "voice")
        of = f" of '{record.name}'" if record else ""
        entries = self._of(record) if record else self.names()
        names = [one.voice or one.name if record else one.name for one in entries]
        near = nearest(voice, names if record else [*names, *OPENAI_VOICES])
        hint = f"did you mean '{near}'?" if near else f"some are: {', '.join(names[:8])}."
        return InvalidInput(f"There is no voice '{voice}'{of}; {hint}", "voice")

    def _named(self) -> Iterator[VoiceEntry]:
        for name, own in self._configured.items():
            try:
                chosen = self._chosen(own)
            except (ModelNotFound, InvalidInput) as error:
                log.debug("voice %s: %s", name, error)
                continue
            voices = self._voices.get(chosen.model, ())
            voice = next((one for one in voices if chosen.voice in (None, one.name)), None)
            described = voice.description if voice else ""
            language = self._language(chosen)
            yield VoiceEntry(name, chosen.model, chosen.voice, language, described)

    def _of(self, record: ModelRecord) -> Iterator[VoiceEntry]:
        voices = self._voices[record.name]
        espeak = next((one for one in self._records if one.engine == "espeak"), None)
        for voice in voices:
            name = f"{record.name}:{voice.name}"
            if record is espeak:
                name = voice.name
            elif len(voices) == 1:
                name = record.name
            yield VoiceEntry(name, record.name, voice.name, voice.language, voice.description)

    def _read(self) -> Iterator[ModelRecord]:
        """The models that speak, the default one first, their voices read."""
        catalogue = self._store.catalogue
        try:
            default = catalogue.default_speech().name
        except EngineError:
            default = ""  # one of the catalogue's problems
        speaking = [one for one in catalogue.records() if catalogue.kind(one) == "speech"]
        for record in sorted(speaking, key=lambda one: one.name != default):
            try:
                self._voices[record.name] = ENGINES[record.engine].voices(record)
            except EngineError as error:
                log.warning("model %s: %s", record.name, error)
                continue
            yield record
