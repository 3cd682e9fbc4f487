"""What the REST routes need from the server, given to them by the composition root."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from aiohttp import web

from engines.base import Capabilities, JobClass
from engines.generation import Embed, Embedding, Generate, GenerationEvent, Rank, Relevance
from engines.recognition import RecognitionOptions, Samples, Word
from engines.synthesis import Say, Spoken


@dataclass(frozen=True, slots=True)
class Segment:
    """One utterance of a file: times in seconds from its start."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    language: str | None = None


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model as `/v1/models` shows it."""

    name: str
    kind: str
    engine: str
    state: str
    """`installed` (on disk, not in memory), `loading` or `loaded`."""
    capabilities: Capabilities
    created: int
    memory: int | None = None
    """Bytes that it holds in processes of its own, where it has any."""
    owned_by: str = "antiphon"


class Transcriber(Protocol):
    """Transcribes whole recordings, utterance by utterance, sharing the engines fairly."""

    def check(self, model: str, options: RecognitionOptions) -> None:
        """Raise `ModelNotFound` or `Unsupported` before any audio is read."""
        ...

    def transcribe(
        self, audio: AsyncIterator[Samples], model: str, options: RecognitionOptions, *, owner: str
    ) -> AsyncIterator[Segment]:
        """Segments in order, as they are finished. Reads `audio` no faster than it is used.

        Closing the iterator frees the engine. Raises `EngineError`.
        """
        ...


TextTask = Literal["chat", "embedding", "rerank"]
"""What a text route wants a model for."""


class Answer(Protocol):
    """A provider's answer to a request that was passed on."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Those that a client may see: Content-Type, Retry-After, x-request-id."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `EngineError` when the provider breaks it off."""
        ...


class Remote(Protocol):
    """A model of a provider elsewhere."""

    def post(self, path: str, body: Mapping[str, Any]) -> AbstractAsyncContextManager[Answer]:
        """Pass on a request for `path` (such as `/chat/completions`) with the provider's name of
        the model in it. Raises `EngineError` when the provider cannot be reached."""
        ...


class LanguageModels(Protocol):
    """Models that write, embed and rank text, here or at a provider."""

    def check(self, model: str, task: TextTask) -> None:
        """Raise `ModelNotFound` or `Unsupported`, with what to run, before any work."""
        ...

    def remote(self, model: str) -> Remote | None:
        """The provider's model that a name such as `openai.gpt-5` means; None for our own."""
        ...

    def generate(
        self, model: str, request: Generate, *, owner: str
    ) -> AsyncGenerator[GenerationEvent, None]:
        """One answer, as it is made; `Finished` comes last. Providers' models answer too.

        Closing the generator frees the engine. Raises `EngineError`.
        """
        ...

    async def embed(self, model: str, inputs: Sequence[Embed], *, owner: str) -> list[Embedding]:
        """A vector for each input, in order. Raises `EngineError`."""
        ...

    async def rank(self, model: str, pairs: Sequence[Rank], *, owner: str) -> list[Relevance]:
        """How relevant each pair's document is, in order. Raises `EngineError`."""
        ...


class VoiceEntry(Protocol):
    """A voice as a listing shows it."""

    @property
    def name(self) -> str:
        """What a request asks for."""
        ...

    @property
    def model(self) -> str: ...

    @property
    def voice(self) -> str | None:
        """Its name among those of the model."""
        ...

    @property
    def language(self) -> str | None:
        """A tag such as `en-us`, where it is known."""
        ...

    @property
    def description(self) -> str: ...


class ChosenVoice(Protocol):
    """What a name of a voice, and of a model, come to."""

    @property
    def model(self) -> str: ...

    @property
    def voice(self) -> str | None: ...

    @property
    def language(self) -> str | None: ...


class Voices(Protocol):
    """Voices by name, whichever model has them."""

    def names(self) -> Sequence[VoiceEntry]:
        """All that can be asked for. May read the disk."""
        ...

    def resolve(self, voice: str | None, model: str | None) -> ChosenVoice:
        """Who would speak. Raises `InvalidInput` or `ModelNotFound`, naming what there is."""
        ...

    def say(
        self, request: Say, *, model: str | None = None, owner: str, kind: JobClass
    ) -> AsyncGenerator[Spoken, None]:
        """One sentence, as it is made. Closing the generator frees the engine. Raises
        `EngineError`."""
        ...


class Models(Protocol):
    """The models that are here."""

    def entries(self) -> list[ModelEntry]: ...

    def entry(self, name: str) -> ModelEntry:
        """The entry a name or alias resolves to. Raises `ModelNotFound`."""
        ...

    async def load(self, name: str) -> None:
        """Have a model in memory. Raises `EngineError`."""
        ...

    async def unload(self, name: str) -> None:
        """Free a model; what it works on fails. Raises `ModelNotFound`."""
        ...

    @property
    def default_transcription(self) -> ModelEntry: ...

    @property
    def hint(self) -> str | None:
        """The command that installs a better transcription model, while there is only ours."""
        ...


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """The limits and permissions that the routes enforce."""

    max_upload_bytes: int
    max_audio_seconds: float
    api_keys: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    """Origins beside the server's own that may use it from a browser (`*`: any)."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names beside loopback and the bound address that may name this server (`*`: any)."""
    host: str = "127.0.0.1"
    """What the server was told to listen on; a name given there may name this server."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may use."""

    version: str
    settings: RouteSettings
    models: Models
    transcriber: Transcriber
    language: LanguageModels
    voices: Voices


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)
