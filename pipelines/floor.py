"""Who has the floor: whether a session's assistant is silent, thinking or speaking.

One object for each session, written by the nodes that answer and read by the one that hears. No
I/O, no clock: times are the caller's, in seconds of one monotonic clock.
"""

from collections.abc import Callable
from typing import Literal

State = Literal["idle", "thinking", "speaking"]


class Floor:
    """`thinking`: an answer is being made and nothing of it is heard yet. `speaking`: its sound is
    being played, as far as one can tell from when it was sent."""

    def __init__(self) -> None:
        self._made: set[str] = set()
        self._until = 0.0
        self._listener: Callable[[str], float | None] = lambda item: None
        self.held = False
        """Whether sound is kept back, since somebody may be speaking over it."""

    def take(self, response: str) -> None:
        """A response is being made."""
        self._made.add(response)

    def leave(self, response: str) -> None:
        """A response has been made, or is over."""
        self._made.discard(response)

    def play(self, until: float) -> None:
        """What was sent until now will have been heard at this time."""
        self._until = until

    def state(self, now: float) -> State:
        """Who has the floor at this time."""
        if self.held or now < self._until:
            return "speaking"
        return "thinking" if self._made else "idle"

    def quiet_since(self, now: float) -> float | None:
        """When the last answer was over and heard; None while there is one."""
        return self._until if self.state(now) == "idle" else None

    def listen(self, heard: Callable[[str], float | None]) -> None:
        """Ask this, from now on, how many seconds of an item's sound can have been heard."""
        self._listener = heard

    def heard(self, item: str) -> float | None:
        """The seconds of an item's sound that a listener who plays it as it comes can have heard
        by now; None for items that nothing is known of any more."""
        return self._listener(item)
