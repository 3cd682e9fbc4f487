"""Chromium, the page served to it without a server, and the real server as its own process."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from answering_provider import AnsweringProvider
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from scripted_page import Pages, Script, serve_scripted
from voice import ROOT, WHISPER_NANO, say, silence, write_wav

expect.set_options(timeout=30_000)

SPOKEN = "How is the traffic this morning?"
"""What the fake microphone says, over and over, with pauses."""
CONFIGURATION = f"""\
models:
  - name: nano
    engine: whisper
    source: {json.dumps(str(WHISPER_NANO))}
defaults:
  transcription: nano
"""


def chromium_path() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    return path


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the page is when no server is behind it (worklets load past Playwright's routes)."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def spoken() -> str:
    return SPOKEN


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with a microphone that speaks; without a grant, permission is denied."""
    path = chromium_path()
    sound = write_wav(
        tmp_path_factory.mktemp("microphone") / "speech.wav",
        np.concatenate([silence(1.0), say(SPOKEN), silence(1.0)]),
        48_000,
    )
    arguments = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={sound}",
    ]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile that may use the microphone."""
    made = browser.new_context(permissions=["microphone", "clipboard-read", "clipboard-write"])
    made.set_default_timeout(30_000)
    yield made
    made.close()


@pytest.fixture(scope="module")
def blank(browser: Browser, origin: str) -> Iterator[Page]:
    """An empty page beside the modules, for functions that touch nothing but their arguments."""
    made = browser.new_page()
    made.goto(f"{origin}/web/icon.svg")
    yield made
    made.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the page wrote to the console as an error, or failed to catch."""
    return []


@pytest.fixture
def page(context: BrowserContext, complaints: list[str]) -> Iterator[Page]:
    made = context.new_page()
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    yield made
    made.unroute_all(behavior="ignoreErrors")  # a request may still be on its way


@pytest.fixture
def script(page: Page, origin: str) -> Script:
    """The page open on a scripted server."""
    made = Script()
    serve_scripted(page, made)
    page.goto(origin)
    return made


@dataclass
class Server:
    """The real server, as a process that can be killed and started again on its port."""

    port: int
    folder: Path
    configuration: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        settings = {"ANTIPHON_DATA_DIR": str(self.folder), "PYTHONPATH": str(ROOT)}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
        environment = inherited | settings
        (self.folder / "antiphon.yaml").write_text(self.configuration)
        command = [sys.executable, "-m", "realtime", "serve", "--port", str(self.port)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log
            )
        self._wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

    def _wait(self) -> None:
        assert self.process is not None
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=1):
                    return
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.1)
        log = (self.folder / "server.log").read_text(errors="replace")
        pytest.fail(f"The server did not start:\n{log[-3000:]}")


@contextmanager
def serving(folder: Path, configuration: str) -> Iterator[Server]:
    """`antiphon serve` on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = Server(port, folder, configuration)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def antiphon_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server with a small Whisper model that knows the test voice."""
    with serving(tmp_path_factory.mktemp("server"), CONFIGURATION) as server:
        yield server


@pytest.fixture(scope="module")
def provider() -> Iterator[AnsweringProvider]:
    with AnsweringProvider() as answering:
        yield answering


@pytest.fixture(scope="module")
def conversing_server(
    tmp_path_factory: pytest.TempPathFactory, provider: AnsweringProvider
) -> Iterator[Server]:
    """The server that can converse too: a provider answers, and the built-in voice speaks."""
    configuration = f"""\
{CONFIGURATION}  chat: far.big-1
providers:
  far:
    base_url: {provider.url}
"""
    with serving(tmp_path_factory.mktemp("conversing"), configuration) as server:
        yield server
