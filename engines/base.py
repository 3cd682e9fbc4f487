"""What an engine is to the rest of Antiphon: the contract, its errors and its recipe.

An engine lives inside a worker (a thread, a process, or the event loop in tests) and is only
ever called from there. It never sees sessions, sockets or the event loop; it sees `Work`, the
part of a job that is ready now, and answers with `Outcome`s. The scheduler owns everything else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, Protocol


class EngineError(Exception):
    """What an engine, a worker or the model catalogue could not do; the message is for users."""


class ModelNotFound(EngineError):
    """No installed or configured model has this name."""

    def __init__(self, name: str, available: Sequence[str] = ()) -> None:
        known = ", ".join(available) if available else "none"
        super().__init__(f"The model '{name}' does not exist here. Installed models: {known}.")
        self.name = name
        self.available = tuple(available)

    def __reduce__(self) -> tuple[type["ModelNotFound"], tuple[str, tuple[str, ...]]]:
        return type(self), (self.name, self.available)


class Unsupported(EngineError):
    """The model exists but cannot do this; the message names what to install instead.

    `param` is the name of the request field that asked for it (`language`, `task`).
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    def __reduce__(self) -> tuple[type["Unsupported"], tuple[str, str | None]]:
        return type(self), (str(self), self.param)


class InvalidInput(EngineError):
    """The caller's audio or text cannot be used (unreadable file, no audio stream).

    `param` is the name of the request field that is wrong, where it is one.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    def __reduce__(self) -> tuple[type["InvalidInput"], tuple[str, str | None]]:
        return type(self), (str(self), self.param)


class Busy(EngineError):
    """No capacity for another job; try again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type["Busy"], tuple[str, float]]:
        return type(self), (str(self), self.retry_after)


class ProviderError(EngineError):
    """A provider elsewhere could not be reached, refused its key or answered nonsense."""


class WorkerCrashed(EngineError):
    """The worker process died under this job, twice."""


class JobClass(IntEnum):
    """How urgent a job is; the scheduler turns it into a deadline, the lowest first."""

    FINAL = 0
    FIRST_SENTENCE = 1
    PARTIAL = 2
    REST = 3
    BACKGROUND = 4

    @property
    def live(self) -> bool:
        """Whether somebody who is speaking or listening waits for it."""
        return self <= JobClass.PARTIAL


@dataclass(frozen=True, slots=True)
class Work:
    """The part of one job that a step shall do.

    `payload` is what was submitted. A streaming job also gets the `inputs` pushed since its last
    step, in order, and `ended` once no more will come. A job that is not streaming has no inputs
    and is `ended` from its first step; if its outcome is not done, it is stepped again.

    `progress` is not empty in the first step of a job that another worker died with: all that the
    outcomes of its steps there named as theirs. `kind` is for engines in which the jobs of a step
    compete for more than their turn.
    """

    job: int
    payload: Any
    inputs: tuple[Any, ...] = ()
    ended: bool = True
    progress: tuple[Any, ...] = ()
    kind: JobClass = JobClass.REST


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step brought for one job: events for its ticket, and whether the job is over.

    `progress` is what another worker needs to go on from here if this one dies. Without any, a job
    starts again from the beginning, and fails if its reader has been told something already.
    """

    job: int
    events: tuple[Any, ...] = ()
    done: bool = False
    error: EngineError | None = None
    progress: tuple[Any, ...] = ()


class Engine(Protocol):
    """A loaded model inside a worker. Methods are never called at the same time by two threads."""

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        """Do one bounded step (aim: under 200 ms) for all of `work`; one outcome for each.

        An exception fails the step; the scheduler then tries its jobs one by one, so that a
        poisoned job fails alone.
        """
        ...

    def drop(self, job: int) -> None:
        """Forget a job between steps (cancelled, or failed). Unknown jobs are ignored."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class Waiting(Protocol):
    """A job that could run now, as `select` sees it."""

    @property
    def payload(self) -> Any: ...

    @property
    def inputs(self) -> int: ...

    @property
    def kind(self) -> JobClass: ...


Select = Callable[[Sequence[Waiting]], Sequence[Waiting]]


@dataclass(frozen=True, slots=True)
class UpTo:
    """The plainest `select`: the `most` most urgent jobs, whatever they are."""

    most: int

    def __call__(self, waiting: Sequence[Waiting]) -> Sequence[Waiting]:
        return waiting[: self.most]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the scheduler runs one model: what to build, where, and within which bounds.

    `build` is called inside the worker; for a process worker it must be picklable (a
    `functools.partial` of a module-level function). `select` is pure and runs on the event
    loop: it gets the ready jobs (one at least), most urgent first, and returns those that can
    share a step.
    """

    name: str
    build: Callable[[], Engine]
    select: Select = field(default=UpTo(1))
    worker: Literal["thread", "process", "inline"] = "thread"
    workers: int = 1
    """How many workers may run; they start when there is work for them."""
    slots: int | None = None
    """Most jobs alive inside one worker at once (None: no bound of its own). All steps of a job
    run on the worker that took its first, where the engine keeps its state."""
    reserved: int = 0
    """Places in each worker that only live jobs may take; fewer than its `slots`."""
    capacity: int | None = None
    """Most jobs alive in the lane; the next one is refused with `Busy` (None: the default)."""
    cores: int = 1
    """Device cores one step occupies; 0 for work too small to be worth a grant."""
    ticks: Mapping[JobClass, float] = field(default_factory=dict)
    """Least seconds from the start of one step to that of the next on the same worker, by the most
    urgent class of its jobs (none for those not named): what comes meanwhile shares a step. For
    work so small that handing it over costs as much."""
    full_batch: int | None = None
    """Jobs that fill a step. With several workers, PARTIALs then gather behind steps of PARTIALs on
    each worker but the last, until so many wait, and FINALs do while so many PARTIALs wait: batches
    stay large, and each class finds a worker (None: a job takes the first worker that is free)."""
    replay: bool = False
    """Keep a streaming job's inputs, so that it can start again when its worker died."""
    longest_wait: float | None = None
    """Predicted seconds in the queue beyond which REST and BACKGROUND jobs are refused (None: the
    default of their class)."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do, known without loading it."""

    languages: frozenset[str] | None = None
    """ISO 639-1 codes; None: not limited to a known set."""
    translate: bool = False
    word_times: bool = True
