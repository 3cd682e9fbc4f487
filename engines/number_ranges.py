"""Rules for the decimal numbers between two bounds, digit by digit."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from math import ceil, floor
from typing import Final

from engines.gbnf import one_of

DIGITS: Final = 16
"""Most digits of a number without bounds: what a float holds."""

MOST_DIGITS: Final = 40
MOST_DECIMALS: Final = 12

OPEN_DECIMALS: Final = 4
"""A bound that is itself excluded is approached to this many decimals."""

INTEGER: Final = f'"-"? ("0" | [1-9] [0-9]{{0,{DIGITS - 1}}})'
NUMBER: Final = f'{INTEGER} ("." [0-9]{{1,{DIGITS}}})? ([eE] [-+]? [0-9]{{1,2}})?'

Digits = tuple[tuple[int, int], ...]
"""For each place the lowest and the highest digit."""


class RangeError(Exception):
    """The range is empty, or has more digits than it may."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Ends of a range, None where it has none; `open_…`: the end itself is outside."""

    low: Fraction | None = None
    high: Fraction | None = None
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: Fraction) -> bool:
        low, high = self.low, self.high
        above = low is None or value > low or (value == low and not self.open_low)
        below = high is None or value < high or (value == high and not self.open_high)
        return above and below

    def scaled(self, decimals: int) -> tuple[int, int]:
        """The first and the last integer that is within when it is divided by 10^`decimals`."""
        scale = 10**decimals
        far = 10**DIGITS
        if self.low is not None and self.low > 0:
            far = max(far, 10 * ceil(self.low))
        if self.high is not None and self.high < 0:
            far = max(far, 10 * ceil(-self.high))
        low = (1 - far if self.low is None else self.low) * scale
        high = (far - 1 if self.high is None else self.high) * scale
        first, last = ceil(low), floor(high)
        first += self.open_low and first == low
        last -= self.open_high and last == high
        if max(abs(first), abs(last)) >= 10**MOST_DIGITS:
            raise RangeError
        return first, last


def integer_range(bounds: Bounds) -> str:
    """The rule for the integers within `bounds`. Raises `RangeError`."""
    return _rule(_written(bounds, 0))


def number_range(bounds: Bounds) -> str:
    """The rule for the numbers within `bounds`, without exponents. Raises `RangeError`."""
    decimals = max([1, *(_decimals(end) for end in (bounds.low, bounds.high) if end is not None)])
    if bounds.open_low or bounds.open_high:
        decimals = max(decimals, OPEN_DECIMALS)
    bodies = [body for places in range(decimals + 1) for body in _written(bounds, places)]
    return _rule([*bodies, *_written(bounds, decimals, further=True)])


def _rule(bodies: list[str]) -> str:
    if not bodies:
        raise RangeError
    return one_of(bodies)


def _decimals(value: Fraction) -> int:
    for decimals in range(MOST_DECIMALS + 1):
        if (value * 10**decimals).denominator == 1:
            return decimals
    raise RangeError


def _written(bounds: Bounds, decimals: int, *, further: bool = False) -> list[str]:
    """The numbers within `bounds` that have so many decimals; `further`: and any digits after
    them, which lead away from zero, so that the last number before a closed end has none."""
    low, high = bounds.scaled(decimals)
    tail = f" [0-9]{{1,{DIGITS}}}" if further else ""
    above = _between(max(low, 0), high - (further and not bounds.open_high), decimals)
    bodies = [f"{body}{tail}" for body in above]
    if low < 0:
        below = _between(max(-high, 0), -low - (further and not bounds.open_low), decimals)
        bodies += [f'"-" {body}{tail}' for body in below]
    return bodies


def _between(low: int, high: int, decimals: int) -> Iterator[str]:
    """The rules for `low` to `high`, both at least 0, the last `decimals` digits after a point."""
    point = f' "." [0-9]{{{decimals}}}' if decimals else ""
    whole: list[int] = []
    for length in range(decimals + 1, max(decimals + 1, len(str(high))) + 1):
        least = 10 ** (length - 1) if length > decimals + 1 else 0
        first, last = max(low, least), min(high, 10**length - 1)
        if first > last:
            continue
        if (first, last) == (10 ** (length - 1), 10**length - 1):
            whole.append(length - decimals - 1)
            continue
        for digits in _same_length(f"{first:0{length}}", f"{last:0{length}}"):
            yield _body(digits, decimals)
    if whole:
        yield f"[1-9] [0-9]{{{whole[0]},{whole[-1]}}}{point}"


def _same_length(low: str, high: str) -> Iterator[Digits]:
    """The numbers from `low` to `high`, which have the same number of digits."""
    if not low:
        yield ()
        return
    first, last = int(low[0]), int(high[0])
    if first == last:
        yield from (((first, first), *rest) for rest in _same_length(low[1:], high[1:]))
        return
    nines, zeros = "9" * (len(low) - 1), "0" * (len(low) - 1)
    if low[1:] != zeros:
        yield from (((first, first), *rest) for rest in _same_length(low[1:], nines))
        first += 1
    if high[1:] != nines:
        yield from (((last, last), *rest) for rest in _same_length(zeros, high[1:]))
        last -= 1
    if first <= last:
        yield ((first, last), *((0, 9) for _ in nines))


def _body(digits: Digits, decimals: int) -> str:
    point = len(digits) - decimals
    parts = [_run(digits[:point])]
    if decimals:
        parts += ['"."', _run(digits[point:])]
    return " ".join(parts)


def _run(digits: Digits) -> str:
    parts = []
    for (low, high), same in groupby(digits):
        times = len(list(same))
        digit = f"[{low}-{high}]" if low < high else f'"{low}"'
        parts.append(digit if times == 1 else f"{digit}{{{times}}}")
    return " ".join(parts)
