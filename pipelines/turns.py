"""When a turn begins and ends. No I/O, no clock: feed it speech probabilities, act on its answer.

Rules. A turn begins when `ONSET` windows in a row are at or above the threshold; it reaches back by
the prefix padding, but never into what was already committed. It ends when the probability has
stayed below the release level (the threshold minus `HYSTERESIS`) for the silence time. Quiet that
lasts `PAUSE_SECONDS` and does not end the turn is a pause, until the release level is reached
again. A turn longer than `longest` is cut at the first quiet, and at the latest `LONGEST_GRACE`
later.

While `confirm` asks for more than an onset, an onset is suspected to be a turn: it is one, from its
first window on, once so many seconds of it are above the release level (or `confirm` asks for no
more than there are), and none after `DISMISS_SECONDS` of quiet.
"""

import math
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
DISMISS_SECONDS = 0.25
"""Seconds of quiet after which what was suspected was no turn: a cough, a short "mm-hmm"."""


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


@dataclass(frozen=True, slots=True)
class TurnSuspected:
    """Somebody may have begun to speak at `at` (samples), the first loud window."""

    at: int


@dataclass(frozen=True, slots=True)
class TurnDismissed:
    """What was suspected was no turn, as the quiet until `at` (samples) shows."""

    at: int


TurnEvent = TurnStarted | TurnPaused | TurnResumed | TurnEnded | TurnSuspected | TurnDismissed


class TurnTaker:
    """Decides who is speaking.

    Call `hear` once per window, in order. Positions are samples on the session's clock. After a
    commit or clear that it did not decide itself, call `reset`.
    """

    def __init__(self, settings: TurnSettings = TurnSettings()) -> None:
        self.settings = settings
        self.confirm = 0.0
        """Seconds of speech that begin a turn; an onset alone does where they are fewer."""
        self.patience: float | None = None
        """Seconds of quiet that end the open turn, instead of the settings' silence; forgotten
        when speech goes on."""
        self._floor = 0
        self._loud = 0
        self._started: int | None = None
        self._suspected: int | None = None
        self._quiet_since: int | None = None
        self._paused = False
        self._voiced = 0
        """Windows with speech in them, of the turn or of what is suspected to be one."""

    @property
    def speaking(self) -> bool:
        """Whether a turn is open."""
        return self._started is not None

    @property
    def paused(self) -> bool:
        """Whether the open turn has paused and not gone on."""
        return self._paused

    @property
    def suspecting(self) -> bool:
        """Whether there was an onset that is neither confirmed nor dismissed."""
        return self._suspected is not None

    @property
    def voiced(self) -> bool:
        """Whether there was as much speech as an onset in what is open or suspected."""
        return self._voiced >= ONSET

    @property
    def quiet_since(self) -> int | None:
        """Where the quiet that lasts until now began, in the open turn."""
        return self._quiet_since

    def hear(self, at: int, probability: float) -> TurnEvent | None:
        """Take the probability of the window whose first sample is `at`."""
        if self._started is not None:
            return self._follow(at, probability)
        if self._suspected is not None:
            return self._doubt(at, probability, self._suspected)
        return self._wait(at, probability)

    def begin(self, at: int) -> None:
        """Take over a turn that was opened by other means, at `at`."""
        self._forget()
        self._started = at

    def reset(self, floor: int) -> None:
        """No turn is open, and the next one may not reach back beyond `floor`."""
        self._forget()
        self._floor = floor

    def dismiss(self) -> bool:
        """Suspect nothing any more; whether something was suspected."""
        suspected = self.suspecting
        if suspected:
            self._forget()
        return suspected

    def _forget(self) -> None:
        self._started = self._suspected = self._quiet_since = self.patience = None
        self._loud = self._voiced = 0
        self._paused = False

    def _wait(self, at: int, probability: float) -> TurnEvent | None:
        self._loud = self._loud + 1 if probability >= self.settings.threshold else 0
        if self._loud < ONSET:
            return None
        self._voiced = ONSET
        onset = at - (ONSET - 1) * WINDOW
        if self._confirmed:
            return self._start(onset)
        self._suspected = onset
        return TurnSuspected(onset)

    def _doubt(self, at: int, probability: float, onset: int) -> TurnEvent | None:
        """Follow what is suspected to be a turn."""
        if probability >= self._release:
            self._voiced += 1
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = at
        if self._confirmed:
            return self._start(onset)
        end = at + WINDOW
        if self._quiet_until(end) >= DISMISS_SECONDS * SAMPLE_RATE:
            self._forget()
            return TurnDismissed(end)
        return None

    @property
    def _confirmed(self) -> bool:
        return self._voiced >= max(ONSET, math.ceil(self.confirm * SAMPLE_RATE / WINDOW))

    def _start(self, onset: int) -> TurnStarted:
        padding = round(self.settings.prefix_padding * SAMPLE_RATE)
        self._started, self._suspected = max(self._floor, onset - padding), None
        return TurnStarted(self._started)

    def _follow(self, at: int, probability: float) -> TurnEvent | None:
        if probability >= self._release:
            self._voiced += 1
            self._quiet_since = self.patience = None
            if self._paused:
                self._paused = False
                return TurnResumed(at)
        elif self._quiet_since is None:
            self._quiet_since = at
        end = at + WINDOW
        quiet = self._quiet_until(end)
        if quiet >= self._patience(end) * SAMPLE_RATE:
            voiced = self._voiced
            self.reset(end)
            return TurnEnded(end, voiced * WINDOW / SAMPLE_RATE)
        if quiet >= PAUSE_SECONDS * SAMPLE_RATE and not self._paused:
            self._paused = True
            return TurnPaused(end, self._voiced * WINDOW / SAMPLE_RATE)
        return None

    @property
    def _release(self) -> float:
        return max(RELEASE_FLOOR, self.settings.threshold - HYSTERESIS)

    def _quiet_until(self, end: int) -> int:
        return 0 if self._quiet_since is None else end - self._quiet_since

    def _patience(self, end: int) -> float:
        """Seconds of quiet that end the turn, now that it has lasted until `end`."""
        assert self._started is not None
        lasted = (end - self._started) / SAMPLE_RATE
        patience = self.settings.silence if self.patience is None else self.patience
        if lasted >= self.settings.longest + LONGEST_GRACE:
            return 0.0
        if lasted >= self.settings.longest:
            return min(PAUSE, patience)
        return patience
