"""How much of what was given to a loudspeaker has been played, by item. No I/O."""

from collections import deque


class Playback:
    """Follows a loudspeaker that plays in order what it is given; counts are in samples."""

    def __init__(self) -> None:
        self._position = 0
        self._waiting: deque[tuple[str, int]] = deque()
        self._given: dict[str, int] = {}
        self._played: dict[str, int] = {}

    @property
    def playing(self) -> bool:
        """Whether something was given that has not been played."""
        return bool(self._waiting)

    @property
    def pending(self) -> int:
        """What is still to be played of all items."""
        return sum(count for _, count in self._waiting)

    def give(self, item: str, samples: int) -> None:
        """So much more of an item went to the loudspeaker."""
        if samples:
            self._waiting.append((item, samples))
            self._given[item] = self.given(item) + samples

    def reach(self, position: int) -> None:
        """The loudspeaker has played so much since it was opened."""
        new, self._position = position - self._position, position
        while new > 0 and self._waiting:
            item, count = self._waiting.popleft()
            played = min(count, new)
            new -= played
            self._played[item] = self.played(item) + played
            if played < count:
                self._waiting.appendleft((item, count - played))

    def flush(self, position: int) -> None:
        """The loudspeaker threw away what it had not played by then."""
        self.reach(position)
        self._waiting.clear()

    def given(self, item: str) -> int:
        return self._given.get(item, 0)

    def played(self, item: str) -> int:
        return self._played.get(item, 0)

    def forget(self, item: str) -> None:
        """Nobody will ask for this item again."""
        self._given.pop(item, None)
        self._played.pop(item, None)
