"""The page without a server: `web/` over plain HTTP, and a scripted server for everything else."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route, WebSocketRoute
from voice import ROOT

WEB = ROOT / "web"
POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; worker-src 'self'; object-src 'none'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

Event = dict[str, Any]


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
        return _audio(self.received)

    @property
    def audio_since_greeting(self) -> bytes:
        """What came over the newest connection, whose first event configures it."""
        updates = [i for i, e in enumerate(self.received) if e["type"] == "session.update"]
        return _audio(self.received[updates[len(self.sockets) - 1] :]) if updates[1:] else b""

    def utter(self, item: str, text: str, start_ms: int = 0, end_ms: int = 1000) -> None:
        """A whole utterance, as a server tells it."""
        transcription = "conversation.item.input_audio_transcription"
        self.send(
            {
                "type": "input_audio_buffer.speech_started",
                "item_id": item,
                "audio_start_ms": start_ms,
            },
            {"type": "input_audio_buffer.speech_stopped", "item_id": item, "audio_end_ms": end_ms},
            {"type": "input_audio_buffer.committed", "item_id": item},
            {"type": f"{transcription}.completed", "item_id": item, "transcript": text},
        )


def _audio(events: list[Event]) -> bytes:
    appended = (e for e in events if e["type"] == "input_audio_buffer.append")
    return b"".join(base64.b64decode(event["audio"]) for event in appended)


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
