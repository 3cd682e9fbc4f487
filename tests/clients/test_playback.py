from clients.playback import Playback


def test_each_item_is_played_after_those_before_it() -> None:
    playback = Playback()
    playback.give("a", 100)
    playback.give("b", 50)
    playback.give("a", 10)
    playback.reach(120)
    assert (playback.played("a"), playback.played("b")) == (100, 20)
    assert (playback.given("a"), playback.given("b")) == (110, 50)
    assert (playback.playing, playback.pending) == (True, 40)
    playback.reach(160)
    assert (playback.played("a"), playback.played("b"), playback.playing) == (110, 50, False)


def test_what_is_thrown_away_is_not_played_and_what_follows_is() -> None:
    playback = Playback()
    playback.give("a", 100)
    playback.flush(30)
    playback.give("b", 100)
    playback.reach(50)
    assert (playback.played("a"), playback.given("a")) == (30, 100)
    assert playback.played("b") == 20
    playback.forget("a")
    assert (playback.played("a"), playback.given("a")) == (0, 0)
