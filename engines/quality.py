"""Whether a decoded text is what was said: gates against what Whisper invents, cheapest first.

Whisper was trained on subtitles, so for audio without speech it writes what subtitles say there,
and a decoder that lost the audio repeats itself.
"""

import math
import unicodedata
import zlib
from dataclasses import dataclass
from typing import Literal

from engines.loops import without_loops
from engines.recognition import Word

LEAST_VOICED = 0.2
"""Seconds of voice below which there is no word; the shortest ("no") take about as long."""

NO_SPEECH = 0.6
LEAST_LOGPROB = -1.0
MOST_COMPRESSION = 2.4
"""OpenAI's Whisper (`transcribe.py`): `no_speech_threshold`, `logprob_threshold`,
`compression_ratio_threshold`."""

CERTAIN_NO_SPEECH = 0.9
CONFIDENT_LOGPROB = -0.5
"""Text that is decoded as no speech this certainly has to be this likely to be believed. OpenAI's
rule alone misses short inventions, which are seldom below -1.0; the probability of no speech alone
would lose speech that starts late in its window, which decodes well above -0.5."""

RAISED_NO_SPEECH = 0.2
"""Above it, a text of nothing but subtitle phrases is an invention (the bag of hallucinations of
Barański et al., arXiv 2501.11378, 2025); a list alone would delete what people say."""

LEAST_COMPRESSIBLE = 40
"""Bytes of text below which zlib's own dozen counts too much; and people do repeat a word."""

TOKENS_PER_SECOND = 15 * 1.5
LEAST_TOKENS = 16
"""A cap for runaway decoders: the fastest speech, and half as much again (WhisperLiveKit)."""

MOST_LETTERS_PER_SECOND = 40
LETTERS_AT_ONCE = 20
"""An auctioneer says 40 letters a second; the surplus is for audio that is cut close."""

_SUBTITLES = (
    # English
    "Thanks for watching",
    "Thank you for watching",
    "Thank you so much for watching",
    "Thank you very much for watching",
    "Thanks for listening",
    "Please subscribe",
    "Please subscribe to my channel",
    "Please like and subscribe",
    "Don't forget to like and subscribe",
    "Like and subscribe",
    "See you in the next video",
    "I'll see you in the next video",
    "I'll see you next time",
    "Subtitles by the Amara.org community",
    "Transcription by CastingWords",
    # German
    "Untertitel der Amara.org-Community",
    "Untertitel von der Amara.org Community",
    "Untertitel im Auftrag des ZDF für funk 2017",
    "Untertitelung des ZDF 2020",
    "Untertitelung aufgrund der Audioqualität nicht möglich",
    "Vielen Dank fürs Zuschauen",
    "Danke fürs Zuschauen",
    # French
    "Sous-titres réalisés par la communauté d'Amara.org",
    "Sous-titres réalisés para la communauté d'Amara.org",
    "Sous-titrage Société Radio-Canada",
    "Sous-titrage ST' 501",
    "Merci d'avoir regardé cette vidéo",
    "N'oubliez pas de vous abonner",
    # Spanish
    "Subtítulos realizados por la comunidad de Amara.org",
    "Subtítulos por la comunidad de Amara.org",
    "Gracias por ver el video",
    "Gracias por ver el vídeo",
    "Suscríbete al canal",
    # Portuguese
    "Legendas pela comunidade Amara.org",
    "Legenda Adriana Zanotto",
    "Obrigado por assistir",
    "Inscreva-se no canal",
    # Italian
    "Sottotitoli creati dalla comunità Amara.org",
    "Sottotitoli e revisione a cura di QTSS",
    "Grazie per la visione",
    "Grazie per aver guardato il video",
    # Dutch
    "Ondertitels ingediend door de Amara.org gemeenschap",
    "Ondertiteld door de Amara.org gemeenschap",
    "Bedankt voor het kijken",
    # Polish
    "Napisy stworzone przez społeczność Amara.org",
    "Dziękuję za obejrzenie",
    "Dzięki za oglądanie",
    # Russian
    "Субтитры сделал DimaTorzok",
    "Субтитры создавал DimaTorzok",
    "Продолжение следует",
    "Спасибо за просмотр",
    # Turkish
    "Altyazı M.K.",  # noqa: RUF001
    "İzlediğiniz için teşekkür ederim",
    "Abone olmayı unutmayın",  # noqa: RUF001
    # Japanese
    "ご視聴ありがとうございました",
    "最後までご視聴ありがとうございました",
    "チャンネル登録をお願いします",
    "次の動画でお会いしましょう",
    # Chinese
    "谢谢观看",
    "謝謝觀看",
    "感谢观看",
    "字幕由Amara.org社区提供",
    "字幕由 Amara.org 社群提供",
    "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
    "請不吝點贊 訂閱 轉發 打賞支持明鏡與點點欄目",
    # Korean
    "시청해주셔서 감사합니다",
    "시청해 주셔서 감사합니다",
    "구독과 좋아요 부탁드립니다",
)
"""What nobody says to a microphone, or almost nobody."""

_EVERYDAY = (
    "You",
    "Thank you",
    "Thanks",
    "Thank you so much",
    "Thank you very much",
    "Bye",
    "Vielen Dank",
    "Merci",
    "Gracias",
    "Obrigado",
    "Grazie",
    "Bedankt",
    "Dziękuję",
    "Спасибо",
    "Teşekkür ederim",
    "ありがとうございました",
    "おやすみなさい",
    "谢谢",
    "謝謝",
    "감사합니다",
)
"""What Whisper writes for silence as often, but people say too."""

Reason = Literal[
    "",
    "unvoiced",
    "no text",
    "no speech",
    "known invention",
    "unlikely",
    "too long",
    "loop",
    "repetitive",
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`silence`: nothing was said. `doubtful`: decode again, or keep for want of better."""

    kind: Literal["speech", "silence", "doubtful"]
    reason: Reason = ""


def judge(
    text: str,
    seconds: float,
    voiced_seconds: float | None,
    avg_logprob: float,
    no_speech_prob: float,
) -> Verdict:
    """What to make of `text`, decoded from `seconds` of audio with that much voice (None: unknown).

    `avg_logprob` is natural and per token, the end of the text counted as one, as OpenAI's is.
    """
    if voiced_seconds is not None and not voiced_enough(voiced_seconds):
        return Verdict("silence", "unvoiced")
    if not text.strip():
        return Verdict("silence", "no text")
    if is_no_speech(no_speech_prob, avg_logprob):
        return Verdict("silence", "no speech")
    if is_known_invention(text, no_speech_prob):
        return Verdict("silence", "known invention")
    if is_unlikely(avg_logprob):
        return Verdict("doubtful", "unlikely")
    if is_too_long(text, seconds):
        return Verdict("doubtful", "too long")
    if has_loop(text):
        return Verdict("doubtful", "loop")
    if is_repetitive(text):
        return Verdict("doubtful", "repetitive")
    return Verdict("speech")


def voiced_enough(voiced_seconds: float) -> bool:
    """Whether there was voice for as long as the shortest word takes."""
    return voiced_seconds >= LEAST_VOICED


def is_no_speech(no_speech_prob: float, avg_logprob: float) -> bool:
    """Whether the decoder took the audio for no speech, and is not sure of its text either."""
    if no_speech_prob >= CERTAIN_NO_SPEECH:
        return avg_logprob < CONFIDENT_LOGPROB
    return no_speech_prob > NO_SPEECH and avg_logprob < LEAST_LOGPROB


def is_known_invention(text: str, no_speech_prob: float) -> bool:
    """Whether the text is nothing but phrases that Whisper invents, where that is plausible.

    What people do say, as "thank you", needs OpenAI's threshold of no speech; subtitles less.
    """
    rest = _plain(text)
    if no_speech_prob <= RAISED_NO_SPEECH or not rest:
        return False
    phrases = _INVENTED_OR_SAID if no_speech_prob > NO_SPEECH else _INVENTED
    while rest:
        phrase = next((p for p in phrases if rest == p or rest.startswith(f"{p} ")), None)
        if phrase is None:
            return False
        rest = rest[len(phrase) + 1 :]
    return True


def is_unlikely(avg_logprob: float) -> bool:
    """Whether the decoder found its own text improbable."""
    return avg_logprob < LEAST_LOGPROB


def is_too_long(text: str, seconds: float) -> bool:
    """Whether nobody could say the text in that time."""
    return len(text) > LETTERS_AT_ONCE + MOST_LETTERS_PER_SECOND * seconds


def has_loop(text: str) -> bool:
    """Whether words or phrases go round; see `without_loops`."""
    words = [Word(word, 0.0, 0.0) for word in text.split()]
    return len(without_loops(words)) < len(words)


def compression_ratio(text: str) -> float:
    """How many times smaller zlib makes the UTF-8 text; 0 for none."""
    written = text.encode()
    return len(written) / len(zlib.compress(written))


def is_repetitive(text: str) -> bool:
    """Whether the text compresses as only repetition does; short text is never judged so."""
    return len(text.encode()) >= LEAST_COMPRESSIBLE and compression_ratio(text) > MOST_COMPRESSION


def token_cap(seconds: float) -> int:
    """The most tokens that so much audio may say."""
    return max(LEAST_TOKENS, math.ceil(TOKENS_PER_SECOND * seconds))


def _plain(text: str) -> str:
    """Lower-case words without punctuation; accents that stand apart from their letter are lost."""
    letters = (c if c.isalnum() else " " for c in text.casefold() if not unicodedata.combining(c))
    return " ".join("".join(letters).split())


def _longest_first(phrases: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(map(_plain, phrases), key=len, reverse=True))


_INVENTED = _longest_first(_SUBTITLES)
_INVENTED_OR_SAID = _longest_first(_SUBTITLES + _EVERYDAY)
