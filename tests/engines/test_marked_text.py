"""A marked text behaves as the text without marks, and its parts keep the marks."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.marked_text import MARK, Marked, marked, plain

LETTERS = "ab <>\n'\""
texts = st.text(LETTERS + MARK, max_size=12).map(lambda text: Marked(text + MARK))
bare = st.text(LETTERS, max_size=3)
numbers = st.integers(-3, 14)

PARTS: list[Callable[[Any, str, int], Any]] = [
    lambda text, other, at: text.strip(),
    lambda text, other, at: text.strip(other),
    lambda text, other, at: text.lstrip(),
    lambda text, other, at: text.rstrip(other),
    lambda text, other, at: text.removeprefix(other),
    lambda text, other, at: text.removesuffix(other),
    lambda text, other, at: text.split(None, at),
    lambda text, other, at: text.rsplit(None, at),
    lambda text, other, at: text.split(other or "a", at),
    lambda text, other, at: text.rsplit(other or "<", at),
    lambda text, other, at: text.splitlines(),
    lambda text, other, at: text.splitlines(True),
    lambda text, other, at: text.partition(other or "b"),
    lambda text, other, at: text.rpartition(other or "b"),
    lambda text, other, at: text.replace(other, "-", at),
    lambda text, other, at: text[at:],
    lambda text, other, at: text[:at],
    lambda text, other, at: text[at::-2],
    lambda text, other, at: list(text),
    lambda text, other, at: list(reversed(text)),
    lambda text, other, at: text + other,
    lambda text, other, at: other + text,
    lambda text, other, at: text.title(),
    lambda text, other, at: text.capitalize(),
    lambda text, other, at: text.lower(),
    lambda text, other, at: text.swapcase(),
    lambda text, other, at: repr(text),
    lambda text, other, at: str({"a": text}),
]

LOOKS: list[Callable[[Any, str, int], Any]] = [
    lambda text, other, at: other in text,
    lambda text, other, at: text == other,
    lambda text, other, at: other == text,
    lambda text, other, at: text != other,
    lambda text, other, at: (text < other, text <= other, text > other, text >= other),
    lambda text, other, at: len(text),
    lambda text, other, at: bool(text),
    lambda text, other, at: hash(text),
    lambda text, other, at: {text: 1}.get(other),
    lambda text, other, at: text.startswith((other, "b")),
    lambda text, other, at: text.endswith(other),
    lambda text, other, at: (text.find(other), text.rfind(other, at)),
    lambda text, other, at: text.count(other),
    lambda text, other, at: text.isspace(),
]


def without_marks(value: Any) -> Any:
    match value:
        case str():
            return plain(value)
        case list() | tuple():
            return type(value)(without_marks(item) for item in value)
        case _:
            return value


@pytest.mark.parametrize("part", PARTS)
@settings(max_examples=40)
@given(text=texts, other=bare, at=numbers)
def test_parts_are_those_of_the_text_without_marks(
    part: Callable[[Any, str, int], Any], text: Marked, other: str, at: int
) -> None:
    assert without_marks(part(text, other, at)) == part(plain(text), other, at)


@pytest.mark.parametrize("look", LOOKS)
@settings(max_examples=40)
@given(text=texts, other=bare, at=numbers)
def test_who_looks_sees_the_text_without_marks(
    look: Callable[[Any, str, int], Any], text: Marked, other: str, at: int
) -> None:
    assert look(text, other, at) == look(plain(text), other, at)


@given(text=texts, start=numbers, end=numbers)
def test_a_part_has_the_marks_inside_it_and_at_its_ends(text: Marked, start: int, end: int) -> None:
    whole = plain(text)
    low, high, _ = slice(start, end).indices(len(whole))
    places = []
    at = 0
    for character in str(text):
        if character == MARK:
            places.append(at)
        else:
            at += 1
    part = str(text[start:end])
    inside = sum(low <= place <= high for place in places) if low < high else 0
    assert part.count(MARK) == inside


def test_a_change_of_case_that_makes_a_text_longer_keeps_its_marks() -> None:
    assert str(marked(f"stra{MARK}ße").upper()) == f"STRA{MARK}SSE"


def test_a_capital_first_letter_is_the_texts_and_not_the_marks() -> None:
    assert str(marked(f"{MARK}hELLO").capitalize()) == f"{MARK}Hello"


def test_a_text_without_marks_stays_what_it_is() -> None:
    assert type(marked("abc")) is str
