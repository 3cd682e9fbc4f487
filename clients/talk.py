"""A conversation with the assistant in a terminal, spoken or written, through the Realtime API.

It needs websockets, rich and, for sound, sounddevice; it speaks only the wire, so any
OpenAI-compatible server will do.
"""

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from clients.commands import Command, Flush, Notice, Play, Send, Show
from clients.conversation import TAIL, Conversation
from clients.signals import on_interrupt
from clients.talk_devices import Devices
from clients.talk_options import TalkOptions, session_of
from clients.talk_screen import TalkScreen
from clients.wire import (
    CONNECT_FAILURES,
    ClientError,
    Unavailable,
    api_key,
    lost,
    open_socket,
    pauses,
    read_event,
    refused,
    unreachable,
)

_TICK_SECONDS: Final = 0.05
_SETTLE_SECONDS: Final = 30.0
_STALLED_SECONDS: Final = 10.0
_MOST_UNSENT: Final = 1024
_END_OF_INPUT: Final = "\x04"


async def talk(options: TalkOptions, devices: Devices, screen: TalkScreen) -> None:
    """Talk until Ctrl-C, or until everything that was written is answered. Raises `ClientError`."""
    talker = Talker(options, devices, screen)
    with screen, on_interrupt(talker.stop):
        await talker.run()


class Talker:
    """Carries a conversation between its devices and the server, over as many connections as it
    takes."""

    def __init__(self, options: TalkOptions, devices: Devices, screen: TalkScreen) -> None:
        self._options = options
        self._devices = devices
        self._screen = screen
        guard = None
        if devices.microphone and devices.player and not options.headphones:
            guard = TAIL + devices.player.latency
        self._conversation = Conversation(guard)
        self._written_before = options.text and not devices.interactive
        """The user's side comes from a file or a program: each line waits for the answer to the one
        before."""
        self._loop = asyncio.get_running_loop()
        self._outbox: asyncio.Queue[Mapping[str, Any]] | None = None
        self._reached = asyncio.Event()
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let `run` end at once."""
        self._stopping.set()

    async def run(self) -> None:
        """Until the user leaves or the server refuses. Raises `ClientError`."""
        works = [self._stay_connected(), self._leave(), *self._user()]
        if self._devices.player:
            works.append(self._keep_time())
        await _first_of(works)

    def _user(self) -> list[Coroutine[Any, Any, None]]:
        """What the user speaks or writes."""
        if self._options.text:
            return [self._write()]
        return [self._hear()] + ([self._keys()] if self._devices.keyboard else [])

    async def _leave(self) -> None:
        await self._stopping.wait()

    # The connection

    async def _stay_connected(self) -> None:
        waits = pauses()
        while True:
            try:
                await self._connect()
            except Unavailable as failure:
                if not self._reached.is_set():
                    raise
                if self._outbox is not None:
                    self._screen.notice(f"{failure} Trying again …")
                    waits = pauses()
            self._outbox = None
            self._do(self._conversation.lose())
            await asyncio.sleep(next(waits))

    async def _connect(self) -> None:
        """One connection, from its handshake to its end; failures as `ClientError`."""
        options = self._options
        try:
            socket = await open_socket(
                options.url, options.query, api_key(options.api_key), options.verify_tls
            )
        except CONNECT_FAILURES as error:
            raise unreachable(options.url, error) from error
        try:
            async with socket:
                await self._settle(socket)
                self._begin()
                await _first_of([self._receive(socket), self._send(socket)])
        except ConnectionClosed as error:
            raise lost(error) from error

    async def _settle(self, socket: ClientConnection) -> None:
        """Say what kind of conversation it is, and wait until the server agrees."""
        microphone = self._devices.microphone
        session = session_of(self._options, microphone.rate if microphone else None)
        # A server that refuses may be gone already; what it said is still to be read.
        with contextlib.suppress(ConnectionClosed):
            await socket.send(json.dumps({"type": "session.update", "session": session}))
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                while (event := read_event(await socket.recv())).get("type") != "session.updated":
                    if event.get("type") == "error":
                        raise refused(event)
        except TimeoutError as error:
            raise unreachable(self._options.url, error) from error

    def _begin(self) -> None:
        again = self._reached.is_set()
        self._outbox = asyncio.Queue(_MOST_UNSENT)
        self._do(self._conversation.connect())
        greeting = "Connected again." if again else self._greeting()
        if greeting:
            self._screen.notice(greeting)
        self._reached.set()
        self._show()

    def _greeting(self) -> str | None:
        options, interactive = self._options, self._devices.interactive
        if options.text:
            written = "Write; an empty line interrupts an answer, Ctrl-D ends the conversation."
            return written if interactive else None
        if options.headphones:
            return "Speak, also over an answer; Ctrl-C ends the conversation."
        key = "; Enter or space interrupts an answer" if interactive else ""
        return f"Speak when nothing is said{key}; Ctrl-C ends the conversation."

    async def _receive(self, socket: ClientConnection) -> None:
        while True:
            event = read_event(await socket.recv())
            self._follow_playback()
            self._do(self._conversation.take(event))
            self._show()

    async def _send(self, socket: ClientConnection) -> None:
        outbox = self._outbox
        assert outbox is not None, "it begins with the connection"
        while True:
            event = await outbox.get()
            try:
                async with asyncio.timeout(_STALLED_SECONDS):
                    await socket.send(json.dumps(event))
            except TimeoutError as error:
                raise Unavailable("The server does not take what is sent to it.") from error

    # The user

    async def _hear(self) -> None:
        """Send the microphone's sound; what is said while there is no server is lost."""
        microphone = self._devices.microphone
        assert microphone is not None, "without one, the user writes"
        while chunk := await microphone.read():
            if self._outbox is not None:
                self._follow_playback()
                self._do([self._conversation.hear(chunk.data, self._loop.time())])

    async def _keys(self) -> None:
        keyboard = self._devices.keyboard
        assert keyboard is not None, "there are keys to be read"
        while (key := await keyboard.key()) not in (None, _END_OF_INPUT):
            if key in " \r\n":
                self._do(self._conversation.interrupt())
                self._show()

    async def _write(self) -> None:
        keyboard = self._devices.keyboard
        assert keyboard is not None, "somebody writes"
        await self._reached.wait()
        while (line := await keyboard.line()) is not None:
            text = line.strip()
            self._do(self._conversation.type(text) if text else self._conversation.interrupt())
            self._show()
            if self._written_before:
                await self._answered()
        await self._answered()
        if self._devices.player:
            await asyncio.sleep(self._devices.player.latency)

    async def _answered(self) -> None:
        """Wait until all is said. Raises `ClientError` for a failure that nobody can answer."""
        while not self._conversation.idle:
            self._changed.clear()
            await self._changed.wait()
        if self._conversation.failure is not None and self._written_before:
            raise ClientError(self._conversation.failure)

    # What is to be done

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._follow_playback()
            self._show()

    def _follow_playback(self) -> None:
        if player := self._devices.player:
            self._do(self._conversation.reach(player.position, self._loop.time()))

    def _do(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Send(event):
                    self._put(event)
                case Play(data):
                    if self._devices.player:
                        self._devices.player.play(data)
                case Flush():
                    self._flush()
                case Show(said):
                    self._screen.line(said)
                case Notice(text):
                    # What ends the program is told at its end.
                    if not (self._written_before and text == self._conversation.failure):
                        self._screen.notice(text)

    def _put(self, event: Mapping[str, Any]) -> None:
        if self._outbox is None:
            return
        try:
            self._outbox.put_nowait(event)
        except asyncio.QueueFull:
            raise ClientError("The server does not take what is sent to it.") from None

    def _flush(self) -> None:
        player = self._devices.player
        position = 0
        if player:
            player.flush()
            position = player.position
        self._do(self._conversation.flushed(position, self._loop.time()))

    def _show(self) -> None:
        self._screen.grow(self._conversation.growing)
        if self._conversation.idle:
            self._screen.prompt()
        self._changed.set()


async def _first_of(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run these until one is over, and end the others; raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
