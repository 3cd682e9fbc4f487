"""The responses that clients may come back to, in the memory of this process.

They are gone when the server ends, when they were not asked for over a day, and, the longest unused
first, when there are too many or they are too big together. A response belongs to the API key that
made it; for every other key there is none of its id. It holds its whole conversation, and shares
the items with the responses it goes on from, so that deleting those leaves it whole.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from routes.response_items import Item

ENTRIES: Final = 1000
BYTES: Final = 128 << 20
AGE_SECONDS: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A response and its conversation: `items` are `given` items of input, then its output."""

    response: Mapping[str, Any]
    items: tuple[Item, ...]
    given: int
    weights: tuple[int, ...]
    """Bytes of the response, and of each item."""

    @classmethod
    def of(cls, response: Mapping[str, Any], given: Sequence[Item]) -> Self:
        """Its input and what it said; a call that was cut off cannot be answered and is left out.

        Takes a while for a long conversation: not for the event loop.
        """
        output = [
            item
            for item in response["output"]
            if item["type"] != "function_call" or item["status"] == "completed"
        ]
        items = (*given, *output)
        weights = (_weight(response), *(_weight(item) for item in items))
        return cls(response, items, len(given), weights)

    @property
    def id(self) -> str:
        return str(self.response["id"])

    @property
    def input(self) -> tuple[Item, ...]:
        return self.items[: self.given]


@dataclass(slots=True)
class _Kept:
    owner: str
    entry: Entry
    used: float


@dataclass(slots=True)
class _Shared:
    """An item of one or more entries; its weight counts once."""

    item: Item
    weight: int
    entries: int = 0


class ResponseStore:
    """Entries by response id. `clock` gives seconds from any start."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.bytes = 0
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._shared: dict[int, _Shared] = {}
        self._named: dict[tuple[str, str], dict[int, Item]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, owner: str, entry: Entry) -> None:
        """Keep `entry`, unless it alone is too big; others may have to go."""
        if sum(entry.weights) > BYTES:
            return
        self._kept[entry.id] = _Kept(owner, entry, self._clock())
        self.bytes += entry.weights[0]
        for item, weight in zip(entry.items, entry.weights[1:], strict=True):
            shared = self._shared.setdefault(id(item), _Shared(item, weight))
            if not shared.entries:
                self.bytes += weight
            shared.entries += 1
            named = self._named.setdefault((owner, item["id"]), {})
            named.pop(id(item), None)
            named[id(item)] = item
        self._tidy()

    def get(self, owner: str, id: str) -> Entry | None:
        """The owner's response of this id, which counts as used now."""
        self._tidy()
        kept = self._kept.get(id)
        if kept is None or kept.owner != owner:
            return None
        kept.used = self._clock()
        self._kept.move_to_end(id)
        return kept.entry

    def item(self, owner: str, id: str) -> Item | None:
        """The item of this id in any response of the owner; the newest, if there are several."""
        self._tidy()
        named = self._named.get((owner, id))
        return None if named is None else next(reversed(named.values()))

    def delete(self, owner: str, id: str) -> bool:
        """Whether there was one."""
        if self.get(owner, id) is None:
            return False
        self._drop(id)
        return True

    def _tidy(self) -> None:
        """Drop what is too much; the least recently used entry is the first."""
        oldest = self._clock() - AGE_SECONDS
        while self._kept:
            first, kept = next(iter(self._kept.items()))
            if len(self._kept) <= ENTRIES and self.bytes <= BYTES and kept.used > oldest:
                break
            self._drop(first)

    def _drop(self, id_: str) -> None:
        kept = self._kept.pop(id_)
        self.bytes -= kept.entry.weights[0]
        for item in kept.entry.items:
            shared = self._shared[id(item)]
            shared.entries -= 1
            if not shared.entries:
                self.bytes -= shared.weight
                del self._shared[id(item)]
                self._forget(kept.owner, item)

    def _forget(self, owner: str, item: Item) -> None:
        """Other items may have the same id: clients send whole histories again, ids and all."""
        named = self._named[owner, item["id"]]
        del named[id(item)]
        if not named:
            del self._named[owner, item["id"]]


def _weight(value: Any) -> int:
    """About the bytes of memory that a JSON value takes."""
    size = sys.getsizeof(value)
    match value:
        case dict():
            return size + sum(_weight(part) for part in value.values())
        case list() | tuple():
            return size + sum(_weight(part) for part in value)
        case _:
            return size
