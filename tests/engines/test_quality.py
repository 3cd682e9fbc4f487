"""What Whisper invents is told from what was said, at and around each threshold."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.quality import (
    LEAST_TOKENS,
    Reason,
    Verdict,
    compression_ratio,
    has_loop,
    is_known_invention,
    is_no_speech,
    is_repetitive,
    is_too_long,
    is_unlikely,
    judge,
    token_cap,
    voiced_enough,
)

SENTENCE = "The next meeting is on Friday at five in the evening."
SPEECH = Verdict("speech")
KINDS = ("speech", "silence", "doubtful")


def verdict(
    text: str = SENTENCE,
    seconds: float = 4.0,
    voiced: float | None = 3.0,
    logprob: float = -0.2,
    no_speech: float = 0.01,
) -> Verdict:
    return judge(text, seconds, voiced, logprob, no_speech)


@pytest.mark.parametrize(("seconds", "enough"), [(0.0, False), (0.19, False), (0.2, True)])
def test_a_fifth_of_a_second_of_voice_can_be_a_word(seconds: float, enough: bool) -> None:
    assert voiced_enough(seconds) is enough


@pytest.mark.parametrize(
    ("no_speech", "logprob", "expected"),
    [
        (0.61, -1.01, True),
        (0.6, -1.01, False),
        (0.61, -1.0, False),
        (0.89, -0.9, False),
        (0.9, -0.6, True),
        (0.9999, -0.5, False),
        (0.9999, -0.1, False),
        (0.0, -3.0, False),
    ],
)
def test_no_speech_needs_a_text_that_is_not_trusted(
    no_speech: float, logprob: float, expected: bool
) -> None:
    assert is_no_speech(no_speech, logprob) is expected


@pytest.mark.parametrize("logprob", [-0.75, -0.98, -1.3])
def test_what_the_test_model_says_to_silence_and_noise_is_no_speech(logprob: float) -> None:
    assert verdict("Hannah", logprob=logprob, no_speech=0.9999) == Verdict("silence", "no speech")


@pytest.mark.parametrize(
    "text",
    [
        "Thanks for watching!",
        "Thank you for watching. Thank you for watching.",
        "Please subscribe to my channel. See you in the next video!",
        "Untertitel der Amara.org-Community",
        "Sous-titres réalisés par la communauté d'Amara.org",
        "¡Gracias por ver el video!",
        "Субтитры сделал DimaTorzok",
        "İZLEDİĞİNİZ İÇİN TEŞEKKÜR EDERİM",
        "ご視聴ありがとうございました。ご視聴ありがとうございました。",
        "Don\N{RIGHT SINGLE QUOTATION MARK}t forget to like and subscribe",
        "請不吝點贊 訂閱 轉發 打賞支持明鏡與點點欄目",
        "시청해주셔서 감사합니다!",
    ],
)
def test_subtitle_phrases_are_inventions_where_no_speech_is_suspected(text: str) -> None:
    assert is_known_invention(text, 0.21)
    assert not is_known_invention(text, 0.2)


@pytest.mark.parametrize("text", ["Thank you.", "You", "Bye. Bye.", "Merci !", "谢谢。"])
def test_what_people_say_too_goes_only_where_no_speech_is_likely(text: str) -> None:
    assert is_known_invention(text, 0.61)
    assert not is_known_invention(text, 0.6)
    assert verdict(text, no_speech=0.3) == SPEECH


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        SENTENCE,
        "Thank you for watching the children.",
        "She said thanks for watching",
        "You are late.",
        "Thank your mother",
        "...",
    ],
)
def test_a_text_that_says_more_than_phrases_is_no_known_invention(text: str) -> None:
    assert not is_known_invention(text, 1.0)


@pytest.mark.parametrize(("logprob", "unlikely"), [(-1.01, True), (-1.0, False), (0.0, False)])
def test_a_text_below_the_least_log_probability_is_unlikely(logprob: float, unlikely: bool) -> None:
    assert is_unlikely(logprob) is unlikely


def test_nobody_says_a_hundred_letters_in_a_second() -> None:
    assert is_too_long("a" * 100, 1.0)
    assert not is_too_long("a" * 60, 1.0)
    assert not is_too_long("Yes, I will.", 0.1)


def test_the_compression_ratio_is_that_of_utf_8_under_zlib() -> None:
    text = "Wörter, wörter. " * 20
    assert compression_ratio(text) == len(text.encode()) / len(zlib.compress(text.encode()))
    assert compression_ratio(text) > 5 > compression_ratio(SENTENCE)
    assert compression_ratio("") == 0


@pytest.mark.parametrize(
    ("text", "repetitive"),
    [
        ("I don't know. " * 6, True),
        ("あ" * 40, True),
        ("no " * 13, False),  # 39 bytes
        ("no " * 14, True),
        (SENTENCE, False),
        ("We shall go on to the end. We shall fight on the seas and oceans.", False),
        ("", False),
    ],
)
def test_text_that_compresses_too_well_is_repetitive(text: str, repetitive: bool) -> None:
    assert is_repetitive(text) is repetitive


def test_a_phrase_that_goes_round_is_a_loop() -> None:
    assert has_loop("so " + "thank you very much " * 3)
    assert not has_loop("no no no, thank you very much, thank you very much")


@pytest.mark.parametrize(("seconds", "cap"), [(0.0, LEAST_TOKENS), (0.5, 16), (2, 45), (30, 675)])
def test_the_cap_of_tokens_grows_with_the_audio(seconds: float, cap: int) -> None:
    assert token_cap(seconds) == cap


@pytest.mark.parametrize(
    ("found", "kind", "reason"),
    [
        (verdict(voiced=0.1, logprob=-3), "silence", "unvoiced"),
        (verdict(" "), "silence", "no text"),
        (verdict(no_speech=0.7, logprob=-1.2), "silence", "no speech"),
        (
            verdict("Thanks for watching!", no_speech=0.3, logprob=-1.2),
            "silence",
            "known invention",
        ),
        (verdict(logprob=-1.2), "doubtful", "unlikely"),
        (verdict(seconds=0.3), "doubtful", "too long"),
        (verdict("no " * 14), "doubtful", "loop"),
        (verdict("ありがとう" * 20), "doubtful", "repetitive"),
    ],
)
def test_each_gate_gives_its_reason(found: Verdict, kind: str, reason: Reason) -> None:
    assert (found.kind, found.reason) == (kind, reason)


@pytest.mark.parametrize(
    "found",
    [
        verdict(),
        verdict(voiced=None),
        verdict("Thank you.", seconds=0.5, voiced=0.4),
        verdict("Thanks for watching!"),
        verdict("No.", seconds=0.3, voiced=0.2),
        verdict(no_speech=0.7, logprob=-0.4),
        verdict(no_speech=0.99, logprob=-0.1),
        verdict("今日は天気がいいですね。", seconds=1.5),
        verdict("no no no no no", seconds=1.0),
    ],
)
def test_what_people_say_passes_every_gate(found: Verdict) -> None:
    assert found == SPEECH


@given(
    st.text(max_size=300),
    st.floats(0, 30),
    st.none() | st.floats(0, 30),
    st.floats(-20, 0),
    st.floats(0, 1),
)
def test_any_text_gets_a_verdict_and_only_speech_needs_no_reason(
    text: str, seconds: float, voiced: float | None, logprob: float, no_speech: float
) -> None:
    found = judge(text, seconds, voiced, logprob, no_speech)
    assert found.kind in KINDS
    assert (found.kind == "speech") is (found.reason == "")
