"""`antiphon talk` as a program: what is typed goes to a real server and a provider's model."""

import asyncio
import contextlib
import os
import pty
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from far import DONE, KEY, USAGE, Far, chunk, far, refuses
from programs import NANO, Ended, Server, antiphon, configured, environment

_STYLE = re.compile(rb"\x1b\[[0-9;]*m")

pytestmark = pytest.mark.one_loop


async def echo(request: web.Request) -> web.StreamResponse:
    """Answers with what was said last, and with how much was said in all."""
    messages = (await request.json())["messages"]
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for words in ("You said", f" {messages[-1]['content']}", f" in message {len(messages)}."):
        await response.write(chunk(words))
    for piece in (chunk(finish="stop"), USAGE, DONE):
        await response.write(piece)
    return response


def answered_by(provider: Far) -> dict[str, Any]:
    """A configuration in which the provider's model answers."""
    endpoint = provider.provider.endpoint
    return {
        "models": NANO["models"],
        "providers": {"far": {"base_url": endpoint.base_url, "api_key": KEY}},
        "defaults": {"transcription": "nano", "chat": "far.big-1"},
    }


async def talk(
    folder: Path, typed: str, *arguments: str, env: Mapping[str, str] | None = None
) -> Ended:
    """Run `antiphon talk` with this on its standard input."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "realtime", "talk", *arguments),
        cwd=folder,
        env=environment(folder, env),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(40):
        out, errors = await program.communicate(typed.encode())
    assert program.returncode is not None
    assert b"Traceback" not in errors, errors.decode()
    return Ended(program.returncode, out.decode(), errors.decode())


async def test_every_line_is_answered_by_a_server_of_its_own(tmp_path: Path) -> None:
    async with far(echo) as provider:
        configured(tmp_path, answered_by(provider))
        options = ("--text", "--instructions", "Be brief.")
        ended = await talk(tmp_path, "Hello there\n\nand good-bye", *options)
    assert ended == Ended(
        0,
        "You: Hello there\nAssistant: You said Hello there in message 2.\n"
        "You: and good-bye\nAssistant: You said and good-bye in message 4.\n",
        "",
    )
    assert provider.sent[0].body["messages"][0] == {"role": "system", "content": "Be brief."}


async def test_the_server_that_is_configured_here_is_used(tmp_path: Path) -> None:
    async with far(echo) as provider:
        configuration = {**answered_by(provider), "server": {"api_key": "hunter2"}}
        server = Server(tmp_path, configuration=configuration)
        await asyncio.to_thread(server.__enter__)
        try:
            env = {"ANTIPHON_SERVER_PORT": str(server.port)}
            ended = await talk(tmp_path, "Hello\n", "--text", "--model", "far.small-1", env=env)
        finally:
            await asyncio.to_thread(server.__exit__)
        assert "realtime" in server.log()
    assert ended == Ended(0, "You: Hello\nAssistant: You said Hello in message 2.\n", "")
    assert provider.sent[0].body["model"] == "small-1"


async def test_in_a_terminal_the_answer_grows_and_the_next_line_is_asked_for(
    tmp_path: Path,
) -> None:
    outer, inner = pty.openpty()
    os.set_blocking(outer, False)
    async with far(echo) as provider:
        configured(tmp_path, answered_by(provider))
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "realtime", "talk", "--text"),
            cwd=tmp_path,
            env=environment(tmp_path, {"TERM": "xterm"}),
            stdin=inner,
            stdout=inner,
            stderr=inner,
        )
        os.close(inner)
        try:
            shown = await until(outer, "You: ")
            os.write(outer, "Grüße\n".encode())
            shown += await until(outer, "message 2.\r\nYou: ")
            os.write(outer, b"\x04")
            async with asyncio.timeout(20):
                status = await program.wait()
        finally:
            if program.returncode is None:
                program.kill()
                await program.wait()
    os.close(outer)
    assert status == 0
    assert "Ctrl-D ends the conversation." in shown
    assert "Assistant: You said Grüße in message 2.\r\nYou: " in shown


async def until(terminal: int, text: str) -> str:
    """What a terminal shows up to this text."""
    shown = b""
    deadline = time.monotonic() + 20
    while text.encode() not in (plain := _STYLE.sub(b"", shown)):
        assert time.monotonic() < deadline, shown.decode()
        with contextlib.suppress(BlockingIOError):
            shown += os.read(terminal, 4096)
        await asyncio.sleep(0.02)
    return plain.decode()


def test_without_a_language_model_the_server_says_what_to_run(tmp_path: Path) -> None:
    done = antiphon(tmp_path, "talk", "--text")
    assert (done.status, done.out) == (1, "")
    assert done.line.startswith("antiphon: There is no language model here; run: antiphon pull ")


async def test_a_provider_that_fails_is_one_line_and_a_status(tmp_path: Path) -> None:
    async with far(refuses("The quota is used up.", 403)) as provider:
        configured(tmp_path, answered_by(provider))
        ended = await talk(tmp_path, "Hello\nand more\n", "--text")
    assert (ended.status, ended.out) == (1, "You: Hello\n")
    assert ended.line.startswith("antiphon: ")
    assert "API key that is configured for it (403)" in ended.line
    assert len(provider.sent) == 1


async def test_without_the_server_that_was_named_it_is_one_line(tmp_path: Path) -> None:
    done = await talk(tmp_path, "Hello\n", "--text", "--url", "http://127.0.0.1:1")
    assert (done.status, done.out) == (1, "")
    assert done.line.startswith("antiphon: No server answers at http://127.0.0.1:1.")
