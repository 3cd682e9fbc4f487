"""Live captions in a terminal: a microphone, or a WAV file, through the Realtime API.

Run it by itself with `python -m clients.listen --help`. It needs websockets, rich and, for a
microphone, sounddevice; it speaks only the wire, so any OpenAI-compatible server will do.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from clients.captions import Captions
from clients.screen import Screen
from clients.signals import on_interrupt
from clients.sources import (
    CHUNKS_PER_SECOND,
    Chunk,
    FileSource,
    MicrophoneSource,
    Source,
    input_devices,
)
from clients.wire import (
    CONNECT_FAILURES,
    DEFAULT_MODEL,
    DEFAULT_URL,
    ClientError,
    Unavailable,
    api_key,
    as_object,
    as_text,
    lost,
    open_socket,
    pauses,
    read_event,
    refused,
    unreachable,
)

_QUERY = {"intent": "transcription", "extensions": "antiphon.tentative"}
_SETTLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """What to listen to and whom to ask; `file` is a WAV file in place of the microphone.

    `finish_seconds` is how long the last words may take after the end: 2 s for a microphone and
    60 s for a file unless it says otherwise.
    """

    url: str = DEFAULT_URL
    api_key: str | None = None
    model: str | None = None
    language: str | None = None
    device: int | str | None = None
    list_devices: bool = False
    output: Path | None = None
    file: Path | None = None
    verify_tls: bool = True
    finish_seconds: float | None = None

    @property
    def patience(self) -> float:
        if self.finish_seconds is not None:
            return self.finish_seconds
        return 60.0 if self.file else 2.0


async def listen(options: ListenOptions, console: Console) -> None:
    """Show what is said until Ctrl-C, or the end of the file. Raises `ClientError`."""
    if options.list_devices:
        devices = await asyncio.to_thread(input_devices)
        if not devices:
            raise ClientError("No microphone found. Plug one in, or check the sound settings.")
        for number, name in devices:
            console.out(f"{number}: {name}", highlight=False)
        return
    file = await asyncio.to_thread(_open_output, options.output) if options.output else None
    source = _source(options)
    try:
        with Screen(console, file) as screen:
            async with source:
                await _until_interrupted(Listener(options, source, screen))
    finally:
        if file:
            with contextlib.suppress(OSError):  # every line was written out or its failure told
                file.close()


class Listener:
    """Sends a source to the server and shows what comes back, over as many connections as it
    takes."""

    def __init__(self, options: ListenOptions, source: Source, screen: Screen) -> None:
        self._options = options
        self._source = source
        self._screen = screen
        self._captions = Captions()
        self._unsent: Chunk | None = None
        self._expected: float | None = None
        self._connected = False
        self._stopping = False
        self.talking = False
        """A server is listening, so that it can be asked for the last words."""

    def stop(self) -> None:
        """Hear no more; `run` ends when the last words have come."""
        self._stopping = True
        self._source.stop()

    async def run(self) -> None:
        """Until the source has ended or the server refuses. Raises `ClientError`."""
        waits = pauses()
        while True:
            try:
                await self._connect()
                return
            except Unavailable as failure:
                if self._stopping or not self._connected:
                    raise
                if self.talking:
                    self._screen.notice(f"{failure} Trying again …")
                    waits = pauses()
            finally:
                self.talking = False
                self._abandon()
            await asyncio.sleep(next(waits))

    async def _connect(self) -> None:
        """One connection, from its handshake to its end; failures as `ClientError`."""
        options = self._options
        key = api_key(options.api_key)
        try:
            socket = await open_socket(options.url, _QUERY, key, options.verify_tls)
        except CONNECT_FAILURES as error:
            raise unreachable(options.url, error) from error
        try:
            async with socket:
                await self._settle(socket)
                again = self._connected
                self._screen.notice("Connected again." if again else "Listening; Ctrl-C ends it.")
                self._connected = True
                await self._talk(socket)
        except ConnectionClosed as error:
            raise lost(error) from error

    async def _settle(self, socket: ClientConnection) -> None:
        """Say what will be sent, and wait until the server agrees."""
        transcription = {"model": self._options.model or DEFAULT_MODEL}
        if self._options.language:
            transcription["language"] = self._options.language
        sound = {
            "format": {"type": "audio/pcm", "rate": self._source.rate},
            "transcription": transcription,
        }
        session = {"type": "transcription", "audio": {"input": sound}}
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

    async def _talk(self, socket: ClientConnection) -> None:
        """Send and receive until both are done."""
        self._captions = Captions()
        self.talking = True
        sender = asyncio.create_task(self._send(socket))
        receiver = asyncio.create_task(self._receive(socket))
        try:
            await asyncio.wait({sender, receiver}, return_when=asyncio.FIRST_COMPLETED)
            if not receiver.done():
                with contextlib.suppress(ConnectionClosed):
                    await sender
                async with asyncio.timeout(self._options.patience):
                    await receiver
            await receiver
        except TimeoutError:
            self._screen.notice("The server did not finish the last words in time.")
        finally:
            sender.cancel()
            receiver.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)

    async def _send(self, socket: ClientConnection) -> None:
        """Append the source's audio; then ask for what is left of it."""
        while chunk := self._unsent or await self._source.read():
            self._unsent = chunk
            self._keep_time(chunk)
            audio = base64.b64encode(chunk.data).decode()
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            self._unsent = None
            self._expected = chunk.at + 1 / CHUNKS_PER_SECOND
            self._captions.heard = self._expected
        # The answer to the clear comes after everything that the commit brought about at once.
        await socket.send('{"type": "input_audio_buffer.commit", "event_id": "last_words"}')
        await socket.send('{"type": "input_audio_buffer.clear"}')

    def _keep_time(self, chunk: Chunk) -> None:
        """Place the connection's audio on the source's clock, and own up to what was dropped."""
        gap = chunk.at - self._expected if self._expected is not None else 0.0
        if gap > 0.5 / CHUNKS_PER_SECOND:
            self._screen.notice(f"{gap:.1f} s of sound were dropped: the server was away too long.")
        if not self._captions.heard:
            self._captions.base = chunk.at
        else:
            self._captions.base += max(0.0, gap)

    async def _receive(self, socket: ClientConnection) -> None:
        """Show what the server says until nothing more is to come."""
        captions = self._captions
        while not (captions.cleared and not captions.open):
            event = read_event(await socket.recv())
            if line := captions.take(event):
                self._screen.line(line)
            if event.get("type") == "error":
                self._complain(event)
            self._screen.grow(captions.open)

    def _complain(self, event: dict[str, Any]) -> None:
        error = as_object(event.get("error"))
        if error.get("code") != "input_audio_buffer_commit_empty":
            self._screen.notice(f"The server says: {as_text(error.get('message'))}")

    def _abandon(self) -> None:
        for line in self._captions.abandon():
            self._screen.line(line)
        self._screen.grow([])


async def _until_interrupted(listener: Listener) -> None:
    """Run; the first Ctrl-C ends it politely, the second at once."""
    task = asyncio.create_task(listener.run())
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted or not listener.talking:
            task.cancel()
        interrupted = True
        listener.stop()

    with on_interrupt(interrupt):
        try:
            await task
        except asyncio.CancelledError:
            if not interrupted:
                raise
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _source(options: ListenOptions) -> Source:
    return FileSource(options.file) if options.file else MicrophoneSource(options.device)


def _open_output(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise ClientError(f"{path} cannot be written: {error.strerror}.") from error


def _options(arguments: Sequence[str] | None) -> ListenOptions:
    parser = argparse.ArgumentParser(prog="listen", description="Live captions in a terminal.")
    parser.add_argument("--url", default=DEFAULT_URL, help="the server (%(default)s)")
    parser.add_argument("--api-key", help="else ANTIPHON_API_KEY or OPENAI_API_KEY")
    parser.add_argument("--model", help="else the server's default")
    parser.add_argument("--language", help="ISO 639-1, such as de")
    parser.add_argument("--device", type=device, help="microphone: a number or part of a name")
    parser.add_argument("--list-devices", action="store_true", help="list microphones")
    parser.add_argument("--output", type=Path, help="also write the lines to this file")
    parser.add_argument("--file", type=Path, help="a 16-bit WAV file instead of a microphone")
    parser.add_argument("--no-verify", dest="verify_tls", action="store_false")
    return ListenOptions(**vars(parser.parse_args(arguments)))


def device(value: str) -> int | str:
    """A device as sounddevice takes it: a number, or part of a name."""
    return int(value) if value.isdecimal() else value


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        asyncio.run(listen(_options(arguments), Console()))
    except ClientError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
