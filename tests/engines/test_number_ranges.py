"""Numbers between bounds, digit by digit."""

import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.number_ranges import Bounds, RangeError, integer_range, number_range


def expression(rule: str) -> re.Pattern[str]:
    """The rule as a regular expression; numbers need only what both have."""
    quoted = re.sub(r'"([^"]*)"', lambda found: re.escape(found[1]), rule)
    return re.compile(quoted.replace(" ", ""))


@st.composite
def bounds(draw: st.DrawFn, decimals: int) -> Bounds:
    ends = draw(st.lists(st.integers(-3000, 3000), min_size=2, max_size=2))
    low, high = (Fraction(end, 10**decimals) for end in sorted(ends))
    return Bounds(
        draw(st.sampled_from([low, None])),
        draw(st.sampled_from([high, None])),
        draw(st.booleans()),
        draw(st.booleans()),
    )


@settings(deadline=None, max_examples=200)
@given(bounds(0) | bounds(1), st.lists(st.integers(-4000, 4000)))
def test_an_integer_matches_if_it_is_within(bounds: Bounds, numbers: list[int]) -> None:
    near = [
        int(end) + n for end in (bounds.low, bounds.high) if end is not None for n in (-1, 0, 1)
    ]
    try:
        rule = expression(integer_range(bounds))
    except RangeError:
        assert not any(Fraction(number) in bounds for number in (*numbers, *near))
        return
    for number in (*numbers, *near, 10**15):
        assert bool(rule.fullmatch(str(number))) == (Fraction(number) in bounds)
    assert not rule.fullmatch("01")


@settings(deadline=None, max_examples=100)
@given(bounds(0) | bounds(2), st.lists(st.decimals(-40, 40, places=3)), st.integers(0, 5))
def test_a_number_matches_only_if_it_is_within(
    bounds: Bounds, numbers: list[Decimal], further: int
) -> None:
    if bounds.low is None and bounds.high is None:
        return
    try:
        rule = expression(number_range(bounds))
    except RangeError:
        return
    ends = [Decimal(end.numerator) / end.denominator for end in (bounds.low, bounds.high) if end]
    for number in (*numbers, *ends):
        for text in (f"{number:f}", f"{number:f}" + "0" * further * ("." in f"{number:f}")):
            if rule.fullmatch(text):
                assert Fraction(text) in bounds
    for number in (*(n.quantize(Decimal("0.01")) for n in numbers), *ends):
        if Fraction(number) in bounds:
            assert rule.fullmatch(f"{(number + 0).normalize():f}")


def test_more_digits_than_a_bound_has_are_taken_where_they_stay_within() -> None:
    rule = expression(number_range(Bounds(Fraction(0), Fraction(1))))
    assert all(rule.fullmatch(text) for text in ("0", "1", "1.0", "0.123456", "0.9999"))
    assert not any(rule.fullmatch(text) for text in ("1.00001", "-0.1", "2", "1e0", ".5", "00"))


def test_an_empty_or_endless_range_is_an_error() -> None:
    for bounds in (
        Bounds(Fraction(2), Fraction(1)),
        Bounds(Fraction(1), Fraction(1), open_low=True),
        Bounds(Fraction(10**50)),
    ):
        with pytest.raises(RangeError):
            integer_range(bounds)
    with pytest.raises(RangeError):
        number_range(Bounds(Fraction(1, 3)))
