"""Nodes, the edges between them, and the graph that runs them.

Frames flow by synchronous calls: `Node.emit` hands a frame to the receivers of each edge and to
the graph's observers. A node that waits on something has an `Inbox` and one task, its `run`.
Sources await `Graph.ready`, so nothing is produced faster than the slowest node takes it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar

from pipelines.frames import SAMPLE_RATE, Configure, Frame, Interrupt

POLL_SECONDS = 0.02


class PipelineError(Exception):
    """A pipeline that cannot be built or run; one line for users."""


class Node:
    """A step of a pipeline.

    Subclasses say what they take and give (for the loader's checks) and implement `receive`,
    which never blocks. A node with work to wait for implements `run`; it is cancelled when the
    graph ends.
    """

    accepts: ClassVar[tuple[type[Frame], ...]] = (Frame,)
    emits: ClassVar[tuple[type[Frame], ...]] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.outputs: list[Callable[[Frame], None]] = []

    @property
    def backlog(self) -> int:
        """Samples of audio this node holds and has not processed."""
        return 0

    @property
    def busy(self) -> bool:
        """Whether this node is finishing something whose input is complete."""
        return False

    def receive(self, frame: Frame) -> None:
        """Take a frame; must not block."""
        raise NotImplementedError

    def overhear(self, frame: Frame) -> None:
        """See a frame that another node sends, whether or not an edge leads here.

        For nodes that define it; must not block, and sends nothing."""

    def emit(self, frame: Frame) -> None:
        """Hand a frame to everything downstream."""
        for output in self.outputs:
            output(frame)

    async def run(self) -> None:
        """The node's own task; returns when the node has nothing to wait for."""


class Policy(Enum):
    """What an inbox does with a frame that does not fit."""

    WAIT = "wait"
    """Refuse it: the sources must have waited. Speech is never silently dropped."""
    COALESCE = "coalesce"
    """Put it in the place of the newest queued frame of its type."""
    DROP = "drop"
    """Drop the oldest queued frame that may be dropped."""


class InboxFull(PipelineError):
    """A source did not wait for `Graph.ready`."""


class Inbox:
    """The bounded queue in front of a node's task. Urgent frames go to its head."""

    def __init__(self, bound: int, policy: Policy) -> None:
        self.bound = bound
        self.policy = policy
        self.dropped = 0
        self._frames: deque[Frame] = deque()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def is_ready(self) -> bool:
        """Whether there is something worth waking for."""
        return bool(self._frames)

    def put(self, frame: Frame) -> None:
        """Queue a frame by the policy. Raises `InboxFull`."""
        if isinstance(frame, Interrupt):
            self._clear_response(frame.response)
        if frame.urgent:
            self._frames.appendleft(frame)
        elif len(self._frames) < self.bound or self._make_room(frame):
            self._frames.append(frame)
        if self.is_ready:
            self._filled.set()

    async def get(self) -> Frame:
        """The next frame, when there is one that is worth waking for."""
        while not self.is_ready:
            self._filled.clear()
            await self._filled.wait()
        return self._frames.popleft()

    def peek(self) -> Frame | None:
        """The next frame, if there is one now."""
        return self._frames[0] if self._frames else None

    def pop(self) -> Frame:
        """Take the next frame, which there is."""
        return self._frames.popleft()

    def _make_room(self, frame: Frame) -> bool:
        match self.policy:
            case Policy.WAIT:
                raise InboxFull(f"more than {self.bound} frames wait")
            case Policy.COALESCE:
                return self._replace(frame)
            case Policy.DROP:
                return self._drop_oldest() or not self._drop(frame)

    def _replace(self, frame: Frame) -> bool:
        for place in range(len(self._frames) - 1, -1, -1):
            if type(self._frames[place]) is type(frame):
                self._frames[place] = frame
                return False
        return True

    def _drop_oldest(self) -> bool:
        for queued in self._frames:
            if queued.droppable:
                self._frames.remove(queued)
                self.dropped += 1
                return True
        return False

    def _drop(self, frame: Frame) -> bool:
        self.dropped += frame.droppable
        return frame.droppable

    def _clear_response(self, response: str | None) -> None:
        self._frames = deque(
            frame
            for frame in self._frames
            if (owner := getattr(frame, "response", None)) is None
            or (response is not None and owner != response)
        )


Observer = Callable[[str, Frame], None]
"""Sees every frame that passes an edge, with the name of the node that sent it. Must not block."""


class Graph:
    """A pipeline of nodes. Start `run` as a task, `push` frames in, `configure` it while it runs.

    `entries` receive what is pushed. The graph ends when its task is cancelled.
    """

    def __init__(
        self, nodes: Sequence[Node], entries: Sequence[Node], ready_seconds: float = 5.0
    ) -> None:
        self._nodes: Mapping[str, Node] = {node.name: node for node in nodes}
        self._entries = tuple(entries)
        self._ready_samples = ready_seconds * SAMPLE_RATE
        self._observers: list[Observer] = []
        for node in nodes:
            node.outputs.append(self._tap(node.name))
            if type(node).overhear is not Node.overhear:
                self._observers.append(_overhearing(node))

    @property
    def nodes(self) -> Mapping[str, Node]:
        """All nodes by name."""
        return self._nodes

    @property
    def backlog(self) -> int:
        """Samples of audio that have been pushed and not processed."""
        return sum(node.backlog for node in self._nodes.values())

    @property
    def busy(self) -> bool:
        """Whether any node is finishing something whose input is complete."""
        return any(node.busy for node in self._nodes.values())

    def observe(self, observer: Observer) -> None:
        """Show every frame to `observer` from now on."""
        self._observers.append(observer)

    def push(self, frame: Frame) -> None:
        """Put a frame in at the front. Sources first `await ready()`.

        An urgent frame goes to every node that accepts it at once, and none passes it on.
        """
        if not frame.urgent:
            for node in self._entries:
                node.receive(frame)
            return
        for node in self._nodes.values():
            if isinstance(frame, node.accepts):
                node.receive(frame)

    def configure(self, node: str, settings: Mapping[str, Any]) -> None:
        """Change a node's settings, in order with the frames pushed before and after."""
        self.push(Configure(node, settings))

    @property
    def is_ready(self) -> bool:
        """Whether no more than `ready_seconds` of audio is unprocessed."""
        return self.backlog <= self._ready_samples

    async def ready(self) -> None:
        """Return once `is_ready`."""
        # Polled, because engines in other processes take audio without a word; there are
        # seconds of audio in hand, so nothing runs dry meanwhile.
        while not self.is_ready:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    async def run(self) -> None:
        """Run the nodes' tasks until cancelled; the first that fails ends them all."""
        async with asyncio.TaskGroup() as tasks:
            for node in self._nodes.values():
                tasks.create_task(node.run(), name=f"node {node.name}")

    def _tap(self, name: str) -> Callable[[Frame], None]:
        def show(frame: Frame) -> None:
            for observer in self._observers:
                observer(name, frame)

        return show


def _overhearing(node: Node) -> Observer:
    def observe(sender: str, frame: Frame) -> None:
        if sender != node.name:
            node.overhear(frame)

    return observe


def connect(sender: Node, receiver: Node) -> None:
    """Add an edge: what `sender` emits, `receiver` gets, if it accepts frames of that type."""
    accepts = receiver.accepts

    def deliver(frame: Frame) -> None:
        if isinstance(frame, accepts):
            receiver.receive(frame)

    sender.outputs.append(deliver)
