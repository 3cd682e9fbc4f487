"""The node that hears where speech begins and ends, and cuts the audio into utterances.

Audio goes in as it came; utterances come out: `SpeechStarted`, `Audio` with an item and a `Pause`
where the speaker is silent for a moment, then `SpeechStopped` and `Commit`. In manual mode the
client commits and nothing is scored. All positions are in session audio, so neither chunk sizes
nor speed change them.
"""

from collections import deque
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engines.tickets import Ticket
from pipelines.context import Context
from pipelines.frames import (
    SAMPLE_RATE,
    Audio,
    Clear,
    Commit,
    Configure,
    End,
    Error,
    Frame,
    Pause,
    Samples,
    SpeechStarted,
    SpeechStopped,
)
from pipelines.gate import REPLAY
from pipelines.graph import Inbox, Node, Policy
from pipelines.turns import (
    WINDOW,
    TurnEnded,
    TurnPaused,
    TurnResumed,
    TurnSettings,
    TurnStarted,
    TurnTaker,
)
from pipelines.windows import History, Windows

INBOX = 4096
BATCH = SAMPLE_RATE
"""Most samples that are scored together."""
LEAST_COMMIT = SAMPLE_RATE // 10
"""Samples below which there is nothing to commit (100 ms, as OpenAI's server has it)."""


class Settings(BaseModel):
    """How utterances are found: by the server, or by the client's own commits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["server", "manual"] = "server"
    threshold: float = Field(0.5, ge=0, le=1)
    prefix_padding: float = Field(0.3, ge=0, le=5)
    silence: float = Field(0.5, gt=0, le=10)

    def turns(self) -> TurnSettings:
        """The part of the settings that turn-taking reads."""
        return TurnSettings(self.threshold, self.prefix_padding, self.silence)


class VoiceActivity(Node):
    """Silero behind an energy gate, and the turns that follow from it."""

    accepts: ClassVar[tuple[type[Frame], ...]] = (Audio, Clear, Commit, Configure, End)
    emits: ClassVar[tuple[type[Frame], ...]] = (
        *(Audio, SpeechStarted, Pause, SpeechStopped),
        *(Commit, Clear, Configure, End, Error),
    )

    def __init__(self, name: str, settings: Settings, context: Context) -> None:
        super().__init__(name)
        self._settings = settings
        self._context = context
        self._inbox = Inbox(INBOX, Policy.WAIT)
        self._queued = 0
        self._turns = TurnTaker(settings.turns())
        self._windows = Windows(WINDOW)
        self._gate = context.new_gate()
        self._history = History(round(context.bounds.unspoken * SAMPLE_RATE))
        self._recent: deque[Samples] = deque(maxlen=REPLAY)
        """The newest windows, which the model hears too when the gate opens."""
        self._ticket: Ticket | None = None
        self._item: str | None = None
        self._start = 0
        self._position = 0
        """Samples processed: everything before is in the history and in the open item."""
        self._overflowed = False

    @property
    def backlog(self) -> int:
        """Samples queued."""
        return self._queued

    def receive(self, frame: Frame) -> None:
        """Queue a frame; everything is done in order."""
        if isinstance(frame, Audio):
            self._queued += len(frame.samples)
        self._inbox.put(frame)

    async def run(self) -> None:
        """Work through the inbox until cancelled."""
        try:
            while True:
                await self._handle(await self._inbox.get())
        finally:
            self._close_ticket()

    async def _handle(self, frame: Frame) -> None:
        match frame:
            case Audio():
                await self._hear(self._gather(frame))
            case Commit(request=request):
                self._commit(request)
            case Clear(request=request):
                self._clear(request)
            case Configure(node=self.name):
                self._configure(frame)
            case End():
                self._end()
                self.emit(frame)
            case _:
                self.emit(frame)

    def _gather(self, first: Audio) -> Samples:
        """The audio at the inbox's head, joined up to a bound, so that it is scored at once."""
        pieces = [first.samples]
        total = len(first.samples)
        while isinstance(following := self._inbox.peek(), Audio) and total < BATCH:
            self._inbox.pop()
            pieces.append(following.samples)
            total += len(following.samples)
        self._queued -= total
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    # Hearing

    async def _hear(self, samples: Samples) -> None:
        for start in range(0, len(samples), BATCH):
            windows = self._windows.feed(samples[start : start + BATCH])
            if self._settings.mode == "manual":
                self._take_manual(windows.reshape(-1))
            elif len(windows):
                self._follow(windows, await self._score(windows))

    async def _score(self, windows: Samples) -> Samples:
        """Speech probabilities of the windows; silence is zero and costs nothing."""
        opened = [self._gate.hear(window) for window in windows]
        probabilities = np.zeros(len(windows), np.float32)
        start = 0
        while start < len(windows):
            stop = start + 1
            while stop < len(windows) and opened[stop] == opened[start]:
                stop += 1
            if opened[start]:
                probabilities[start:stop] = await self._listen(windows, start, stop)
            else:
                self._close_ticket()
            start = stop
        self._recent.extend(windows)
        return probabilities

    async def _listen(self, windows: Samples, start: int, stop: int) -> Samples:
        """Silero's answer for windows [start, stop), which follow each other behind the gate."""
        if self._ticket is None:
            self._ticket = self._context.open_voice_activity(self._context.owner)
            replay = [*self._recent, *windows[:start]][-REPLAY:]
            if replay:
                await self._ask(self._ticket, np.concatenate(replay))
        return await self._ask(self._ticket, windows[start:stop].reshape(-1))

    @staticmethod
    async def _ask(ticket: Ticket, samples: Samples) -> Samples:
        ticket.push(samples, len(samples))
        pieces: list[Samples] = []
        missing = len(samples) // WINDOW
        while missing > 0:
            piece = await anext(ticket)
            missing -= len(piece)
            pieces.append(piece)
        return np.concatenate(pieces)

    def _close_ticket(self) -> None:
        if self._ticket is not None:
            self._ticket.cancel()
            self._ticket = None

    # Turns

    def _follow(self, windows: Samples, probabilities: Samples) -> None:
        unsent = 0
        for index, (window, probability) in enumerate(zip(windows, probabilities, strict=True)):
            at = self._position
            self._history.add(at, window)
            self._position += WINDOW
            match self._turns.hear(at, float(probability)):
                case TurnStarted(at=start):
                    self._open(start)
                    self.emit(SpeechStarted(self._require_item(), start))
                    self._send(*self._history.since(start))
                    unsent = index + 1
                case TurnPaused(at=pause, voiced=voiced):
                    self._send_windows(windows[unsent : index + 1], pause)
                    unsent = index + 1
                    self.emit(Pause(self._require_item(), pause, voiced=voiced))
                case TurnResumed(at=onset):
                    self._send_windows(windows[unsent:index], onset)
                    unsent = index
                    self.emit(Pause(self._require_item(), onset, resumed=True))
                case TurnEnded(at=end, voiced=voiced):
                    self._send_windows(windows[unsent : index + 1], end)
                    unsent = index + 1
                    item = self._require_item()
                    self.emit(SpeechStopped(item, end))
                    self._close(item, end, None, voiced)
        if self._item is not None:
            self._send_windows(windows[unsent:], self._position)

    def _send_windows(self, windows: Samples, end: int) -> None:
        samples = windows.reshape(-1)
        self._send(end - len(samples), samples)

    def _send(self, at: int, samples: Samples) -> None:
        if len(samples):
            self.emit(Audio(samples, at, self._item))

    def _require_item(self) -> str:
        assert self._item is not None, "an utterance is open"
        return self._item

    def _open(self, start: int) -> None:
        self._item = self._context.new_item()
        self._start = start

    def _close(self, item: str, end: int, request: str | None, voiced: float | None = None) -> None:
        self.emit(Commit(item, self._start, end, request, voiced))
        self._item = None
        self._overflowed = False
        self._turns.reset(end)
        self._history.forget(end)

    # What the client asks for

    def _take_manual(self, samples: Samples) -> None:
        """In manual mode all audio belongs to the open item, up to the bound."""
        if not len(samples):
            return
        at = self._position
        self._position += len(samples)
        if self._item is None:
            self._open(at)
        bound = round(self._context.bounds.manual_buffer * SAMPLE_RATE)
        fitting = samples[: max(0, self._start + bound - at)]
        self._send(at, fitting)
        if len(fitting) < len(samples) and not self._overflowed:
            self._overflowed = True
            seconds = self._context.bounds.manual_buffer
            self.emit(
                Error(
                    "input_audio_buffer_full",
                    f"The input audio buffer holds at most {seconds:g} seconds. Commit or clear "
                    "it; audio after that is not kept.",
                )
            )

    def _flush_rest(self) -> None:
        """Take what does not fill a window, which a commit includes."""
        rest = self._windows.flush()
        if not len(rest):
            return
        if self._settings.mode == "manual":
            self._take_manual(rest)
        else:
            self._history.add(self._position, rest)
            self._position += len(rest)
            if self._item is not None:
                self._send(self._position - len(rest), rest)

    def _commit(self, request: str | None) -> None:
        self._flush_rest()
        start = self._start if self._item else self._unspoken_start()
        available = self._position - start
        if available < LEAST_COMMIT:
            self._refuse_commit(available, request)
            return
        if self._item is None:
            self._open(start)
            self._send(*self._history.since(start))
        self._close(self._require_item(), self._position, request)

    def _unspoken_start(self) -> int:
        return self._position if self._history.start is None else self._history.start

    def _refuse_commit(self, available: int, request: str | None) -> None:
        milliseconds = available / SAMPLE_RATE * 1000
        message = (
            "Error committing input audio buffer: buffer too small. Expected at least 100ms of "
            f"audio, but buffer only has {milliseconds:.2f}ms of audio."
        )
        self.emit(Error("input_audio_buffer_commit_empty", message, request=request))

    def _clear(self, request: str | None) -> None:
        self._position += len(self._windows.flush())
        self._history.forget(self._position)
        self._turns.reset(self._position)
        self._overflowed = False
        item, self._item = self._item, None
        self.emit(Clear(item, request))

    def _configure(self, frame: Configure) -> None:
        before = self._settings.mode
        self._settings = Settings.model_validate({**self._settings.model_dump(), **frame.settings})
        self._turns.settings = self._settings.turns()
        if before == "manual" and self._settings.mode == "server" and self._item is not None:
            self._turns.begin(self._start)
        if before == "server" and self._settings.mode == "manual":
            self._close_ticket()
            self._recent.clear()
            if self._item is not None and self._turns.paused:
                # Nobody listens any more for whether speech goes on.
                self.emit(Pause(self._item, self._position, resumed=True))

    def _end(self) -> None:
        """No more audio will come: what is open is complete."""
        self._flush_rest()
        if self._item is None:
            return
        if self._settings.mode == "server":
            self.emit(SpeechStopped(self._item, self._position))
        self._close(self._item, self._position, None)
