"""The page without a server: `web/` over plain HTTP, and a scripted server for everything else."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
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
    voices: list[Event] = field(default_factory=list)
    refuse: bool = False
    """Close every new socket before it is greeted."""
    refusal: tuple[str, str, int] | None = None
    """Code and message of the error that every new socket gets, and its close code."""
    on_event: Callable[[Event], None] | None = None
    """Is told what the page sends, and may send something back."""
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

    def greet(self, silence_ms: int | None = 500) -> None:
        """Say that the session is as the page asked for."""
        detection = {"type": "server_vad", "silence_duration_ms": silence_ms}
        session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        self.send({"type": "session.updated", "session": session})

    def begin(self, response: str, item: str) -> None:
        """An answer begins."""
        ids = {"response_id": response, "output_index": 0}
        message = {"id": item, "type": "message", "role": "assistant", "status": "in_progress"}
        self.send(
            {"type": "response.created", "response": {"id": response, "status": "in_progress"}},
            {"type": "response.output_item.added", **ids, "item": {**message, "content": []}},
        )

    def speak(self, response: str, item: str, text: str, sound: bytes) -> None:
        """A part of an answer: words, and 16-bit PCM at 24 kHz."""
        ids = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        self.send({"type": "response.output_audio_transcript.delta", **ids, "delta": text})
        for at in range(0, len(sound), 19_200):
            piece = base64.b64encode(sound[at : at + 19_200]).decode()
            self.send({"type": "response.output_audio.delta", **ids, "delta": piece})

    def finish(
        self, response: str, item: str, text: str, status: str = "completed", **details: Any
    ) -> None:
        """An answer is over."""
        ended = "completed" if status == "completed" else "incomplete"
        message = {
            "id": item,
            "type": "message",
            "role": "assistant",
            "status": ended,
            "content": [{"type": "output_audio", "transcript": text}],
        }
        ids = {"response_id": response, "output_index": 0}
        done = {"id": response, "status": status, "output": [message]}
        self.send(
            {"type": "response.output_item.done", **ids, "item": message},
            {"type": "response.done", "response": {**done, "status_details": details or None}},
        )

    def call(self, response: str, item: str, name: str, arguments: str) -> None:
        """A whole response that calls a function."""
        ids = {"response_id": response, "output_index": 0}
        call = {"id": item, "type": "function_call", "call_id": f"call_{item}", "name": name}
        done = {**call, "status": "completed", "arguments": arguments}
        self.send(
            {"type": "response.created", "response": {"id": response, "status": "in_progress"}},
            {
                "type": "response.output_item.added",
                **ids,
                "item": {**call, "status": "in_progress", "arguments": ""},
            },
            {"type": "response.output_item.done", **ids, "item": done},
            {
                "type": "response.done",
                "response": {"id": response, "status": "completed", "output": [done]},
            },
        )


def tone(seconds: float, rate: int = 24_000) -> bytes:
    """A quiet 440 Hz tone as 16-bit PCM."""
    times = np.arange(round(seconds * rate)) / rate
    return (4_000 * np.sin(2 * np.pi * 440 * times)).astype("<i2").tobytes()


def withhold_microphone(page: Page) -> None:
    """Have requests for the microphone wait for `allow_microphone`, as behind a question."""
    page.evaluate(
        """() => {
            const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            [window.asked, window.streams] = [[], []];
            navigator.mediaDevices.getUserMedia = (wanted) => new Promise((resolve) => {
                window.asked.push(async () => {
                    window.streams.push(await real(wanted));
                    resolve(window.streams.at(-1));
                });
            });
        }"""
    )


def allow_microphone(page: Page) -> None:
    page.evaluate("Promise.all(window.asked.splice(0).map((allow) => allow()))")


def open_microphones(page: Page) -> int:
    """How many of those that were allowed are on."""
    count: int = page.evaluate("window.streams.filter(({ active }) => active).length")
    return count


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
        elif route.request.url.endswith("/voices"):
            route.fulfill(json={"object": "list", "data": script.voices})
        else:
            route.fulfill(json={"object": "list", "data": script.models})

    def accept(socket: WebSocketRoute) -> None:
        if script.refuse:
            socket.close(code=1011)
            return
        if script.refusal is not None:
            code, message, close = script.refusal
            error = {"type": "invalid_request_error", "code": code, "message": message}
            socket.send(json.dumps({"type": "error", "error": error}))
            socket.close(code=close)
            return

        def receive(text: str | bytes) -> None:
            event = json.loads(text)
            script.received.append(event)
            if script.on_event is not None:
                script.on_event(event)

        script.sockets.append(socket)
        socket.on_message(receive)
        socket.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))

    page.route(re.compile("/(health|v1/.*)$"), answer)
    page.route_web_socket(re.compile("v1/realtime"), accept)
