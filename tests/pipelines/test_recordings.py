"""Whole recordings: every utterance in order, no faster than it is used, nothing left behind."""

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from voice import WHISPER_NANO, Samples, say, silence, word_errors

from engines import silero
from engines.base import InvalidInput, JobClass, ModelNotFound
from engines.catalogue import Catalogue, ModelRecord
from engines.devices import Device
from engines.models import ModelStore
from engines.recognition import SAMPLE_RATE, RecognitionOptions
from engines.scheduler import Lane, Scheduler
from engines.tickets import Ticket
from pipelines.frames import Transcript
from pipelines.loader import CAPTIONS, load_plan
from pipelines.recordings import Recording

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


@dataclass
class Desk:
    """The pipeline of the REST routes, over real engines."""

    recording: Recording
    scheduler: Scheduler
    ears: Lane

    async def write(self, source: Source, model: str = "nano") -> list[Transcript]:
        async with asyncio.timeout(20), source.open() as audio:
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
    source = Source(talk(40), seconds=1.0)
    async with asyncio.timeout(20), source.open() as audio:
        transcripts = desk.recording.transcribe(audio, "nano", OPTIONS, owner="a")
        async with aclosing(transcripts):
            transcript = await anext(transcripts)
            ahead = source.taken - transcript.end / SAMPLE_RATE
    assert ahead < 30
    assert source.taken < len(source.audio) / SAMPLE_RATE / 2


@pytest.mark.one_loop
async def test_closing_the_iterator_frees_the_engines_and_lets_the_source_be_closed(
    desk: Desk,
) -> None:
    async with asyncio.timeout(20), Source(talk(10)).open() as audio:
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
