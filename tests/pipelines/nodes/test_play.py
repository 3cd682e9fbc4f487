"""Sound leaves at once or paced, stops at a hold, goes on, or is forgotten; the floor knows."""

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import numpy as np
import pytest
from answer_nodes import RATE, Stage, respond, stage
from pydantic import ValidationError

from pipelines.frames import (
    Answered,
    AudioOut,
    Configure,
    End,
    Frame,
    Hold,
    Interrupt,
    SpeechStarted,
    Text,
    ToolCall,
    Transcript,
)
from pipelines.nodes.play import Player, Settings

pytestmark = pytest.mark.virtual_time

STARTED = SpeechStarted("u", 0)


def playing(lead: float | None = None) -> AbstractAsyncContextManager[Stage]:
    return stage(partial(Player, "play", Settings(lead=lead)))


def sound(seconds: float, response: str = "r", item: str = "a", first: int = 0) -> AudioOut:
    samples = np.arange(first, first + round(seconds * RATE), dtype=np.float32)
    return AudioOut(response, item, samples, RATE)


def samples_of(played: Stage) -> list[float]:
    return [sample for frame in played.of(AudioOut) for sample in frame.samples]


def longest_gap(played: Stage) -> float:
    """Seconds in which a listener at 1x had nothing to hear before the end."""
    heard_until, longest = 0.0, 0.0
    for now, frame in played.sent:
        if isinstance(frame, AudioOut):
            longest = max(longest, now - heard_until if heard_until else 0.0)
            heard_until = max(heard_until, now) + len(frame.samples) / frame.rate
    return longest


def stall(seconds: float) -> None:
    """The loop does nothing for so long."""
    loop: Any = asyncio.get_running_loop()
    loop._jumping.now += seconds


# Without a lead


async def test_without_a_lead_everything_leaves_as_it_comes() -> None:
    async with playing() as played:
        given = [Text("r", "a", "Hi."), sound(9.0), sound(9.0), Answered("r")]
        for frame in given:
            played.graph.push(frame)
        assert played.frames == given
        assert played.context.floor.state(17.9) == "speaking"
        assert played.context.floor.state(18.1) == "idle"
        assert played.context.floor.quiet_since(20.0) == pytest.approx(18.0)


async def test_a_hold_stops_sound_and_its_end_and_nothing_else() -> None:
    async with playing() as played:
        text, call = Text("r", "a", "Hi."), ToolCall("r", "c", "call", "f")
        await played.push(Hold(0), sound(1.0), text, call, Answered("r"), Answered("written"))
        assert played.frames == [Hold(0), text, call, Answered("written")]
        assert played.context.floor.held
        await played.push(Hold(0, over=True))
        assert [type(frame) for frame in played.frames[4:]] == [AudioOut, Answered, Hold]
        assert not played.context.floor.held


async def test_a_hold_without_sound_to_keep_does_not_take_the_floor() -> None:
    async with playing() as played:
        await played.push(Hold(0))
        assert played.state == "idle"
        await played.push(sound(0.1))
        assert played.state == "speaking"


# With a lead


async def test_a_lead_bounds_what_is_ahead_of_the_listener() -> None:
    async with playing(0.2) as played:
        played.graph.push(sound(2.0))
        began = played.now
        while played.seconds() < 2.0:
            assert played.seconds() - (played.now - began) <= 0.2 + 1e-6
            await asyncio.sleep(0.005)
        assert played.now - began == pytest.approx(1.8, abs=0.05)
        assert longest_gap(played) == 0.0


async def test_stalls_of_50_ms_with_a_lead_of_100_leave_no_gap() -> None:
    async with playing(0.1) as played:
        played.graph.push(sound(3.0))
        while played.seconds() < 3.0:
            await asyncio.sleep(0.07)
            stall(0.05)
        assert longest_gap(played) <= 1e-6
        assert samples_of(played) == list(range(3 * RATE))


async def test_a_stall_longer_than_the_lead_costs_no_more_than_what_it_exceeds() -> None:
    async with playing(0.1) as played:
        played.graph.push(sound(1.0))
        await asyncio.sleep(0.3)
        stall(0.25)
        await asyncio.sleep(2.0)
        assert 0.1 < longest_gap(played) <= 0.25 - 0.1 + 0.041
        assert played.seconds() == pytest.approx(1.0)


async def test_the_end_waits_for_the_last_paced_piece_and_keeps_the_floor() -> None:
    async with playing(0.1) as played:
        await played.push(sound(1.0), Answered("r"), then=0.5)
        assert played.ends() == []
        assert played.state == "speaking"
        stall(0.2)
        assert played.state == "thinking"
        await asyncio.sleep(1.0)
        assert played.frames[-1] == Answered("r")
        assert played.state == "idle"


async def test_the_lead_changes_while_it_plays() -> None:
    async with playing(0.1) as played:
        await played.push(sound(5.0))
        assert played.seconds() == pytest.approx(0.1, abs=0.021)
        await played.push(Configure("play", {"lead": 1.0}))
        assert played.seconds() == pytest.approx(1.0, abs=0.04)
        await played.push(Configure("play", {"lead": None}), Configure("other", {"lead": 1}))
        assert played.seconds() == pytest.approx(5.0)
        assert played.of(Configure) == [Configure("other", {"lead": 1})]


@pytest.mark.parametrize("lead", [None, 0.2])
async def test_a_cough_resumes_the_answer_at_the_same_sample(lead: float | None) -> None:
    async with playing(lead) as played:
        await played.push(sound(1.0), then=0.3)
        await played.push(Hold(0))
        before = len(samples_of(played))
        await played.push(sound(1.0, first=RATE), then=0.4)
        assert len(samples_of(played)) == before
        assert played.state == "speaking"
        await played.push(Hold(0, over=True), then=3.0)
        assert samples_of(played) == list(range(2 * RATE))


# Interruptions


@pytest.mark.parametrize("lead", [0.05, 0.2, 1.0])
async def test_no_more_than_the_lead_has_left_when_it_is_interrupted(lead: float) -> None:
    async with playing(lead) as played:
        began = played.now
        await played.push(sound(30.0), then=2.0)
        await played.push(Interrupt("r"))
        assert played.seconds() - (played.now - began) <= lead + 1e-6
        left = len(samples_of(played))
        assert played.context.floor.heard("a") == pytest.approx(played.now - began, abs=0.002)
        assert played.state == "idle"
        await asyncio.sleep(5.0)
        assert len(samples_of(played)) == left


async def test_a_late_chunk_after_an_interruption_reaches_nobody() -> None:
    async with playing() as played:
        await played.push(Text("r", "a", "Hi"), sound(1.0), Interrupt("r"))
        seen = len(played.frames)
        await played.push(sound(1.0), Text("r", "a", "!"), ToolCall("r", "c", "1", "f"))
        await played.push(Answered("r"), then=1.0)
        assert len(played.frames) == seen
        await played.push(sound(1.0, "s", "b"))
        assert played.seconds("b") == pytest.approx(1.0)


async def test_interrupting_all_silences_each_that_was_open() -> None:
    async with playing(0.1) as played:
        await played.push(Text("r", "a", "Hi"), sound(1.0), sound(1.0, "s", "b"))
        await played.push(Interrupt())
        seen = len(played.frames)
        await played.push(sound(1.0), Answered("r"), sound(1.0, "s", "b"), Answered("s"), then=3.0)
        assert len(played.frames) == seen
        assert played.state == "idle"


async def test_interrupting_a_written_answer_leaves_the_spoken_one_alone() -> None:
    async with playing(0.1) as played:
        await played.push(sound(1.0), Text("written", "b", "Hi"), then=0.2)
        await played.push(Interrupt("written"), then=2.0)
        assert played.seconds() == pytest.approx(1.0)
        assert played.context.floor.heard("a") == pytest.approx(1.0)
        assert played.context.floor.heard("b") is None


async def test_speech_that_is_confirmed_gives_the_answer_up_without_another_sample() -> None:
    async with playing() as played:
        await played.push(sound(1.0), then=0.5)
        await played.push(Hold(0), sound(1.0, first=RATE), then=0.2)
        heard: list[float | None] = []

        def give_up(frame: Frame) -> None:
            if frame == STARTED:
                heard.append(played.context.floor.heard("a"))
                played.graph.push(Interrupt("r"))

        played.on_frame = give_up
        await played.push(STARTED, then=1.0)
        assert played.seconds() == pytest.approx(1.0)
        assert heard == [pytest.approx(0.7, abs=0.01)]
        assert not played.context.floor.held
        assert played.state == "idle"


async def test_speech_that_interrupts_nothing_lets_the_sound_go_on_after_it() -> None:
    async with playing() as played:
        await played.push(Hold(0), sound(1.0))
        await played.push(STARTED)
        assert [type(frame) for frame in played.frames] == [Hold, SpeechStarted, AudioOut]
        assert played.context.floor.heard("a") == pytest.approx(0.0, abs=0.01)


async def test_speech_over_an_answer_that_was_sent_whole_tells_what_was_heard() -> None:
    async with playing() as played:
        await played.push(sound(3.0), Answered("r"), then=1.0)
        heard: list[float | None] = []
        played.on_frame = lambda frame: heard.append(played.context.floor.heard("a"))
        await played.push(STARTED)
        assert heard == [pytest.approx(1.0, abs=0.01)]
        await played.push(Interrupt("r"))
        assert played.state == "idle"
        await asyncio.sleep(1.0)
        await played.push(STARTED)
        assert heard[1] == pytest.approx(1.0, abs=0.01)


async def test_interrupting_an_answer_that_was_heard_whole_says_so() -> None:
    async with playing() as played:
        await played.push(sound(1.0), Answered("r"), then=5.0)
        await played.push(Interrupt("r"))
        assert played.context.floor.heard("a") == pytest.approx(1.0)


async def test_an_interruption_during_a_hold_leaves_nothing_to_go_on_with() -> None:
    async with playing() as played:
        await played.push(Hold(0), sound(1.0), Answered("r"))
        await played.push(Interrupt("r"))
        assert played.state == "idle"
        await played.push(Hold(0, over=True))
        assert played.of(AudioOut) == []
        assert played.ends() == []


async def test_a_guess_that_is_dropped_again_and_again_is_no_answer() -> None:
    async with playing() as played:
        await played.push(sound(1.0, "old"), Interrupt("old"), then=2.0)
        quiet = played.context.floor.quiet_since(played.now)
        for _ in range(100):
            await played.push(respond("guess", provisional=True), Interrupt("guess"))
        assert played.context.floor.quiet_since(played.now) == quiet
        seen = len(played.frames)
        await played.push(sound(1.0, "old"))
        assert len(played.frames) == seen


async def test_interrupting_an_answer_that_was_not_begun_is_its_end() -> None:
    async with playing() as played:
        await played.push(respond(), then=3.0)
        await played.push(Interrupt())
        assert played.context.floor.quiet_since(played.now) == pytest.approx(3.0, abs=0.01)
        await played.push(sound(1.0), Answered("r"))
        assert played.frames == []


async def test_what_is_not_ours_passes() -> None:
    async with playing(0.1) as played:
        passing = [Transcript("u", "hello", "final"), End()]
        await played.push(sound(1.0), *passing)
        assert [frame for frame in played.frames if not isinstance(frame, AudioOut)] == passing
        assert played.graph.is_ready


def test_a_lead_is_no_negative_time() -> None:
    with pytest.raises(ValidationError):
        Settings(lead=-0.1)
