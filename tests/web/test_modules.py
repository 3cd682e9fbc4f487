"""The page's pure modules, run inside Chromium: exports, the transcript's rules, the outbox."""

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.one_loop


def test_subtitles_have_numbered_cues_that_do_not_overlap(blank: Page) -> None:
    text = blank.evaluate(
        """async () => (await import("/web/export.js")).toSrt([
            [0.5, 2, "Hello there."],
            [61.25, 70, "How are you?"],
            [3661, null, "Fine"],
        ])"""
    )
    assert text == (
        "1\n00:00:00,500 --> 00:00:02,000\nHello there.\n\n"
        "2\n00:01:01,250 --> 00:01:10,000\nHow are you?\n\n"
        "3\n01:01:01,000 --> 01:01:02,000\nFine\n"
    )


def test_a_long_utterance_becomes_cues_of_two_short_lines(blank: Page) -> None:
    text = blank.evaluate(
        """async () => {
            const { toSrt } = await import("/web/export.js");
            return toSrt([[0, 12, "word ".repeat(40).trim()]]);
        }"""
    )
    cues = text.strip().split("\n\n")
    bodies = [cue.split("\n")[2:] for cue in cues]
    assert len(cues) == 3
    assert all(len(lines) <= 2 and all(len(line) <= 42 for line in lines) for lines in bodies)
    assert " ".join(line for lines in bodies for line in lines) == " ".join(["word"] * 40)
    assert cues[-1].split("\n")[1].endswith("00:00:12,000")


def test_settled_words_leave_the_unsettled_tail(blank: Page) -> None:
    states = blank.evaluate(
        """async () => {
            const { Transcript } = await import("/web/transcript.js");
            const transcript = new Transcript("t");
            const seen = [];
            const look = () => {
                const { settled, tail } = transcript.utterances[0];
                seen.push([settled, tail]);
            };
            transcript.begin("a", 0);
            transcript.suppose("a", "the quick brown"); look();
            transcript.settle("a", "the quick"); look();
            transcript.suppose("a", "brown fax"); look();
            transcript.settle("a", " brown fox"); look();
            transcript.complete("a", "The quick brown fox."); look();
            return seen;
        }"""
    )
    assert states == [
        ["", "the quick brown"],
        ["the quick", " brown"],
        ["the quick", " brown fax"],
        ["the quick brown fox", ""],
        ["The quick brown fox.", ""],
    ]


def test_an_utterance_without_words_leaves_no_trace(blank: Page) -> None:
    assert blank.evaluate(
        """async () => {
            const { Transcript } = await import("/web/transcript.js");
            const transcript = new Transcript("t");
            transcript.begin("a", 0);
            transcript.complete("a", " ");
            return transcript.empty;
        }"""
    )


def test_words_of_an_utterance_that_was_cleared_away_do_not_come_back(blank: Page) -> None:
    assert blank.evaluate(
        """async () => {
            const { Transcript } = await import("/web/transcript.js");
            const transcript = new Transcript("t");
            transcript.begin("a", 0);
            transcript.clear();
            transcript.begin("a", 0);
            transcript.settle("a", "late");
            transcript.complete("a", "late");
            return transcript.empty;
        }"""
    )


def test_a_transcript_is_bounded_and_says_what_it_let_go(blank: Page) -> None:
    got = blank.evaluate(
        """async () => {
            const { Transcript } = await import("/web/transcript.js");
            const transcript = new Transcript("t");
            for (let i = 0; i < 5010; i += 1) transcript.append(i, i + 1, `w${i}`);
            return [transcript.utterances.length, transcript.dropped, transcript.toJSON()[0][2]];
        }"""
    )
    assert got == [5000, 10, "w10"]


def test_the_outbox_sends_an_open_utterance_again_or_counts_what_it_lost(blank: Page) -> None:
    got = blank.evaluate(
        """async () => {
            const { Outbox } = await import("/web/outbox.js");
            const second = () => new ArrayBuffer(48000);
            const outbox = new Outbox();
            for (let i = 0; i < 5; i += 1) { outbox.push(second()); outbox.next(); }
            outbox.settle(2 * 24000);
            const again = [outbox.rewind(3 * 24000), outbox.next().at / 24000];
            const fresh = new Outbox();
            for (let i = 0; i < 25; i += 1) fresh.push(second());
            return [...again, fresh.takeLost(), fresh.takeLost(), fresh.next().at / 24000];
        }"""
    )
    assert got == [True, 2, 5, 0, 5]
