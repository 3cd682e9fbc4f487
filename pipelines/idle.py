"""When nobody has spoken for long enough after an answer. No I/O, no clock: times are the caller's,
in seconds of the clock that the floor is kept by."""

from pipelines.floor import Floor


class IdleTimer:
    """Runs from the end of an answer, as it is heard, until somebody speaks."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._since: float | None = None

    def answer(self, now: float) -> None:
        """An answer has been asked for."""
        self._since = now

    def put_off(self, now: float) -> None:
        """Begin again, if it runs."""
        if self._since is not None:
            self._since = now

    def stop(self) -> None:
        """Somebody speaks, or the time was up: only another answer starts it again."""
        self._since = None

    def until(self, timeout: float, now: float) -> float | None:
        """The earliest time at which it may be up; None: not before something else happens."""
        if self._since is None:
            return None
        quiet_since = self._floor.quiet_since(now)
        # While an answer is made or heard, nobody knows until when.
        return timeout + (now if quiet_since is None else max(quiet_since, self._since))
