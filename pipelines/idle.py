"""When nobody has spoken for long enough after an answer. No I/O, no clock: times are the caller's,
in seconds of the clock that the floor is kept by."""

from pipelines.floor import Floor


class IdleTimer:
    """Runs from the end of an answer, as it is heard, until somebody speaks."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._since: float | None = None
        self._stopped = False
        """Whether it ran when somebody began to speak whose words are not known yet."""

    def answer(self, now: float) -> None:
        """An answer has been asked for."""
        self._since, self._stopped = now, False

    def put_off(self, now: float) -> None:
        """Begin again, if it runs."""
        if self._since is not None:
            self._since = now

    def stop(self) -> None:
        """Somebody speaks: another answer starts it again."""
        self._stopped = self._stopped or self._since is not None
        self._since = None

    def resume(self, now: float) -> None:
        """It was a noise and nobody spoke."""
        if self._stopped:
            self.answer(now)

    def expire(self) -> None:
        """The time was up, or words were said: only another answer starts it again."""
        self._since, self._stopped = None, False

    def until(self, timeout: float, now: float) -> float | None:
        """The earliest time at which it may be up; None: not before something else happens."""
        if self._since is None:
            return None
        quiet_since = self._floor.quiet_since(now)
        # While an answer is made or heard, nobody knows until when.
        return timeout + (now if quiet_since is None else max(quiet_since, self._since))
