"""The node that turns utterances into text, revising it while the speaker goes on."""

import asyncio
from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from engines.base import EngineError, ModelNotFound, Unsupported
from engines.recognisers import shifted
from engines.recognition import Hypothesis, Recognition, RecognitionOptions, Word
from pipelines.context import Context
from pipelines.frames import (
    SAMPLE_RATE,
    Audio,
    Clear,
    Commit,
    Configure,
    End,
    Error,
    Frame,
    Samples,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipelines.graph import Node

State = Literal["committed", "tentative", "final"]


class Settings(BaseModel):
    """Which model writes, and what it is told beforehand."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    language: str | None = None
    prompt: str = ""


class _Utterance:
    """One item from its first audio to its final text; keeps audio until there is a model."""

    def __init__(self, item: str, start: int, settings: Settings) -> None:
        self.item = item
        self.settings = settings
        self.start = start
        self.end = start
        self.finished = False
        self.cancelled = False
        self.complete = False
        """Whether no more frames of it will come: it was committed or cleared."""
        self.over = False
        """Whether its task has ended; one that failed stays until it is committed or cleared."""
        self.shown = 0
        """Settled words that were emitted."""
        self.tentative = ""
        self._recognition: Recognition | None = None
        self._kept: list[Samples] = []

    @property
    def backlog(self) -> int:
        if self._recognition is not None:
            return self._recognition.backlog
        return sum(map(len, self._kept))

    def push(self, audio: Audio) -> None:
        self.end = audio.end
        if self.cancelled:
            return
        if self._recognition is not None:
            self._recognition.push(audio.samples)
        else:
            self._kept.append(audio.samples)

    def attach(self, recognition: Recognition) -> None:
        self._recognition = recognition
        for samples in self._kept:
            recognition.push(samples)
        self._kept.clear()
        if self.finished:
            recognition.finish()

    def finish(self) -> None:
        self.finished = self.complete = True
        if self._recognition is not None and not self.cancelled:
            self._recognition.finish()

    def clear(self) -> None:
        self.complete = True
        self.cancel()

    def cancel(self) -> None:
        self.cancelled = True
        self._kept.clear()
        if self._recognition is not None:
            self._recognition.cancel()


class Transcribe(Node):
    """Transcribes each utterance in a task of its own; everything else passes through."""

    accepts: ClassVar[tuple[type[Frame], ...]] = (
        *(Audio, SpeechStarted, SpeechStopped),
        *(Commit, Clear, Configure, End, Error),
    )
    emits: ClassVar[tuple[type[Frame], ...]] = (
        *(Transcript, SpeechStarted, SpeechStopped),
        *(Commit, Clear, Configure, End, Error),
    )

    def __init__(self, name: str, settings: Settings, context: Context) -> None:
        super().__init__(name)
        self._settings = settings
        self._context = context
        self._utterances: dict[str, _Utterance] = {}
        self._fresh: list[_Utterance] = []
        self._arrived = asyncio.Event()
        self._end: End | None = None

    @property
    def backlog(self) -> int:
        """Samples not recognised yet; the utterance that was finished last is in good hands."""
        finished = [u for u in self._utterances.values() if u.finished]
        live = [u for u in self._utterances.values() if not u.finished]
        return sum(utterance.backlog for utterance in (*finished[:-1], *live))

    @property
    def busy(self) -> bool:
        """Whether a complete utterance waits for its text."""
        return any(u.finished and not u.cancelled for u in self._utterances.values())

    def receive(self, frame: Frame) -> None:
        """Take a frame; audio without an item is not ours."""
        match frame:
            case Audio(item=str(item)):
                self._utterance(item, frame.at).push(frame)
            case Audio():
                pass
            case Commit(item=str(item)):
                self.emit(frame)
                utterance = self._utterance(item, frame.start)
                utterance.finish()
                self._forget(utterance)
            case Clear(item=item):
                if item in self._utterances:
                    self._utterances[item].clear()
                    self._forget(self._utterances[item])
                self.emit(frame)
            case Configure(node=self.name):
                settings = {**self._settings.model_dump(), **frame.settings}
                self._settings = Settings.model_validate(settings)
            case End():
                self._end = frame
                self._pass_end()
            case _:
                self.emit(frame)

    async def run(self) -> None:
        """Own the tasks of the utterances until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                while self._fresh:
                    tasks.create_task(self._transcribe(self._fresh.pop(0)))
                self._arrived.clear()
                await self._arrived.wait()

    def _utterance(self, item: str, start: int) -> _Utterance:
        utterance = self._utterances.get(item)
        if utterance is None:
            utterance = self._utterances[item] = _Utterance(item, start, self._settings)
            self._fresh.append(utterance)
            self._arrived.set()
        return utterance

    def _forget(self, utterance: _Utterance) -> None:
        if utterance.over and utterance.complete:
            del self._utterances[utterance.item]

    async def _transcribe(self, utterance: _Utterance) -> None:
        try:
            await self._recognise(utterance)
        except (ModelNotFound, Unsupported) as error:
            self._fail(utterance, "model_not_found", "invalid_request_error", error)
        except EngineError as error:
            self._fail(utterance, "transcription_failed", "server_error", error)
        utterance.over = True
        self._forget(utterance)
        self._pass_end()

    async def _recognise(self, utterance: _Utterance) -> None:
        name = utterance.settings.model or self._context.model
        recogniser = await self._context.models.recogniser(name)
        if utterance.cancelled:
            return
        recognition = recogniser.open(
            self._options(utterance), owner=self._context.owner, kind=self._context.kind
        )
        utterance.attach(recognition)
        try:
            async for hypothesis in recognition:
                if not utterance.cancelled:
                    self._tell(utterance, hypothesis)
        finally:
            recognition.cancel()

    def _options(self, utterance: _Utterance) -> RecognitionOptions:
        options = self._context.options
        return RecognitionOptions(
            language=utterance.settings.language or options.language,
            prompt=utterance.settings.prompt or options.prompt,
            temperature=options.temperature,
            task=options.task,
            partials=options.partials,
        )

    def _tell(self, utterance: _Utterance, hypothesis: Hypothesis) -> None:
        if hypothesis.final:
            self._emit(utterance, hypothesis.words, hypothesis, "final", spaced=False)
            return
        fresh = hypothesis.words[utterance.shown : hypothesis.settled]
        if fresh:
            self._emit(utterance, fresh, hypothesis, "committed", spaced=utterance.shown > 0)
            utterance.shown = hypothesis.settled
        rest = hypothesis.words[hypothesis.settled :]
        text = _text(rest)
        if fresh or text != utterance.tentative:
            utterance.tentative = text
            self._emit(utterance, rest, hypothesis, "tentative", spaced=utterance.shown > 0)

    def _emit(
        self,
        utterance: _Utterance,
        words: tuple[Word, ...],
        hypothesis: Hypothesis,
        state: State,
        *,
        spaced: bool,
    ) -> None:
        text = _text(words)
        self.emit(
            Transcript(
                utterance.item,
                f" {text}" if spaced and text else text,
                state,
                words=shifted(words, utterance.start / SAMPLE_RATE),
                language=hypothesis.language,
                start=utterance.start,
                end=utterance.end,
            )
        )

    def _fail(self, utterance: _Utterance, code: str, kind: str, error: EngineError) -> None:
        if utterance.cancelled:
            return
        utterance.cancel()
        self.emit(Error(code, str(error), item=utterance.item, kind=kind, cause=error))

    def _pass_end(self) -> None:
        if self._end is not None and all(u.over for u in self._utterances.values()):
            self.emit(self._end)
            self._end = None


def _text(words: Iterable[Word]) -> str:
    return " ".join(word.text for word in words)
