"""Chromium, the page served to it without a server, and the real server as its own process."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, WebSocketRoute, sync_playwright
from voice import ROOT, say, silence, write_wav

WEB = ROOT / "web"
POLICY = "default-src 'self'; connect-src 'self' ws: wss:; worker-src 'self'; style-src 'self'"
SPOKEN = "hello world this is a test"
"""What the fake microphone says, over and over, with pauses."""

Event = dict[str, Any]


def chromium_path() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    return path


@dataclass
class Script:
    """What the page is told in a server's stead, and what it sent."""

    models: list[Event] = field(default_factory=lambda: [model_entry("pocketsphinx", ["en"])])
    health: Event = field(default_factory=lambda: {"transcription": {"model": "pocketsphinx"}})
    received: list[Event] = field(default_factory=list)
    sockets: list[WebSocketRoute] = field(default_factory=list)
    refuse: bool = False
    """Close every new socket before it is greeted."""
    on_route: Callable[[Route], bool] | None = None
    """Answers a request itself and returns True, or leaves it."""

    def send(self, *events: Event) -> None:
        for event in events:
            self.sockets[-1].send(json.dumps(event))

    def of_type(self, name: str) -> list[Event]:
        return [event for event in self.received if event["type"] == name]

    @property
    def audio(self) -> bytes:
        return b"".join(
            base64.b64decode(event["audio"]) for event in self.of_type("input_audio_buffer.append")
        )

    def utter(self, item: str, text: str, start_ms: int = 0, end_ms: int = 1000) -> None:
        """A whole utterance, as a server tells it."""
        transcription = "conversation.item.input_audio_transcription"
        self.send(
            {"type": "input_audio_buffer.speech_started", "item_id": item, "audio_start_ms": start_ms},
            {"type": "input_audio_buffer.speech_stopped", "item_id": item, "audio_end_ms": end_ms},
            {"type": "input_audio_buffer.committed", "item_id": item},
            {"type": f"{transcription}.completed", "item_id": item, "transcript": text},
        )


def model_entry(name: str, languages: list[str] | None, kind: str = "transcription") -> Event:
    return {"id": name, "object": "model", "antiphon": {"kind": kind, "languages": languages}}


class Pages(SimpleHTTPRequestHandler):
    """`web/` as the server serves it, under a strict policy."""

    def translate_path(self, path: str) -> str:
        return str(asset(path.split("?")[0]))

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def asset(path: str) -> Path:
    return WEB / ("index.html" if path == "/" else path.removeprefix("/web/"))


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the page is when no server is behind it (worklets load past Playwright's routes)."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def serve_scripted(page: Page, script: Script) -> None:
    """Answer in the server's stead, from `script`."""

    def answer(route: Route) -> None:
        if script.on_route and script.on_route(route):
            return
        if route.request.url.endswith("/health"):
            route.fulfill(json=script.health)
        else:
            route.fulfill(json={"object": "list", "data": script.models})

    def accept(socket: WebSocketRoute) -> None:
        if script.refuse:
            socket.close(code=1011)
            return
        script.sockets.append(socket)
        socket.on_message(lambda text: script.received.append(json.loads(text)))
        socket.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))

    page.route(re.compile("/(health|v1/.*)$"), answer)
    page.route_web_socket(re.compile("v1/realtime"), accept)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with a microphone that speaks; without a grant, permission is denied."""
    path = chromium_path()
    sound = write_wav(
        tmp_path_factory.mktemp("microphone") / "speech.wav",
        np.concatenate([silence(1.0), say(SPOKEN), silence(2.5)]),
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
    made.set_default_timeout(10_000)
    yield made
    made.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the page wrote to the console as an error, or failed to catch."""
    return []


@pytest.fixture
def page(context: BrowserContext, complaints: list[str]) -> Page:
    made = context.new_page()
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    return made


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
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        environment = {
            **os.environ,
            "ANTIPHON_DATA_DIR": str(self.folder),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "realtime", "serve", "--port", str(self.port)]
        log = (self.folder / "server.log").open("ab")
        with log:
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
        end = time.monotonic() + 40
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


@pytest.fixture
def antiphon_server(tmp_path: Path) -> Iterator[Server]:
    """`antiphon serve` on a free port, with nothing installed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = Server(port, tmp_path)
    server.start()
    yield server
    server.stop()
