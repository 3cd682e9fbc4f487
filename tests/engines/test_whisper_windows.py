"""Windows of an utterance: how long, where they begin, what their words settle, what is context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.decoding import Decoded
from engines.mel import FRAME
from engines.recognition import SAMPLE_RATE, Hypothesis, Word
from engines.whisper_windows import (
    BUCKETS,
    CONTEXT_CHARACTERS,
    LONGEST,
    Cut,
    Memory,
    Progress,
    StreamSettings,
    Window,
    bucket,
    context_size,
    place_to_cut,
    tail,
)

STOCK = StreamSettings()
SHORT = StreamSettings(floor_seconds=5, tail_seconds=0)


def words(text: str, start: float = 0.0, length: float = 0.5) -> tuple[Word, ...]:
    return tuple(
        Word(word, start + n * length, start + (n + 1) * length)
        for n, word in enumerate(text.split())
    )


def numbered(first: int, last: int) -> tuple[Word, ...]:
    """The words n<first> to n<last>, half a second each, without gaps."""
    return words(" ".join(f"n{n}" for n in range(first, last + 1)), first / 2)


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


# Sizes


def test_a_window_moves_on_when_it_outgrows_the_shortest_input() -> None:
    assert STOCK.trim_seconds == 8
    assert SHORT.trim_seconds == 5
    assert StreamSettings(floor_seconds=2, tail_seconds=0.3).trim_seconds == 4
    assert StreamSettings(floor_seconds=5, full_windows=True).trim_seconds == 8


@pytest.mark.parametrize(
    ("seconds", "settings", "frames"),
    [
        (0.5, STOCK, 1000),
        (8.0, STOCK, 1000),
        (8.01, STOCK, 1500),
        (13.0, STOCK, 1500),
        (18.0, STOCK, 2000),
        (18.1, STOCK, 3000),
        (28.0, STOCK, 3000),
        (29.5, STOCK, 3000),
        (0.5, SHORT, 500),
        (5.0, SHORT, 500),
        (5.001, SHORT, 750),
        (7.5, SHORT, 750),
        (0.5, StreamSettings(full_windows=True), 3000),
        (0.5, StreamSettings(floor_seconds=0, tail_seconds=0.2), 500),
    ],
)
def test_a_window_is_encoded_in_the_smallest_bucket_that_holds_it(
    seconds: float, settings: StreamSettings, frames: int
) -> None:
    assert bucket(at(seconds), settings) == frames


@given(st.integers(0, 30 * SAMPLE_RATE), st.floats(0, 30), st.floats(0, 5), st.floats(0, 4))
def test_audio_always_fits_and_longer_audio_never_gets_less(
    samples: int, floor: float, tail_seconds: float, more: float
) -> None:
    settings = StreamSettings(floor_seconds=floor, tail_seconds=tail_seconds)
    frames = bucket(samples, settings)
    assert frames in BUCKETS
    assert frames * FRAME >= samples
    assert bucket(min(samples + at(more), 30 * SAMPLE_RATE), settings) >= frames


@pytest.mark.parametrize(
    ("prompt", "context", "most", "size"),
    [
        ("", "", 64, 0),
        ("", "hello", 64, 32),
        ("", "x" * 128, 64, 32),
        ("", "x" * 129, 64, 64),
        ("", "x" * 2000, 64, 64),
        ("names", "x" * 125, 64, 64),
        ("", "x" * 200, 32, 32),
        ("", "x" * 200, 20, 20),
        ("names", "", 0, 32),
        ("x" * 200, "", 0, 64),
    ],
)
def test_context_comes_in_two_sizes(prompt: str, context: str, most: int, size: int) -> None:
    assert context_size(prompt, context, StreamSettings(context_tokens=most)) == size


def test_the_tail_of_a_text_begins_with_a_whole_word() -> None:
    assert tail("short") == "short"
    text = " ".join(f"word{n}" for n in range(100))
    assert text.endswith(tail(text))
    assert CONTEXT_CHARACTERS - 10 < len(tail(text)) <= CONTEXT_CHARACTERS
    assert tail(text).split()[0] in text.split()
    assert tail("x" * 500) == "x" * CONTEXT_CHARACTERS


# Where to cut


def test_a_cut_is_made_in_the_last_gap_there_is_time_for() -> None:
    said = (*words("a b"), *words("c d", 1.5), *words("e f", 3.0), *words("g", 9.0))
    assert place_to_cut(said, 6, 0.0, 8.0) == Cut(6, 6.5)
    assert place_to_cut(said, 6, 0.0, 5.0) == Cut(4, 2.75)
    assert place_to_cut(said, 3, 0.0, 8.0) == Cut(2, 1.25)


def test_a_cut_is_made_at_the_end_of_a_sentence_without_a_gap() -> None:
    said = words("it rained. we stayed in")
    assert place_to_cut(said, 4, 0.0, 9.0) == Cut(2, 1.0)


def test_a_cut_without_a_gap_overlaps_the_last_word_by_less_than_half() -> None:
    assert place_to_cut(words("a b c d"), 3, 0.0, 9.0) == Cut(3, 1.4)
    short = place_to_cut(words("a b c d", length=0.125), 3, 0.0, 9.0)
    assert short == Cut(3, 0.3125)


def test_a_gap_that_comes_too_early_is_not_worth_a_cut() -> None:
    said = (*words("a"), *words("b c d", 1.0))
    assert place_to_cut(said, 3, 0.4, 9.0) == Cut(1, 0.75)
    assert place_to_cut(said, 3, 1.0, 9.0) == Cut(3, 1.9)


def test_there_is_no_cut_without_words_or_time() -> None:
    assert place_to_cut((), 0, 0.0, 9.0) is None
    assert place_to_cut(words("a b"), 0, 0.0, 9.0) is None
    assert place_to_cut(words("a b", 5.0), 2, 0.0, 4.0) is None


# What is decoded next


def test_a_partial_is_due_when_enough_new_audio_is_there() -> None:
    progress = Progress(0.5)
    progress.length = at(0.4)
    assert progress.next() is None
    progress.length = at(0.5)
    window = progress.next()
    assert window == Window("partial", 0, at(0.5), 0)
    progress.asked(window)
    progress.length = at(0.9)
    assert progress.next() is None
    progress.interval = 0.3
    assert progress.next() == Window("partial", 0, at(0.9), 0)


def test_nothing_is_due_in_a_pause_or_without_partials() -> None:
    progress, silent = Progress(0.5), Progress(0.5, partials=False)
    progress.length = silent.length = at(20)
    progress.paused = True
    assert progress.next() is None
    assert silent.next() is None
    assert progress.final() == silent.final() == Window("final", 0, at(20), 0)


def test_the_final_is_decoded_whole_while_it_fits() -> None:
    progress = Progress(0.5, word_times=True)
    progress.length, progress.start = LONGEST, 16000
    progress.finished = True
    assert progress.next() == Window("final", 0, LONGEST, 0, word_times=True)
    progress.length += 1
    assert progress.next() == Window("final", 16000, LONGEST + 1, 0, word_times=True)


def test_audio_too_short_for_a_word_is_not_decoded() -> None:
    progress = Progress(0.5)
    progress.length = at(0.1) - 1
    progress.finished = True
    assert progress.next() is None
    assert progress.conclude_as_heard() == Hypothesis((), final=True)


def test_a_window_that_is_full_advances_before_anything_else() -> None:
    progress = Progress(0.5, partials=False)
    progress.length = LONGEST + 1
    assert progress.next() == Window("advance", 0, LONGEST, 0, word_times=True)
    assert progress.backlog == 1
    assert progress.final() is None


# What settles


def hear(progress: Progress, seconds: float, said: tuple[Word, ...]) -> Hypothesis:
    progress.length = at(seconds)
    window = progress.next()
    assert window is not None
    progress.asked(window)
    return progress.hear(window, Decoded(said, "en"))


def test_two_partials_settle_what_they_agree_on_but_the_last_word() -> None:
    progress = Progress(0.3)
    assert hear(progress, 1.5, numbered(0, 2)).settled == 0
    heard = hear(progress, 2.0, numbered(0, 3))
    assert (heard.settled, heard.text, heard.language) == (3, "n0 n1 n2 n3", "en")


def test_partials_that_follow_too_soon_show_words_and_settle_none() -> None:
    progress = Progress(0.3)
    hear(progress, 1.5, numbered(0, 2))
    assert hear(progress, 1.8, numbered(0, 2)).settled == 0
    assert hear(progress, 2.1, numbered(0, 3)).settled == 3


def test_a_long_window_moves_past_settled_words_and_keeps_two_seconds() -> None:
    progress = Progress(0.3)
    for seconds in (7, 8):
        hear(progress, seconds, numbered(0, 2 * seconds - 1))
    assert progress.start == 0
    progress.length = at(9)
    window = progress.next()
    assert window == Window("partial", 0, at(9), 0, word_times=True)
    progress.asked(window)
    heard = progress.hear(window, Decoded(numbered(0, 17)))
    assert heard.text == " ".join(f"n{n}" for n in range(18))
    assert heard.settled == 15 + 1
    # The last settled word that ends two seconds before the end is n13, at 7.0 s.
    assert progress.start == at(6.9)
    progress.length = at(9.5)
    following = progress.next()
    assert following == Window("partial", progress.start, at(9.5), 14)
    assert progress.context(following, "before") == "before " + " ".join(f"n{n}" for n in range(14))
    heard = progress.hear(following, Decoded(numbered(14, 18)))
    assert heard.text == " ".join(f"n{n}" for n in range(19))
    assert heard.settled == 18


def test_a_window_moves_by_exact_times_and_only_if_its_words_are_those_that_settled() -> None:
    progress = Progress(0.3)
    for seconds in (7, 8):
        hear(progress, seconds, words("a b c d e f", length=0.1))
    progress.length = at(9)
    window = progress.next()
    assert window is not None
    assert window.word_times
    heard = progress.hear(window, Decoded(words("a b x d e f g")))
    assert (heard.settled, progress.start) == (5, 0)
    heard = progress.hear(window, Decoded(words("a b c d e f g")))
    assert heard.settled == 5
    assert [word.end for word in heard.words[:5]] == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert progress.start == at(2.4)


def test_a_window_that_could_not_move_is_tried_again_a_second_later() -> None:
    progress = Progress(0.3)
    progress.length = at(9)
    window = progress.next()
    assert window is not None
    assert window.word_times
    progress.asked(window)
    progress.hear(window, Decoded(numbered(0, 17)))
    assert progress.start == 0
    for seconds, timed in ((9.5, False), (9.9, False), (10.0, True)):
        progress.length = at(seconds)
        again = progress.next()
        assert again is not None
        assert again.word_times is timed


def test_all_words_before_a_pause_settle_when_they_were_heard_before() -> None:
    progress = Progress(0.3)
    hear(progress, 1.2, words("good mor"))
    progress.length = at(1.7)
    progress.paused = True
    window = progress.final()
    assert window is not None
    heard = progress.hear(window, Decoded(words("Good morning.")))
    assert (heard.text, heard.settled) == ("Good morning.", 2)
    assert progress.start == at(1.6)
    progress.paused = False
    progress.length = at(3)
    following = progress.next()
    assert following is not None
    assert progress.context(following, "") == "Good morning."
    heard = progress.hear(following, Decoded(words("how are", 2)))
    assert (heard.text, heard.settled) == ("Good morning. how are", 2)


@pytest.mark.parametrize("passed", [True, False])
def test_words_before_a_pause_that_nothing_confirms_do_not_settle(passed: bool) -> None:
    progress = Progress(0.3)
    hear(progress, 1.2, words("good mor" if not passed else "could more"))
    progress.length = at(1.7)
    window = progress.final()
    assert window is not None
    heard = progress.hear(window, Decoded(words("Good morning."), passed=passed))
    assert heard.text == "Good morning."
    assert heard.settled <= 1
    assert progress.start == 0


def test_a_final_heard_from_before_the_window_moved_continues_behind_it() -> None:
    progress = Progress(0.3)
    progress.length = at(2.7)
    older = progress.final()
    hear(progress, 2.7, numbered(0, 3))
    assert older is not None
    progress.hear(older, Decoded(numbered(0, 4)))
    assert progress.start == at(2.6)
    progress.length = at(3.7)
    heard = progress.hear(
        Window("final", 0, at(3.7), 0), Decoded((*numbered(0, 4), *numbered(6, 6)))
    )
    assert (heard.text, heard.settled) == ("n0 n1 n2 n3 n4 n6", 5)


# Full windows


def advance(said: tuple[Word, ...], *, passed: bool = True) -> tuple[Progress, Hypothesis]:
    progress = Progress(0.3, partials=False)
    progress.length = at(29)
    window = progress.next()
    assert window is not None
    assert (window.purpose, window.end) == ("advance", LONGEST)
    return progress, progress.hear(window, Decoded(said, passed=passed))


def test_a_full_window_fixes_words_that_end_a_second_before_its_end() -> None:
    progress, heard = advance(numbered(0, 55))
    assert heard.settled == 54
    assert progress.start == at(26.9)
    assert heard.text.split()[-1] == "n55"


def test_a_full_window_is_cut_at_a_gap_near_its_end() -> None:
    progress, heard = advance((*numbered(0, 44), *numbered(47, 55)))
    assert heard.settled == 45
    assert progress.start == at(23)


def test_a_full_window_is_not_cut_at_a_gap_far_from_its_end() -> None:
    progress, heard = advance((*numbered(0, 4), *numbered(8, 55)))
    assert heard.settled == 51
    assert progress.start == at(26.9)


def test_a_full_window_without_words_moves_on() -> None:
    progress, heard = advance(())
    assert heard.words == ()
    assert progress.start == at(27)


def test_a_full_window_of_one_endless_word_keeps_it() -> None:
    progress, heard = advance((Word("unbroken", 0.0, 28.0),))
    assert (heard.text, heard.settled) == ("unbroken", 1)
    assert progress.start == LONGEST


def test_a_full_window_with_words_only_at_its_beginning_moves_far() -> None:
    progress, heard = advance(numbered(0, 1))
    assert heard.settled == 2
    assert progress.start == at(14)


def test_a_full_window_does_not_take_settled_words_back() -> None:
    progress = Progress(0.3)
    for seconds in (6.5, 7.5):
        hear(progress, seconds, words("one two three four", length=1.5))
    progress.length = at(29)
    window = progress.next()
    assert window is not None
    heard = progress.hear(window, Decoded(words("own too free for five", length=1.5)))
    assert heard.text == "one two three for five"
    assert heard.settled == 5


def test_a_full_window_gives_settled_words_their_times() -> None:
    progress = Progress(0.3)
    for seconds in (6.5, 7.5):
        hear(progress, seconds, words("n0 n1 n2 n3", length=1.5))
    progress.length = at(29)
    window = progress.next()
    assert window is not None
    heard = progress.hear(window, Decoded(numbered(0, 55)))
    assert heard.words == numbered(0, 55)


def test_text_of_a_window_that_failed_its_check_is_not_context() -> None:
    progress, _ = advance(numbered(0, 55), passed=False)
    progress.finished = True
    window = progress.next()
    assert window is not None
    assert progress.context(window, "earlier") == ""


# The final


def test_a_free_final_may_contradict_what_settled() -> None:
    progress = Progress(0.3)
    for seconds in (2, 3):
        hear(progress, seconds, words("ice cream please now"))
    progress.finished = True
    window = progress.next()
    assert window is not None
    final = progress.conclude(window, Decoded(words("I scream, please, now."), "en"))
    assert final == Hypothesis(words("I scream, please, now."), final=True, language="en")


def test_the_final_of_a_long_utterance_is_joined_behind_its_fixed_words() -> None:
    progress, _ = advance(numbered(0, 55))
    progress.finished = True
    window = progress.next()
    assert window == Window("final", at(26.9), at(29), 54)
    final = progress.conclude(window, Decoded(numbered(54, 57)))
    assert final.text == " ".join(f"n{n}" for n in range(58))


# What is remembered


def said(text: str, language: str | None = "en") -> Hypothesis:
    return Hypothesis(words(text), final=True, language=language)


def test_the_next_utterance_is_told_what_was_said_before() -> None:
    memory = Memory()
    memory.keep("a", said("one two"), 1, 0.0, 5.0)
    memory.keep("a", said("three"), 2, 6.0, 8.0)
    assert memory.recall("a", 3, 9.0, None) == "one two three"
    assert memory.recall("a", 3, 9.0, "en") == "one two three"
    assert memory.recall("b", 3, 9.0, None) == ""


def test_context_is_dropped_after_silence_and_when_the_language_changes() -> None:
    memory = Memory()
    memory.keep("a", said("one"), 1, 0.0, 5.0)
    assert memory.recall("a", 2, 35.0, None) == "one"
    assert memory.recall("a", 2, 35.1, None) == ""
    assert memory.recall("a", 2, 6.0, "de") == ""
    memory.keep("a", said("zwei", "de"), 2, 6.0, 7.0)
    assert memory.recall("a", 3, 8.0, "de") == "zwei"


def test_an_utterance_is_not_told_what_came_after_it() -> None:
    memory = Memory()
    memory.keep("a", said("second"), 2, 3.0, 5.0)
    assert memory.recall("a", 1, 1.0, None) == ""
    memory.keep("a", said("first"), 1, 1.0, 2.0)
    memory.drop("a", 1)
    assert memory.recall("a", 3, 6.0, None) == "second"
    memory.drop("a", 3)
    assert memory.recall("a", 4, 6.0, None) == ""


def test_memory_is_bounded_in_owners_and_in_text() -> None:
    memory = Memory()
    for number in range(3000):
        memory.keep(f"owner {number}", said("word " * 500), number, 0.0, 0.0)
    recalled = [memory.recall(f"owner {n}", 5000, 0.0, None) for n in range(3000)]
    assert not any(recalled[:1976])
    assert all(0 < len(text) <= CONTEXT_CHARACTERS for text in recalled[1976:])
