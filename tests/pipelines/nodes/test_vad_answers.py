"""Voice activity beside answers, with the real Silero at the pace of speech on virtual time."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from voice import Samples, say, silence

from engines import silero
from engines.base import EngineError, JobClass
from engines.devices import Device
from engines.generation import Generate, Plain
from engines.recognition import Recogniser, Word
from engines.scheduler import Scheduler
from engines.tickets import Ticket
from pipelines.context import Context
from pipelines.floor import Floor
from pipelines.frames import (
    SAMPLE_RATE,
    Audio,
    Clear,
    Commit,
    Configure,
    End,
    Frame,
    Hold,
    IdleTimeout,
    Pause,
    Respond,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipelines.graph import Graph, Node, connect
from pipelines.nodes.vad import DEAF_SECONDS, Settings, VoiceActivity
from pipelines.turns import WINDOW

pytestmark = pytest.mark.virtual_time

CHUNK = SAMPLE_RATE // 50


class Lasting(silero.Silero):
    """Silero for all tests: its network takes longer to load than a test."""

    def close(self) -> None:
        self._streams.clear()


@functools.cache
def network() -> Lasting:
    return Lasting()


@pytest.fixture(autouse=True)
def loaded() -> None:
    """Loading reads a file, which may not happen on the loop."""
    network()


def sentence() -> Samples:
    return say("Wait a moment, I have a question.")


def cough() -> Samples:
    return say("No.")[: SAMPLE_RATE // 6]


class NoModels:
    async def recogniser(self, name: str) -> Recogniser:
        raise EngineError(name)


class Writes(Node):
    """A node behind voice activity that sends the transcripts which it is told to."""

    accepts = (SpeechStarted,)
    emits = (Transcript,)

    def receive(self, frame: Frame) -> None:
        pass


@dataclass
class Ears:
    """A voice-activity node at work; audio reaches it as fast as it is spoken."""

    graph: Graph
    floor: Floor
    writes: Writes
    frames: list[tuple[float, Frame]] = field(default_factory=list)
    position: int = 0

    async def hear(self, *pieces: Samples) -> None:
        audio = np.concatenate(pieces)
        for at in range(0, len(audio), CHUNK):
            piece = audio[at : at + CHUNK]
            await asyncio.sleep(len(piece) / SAMPLE_RATE)
            self.graph.push(Audio(piece, self.position))
            self.position += len(piece)
        await asyncio.sleep(0.03)

    async def tell(self, *frames: Frame) -> None:
        for frame in frames:
            self.graph.push(frame)
        await asyncio.sleep(0.03)

    def understand(self, text: str, *, until: float | None = None, language: str = "en") -> None:
        """What a recogniser makes of the first item, up to now unless it says otherwise."""
        end = self.position / SAMPLE_RATE if until is None else until
        words = (Word(text, 0.0, end),)
        self.writes.emit(Transcript("item1", text, "tentative", words, language))

    def of(self, kind: type[Frame]) -> list[Any]:
        return [frame for _, frame in self.frames if isinstance(frame, kind)]

    def when(self, kind: type[Frame]) -> float:
        return next(at for at, frame in self.frames if isinstance(frame, kind))

    def kinds(self) -> list[str]:
        """What happened, in order, but for audio and pauses."""
        return [
            type(frame).__name__ for _, frame in self.frames if not isinstance(frame, Audio | Pause)
        ]

    def sound_of(self, item: str) -> Samples:
        return np.concatenate([audio.samples for audio in self.of(Audio) if audio.item == item])


@asynccontextmanager
async def ears(**settings: Any) -> AsyncIterator[Ears]:
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(replace(silero.recipe(1), build=network, worker="inline"))
    numbers = count(1)

    def listen(owner: str) -> Ticket:
        return lane.submit(None, owner=owner, kind=JobClass.FINAL, streaming=True)

    context = Context(
        owner="a",
        models=NoModels(),
        open_voice_activity=listen,
        new_item=lambda: f"item{next(numbers)}",
        deliver=lambda frame: None,
    )
    vad = VoiceActivity("vad", Settings.model_validate(settings), context)
    writes = Writes("writes")
    connect(vad, writes)
    graph = Graph([vad, writes], [vad])
    heard = Ears(graph, context.floor, writes)
    loop = asyncio.get_running_loop()
    vad.outputs.append(lambda frame: heard.frames.append((loop.time(), frame)))
    running = asyncio.create_task(graph.run())
    try:
        yield heard
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await scheduler.close()


def answer(response: str = "r1", *, provisional: bool = False) -> Respond:
    return Respond(response, "llm", Generate(Plain("hello")), provisional=provisional)


# Speech over an answer


async def test_a_cough_over_an_answer_holds_it_for_a_moment_and_is_no_turn() -> None:
    async with ears() as vad:
        vad.floor.play(60.0)
        await vad.hear(silence(1), cough(), silence(1))
        hold, over = vad.of(Hold)
        assert vad.kinds() == ["Hold", "Hold"]
        assert hold == Hold(hold.at)
        assert hold.at == pytest.approx(SAMPLE_RATE, abs=4 * WINDOW)
        assert over == Hold(over.at, over=True)
        assert 0.25 * SAMPLE_RATE < over.at - hold.at < 0.6 * SAMPLE_RATE


async def test_a_microphone_that_is_muted_in_a_cough_does_not_hold_the_answer_for_ever() -> None:
    async with ears() as vad:
        vad.floor.play(60.0)
        await vad.hear(silence(1), cough())
        assert [hold.over for hold in vad.of(Hold)] == [False]
        await vad.tell(Configure("transcribe", {}))
        await asyncio.sleep(DEAF_SECONDS)
        assert [hold.over for hold in vad.of(Hold)] == [False, True]
        await vad.hear(silence(1), sentence(), silence(1))
        assert vad.kinds()[-3:] == ["SpeechStarted", "SpeechStopped", "Commit"]


async def test_sound_that_stops_for_less_than_that_is_waited_for() -> None:
    async with ears() as vad:
        vad.floor.play(60.0)
        words = sentence()
        await vad.hear(silence(1), words[: SAMPLE_RATE // 4])
        await asyncio.sleep(DEAF_SECONDS - 0.2)
        await vad.hear(words[SAMPLE_RATE // 4 :], silence(1))
        assert vad.kinds() == ["Hold", "SpeechStarted", "SpeechStopped", "Commit"]


async def test_speech_over_an_answer_is_held_at_once_confirmed_soon_and_whole() -> None:
    async with ears() as vad:
        vad.floor.play(60.0)
        audio = np.concatenate((silence(1), sentence(), silence(1)))
        await vad.hear(audio)
        assert vad.kinds() == ["Hold", "SpeechStarted", "SpeechStopped", "Commit"]
        (hold,), (started,), (commit,) = vad.of(Hold), vad.of(SpeechStarted), vad.of(Commit)
        assert started.at == hold.at - round(0.3 * SAMPLE_RATE)
        assert vad.when(SpeechStarted) - vad.when(Hold) == pytest.approx(0.3, abs=0.1)
        np.testing.assert_array_equal(vad.sound_of("item1"), audio[started.at : commit.at])


async def test_speech_while_an_answer_is_being_made_is_confirmed_sooner() -> None:
    taken = {}
    for state in ("speaking", "thinking"):
        async with ears(confirm_speaking=0.6, confirm_thinking=0.15) as vad:
            if state == "thinking":
                vad.floor.take("r1")
            else:
                vad.floor.play(60.0)
            await vad.hear(silence(1), sentence())
            taken[state] = vad.when(SpeechStarted) - vad.when(Hold)
    assert taken["thinking"] == pytest.approx(0.1, abs=0.06)
    assert taken["speaking"] > taken["thinking"] + 0.35


async def test_what_began_before_the_answer_was_heard_is_confirmed_by_the_rule_of_then() -> None:
    async with ears(confirm_speaking=5.0, confirm_thinking=0.3) as vad:
        vad.floor.take("r1")
        await vad.hear(silence(1), sentence()[: SAMPLE_RATE // 5])
        assert vad.kinds() == ["Hold"]
        vad.floor.held = True
        assert vad.floor.state(0.0) == "speaking"
        await vad.hear(sentence()[SAMPLE_RATE // 5 :])
        assert vad.kinds() == ["Hold", "SpeechStarted"]


@pytest.mark.parametrize("settings", [{"interrupt": False}, {"confirm_speaking": 0.0}])
async def test_where_nothing_is_to_be_confirmed_nothing_is_held(settings: dict[str, Any]) -> None:
    async with ears(**settings) as vad:
        vad.floor.play(60.0)
        await vad.hear(silence(1), cough(), silence(1))
        assert vad.kinds() == ["SpeechStarted", "SpeechStopped", "Commit"]


async def test_in_silence_speech_is_a_turn_at_once() -> None:
    async with ears() as vad:
        await vad.hear(silence(1), cough(), silence(1))
        assert vad.kinds() == ["SpeechStarted", "SpeechStopped", "Commit"]


async def test_when_the_answer_ends_in_the_middle_of_an_attempt_it_is_a_turn() -> None:
    async with ears(confirm_speaking=5.0) as vad:
        vad.floor.play(1.4)
        await vad.hear(silence(1), sentence())
        assert vad.kinds() == ["Hold", "SpeechStarted"]
        assert vad.when(SpeechStarted) == pytest.approx(1.4, abs=0.1)
        (hold,), (started,) = vad.of(Hold), vad.of(SpeechStarted)
        assert started.at == hold.at - round(0.3 * SAMPLE_RATE)


@pytest.mark.parametrize(
    "given", [Clear(), Commit(), End(), Configure("vad", {"mode": "manual"})], ids=str
)
async def test_whatever_ends_an_attempt_ends_its_hold(given: Frame) -> None:
    async with ears() as vad:
        vad.floor.play(60.0)
        await vad.hear(silence(1), cough())
        assert [hold.over for hold in vad.of(Hold)] == [False]
        await vad.tell(given)
        assert [hold.over for hold in vad.of(Hold)] == [False, True]
        assert vad.of(SpeechStarted) == []


# When nobody speaks


async def test_nobody_speaking_after_an_answer_commits_the_silence_once() -> None:
    async with ears(idle_timeout=5.0) as vad:
        await vad.tell(answer())
        vad.floor.play(3.0)
        audio = silence(20)
        await vad.hear(audio)
        assert vad.kinds() == ["IdleTimeout", "Commit"]
        assert vad.when(IdleTimeout) == pytest.approx(8.0, abs=0.05)
        (timeout,), (commit,) = vad.of(IdleTimeout), vad.of(Commit)
        assert commit == Commit("item1", timeout.start, timeout.at, voiced=0.0)
        assert timeout.at - timeout.start == pytest.approx(5 * SAMPLE_RATE, abs=WINDOW)
        np.testing.assert_array_equal(vad.sound_of("item1"), audio[timeout.start : timeout.at])
        await vad.tell(answer("r2"))
        await vad.hear(silence(6))
        assert [timeout.item for timeout in vad.of(IdleTimeout)] == ["item1", "item2"]


async def test_the_silent_audio_is_sent_between_the_timeout_and_the_commit() -> None:
    async with ears(idle_timeout=1.0) as vad:
        await vad.tell(answer())
        await vad.hear(silence(2))
        kinds = [type(frame).__name__ for _, frame in vad.frames]
        assert kinds == ["IdleTimeout", "Audio", "Commit"]


async def test_the_silence_that_is_committed_is_no_longer_than_what_is_kept() -> None:
    async with ears(idle_timeout=60.0) as vad:
        await vad.tell(answer())
        await vad.hear(silence(62))
        (timeout,) = vad.of(IdleTimeout)
        assert timeout.at - timeout.start == pytest.approx(30 * SAMPLE_RATE, abs=2 * WINDOW)


async def test_an_answer_that_is_still_made_or_heard_is_not_idle() -> None:
    async with ears(idle_timeout=1.0) as vad:
        vad.floor.take("r1")
        await vad.tell(answer())
        await vad.hear(silence(5))
        vad.floor.play(asyncio.get_running_loop().time() + 5)
        vad.floor.leave("r1")
        await vad.hear(silence(5))
        assert vad.frames == []
        await vad.hear(silence(1.5))
        assert vad.kinds() == ["IdleTimeout", "Commit"]


async def test_without_an_answer_there_is_no_idle_timeout() -> None:
    async with ears(idle_timeout=1.0) as vad:
        await vad.tell(answer(provisional=True))
        await vad.hear(silence(5))
        assert vad.frames == []


async def test_without_any_audio_there_is_nothing_to_commit() -> None:
    async with ears(idle_timeout=1.0) as vad:
        await vad.tell(answer())
        await asyncio.sleep(10)
        assert vad.frames == []
        await vad.hear(silence(0.5))
        assert vad.kinds() == ["IdleTimeout", "Commit"]


async def test_speech_stops_the_idle_timer_until_the_next_answer() -> None:
    async with ears(idle_timeout=2.0, silence=3.0) as vad:
        await vad.tell(answer())
        await vad.hear(silence(1), sentence(), silence(10))
        assert vad.kinds() == ["SpeechStarted", "SpeechStopped", "Commit"]


@pytest.mark.parametrize(("texts", "timeouts"), [(("", ""), 1), (("", "Hi."), 0), (("Hi.", ""), 0)])
async def test_the_idle_timer_goes_on_if_none_of_several_sounds_had_words(
    texts: tuple[str, str], timeouts: int
) -> None:
    async with ears(idle_timeout=2.0) as vad:
        await vad.tell(answer())
        await vad.hear(silence(0.5), sentence(), silence(1), sentence(), silence(1))
        for item, text in zip(("item1", "item2"), texts, strict=True):
            vad.writes.emit(Transcript(item, text, "final"))
        await vad.hear(silence(3))
        assert len(vad.of(IdleTimeout)) == timeouts


async def test_speech_that_is_cleared_does_not_end_the_idle_timer() -> None:
    async with ears(idle_timeout=2.0) as vad:
        await vad.tell(answer())
        await vad.hear(silence(0.5), sentence())
        await vad.tell(Clear())
        await vad.hear(silence(3))
        assert vad.kinds() == ["SpeechStarted", "Clear", "IdleTimeout", "Commit"]


async def test_a_commit_by_the_client_puts_the_idle_timer_off() -> None:
    async with ears(idle_timeout=2.0) as vad:
        await vad.tell(answer())
        await vad.hear(silence(1.5))
        await vad.tell(Commit())
        await vad.hear(silence(1.5))
        assert vad.kinds() == ["Commit"]
        await vad.hear(silence(1.0))
        assert vad.kinds() == ["Commit", "IdleTimeout", "Commit"]


# How long a silence ends a turn


async def turn_ends_after(text: str | None, language: str = "en", **settings: Any) -> float:
    """Seconds from the end of speech to the end of its turn, understood 0.1 s into its pause."""
    async with ears(silence=0.7, **settings) as vad:
        await vad.hear(silence(0.5), sentence(), silence(0.3))
        if text is not None:
            vad.understand(text, language=language)
        await vad.hear(silence(10))
        (stopped,) = vad.of(SpeechStopped)
        return float(stopped.at / SAMPLE_RATE - 0.5 - len(sentence()) / SAMPLE_RATE)


async def test_by_the_text_a_turn_ends_soon_or_is_waited_for() -> None:
    finished = await turn_ends_after("turn off the light please", eagerness="medium")
    doubtful = await turn_ends_after("well I would like the", eagerness="medium")
    silent = await turn_ends_after(None, eagerness="medium")
    assert finished == pytest.approx(0.4, abs=0.2)
    assert silent == pytest.approx(0.7, abs=0.2)
    assert doubtful == pytest.approx(4.0, abs=0.3)


@pytest.mark.parametrize(("eagerness", "longest"), [("low", 8), ("auto", 4), ("high", 2)])
async def test_eagerness_bounds_the_wait(eagerness: str, longest: float) -> None:
    wait = await turn_ends_after("and then I, um", eagerness=eagerness)
    assert wait == pytest.approx(longest, abs=0.2)


async def test_without_eagerness_the_text_says_nothing() -> None:
    assert await turn_ends_after("well I would like the") == pytest.approx(0.7, abs=0.2)


async def test_a_language_that_no_model_knows_ends_by_silence_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pipelines.turn_ends")
    wait = await turn_ends_after("mida sa teed", "et", eagerness="medium")
    assert wait == pytest.approx(0.7, abs=0.2)
    assert ["'et'" in message for message in caplog.messages] == [True]


async def test_newer_text_during_the_quiet_changes_the_wait() -> None:
    async with ears(eagerness="low", silence=0.7) as vad:
        await vad.hear(silence(0.5), sentence())
        vad.understand("I would like the")
        await vad.hear(silence(2))
        assert vad.of(SpeechStopped) == []
        vad.understand("I would like the second one please")
        await vad.hear(silence(0.1))
        assert len(vad.of(SpeechStopped)) == 1


async def test_text_that_lags_behind_the_speech_cannot_end_its_turn_early() -> None:
    async with ears(eagerness="medium", silence=1.5) as vad:
        await vad.hear(silence(0.5), sentence())
        vad.understand("yes please", until=1.0)
        await vad.hear(silence(1.2))
        assert vad.of(SpeechStopped) == []
        await vad.hear(silence(0.6))
        assert len(vad.of(SpeechStopped)) == 1


async def test_speech_that_goes_on_after_a_pause_is_waited_for_again() -> None:
    async with ears(eagerness="medium", silence=0.7) as vad:
        await vad.hear(silence(0.5), sentence())
        vad.understand("I would like the")
        await vad.hear(silence(2), sentence())
        vad.understand("I would like the second one please")
        await vad.hear(silence(1.0))
        assert vad.kinds() == ["SpeechStarted", "SpeechStopped", "Commit"]


async def test_eagerness_that_is_taken_away_in_a_pause_leaves_it_to_the_silence() -> None:
    async with ears(eagerness="low", silence=0.7) as vad:
        await vad.hear(silence(0.5), sentence())
        vad.understand("I would like the")
        await vad.hear(silence(1.5))
        await vad.tell(Configure("vad", {"eagerness": None}))
        await vad.hear(silence(0.1))
        assert len(vad.of(SpeechStopped)) == 1
