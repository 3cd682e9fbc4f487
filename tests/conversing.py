"""A conversation protocol with a scripted graph behind it: what the nodes would send, at once."""

import base64
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
from score import Event, Model

from engines.audio import Decoder
from engines.base import InvalidInput, ModelNotFound
from engines.generation import Generate, Usage
from pipelines.frames import (
    SAMPLE_RATE,
    Answered,
    Audio,
    AudioOut,
    Clear,
    Commit,
    Configure,
    Error,
    Frame,
    IdleTimeout,
    Interrupt,
    Mark,
    Respond,
    SpeechStarted,
    SpeechStopped,
    Text,
    ToolCall,
    Transcript,
)
from realtime.actions import Action, Close, Push, Send
from realtime.conversation_settings import Answering, ConversationSettings
from realtime.conversing import ConversationProtocol
from realtime.events import read
from realtime.protocol import ProtocolSettings, RealtimeProtocol
from realtime.session import SessionProtocol
from realtime.settings import Settings
from realtime.surroundings import Surroundings, Terms

SECONDS_A_CHARACTER = 0.05
RATE = 24_000
MODELS = ("built-in", "whisper-1", "gpt-4o-mini-transcribe")
VOICES = ("alloy", "marin", "ash")


def check_model(model: str, language: str | None) -> None:
    if model not in MODELS:
        raise ModelNotFound(model, MODELS)


def check_voice(voice: str) -> str | None:
    if voice not in VOICES:
        raise InvalidInput(f"There is no voice '{voice}'.", "voice")
    return "en-us"


class Talk:
    """A session: client events and sounds in, server events out (`events`, all of them).

    Answers are scripted (`script`); one that `ends` never is not over until it is interrupted.
    """

    def __init__(self, kind: str = "realtime", *, images: bool = False) -> None:
        self.events: list[Event] = []
        self.closed: list[Close] = []
        self.pushed: list[Frame] = []
        self.script: deque[Model] = deque()
        self.asked: list[Generate] = []
        self.playing: dict[str, float] = {}
        """Seconds of items that were heard, where a test says so."""
        self.transcribe: Callable[[str], str | None] = lambda says: says
        self._numbers = count(1)
        self._times = {"silence": 0.5, "idle": 0.0}
        self._manual = False
        self._says = "What time is it?"
        self._buffered: Audio | None = None
        self._open: str | None = None
        self._at = 0
        self._over: set[str] = set()
        self.protocol = self._protocol(kind, images=images)
        self.do(self.protocol.open())

    def _protocol(self, kind: str, *, images: bool) -> SessionProtocol:
        heard = Settings("built-in")
        if kind == "transcription":
            return RealtimeProtocol(
                ProtocolSettings("sess_1", 3600, 3600, heard),
                new_id=self.new_id,
                check_model=check_model,
                decoder=Decoder,
            )
        settings = ConversationSettings("default", heard, answering=Answering("Be kind."))
        server = Surroundings(
            new_id=self.new_id,
            decoder=Decoder,
            check_model=check_model,
            check_voice=check_voice,
            local=not images,
            heard=self.playing.get,
        )
        return ConversationProtocol(Terms("sess_1", 3600, 3600, settings, "alloy"), server)

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers)}"

    # Both sides

    def client(self, event: dict[str, Any]) -> list[Event]:
        """The client sends an event; what came of it."""
        before = len(self.events)
        self.do(self.protocol.receive(read(event)))
        return self.events[before:]

    def frame(self, *frames: Frame) -> list[Event]:
        """The graph sends frames; what came of it."""
        before = len(self.events)
        for frame in frames:
            self.do(self.protocol.send_frame(frame))
        return self.events[before:]

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(event):
                    self.events.append(event)
                case Close():
                    self.closed.append(action)
                case Push(frame):
                    self.pushed.append(frame)
                    self._take(frame)

    def speech(self, seconds: float, says: str = "What time is it?") -> None:
        """Somebody speaks: heard by voice activity, or only appended where that is off."""
        self._says = says
        if self._manual:
            sound = np.full(round(seconds * RATE), 1000, "<i2").tobytes()
            audio = base64.b64encode(sound).decode()
            self.client({"type": "input_audio_buffer.append", "audio": audio})
            return
        if self._open is None:
            self._open = self.new_id("item")
            self.frame(SpeechStarted(self._open, self._at))
        self._at += round(seconds * SAMPLE_RATE)

    def silence(self, seconds: float) -> None:
        """Nobody speaks."""
        start, self._at = self._at, self._at + round(seconds * SAMPLE_RATE)
        if self._open is not None and seconds >= self._times["silence"]:
            item, self._open = self._open, None
            self.frame(SpeechStopped(item, self._at), Commit(item, 0, self._at))
            self._understand(item, self._at)
        elif self._times["idle"] and seconds >= self._times["idle"]:
            item = self.new_id("item")
            self.frame(IdleTimeout(item, start, self._at), Commit(item, start, self._at))
            self.frame(Transcript(item, "", "final", start=start, end=self._at))

    # The graph

    def _take(self, frame: Frame) -> None:
        match frame:
            case Configure(node="vad", settings=settings):
                self._manual = settings["mode"] == "manual"
                self._times["idle"] = settings.get("idle_timeout") or 0.0
            case Audio(item=None):
                before = 0 if self._buffered is None else len(self._buffered.samples)
                samples = np.zeros(before + len(frame.samples), np.float32)
                self._buffered = Audio(samples, frame.at - before)
            case Commit(item=str(item)):
                self._understand(item, frame.at)
            case Commit(request=request):
                self._commit(request or "")
            case Clear(request=request):
                self._buffered = None
                self.frame(Clear(None, request))
            case Respond(provisional=False):
                self.asked.append(frame.request)
                self._answer(frame)
            case Interrupt(response=str(response)):
                self._over.add(response)

    def _commit(self, request: str) -> None:
        buffered, self._buffered = self._buffered, None
        if buffered is None or len(buffered.samples) < SAMPLE_RATE // 10:
            self.frame(Error("input_audio_buffer_commit_empty", "Too small.", request=request))
            return
        item = self.new_id("item")
        self.frame(Commit(item, buffered.at, buffered.end, request))
        self._understand(item, buffered.end)

    def _understand(self, item: str, end: int) -> None:
        text = self.transcribe(self._says)
        if text is None:
            failure = Error("transcription_failed", "It failed.", item, kind="server_error")
            self.frame(failure)
        else:
            self.frame(Transcript(item, text, "final", start=0, end=end))

    def _answer(self, frame: Respond) -> None:
        model = self.script.popleft() if self.script else Model("Yes.")
        response = frame.response
        if model.text:
            item = self.new_id("item")
            self.frame(Text(response, item, model.text))
            if frame.spoken:
                self.frame(said(response, item, model.text))
        for call in model.calls:
            item, name = self.new_id("item"), self.new_id("call")
            whole = (response, item, name, call.name)
            half = len(call.arguments) // 2
            self.frame(
                ToolCall(*whole),
                ToolCall(*whole, call.arguments[:half]),
                ToolCall(*whole, call.arguments[half:]),
                ToolCall(*whole, complete=True),
            )
        match model.ends:
            case "never":
                return
            case "failed":
                self.frame(Answered(response, "failed", None, "provider_error", "It is gone."))
            case "length":
                self.frame(Answered(response, "length", Usage(3, 4)))
            case _:
                self.frame(Answered(response, "stop", Usage(3, 4)))


def said(response: str, item: str, text: str) -> AudioOut:
    """The sound of a whole text, with a mark at the end of each word."""
    seconds = SECONDS_A_CHARACTER * len(text)
    ends = [at for at, letter in enumerate(text) if letter == " "] + [len(text)]
    marks = tuple(Mark(end, end * SECONDS_A_CHARACTER) for end in ends)
    return AudioOut(response, item, np.zeros(round(seconds * RATE), np.float32), RATE, marks)
