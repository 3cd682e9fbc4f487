"""Whether what somebody said is finished, judged by its text, and how long to wait for more of it.

No I/O, no clock. A `TurnModel` answers with a likelihood; `patience` makes seconds of it.
`TurnJudge` asks it about what was understood.
"""

import logging
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

from engines.recognition import Samples
from pipelines.frames import Transcript
from pipelines.turn_lexicon import Lexicon
from pipelines.turn_words_germanic import DUTCH, ENGLISH, GERMAN
from pipelines.turn_words_romance import FRENCH, ITALIAN, PORTUGUESE, SPANISH
from pipelines.turns import PAUSE_SECONDS

log = logging.getLogger(__name__)

LEXICONS: Mapping[str, Lexicon] = {
    **{"en": ENGLISH, "de": GERMAN, "fr": FRENCH, "es": SPANISH},
    **{"it": ITALIAN, "pt": PORTUGUESE, "nl": DUTCH},
}
"""By ISO 639-1 code."""

Eagerness = Literal["low", "medium", "high", "auto"]

CERTAIN_SECONDS = 0.3
"""Quiet that ends a turn which is certainly finished."""
LONGEST_WAIT: Mapping[Eagerness, float] = {"low": 8.0, "medium": 4.0, "auto": 4.0, "high": 2.0}
"""Quiet that ends a turn which is certainly not finished, as OpenAI documents it."""
CERTAIN = 0.9
"""A likelihood that counts as certainty, as does one below its complement."""
LONG = 4
"""Words from which a sentence is likely to be a whole one."""
MAIN_CLAUSE = 5
"""Words from which a sentence that begins with a subordinate clause has its main clause, where
subjects do not tell."""
NUMBER = 7
"""Digits from which a number that nobody announced is likely to be a whole one."""
READ = 60
"""Words that are read, the newest."""
SLACK = 0.2
"""Seconds before the end of speech at which the last word of all of it may be thought to end."""

WEIGHTS: Mapping[str, float] = {
    "always": 1.0,
    "answers": 3.0,
    "asks": 1.0,
    "closes": 1.5,
    "long": 0.7,
    "dictated": 1.5,
    "question mark": 1.5,
    "full stop": 0.4,
    "comma": -2.5,
    "hesitates": -5.0,
    "hangs": -4.0,
    "leans": -2.3,
    "subordinate": -3.0,
    "no infinitive": -2.3,
    "dictates": -4.0,
}
"""What each feature adds to the log-odds of being finished. Recognisers end nearly everything with
a full stop, so that it says little."""


class TurnModel(Protocol):
    """Judges whether a speaker has finished."""

    def finished(
        self, text: str, language: str | None, audio: Samples | None = None
    ) -> float | None:
        """How likely it is, from 0 to 1; None: this model cannot tell (an unknown language).

        `text` is what was understood of the turn so far, `audio` its newest seconds. Called on the
        event loop: must not take longer than a few milliseconds.
        """
        ...


class TextTurnModel:
    """A logistic model of readable features of the text, for the languages in `LEXICONS`."""

    def finished(
        self, text: str, language: str | None, audio: Samples | None = None
    ) -> float | None:
        """As `TurnModel` has it; the sound is not asked."""
        code = re.split(r"[-_]", language.lower())[0] if language else ""
        lexicon = LEXICONS.get(code)
        if lexicon is None:
            return None
        odds = sum(WEIGHTS[feature] for feature in features(text, lexicon))
        return 1 / (1 + math.exp(-odds))


class TurnJudge:
    """Decides how long a silence ends one turn after the other, by their transcripts."""

    def __init__(self, model: TurnModel) -> None:
        self._model = model
        self._knows = True
        """Whether the model has known every language so far."""
        self.begin()

    def begin(self) -> None:
        """A turn begins, of which nothing is understood yet."""
        self._committed = self._tentative = ""
        self._language: str | None = None
        self._until = 0.0

    def take(self, transcript: Transcript) -> None:
        """Take what was understood newly."""
        match transcript.state:
            case "committed":
                self._committed += transcript.text
                self._tentative = ""
            case "tentative":
                self._tentative = transcript.text
            case "final":
                self._committed, self._tentative = transcript.text, ""
        self._language = transcript.language or self._language
        if transcript.words:
            self._until = transcript.words[-1].end

    def patience(
        self, eagerness: Eagerness, since: float, silence: float, audio: Samples
    ) -> float | None:
        """Seconds of quiet that end the turn, in which nobody has spoken `since` then (seconds of
        session audio); None: nothing tells, and `silence` decides."""
        text = f"{self._committed} {self._tentative}".strip()
        if not text:
            return None
        finished = self._model.finished(text, self._language, audio)
        if finished is None:
            self._tell_unknown()
            return None
        wait = max(PAUSE_SECONDS, patience(finished, eagerness))
        # Words that are not understood yet may well go on where these ones end.
        return wait if self._until >= since - SLACK else max(wait, silence)

    def _tell_unknown(self) -> None:
        if self._knows:
            self._knows = False
            log.info(
                "No model knows how turns end in the language '%s': a silence ends them.",
                self._language or "unknown",
            )


def patience(finished: float, eagerness: Eagerness) -> float:
    """Seconds of quiet that end a turn which is so likely finished."""
    doubt = (CERTAIN - finished) / (2 * CERTAIN - 1)
    ratio = LONGEST_WAIT[eagerness] / CERTAIN_SECONDS
    return CERTAIN_SECONDS * float(ratio ** min(1.0, max(0.0, doubt)))


def features(text: str, lexicon: Lexicon) -> frozenset[str]:
    """What can be said of a text, by the names in `WEIGHTS`."""
    said = _cut(text, lexicon)
    found = {"always", *_punctuation(text)}
    if not said:
        return frozenset(found)
    if said[-1] in lexicon.fillers:
        found.add("hesitates")
    if tuple(said) in lexicon.answers:
        return frozenset({*found, "answers"})
    found.update(_numbers(text, said, lexicon) or _end(said, lexicon))
    if _subordinate(text, said, lexicon):
        found.add("subordinate")
    if len(said) >= LONG:
        found.add("long")
    return frozenset(found)


def _cut(text: str, lexicon: Lexicon) -> list[str]:
    text = unicodedata.normalize("NFC", text).lower().replace("\u2019", "'")
    pattern = r"[^\W_]+'?|@" if lexicon.elides else r"[^\W_]+(?:'[^\W_]+)*|@"
    return re.findall(pattern, text)[-READ:]


def _punctuation(text: str) -> Iterator[str]:
    end = text.rstrip(" \"'»\u201d)")
    if end.endswith(("...", "…", ",", "-", "\u2013", ":", ";")):
        yield "comma"
    elif end.endswith("?"):
        yield "question mark"
    elif end.endswith((".", "!")):
        yield "full stop"


def _end(said: list[str], lexicon: Lexicon) -> Iterator[str]:
    """How the sentence ends."""
    asks = _asks(said, lexicon)
    last = said[-1]
    opens = any(_ends_in(said, phrase) for phrase in lexicon.opens)
    if opens or _hangs(said, lexicon, asks=asks):
        yield "hangs"
    elif last in lexicon.leans and not (asks and len(said) > 2 and said[0] in lexicon.questions):
        yield "leans"
    elif last in lexicon.closes:
        yield "closes"
    elif _wants_infinitive(said, lexicon):
        yield "no infinitive"
    elif asks and len(said) > 2:
        yield "asks"


def _ends_in(said: list[str], phrase: tuple[str, ...]) -> bool:
    return tuple(said[-len(phrase) :]) == phrase


def _hangs(said: list[str], lexicon: Lexicon, *, asks: bool) -> bool:
    last = said[-1]
    if last in lexicon.stranded:
        return not (asks or any(word in lexicon.questions for word in said[:-2]))
    if last in lexicon.particles:
        return not any(word.startswith(lexicon.particle_verbs) for word in said[:-1])
    return last in lexicon.hangs


def _asks(said: list[str], lexicon: Lexicon) -> bool:
    """Whether it begins as a question does."""
    body = _without_starters(said, lexicon)
    return bool(body) and (body[0] in lexicon.questions or body[0] in lexicon.inversions)


def _without_starters(said: list[str], lexicon: Lexicon) -> list[str]:
    at = 0
    while at < len(said) and said[at] in lexicon.starters:
        at += 1
    return said[at:]


def _wants_infinitive(said: list[str], lexicon: Lexicon) -> bool:
    """Whether the infinitive that a modal verb asks for is still to come."""
    places = [place for place, word in enumerate(said) if word in lexicon.modals]
    if not places:
        return False
    rest = [word for word in said[places[-1] + 1 :] if word not in lexicon.hangs]
    return not any(word.endswith(lexicon.infinitives) for word in rest)


def _subordinate(text: str, said: list[str], lexicon: Lexicon) -> bool:
    """Whether there is a subordinate clause and nothing that it belongs to."""
    body = _without_starters(said, lexicon)
    if not body or body[0] not in lexicon.subordinators:
        return False
    if len(body) > 1 and body[1] in lexicon.inversions:
        return False
    if re.search(r"\w, ?\w+ \w+", text):
        return False
    if lexicon.subjects:
        return sum(word in lexicon.subjects for word in body) < 2
    return len(body) < MAIN_CLAUSE


def _numbers(text: str, said: list[str], lexicon: Lexicon) -> set[str]:
    """Whether a number, an address or a spelling is being dictated, and whether it is whole."""
    address = _address(text, said, lexicon)
    if address:
        return {address}
    run = _run(said, lexicon)
    digits = sum(2 if word in lexicon.numbers else max(1, _digits(word)) for word in run)
    announced = [lexicon.dictations[word] for word in said if word in lexicon.dictations]
    if digits and announced:
        return {"dictated" if digits >= max(announced) else "dictates"}
    if digits >= 3 and not any(word in lexicon.numbers or word.isdigit() for word in run):
        return {"dictated" if digits >= NUMBER else "leans"}
    letters = [word for word in said[-2:] if len(word) == 1 and word.isalpha()]
    return {"leans"} if len(letters) == 2 else set()


def _run(said: list[str], lexicon: Lexicon) -> list[str]:
    """The number words at the end."""
    numbers = lexicon.digits | lexicon.numbers
    first = len(said)
    while first and (said[first - 1].isdigit() or said[first - 1] in numbers):
        first -= 1
    return said[first:]


def _digits(word: str) -> int:
    return len(word) if word.isdigit() else 0


def _address(text: str, said: list[str], lexicon: Lexicon) -> str | None:
    if re.search(r"\S@\S+\.\w{2,}\W*$", text):
        return "dictated"
    dots = [place for place, word in enumerate(said) if word in lexicon.dot]
    ats = [place for place, word in enumerate(said) if word in lexicon.at]
    if not dots:
        return None
    if ats and dots[-1] > ats[-1] and dots[-1] < len(said) - 1:
        return "dictated"
    return "dictates" if ats and ats[-1] > dots[0] else None
