"""The node that hears where speech begins and ends, and cuts the audio into utterances.

Audio goes in as it came; utterances come out: `SpeechStarted`, `Audio` with an item and a `Pause`
where the speaker is silent for a moment, then `SpeechStopped` and `Commit`. In manual mode the
client commits and nothing is scored. All positions are in session audio, so neither chunk sizes
nor speed change them.

While an answer is made or heard, speech must last to be a turn: until then there is a `Hold`. With
an eagerness, what was understood of a turn decides how long a silence ends it. When nobody has
spoken after an answer for the idle timeout, the silence itself is committed.
"""

import asyncio
from typing import ClassVar

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
    Hold,
    IdleTimeout,
    Pause,
    Respond,
    Samples,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipelines.graph import Node
from pipelines.idle import IdleTimer
from pipelines.nodes.vad_input import BATCH, AudioInbox, buffer_full, too_little
from pipelines.nodes.vad_settings import Settings as Settings
from pipelines.scoring import Scorer
from pipelines.turn_ends import TextTurnModel, TurnJudge, TurnModel
from pipelines.turns import (
    WINDOW,
    TurnDismissed,
    TurnEnded,
    TurnEvent,
    TurnPaused,
    TurnResumed,
    TurnStarted,
    TurnSuspected,
    TurnTaker,
)
from pipelines.windows import History, Windows

LEAST_COMMIT = SAMPLE_RATE // 10
"""Samples below which there is nothing to commit (100 ms, as OpenAI's server has it)."""
JUDGED = 8 * SAMPLE_RATE
"""Samples, the newest, that a turn model may hear."""
DEAF_SECONDS = 1.0
"""Time without any audio, as a muted microphone sends none, after which nobody is suspected of
speaking."""


class VoiceActivity(Node):
    """Silero behind an energy gate, and the turns that follow from it."""

    accepts: ClassVar[tuple[type[Frame], ...]] = (Audio, Clear, Commit, Configure, End, Respond)
    emits: ClassVar[tuple[type[Frame], ...]] = (
        *(Audio, SpeechStarted, Pause, SpeechStopped),
        *(Commit, Clear, Configure, End, Error, Hold, IdleTimeout),
    )

    def __init__(
        self,
        name: str,
        settings: Settings,
        context: Context,
        turn_model: TurnModel | None = None,
    ) -> None:
        super().__init__(name)
        self._settings = settings
        self._context = context
        self._inbox = AudioInbox(WINDOW)
        self._turns = TurnTaker(settings.turns())
        self._windows = Windows(WINDOW)
        self._scorer = Scorer(
            context.new_gate(), lambda: context.open_voice_activity(context.owner)
        )
        self._history = History(round(context.bounds.unspoken * SAMPLE_RATE))
        self._item: str | None = None
        self._start = 0
        self._announced = False
        """Whether the open item is known to be speech."""
        self._position = 0
        """Samples processed: everything before is in the history and in the open item."""
        self._overflowed = False
        self._heard_at = 0.0
        """When audio came last, on the loop's clock."""
        self._ends = TurnJudge(turn_model or TextTurnModel())
        self._idle = IdleTimer(context.floor)

    @property
    def backlog(self) -> int:
        """Samples queued, where there is something to do with them."""
        return self._inbox.samples if self._inbox.is_ready else 0

    def receive(self, frame: Frame) -> None:
        """Queue a frame; everything is done in order."""
        self._inbox.put(frame)

    def overhear(self, frame: Frame) -> None:
        """Learn what was understood of the open utterance."""
        match frame:
            case Transcript(item=self._item):
                self._ends.take(frame)
                if self._turns.paused:
                    self._judge()
            case Transcript(state="final", text=text):
                if text.strip():
                    self._idle.expire()
                else:
                    self._idle.resume(_now())

    async def run(self) -> None:
        """Work through the inbox until cancelled."""
        try:
            while True:
                frame = await self._next()
                if frame is None:
                    self._time_out()
                else:
                    await self._handle(frame)
        finally:
            self._scorer.close()

    async def _next(self) -> Frame | None:
        """The next frame; None if there is none until silence or the lack of sound may tell."""
        until = self._heard_at + DEAF_SECONDS if self._turns.suspecting else self._idle_until()
        if until is None:
            return await self._inbox.get()
        try:
            async with asyncio.timeout_at(until):
                return await self._inbox.get()
        except TimeoutError:
            return None

    async def _handle(self, frame: Frame) -> None:
        match frame:
            case Audio(item=str()) | Commit(item=str()):
                self.emit(frame)  # an utterance already
            case Audio():
                await self._hear(self._inbox.gather(frame))
                self._heard_at = _now()
            case Commit(request=request):
                self._commit(request)
            case Clear(request=request):
                self._clear(request)
            case Configure(node=self.name):
                self._configure(frame)
            case End():
                self._end()
                self.emit(frame)
            case Respond():
                if not frame.provisional:
                    self._idle.answer(_now())
            case _:
                self.emit(frame)

    # Hearing

    async def _hear(self, samples: Samples) -> None:
        for start in range(0, len(samples), BATCH):
            windows = self._windows.feed(samples[start : start + BATCH])
            if self._settings.mode == "manual":
                self._take_manual(windows.reshape(-1))
            elif len(windows):
                probabilities = await self._scorer.score(windows)
                self._turns.confirm = self._confirm()
                self._follow(windows, probabilities)
        self._inbox.enough = WINDOW - len(self._windows.rest)

    # Turns

    def _confirm(self) -> float:
        """Seconds of speech that are a turn, as things are; what began goes by the rule that it
        began under, unless there is no answer any more."""
        state = self._context.floor.state(_now())
        if state == "idle" or not self._settings.interrupt:
            return 0.0
        if self._turns.suspecting:
            return self._turns.confirm
        if state == "speaking":
            return self._settings.confirm_speaking
        return self._settings.confirm_thinking

    def _follow(self, windows: Samples, probabilities: Samples) -> None:
        unsent = 0
        for index, (window, probability) in enumerate(zip(windows, probabilities, strict=True)):
            at = self._position
            self._history.add(at, window)
            self._position += WINDOW
            event = self._turns.hear(at, float(probability))
            if self._item is not None and not self._announced and self._turns.voiced:
                self._announce()
            if event is None:
                continue
            # The window where speech goes on comes after the news that it does.
            upto = index if isinstance(event, TurnResumed) else index + 1
            if self._item is not None:
                self._send_windows(windows[unsent:upto], event.at)
            unsent = upto
            self._act(event)
        if self._item is not None:
            self._send_windows(windows[unsent:], self._position)

    def _act(self, event: TurnEvent) -> None:
        match event:
            case TurnSuspected(at=onset):
                self.emit(Hold(onset))
            case TurnDismissed(at=at):
                self.emit(Hold(at, over=True))
            case TurnStarted(at=start):
                self._open(start)
                self._announce()
                self._send(*self._history.since(start))
            case TurnPaused(at=pause, voiced=voiced):
                self.emit(Pause(self._require_item(), pause, voiced=voiced))
                self._judge()
            case TurnResumed(at=onset):
                self.emit(Pause(self._require_item(), onset, resumed=True))
            case TurnEnded(at=end, voiced=voiced):
                self._tell_stopped(end)
                self._close(self._require_item(), end, None, voiced)

    def _judge(self) -> None:
        """Set how long a silence ends the turn, by what was understood of it until now."""
        eagerness, since = self._settings.eagerness, self._turns.quiet_since
        if eagerness is None or since is None:
            self._turns.patience = None
            return
        _, audio = self._history.since(max(self._start, self._position - JUDGED))
        self._turns.patience = self._ends.patience(
            eagerness, since / SAMPLE_RATE, self._turns.settings.silence, audio
        )

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
        self._announced = False
        self._ends.begin()

    def _announce(self) -> None:
        self._announced = True
        self._idle.stop()
        self.emit(SpeechStarted(self._require_item(), self._start))

    def _tell_stopped(self, at: int) -> None:
        if self._announced:
            self.emit(SpeechStopped(self._require_item(), at))

    def _close(self, item: str, end: int, request: str | None, voiced: float | None = None) -> None:
        self.emit(Commit(item, self._start, end, request, voiced))
        self._item = None
        self._overflowed = False
        self._idle.put_off(_now())
        self._release()
        self._turns.reset(end)
        self._history.forget(end)

    def _release(self) -> None:
        """Suspect nobody of speaking."""
        if self._turns.dismiss():
            self.emit(Hold(self._position, over=True))

    # When nobody speaks

    def _idle_until(self) -> float | None:
        """When the idle timeout may be over, on the loop's clock."""
        timeout = self._settings.idle_timeout
        if timeout is None or self._settings.mode == "manual":
            return None
        unspoken = self._position - self._unspoken_start()
        if self._item is not None or self._turns.suspecting or unspoken < LEAST_COMMIT:
            return None
        return self._idle.until(timeout, _now())

    def _time_out(self) -> None:
        """Commit the silence, if nobody has spoken for the idle timeout; end a hold of which no
        sound will tell whether it is over."""
        if _now() >= self._heard_at + DEAF_SECONDS:
            self._release()
        until, timeout = self._idle_until(), self._settings.idle_timeout
        if until is None or timeout is None or _now() < until:
            return
        self._idle.expire()
        self._flush_rest()
        earliest = self._position - round(timeout * SAMPLE_RATE)
        self._open(max(earliest, self._unspoken_start()))
        item = self._require_item()
        self.emit(IdleTimeout(item, self._start, self._position))
        self._send(*self._history.since(self._start))
        self._close(item, self._position, None, voiced=0.0)

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
            self.emit(buffer_full(self._context.bounds.manual_buffer))

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
            self.emit(too_little(available, request))
            return
        if self._item is None:
            self._open(start)
            self._send(*self._history.since(start))
        self._close(self._require_item(), self._position, request)

    def _unspoken_start(self) -> int:
        return self._position if self._history.start is None else self._history.start

    def _clear(self, request: str | None) -> None:
        self._position += len(self._windows.flush())
        self._history.forget(self._position)
        self._release()
        self._turns.reset(self._position)
        self._overflowed = False
        item, self._item = self._item, None
        if item is not None:
            self._idle.resume(_now())
        self.emit(Clear(item, request))

    def _configure(self, frame: Configure) -> None:
        before = self._settings.mode
        self._settings = Settings.model_validate({**self._settings.model_dump(), **frame.settings})
        self._turns.settings = self._settings.turns()
        if self._turns.paused:
            self._judge()
        if before == "manual" and self._settings.mode == "server" and self._item is not None:
            self._turns.begin(self._start)
        if before == "server" and self._settings.mode == "manual":
            self._scorer.forget()
            self._release()
            if self._item is not None and self._turns.paused:
                # Nobody listens any more for whether speech goes on.
                self.emit(Pause(self._item, self._position, resumed=True))

    def _end(self) -> None:
        """No more audio will come: what is open is complete."""
        self._flush_rest()
        self._release()
        if self._item is None:
            return
        if self._settings.mode == "server":
            self._tell_stopped(self._position)
        self._close(self._item, self._position, None)


def _now() -> float:
    return asyncio.get_running_loop().time()
