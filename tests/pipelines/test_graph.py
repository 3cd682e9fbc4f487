"""Inboxes keep their bounds, and a graph paces, shows and ends what runs in it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from pipelines.frames import (
    SAMPLE_RATE,
    Audio,
    Configure,
    End,
    Frame,
    Interrupt,
    SpeechStarted,
    Text,
    Transcript,
)
from pipelines.graph import Graph, Inbox, InboxFull, Node, PipelineError, Policy, connect


@dataclass(frozen=True, slots=True)
class Metrics(Frame):
    """Figures that nobody misses."""

    droppable: ClassVar[bool] = True
    values: Mapping[str, float]


def text(word: str, response: str = "r1") -> Text:
    return Text(response, "item", word)


def metrics(value: float) -> Metrics:
    return Metrics({"n": value})


def content(inbox: Inbox) -> list[Frame]:
    return [inbox.pop() for _ in range(len(inbox))]


async def test_frames_come_out_in_order() -> None:
    inbox = Inbox(3, Policy.WAIT)
    for word in "abc":
        inbox.put(text(word))
    assert inbox.peek() == text("a")
    assert [await inbox.get() for _ in range(3)] == [text(word) for word in "abc"]
    assert inbox.peek() is None


async def test_get_waits_for_a_frame() -> None:
    inbox = Inbox(3, Policy.WAIT)
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.put(text("a"))
    assert await waiting == text("a")


async def test_a_full_inbox_that_waits_refuses_and_keeps_what_it_has() -> None:
    inbox = Inbox(2, Policy.WAIT)
    inbox.put(text("a"))
    inbox.put(text("b"))
    with pytest.raises(InboxFull, match="2"):
        inbox.put(text("c"))
    assert issubclass(InboxFull, PipelineError)
    assert content(inbox) == [text("a"), text("b")]


async def test_a_full_inbox_that_coalesces_keeps_the_newest_of_a_type_in_its_place() -> None:
    inbox = Inbox(3, Policy.COALESCE)
    for frame in (metrics(1), text("a"), metrics(2), metrics(3)):
        inbox.put(frame)
    assert content(inbox) == [metrics(1), text("a"), metrics(3)]


async def test_a_full_inbox_that_coalesces_takes_a_type_it_does_not_hold() -> None:
    inbox = Inbox(1, Policy.COALESCE)
    inbox.put(metrics(1))
    inbox.put(End())
    assert content(inbox) == [metrics(1), End()]


async def test_a_full_inbox_that_drops_loses_the_oldest_that_may_be_lost() -> None:
    inbox = Inbox(3, Policy.DROP)
    for frame in (text("a"), metrics(1), metrics(2), text("b"), metrics(3)):
        inbox.put(frame)
    assert content(inbox) == [text("a"), text("b"), metrics(3)]
    assert inbox.dropped == 2


async def test_what_may_not_be_lost_never_is_and_a_droppable_newcomer_gives_way() -> None:
    inbox = Inbox(2, Policy.DROP)
    for frame in (text("a"), text("b"), metrics(1), text("c")):
        inbox.put(frame)
    assert content(inbox) == [text("a"), text("b"), text("c")]
    assert inbox.dropped == 1


@pytest.mark.parametrize("policy", Policy)
async def test_an_urgent_frame_overtakes_the_others_even_when_the_inbox_is_full(
    policy: Policy,
) -> None:
    inbox = Inbox(2, policy)
    inbox.put(SpeechStarted("item", 0))
    inbox.put(End())
    inbox.put(Interrupt())
    assert content(inbox) == [Interrupt(), SpeechStarted("item", 0), End()]


async def test_an_interrupt_clears_its_response_and_nothing_else() -> None:
    inbox = Inbox(9, Policy.WAIT)
    transcript = Transcript("item", "hello", "final")
    for frame in (text("a", "r1"), transcript, text("b", "r2"), text("c", "r1")):
        inbox.put(frame)
    inbox.put(Interrupt(response="r1"))
    assert content(inbox) == [Interrupt(response="r1"), transcript, text("b", "r2")]


async def test_an_interrupt_without_a_response_clears_them_all() -> None:
    inbox = Inbox(9, Policy.WAIT)
    for frame in (text("a", "r1"), End(), text("b", "r2")):
        inbox.put(frame)
    inbox.put(Interrupt())
    assert content(inbox) == [Interrupt(), End()]


# Graphs


class Relay(Node):
    """Passes everything on."""

    def receive(self, frame: Frame) -> None:
        self.emit(frame)


class Collect(Node):
    """Keeps what it receives."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.frames: list[Frame] = []

    def receive(self, frame: Frame) -> None:
        self.frames.append(frame)


class OnlyText(Collect):
    accepts = (Text,)


class Queue(Node):
    """Holds audio until it is told to work."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.held = 0
        self.finishing = False

    @property
    def backlog(self) -> int:
        return self.held

    @property
    def busy(self) -> bool:
        return self.finishing

    def receive(self, frame: Frame) -> None:
        if isinstance(frame, Audio):
            self.held += len(frame.samples)


class Fails(Node):
    """Fails when it is told to."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.fail = asyncio.Event()

    def receive(self, frame: Frame) -> None: ...

    async def run(self) -> None:
        await self.fail.wait()
        raise PipelineError("it failed")


class Waits(Node):
    """Runs until it is cancelled."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ended = False

    def receive(self, frame: Frame) -> None: ...

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


class Overhears(Relay):
    """Passes everything on, and keeps what others send."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.heard: list[Frame] = []

    def overhear(self, frame: Frame) -> None:
        self.heard.append(frame)


def seconds(length: float) -> Audio:
    return Audio(np.zeros(round(length * SAMPLE_RATE), np.float32), 0)


async def test_a_frame_reaches_every_node_that_accepts_it() -> None:
    relay, everything, only_text = Relay("relay"), Collect("all"), OnlyText("text")
    connect(relay, everything)
    connect(relay, only_text)
    graph = Graph([relay, everything, only_text], [relay])
    graph.push(text("a"))
    graph.push(End())
    assert everything.frames == [text("a"), End()]
    assert only_text.frames == [text("a")]
    assert list(graph.nodes) == ["relay", "all", "text"]


async def test_what_is_pushed_reaches_every_entry() -> None:
    one, two = Collect("one"), Collect("two")
    Graph([one, two], [one, two]).push(End())
    assert one.frames == two.frames == [End()]


async def test_settings_travel_with_the_frames() -> None:
    relay, end = Relay("relay"), Collect("end")
    connect(relay, end)
    graph = Graph([relay, end], [relay])
    graph.push(text("a"))
    graph.configure("end", {"loud": True})
    graph.push(text("b"))
    assert end.frames == [text("a"), Configure("end", {"loud": True}), text("b")]


async def test_observers_see_every_frame_with_the_name_of_its_sender() -> None:
    first, second, last = Relay("first"), Relay("second"), Collect("last")
    connect(first, second)
    connect(second, last)
    graph = Graph([first, second, last], [first])
    graph.push(text("before"))
    seen: list[tuple[str, Frame]] = []
    also: list[Frame] = []
    graph.observe(lambda name, frame: seen.append((name, frame)))
    graph.observe(lambda name, frame: also.append(frame))
    graph.push(text("a"))
    assert sorted(name for name, _ in seen) == ["first", "second"]
    assert also == [text("a")] * 2


@pytest.mark.virtual_time
async def test_ready_waits_until_the_nodes_have_little_enough_left() -> None:
    one, two = Queue("one"), Queue("two")
    graph = Graph([one, two], [one, two], ready_seconds=2)
    await graph.ready()
    graph.push(seconds(1))
    await graph.ready()
    graph.push(seconds(0.5))
    assert graph.backlog == 3 * SAMPLE_RATE
    waiting = asyncio.create_task(graph.ready())
    await asyncio.sleep(10)
    assert not waiting.done()
    two.held = round(0.5 * SAMPLE_RATE)
    began = asyncio.get_running_loop().time()
    await waiting
    assert asyncio.get_running_loop().time() - began < 0.1


async def test_a_graph_is_busy_while_a_node_is() -> None:
    one, two = Queue("one"), Queue("two")
    graph = Graph([one, two], [one])
    assert not graph.busy
    two.finishing = True
    assert graph.busy


async def test_a_node_that_fails_ends_the_graph_and_the_other_nodes() -> None:
    failing, waiting = Fails("failing"), Waits("waiting")
    graph = Graph([Relay("relay"), waiting, failing], [failing])
    running = asyncio.create_task(graph.run())
    await asyncio.sleep(0)
    failing.fail.set()
    with pytest.raises(ExceptionGroup) as group:
        await running
    assert group.group_contains(PipelineError, match="it failed")
    assert waiting.ended


async def test_cancelling_the_graph_ends_its_nodes() -> None:
    waiting = Waits("waiting")
    running = asyncio.create_task(Graph([waiting], [waiting]).run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert waiting.ended


def test_a_node_overhears_what_others_send_and_not_itself() -> None:
    first, second = Overhears("first"), Relay("second")
    connect(first, second)
    graph = Graph([first, second], [first])
    graph.push(text("a"))
    second.emit(text("b"))
    assert first.heard == [text("a"), text("b")], "both are what `second` sent"
