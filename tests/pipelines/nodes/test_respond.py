"""Answers as frames: items, calls, one end; interrupted, refused, made ready beforehand."""

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from answer_nodes import STOP, TOKENS, Stage, Step, Writer, asked, respond, stage, texts

from engines.base import (
    Busy,
    EngineError,
    InvalidInput,
    JobClass,
    ModelNotFound,
    ProviderError,
    WorkerCrashed,
)
from engines.generation import (
    ContextLengthExceeded,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from pipelines.frames import (
    Answered,
    Clear,
    Configure,
    End,
    Hold,
    Interrupt,
    SpeechStarted,
    Text,
    ToolCall,
    Transcript,
)
from pipelines.nodes.respond import KEPT_FRAMES, MOST_AT_ONCE, Responder, Settings

pytestmark = pytest.mark.virtual_time

SLOW: list[Step] = [TextDelta("One."), 1.0, TextDelta(" Two."), 1.0, TextDelta(" Three."), STOP]


def answering(*steps: Step, model: str = "default") -> AbstractAsyncContextManager[Stage]:
    return with_writer(Writer({"scripted": steps}), model)


def with_writer(
    writer: Writer | None, model: str = "default"
) -> AbstractAsyncContextManager[Stage]:
    return stage(partial(Responder, "respond", Settings(model=model)), writers=writer)


def written(answers: Stage, response: str = "r") -> str:
    return "".join(frame.text for frame in answers.of(Text) if frame.response == response)


# What is made


async def test_text_is_one_item_and_the_end_has_the_usage() -> None:
    async with answering(*texts("Hel", "lo."), STOP) as answers:
        await answers.push(respond())
        assert answers.frames == [
            Text("r", "item 0", "Hel"),
            Text("r", "item 0", "lo."),
            Answered("r", "stop", TOKENS),
        ]


async def test_the_writer_is_asked_as_for_a_first_sentence() -> None:
    writer = Writer({"scripted": [STOP]})
    async with with_writer(writer) as answers:
        await answers.push(respond(text="Why?"))
        assert writer.asked == [("scripted", asked("Why?"), "owner", JobClass.FIRST_SENTENCE)]


async def test_a_response_that_leaves_the_model_open_gets_the_nodes() -> None:
    writer = Writer({"mine": [STOP], "scripted": [STOP], "other": [STOP]})
    async with with_writer(writer, "mine") as answers:
        await answers.push(respond("a", model="default"), respond("b", model="scripted"))
        await answers.push(Configure("respond", {"model": "other"}), Configure("speak", {}))
        await answers.push(respond("c", model="default"))
        assert [model for model, *_ in writer.asked] == ["mine", "scripted", "other"]
        assert answers.of(Configure) == [Configure("speak", {})]


async def test_thoughts_are_not_sent() -> None:
    async with answering(ReasoningDelta("Hm."), *texts("", "Yes."), STOP) as answers:
        await answers.push(respond())
        assert answers.frames == [Text("r", "item 0", "Yes."), Answered("r", "stop", TOKENS)]


async def test_each_call_is_an_item_that_begins_without_arguments_and_is_completed() -> None:
    async with answering(
        *texts("Let me see."),
        ToolCallDelta(0, id="x", name="look"),
        ToolCallDelta(0, '{"at":'),
        ToolCallDelta(0, " 1}"),
        ToolCallDelta(1, "{}", id="y", name="wait"),
        *texts("\n", "Done"),
        Finished("tool_calls", TOKENS),
    ) as answers:
        await answers.push(respond())
        assert answers.frames == [
            Text("r", "item 0", "Let me see."),
            ToolCall("r", "item 1", "x", "look"),
            ToolCall("r", "item 1", "x", "look", '{"at":'),
            ToolCall("r", "item 1", "x", "look", " 1}"),
            ToolCall("r", "item 1", "x", "look", complete=True),
            ToolCall("r", "item 2", "y", "wait"),
            ToolCall("r", "item 2", "y", "wait", "{}"),
            ToolCall("r", "item 2", "y", "wait", complete=True),
            Text("r", "item 3", "\nDone"),
            Answered("r", "stop", TOKENS),
        ]


async def test_blanks_between_calls_are_no_message() -> None:
    async with answering(
        *texts("\n", "\n"),
        ToolCallDelta(0, id="x", name="look"),
        *texts("\n"),
        ToolCallDelta(1, id="y", name="wait"),
        Finished("tool_calls", TOKENS),
    ) as answers:
        await answers.push(respond())
        assert answers.of(Text) == []
        assert [call.complete for call in answers.of(ToolCall)] == [False, True, False, True]


async def test_an_answer_that_was_cut_off_says_so() -> None:
    async with answering(*texts("And"), Finished("length", TOKENS)) as answers:
        await answers.push(respond())
        assert answers.ends() == [Answered("r", "length", TOKENS)]


async def test_what_is_not_ours_passes() -> None:
    async with answering(STOP) as answers:
        passing = [SpeechStarted("u", 0), Transcript("u", "hi", "final"), Hold(3), End()]
        await answers.push(*passing)
        assert answers.frames == passing


# What goes wrong


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ModelNotFound("gone"), "model_not_found"),
        (Busy("later"), "server_overloaded"),
        (ContextLengthExceeded("too long"), "context_length_exceeded"),
        (InvalidInput("bad"), "invalid_value"),
        (ProviderError("away"), "provider_error"),
        (WorkerCrashed("dead"), "server_error"),
        (EngineError("odd"), "server_error"),
    ],
)
async def test_a_failure_is_the_end_with_its_code(error: EngineError, code: str) -> None:
    async with answering(*texts("So"), error) as answers:
        await answers.push(respond())
        assert answers.frames == [
            Text("r", "item 0", "So"),
            Answered("r", "failed", code=code, message=str(error)),
        ]
        assert answers.state == "idle"


async def test_a_call_that_broke_off_is_not_completed() -> None:
    call = ToolCallDelta(0, '{"a', id="x", name="look")
    async with answering(call, ProviderError("away")) as answers:
        await answers.push(respond())
        assert not any(frame.complete for frame in answers.of(ToolCall))
        assert answers.ends()[0].code == "provider_error"


async def test_a_writer_that_stops_without_an_end_has_failed() -> None:
    async with answering(*texts("So")) as answers:
        await answers.push(respond())
        assert [(end.reason, end.code) for end in answers.ends()] == [("failed", "server_error")]


async def test_without_writers_a_response_fails() -> None:
    async with with_writer(None) as answers:
        await answers.push(respond())
        assert answers.ends()[0].reason == "failed"


async def test_a_session_has_a_bounded_number_of_responses_made_at_once() -> None:
    async with answering(*SLOW) as answers:
        names = [f"r{n}" for n in range(MOST_AT_ONCE + 1)]
        await answers.push(*(respond(name) for name in names))
        (refused,) = answers.of(Answered)
        assert (refused.response, refused.code) == (names[-1], "server_overloaded")
        await asyncio.sleep(3.0)
        assert sorted(end.response for end in answers.of(Answered)) == names
        await answers.push(respond("again"), then=3.0)
        assert answers.ends("again")[0].reason == "stop"


# Interruptions


async def test_an_interruption_closes_the_writer_and_nothing_more_is_sent() -> None:
    writer = Writer({"scripted": SLOW})
    async with with_writer(writer) as answers:
        await answers.push(respond(), then=1.5)
        assert (written(answers), answers.state, writer.open) == ("One. Two.", "thinking", 1)
        answers.graph.push(Interrupt("r"))
        assert answers.state == "idle"
        await asyncio.sleep(3.0)
        assert (written(answers), answers.ends(), writer.open) == ("One. Two.", [], 0)


async def test_an_interruption_at_once_leaves_nothing_to_begin() -> None:
    writer = Writer({"scripted": SLOW})
    async with with_writer(writer) as answers:
        await answers.push(respond(), Interrupt("r"), then=3.0)
        assert (answers.frames, writer.asked, answers.state) == ([], [], "idle")


async def test_an_interruption_of_another_response_changes_nothing() -> None:
    async with answering(*SLOW) as answers:
        await answers.push(respond("r"), respond("s"), then=0.5)
        await answers.push(Interrupt("s"), then=3.0)
        assert written(answers) == "One. Two. Three."
        assert len(answers.ends()) == 1
        assert answers.ends("s") == []


async def test_interrupting_all_closes_every_writer() -> None:
    writer = Writer({"scripted": SLOW})
    async with with_writer(writer) as answers:
        await answers.push(respond("r"), respond("s"), respond("p", "so", provisional=True))
        assert writer.open == 3
        await answers.push(Interrupt(), then=3.0)
        assert (writer.open, answers.of(Answered), answers.state) == (0, [], "idle")


async def test_the_floor_is_taken_from_the_question_to_the_end_of_the_answer() -> None:
    async with answering(*SLOW) as answers:
        states: list[str] = []
        answers.on_frame = lambda frame: states.append(answers.state)
        await answers.push(respond(), then=5.0)
        assert states == ["thinking", "thinking", "thinking", "idle"]


# Made ready beforehand


async def test_what_was_made_ready_is_sent_at_once_under_the_real_name() -> None:
    writer = Writer({"scripted": SLOW})
    async with with_writer(writer) as answers:
        await answers.push(respond("p", provisional=True), then=1.5)
        assert (answers.frames, answers.state) == ([], "idle")
        await answers.push(respond("r"))
        assert written(answers) == "One. Two."
        assert answers.state == "thinking"
        await asyncio.sleep(2.0)
        assert (written(answers), len(answers.ends())) == ("One. Two. Three.", 1)
        assert len(writer.asked) == 1


async def test_an_answer_that_was_ready_in_full_is_sent_in_full() -> None:
    async with answering(*SLOW) as answers:
        await answers.push(respond("r", provisional=True), then=9.0)
        answers.graph.push(respond("r"))
        assert answers.frames == [], "the nodes behind this one have not seen the response yet"
        await asyncio.sleep(0.001)
        assert (written(answers), len(answers.ends())) == ("One. Two. Three.", 1)
        assert answers.state == "idle"


async def test_another_question_drops_what_was_made_ready() -> None:
    writer = Writer({"scripted": SLOW})
    async with with_writer(writer) as answers:
        await answers.push(respond("p", "Hel", provisional=True), then=0.5)
        await answers.push(respond("r", "Hello"), then=5.0)
        assert [request for _, request, *_ in writer.asked] == [asked("Hel"), asked("Hello")]
        assert (written(answers, "p"), written(answers)) == ("", "One. Two. Three.")
        assert writer.given == len(texts("One.")) + 4


async def test_a_newer_guess_takes_the_place_of_the_older() -> None:
    writer = Writer({"scripted": SLOW})
    async with with_writer(writer) as answers:
        await answers.push(respond("p", "Hel", provisional=True), then=0.5)
        await answers.push(respond("q", "Hello", provisional=True), then=0.5)
        assert writer.open == 1
        await answers.push(respond("s", "Hello", provisional=True), respond("r", "Hello"))
        assert (len(writer.asked), written(answers)) == (2, "One.")


async def test_an_interruption_drops_what_was_made_ready() -> None:
    writer = Writer({"scripted": SLOW})
    async with with_writer(writer) as answers:
        await answers.push(respond("p", provisional=True), then=0.5)
        await answers.push(Interrupt("p"))
        assert writer.open == 0
        await answers.push(respond("r"), then=5.0)
        assert (len(writer.asked), written(answers)) == (2, "One. Two. Three.")


async def test_what_was_made_ready_is_dropped_when_the_speech_it_answers_is_cleared() -> None:
    writer = Writer({"scripted": SLOW})
    async with with_writer(writer) as answers:
        await answers.push(respond("p", provisional=True), then=0.5)
        await answers.push(Clear("speech"))
        assert (writer.open, answers.frames) == (0, [Clear("speech")])
        await answers.push(respond("r"), then=0.5)
        await answers.push(Clear("speech 2"))
        assert writer.open == 1, "a response that is wanted goes on"


async def test_guesses_may_all_have_the_same_name() -> None:
    writer = Writer({"scripted": SLOW})
    async with with_writer(writer) as answers:
        await answers.push(respond("p", "Hel", provisional=True), Interrupt("p"), then=0.5)
        await answers.push(respond("p", "Hello", provisional=True), then=0.5)
        await answers.push(respond("p", "Hello you", provisional=True), then=1.5)
        await answers.push(respond("r", "Hello you"), Interrupt("p"), then=9.0)
        assert (written(answers), written(answers, "p"), writer.open) == ("One. Two. Three.", "", 0)
        assert len(answers.ends()) == 1


async def test_a_guess_that_failed_is_made_anew_when_it_is_wanted() -> None:
    writer = Writer({"scripted": [Busy("later")]})
    async with with_writer(writer) as answers:
        await answers.push(respond("p", provisional=True))
        writer.script["scripted"] = [*texts("Yes."), STOP]
        await answers.push(respond("r"))
        assert (written(answers), answers.ends()[0].reason) == ("Yes.", "stop")


async def test_what_is_made_ready_is_bounded_and_goes_on_when_it_is_wanted() -> None:
    writer = Writer({"scripted": [*texts(*["a"] * 2 * KEPT_FRAMES), STOP]})
    async with with_writer(writer) as answers:
        await answers.push(respond("p", provisional=True), then=1.0)
        assert writer.given == KEPT_FRAMES
        await answers.push(respond("r"), then=1.0)
        assert written(answers) == "a" * 2 * KEPT_FRAMES
        assert len(answers.ends()) == 1
