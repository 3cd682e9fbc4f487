"""What is typed, through real pipes and a real terminal."""

import asyncio
import os
import pty
import termios
from collections.abc import Iterator

import pytest

from clients.keyboard import Keyboard, single_keys


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


async def test_lines_come_whole_until_the_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    keyboard = Keyboard(reading)
    line = asyncio.create_task(keyboard.line())
    os.write(writing, "Grü".encode()[:-1])
    await asyncio.sleep(0.02)
    os.write(writing, "Grü".encode()[-1:] + "ße\r\n\nlast".encode())
    assert await line == "Grüße"
    assert await keyboard.line() == ""
    os.close(writing)
    assert await keyboard.line() == "last"
    assert await keyboard.line() is None
    assert await keyboard.line() is None


async def test_a_cancelled_read_loses_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    keyboard = Keyboard(reading)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(keyboard.line(), 0.02)
    os.write(writing, b"kept\n")
    os.close(writing)
    assert await keyboard.line() == "kept"
    assert await keyboard.line() is None


async def test_nothing_is_read_before_somebody_asks(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    keyboard = Keyboard(reading)
    os.write(writing, b"mine\n")
    await asyncio.sleep(0.02)
    assert os.read(reading, 100) == b"mine\n"
    os.close(writing)
    assert await keyboard.line() is None


async def test_a_line_without_end_is_cut(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    keyboard = Keyboard(reading)
    os.write(writing, b"x" * 65_536)
    line = await keyboard.line()
    assert line is not None
    assert set(line) == {"x"}
    os.close(writing)
    while await keyboard.line() is not None:
        pass


async def test_keys_of_a_terminal_come_one_by_one_without_enter() -> None:
    outer, inner = pty.openpty()
    before = termios.tcgetattr(inner)
    with single_keys(inner):
        keyboard = Keyboard(inner)
        os.write(outer, b" x")
        async with asyncio.timeout(30):
            assert [await keyboard.key(), await keyboard.key()] == [" ", "x"]
    assert termios.tcgetattr(inner) == before
    reading = asyncio.create_task(keyboard.key())
    await asyncio.sleep(0.02)
    os.close(outer)  # the terminal's window is closed
    async with asyncio.timeout(30):
        assert await reading is None
    os.close(inner)
