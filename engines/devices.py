"""Who may compute now: a device owns cores and grants them to lanes, the most urgent first."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

WorkBefore = Callable[[float], float]
"""Core-seconds a lane will hold for jobs that are due by a deadline."""


@dataclass(eq=False, slots=True)
class _Claim:
    cores: int
    deadline: Callable[[], float]
    granted: asyncio.Future[None]


class Device:
    """A machine's cores, shared by all lanes so that together they never oversubscribe.

    A claim names its deadline as a function, asked anew whenever cores come free: a lane that
    waits with a background job becomes urgent the moment somebody finishes speaking.

    Lanes also tell the device how much work they have, so that each can predict its own waits.
    """

    def __init__(self, cores: int, name: str = "cpu") -> None:
        if cores < 1:
            raise ValueError("a device has at least one core")
        self.name = name
        self.cores = cores
        self._free = cores
        self._claims: list[_Claim] = []
        self._lanes: dict[object, WorkBefore] = {}

    def join(self, lane: object, work_before: WorkBefore) -> None:
        """A lane will claim cores. It can be asked for its work until it leaves."""
        self._lanes[lane] = work_before

    def leave(self, lane: object) -> None:
        """The lane claims no more cores."""
        self._lanes.pop(lane, None)

    def work_elsewhere(self, lane: object, deadline: float) -> float:
        """Seconds for which the other lanes, on all cores, will do what is due by `deadline`."""
        works = (work(deadline) for other, work in self._lanes.items() if other is not lane)
        return sum(works) / self.cores

    @property
    def free(self) -> int:
        """Cores that nobody holds."""
        return self._free

    @asynccontextmanager
    async def grant(self, cores: int, deadline: Callable[[], float]) -> AsyncIterator[None]:
        """Hold `cores` (more than there are means all; none needs no grant) for one step."""
        cores = min(cores, self.cores)
        if cores == 0:
            yield
            return
        await self._acquire(cores, deadline)
        try:
            yield
        finally:
            self._release(cores)

    async def _acquire(self, cores: int, deadline: Callable[[], float]) -> None:
        claim = _Claim(cores, deadline, asyncio.get_running_loop().create_future())
        self._claims.append(claim)
        self._distribute()
        try:
            await claim.granted
        except asyncio.CancelledError:
            if not claim.granted.cancelled():
                self._release(cores)  # granted before the cancellation came through
            elif claim in self._claims:
                self._claims.remove(claim)
                self._distribute()
            raise

    def _release(self, cores: int) -> None:
        self._free += cores
        self._distribute()

    def _distribute(self) -> None:
        # The most urgent claim is never overtaken by a smaller one: a wide step cannot starve.
        while self._claims and self._free:
            first = min(self._claims, key=lambda claim: claim.deadline())
            if first.cores > self._free:
                return
            self._claims.remove(first)
            if not first.granted.cancelled():
                self._free -= first.cores
                first.granted.set_result(None)
