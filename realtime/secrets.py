"""Client secrets: keys that live for minutes and open Realtime sessions, without I/O.

Times are seconds since the epoch and the caller's.
"""

import hashlib
import heapq
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engines.base import Busy

Kind = Literal["realtime", "transcription"]

PREFIX = "ek_"
"""Browser clients refuse keys without it."""
MAX_LIVE = 1_000
"""Secrets that one tenant has at a time."""
MAX_BYTES = 16 << 20
"""What the sessions of one tenant's secrets take, as JSON."""

_TOO_MANY = "Too many client secrets are alive. Each may be used until it expires."


@dataclass(frozen=True, slots=True)
class Secret:
    """What a secret stands for; not the secret itself, which nobody but its client keeps.

    `tenant` is whose key minted it, `session` the patch that sessions opened with it begin with and
    `size` the bytes that takes as JSON. `older` says that its client speaks the older dialect.
    """

    tenant: str
    kind: Kind
    expires_at: int
    session: Mapping[str, Any] = field(repr=False)
    size: int = 0
    older: bool = False


class Secrets:
    """The secrets that live. They are kept as digests, so that none can be read back."""

    def __init__(self, new_value: Callable[[], str] | None = None) -> None:
        """`new_value` makes an unguessable secret, of characters that a subprotocol may have."""
        self._new_value = new_value or (lambda: PREFIX + secrets.token_urlsafe(32))
        self._live: dict[bytes, Secret] = {}
        self._expiring: list[tuple[int, bytes]] = []
        self._counts: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._live)

    def mint(self, secret: Secret, now: float) -> str:
        """A new value for `secret`. Raises `Busy` while its tenant has as many as it may have."""
        self._forget(now)
        tenant = secret.tenant
        full = self._counts[tenant] >= MAX_LIVE or self._sizes[tenant] + secret.size > MAX_BYTES
        if full:
            wait = min((s.expires_at for s in self._live.values() if s.tenant == tenant), default=0)
            raise Busy(_TOO_MANY, max(1.0, wait - now))
        value = self._new_value()
        digest = _digest(value)
        self._live[digest] = secret
        heapq.heappush(self._expiring, (secret.expires_at, digest))
        self._counts[tenant] += 1
        self._sizes[tenant] += secret.size
        return value

    def find(self, key: str, now: float) -> Secret | None:
        """What `key` stands for, unless it is no secret or has expired."""
        self._forget(now)
        return self._live.get(_digest(key))

    def _forget(self, now: float) -> None:
        while self._expiring and self._expiring[0][0] <= now:
            _, digest = heapq.heappop(self._expiring)
            secret = self._live.pop(digest)
            self._counts[secret.tenant] -= 1
            self._sizes[secret.tenant] -= secret.size


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
