"""What may be sent of an answer's sound and when, and how much of it can have been heard.

No I/O, no clock: times are arguments, in seconds of one monotonic clock. The listener is taken to
hear at the speed of speech (1x), from when sound leaves.
"""

from collections import deque
from dataclasses import dataclass, replace

from pipelines.frames import Answered, AudioOut

PIECE_SECONDS = 0.02
"""Paced sound leaves in pieces of at least this and less than twice this."""
SLACK = 1e-6
"""Seconds that sums of floats may be off."""
LEAST_WAIT = 0.001
"""Seconds to sleep at least for sound to be due: some loops wake that much early."""
ITEMS = 16
"""Items whose playing is known: the newest."""


class Ahead:
    """How much of what was given a listener has still to hear."""

    def __init__(self) -> None:
        self.held = False
        """Whether the listener hears nothing meanwhile."""
        self._unheard: deque[tuple[str, float]] = deque()
        """Responses and seconds of their sound, in order."""
        self._at = 0.0

    def give(self, response: str, seconds: float, now: float) -> None:
        """So much more sound for the listener."""
        self._hear(now)
        self._unheard.append((response, seconds))

    def left(self, now: float) -> float:
        """Seconds that were given and are not heard."""
        self._hear(now)
        return sum(seconds for _, seconds in self._unheard)

    def hold(self, now: float) -> None:
        """The listener hears nothing from now on."""
        self._hear(now)
        self.held = True

    def go_on(self, now: float) -> None:
        """The listener hears again."""
        self._hear(now)
        self.held = False

    def forget(self, response: str | None, now: float) -> None:
        """What is not heard of a response (None: of any) never will be."""
        self._hear(now)
        kept = (given for given in self._unheard if response not in (None, given[0]))
        self._unheard = deque(kept)

    def _hear(self, now: float) -> None:
        passed, self._at = now - self._at, now
        while self._unheard and passed > 0 and not self.held:
            response, seconds = self._unheard.popleft()
            passed -= seconds
            if passed < 0:
                self._unheard.appendleft((response, -passed))


@dataclass(slots=True)
class _Played:
    """The sound of one item that was sent: `sent` seconds, all heard at `end`."""

    response: str
    item: str
    sent: float
    end: float

    def heard(self, now: float) -> float:
        """Gaps lie before what is unheard: sound that comes late begins when it comes."""
        return self.sent - min(max(self.end - now, 0.0), self.sent)


class Playback:
    """Keeps sound in order and lets it leave: at once, or no more than `lead` seconds before a
    listener can have heard it. A piece may always leave when the listener has nothing left.

    What is kept is as much as was added: who adds bounds it.
    """

    def __init__(self, lead: float | None = None) -> None:
        self.lead = lead
        self.on_hold = False
        self._waiting: deque[AudioOut | Answered] = deque()
        self._played: dict[str, _Played] = {}
        self._until = 0.0

    @property
    def until(self) -> float:
        """When everything that was sent will have been heard."""
        return self._until

    @property
    def holding_back(self) -> bool:
        """Whether a hold keeps sound from leaving."""
        return self.on_hold and bool(self._waiting)

    def add(self, sound: AudioOut) -> None:
        """Take sound; `take` gives it back."""
        self._waiting.append(sound)

    def finish(self, answered: Answered) -> bool:
        """Keep the end of a response behind its sound; False if none of that is kept."""
        if any(frame.response == answered.response for frame in self._waiting):
            self._waiting.append(answered)
            return True
        return False

    def due(self) -> float | None:
        """When `take` will have something; None: not before something changes."""
        if not self._waiting:
            return None
        head = self._waiting[0]
        if isinstance(head, Answered):
            return 0.0
        if self.on_hold:
            return None
        if self.lead is None:
            return 0.0
        return self._until - max(0.0, self.lead - _seconds(head, self._next_cut(head)))

    def take(self, now: float) -> AudioOut | Answered | None:
        """What leaves next, if anything may leave now."""
        due = self.due()
        if due is None or due > now + SLACK:
            return None
        head = self._waiting.popleft()
        if isinstance(head, Answered):
            return head
        head, rest = self._cut(head)
        if rest is not None:
            self._waiting.appendleft(rest)
        self._sent(head, now)
        return head

    def interrupt(self, response: str | None, now: float) -> None:
        """Forget the sound of a response (None: of any), sent or not."""
        for played in self._played.values():
            if response in (None, played.response):
                played.sent, played.end = played.heard(now), min(played.end, now)
        self._waiting = deque(
            frame for frame in self._waiting if response not in (None, frame.response)
        )
        unheard = sum(played.sent - played.heard(now) for played in self._played.values())
        self._until = min(self._until, now + unheard)
        for played in self._played.values():
            played.end = min(played.end, self._until)

    def heard(self, item: str, now: float) -> float | None:
        """The seconds of an item's sound that can have been heard; None for one that nothing is
        known of."""
        played = self._played.get(item)
        if played is not None:
            return played.heard(now)
        waits = any(isinstance(frame, AudioOut) and frame.item == item for frame in self._waiting)
        return 0.0 if waits else None

    def knows(self, response: str | None) -> bool:
        """Whether sound of this response (None: of any) was sent or waits."""
        frames = (*self._played.values(), *self._waiting)
        return any(response in (None, frame.response) for frame in frames)

    def _next_cut(self, sound: AudioOut) -> int:
        size = max(1, round(sound.rate * PIECE_SECONDS))
        return size if len(sound.samples) >= 2 * size else len(sound.samples)

    def _cut(self, sound: AudioOut) -> tuple[AudioOut, AudioOut | None]:
        if self.lead is None:
            return sound, None
        size = self._next_cut(sound)
        if size == len(sound.samples):
            return sound, None
        end = self._sent_of(sound.item) + _seconds(sound, size) + SLACK
        marks = sum(mark.seconds <= end for mark in sound.marks)
        return (
            replace(sound, samples=sound.samples[:size], marks=sound.marks[:marks]),
            replace(sound, samples=sound.samples[size:], marks=sound.marks[marks:]),
        )

    def _sent_of(self, item: str) -> float:
        return self._played[item].sent if item in self._played else 0.0

    def _sent(self, sound: AudioOut, now: float) -> None:
        seconds = _seconds(sound, len(sound.samples))
        self._until = max(self._until, now) + seconds
        if sound.item not in self._played:
            if len(self._played) == ITEMS:
                del self._played[next(iter(self._played))]
            self._played[sound.item] = _Played(sound.response, sound.item, 0.0, now)
        self._played[sound.item].sent += seconds
        self._played[sound.item].end = self._until


def _seconds(sound: AudioOut, samples: int) -> float:
    return samples / sound.rate
