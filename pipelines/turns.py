"""When a turn begins and ends. No I/O, no clock: feed it speech probabilities, act on its answer.

Rules. A turn begins when `ONSET` windows in a row are at or above the threshold; it reaches back by
the prefix padding, but never into what was already committed. It ends when the probability has
stayed below the release level (the threshold minus `HYSTERESIS`) for the silence time. Quiet that
lasts `PAUSE_SECONDS` and does not end the turn is a pause, until the release level is reached
again. A turn longer than `longest` is cut at the first quiet, and at the latest `LONGEST_GRACE`
later.
"""

from dataclasses import dataclass

from engines.recognition import SAMPLE_RATE

WINDOW = 512
"""Samples per probability (32 ms)."""

ONSET = 2
HYSTERESIS = 0.15
RELEASE_FLOOR = 0.01
PAUSE = 0.1
"""Seconds of quiet that are enough to cut a turn that has become too long."""
PAUSE_SECONDS = 0.2
"""Seconds of quiet after which a turn may well be over."""
LONGEST_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """How turns are told from silence; times in seconds."""

    threshold: float = 0.5
    prefix_padding: float = 0.3
    silence: float = 0.5
    longest: float = 25.0


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn begins at `at` (samples), prefix padding included."""

    at: int


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The turn ends at `at` (samples), the silence that proved it included; there was speech in it
    for `voiced` seconds."""

    at: int
    voiced: float


@dataclass(frozen=True, slots=True)
class TurnPaused:
    """The turn may be over: it has been quiet for `PAUSE_SECONDS` until `at` (samples), after
    `voiced` seconds of speech."""

    at: int
    voiced: float


@dataclass(frozen=True, slots=True)
class TurnResumed:
    """After a pause the turn goes on, with speech from `at` (samples) on."""

    at: int


TurnEvent = TurnStarted | TurnPaused | TurnResumed | TurnEnded


class TurnTaker:
    """Decides who is speaking.

    Call `hear` once per window, in order. Positions are samples on the session's clock. After a
    commit or clear that it did not decide itself, call `reset`.
    """

    def __init__(self, settings: TurnSettings = TurnSettings()) -> None:
        self.settings = settings
        self._floor = 0
        self._loud = 0
        self._started: int | None = None
        self._quiet_since: int | None = None
        self._paused = False
        self._voiced = 0
        """Windows of the turn with speech in them."""

    @property
    def speaking(self) -> bool:
        """Whether a turn is open."""
        return self._started is not None

    @property
    def paused(self) -> bool:
        """Whether the open turn has paused and not gone on."""
        return self._paused

    @property
    def reach(self) -> int:
        """How many samples before the newest a turn that begins next may reach back."""
        return round(self.settings.prefix_padding * SAMPLE_RATE) + ONSET * WINDOW

    def hear(self, at: int, probability: float) -> TurnEvent | None:
        """Take the probability of the window whose first sample is `at`."""
        if self._started is None:
            return self._wait(at, probability)
        return self._follow(at, probability)

    def begin(self, at: int) -> None:
        """Take over a turn that was opened by other means, at `at`."""
        self._started, self._quiet_since, self._loud, self._paused = at, None, 0, False
        self._voiced = 0

    def reset(self, floor: int) -> None:
        """No turn is open, and the next one may not reach back beyond `floor`."""
        self._floor, self._started, self._quiet_since, self._loud = floor, None, None, 0
        self._paused = False

    def _wait(self, at: int, probability: float) -> TurnEvent | None:
        self._loud = self._loud + 1 if probability >= self.settings.threshold else 0
        if self._loud < ONSET:
            return None
        onset = at - (ONSET - 1) * WINDOW
        padding = round(self.settings.prefix_padding * SAMPLE_RATE)
        start = max(self._floor, onset - padding)
        self.begin(start)
        self._voiced = ONSET
        return TurnStarted(start)

    def _follow(self, at: int, probability: float) -> TurnEvent | None:
        release = max(RELEASE_FLOOR, self.settings.threshold - HYSTERESIS)
        if probability >= release:
            self._voiced += 1
            self._quiet_since = None
            if self._paused:
                self._paused = False
                return TurnResumed(at)
        elif self._quiet_since is None:
            self._quiet_since = at
        end = at + WINDOW
        quiet = 0 if self._quiet_since is None else end - self._quiet_since
        if quiet >= self._patience(end) * SAMPLE_RATE:
            self.reset(end)
            return TurnEnded(end, self._voiced * WINDOW / SAMPLE_RATE)
        if quiet >= PAUSE_SECONDS * SAMPLE_RATE and not self._paused:
            self._paused = True
            return TurnPaused(end, self._voiced * WINDOW / SAMPLE_RATE)
        return None

    def _patience(self, end: int) -> float:
        """Seconds of quiet that end the turn, now that it has lasted until `end`."""
        assert self._started is not None
        lasted = (end - self._started) / SAMPLE_RATE
        if lasted >= self.settings.longest + LONGEST_GRACE:
            return 0.0
        if lasted >= self.settings.longest:
            return min(PAUSE, self.settings.silence)
        return self.settings.silence
