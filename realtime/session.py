"""One Realtime session: a socket, a protocol and a graph, in one task group.

The reader feeds the protocol and waits for the graph; the writer alone sends. Whichever ends the
session says with which code the socket is closed.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from aiohttp import WSMsgType, web

from engines.audio import AudioFormat
from pipelines.frames import AudioOut, Frame
from pipelines.graph import Graph
from realtime.actions import Action, Close, Push, Send, ServerEvent
from realtime.events import (
    Append,
    BadEvent,
    ClientEvent,
    RetrieveItem,
    SessionUpdate,
    binary_event,
    decode,
    read,
)
from realtime.outbox import Outbox, OutboxFull
from realtime.retention import RetainedAudio

log = logging.getLogger(__name__)

BIG_MESSAGE = 64 * 1024
"""Characters above which a message is parsed in a thread."""
SEND_SECONDS = 30.0
"""Longest time one event may take to leave before the client counts as gone."""
PATIENCE = 5.0
"""How much slower than real time a socket is still read while its graph is full."""
CLOSE_SECONDS = 3.0

NORMAL, GOING_AWAY, FAULT, OVERLOAD = 1000, 1001, 1011, 1013


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Times in seconds; `outbound` counts events."""

    idle: float
    longest: float
    outbound: int


class Dialect(Protocol):
    """Translates between the client's events and today's."""

    def inbound(self, message: dict[str, Any]) -> dict[str, Any]: ...

    def outbound(self, event: ServerEvent) -> list[ServerEvent]: ...


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """What one session is called, is bound by, and speaks beside today's events."""

    id: str
    limits: SessionLimits
    dialect: Dialect | None = None


class _Over(Exception):
    """The session ends with this close code."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class SessionGraph(Protocol):
    """Builds the session's graph around the function that its sink calls."""

    def __call__(self, deliver: Callable[[Frame], None]) -> Graph: ...


class SessionProtocol(Protocol):
    """What kind of session it is: a `RealtimeProtocol` or a `ConversationProtocol`."""

    @property
    def format(self) -> AudioFormat: ...

    @property
    def ignored(self) -> tuple[str, ...]: ...

    @property
    def contradictions(self) -> int: ...

    def open(self) -> list[Action]: ...

    def receive(self, event: ClientEvent | BadEvent) -> list[Action]: ...

    def send_frame(self, frame: Frame) -> list[Action]: ...

    def expire(self) -> list[Action]: ...

    def leave(self, code: str, message: str) -> list[Action]: ...

    def fail(self, code: str, message: str, kind: str = "server_error") -> list[Action]: ...


class Session:
    """Runs until the client leaves, a limit is reached, or `end` is called."""

    def __init__(
        self,
        terms: SessionTerms,
        socket: web.WebSocketResponse,
        protocol: SessionProtocol,
        build: SessionGraph,
        *,
        retained: RetainedAudio,
    ) -> None:
        self.id = terms.id
        self._socket = socket
        self._protocol = protocol
        self._retained = retained
        self._limits = terms.limits
        self._dialect = terms.dialect
        self._outbox = Outbox(terms.limits.outbound)
        self._ending: asyncio.Future[_Over] = asyncio.get_running_loop().create_future()
        self._closed = asyncio.Event()
        self.said_goodbye = True
        """Whether the client was there when the session ended, and heard it."""
        self.graph = build(self._deliver)
        self.graph.observe(retained.observe)

    async def run(self) -> int:
        """Serve the socket; return the close code."""
        # Not cancelled where the session ends: what it was told to send may be under way.
        writer = asyncio.create_task(self._write(), name=f"{self.id} writer")
        try:
            over = await self._converse()
            await self._close(over, writer)
        finally:
            self._closed.set()
            if not writer.done():
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        return over.code

    async def _converse(self) -> _Over:
        """Run the session's tasks; how it ended."""
        over = _Over(NORMAL)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.graph.run(), name=f"{self.id} graph")
                tasks.create_task(self._read(), name=f"{self.id} reader")
                tasks.create_task(self._watch(), name=f"{self.id} end")
        except* _Over as group:
            over = _first_end(group)
        except* ConnectionError:
            over = _Over(GOING_AWAY)  # nobody is left to tell
        except* Exception as group:  # a border: a fault of ours ends this session only
            log.exception("the session failed", exc_info=group)
            self._fail()
            over = _Over(FAULT, "internal error")
        return over

    def end(self, code: int, reason: str = "") -> None:
        """Ask the session to end, from outside; what it sends after this is not told."""
        self._outbox.end(drop=False)
        if not self._ending.done():
            self._ending.set_result(_Over(code, reason))

    async def finish(self, seconds: float) -> None:
        """End the session because the server stops; utterances that are spoken get their text.

        Returns when both sides have said goodbye.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.graph.busy and loop.time() < deadline:  # noqa: ASYNC110 - a few seconds, once
            await asyncio.sleep(0.05)
        self._do(self._protocol.leave("server_shutdown", "The server is shutting down."))
        self.end(GOING_AWAY, "the server is shutting down")
        await self._closed.wait()

    # In

    async def _read(self) -> None:
        self._do(self._protocol.open())
        while True:
            try:
                # Not `receive`'s own timeout, which the answer to every ping begins anew.
                async with asyncio.timeout(self._limits.idle):
                    message = await self._socket.receive()
            except TimeoutError:
                self._expire("session_idle_timeout", "The session was closed: no event arrived.")
            match message.type:
                case WSMsgType.TEXT:
                    await self._receive(message.data)
                case WSMsgType.BINARY:
                    await self._handle(binary_event())
                case _:
                    raise _Over(self._socket.close_code or NORMAL)
            # One look at the network can bring thousands of events, none of which is waited for.
            await asyncio.sleep(0)

    def _expire(self, code: str, message: str) -> NoReturn:
        self._do(self._protocol.leave(code, message))
        self._do(self._protocol.fail(code, message, "invalid_request_error"))
        self._outbox.end(drop=False)
        raise _Over(GOING_AWAY, code)

    async def _receive(self, text: str) -> None:
        big = len(text) > BIG_MESSAGE
        event = await asyncio.to_thread(self._parse, text) if big else self._parse(text)
        if not isinstance(event, Append):
            await self._handle(event)
            return
        rate = self._protocol.format.bytes_per_second
        for piece in event.split(rate):
            self._do(self._protocol.receive(piece))
            await self._ready(len(piece.audio) / rate)

    def _parse(self, text: str) -> ClientEvent | BadEvent:
        message = decode(text)
        if isinstance(message, BadEvent):
            return message
        return read(message if self._dialect is None else self._dialect.inbound(message))

    async def _handle(self, event: ClientEvent | BadEvent) -> None:
        """Take an event that is answered, once the answers to those before it are on their way."""
        await self._outbox.roomy()
        if isinstance(event, RetrieveItem):
            await self._retained.prepare(event.item_id)
        self._do(self._protocol.receive(event))
        if isinstance(event, SessionUpdate):
            for path in self._protocol.ignored:
                log.info("'%s' in session.update means nothing here", path)

    async def _ready(self, seconds: float) -> None:
        """Wait for the graph, but never so long that the client's pings go unanswered."""
        if self.graph.is_ready:
            return
        try:
            async with asyncio.timeout(max(0.5, PATIENCE * seconds)):
                await self.graph.ready()
        except TimeoutError:
            return

    # Out

    def _deliver(self, frame: Frame) -> None:
        if isinstance(frame, AudioOut):
            self._retained.keep(frame.item, frame.samples, frame.rate)
        self._do(self._protocol.send_frame(frame))

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Send(event):
                    self._send(event)
                case Push(frame):
                    self.graph.push(frame)
                case Close(code, reason):
                    self.end(code, reason)

    def _send(self, event: ServerEvent) -> None:
        try:
            for told in [event] if self._dialect is None else self._dialect.outbound(event):
                self._outbox.put(told)
        except OutboxFull:
            self.end(OVERLOAD, "the client does not read")

    async def _write(self) -> bool:
        """Send what there is until the outbox ends; whether all of it left."""
        try:
            while (text := await self._outbox.get()) is not None:
                async with asyncio.timeout(SEND_SECONDS):
                    await self._socket.send_str(text)
        except TimeoutError:
            self.end(OVERLOAD, "the client does not read")
        except ConnectionError:
            self.end(GOING_AWAY)  # nobody is left to tell
        else:
            return True
        return False

    async def _watch(self) -> None:
        """End the session when asked to, or when it has lasted long enough."""
        try:
            async with asyncio.timeout(self._limits.longest):
                over = await asyncio.shield(self._ending)
        except TimeoutError:
            self._do(self._protocol.expire())
            over = await self._ending
        raise over

    def _fail(self) -> None:
        message = "The server had an error while processing this session."
        with suppress(Exception):  # it may be the protocol that failed
            self._do(self._protocol.leave("server_error", message))
        self._do(self._protocol.fail("server_error", message))

    async def _close(self, over: _Over, writer: asyncio.Task[bool]) -> None:
        """Send what is queued, then close; a client that does not read is cut off."""
        self._outbox.end(drop=over.code == OVERLOAD)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                self.said_goodbye = await writer
                if self.said_goodbye:
                    await self._socket.close(code=over.code, message=over.reason.encode()[:123])
        except (TimeoutError, ConnectionError):
            self.said_goodbye = False
        if not self.said_goodbye:
            log.info("the client was not there to say goodbye")


def _first_end(group: BaseExceptionGroup[_Over]) -> _Over:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, _Over)
    return error
