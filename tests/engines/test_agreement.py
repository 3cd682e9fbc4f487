"""What settles: only what two hypotheses in a row say, never the last word, never taken back."""

from hypothesis import given
from hypothesis import strategies as st

from engines.agreement import LocalAgreement, after, normalised
from engines.recognition import Word


def words(text: str, start: float = 0.0) -> tuple[Word, ...]:
    """The words of `text`, half a second each."""
    return tuple(
        Word(word, start + n / 2, start + (n + 1) / 2) for n, word in enumerate(text.split())
    )


def texts(heard: tuple[Word, ...]) -> str:
    return " ".join(word.text for word in heard)


def settled(agreement: LocalAgreement) -> str:
    return texts(agreement.settled)


def test_one_hypothesis_settles_nothing() -> None:
    agreement = LocalAgreement()
    assert texts(agreement.hear(words("the cat sat"))) == "the cat sat"
    assert agreement.settled == ()


def test_two_that_agree_settle_all_but_the_last_word() -> None:
    agreement = LocalAgreement()
    agreement.hear(words("the cat sat"))
    assert texts(agreement.hear(words("the cat sat"))) == "sat"
    assert settled(agreement) == "the cat"


def test_a_word_in_the_middle_that_changed_holds_back_what_follows() -> None:
    agreement = LocalAgreement()
    agreement.hear(words("the cat sat on the mat"))
    agreement.hear(words("the hat sat on the mat today"))
    assert settled(agreement) == "the"


def test_case_and_punctuation_do_not_matter_and_the_newest_spelling_settles() -> None:
    agreement = LocalAgreement()
    agreement.hear(words("And so my fellow"))
    agreement.hear(words("and so, my Fellow Americans"))
    assert settled(agreement) == "and so, my Fellow"


def test_the_hypotheses_need_to_be_in_a_row() -> None:
    agreement = LocalAgreement()
    for text in ("one two three", "own two three", "one two three"):
        agreement.hear(words(text))
    assert settled(agreement) == ""


def test_a_hypothesis_that_contradicts_settled_words_goes_on_by_time() -> None:
    agreement = LocalAgreement()
    agreement.hear(words("ice cream please now"))
    agreement.hear(words("ice cream please now"))
    assert settled(agreement) == "ice cream please"
    assert texts(agreement.hear(words("I scream peas now then"))) == "then"
    assert settled(agreement) == "ice cream please now"


def test_looking_beyond_the_settled_words_settles_nothing() -> None:
    agreement = LocalAgreement()
    agreement.hear(words("a b c d"))
    for _ in range(3):
        assert texts(tuple(agreement.beyond(words("a b c d")))) == "a b c d"
    agreement.hear(words("a b x y"))
    assert settled(agreement) == "a b"
    assert texts(tuple(agreement.beyond(words("a b x z")))) == "x z"


def test_an_empty_or_shorter_hypothesis_takes_nothing_back() -> None:
    agreement = LocalAgreement()
    agreement.hear(words("a b c d"))
    agreement.hear(words("a b c d"))
    for text in ("", "a", "a b c"):
        assert agreement.hear(words(text)) == ()
    assert settled(agreement) == "a b c"


def test_complete_speech_repeats_what_was_heard_but_for_a_cut_last_word() -> None:
    agreement = LocalAgreement()
    assert not agreement.repeats(words("yes"))
    agreement.hear(words("the cat sa"))
    assert agreement.repeats(words("The cat sat."))
    assert not agreement.repeats(words("a cat sat"))
    assert not agreement.repeats(words("the"))
    assert agreement.settled == ()


def test_one_word_repeats_only_itself() -> None:
    agreement = LocalAgreement()
    agreement.hear(words("yes"))
    assert agreement.repeats(words("Yes."))
    assert not agreement.repeats(words("no"))


def test_complete_speech_repeats_what_has_settled_whatever_follows() -> None:
    agreement = LocalAgreement()
    agreement.hear(words("one two three"))
    agreement.hear(words("one two three"))
    assert agreement.repeats(words("one two tree house"))
    assert not agreement.repeats(words("one too three"))
    agreement.settle(words("one two tree house"))
    assert settled(agreement) == "one two tree house"


def test_settled_words_take_better_times_only_from_a_hypothesis_that_says_them() -> None:
    agreement = LocalAgreement()
    agreement.settle(words("one two"))
    assert not agreement.retime(words("one too three", 7))
    assert not agreement.retime(words("one", 7))
    assert agreement.settled == words("one two")
    assert agreement.retime(words("One two three", 7))
    assert agreement.settled == words("one two", 7)


def test_released_words_are_not_expected_again() -> None:
    agreement = LocalAgreement()
    agreement.settle(words("one two three"))
    assert texts(agreement.release(2)) == "one two"
    assert settled(agreement) == "three"
    assert texts(agreement.hear(words("three four five", 1))) == "four five"
    agreement.hear(words("three four five", 1))
    assert settled(agreement) == "three four"


def test_words_after_known_ones_are_found_by_text_or_else_by_time() -> None:
    known = words("one two")
    assert texts(tuple(after(known, words("one two three")))) == "three"
    assert texts(tuple(after(known, words("one")))) == ""
    assert texts(tuple(after(known, words("own too three")))) == "three"
    assert texts(tuple(after((), words("one")))) == "one"


hypotheses = st.lists(st.lists(st.sampled_from("abc"), max_size=8).map(" ".join), max_size=12)


@given(hypotheses)
def test_settled_words_only_grow(said: list[str]) -> None:
    agreement = LocalAgreement()
    before: tuple[Word, ...] = ()
    for text in said:
        rest = agreement.hear(words(text))
        after = agreement.settled
        assert after[: len(before)] == before
        assert len(after) == len(before) or rest, "the last word is held back"
        starts = [word.start for word in (*after, *rest)]
        assert starts == sorted(starts)
        before = after


@given(st.text(max_size=12))
def test_a_word_is_normalised_to_something_that_stays(word: str) -> None:
    once = normalised(word)
    assert bool(once) is bool(word.casefold())
    assert normalised(once) in (once, once.casefold())
