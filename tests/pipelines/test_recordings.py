"""Whole recordings: every utterance in order, no faster than it is used, nothing left behind."""

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from voice import WHISPER_NANO, Samples, say, silence, word_errors

from engines import silero
from engines.base import Capabilities, InvalidInput, JobClass, ModelNotFound
from engines.catalogue import Catalogue, ModelRecord
from engines.devices import Device
from engines.models import ModelStore
from engines.recognisers import WINDOWED_AT_ONCE
from engines.recognition import SAMPLE_RATE, Hypothesis, Recogniser, RecognitionOptions, Word
from engines.scheduler import Lane, Scheduler
from engines.tickets import Ticket
from pipelines.frames import Transcript
from pipelines.loader import CAPTIONS, load_plan
from pipelines.recordings import UNREAD_SECONDS, Recording

SENTENCES = ("Who is responsible for the new website?", "I have a question for Nina.")
OPTIONS = RecognitionOptions(partials=False)
RECORDS = (
    ModelRecord(name="nano", engine="whisper", source=str(WHISPER_NANO)),
    ModelRecord(name="null", engine="null", options={"words_per_second": 1}),
)


@functools.cache
def talk(times: int = 1) -> Samples:
    pieces = [piece for s in SENTENCES for piece in (say(s), silence(1.2))]
    return np.concatenate([silence(0.5), *pieces * times])


@dataclass
class Source:
    """A recording as it is decoded, and how much of it was taken."""

    audio: Samples
    seconds: float = 0.25
    error: Exception | None = None
    taken: float = 0.0

    def open(self) -> aclosing[AsyncGenerator[Samples, None]]:
        return aclosing(self._blocks())

    async def _blocks(self) -> AsyncGenerator[Samples, None]:
        size = round(self.seconds * SAMPLE_RATE)
        for at in range(0, len(self.audio), size):
            self.taken = min(at + size, len(self.audio)) / SAMPLE_RATE
            yield self.audio[at : at + size]
            await asyncio.sleep(0)
        if self.error is not None:
            raise self.error


class Held:
    """A recognition that answers with its number when the test says so."""

    def __init__(self, number: int, options: RecognitionOptions, kind: JobClass | None) -> None:
        self.number, self.options, self.kind = number, options, kind
        self.backlog = 0
        self.answer = asyncio.Event()

    def push(self, samples: Samples) -> None:
        self.backlog += len(samples)

    def pause(self, voiced: float | None = None) -> None:
        pass

    def resume(self) -> None:
        pass

    def finish(self, voiced: float | None = None) -> None:
        pass

    def cancel(self) -> None:
        self.backlog = 0

    async def __aiter__(self) -> AsyncIterator[Hypothesis]:
        await self.answer.wait()
        yield Hypothesis((Word(str(self.number), 0, 1),), final=True)


class Patient:
    """A model of `Held` recognitions."""

    name = "patient"
    capabilities = Capabilities()

    def __init__(self) -> None:
        self.opened: list[Held] = []

    async def recogniser(self, name: str) -> Recogniser:
        return self

    def open(
        self, options: RecognitionOptions, *, owner: str, kind: JobClass | None = None
    ) -> Held:
        self.opened.append(Held(len(self.opened) + 1, options, kind))
        return self.opened[-1]


PATIENCE = 120.0
"""Seconds that a slow machine may take."""


@dataclass
class Desk:
    """The pipeline of the REST routes, over real engines."""

    recording: Recording
    scheduler: Scheduler
    ears: Lane

    async def write(self, source: Source, model: str = "nano") -> list[Transcript]:
        async with asyncio.timeout(PATIENCE), source.open() as audio:
            transcripts = self.recording.transcribe(audio, model, OPTIONS, owner="a")
            return [transcript async for transcript in transcripts]

    @property
    def live(self) -> int:
        return sum(lane.live for lane in self.scheduler.lanes)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    scheduler = Scheduler(Device(1))
    ears = scheduler.open(silero.recipe(1))
    catalogue = await asyncio.to_thread(Catalogue, tmp_path, RECORDS)
    store = await asyncio.to_thread(ModelStore, catalogue, scheduler)

    def listen(owner: str) -> Ticket:
        return ears.submit(None, owner=owner, kind=JobClass.FINAL, streaming=True)

    plan = await asyncio.to_thread(load_plan, CAPTIONS)
    yield Desk(Recording(plan, store, listen), scheduler, ears)
    await store.close()
    await scheduler.close()


@asynccontextmanager
async def reading(
    desk: Desk, model: Patient, audio: AsyncIterator[Samples]
) -> AsyncIterator[AsyncGenerator[Transcript, None]]:
    """A background recording whose model is the test's."""
    recording = replace(desk.recording, models=model)
    finals = recording.transcribe(audio, "patient", OPTIONS, owner="a", kind=JobClass.BACKGROUND)
    async with aclosing(finals):
        yield finals


async def taken_at_last(source: Source, least: float) -> float:
    """Seconds taken of the source when no more is, which are at least so many."""
    before = -1.0
    while source.taken < least or source.taken != before:
        before = source.taken
        await asyncio.sleep(0.5)
    return source.taken


async def most_opened(model: Patient) -> int:
    """How many utterances the model is given while it answers none."""
    while len(model.opened) < WINDOWED_AT_ONCE:  # noqa: ASYNC110 - the node has no event for it
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    return len(model.opened)


@pytest.mark.one_loop
async def test_every_sentence_is_written_in_order_with_its_place(desk: Desk) -> None:
    transcripts = await desk.write(Source(talk(2)))
    assert len(transcripts) == 4
    for transcript, said in zip(transcripts, SENTENCES * 2, strict=True):
        assert word_errors(said, transcript.text) <= 0.4
        assert transcript.state == "final"
        assert all(
            transcript.start / SAMPLE_RATE - 0.01 <= word.start <= transcript.end / SAMPLE_RATE
            for word in transcript.words
        )
    edges = [edge for t in transcripts for edge in (t.start, t.end)]
    assert edges == sorted(edges)
    assert desk.live == 0


async def test_the_size_of_the_pieces_changes_nothing(desk: Desk) -> None:
    large = await desk.write(Source(talk(), seconds=30), "null")
    small = await desk.write(Source(talk(), seconds=0.05), "null")
    assert len(large) == 2
    assert [(t.start, t.end, t.text) for t in small] == [(t.start, t.end, t.text) for t in large]


@pytest.mark.parametrize("audio", [silence(3), np.zeros(0, np.float32)], ids=["quiet", "empty"])
async def test_a_recording_without_speech_has_no_transcripts(desk: Desk, audio: Samples) -> None:
    assert await desk.write(Source(audio), "null") == []


@pytest.mark.one_loop
async def test_the_recording_is_read_no_faster_than_the_engines_take_it(desk: Desk) -> None:
    source = Source(talk(60), seconds=1.0)
    model = Patient()
    async with (
        asyncio.timeout(PATIENCE),
        source.open() as audio,
        reading(desk, model, audio) as finals,
    ):
        first = asyncio.ensure_future(anext(finals))
        assert await most_opened(model) == WINDOWED_AT_ONCE
        taken = await taken_at_last(source, UNREAD_SECONDS)
        assert taken < 2 * UNREAD_SECONDS < len(source.audio) / SAMPLE_RATE
        for recognition in model.opened:
            recognition.answer.set()
        assert (await first).text == "1"
        assert await taken_at_last(source, taken + 1) < taken + UNREAD_SECONDS


@pytest.mark.one_loop
async def test_several_utterances_are_with_the_engine_at_once_and_come_out_in_order(
    desk: Desk,
) -> None:
    model = Patient()
    source = Source(talk(10), seconds=1.0)
    async with (
        asyncio.timeout(PATIENCE),
        source.open() as audio,
        reading(desk, model, audio) as finals,
    ):
        first = asyncio.ensure_future(anext(finals))
        assert await most_opened(model) == WINDOWED_AT_ONCE
        for recognition in reversed(model.opened.copy()):
            recognition.answer.set()
            await asyncio.sleep(0.01)
        written = [await first, *[await anext(finals) for _ in range(WINDOWED_AT_ONCE - 1)]]
        assert [t.text for t in written] == [str(n + 1) for n in range(WINDOWED_AT_ONCE)]
        assert {each.kind for each in model.opened} == {JobClass.BACKGROUND}
        assert not any(each.options.partials for each in model.opened)


@pytest.mark.one_loop
async def test_closing_the_iterator_frees_the_engines_and_lets_the_source_be_closed(
    desk: Desk,
) -> None:
    async with asyncio.timeout(PATIENCE), Source(talk(10)).open() as audio:
        transcripts = desk.recording.transcribe(audio, "null", OPTIONS, owner="a")
        await anext(transcripts)
        await transcripts.aclose()
        while desk.live:  # noqa: ASYNC110 - the engine's thread lets go in its own time
            await asyncio.sleep(0.01)


async def test_a_model_that_is_not_here_is_an_error(desk: Desk) -> None:
    with pytest.raises(ModelNotFound, match="'gone' does not exist here"):
        await desk.write(Source(talk()), "gone")


@pytest.mark.parametrize(
    "error", [InvalidInput("the file is damaged"), OSError("the disk is gone"), ValueError("a bug")]
)
async def test_whatever_ends_the_source_early_ends_the_transcripts(
    desk: Desk, error: Exception
) -> None:
    with pytest.raises(type(error), match=str(error)):
        await desk.write(Source(silence(1), error=error), "null")
    assert desk.live == 0


async def test_recordings_run_beside_each_other_with_items_of_their_own(desk: Desk) -> None:
    both = await asyncio.gather(*(desk.write(Source(talk()), "null") for _ in range(2)))
    items = [transcript.item for transcripts in both for transcript in transcripts]
    assert len(set(items)) == 4
    assert [t.text for t in both[0]] == [t.text for t in both[1]]
