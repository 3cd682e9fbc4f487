"""A stuck decoder's repetitions are cut to one; what people say stays."""

from hypothesis import given
from hypothesis import strategies as st

from engines.loops import without_loops
from engines.recognition import Word


def words(text: str) -> list[Word]:
    return [Word(word, n / 2, n / 2 + 0.4) for n, word in enumerate(text.split())]


def cut(text: str) -> str:
    return " ".join(word.text for word in without_loops(words(text)))


def test_a_word_said_eight_times_is_said_once() -> None:
    assert cut("well " + "no " * 8 + "thanks") == "well no thanks"


def test_a_word_said_seven_times_stays() -> None:
    text = "well no no no no no no no thanks"
    assert cut(text) == text


def test_a_phrase_of_four_said_three_times_is_said_once() -> None:
    assert cut("so " + "thank you very much " * 3 + "all") == "so thank you very much all"


def test_repeated_phrases_of_fewer_than_twelve_words_stay() -> None:
    text = "bye bye now bye bye now bye bye now"
    assert cut(text) == text


def test_case_and_punctuation_do_not_hide_a_loop() -> None:
    assert cut("Thank you. " + "thank you, " * 5 + "Goodbye.") == "Thank you. Goodbye."


def test_a_round_that_the_end_cuts_short_goes_with_its_loop() -> None:
    assert cut("I want to go " * 3 + "I want") == "I want to go"


def test_words_after_a_loop_that_begin_like_it_stay() -> None:
    assert cut("I want to go " * 3 + "I want tea") == "I want to go I want tea"


def test_the_first_round_keeps_its_times() -> None:
    (kept,) = without_loops(words("no " * 20))
    assert (kept.start, kept.end) == (0.0, 0.4)


@given(st.lists(st.sampled_from(["a", "b"]), max_size=60).map(" ".join))
def test_what_is_kept_is_in_order_and_each_word_once(text: str) -> None:
    said = words(text)
    kept = without_loops(said)
    assert [word.start for word in kept] == sorted({word.start for word in kept})
    assert set(kept) <= set(said)
    assert bool(kept) == bool(said)
