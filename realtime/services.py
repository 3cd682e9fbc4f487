"""What the REST routes use, made from the model store and the pipelines."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from engines.catalogue import ModelRecord
from engines.models import ModelStore
from engines.recognition import RecognitionOptions, Samples
from pipelines.frames import SAMPLE_RATE
from pipelines.recordings import Recording
from routes.services import ModelEntry, Segment

BUILT_IN = "pocketsphinx"
BETTER = "antiphon pull base"
BETTER_VOICE = "antiphon pull en_US-lessac-medium"


class Models:
    """The catalogue as `/v1/models` shows it."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def entries(self) -> list[ModelEntry]:
        """Every model that is here."""
        return [self._entry(record) for record in self._store.catalogue.records()]

    def entry(self, name: str) -> ModelEntry:
        """The model that a name or alias means. Raises `ModelNotFound`."""
        return self._entry(self._store.catalogue.resolve(name))

    async def load(self, name: str) -> None:
        """Have a model in memory."""
        await self._store.load(name)

    async def unload(self, name: str) -> None:
        """Free a model."""
        await self._store.unload(name)

    @property
    def default_transcription(self) -> ModelEntry:
        """What transcribes when nobody says otherwise."""
        return self._entry(self._store.catalogue.default_transcription())

    @property
    def hint(self) -> str | None:
        """The command that installs a better model, while there is only the built-in one."""
        only_ours = self._store.catalogue.default_transcription().engine == BUILT_IN
        return BETTER if only_ours else None

    def _entry(self, record: ModelRecord) -> ModelEntry:
        installed = self._store.catalogue.installed(record.name)
        return ModelEntry(
            name=record.name,
            kind=self._store.catalogue.kind(record),
            engine=record.engine,
            state=self._store.state(record),
            capabilities=self._store.capabilities(record),
            created=round(installed.installed_at) if installed else 0,
            memory=self._store.memory(record),
        )


class Transcriber:
    """Recordings through the captions pipeline."""

    def __init__(self, store: ModelStore, recording: Recording) -> None:
        self._store = store
        self._recording = recording

    def check(self, model: str, options: RecognitionOptions) -> None:
        """Raise `ModelNotFound` or `Unsupported` before any audio is read."""
        self._store.check(model, options)

    async def transcribe(
        self, audio: AsyncIterator[Samples], model: str, options: RecognitionOptions, *, owner: str
    ) -> AsyncGenerator[Segment, None]:
        """Segments in order; see `routes.services.Transcriber`."""
        transcripts = self._recording.transcribe(audio, model, options, owner=owner)
        async with aclosing(transcripts):
            async for transcript in transcripts:
                if transcript.text:
                    yield Segment(
                        transcript.start / SAMPLE_RATE,
                        transcript.end / SAMPLE_RATE,
                        transcript.text,
                        transcript.words,
                        transcript.language,
                    )
