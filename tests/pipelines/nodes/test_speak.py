"""Answers are spoken sentence by sentence: in order, little ahead, with marks."""

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import pairwise

import pytest
from answer_nodes import RATE, STOP, TOKENS, Stage, Step, Voice, Writer, respond, stage, texts

from engines.base import EngineError, JobClass
from engines.generation import Finished, TextDelta, ToolCallDelta
from engines.synthesis import Say
from pipelines.frames import (
    Answered,
    AudioOut,
    Configure,
    Frame,
    Hold,
    Interrupt,
    SpeechStarted,
    Text,
    ToolCall,
    Transcript,
)
from pipelines.item_sound import CLAUSE_GAP, SENTENCE_GAP
from pipelines.nodes.play import Player
from pipelines.nodes.play import Settings as PlaySettings
from pipelines.nodes.respond import Responder
from pipelines.nodes.respond import Settings as RespondSettings
from pipelines.nodes.speak import (
    AHEAD_SECONDS,
    DRY_SECONDS,
    MOST_AT_ONCE,
    MOST_SECONDS,
    Settings,
    Speaker,
)

pytestmark = pytest.mark.virtual_time

LONG = "This sentence has just about fifty characters, no? "
"""Five seconds."""


def speaking(voice: Voice | None, own: str | None = None) -> AbstractAsyncContextManager[Stage]:
    return stage(partial(Speaker, "speak", Settings(voice=own)), speakers=voice)


def answer(*pieces: str, response: str = "r", item: str = "a") -> list[Frame]:
    return [Text(response, item, piece) for piece in pieces]


def end_of_sound(spoken: Stage) -> float:
    """When a listener at 1x has heard all."""
    until = 0.0
    for now, frame in spoken.sent:
        if isinstance(frame, AudioOut):
            until = max(until, now) + len(frame.samples) / frame.rate
    return until


# What is said


async def test_sentences_are_spoken_while_the_rest_is_written() -> None:
    voice = Voice()
    async with speaking(voice) as spoken:
        await spoken.push(respond(spoken=True, voice="ann", speed=1.5))
        await spoken.push(*answer("Good morning to you", ". ", "How are"))
        assert voice.said == ["Good morning to you."]
        assert voice.asked[0][1:] == (
            Say("Good morning to you.", "ann", 1.5),
            JobClass.FIRST_SENTENCE,
        )
        await spoken.push(*answer(" you today?"), Answered("r", "stop", TOKENS), then=9.0)
        assert voice.said == ["Good morning to you.", "How are you today?"]
        assert spoken.frames[-1] == Answered("r", "stop", TOKENS)
        gap = spoken.seconds() - voice.made
        assert gap == pytest.approx(SENTENCE_GAP)


async def test_text_and_calls_pass_before_they_are_spoken() -> None:
    async with speaking(Voice(effort=1.0)) as spoken:
        given = [*answer("Let me look. "), ToolCall("r", "c", "1", "f")]
        spoken.graph.push(respond(spoken=True))
        for frame in given:
            spoken.graph.push(frame)
        assert spoken.frames == given


async def test_a_written_response_is_not_spoken() -> None:
    voice = Voice()
    async with speaking(voice) as spoken:
        await spoken.push(respond(), *answer("Hello there."), Answered("r"))
        assert spoken.frames == [*answer("Hello there."), Answered("r")]
        assert voice.asked == []


async def test_a_guess_is_not_spoken() -> None:
    async with speaking(Voice()) as spoken:
        await spoken.push(respond("p", spoken=True, provisional=True), respond(spoken=True))
        await spoken.push(*answer("Yes."), Answered("r"), then=1.0)
        assert spoken.seconds() == pytest.approx(0.4)


async def test_a_response_of_calls_alone_ends_at_once() -> None:
    async with speaking(Voice()) as spoken:
        given = [ToolCall("r", "c", "1", "f"), Answered("r")]
        spoken.graph.push(respond(spoken=True))
        for frame in given:
            spoken.graph.push(frame)
        assert spoken.frames == given


async def test_the_nodes_voice_speaks_for_those_who_name_none() -> None:
    voice = Voice()
    async with speaking(voice, "ann") as spoken:
        await spoken.push(respond(spoken=True), *answer("Yes."), Answered("r"))
        await spoken.push(Configure("speak", {"voice": "bob"}), Configure("play", {}))
        await spoken.push(respond("s", spoken=True), *answer("No.", response="s"), Answered("s"))
        await spoken.push(respond("t", spoken=True, voice="eve"), *answer("Oh.", response="t"))
        await spoken.push(Answered("t"), then=1.0)
        assert [say.voice for _, say, _ in voice.asked] == ["ann", "bob", "eve"]
        assert spoken.of(Configure) == [Configure("play", {})]


async def test_what_is_not_ours_passes() -> None:
    async with speaking(Voice()) as spoken:
        passing = [Transcript("u", "hi", "final"), Hold(0), SpeechStarted("u", 0), Answered("x")]
        await spoken.push(*passing)
        assert spoken.frames == passing


# Marks


async def test_marks_lead_through_the_text_and_the_sound_of_an_item() -> None:
    text = "**Good** morning to you. ```\ncode\n``` How are you?\n\n---\n"
    async with speaking(Voice()) as spoken:
        await spoken.push(respond(spoken=True), *answer(*text), Answered("r"), then=9.0)
        marks = [mark for frame in spoken.of(AudioOut) for mark in frame.marks]
        assert marks[-1].characters == len(text)
        assert marks[-1].seconds == pytest.approx(spoken.seconds())
        for before, after in pairwise(marks):
            assert before.characters <= after.characters
            assert before.seconds <= after.seconds + 1e-9
        first = "**Good** morning to you."
        said = len("Good morning to you.") / 10
        reached = max(m.characters for m in marks if m.seconds <= said + 1e-9)
        assert len(first) <= reached <= len(first) + 1


async def test_each_item_counts_its_own_characters_and_seconds() -> None:
    async with speaking(Voice()) as spoken:
        await spoken.push(respond(spoken=True), *answer("One moment"))
        await spoken.push(ToolCall("r", "c", "1", "f"), *answer("Here it is.", item="b"))
        await spoken.push(Answered("r"), then=9.0)
        for item, text in (("a", "One moment"), ("b", "Here it is.")):
            sound = [frame for frame in spoken.of(AudioOut) if frame.item == item]
            assert sound[-1].marks[-1].characters == len(text)
            assert sound[-1].marks[-1].seconds == pytest.approx(len(text) / 10)


async def test_an_answer_without_anything_to_say_ends_without_sound() -> None:
    voice = Voice()
    async with speaking(voice) as spoken:
        await spoken.push(respond(spoken=True), *answer("```\nx = 1\n```\n"), Answered("r"))
        assert (voice.asked, spoken.of(AudioOut), len(spoken.ends())) == ([], [], 1)
        assert spoken.state == "idle"


async def test_silence_that_the_engine_leaves_is_not_doubled() -> None:
    async with speaking(Voice(level=0.0)) as spoken:
        await spoken.push(respond(spoken=True), *answer("One thing. Another thing."))
        await spoken.push(Answered("r"), then=9.0)
        assert spoken.seconds() == pytest.approx(len("One thing.Another thing.") / 10)


async def test_a_sentence_that_was_cut_is_joined_with_a_shorter_gap() -> None:
    voice = Voice()
    text = "If you go along this road for as long as you possibly can bear it, " * 2
    async with speaking(voice) as spoken:
        await spoken.push(respond(spoken=True), *answer(text.strip() + " fine."), Answered("r"))
        await asyncio.sleep(60.0)
        assert len(voice.said) == 2
        assert spoken.seconds() - voice.made == pytest.approx(CLAUSE_GAP)


# How far ahead


async def test_later_sentences_wait_until_little_is_ahead_of_the_listener() -> None:
    voice = Voice()
    async with speaking(voice) as spoken:
        began = spoken.now
        await spoken.push(respond(spoken=True), *answer(LONG * 6), Answered("r"), then=0.5)
        assert len(voice.said) == 4
        assert spoken.ends() == []
        assert spoken.state == "thinking"
        await asyncio.sleep(60.0)
        assert len(voice.said) == 6
        length = 0.0
        for at, say, kind in voice.asked:
            assert began + length - at <= AHEAD_SECONDS + 0.01
            assert kind == (JobClass.PARTIAL if length else JobClass.FIRST_SENTENCE)
            length += len(say.text) / 10 + (SENTENCE_GAP if length else 0.0)
        assert end_of_sound(spoken) - began == pytest.approx(spoken.seconds(), abs=0.01)


async def test_a_sentence_that_comes_late_is_as_urgent_as_a_first_one() -> None:
    voice = Voice()
    async with speaking(voice) as spoken:
        await spoken.push(respond(spoken=True), *answer(LONG), then=5.0 - DRY_SECONDS - 0.1)
        await spoken.push(*answer(LONG), then=5.5)
        await spoken.push(*answer(LONG), then=5.0)
        assert [kind for *_, kind in voice.asked] == [
            JobClass.FIRST_SENTENCE,
            JobClass.PARTIAL,
            JobClass.FIRST_SENTENCE,
        ]


async def test_a_sentence_that_is_longer_than_all_bounds_is_made_as_it_is_heard() -> None:
    voice = Voice(characters_per_second=2.0)
    async with speaking(voice) as spoken:
        await spoken.push(respond(spoken=True), *answer("so " * 60 + "on."), Answered("r"))
        assert MOST_SECONDS <= spoken.seconds() <= MOST_SECONDS + 1.0
        await asyncio.sleep(20.0)
        assert spoken.seconds() == pytest.approx(MOST_SECONDS + 20.0, abs=1.0)


async def test_during_a_hold_nothing_is_made_beyond_the_bound() -> None:
    voice = Voice()
    async with speaking(voice) as spoken:
        await spoken.push(Hold(0), respond(spoken=True), *answer(LONG * 6), Answered("r"))
        await asyncio.sleep(60.0)
        assert len(voice.said) == 3
        await spoken.push(Hold(0, over=True), then=0.1)
        assert len(voice.said) == 3
        await asyncio.sleep(60.0)
        assert (len(voice.said), len(spoken.ends())) == (6, 1)


async def test_the_floor_is_kept_while_speech_is_being_made() -> None:
    async with speaking(Voice(effort=2.0)) as spoken:
        await spoken.push(respond(spoken=True), *answer("Yes, I do."), Answered("r"), then=0.5)
        assert spoken.state == "thinking"
        await asyncio.sleep(9.0)
        assert (spoken.state, len(spoken.ends())) == ("idle", 1)


# Interruptions and failures


async def test_an_interruption_closes_the_voice_and_nothing_more_is_sent() -> None:
    voice = Voice(effort=1.0)
    async with speaking(voice) as spoken:
        await spoken.push(respond(spoken=True), *answer(LONG * 3), Answered("r"), then=2.2)
        assert voice.open == 1
        sent = len(spoken.frames)
        spoken.graph.push(Interrupt("r"))
        assert spoken.state == "idle"
        await asyncio.sleep(20.0)
        assert (voice.open, len(spoken.frames), len(voice.said)) == (0, sent, 1)


async def test_the_next_answer_is_spoken_at_once_after_an_interruption() -> None:
    voice = Voice()
    async with speaking(voice) as spoken:
        await spoken.push(respond(spoken=True), *answer(LONG * 6), Answered("r"))
        await spoken.push(Interrupt(), respond("s", spoken=True))
        await spoken.push(*answer("Yes. ", "Now.", response="s"), Answered("s"))
        assert voice.said[-2:] == ["Yes.", "Now."]
        assert (spoken.ends(), len(spoken.ends("s"))) == ([], 1)


async def test_an_answer_that_was_made_and_not_heard_does_not_hold_the_next_one_up() -> None:
    voice = Voice()
    async with speaking(voice) as spoken:
        await spoken.push(respond(spoken=True), *answer(LONG * 4), Answered("r"), then=6.0)
        assert len(spoken.ends()) == 1
        await spoken.push(Interrupt("r"), respond("s", spoken=True))
        await spoken.push(*answer("Yes. ", "Now.", response="s"), Answered("s"))
        assert len(spoken.ends("s")) == 1


async def test_a_voice_that_fails_ends_the_response_at_once() -> None:
    async with speaking(Voice(failure=EngineError("no voice"))) as spoken:
        await spoken.push(respond(spoken=True), *answer("One thing. ", "Another"))
        failed = Answered("r", "failed", code="speech_failed", message="no voice")
        assert spoken.frames[-1] == failed
        await spoken.push(*answer(" thing."), Answered("r", usage=TOKENS))
        assert spoken.frames[-1] == failed
        assert spoken.ends() == [failed]


async def test_a_failure_after_all_was_written_tells_the_usage() -> None:
    async with speaking(Voice(failure=EngineError("no voice"))) as spoken:
        await spoken.push(respond(spoken=True), *answer("Yes."), Answered("r", usage=TOKENS))
        assert spoken.ends() == [Answered("r", "failed", TOKENS, "speech_failed", "no voice")]
        assert spoken.state == "idle"


async def test_without_speakers_a_spoken_response_fails() -> None:
    async with speaking(None) as spoken:
        await spoken.push(respond(spoken=True), *answer("Yes."), Answered("r"))
        assert [end.code for end in spoken.ends()] == ["speech_failed"]


async def test_a_session_has_a_bounded_number_of_responses_spoken_at_once() -> None:
    names = [f"r{n}" for n in range(MOST_AT_ONCE + 1)]
    async with speaking(Voice(effort=1.0)) as spoken:
        for name in names:
            await spoken.push(
                respond(name, spoken=True), *answer("Yes.", response=name), Answered(name)
            )
        assert [end.response for end in spoken.of(Answered)] == [names[-1]]
        await asyncio.sleep(5.0)
        ends = {end.response: end.reason for end in spoken.of(Answered)}
        assert ends == {name: "stop" for name in names[:-1]} | {names[-1]: "failed"}


# All three


def conversation(
    *steps: Step, voice: Voice, lead: float | None = None
) -> AbstractAsyncContextManager[Stage]:
    return stage(
        partial(Responder, "respond", RespondSettings()),
        partial(Speaker, "speak", Settings()),
        partial(Player, "play", PlaySettings(lead=lead)),
        writers=Writer({"scripted": steps}),
        speakers=voice,
    )


async def test_the_listener_hears_the_first_sentence_while_the_second_is_written() -> None:
    steps = [*texts("Yes, I can. "), 3.0, TextDelta("Now."), STOP]
    async with conversation(*steps, voice=Voice(effort=0.1)) as talk:
        states: list[str] = []
        await talk.push(respond(spoken=True), then=0.5)
        assert talk.seconds() > 0.9
        while not talk.ends():
            states.append(talk.state)
            await asyncio.sleep(0.05)
        assert talk.frames[-1] == Answered("r", "stop", TOKENS)
        assert set(states) == {"speaking", "thinking"}
        assert talk.state == "speaking"
        await asyncio.sleep(1.0)
        assert talk.state == "idle"


@pytest.mark.parametrize("lead", [None, 0.1])
async def test_nobody_sees_an_idle_floor_before_the_answer_was_heard(lead: float | None) -> None:
    steps = [*texts(LONG, LONG), ToolCallDelta(0, "{}", id="1", name="f"), *texts(LONG)]
    steps += [Finished("tool_calls", TOKENS)]
    async with conversation(*steps, voice=Voice(effort=0.5), lead=lead) as talk:
        await talk.push(respond(spoken=True))
        states = set()
        while not talk.ends() or talk.now < end_of_sound(talk) - 0.01:
            states.add(talk.state)
            await asyncio.sleep(0.01)
        assert "idle" not in states
        await asyncio.sleep(0.1)
        assert talk.state == "idle"
        items = [item for item in dict.fromkeys(frame.item for frame in talk.of(AudioOut))]
        assert items == ["item 0", "item 2"]


async def test_what_was_heard_of_an_interrupted_answer_is_in_its_marks() -> None:
    async with conversation(*texts(LONG * 4), STOP, voice=Voice(piece=0.1), lead=0.1) as talk:
        await talk.push(respond(spoken=True), then=3.0)
        await talk.push(Interrupt("r"), then=9.0)
        heard = talk.context.floor.heard("item 0") or 0.0
        assert heard == pytest.approx(3.0, abs=0.01)
        marks = [mark for frame in talk.of(AudioOut) for mark in frame.marks]
        assert max(m.characters for m in marks if m.seconds <= heard + 1e-6) == 30
        assert (talk.ends(), talk.state) == ([], "idle")
        assert talk.seconds() <= 3.1 + 1e-6
        assert len(talk.of(AudioOut)[0].samples) < 2 * 0.02 * RATE
