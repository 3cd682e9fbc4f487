"""What is typed: lines, from a terminal or a pipe, or single keys of a terminal."""

import asyncio
import codecs
import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, Final

_MOST: Final = 65_536
"""Bytes read at once; a longer line is cut in pieces of this size."""


class Keyboard:
    """Reads a file descriptor in a thread, and only when somebody waits: what nobody asked for
    stays where it is.

    The thread is a daemon that holds no lock of Python's, since nothing can end a read of a
    terminal.
    """

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._wanted = threading.Semaphore(0)
        self._reading = False
        self._came = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ended = False
        threading.Thread(target=self._read, name="keyboard", daemon=True).start()

    async def line(self) -> str | None:
        """The next line without its end; None after the last. Cancelling it loses nothing."""
        while "\n" not in self._text and len(self._text) < _MOST and not self._ended:
            await self._more()
        if not self._text:
            return None
        line, _, self._text = self._text.partition("\n")
        return line.rstrip("\r")

    async def key(self) -> str | None:
        """The next character; None after the last."""
        while not self._text and not self._ended:
            await self._more()
        key, self._text = self._text[:1], self._text[1:]
        return key or None

    async def _more(self) -> None:
        if not self._reading:
            self._reading = True
            self._came.clear()
            self._wanted.release()
        await self._came.wait()

    def _read(self) -> None:
        data = b"?"
        while data:
            self._wanted.acquire()
            try:
                data = os.read(self._descriptor, _MOST)
            except OSError:  # the terminal is gone
                data = b""
            with contextlib.suppress(RuntimeError):  # so is the loop
                self._loop.call_soon_threadsafe(self._take, data)

    def _take(self, data: bytes) -> None:
        self._text += self._decoder.decode(data, final=not data)
        self._ended = not data
        self._reading = False
        self._came.set()


@contextlib.contextmanager
def single_keys(descriptor: int = 0) -> Iterator[None]:
    """Have a terminal give each key at once and write none; where that is unknown, lines come as
    ever."""
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield
        return
    before: list[Any] = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
