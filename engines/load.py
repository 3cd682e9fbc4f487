"""What a lane measured of its own speed, and what follows for who may still come."""

from collections.abc import Mapping

from engines.base import JobClass
from engines.tickets import Ticket

WEIGHT = 0.2
"""How much the newest measurement counts in a moving average."""

LONGEST_WAIT = {JobClass.REST: 30.0, JobClass.BACKGROUND: 300.0}
"""Predicted seconds in the queue beyond which a new job is refused. Live jobs are not: who speaks
already is served late rather than not at all."""

LIVE_WAIT = 2.0
"""Seconds that partials may wait before a lane takes no more live sessions."""

SUSTAINED_SECONDS = 1.0
"""How long the prediction has to be above `LIVE_WAIT`: a burst is not an overload."""

LIVE_SECONDS = 5.0
"""For how long a lane counts as live after it last saw a live job."""


class Average:
    """An exponentially weighted moving average; None until something was measured."""

    def __init__(self) -> None:
        self.value: float | None = None

    def add(self, measured: float) -> None:
        """Count one more measurement."""
        old = self.value
        self.value = measured if old is None else old + WEIGHT * (measured - old)


class Load:
    """Moving averages of service and waits, in seconds, by class."""

    def __init__(self) -> None:
        self._service = {kind: Average() for kind in JobClass}
        self._any_service = Average()
        self._waits = {kind: Average() for kind in JobClass}
        self._step = Average()
        self._waited_at = float("-inf")
        self._pressed_since: float | None = None

    @property
    def service(self) -> Mapping[JobClass, float]:
        """Engine seconds per job: a step's duration is shared by the jobs in it."""
        return _measured(self._service)

    @property
    def waits(self) -> Mapping[JobClass, float]:
        """Seconds from when a job could run to its first step."""
        return _measured(self._waits)

    def served(self, kind: JobClass, seconds: float) -> None:
        """A request is done, or a stream was stepped, with this much of the engine's time."""
        self._service[kind].add(seconds)
        self._any_service.add(seconds)

    def stepped(self, seconds: float) -> None:
        """A step took this long."""
        self._step.add(seconds)

    def waited(self, kind: JobClass, seconds: float, now: float) -> None:
        """A job waited so long, or would have."""
        self._waits[kind].add(seconds)
        if kind is JobClass.PARTIAL:
            self._waited_at = now

    def work(self, ticket: Ticket) -> float:
        """Engine seconds this job still needs, going by others of its class (or any, or none)."""
        seconds = self._service[ticket.kind].value
        if seconds is None:
            seconds = self._any_service.value or 0.0
        return seconds if ticket.request.streaming else max(0.0, seconds - ticket.served)

    def remaining(self, elapsed: float) -> float:
        """Seconds until a step that runs since `elapsed` seconds is over."""
        return max(0.0, (self._step.value or 0.0) - elapsed)

    def press(self, predicted: float, now: float) -> None:
        """Note how long a partial would wait."""
        if predicted <= LIVE_WAIT:
            self._pressed_since = None
        elif self._pressed_since is None:
            self._pressed_since = now

    def overloaded(self, now: float) -> bool:
        """Whether live sessions wait too long: by prediction for a while, or in fact, lately."""
        if self._pressed_since is not None and now - self._pressed_since >= SUSTAINED_SECONDS:
            return True
        wait = self._waits[JobClass.PARTIAL].value or 0.0
        return wait > LIVE_WAIT and now - self._waited_at < LIVE_SECONDS


def _measured(averages: Mapping[JobClass, Average]) -> Mapping[JobClass, float]:
    return {kind: each.value for kind, each in averages.items() if each.value is not None}
