"""Text of utterances: appended, revised, final; audio waits for a model; faults have an item."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from engines import null
from engines.base import Busy, Capabilities, EngineError, JobClass, ModelNotFound, Recipe
from engines.devices import Device
from engines.null import Null
from engines.recognisers import STREAMED_AT_ONCE, WINDOWED_AT_ONCE, StreamedRecogniser
from engines.recognition import (
    SAMPLE_RATE,
    Hypothesis,
    Recogniser,
    RecognitionOptions,
    Samples,
    Word,
)
from engines.scheduler import Scheduler
from engines.tickets import Ticket
from pipelines.context import Context
from pipelines.frames import (
    Audio,
    Clear,
    Commit,
    Configure,
    End,
    Error,
    Frame,
    Pause,
    SpeechStarted,
    Transcript,
)
from pipelines.graph import Graph
from pipelines.nodes.transcribe import Settings, Transcribe

pytestmark = pytest.mark.virtual_time


def words(text: str) -> tuple[Word, ...]:
    return tuple(Word(w, n / 2, n / 2 + 0.5) for n, w in enumerate(text.split()))


class Scripted:
    """A recognition whose hypotheses the test writes."""

    def __init__(self, options: RecognitionOptions, owner: str, kind: JobClass | None) -> None:
        self.options, self.owner, self.kind = options, owner, kind
        self.pushed: list[Samples] = []
        self.calls: list[str] = []
        """What was done with it, pushes of audio as "push"."""
        self.finished = False
        self.cancelled = False
        self.held = 0
        self._next: asyncio.Queue[Hypothesis | Exception | None] = asyncio.Queue()

    @property
    def backlog(self) -> int:
        return self.held

    def push(self, samples: Samples) -> None:
        assert not self.finished
        self.pushed.append(samples)
        self.calls.append("push")

    def pause(self, voiced: float | None = None) -> None:
        assert not self.finished
        self.calls.append("pause")

    def resume(self) -> None:
        assert not self.finished
        self.calls.append("resume")

    def finish(self, voiced: float | None = None) -> None:
        self.finished = True
        self.calls.append("finish")

    def cancel(self) -> None:
        self.cancelled = True
        self._next.put_nowait(None)

    async def say(self, text: str, settled: int = 0, *, final: bool = False) -> None:
        self._next.put_nowait(Hypothesis(words(text), final, "en", settled))
        await asyncio.sleep(0.001)

    async def fail(self, error: Exception) -> None:
        self._next.put_nowait(error)
        await asyncio.sleep(0.001)

    async def __aiter__(self) -> AsyncIterator[Hypothesis]:
        while (following := await self._next.get()) is not None:
            if isinstance(following, Exception):
                raise following
            yield following
            if following.final:
                return


@dataclass
class Model:
    """A model whose recognitions the test drives; it may load slowly, refuse or not exist."""

    name: str = "scripted"
    capabilities: Capabilities = field(default_factory=Capabilities)
    load_seconds: float = 0.0
    refusal: EngineError | None = None
    asked: list[str] = field(default_factory=list)
    opened: list[Scripted] = field(default_factory=list)

    async def recogniser(self, name: str) -> Recogniser:
        self.asked.append(name)
        await asyncio.sleep(self.load_seconds)
        if isinstance(self.refusal, ModelNotFound):
            raise self.refusal
        return self

    def open(
        self, options: RecognitionOptions, *, owner: str, kind: JobClass | None = None
    ) -> Scripted:
        if self.refusal is not None:
            raise self.refusal
        self.opened.append(Scripted(options, owner, kind))
        return self.opened[-1]


def no_ears(owner: str) -> Ticket:
    raise AssertionError("this node scores nothing")


@dataclass
class Writer:
    """A transcribe node at work, and what it has sent."""

    node: Transcribe
    running: asyncio.Task[None]
    frames: list[Frame]

    async def hear(self, *frames: Frame) -> None:
        for frame in frames:
            self.node.receive(frame)
        await asyncio.sleep(0.001)

    def said(self) -> list[tuple[str, str]]:
        return [(f.state, f.text) for f in self.frames if isinstance(f, Transcript)]

    def of(self, kind: type[Frame]) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kind)]


@asynccontextmanager
async def writer(
    models: Any, change: Callable[[Context], Context] = lambda context: context, **given: Any
) -> AsyncIterator[Writer]:
    frames: list[Frame] = []
    context = Context("owner", models, no_ears, lambda: "item", frames.append)
    node = Transcribe("transcribe", Settings.model_validate(given), change(context))
    node.outputs.append(frames.append)
    running = asyncio.create_task(Graph([node], [node]).run())
    try:
        yield Writer(node, running, frames)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def sound(item: str | None, at: float = 0.0, seconds: float = 0.5) -> Audio:
    samples = np.full(round(seconds * SAMPLE_RATE), at, np.float32)
    return Audio(samples, round(at * SAMPLE_RATE), item)


def commit(item: str, start: float = 0.0, end: float = 0.5) -> Commit:
    return Commit(item, round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))


# What is said


async def test_committed_text_only_appends_and_tentative_text_replaces() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a"))
        for text, settled in (("in", 0), ("in the", 0), ("in the end", 2), ("in the end we", 3)):
            await model.opened[0].say(text, settled)
        await model.opened[0].say("In the end, we won.", final=True)
        assert wrote.said() == [
            ("tentative", "in"),
            ("tentative", "in the"),
            ("committed", "in the"),
            ("tentative", " end"),
            ("committed", " end"),
            ("tentative", " we"),
            ("final", "In the end, we won."),
        ]


async def test_what_did_not_change_is_not_said_again() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a"))
        for settled in (0, 0, 1, 1, 2, 2):
            await model.opened[0].say("so be it" if settled < 2 else "so be", settled)
        assert wrote.said() == [
            ("tentative", "so be it"),
            ("committed", "so"),
            ("tentative", " be it"),
            ("committed", " be"),
            ("tentative", ""),
        ]


async def test_times_are_in_the_sessions_audio() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a", 10.0), sound("a", 10.5), commit("a", 10.0, 11.0))
        await model.opened[0].say("hello there", final=True)
        (final,) = wrote.of(Transcript)
        assert (final.start, final.end) == (160_000, 176_000)
        assert [(word.start, word.end) for word in final.words] == [(10.0, 10.5), (10.5, 11.0)]
        assert (final.item, final.language) == ("a", "en")


async def test_an_utterance_in_which_nothing_was_heard_still_gets_its_final() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(commit("a"))
        assert model.opened[0].finished
        await model.opened[0].say("", final=True)
        assert wrote.said() == [("final", "")]


async def test_utterances_are_recognised_beside_each_other() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a"), commit("a"), sound("b", 1.0))
        await model.opened[1].say("second", 0)
        await model.opened[0].say("first", final=True)
        assert [frame.item for frame in wrote.of(Transcript)] == ["b", "a"]
        assert not wrote.node.busy


async def test_audio_that_belongs_to_no_utterance_is_not_ours() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound(None), SpeechStarted("a", 0))
        assert wrote.frames == [SpeechStarted("a", 0)]
        assert model.opened == []


# Which model, and how


async def test_the_nodes_settings_come_before_those_of_the_context() -> None:
    model = Model()
    options = RecognitionOptions("fr", "bonjour", 0.5, "translate", partials=False, word_times=True)
    async with writer(
        model,
        lambda context: replace(context, options=options, model="big", kind=JobClass.REST),
        language="de",
    ) as wrote:
        await wrote.hear(sound("a"))
        await wrote.hear(Configure("transcribe", {"model": "small", "prompt": "hallo"}))
        await wrote.hear(sound("a", 0.5), sound("b", 1.0))
        first, second = model.opened
        assert model.asked == ["big", "small"]
        assert first.options == replace(options, language="de")
        assert second.options == replace(options, language="de", prompt="hallo")
        assert (first.owner, first.kind) == ("owner", JobClass.REST)
        assert wrote.frames == []


async def test_a_client_may_ask_for_the_times_of_words() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a"), Configure("transcribe", {"word_times": True}), sound("b", 1.0))
        assert [each.options.word_times for each in model.opened] == [False, True]


async def test_settings_for_other_nodes_pass_by() -> None:
    async with writer(Model()) as wrote:
        await wrote.hear(Configure("vad", {"silence": 1}))
        assert wrote.frames == [Configure("vad", {"silence": 1})]


# Pauses


async def test_a_pause_reaches_the_recognition_in_its_place_and_goes_on() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a"))
        await wrote.hear(Pause("a", 8_000), sound("a", 0.5))
        await wrote.hear(Pause("a", 16_000, resumed=True), sound("a", 1.0), Pause("a", 24_000))
        await wrote.hear(commit("a", 0, 1.5))
        calls = ["push", "pause", "push", "resume", "push", "pause", "finish"]
        assert model.opened[0].calls == calls
        assert [pause.resumed for pause in wrote.of(Pause)] == [False, True, False]


async def test_pauses_of_utterances_that_are_over_or_unknown_are_nothing() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(Pause("unknown", 0), sound("a"), Clear("a"), Pause("a", 8_000))
        await wrote.hear(sound("b"))
        await model.opened[0].fail(EngineError("broken"))
        await wrote.hear(Pause("b", 8_000), Pause("b", 9_000, resumed=True))
        assert [each.calls for each in model.opened] == [["push"]]


@pytest.mark.parametrize(
    ("frames", "calls"),
    [
        ([Pause("a", 8_000)], ["push", "pause"]),
        ([Pause("a", 8_000), sound("a", 0.5)], ["push", "push", "pause"]),
        ([Pause("a", 8_000), Pause("a", 9_000, resumed=True)], ["push"]),
        ([Pause("a", 8_000), commit("a")], ["push", "finish"]),
    ],
    ids=["paused", "paused for a while", "resumed", "finished"],
)
async def test_a_model_that_loads_late_learns_whether_the_speaker_pauses(
    frames: list[Frame], calls: list[str]
) -> None:
    model = Model(load_seconds=30)
    async with writer(model) as wrote:
        await wrote.hear(sound("a"), *frames)
        await asyncio.sleep(31)
        assert model.opened[0].calls == calls
        if "finish" not in calls:
            await wrote.hear(Pause("a", 20_000, resumed=True))
            assert model.opened[0].calls == [*calls, "resume"]


# Recordings


def as_recording(context: Context) -> Context:
    return replace(context, kind=JobClass.REST, options=RecognitionOptions(partials=False))


async def test_a_few_utterances_of_a_recording_are_with_the_engine_and_the_others_wait() -> None:
    model = Model()
    async with writer(model, as_recording) as wrote:
        items = [str(n) for n in range(WINDOWED_AT_ONCE + 3)]
        for item in items:
            await wrote.hear(sound(item), commit(item))
        assert len(model.opened) == WINDOWED_AT_ONCE
        assert wrote.node.backlog == 2 * SAMPLE_RATE // 2, "the last one is in good hands"
        await model.opened[5].say("out of turn", final=True)
        assert len(model.opened) == WINDOWED_AT_ONCE + 1
        assert wrote.node.backlog == SAMPLE_RATE // 2


async def test_of_live_speech_nothing_waits() -> None:
    model = Model()
    async with writer(model) as wrote:
        for n in range(WINDOWED_AT_ONCE + 3):
            await wrote.hear(sound(str(n)), commit(str(n)))
        assert len(model.opened) == WINDOWED_AT_ONCE + 3


async def test_a_recording_that_has_begun_waits_for_an_engine_that_is_busy() -> None:
    model = Model()
    async with writer(model, as_recording) as wrote:
        await wrote.hear(sound("a"), commit("a"))
        model.refusal = Busy("too many")
        await wrote.hear(sound("b", 1.0), sound("b", 1.5))
        await asyncio.sleep(100)
        await wrote.hear(sound("b", 2.0), commit("b", 1.0, 2.5))
        assert wrote.node.backlog == 0, "the last one is in good hands"
        assert wrote.of(Error) == []
        model.refusal = None
        await asyncio.sleep(2)
        assert [float(samples[0]) for samples in model.opened[1].pushed] == [1.0, 1.5, 2.0]
        await model.opened[1].fail(Busy("no room for the final"))
        await asyncio.sleep(2)
        assert model.opened[1].cancelled
        assert model.opened[2].calls == ["push"] * 3 + ["finish"]
        await model.opened[2].say("at last", final=True)
        assert wrote.said() == [("final", "at last")]
        assert wrote.of(Error) == []


async def test_an_utterance_that_waits_for_a_busy_engine_can_be_cleared() -> None:
    model = Model()
    async with writer(model, as_recording) as wrote:
        await wrote.hear(sound("a"), commit("a"))
        model.refusal = Busy("too many")
        await wrote.hear(sound("b", 1.0), Clear("b"))
        model.refusal = None
        await asyncio.sleep(10)
        assert len(model.opened) == 1


async def test_a_busy_engine_refuses_a_recording_at_its_first_utterance() -> None:
    model = Model(refusal=Busy("too many"))
    async with writer(model, as_recording) as wrote:
        await wrote.hear(sound("a"))
        (told,) = wrote.of(Error)
        assert told.cause is model.refusal


# A model that loads slowly


async def test_audio_is_kept_while_a_model_loads_and_then_given_in_order() -> None:
    model = Model(load_seconds=30)
    async with writer(model) as wrote:
        await wrote.hear(sound("a", 0.0), sound("a", 0.5))
        await asyncio.sleep(10)
        await wrote.hear(sound("a", 1.0), commit("a", 0, 1.5))
        assert model.opened == []
        await asyncio.sleep(30)
        (recognition,) = model.opened
        assert [float(samples[0]) for samples in recognition.pushed] == [0.0, 0.5, 1.0]
        assert recognition.finished
        await recognition.say("late", final=True)
        assert wrote.said() == [("final", "late")]


async def test_audio_that_waits_for_a_model_counts_as_backlog() -> None:
    model = Model(load_seconds=30)
    async with writer(model) as wrote:
        await wrote.hear(sound("a"), commit("a"), sound("b", 1.0), commit("b", 1.0, 1.5))
        assert wrote.node.backlog == SAMPLE_RATE // 2, "the last one finished is in good hands"
        await wrote.hear(sound("c", 2.0, seconds=1.0))
        assert wrote.node.backlog == SAMPLE_RATE // 2 + SAMPLE_RATE
        assert wrote.node.busy
        await asyncio.sleep(31)
        assert wrote.node.backlog == 0
        model.opened[2].held = 123
        assert wrote.node.backlog == 123


async def test_an_item_cleared_while_its_model_loads_is_never_opened() -> None:
    model = Model(load_seconds=30)
    async with writer(model) as wrote:
        await wrote.hear(sound("a"), Clear("a"))
        assert wrote.node.backlog == 0
        await asyncio.sleep(31)
        assert model.opened == []
        assert wrote.frames == [Clear("a")]


async def test_an_item_cleared_while_its_model_fails_to_load_says_nothing() -> None:
    model = Model(load_seconds=30, refusal=ModelNotFound("gone"))
    async with writer(model) as wrote:
        await wrote.hear(sound("a"), Clear("a"))
        await asyncio.sleep(31)
        assert wrote.frames == [Clear("a")]


# Faults


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (EngineError("it broke"), "transcription_failed", "server_error"),
        (Busy("too many"), "transcription_failed", "server_error"),
        (ModelNotFound("gone"), "model_not_found", "invalid_request_error"),
    ],
)
async def test_a_refusal_is_an_error_of_the_item(error: EngineError, code: str, kind: str) -> None:
    model = Model(refusal=error)
    async with writer(model) as wrote:
        await wrote.hear(sound("a"))
        (told,) = wrote.of(Error)
        assert (told.code, told.kind, told.item, told.message) == (code, kind, "a", str(error))
        model.refusal = None
        await wrote.hear(sound("b", 1.0), commit("b", 1.0, 1.5))
        await model.opened[0].say("fine", final=True)
        assert wrote.said() == [("final", "fine")]


async def test_an_engine_that_fails_in_the_middle_fails_the_item_and_not_the_stream() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a"), sound("b", 1.0))
        await model.opened[0].say("so far", 1)
        await model.opened[0].fail(EngineError("the process died"))
        assert wrote.of(Error) == [
            Error("transcription_failed", "the process died", item="a", kind="server_error")
        ]
        assert model.opened[0].cancelled
        await model.opened[1].say("fine", final=True)
        assert wrote.said()[-1] == ("final", "fine")
        assert not wrote.running.done()


async def test_audio_and_the_commit_after_a_failure_fail_the_item_once() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a"))
        await model.opened[0].fail(EngineError("broken"))
        await wrote.hear(sound("a", 0.5), sound("a", 1.0), commit("a", 0, 1.5))
        assert len(wrote.of(Error)) == 1
        assert len(model.opened) == 1
        await wrote.hear(sound("b", 2.0), commit("b", 2.0, 2.5))
        assert len(model.opened) == 2


async def test_a_fault_of_ours_ends_the_graph() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a"))
        await model.opened[0].fail(ValueError("a bug"))
        with pytest.raises(ExceptionGroup):
            await wrote.running


# Clear and end


async def test_clear_cancels_the_item_and_nothing_more_is_said_of_it() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a"))
        await model.opened[0].say("forget", 0)
        await wrote.hear(Clear("a", request="evt_1"))
        assert model.opened[0].cancelled
        await model.opened[0].say("forget me", 1)
        assert wrote.said() == [("tentative", "forget")]
        assert wrote.frames[-1] == Clear("a", request="evt_1")
        assert not wrote.node.busy


async def test_a_clear_of_nothing_passes() -> None:
    async with writer(Model()) as wrote:
        await wrote.hear(Clear(), Clear("unknown"))
        assert wrote.frames == [Clear(), Clear("unknown")]


async def test_the_end_waits_for_every_text() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a"), commit("a"), sound("b"), commit("b"), End())
        await asyncio.sleep(60)
        assert wrote.of(End) == []
        await model.opened[1].say("two", final=True)
        assert wrote.of(End) == []
        await model.opened[0].fail(EngineError("broken"))
        assert [type(frame) for frame in wrote.frames[-2:]] == [Error, End]


async def test_the_end_with_nothing_open_passes_at_once() -> None:
    async with writer(Model()) as wrote:
        await wrote.hear(End())
        assert wrote.frames == [End()]


async def test_when_the_graph_ends_the_engines_are_given_back() -> None:
    model = Model()
    async with writer(model) as wrote:
        await wrote.hear(sound("a"))
    assert model.opened[0].cancelled


# With a real lane


class OneModel:
    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser

    async def recogniser(self, name: str) -> Recogniser:
        return self._recogniser


async def test_a_recording_leaves_places_in_the_lane_of_a_streaming_engine() -> None:
    scheduler = Scheduler(Device(1))
    lane = scheduler.open(Recipe("null", Null, worker="inline", cores=0))
    recogniser = StreamedRecogniser("null", Capabilities(), lane)
    async with writer(OneModel(recogniser), as_recording) as wrote:
        for n in range(10):
            wrote.node.receive(sound(str(n)))
        await asyncio.sleep(1)
        assert lane.live == STREAMED_AT_ONCE
    await scheduler.close()


async def test_the_deltas_of_a_real_lane_concatenate_to_the_transcript() -> None:
    scheduler = Scheduler(Device(1))
    recipe = Recipe("null", lambda: Null(words_per_second=2.0), worker="inline", cores=0)
    recogniser = StreamedRecogniser("null", Capabilities(), scheduler.open(recipe))
    async with writer(OneModel(recogniser)) as wrote:
        for number in range(20):
            await wrote.hear(sound("a", number / 2))
        await wrote.hear(commit("a", 0, 10), End())
        deltas = "".join(text for state, text in wrote.said() if state == "committed")
        final = " ".join([null.WORD] * 20)
        assert len(deltas) > len(final) / 2
        assert final.startswith(deltas)
        assert wrote.said()[-1] == ("final", final)
        assert wrote.frames[-1] == End()
    await scheduler.close()
