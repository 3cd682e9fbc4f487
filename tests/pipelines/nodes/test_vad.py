"""Voice activity with the real Silero: the same utterances however the audio arrives."""

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from typing import Any

import numpy as np
import pytest
from voice import Samples, say, silence

from engines import silero
from engines.base import EngineError, JobClass, Outcome, Work
from engines.devices import Device
from engines.recognition import Recogniser
from engines.scheduler import Lane, Scheduler
from engines.tickets import Ticket
from pipelines.context import Bounds, Context
from pipelines.frames import (
    SAMPLE_RATE,
    Audio,
    Clear,
    Commit,
    Configure,
    End,
    Error,
    Frame,
    Pause,
    SpeechStarted,
    SpeechStopped,
    Text,
)
from pipelines.gate import EnergyGate
from pipelines.graph import Graph
from pipelines.nodes.vad import Settings, VoiceActivity
from pipelines.turns import WINDOW

SENTENCES = ("The next meeting is on Friday.", "Who won the football game this year?", "I agree.")


class Counting(silero.Silero):
    """Silero that counts its steps and windows."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.windows = 0

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        self.steps += 1
        self.windows += sum(len(audio) for one in work for audio in one.inputs) // WINDOW
        return super().step(work)


class NoModels:
    async def recogniser(self, name: str) -> Recogniser:
        raise EngineError(name)


@dataclass
class Ears:
    """A voice-activity node at work, and what it has sent."""

    node: VoiceActivity
    graph: Graph
    silero: Counting
    lane: Lane
    frames: list[Frame] = field(default_factory=list)
    position: int = 0

    async def hear(self, audio: Samples, chunk: float = 0.1) -> None:
        """Audio in pieces of `chunk` seconds, all of it worked through."""
        size = round(chunk * SAMPLE_RATE)
        for at in range(0, len(audio), size):
            piece = audio[at : at + size]
            await self.graph.ready()
            self.graph.push(Audio(piece, self.position))
            self.position += len(piece)
        await self.settle()

    async def say(self, *frames: Frame) -> None:
        for frame in frames:
            self.graph.push(frame)
        await self.settle()

    async def settle(self) -> None:
        """Wait until a mark has passed through the node behind everything else."""
        mark = Text("mark", "mark", "mark")
        self.graph.push(mark)
        async with asyncio.timeout(120):
            while self.frames[-1:] != [mark]:  # noqa: ASYNC110 - the node has no event for it
                await asyncio.sleep(0.001)
        self.frames.pop()

    def of(self, kind: type[Frame]) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def turns(self) -> list[tuple[int, int]]:
        starts, stops = self.of(SpeechStarted), self.of(SpeechStopped)
        return [(a.at, b.at) for a, b in zip(starts, stops, strict=True)]

    def item_audio(self) -> dict[str, tuple[int, Samples]]:
        """Each item's first position and its audio, which is checked to have no gap."""
        items: dict[str, tuple[int, Samples]] = {}
        for audio in self.of(Audio):
            assert audio.item is not None
            start, before = items.get(audio.item, (audio.at, np.zeros(0, np.float32)))
            assert audio.at == start + len(before)
            items[audio.item] = (start, np.concatenate((before, audio.samples)))
        return items


@asynccontextmanager
async def ears(
    settings: Settings | None = None,
    bounds: Bounds | None = None,
    *,
    always_open: bool = False,
) -> AsyncIterator[Ears]:
    engine = await asyncio.to_thread(Counting)
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(replace(silero.recipe(1), build=lambda: engine))
    frames: list[Frame] = []
    numbers = count(1)

    def listen(owner: str) -> Ticket:
        return lane.submit(None, owner=owner, kind=JobClass.FINAL, streaming=True)

    context = Context(
        owner="a",
        models=NoModels(),
        open_voice_activity=listen,
        new_item=lambda: f"item{next(numbers)}",
        deliver=frames.append,
        bounds=bounds or Bounds(),
        new_gate=functools.partial(EnergyGate, 0.0) if always_open else EnergyGate,
    )
    node = VoiceActivity("vad", settings or Settings.model_validate({}), context)
    node.outputs.append(frames.append)
    graph = Graph([node], [node])
    running = asyncio.create_task(graph.run())
    try:
        yield Ears(node, graph, engine, lane, frames)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await scheduler.close()


def settings(**given: Any) -> Settings:
    return Settings.model_validate(given)


MANUAL = settings(mode="manual")


@functools.cache
def conversation() -> Samples:
    """Three sentences with pauses of about a second around them."""
    pieces = [silence(1.0)]
    for number, sentence in enumerate(SENTENCES):
        pieces += [say(sentence), silence(1.1 + 0.013 * number)]
    return np.concatenate(pieces)


def spoken() -> list[tuple[int, int]]:
    """Where the sentences of the conversation truly are, in samples."""
    at, found = SAMPLE_RATE, []
    for number, sentence in enumerate(SENTENCES):
        end = at + len(say(sentence))
        found.append((at, end))
        at = end + len(silence(1.1 + 0.013 * number))
    return found


async def heard_in_chunks(chunk: float, *, always_open: bool = False) -> Ears:
    async with ears(always_open=always_open) as vad:
        await vad.hear(conversation(), chunk)
        await vad.say(End())
        return vad


# The server finds the turns


async def test_each_sentence_is_an_utterance_around_what_was_said() -> None:
    vad = await heard_in_chunks(0.1)
    padding, quiet = 0.3 * SAMPLE_RATE, 0.5 * SAMPLE_RATE
    assert len(vad.turns()) == len(SENTENCES)
    for (start, stop), (first, last) in zip(vad.turns(), spoken(), strict=True):
        assert first - padding - 4 * WINDOW <= start <= first
        assert last < stop <= last + quiet + 0.25 * SAMPLE_RATE


async def test_frames_of_an_utterance_come_in_their_order() -> None:
    vad = await heard_in_chunks(0.1)
    kinds: dict[str, list[str]] = {}
    for frame in vad.frames:
        if isinstance(frame, SpeechStarted | SpeechStopped | Commit | Audio):
            names = kinds.setdefault(str(frame.item), [])
            if names[-1:] != [type(frame).__name__]:
                names.append(type(frame).__name__)
    order = ["SpeechStarted", "Audio", "SpeechStopped", "Commit"]
    assert kinds == {f"item{n}": order for n in (1, 2, 3)}
    assert vad.frames[-1] == End()


async def test_an_utterances_audio_is_the_sound_between_its_edges() -> None:
    vad = await heard_in_chunks(0.1)
    for commit in vad.of(Commit):
        start, samples = vad.item_audio()[commit.item]
        assert (commit.start, commit.at) == (start, start + len(samples))
        np.testing.assert_array_equal(samples, conversation()[commit.start : commit.at])
    assert [(c.start, c.at) for c in vad.of(Commit)] == vad.turns()


@functools.cache
def halting() -> Samples:
    """A turn with a pause in its middle, and the silence that ends it."""
    return np.concatenate((silence(0.5), say("I agree."), silence(0.3), say("No."), silence(2)))


@pytest.mark.parametrize("chunk", [0.02, 0.1, 1.0])
async def test_a_pause_comes_between_the_audio_before_it_and_after_it(chunk: float) -> None:
    async with ears(settings(silence=1.0)) as vad:
        await vad.hear(halting(), chunk)
        assert len(vad.turns()) == 1
        pauses = vad.of(Pause)
        resumed = [pause.resumed for pause in pauses]
        assert len(pauses) >= 3, "espeak speaks with a pause, stops, and may stop for letters too"
        assert resumed == [n % 2 == 1 for n in range(len(pauses))]
        at = vad.turns()[0][0]
        for frame in vad.frames:
            if isinstance(frame, Audio):
                at = frame.end
            elif isinstance(frame, Pause):
                assert (frame.item, frame.at) == ("item1", at)
        end = vad.turns()[0][1]
        assert end - pauses[-1].at == pytest.approx(0.8 * SAMPLE_RATE, abs=2 * WINDOW)
        ((start, samples),) = vad.item_audio().values()
        np.testing.assert_array_equal(samples, halting()[start:end])


async def test_without_turn_detection_nobody_pauses() -> None:
    async with ears(MANUAL) as vad:
        await vad.hear(halting())
        assert vad.of(Pause) == []


async def test_a_pause_is_over_when_turn_detection_is_turned_off() -> None:
    speech = np.concatenate((say("I agree."), silence(0.4)))
    async with ears(settings(silence=3.0)) as vad:
        await vad.hear(speech)
        last = vad.of(Pause)[-1]
        assert not last.resumed
        await vad.say(Configure("vad", {"mode": "manual"}))
        over = vad.of(Pause)[-1]
        assert vad.frames[-1] == over == Pause("item1", over.at, resumed=True)
        assert vad.of(Audio)[-1].end == over.at > last.at
        await vad.hear(silence(1))
        await vad.say(Configure("vad", {"mode": "server"}))
        await vad.hear(silence(1))
        assert not vad.of(Pause)[-1].resumed, "who took over the turn hears its pause"


@pytest.mark.one_loop
@pytest.mark.parametrize("chunk", [0.01, 0.02, 0.064, 0.256, 1.0])
async def test_the_size_of_chunks_changes_neither_edges_nor_audio(chunk: float) -> None:
    reference, vad = await heard_in_chunks(0.1), await heard_in_chunks(chunk)
    assert vad.turns() == reference.turns()
    for (start, samples), (was, before) in zip(
        vad.item_audio().values(), reference.item_audio().values(), strict=True
    ):
        assert start == was
        np.testing.assert_array_equal(samples, before)


@pytest.mark.one_loop
async def test_the_gate_never_changes_where_speech_is() -> None:
    gated, ungated = await heard_in_chunks(0.1), await heard_in_chunks(0.1, always_open=True)
    for mine, theirs in zip(gated.turns(), ungated.turns(), strict=True):
        assert mine == pytest.approx(theirs, abs=WINDOW)


@pytest.mark.one_loop
async def test_faint_speech_after_a_long_silence_is_found_where_an_open_gate_finds_it() -> None:
    faint = np.concatenate((silence(8), say(SENTENCES[0]) * 0.06, silence(3), say("No.") * 0.06))
    faint = np.concatenate((faint, silence(2)))
    found = []
    for always_open in (False, True):
        async with ears(always_open=always_open) as vad:
            await vad.hear(faint)
            await vad.say(End())
            found.append(vad.turns())
    assert found[1]
    for mine, theirs in zip(*found, strict=True):
        # The model still remembers the silence that only the open gate let it hear.
        assert mine == pytest.approx(theirs, abs=2 * WINDOW)


async def test_the_first_word_is_kept_and_consecutive_items_never_overlap() -> None:
    words = np.concatenate(
        [
            silence(1),
            *(piece for word in ("Yes.", "No.") * 3 for piece in (say(word), silence(0.6))),
        ]
    )
    async with ears(settings(silence=0.2, prefix_padding=1.0)) as vad:
        await vad.hear(words)
        await vad.say(End())
        edges = [edge for turn in vad.turns() for edge in turn]
        assert len(edges) >= 6
        assert edges == sorted(edges)
        spans = [(start, start + len(audio)) for start, audio in vad.item_audio().values()]
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
        first = np.flatnonzero(np.abs(words) > 0.05)[0]
        assert vad.turns()[0][0] < first


@pytest.mark.one_loop
@pytest.mark.parametrize(
    "quiet", [np.zeros(600 * SAMPLE_RATE, np.float32), silence(600)], ids=["digital", "room"]
)
async def test_ten_minutes_of_silence_cost_no_inference_and_send_nothing(quiet: Samples) -> None:
    async with ears() as vad:
        await vad.hear(quiet, chunk=0.5)
        assert vad.silero.steps == 0
        assert vad.frames == []
        assert vad.lane.live == 0


async def test_after_speech_the_stream_is_given_back() -> None:
    async with ears() as vad:
        await vad.hear(np.concatenate((say(SENTENCES[2]), silence(3))))
        heard = vad.silero.windows
        assert vad.lane.live == 0
        await vad.hear(silence(5))
        assert vad.silero.windows == heard


async def test_the_end_closes_what_is_open() -> None:
    async with ears() as vad:
        speech = say(SENTENCES[1])[: 20_000 + 100]
        await vad.hear(speech)
        await vad.say(End())
        assert [type(frame) for frame in vad.frames[-3:]] == [SpeechStopped, Commit, End]
        assert vad.of(Commit)[0].at == vad.of(SpeechStopped)[0].at == len(speech)
        ((start, samples),) = vad.item_audio().values()
        np.testing.assert_array_equal(samples, speech[start:])


async def test_the_end_of_silence_has_nothing_to_close() -> None:
    async with ears() as vad:
        await vad.hear(silence(2))
        await vad.say(End())
        assert vad.frames == [End()]


async def test_the_backlog_is_what_was_not_heard() -> None:
    async with ears() as vad:
        vad.graph.push(Audio(silence(1), 0))
        vad.graph.push(Audio(silence(1), SAMPLE_RATE))
        assert vad.node.backlog == 2 * SAMPLE_RATE
        await vad.settle()
        assert vad.node.backlog == 0


# The client commits and clears


async def test_a_commit_in_the_middle_of_speech_ends_the_item_there() -> None:
    speech = say(SENTENCES[1])
    async with ears() as vad:
        await vad.hear(speech[:16_100])
        await vad.say(Commit(request="evt_1"))
        assert vad.of(SpeechStopped) == []
        commit = vad.of(Commit)[0]
        assert (commit.item, commit.at, commit.request) == ("item1", 16_100, "evt_1")
        await vad.hear(np.concatenate((speech[16_100:], silence(1))))
        assert vad.of(SpeechStarted)[1].at >= 16_100
        items = list(vad.item_audio().values())
        assert items[0][0] + len(items[0][1]) == 16_100 <= items[1][0]


async def test_a_commit_in_silence_takes_the_latest_unspoken_audio() -> None:
    quiet = silence(3)
    async with ears(bounds=Bounds(unspoken=1.0)) as vad:
        await vad.hear(quiet)
        await vad.say(Commit())
        (commit,) = vad.of(Commit)
        assert commit.at == len(quiet)
        assert SAMPLE_RATE <= commit.at - commit.start <= SAMPLE_RATE + 2 * WINDOW
        ((start, samples),) = vad.item_audio().values()
        assert start == commit.start
        np.testing.assert_array_equal(samples, quiet[start:])
        assert vad.of(SpeechStarted) == []
        await vad.say(Commit(request="evt_2"))
        assert vad.of(Commit) == [commit]
        assert vad.of(Error)[0].code == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize("mode", ["server", "manual"])
async def test_a_commit_of_next_to_nothing_is_refused_with_the_length(mode: str) -> None:
    async with ears(settings(mode=mode)) as vad:
        await vad.say(Commit(request="evt_1"))
        await vad.hear(silence(0.05))
        await vad.say(Commit(request="evt_2"))
        first, second = vad.of(Error)
        assert first == Error(
            "input_audio_buffer_commit_empty",
            "Error committing input audio buffer: buffer too small. Expected at least 100ms of "
            "audio, but buffer only has 0.00ms of audio.",
            request="evt_1",
        )
        assert "only has 50.00ms of audio" in second.message
        assert second.request == "evt_2"
        await vad.hear(silence(0.05))
        await vad.say(Commit())
        assert vad.of(Commit)[0].at == 1600


async def test_a_clear_in_the_middle_of_speech_forgets_it_and_the_next_words_are_new() -> None:
    speech = say(SENTENCES[1])
    async with ears() as vad:
        await vad.hear(speech[:16_100])
        await vad.say(Clear(request="evt_1"))
        assert vad.frames[-1] == Clear("item1", request="evt_1")
        await vad.hear(np.concatenate((speech[16_100:], silence(1))))
        assert [commit.item for commit in vad.of(Commit)] == ["item2"]
        assert vad.of(SpeechStarted)[1].at >= 16_100
        assert vad.item_audio()["item2"][0] >= 16_100


async def test_a_clear_in_silence_leaves_nothing_to_commit() -> None:
    async with ears() as vad:
        await vad.hear(silence(2))
        await vad.say(Clear(), Commit())
        assert vad.of(Clear) == [Clear()]
        assert vad.of(Commit) == []
        assert "0.00ms" in vad.of(Error)[0].message


# Manual mode


async def test_in_manual_mode_everything_until_the_commit_is_one_item_and_nothing_is_scored() -> (
    None
):
    audio = np.concatenate((silence(0.7), say(SENTENCES[0]), silence(2.003)))
    async with ears(MANUAL) as vad:
        await vad.hear(audio, chunk=0.03)
        await vad.say(Commit(request="evt_1"))
        await vad.hear(audio[:3000])
        await vad.say(End())
        first, second = vad.of(Commit)
        assert (first.start, first.at, first.request) == (0, len(audio), "evt_1")
        assert (second.start, second.at) == (len(audio), len(audio) + 3000)
        np.testing.assert_array_equal(vad.item_audio()["item1"][1], audio)
        assert vad.of(SpeechStarted) == vad.of(SpeechStopped) == []
        assert vad.silero.steps == 0


async def test_a_full_buffer_is_said_once_and_a_commit_makes_room() -> None:
    async with ears(MANUAL, Bounds(manual_buffer=1.0)) as vad:
        await vad.hear(silence(3))
        (full,) = vad.of(Error)
        assert full.code == "input_audio_buffer_full"
        assert "1 seconds" in full.message
        assert len(vad.item_audio()["item1"][1]) == SAMPLE_RATE
        await vad.say(Commit())
        await vad.hear(silence(0.5))
        await vad.say(Commit())
        assert len(vad.of(Error)) == 1
        assert vad.of(Commit)[1].start == 3 * SAMPLE_RATE
        assert len(vad.item_audio()["item2"][1]) == SAMPLE_RATE // 2
        await vad.hear(silence(1.5))
        assert len(vad.of(Error)) == 2


# Settings that change


async def test_turning_detection_on_takes_over_the_open_item() -> None:
    speech = say(SENTENCES[0])
    async with ears(MANUAL) as vad:
        await vad.hear(speech[:16_000])
        await vad.say(Configure("vad", {"mode": "server"}))
        await vad.hear(np.concatenate((speech[16_000:], silence(2))))
        (commit,) = vad.of(Commit)
        assert (commit.item, commit.start) == ("item1", 0)
        assert len(speech) < commit.at < len(speech) + SAMPLE_RATE
        assert vad.of(SpeechStarted) == [SpeechStarted("item1", 0)]
        assert [stopped.item for stopped in vad.of(SpeechStopped)] == ["item1"]


async def test_what_is_taken_over_starts_to_be_speech_when_somebody_speaks() -> None:
    async with ears(MANUAL) as vad:
        await vad.hear(silence(1))
        await vad.say(Configure("vad", {"mode": "server"}))
        await vad.hear(silence(0.2))
        assert vad.of(SpeechStarted) == []
        await vad.hear(np.concatenate((say(SENTENCES[0]), silence(2))))
        kinds = [
            type(frame).__name__ for frame in vad.frames if not isinstance(frame, Audio | Pause)
        ]
        assert kinds == ["SpeechStarted", "SpeechStopped", "Commit"]


async def test_silence_that_is_taken_over_neither_starts_nor_stops() -> None:
    async with ears(MANUAL) as vad:
        await vad.hear(silence(1))
        await vad.say(Configure("vad", {"mode": "server"}))
        await vad.hear(silence(2))
        assert [type(frame) for frame in vad.frames if not isinstance(frame, Audio | Pause)] == [
            Commit
        ]


async def test_turning_detection_off_in_speech_leaves_the_item_to_the_client() -> None:
    speech = say(SENTENCES[0])
    async with ears() as vad:
        await vad.hear(speech[:16_000])
        await vad.say(Configure("vad", {"mode": "manual"}))
        assert vad.lane.live == 0
        await vad.hear(np.concatenate((speech[16_000:], silence(2))))
        assert vad.of(Commit) == []
        await vad.say(Commit())
        (commit,) = vad.of(Commit)
        assert (commit.item, commit.at) == ("item1", len(speech) + 2 * SAMPLE_RATE)
        assert len(vad.item_audio()) == 1


async def test_after_manual_mode_silero_hears_nothing_from_before_it() -> None:
    async with ears() as vad:
        await vad.hear(np.concatenate((say(SENTENCES[0]), silence(0.1))))
        await vad.say(Clear(), Configure("vad", {"mode": "manual"}))
        await vad.hear(silence(10))
        await vad.say(Clear(), Configure("vad", {"mode": "server"}))
        before = vad.silero.windows
        tick = np.zeros(WINDOW, np.float32)
        tick[::2] = 0.01
        await vad.hear(tick, chunk=0.032)
        assert vad.silero.windows - before == 1, "the replay is not from another time"
        assert vad.of(SpeechStarted)[1:] == []


async def test_a_longer_silence_keeps_two_sentences_together() -> None:
    async with ears() as vad:
        await vad.hear(conversation()[: spoken()[0][0]])
        await vad.say(Configure("vad", {"silence": 3.0}))
        await vad.hear(np.concatenate((conversation()[spoken()[0][0] :], silence(3))))
        assert len(vad.turns()) == 1


async def test_settings_for_another_node_pass_by() -> None:
    async with ears() as vad:
        await vad.say(Configure("transcribe", {"language": "de"}), Configure("vad", {}))
        assert vad.frames == [Configure("transcribe", {"language": "de"})]
