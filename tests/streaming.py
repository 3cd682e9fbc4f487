"""Speech through the captions pipeline as a live session has it, as fast as the engines answer.

Audio goes in a tenth of a second at a time, and the next only when nothing is being decoded, so a
slow machine is never behind.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from voice import RATE, WHISPER_NANO, Samples, silence

from engines import silero
from engines.agreement import normalised
from engines.base import JobClass
from engines.catalogue import Catalogue, ModelRecord
from engines.devices import Device
from engines.models import ModelStore
from engines.recognition import RecognitionOptions
from engines.scheduler import Scheduler
from engines.tickets import Ticket
from pipelines.context import Context
from pipelines.frames import Audio, Commit, End, Frame, Transcript
from pipelines.loader import CAPTIONS, load_plan
from pipelines.recordings import Recording

CHUNK = RATE // 10
NANO = ModelRecord(
    name="nano",
    engine="whisper",
    source=str(WHISPER_NANO),
    options={"device": "cpu", "floor_seconds": 2, "tail_seconds": 0.3, "context_tokens": 0},
)


@dataclass
class Utterance:
    """What a session told of one utterance."""

    committed: str = ""
    text: str | None = None
    partials_while_speaking: int = 0
    complete: bool = False

    @property
    def contradicts(self) -> bool:
        """Whether the final takes back words that were committed, whatever their punctuation."""
        committed = [normalised(word) for word in self.committed.split()]
        final = [normalised(word) for word in (self.text or "").split()]
        return final[: len(committed)] != committed


@dataclass
class Told:
    """What a session told, utterance by utterance."""

    utterances: dict[str, Utterance] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, frame: Frame) -> None:
        match frame:
            case Transcript(item=item, state=state, text=text):
                utterance = self.utterances.setdefault(item, Utterance())
                if state == "final":
                    utterance.text = text
                    return
                if state == "committed":
                    utterance.committed += text
                utterance.partials_while_speaking += not utterance.complete and bool(text)
            case Commit(item=str(item)):
                self.utterances.setdefault(item, Utterance()).complete = True
            case End():
                self.ended.set()

    @property
    def text(self) -> str:
        return " ".join(u.text or "" for u in self.utterances.values())


@dataclass
class Ears:
    """One Whisper with its voice activity, for live speech and for whole recordings."""

    scheduler: Scheduler
    store: ModelStore
    model: str
    listen: Callable[[str], Ticket]
    """Opens a stream of voice activity."""

    async def live(self, audio: Samples) -> Told:
        """Hear it as a session."""
        told = Told()
        context = Context(
            "speaker", self.store, self.listen, _numbered(), told.hear, model=self.model
        )
        graph = (await asyncio.to_thread(load_plan, CAPTIONS)).build(context)
        running = asyncio.create_task(graph.run())
        try:
            for at in range(0, len(audio), CHUNK):
                graph.push(Audio(audio[at : at + CHUNK], at))
                await self._idle()
            graph.push(End())
            await told.ended.wait()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return told

    async def whole(self, audio: Samples) -> str:
        """Hear it as an upload."""
        plan = await asyncio.to_thread(load_plan, CAPTIONS)
        recording = Recording(plan, self.store, self.listen)
        options = RecognitionOptions(partials=False)
        transcripts = recording.transcribe(_blocks(audio), self.model, options, owner="file")
        return " ".join([transcript.text async for transcript in transcripts])

    async def _idle(self) -> None:
        """Wait until no engine has anything to do."""
        calm = 0
        while calm < 3:
            await asyncio.sleep(0.0005)
            lanes = [lane.statistics() for lane in self.scheduler.lanes]
            calm = 0 if any(lane.waiting or lane.running for lane in lanes) else calm + 1


async def _blocks(audio: Samples) -> AsyncIterator[Samples]:
    for at in range(0, len(audio), RATE):
        yield audio[at : at + RATE]


def _numbered() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"item_{next(numbers)}"


def padded(audio: Samples) -> Samples:
    """With the quiet before and after that a microphone hears."""
    return np.concatenate((silence(0.5), audio, silence(1.0)))


@asynccontextmanager
async def ears(directory: Path, record: ModelRecord = NANO) -> AsyncIterator[Ears]:
    """Engines in this process; `directory` is empty."""
    scheduler = Scheduler(Device(2))
    lane = scheduler.open(silero.recipe(2))
    catalogue = await asyncio.to_thread(Catalogue, directory, (record,))
    store = await asyncio.to_thread(ModelStore, catalogue, scheduler)

    def listen(owner: str) -> Ticket:
        return lane.submit(None, owner=owner, kind=JobClass.FINAL, streaming=True)

    try:
        yield Ears(scheduler, store, record.name, listen)
    finally:
        await store.close()
        await scheduler.close()
