"""GBNF rules, as llama.cpp itself takes them."""

from collections.abc import Iterator

import pytest
from checked_grammars import Checker
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.gbnf import ANY, Other, Rules, TooLarge, literal, none_of, other_than, words


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    checker = Checker(tmp_path_factory.mktemp("vocabulary"))
    yield checker
    checker.close()


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=8))
def test_a_literal_is_its_text_and_nothing_else(checker: Checker, text: str) -> None:
    if "\0" in text:
        return
    grammar = Rules().text(literal(text))
    assert checker.accepts(grammar, text)
    assert not checker.accepts(grammar, text + "a")
    assert not text or not checker.accepts(grammar, text[:-1])


def test_none_of_bars_characters_that_mean_something_in_classes(checker: Checker) -> None:
    barred = "^]-[\\az\u00e9\n"
    grammar = Rules().text(none_of(barred))
    assert not any(checker.accepts(grammar, character) for character in barred)
    assert all(checker.accepts(grammar, character) for character in 'b_"\u00e8 \U0001f600')


@settings(deadline=None, max_examples=100)
@given(
    tag=st.text("ab", min_size=1, max_size=5),
    text=st.text("abc", max_size=12),
    may_end=st.booleans(),
)
def test_text_goes_up_to_the_first_tag(
    checker: Checker, tag: str, text: str, may_end: bool
) -> None:
    rules = Rules()
    then = rules.add("then", literal("!"))
    grammar = rules.text(rules.until(tag, then, may_end=may_end))
    assert checker.accepts(grammar, text) == (may_end and tag not in text)
    first = (text + tag).index(tag)
    assert checker.accepts(grammar, (text + tag)[:first] + tag + "!")


@pytest.mark.parametrize(
    ("least", "most"), [(0, 0), (0, 1), (2, 2), (1, 300), (256, 256), (257, 1025), (512, None)]
)
def test_a_repetition_has_both_its_ends(checker: Checker, least: int, most: int | None) -> None:
    rules = Rules()
    grammar = rules.text(rules.repeat(rules.add("item", literal("a")), least, most))
    for times in {0, 1, 2, 255, 256, 257, 300, 512, 1024, 1025, 1026, least}:
        within = least <= times and (most is None or times <= most)
        assert checker.accepts(grammar, "a" * times) == within, times


@settings(deadline=None, max_examples=100)
@given(
    barred=st.lists(st.text("ab", max_size=3), max_size=4),
    text=st.text("abc", max_size=5),
    longer=st.booleans(),
)
def test_a_text_is_other_than_the_words(
    checker: Checker, barred: list[str], text: str, longer: bool
) -> None:
    if "" in barred and not longer:
        return
    rules = Rules()
    rest = rules.add("rest", f"{ANY}*")
    grammar = rules.text(other_than(rules, words(barred), Other(rest, longer=longer)))
    other = text not in barred if longer else not any(map(text.startswith, barred))
    assert checker.accepts(grammar, text) == other


def test_a_grammar_does_not_grow_without_end() -> None:
    def add(count: int) -> None:
        for number in range(count):
            rules.add("rule", literal(str(number)))

    rules = Rules()
    with pytest.raises(TooLarge):
        rules.repeat(rules.add("item", literal("a")), 0, 10**6)
    with pytest.raises(TooLarge):
        add(20_000)
