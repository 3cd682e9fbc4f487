"""The clients as programs, against the real server: what a user sees in the terminal."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from voice import ROOT, WHISPER_NANO, say, silence, write_wav

pytestmark = pytest.mark.one_loop

HELLO = "Who is responsible for the new website?"
AGAIN = "The budget for the supply chain is 800 thousand dollars."
CONFIGURATION = f"""\
models:
  - name: nano
    engine: whisper
    source: {json.dumps(str(WHISPER_NANO))}
defaults:
  transcription: nano
"""
LINE = re.compile(r"^\[(\d\d):(\d\d)\] (.+)$")


def _environment(data: Path) -> dict[str, str]:
    """This environment without the developer's own settings and keys."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANTIPHON_", "OPENAI_"))
    }
    return kept | {"PYTHONPATH": str(ROOT), "ANTIPHON_DATA_DIR": str(data)}


class RunningServer:
    """The server as a child process, with a small Whisper model that knows the test voice."""

    def __init__(self, folder: Path, port: int) -> None:
        self.environment = _environment(folder / "data")
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._port = port
        (folder / "antiphon.yaml").write_text(CONFIGURATION)
        self.start()

    def start(self) -> None:
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "realtime", "serve", "--port", str(self._port)],
                cwd=self._folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log()
            with contextlib.suppress(OSError), opener.open(f"{self.url}/health", timeout=5):
                return
            time.sleep(0.1)
        self.stop()
        pytest.fail(f"the server was not up in time:\n{self.log()}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return (self._folder / "server.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    # Not `unused_tcp_port`: that is a fixture of one test, and the server outlives it.
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = RunningServer(tmp_path_factory.mktemp("server"), port)
    yield running
    running.stop()


@pytest.fixture
def two_utterances(tmp_path: Path) -> Path:
    parts = [silence(0.5), say(HELLO), silence(1.2), say(AGAIN), silence(0.3)]
    return write_wav(tmp_path / "two.wav", np.concatenate(parts))


async def run_client(server: RunningServer, module: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `python -m clients.<module>`."""
    process = await start_client(server, module, *arguments)
    async with asyncio.timeout(90):
        out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


async def start_client(
    server: RunningServer, module: str, *arguments: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"clients.{module}", "--url", server.url, *arguments),
        env=server.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def lines_of(out: str) -> list[tuple[int, str]]:
    """Second and text of every printed line; each must be one."""
    found = [LINE.match(line) for line in out.splitlines()]
    assert all(found), out
    return [(60 * int(m[1]) + int(m[2]), m[3]) for m in found if m]


async def test_listening_to_a_file_prints_its_utterances_with_times(
    server: RunningServer, two_utterances: Path
) -> None:
    code, out, errors = await run_client(server, "listen", "--file", str(two_utterances))
    assert code == 0, errors
    (first_at, first), (second_at, second) = lines_of(out)
    assert first_at == 0
    begun = 0.5 + len(say(HELLO)) / 16_000 + 1.2
    assert begun - 1.5 <= second_at <= begun
    assert (first, second) == (HELLO, AGAIN)


async def test_an_interrupted_listener_prints_the_last_words(
    server: RunningServer, tmp_path: Path
) -> None:
    sound = np.concatenate([silence(0.3), say(HELLO), silence(60)])
    path = write_wav(tmp_path / "long.wav", sound)
    process = await start_client(server, "listen", "--file", str(path))
    assert process.stderr
    assert await process.stderr.readline() == b"Listening; Ctrl-C ends it.\n"
    await asyncio.sleep(len(say(HELLO)) / 16_000 + 0.7)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors
    assert b"Traceback" not in errors
    ((_, text),) = lines_of(out.decode())
    assert text == HELLO


async def test_a_listener_survives_a_restart_of_the_server(
    tmp_path: Path, server: RunningServer
) -> None:
    sound = np.concatenate([silence(8), say(AGAIN), silence(1)])
    path = write_wav(tmp_path / "long.wav", sound)
    process = await start_client(server, "listen", "--file", str(path))
    assert process.stderr
    assert await process.stderr.readline() == b"Listening; Ctrl-C ends it.\n"
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(90):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors
    lost, again = errors.decode().splitlines()
    assert lost.startswith("The connection was lost (")
    assert again == "Connected again."
    ((second, text),) = lines_of(out.decode())
    assert 7 <= second <= 8
    assert text == AGAIN


async def test_an_unknown_model_is_refused_in_one_line(
    server: RunningServer, two_utterances: Path
) -> None:
    for arguments in (("listen", "--file"), ("transcribe",)):
        module, *flags = arguments
        code, out, errors = await run_client(
            server, module, "--model", "no-such-model", *flags, str(two_utterances)
        )
        assert (code, out) == (1, "")
        (line,) = errors.splitlines()
        assert "no-such-model" in line
        assert "nano" in line
        assert "pocketsphinx" in line


async def test_transcribing_gives_text_subtitles_and_json(
    server: RunningServer, two_utterances: Path
) -> None:
    async def transcribed(format: str) -> str:
        code, out, errors = await run_client(
            server, "transcribe", "--format", format, str(two_utterances)
        )
        assert (code, errors) == (0, "")
        return out

    document = json.loads(await transcribed("json"))
    first, second = document["segments"]
    assert 0 <= first["start"] < first["end"] <= second["start"] < second["end"]
    assert (first["text"], second["text"]) == (HELLO, AGAIN)
    assert document["text"] == f"{HELLO} {AGAIN}"
    assert await transcribed("txt") == f"{HELLO} {AGAIN}\n"
    times = r"\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}"
    cues = [rf"{n}\n{times}\n(?:.+\n)+" for n in (1, 2)]
    subtitles = await transcribed("srt")
    assert re.fullmatch("\n".join(cues), subtitles)
    assert AGAIN in subtitles.replace("\n", " ")


async def test_transcribing_goes_on_after_a_file_that_is_no_recording(
    server: RunningServer, two_utterances: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.mp3"
    await asyncio.to_thread(text.write_text, "This is no music.\n")
    folder = tmp_path / "texts"
    code, out, errors = await run_client(
        server, "transcribe", "--output", str(folder), str(text), str(two_utterances)
    )
    assert (code, out) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith(f"{text}: ")
    written = await asyncio.to_thread((folder / "two.txt").read_text)
    assert written == f"{HELLO} {AGAIN}\n"
