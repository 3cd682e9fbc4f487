"""Turn-taking on made-up probabilities: whatever they are, turns are ordered and apart."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.turns import (
    DISMISS_SECONDS,
    HYSTERESIS,
    LONGEST_GRACE,
    ONSET,
    PAUSE,
    PAUSE_SECONDS,
    WINDOW,
    TurnDismissed,
    TurnEnded,
    TurnEvent,
    TurnPaused,
    TurnResumed,
    TurnSettings,
    TurnStarted,
    TurnSuspected,
    TurnTaker,
)

SECOND = 16_000
SETTINGS = TurnSettings()


def hear_all(taker: TurnTaker, probabilities: list[float], at: int = 0) -> list[TurnEvent]:
    events = [taker.hear(at + n * WINDOW, p) for n, p in enumerate(probabilities)]
    return [event for event in events if event is not None]


def hear(taker: TurnTaker, probabilities: list[float], at: int = 0) -> list[TurnEvent]:
    """The turns alone, without their pauses."""
    events = hear_all(taker, probabilities, at)
    return [event for event in events if isinstance(event, TurnStarted | TurnEnded)]


def windows(seconds: float) -> int:
    return round(seconds * SECOND / WINDOW)


def test_a_turn_reaches_back_by_the_padding_and_ends_after_the_silence() -> None:
    quiet, loud = [0.0] * windows(1), [0.9] * windows(1)
    started, ended = hear(TurnTaker(), quiet + loud + quiet)
    onset = len(quiet) * WINDOW
    assert started == TurnStarted(onset - round(0.3 * SECOND))
    silence_began = (len(quiet) + len(loud)) * WINDOW
    assert isinstance(ended, TurnEnded)
    assert 0.5 * SECOND <= ended.at - silence_began < 0.5 * SECOND + WINDOW


def test_a_turn_tells_for_how_long_there_was_speech_in_it() -> None:
    quiet, loud = [0.0] * windows(1), [0.9] * windows(0.5)
    pause = [0.0] * windows(0.3)
    events = hear_all(TurnTaker(), quiet + loud + pause + loud + quiet)
    paused, again = (event for event in events if isinstance(event, TurnPaused))
    ended = events[-1]
    assert isinstance(ended, TurnEnded)
    assert paused.voiced == len(loud) * WINDOW / SECOND
    assert again.voiced == ended.voiced == 2 * paused.voiced


def test_one_loud_window_is_a_click_and_no_turn() -> None:
    assert ONSET > 1
    assert hear(TurnTaker(), ([0.0] * 5 + [1.0] * (ONSET - 1)) * 20) == []


def test_a_dip_that_stays_above_the_release_level_is_not_quiet() -> None:
    taker = TurnTaker()
    dip = SETTINGS.threshold - HYSTERESIS + 0.01
    assert len(hear(taker, [0.9] * 5 + [dip] * windows(3))) == 1
    assert taker.speaking


def test_a_short_pause_does_not_end_a_turn() -> None:
    probabilities = ([0.9] * windows(0.5) + [0.0] * windows(0.4)) * 10
    assert len(hear(TurnTaker(), probabilities)) == 1


def test_a_turn_never_reaches_into_the_one_before() -> None:
    taker = TurnTaker(TurnSettings(prefix_padding=5))
    events = hear(taker, ([0.9] * windows(1) + [0.0] * windows(0.6)) * 3)
    edges = [event.at for event in events]
    assert len(edges) == 6
    assert edges[1] == edges[2]
    assert edges[3] == edges[4]


def test_a_long_turn_is_cut_at_the_first_pause() -> None:
    speech = [0.9] * windows(SETTINGS.longest + 1)
    started, ended = hear(TurnTaker(), speech + [0.0] * windows(PAUSE + 0.1))
    assert started == TurnStarted(0)
    assert 0 <= ended.at - len(speech) * WINDOW - PAUSE * SECOND <= WINDOW


def test_a_turn_without_any_pause_is_cut_all_the_same_and_goes_on_in_the_next() -> None:
    events = hear(TurnTaker(), [0.9] * windows(2 * (SETTINGS.longest + LONGEST_GRACE) + 1))
    turns = zip(events[::2], events[1::2], strict=False)
    lengths = [ended.at - started.at for started, ended in turns]
    most = (SETTINGS.longest + LONGEST_GRACE) * SECOND
    assert lengths == [pytest.approx(most, abs=WINDOW)] * 2
    assert events[2].at == events[1].at


def test_a_turn_that_was_opened_by_other_means_ends_like_any_other() -> None:
    taker = TurnTaker()
    taker.begin(0)
    (ended,) = hear(taker, [0.0] * windows(1))
    assert isinstance(ended, TurnEnded)
    assert not taker.speaking


def test_after_a_reset_in_the_middle_of_speech_a_new_turn_begins_there() -> None:
    taker = TurnTaker()
    hear(taker, [0.9] * 50)
    taker.reset(50 * WINDOW)
    assert hear(taker, [0.9] * 5, 50 * WINDOW) == [TurnStarted(50 * WINDOW)]


def test_quiet_in_a_turn_is_a_pause_once_and_then_speech_or_the_end() -> None:
    quiet, loud = [0.0] * windows(0.35), [0.9] * windows(0.5)
    kinds = hear_all(TurnTaker(), loud + quiet + loud + quiet + loud + [0.0] * windows(2))
    assert [type(event) for event in kinds] == [
        TurnStarted,
        *(TurnPaused, TurnResumed) * 2,
        *(TurnPaused, TurnEnded),
    ]
    paused, resumed = kinds[1], kinds[2]
    silence_began = len(loud) * WINDOW
    assert 0 <= paused.at - silence_began - PAUSE_SECONDS * SECOND < WINDOW
    assert resumed.at == (len(loud) + len(quiet)) * WINDOW, "where speech is heard again"


def test_quiet_shorter_than_a_pause_is_none() -> None:
    short = int(PAUSE_SECONDS * SECOND / WINDOW)
    events = hear_all(TurnTaker(), ([0.9] * 10 + [0.0] * short) * 10)
    assert events == [TurnStarted(0)]


@pytest.mark.parametrize("silence", [0.05, PAUSE_SECONDS, PAUSE_SECONDS + 0.01])
def test_quiet_that_ends_the_turn_is_no_pause(silence: float) -> None:
    taker = TurnTaker(TurnSettings(silence=silence))
    events = hear_all(taker, ([0.9] * 10 + [0.0] * windows(1)) * 3)
    assert [type(event) for event in events] == [TurnStarted, TurnEnded] * 3


def test_a_turn_goes_on_at_the_release_level_and_not_below_it() -> None:
    taker = TurnTaker(TurnSettings(silence=5))
    release = SETTINGS.threshold - HYSTERESIS
    hear(taker, [0.9] * 10 + [0.0] * 10)
    assert taker.paused
    assert hear_all(taker, [release - 0.01] * 10, 20 * WINDOW) == []
    assert hear_all(taker, [release] * 10, 30 * WINDOW) == [TurnResumed(30 * WINDOW)]
    assert not taker.paused


def test_a_turn_opened_by_other_means_pauses_and_one_that_is_reset_forgets_its_pause() -> None:
    taker = TurnTaker(TurnSettings(silence=5))
    taker.begin(0)
    (paused,) = hear_all(taker, [0.0] * 20)
    assert isinstance(paused, TurnPaused)
    taker.begin(0)
    (again,) = hear_all(taker, [0.0] * 20, 20 * WINDOW)
    assert isinstance(again, TurnPaused)
    taker.reset(40 * WINDOW)
    assert not taker.paused
    assert hear_all(taker, [0.9] * 10, 40 * WINDOW) == [TurnStarted(40 * WINDOW)]


def test_a_threshold_of_zero_can_still_end_a_turn() -> None:
    taker = TurnTaker(TurnSettings(threshold=0))
    started, ended, *_ = hear(taker, [0.5] * 10 + [0.0] * windows(1))
    assert isinstance(started, TurnStarted)
    assert isinstance(ended, TurnEnded)


# Speech over an answer


def speech_over_an_answer(*stretches: tuple[float, float], confirm: float = 0.3) -> list[TurnEvent]:
    """What follows from stretches of a probability for so many seconds, after a second of quiet."""
    taker = TurnTaker()
    taker.confirm = confirm
    heard = [0.0] * windows(1)
    for value, seconds in stretches:
        heard += [value] * windows(seconds)
    return hear_all(taker, heard)


ONSET_AT = windows(1) * WINDOW


def test_speech_over_an_answer_is_a_turn_from_its_onset_once_it_has_lasted() -> None:
    suspected, started = speech_over_an_answer((0.9, 0.31))
    assert suspected == TurnSuspected(ONSET_AT)
    assert started == TurnStarted(ONSET_AT - round(0.3 * SECOND))
    assert speech_over_an_answer((0.9, 0.28)) == [suspected]


def test_a_cough_over_an_answer_is_dismissed_after_a_short_quiet() -> None:
    suspected, dismissed = speech_over_an_answer((0.9, 0.2), (0.0, 1.0))
    assert isinstance(suspected, TurnSuspected)
    assert isinstance(dismissed, TurnDismissed)
    quiet = dismissed.at - ONSET_AT - windows(0.2) * WINDOW
    assert 0 <= quiet - DISMISS_SECONDS * SECOND < WINDOW


def test_two_short_bursts_are_no_turn_and_several_are() -> None:
    burst, gap = (0.9, 0.13), (0.0, 0.1)
    kinds = [type(event) for event in speech_over_an_answer(burst, gap, burst, (0.0, 1.0))]
    assert kinds == [TurnSuspected, TurnDismissed], "mm-hmm"
    many = speech_over_an_answer(burst, gap, burst, gap, burst)
    assert [type(event) for event in many] == [TurnSuspected, TurnStarted]
    assert many[1].at == ONSET_AT - round(0.3 * SECOND), "nothing of it is lost"


def test_a_second_cough_is_counted_from_its_own_beginning() -> None:
    cough = ((0.9, 0.2), (0.0, 0.4))
    kinds = [type(event) for event in speech_over_an_answer(*cough * 3)]
    assert kinds == [TurnSuspected, TurnDismissed] * 3


def test_less_than_an_onset_to_confirm_begins_a_turn_at_once() -> None:
    (started,) = speech_over_an_answer((0.9, 0.2), confirm=ONSET * WINDOW / SECOND)
    assert isinstance(started, TurnStarted)


def test_what_is_suspected_is_a_turn_when_the_answer_ends_meanwhile() -> None:
    taker = TurnTaker()
    taker.confirm = 1.0
    assert hear_all(taker, [0.9] * 3 + [0.0] * 2) == [TurnSuspected(0)]
    taker.confirm = 0.0
    assert hear_all(taker, [0.0], 5 * WINDOW) == [TurnStarted(0)]
    (ended,) = hear(taker, [0.0] * windows(1), 6 * WINDOW)
    assert isinstance(ended, TurnEnded)
    assert ended.voiced == 3 * WINDOW / SECOND
    assert ended.at - 3 * WINDOW == pytest.approx(SETTINGS.silence * SECOND, abs=WINDOW)


def test_a_suspicion_can_be_dropped_and_the_next_onset_is_a_new_one() -> None:
    taker = TurnTaker()
    taker.confirm = 1.0
    assert not taker.dismiss()
    hear_all(taker, [0.9] * 5)
    assert taker.suspecting
    assert taker.dismiss()
    assert not taker.suspecting
    assert hear_all(taker, [0.9] * 5, 5 * WINDOW) == [TurnSuspected(5 * WINDOW)]


# Patience


def test_patience_ends_an_open_turn_sooner_or_later_than_the_silence_would() -> None:
    for patience in (0.3, 2.0):
        taker = TurnTaker()
        hear_all(taker, [0.9] * 10 + [0.0] * 7)
        assert taker.quiet_since == 10 * WINDOW
        taker.patience = patience
        (ended,) = hear(taker, [0.0] * windows(3), 17 * WINDOW)
        assert 0 <= ended.at - 10 * WINDOW - patience * SECOND < WINDOW


def test_patience_is_forgotten_when_speech_goes_on() -> None:
    taker = TurnTaker()
    hear_all(taker, [0.9] * 10 + [0.0] * 7)
    taker.patience = 5.0
    hear_all(taker, [0.9] * 3, 17 * WINDOW)
    assert taker.patience is None
    (ended,) = hear(taker, [0.0] * windows(1), 20 * WINDOW)
    assert 0 <= ended.at - 20 * WINDOW - SETTINGS.silence * SECOND < WINDOW


def test_no_patience_keeps_a_turn_open_that_has_become_too_long() -> None:
    taker = TurnTaker()
    hear_all(taker, [0.9] * windows(SETTINGS.longest + 1))
    taker.patience = 8.0
    (ended,) = hear(taker, [0.0] * windows(1), windows(SETTINGS.longest + 1) * WINDOW)
    assert isinstance(ended, TurnEnded)


probability = st.one_of(st.sampled_from([0.0, 0.3, 0.36, 0.5, 1.0]), st.floats(0, 1, width=32))
runs = st.lists(st.tuples(probability, st.integers(1, 400)), max_size=30)
settings = st.builds(
    TurnSettings,
    threshold=st.floats(0, 1),
    prefix_padding=st.floats(0, 5),
    silence=st.floats(0.01, 10),
    longest=st.floats(0.5, 30),
)


@given(runs, settings)
def test_turns_alternate_are_not_empty_and_never_overlap(
    stretches: list[tuple[float, int]], wanted: TurnSettings
) -> None:
    taker = TurnTaker(wanted)
    reach = round(wanted.prefix_padding * SECOND) + ONSET * WINDOW
    floor, open_since, paused, at = 0, None, False, 0
    for value, count in stretches:
        for _ in range(count):
            match taker.hear(at, value):
                case TurnStarted(at=start):
                    assert open_since is None
                    assert floor <= start <= at
                    assert start >= at - reach
                    open_since = start
                case TurnEnded(at=end):
                    assert open_since is not None
                    assert open_since < end == at + WINDOW
                    floor, open_since, paused = end, None, False
                case TurnPaused(at=pause):
                    assert open_since is not None
                    assert not paused
                    assert pause == at + WINDOW >= open_since + PAUSE_SECONDS * SECOND
                    paused = True
                case TurnResumed(at=onset):
                    assert paused
                    assert onset == at
                    paused = False
            at += WINDOW
            assert taker.paused is paused
            assert taker.speaking is (open_since is not None)
            if open_since is not None:
                assert at - open_since <= (wanted.longest + LONGEST_GRACE) * SECOND + WINDOW + (
                    reach
                )


@given(runs, settings, settings)
def test_settings_may_change_at_any_time(
    stretches: list[tuple[float, int]], before: TurnSettings, after: TurnSettings
) -> None:
    taker = TurnTaker(before)
    edges: list[int] = []
    at = 0
    for index, (value, count) in enumerate(stretches):
        taker.settings = replace(after if index % 2 else before)
        events = hear(taker, [value] * count, at)
        edges += [event.at for event in events]
        at += count * WINDOW
    assert edges == sorted(edges)
    assert all(start < end for start, end in zip(edges[::2], edges[1::2], strict=False))


confirms = st.sampled_from([0.0, 0.15, 0.3, 1.0])


@given(st.lists(st.tuples(probability, st.integers(1, 40), confirms), max_size=40), settings)
def test_every_suspicion_ends_in_a_turn_or_is_dismissed_and_no_turn_misses_its_onset(
    stretches: list[tuple[float, int, float]], wanted: TurnSettings
) -> None:
    taker = TurnTaker(wanted)
    onset, floor, at = None, 0, 0
    for value, count, confirm in stretches:
        taker.confirm = confirm
        for _ in range(count):
            match taker.hear(at, value):
                case TurnSuspected(at=where):
                    assert onset is None
                    assert confirm > ONSET * WINDOW / SECOND
                    onset = where
                case TurnDismissed(at=where):
                    assert onset is not None
                    assert where - onset >= DISMISS_SECONDS * SECOND
                    onset = None
                case TurnStarted(at=start):
                    first = at - (ONSET - 1) * WINDOW if onset is None else onset
                    assert start == max(floor, first - round(wanted.prefix_padding * SECOND))
                    onset = None
                case TurnEnded(at=end):
                    floor = end
            at += WINDOW
            assert taker.suspecting is (onset is not None)
            assert not (taker.suspecting and taker.speaking)
