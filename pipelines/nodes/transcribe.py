"""The node that turns utterances into text, revising it while the speaker goes on."""

import asyncio
from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from engines.base import Busy, EngineError, ModelNotFound, Unsupported
from engines.recognisers import most_at_once, shifted
from engines.recognition import Hypothesis, Recogniser, Recognition, RecognitionOptions, Word
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
    Hold,
    IdleTimeout,
    Pause,
    Samples,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipelines.graph import Node

RETRY_SECONDS = 1.0
"""Time between two tries to give an utterance of a recording to a busy engine."""

State = Literal["committed", "tentative", "final"]


class Settings(BaseModel):
    """Which model writes, and what it is told beforehand."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    language: str | None = None
    prompt: str = ""
    word_times: bool = False
    """Whether finals need exact times and probabilities of words."""


class _Utterance:
    """One item from its first audio to its final text.

    Keeps its audio until there is a model. One that is `patient` waits for an engine that is busy:
    it keeps its audio until it is over, to give it to the engine again.
    """

    def __init__(self, item: str, start: int, settings: Settings, *, patient: bool) -> None:
        self.item = item
        self.settings = settings
        self.patient = patient
        self.start = start
        self.end = start
        self.paused = False
        self.voiced: float | None = None
        """Seconds of speech, as of the last pause or the end."""
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
        if self._recognition is None or self.patient:
            self._kept.append(audio.samples)

    def pause(self, voiced: float | None, *, resumed: bool) -> None:
        if self.cancelled:
            return
        self.paused, self.voiced = not resumed, voiced
        if self._recognition is None:
            return
        if resumed:
            self._recognition.resume()
        else:
            self._recognition.pause(voiced)

    def attach(self, recognition: Recognition) -> None:
        self._recognition = recognition
        for samples in self._kept:
            recognition.push(samples)
        if not self.patient:
            self._kept.clear()
        if self.finished:
            recognition.finish(self.voiced)
        elif self.paused:
            recognition.pause(self.voiced)

    def detach(self) -> None:
        self._recognition = None

    def finish(self, voiced: float | None) -> None:
        self.finished = self.complete = True
        self.voiced = voiced
        if self._recognition is not None and not self.cancelled:
            self._recognition.finish(voiced)

    def clear(self) -> None:
        self.complete = True
        self.cancel()

    def cancel(self) -> None:
        self.cancelled = True
        self._kept.clear()
        if self._recognition is not None:
            self._recognition.cancel()


class Transcribe(Node):
    """Transcribes each utterance in a task of its own; audio ends here, all else passes through.

    The utterances of a recording (`Context.kind` is not None) are given to the engine a few at a
    time, and once the first was taken the others wait for an engine that is busy.
    """

    accepts: ClassVar[tuple[type[Frame], ...]] = (
        *(Audio, SpeechStarted, Pause, SpeechStopped),
        *(Commit, Clear, Configure, End, Error, Hold, IdleTimeout),
    )
    emits: ClassVar[tuple[type[Frame], ...]] = (
        *(Transcript, SpeechStarted, Pause, SpeechStopped),
        *(Commit, Clear, Configure, End, Error, Hold, IdleTimeout),
    )

    def __init__(self, name: str, settings: Settings, context: Context) -> None:
        super().__init__(name)
        self._settings = settings
        self._context = context
        self._utterances: dict[str, _Utterance] = {}
        self._fresh: list[_Utterance] = []
        self._arrived = asyncio.Event()
        self._end: End | None = None
        self._began = False
        self._places: asyncio.Semaphore | None = None

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
            case Pause():
                self._pause(frame)
                self.emit(frame)
            case Commit(item=str(item)):
                self.emit(frame)
                utterance = self._utterance(item, frame.start)
                utterance.finish(frame.voiced)
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
            patient = self._began and self._context.kind is not None
            utterance = _Utterance(item, start, self._settings, patient=patient)
            self._utterances[item] = utterance
            self._fresh.append(utterance)
            self._arrived.set()
            self._began = True
        return utterance

    def _pause(self, frame: Pause) -> None:
        utterance = self._utterances.get(frame.item)
        if utterance is not None:
            utterance.pause(frame.voiced, resumed=frame.resumed)

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
        if self._context.kind is None:
            await self._listen(utterance, recogniser)
            return
        if self._places is None:
            self._places = asyncio.Semaphore(most_at_once(recogniser))
        async with self._places:
            await self._listen(utterance, recogniser)

    async def _listen(self, utterance: _Utterance, recogniser: Recogniser) -> None:
        while not utterance.cancelled:
            try:
                await self._read(utterance, recogniser)
                return
            except Busy:
                if not utterance.patient:
                    raise
                utterance.detach()
            await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, utterance: _Utterance, recogniser: Recogniser) -> None:
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
            word_times=utterance.settings.word_times or options.word_times,
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
