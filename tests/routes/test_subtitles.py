import re

from engines.recognition import Word
from routes.services import Segment
from routes.subtitles import cues, srt, vtt


def words(text: str, start: float = 0.0, each: float = 0.5) -> tuple[Word, ...]:
    return tuple(
        Word(word, start + i * each, start + (i + 1) * each) for i, word in enumerate(text.split())
    )


def test_srt_numbers_cues_and_writes_times_with_a_comma() -> None:
    segments = [Segment(0.0, 1.25, "One."), Segment(3661.0005, 3662.9996, "Two.")]
    assert srt(segments) == (
        "1\n00:00:00,000 --> 00:00:01,250\nOne.\n\n2\n01:01:01,000 --> 01:01:03,000\nTwo.\n"
    )


def test_vtt_has_its_header_and_writes_times_with_a_point() -> None:
    assert vtt([Segment(59.9999, 61.5, "One.")]) == (
        "WEBVTT\n\n00:01:00.000 --> 00:01:01.500\nOne.\n"
    )


def test_no_speech_gives_an_empty_srt_and_a_vtt_with_only_its_header() -> None:
    assert srt([]) == ""
    assert vtt([]) == "WEBVTT\n"
    assert srt([Segment(0, 1, "  ")]) == ""


def test_vtt_escapes_markup_and_arrows() -> None:
    assert vtt([Segment(0, 1, "a <b> & --> c")]).endswith("\na &lt;b&gt; &amp; --&gt; c\n")


def test_an_arrow_in_the_text_cannot_look_like_a_timing_line_of_srt() -> None:
    text = srt([Segment(0, 1, "00:00:00,000 --> 00:00:09,000")])
    assert text.count("-->") == 1


def test_line_breaks_in_the_text_cannot_end_a_cue() -> None:
    assert srt([Segment(0, 1, "one\n\n2\nthree")]).count("\n\n") == 0


def test_lines_have_at_most_42_characters() -> None:
    text = "the quick brown fox jumps over the lazy dog and runs away from all of it"
    lines = srt([Segment(0, 5, text)]).splitlines()[2:]
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= 42
    assert len(lines) == 2


def test_a_line_break_does_not_cut_an_escaped_character() -> None:
    lines = vtt([Segment(0, 5, "& " * 60)]).splitlines()[3:]
    assert all(re.fullmatch(r"&amp;( &amp;)*", line) for line in lines)


def test_a_long_segment_is_split_between_words_at_the_times_of_words() -> None:
    said = words("one two three four five six seven eight nine ten", start=4.0, each=1.0)
    found = list(cues([Segment(3.9, 14.2, "the text", said)]))
    assert [(cue.start, cue.end, cue.text) for cue in found] == [
        (4.0, 10.0, "one two three four five six"),
        (10.0, 14.0, "seven eight nine ten"),
    ]


def test_a_long_segment_is_split_where_two_lines_are_full() -> None:
    said = words("abcdefghi " * 24, each=0.26)
    found = list(cues([Segment(0, 6.3, "x", said)]))
    assert [len(cue.text) for cue in found] == [79, 79, 79]


def test_one_word_longer_than_a_cue_may_last_stays_whole() -> None:
    found = list(cues([Segment(0, 9, "aaaah", (Word("aaaah", 0, 9),))]))
    assert [(cue.start, cue.end) for cue in found] == [(0, 9)]


def test_a_long_segment_without_times_of_words_stays_one_cue() -> None:
    assert len(list(cues([Segment(0, 60, "a b c")]))) == 1


def test_a_cue_never_ends_before_it_starts() -> None:
    assert "00:00:02,000 --> 00:00:02,000" in srt([Segment(2, 1, "odd")])
    assert "00:00:00,000 --> 00:00:01,000" in srt([Segment(-0.2, 1, "early")])
