"""How much of a prompt a step takes, and who shares one."""

from engines.llama_pace import FIRST_TOKENS, INTERLEAVED_SECONDS, LEAST_TOKENS, Pace


def test_the_first_chunk_of_a_prompt_is_a_careful_one() -> None:
    assert Pace(512).prompt_tokens(0) == FIRST_TOKENS


def test_chunks_are_as_long_as_the_machine_can_compute_in_time() -> None:
    pace = Pace(512)
    pace.took(100, 1, 0.1)
    assert pace.prompt_tokens(writing=0) == 200
    assert pace.prompt_tokens(writing=3) == INTERLEAVED_SECONDS * 1000


def test_a_chunk_is_never_longer_than_the_batch_has_room_for() -> None:
    pace = Pace(128)
    pace.took(128, 1, 0.001)
    assert pace.prompt_tokens(writing=8) == 120


def test_a_slow_machine_still_gets_on_with_a_prompt() -> None:
    pace = Pace(512)
    pace.took(64, 1, 60.0)
    assert pace.prompt_tokens(writing=1) == LEAST_TOKENS


def test_two_are_computed_one_by_one_where_that_is_cheaper() -> None:
    pace = Pace(512)
    pace.took(1, 1, 0.006)
    pace.took(2, 2, 0.017)
    assert list(pace.groups("ab")) == ["a", "b"]


def test_two_share_a_batch_where_that_is_cheaper() -> None:
    pace = Pace(512)
    pace.took(1, 1, 0.006)
    pace.took(2, 2, 0.007)
    assert list(pace.groups("ab")) == ["ab"]


def test_both_ways_are_tried_before_one_is_taken_for_cheaper() -> None:
    pace = Pace(512)
    assert list(pace.groups("ab")) == ["a", "b"]
    pace.took(1, 1, 0.006)
    assert list(pace.groups("ab")) == ["ab"]


def test_many_always_share_a_batch() -> None:
    pace = Pace(512)
    pace.took(1, 1, 0.001)
    assert list(pace.groups("abcdefgh")) == ["abcdefgh"]


def test_nobody_makes_no_batch() -> None:
    assert list(Pace(512).groups("")) == []
