"""What a person in a conversation notes of one turn, of one interruption, and of what is heard."""

from dataclasses import dataclass, field

from pipelines.sentences import SentenceSplitter

APPEND_MS = 40
GAP_SECONDS = 0.001
"""Silence in the middle of an answer that counts as a gap."""


def append_of(seconds: float) -> int:
    """The append of a session that holds the last sample before this position."""
    return max(0, -(-round(seconds * 1000) // APPEND_MS) - 1)


@dataclass(slots=True)
class Turn:
    """When things happened, on one clock. `silent`: the person's last sound. `proved`: the
    append left that held the last of the audio that ended the turn."""

    silent: float
    proved: float | None = None
    stopped: float | None = None
    understood: float | None = None
    token: float | None = None
    sentence: float | None = None
    audio: float | None = None
    transcript: str = ""
    answered: bool = False
    _splitter: SentenceSplitter = field(default_factory=SentenceSplitter)

    def understand(self, transcript: str, now: float) -> None:
        """What the person said is known."""
        if self.understood is None:
            self.understood, self.transcript = now, transcript

    def read(self, delta: str, now: float) -> None:
        """More of the answer's text came; its sentences are the server's."""
        if self.token is None:
            self.token = now
        if self.sentence is None and self._splitter.feed(delta):
            self.sentence = now

    @property
    def complete(self) -> bool:
        """Whether everything happened."""
        return self.answered and None not in self._moments()

    def spans(self) -> dict[str, float]:
        """Seconds from one to the next, and in all; of a complete turn."""
        proved, stopped, understood, token, sentence, audio = map(_known, self._moments())
        return {
            "silence": stopped - self.silent,
            "transcription": understood - stopped,
            "first_token": token - understood,
            "first_sentence": sentence - token,
            "speech": audio - sentence,
            "first_audio": audio - self.silent,
            "orchestration": audio - proved,
        }

    def _moments(self) -> tuple[float | None, ...]:
        return (
            *(self.proved, self.stopped, self.understood),
            *(self.token, self.sentence, self.audio),
        )


@dataclass(slots=True)
class Interruption:
    """Speech into an answer, from its first sound at `onset`.

    `confirmed`: the append left by which the server had heard enough; `told`: `speech_started`
    came; `last`: the last sound of the answer came. `leak` seconds of it were not played by then
    (or at the onset, if none came later), `unplayed` when it was told.
    """

    response: str
    onset: float
    confirmed: float | None = None
    told: float | None = None
    last: float | None = None
    leak: float = 0.0
    unplayed: float = 0.0
    late: int = 0
    """Pieces of sound that came after `told`."""
    over: bool = False
    """Whether the answer was cancelled."""

    def hear(self, until: float, now: float) -> None:
        """More of the answer came all the same; what has come will have been played at `until`."""
        if now >= self.onset:
            self.last, self.leak = now, max(0.0, until - now)

    def tell(self, until: float, now: float) -> None:
        """`speech_started` came."""
        self.told, self.unplayed = now, max(0.0, until - now)
        if self.last is None:
            self.leak = max(0.0, until - self.onset)

    @property
    def complete(self) -> bool:
        """Whether all of it happened."""
        return self.over and self.told is not None and self.confirmed is not None

    def spans(self) -> dict[str, float]:
        """Seconds; of a complete interruption."""
        confirmed, told = _known(self.confirmed), _known(self.told)
        end = max(told, self.last or told)
        return {
            "stopped": end - confirmed,
            "stopped_from_onset": end - self.onset,
            "sound_from_onset": (self.last or self.onset) - self.onset,
            "leak": self.leak,
            "unplayed": self.unplayed,
        }


@dataclass(slots=True)
class Heard:
    """A loudspeaker that plays answers at 1x, each from when its first sound comes."""

    response: str = ""
    until: float = 0.0
    """When what has come will have been played."""
    seconds: float = 0.0
    gaps: list[float] = field(default_factory=list)
    _sounding: bool = False

    def begin(self, response: str) -> None:
        """From now on this answer is played."""
        self.response, self._sounding = response, False

    def play(self, seconds: float, now: float) -> bool:
        """More sound came; whether it is the answer's first."""
        first = not self._sounding
        if not first and now - self.until > GAP_SECONDS:
            self.gaps.append(now - self.until)
        self._sounding = True
        self.until = max(self.until, now) + seconds
        self.seconds += seconds
        return first

    def playing(self, now: float) -> bool:
        """Whether something of the answer will be heard at this time."""
        return self._sounding and now < self.until

    def stop(self, now: float) -> None:
        """Play nothing of it any more."""
        self.seconds -= max(0.0, self.until - now)
        self.until = min(self.until, now)


def _known(moment: float | None) -> float:
    assert moment is not None, "only what is complete has spans"
    return moment
