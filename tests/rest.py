"""A REST server for tests: the real routes, over models and transcriptions that a test scripts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from language_models import Scripted
from openai import AsyncOpenAI
from scripted_voices import ScriptedVoices

from engines.base import Capabilities, ModelNotFound, Unsupported
from engines.recognition import RecognitionOptions, Samples, Word
from routes.services import (
    LanguageModels,
    ModelEntry,
    RouteSettings,
    Segment,
    Services,
    Voices,
)
from routes.setup import setup

Client = TestClient[web.Request, web.Application]

HELLO = Segment(
    0.5,
    1.5,
    "Hello there.",
    (Word("Hello", 0.5, 0.9), Word("there.", 1.0, 1.5)),
    language="en",
)
GOODBYE = Segment(2.0, 3.25, "Good & bye.", (Word("Good", 2.0, 2.4), Word("& bye.", 2.5, 3.25)))


class TwoModels:
    """PocketSphinx by default, and a Whisper model with a slash in its name."""

    hint: str | None = "antiphon pull small"

    def __init__(self) -> None:
        english = Capabilities(languages=frozenset({"en"}))
        many = Capabilities(languages=frozenset({"fr", "en", "de"}), translate=True)
        self.all = [
            ModelEntry("pocketsphinx-en", "transcription", "pocketsphinx", "loaded", english, 1),
            ModelEntry("org/whisper:tiny", "transcription", "whisper", "installed", many, 2),
        ]
        self.aliases = {"whisper-1": "pocketsphinx-en"}

    def entries(self) -> list[ModelEntry]:
        return self.all

    def entry(self, name: str) -> ModelEntry:
        name = self.aliases.get(name, name)
        for entry in self.all:
            if entry.name == name:
                return entry
        raise ModelNotFound(name, [entry.name for entry in self.all])

    async def load(self, name: str) -> None:
        self._set(name, "loaded")

    async def unload(self, name: str) -> None:
        self._set(name, "installed")

    def _set(self, name: str, state: str) -> None:
        self.all[self.all.index(self.entry(name))] = replace(self.entry(name), state=state)

    @property
    def default_transcription(self) -> ModelEntry:
        if not self.all:
            raise ModelNotFound("whisper-1")
        return self.all[0]


class Script:
    """A transcriber that reads all the audio and then plays its script.

    The script holds segments, errors to raise, and events to wait for.
    """

    def __init__(self, *steps: Segment | Exception | asyncio.Event) -> None:
        self.steps = steps
        self.models = TwoModels()
        self.samples = 0
        self.calls: list[tuple[str, RecognitionOptions, str]] = []
        self.started = asyncio.Event()
        self.ended = asyncio.Event()

    def check(self, model: str, options: RecognitionOptions) -> None:
        capabilities = self.models.entry(model).capabilities
        if options.language and options.language not in (capabilities.languages or ()):
            raise Unsupported("It hears no such language; run antiphon pull small.", "language")
        if options.task == "translate" and not capabilities.translate:
            raise Unsupported("It does not translate; run antiphon pull small.", "task")

    async def transcribe(
        self, audio: AsyncIterator[Samples], model: str, options: RecognitionOptions, *, owner: str
    ) -> AsyncIterator[Segment]:
        self.calls.append((model, options, owner))
        try:
            async for block in audio:
                self.samples += len(block)
            self.started.set()
            for step in self.steps:
                match step:
                    case Segment():
                        yield step
                    case Exception():
                        raise step
                    case _:
                        await step.wait()
        finally:
            self.ended.set()


def settings(**changes: Any) -> RouteSettings:
    return RouteSettings(**{"max_upload_bytes": 4 << 20, "max_audio_seconds": 60.0, **changes})


@asynccontextmanager
async def serving(
    script: Script | None = None,
    *,
    models: TwoModels | None = None,
    language: LanguageModels | None = None,
    voices: Voices | None = None,
    extra: Sequence[web.RouteDef] = (),
    **changes: Any,
) -> AsyncIterator[Client]:
    """The REST server on a port of its own, and a client of it; `changes` are of its settings."""
    app = web.Application()
    services = Services(
        "9.9.9",
        settings(**changes),
        models or TwoModels(),
        script or Script(),
        language or Scripted(),
        voices or ScriptedVoices(),
    )
    setup(app, services)
    app.add_routes(extra)
    async with TestClient(TestServer(app)) as client:
        yield client


@asynccontextmanager
async def openai(
    client: Client, key: str = "sk-test", *, strict: bool = False
) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own client, for the server of `client`; `strict` validates what it gets."""
    base = str(client.make_url("/v1"))
    async with AsyncOpenAI(
        base_url=base, api_key=key, max_retries=0, _strict_response_validation=strict
    ) as sdk:
        yield sdk
