"""What a session has to tell its client and could not send yet."""

import asyncio
from collections import deque

import orjson

from realtime.actions import ServerEvent

ROOMY_BYTES = 8 * 2**20


class OutboxFull(Exception):
    """The client does not take what it is told."""


class Outbox:
    """Events as JSON, in order; no more than `most` wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._over = False
        self._put = asyncio.Event()
        self._taken = asyncio.Event()

    @property
    def is_roomy(self) -> bool:
        """Whether no more than half of `most` wait, and few bytes."""
        return len(self._waiting) <= self._most // 2 and self._bytes <= ROOMY_BYTES

    def put(self, event: ServerEvent) -> None:
        """Raises `OutboxFull`. After the end, nothing is taken."""
        if self._over:
            return
        if len(self._waiting) >= self._most:
            raise OutboxFull
        written = orjson.dumps(event)
        self._waiting.append(written)
        self._bytes += len(written)
        self._put.set()

    def end(self, *, drop: bool) -> None:
        """No more comes; with `drop`, what waits is not sent either."""
        if drop:
            self._waiting.clear()
            self._bytes = 0
        self._over = True
        self._put.set()

    async def get(self) -> str | None:
        """The next event, when there is one; None after the last."""
        while not self._waiting:
            if self._over:
                return None
            self._put.clear()
            await self._put.wait()
        written = self._waiting.popleft()
        self._bytes -= len(written)
        self._taken.set()
        return written.decode()

    async def roomy(self) -> None:
        """Return once `is_roomy`."""
        while not self.is_roomy:
            self._taken.clear()
            await self._taken.wait()
