"""Which windows of a growing utterance a Whisper decodes, and what their words settle.

No I/O, no clock. Positions are samples and times are seconds from the start of the utterance.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engines.agreement import LocalAgreement, after
from engines.decoding import Decoded
from engines.mel import FRAME
from engines.recognition import SAMPLE_RATE, Hypothesis, Word

BUCKETS = (500, 750, 1000, 1500, 2000, 3000)
"""Mel frames that an encoder is given: few sizes, so that windows can share a batch."""

CONTEXT_SIZES = (32, 64)
"""Tokens of prompt and context that a decoder is given, for the same reason."""

CONTEXT_CHARACTERS = 200
CHARACTERS_PER_TOKEN = 4

SHORTEST = SAMPLE_RATE // 10
"""Audio shorter than this holds no word."""

LONGEST = 28 * SAMPLE_RATE
"""A window never has more audio; an utterance that is no longer is decoded whole at its end."""

AGREEMENT_STEP = SAMPLE_RATE // 2
"""Least new audio between two hypotheses that can agree."""

LEAST_TRIM_SECONDS, MOST_TRIM_SECONDS = 4.0, 8.0
"""A window longer than this moves on past words that have settled. Between these bounds, as much as
the shortest input holds, since moving on before that saves nothing."""

TRIM_STEP = SAMPLE_RATE
"""New audio after which a window that could not move is tried again."""

KEPT_SECONDS = 2.0
"""Audio that stays in a window that moves on, and the least that is worth moving it for."""

UNSURE_SECONDS = 1.0
"""Words that end so near to where a full window was cut off may be cut off themselves."""

CUT_SECONDS = 8.0
"""A full window is cut at a gap if there is one in so many seconds before its end."""

ADVANCE_SECONDS = 14.0
"""A full window moves on at least so far, whatever was heard in it."""

OVERLAP_SECONDS = 0.1
"""A window that moves on to where there is no gap begins so long before the end of a word."""

GAP_SECONDS = 0.2
_SENTENCE_ENDS = (".", "?", "!", "\u3002", "\uff1f", "\uff01")
_CONTEXT_WORDS = CONTEXT_CHARACTERS // 2
_OWNERS = 1024
_SILENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How a model wants its windows. `floor_seconds` and `tail_seconds` are for stock weights,
    which were trained on 30 s: the shortest input, and the least silence after the audio."""

    floor_seconds: float = 10.0
    tail_seconds: float = 2.0
    full_windows: bool = False
    """Always encode 30 s."""
    context_tokens: int = 64
    """Most tokens of earlier text that a decoder is given."""
    min_interval: float = 0.3
    """Least seconds of new audio that are worth another partial."""

    @property
    def trim_seconds(self) -> float:
        """Windows longer than this move on past words that have settled."""
        room = MOST_TRIM_SECONDS if self.full_windows else self.floor_seconds - self.tail_seconds
        return min(max(room, LEAST_TRIM_SECONDS), MOST_TRIM_SECONDS)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of an utterance to decode: a `partial` of what is there, an `advance` when there
    is more than one window holds, the `final` of what was said (so far)."""

    purpose: Literal["partial", "advance", "final"]
    start: int
    end: int
    before: int
    """How many fixed words were said before it."""
    word_times: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """A place to begin the next window: after so many words of this one, in seconds."""

    words: int
    at: float


def bucket(samples: int, settings: StreamSettings) -> int:
    """Mel frames to encode for so much audio. The tail gives way before audio is cut."""
    if settings.full_windows:
        return BUCKETS[-1]
    seconds = max(settings.floor_seconds, samples / SAMPLE_RATE + settings.tail_seconds)
    frames = math.ceil(round(seconds * SAMPLE_RATE / FRAME, 6))
    return next((size for size in BUCKETS if size >= frames), BUCKETS[-1])


def context_size(prompt: str, context: str, settings: StreamSettings) -> int:
    """How many tokens of prompt and context the decoder is given; 0 for none.

    A user's prompt counts even where context is off.
    """
    tokens = math.ceil(len(f"{prompt} {context}".strip()) / CHARACTERS_PER_TOKEN)
    if tokens == 0:
        return 0
    size = next((size for size in CONTEXT_SIZES if size >= tokens), CONTEXT_SIZES[-1])
    return min(size, settings.context_tokens or size)


def tail(text: str) -> str:
    """The last whole words of a text that are context enough."""
    if len(text) <= CONTEXT_CHARACTERS:
        return text
    return text[-CONTEXT_CHARACTERS - 1 :].partition(" ")[2] or text[-CONTEXT_CHARACTERS:]


def place_to_cut(words: Sequence[Word], count: int, earliest: float, latest: float) -> Cut | None:
    """After which of the first `count` words to cut, no later than `latest`.

    The last gap or end of a sentence from `earliest` on; if there is none, the last word.
    """
    at_gap = at_word = None
    for number, word in enumerate(words[:count], 1):
        following = words[number].start if number < len(words) else latest
        gap = following - word.end >= GAP_SECONDS or word.text.endswith(_SENTENCE_ENDS)
        if gap:
            at = (word.end + max(word.end, following)) / 2
        else:
            at = word.end - min(OVERLAP_SECONDS, (word.end - word.start) / 2)
        if at > latest:
            break
        at_word = Cut(number, at)
        if gap and at >= earliest:
            at_gap = at_word
    return at_gap or at_word


class Progress:
    """How far the recognition of one utterance has come.

    Words are fixed once no later window begins before them, settled once partials agree on them.
    """

    def __init__(
        self,
        interval: float,
        *,
        partials: bool = True,
        word_times: bool = False,
        trim_seconds: float = MOST_TRIM_SECONDS,
    ) -> None:
        self.interval = interval
        """Seconds of new audio after which another partial is due."""
        self.length = 0
        self.start = 0
        """Where the current window begins."""
        self.paused = False
        self.finished = False
        self.language: str | None = None
        self._partials = partials
        self._word_times = word_times
        self._trim_from = trim_seconds * SAMPLE_RATE
        self._fixed: list[Word] = []
        self._fit_from = 0
        self._agreement = LocalAgreement()
        self._heard = 0
        self._agreed = 0
        self._timed = 0

    @property
    def backlog(self) -> int:
        """Samples that wait for a decode that has no need of more."""
        if not self.finished:
            return max(0, self.length - self.start - LONGEST)
        return self.length if self.length <= LONGEST else self.length - self.start

    # What to decode

    def next(self) -> Window | None:
        """What to decode now, when nothing is being decoded."""
        if self.length - self.start > LONGEST:
            return self._window("advance", self.start + LONGEST, word_times=True)
        if self.finished:
            return self.final()
        fresh = self.length - self._heard
        if self.paused or not self._partials or fresh < self.interval * SAMPLE_RATE:
            return None
        trim = self.length - self.start > self._trim_from and self.length - self._timed >= TRIM_STEP
        return self._window("partial", self.length, word_times=trim)

    def final(self) -> Window | None:
        """What to decode if no more is said: everything, if it fits into a window."""
        if self.length - self.start > LONGEST:
            return None
        if self.length <= LONGEST:
            window = Window("final", 0, self.length, 0, self._word_times)
        else:
            window = self._window("final", self.length, word_times=self._word_times)
        return window if window.end - window.start >= SHORTEST else None

    def _window(
        self, purpose: Literal["partial", "advance", "final"], end: int, *, word_times: bool
    ) -> Window:
        return Window(purpose, self.start, end, len(self._fixed), word_times)

    def asked(self, window: Window) -> None:
        """This window will be decoded."""
        self._heard = max(self._heard, window.end)
        if window.purpose == "partial" and window.word_times:
            self._timed = window.end

    def context(self, window: Window, earlier: str) -> str:
        """The text said before a window, when `earlier` was said before the utterance."""
        first = max(self._fit_from, window.before - _CONTEXT_WORDS)
        texts = [word.text for word in self._fixed[first : window.before]]
        if window.before == 0 or first == 0:
            texts.insert(0, earlier)
        return tail(" ".join(filter(None, texts)))

    # What was heard

    def hear(self, window: Window, decoded: Decoded) -> Hypothesis:
        """Take the words of a window; what they make of the utterance so far."""
        self.language = decoded.language or self.language
        words = after(self._fixed[window.before :], decoded.words)
        match window.purpose:
            case "partial":
                rest = self._agree(window, words)
                if window.word_times:
                    self._trim(window, words)
            case "advance":
                rest = self._advance(window, words)
                if not decoded.passed:
                    self._fit_from = len(self._fixed)
            case "final":
                rest = self._pause(window, words, decoded.passed)
        settled = (*self._fixed, *self._agreement.settled)
        return Hypothesis((*settled, *rest), language=self.language, settled=len(settled))

    def conclude(self, window: Window, decoded: Decoded) -> Hypothesis:
        """The final hypothesis: a window's words, whatever partials said, behind the fixed ones."""
        words = (*self._fixed[: window.before], *decoded.words)
        return Hypothesis(words, final=True, language=decoded.language or self.language)

    def conclude_as_heard(self) -> Hypothesis:
        """The final hypothesis when there is nothing left to decode."""
        words = (*self._fixed, *self._agreement.settled)
        return Hypothesis(words, final=True, language=self.language)

    def _agree(self, window: Window, words: Sequence[Word]) -> Sequence[Word]:
        if window.end - self._agreed < AGREEMENT_STEP:
            return self._agreement.beyond(words)
        self._agreed = window.end
        return self._agreement.hear(words)

    def _trim(self, window: Window, words: Sequence[Word]) -> None:
        """Move past words that have settled, if there is enough behind and before them."""
        settled = self._agreement.settled
        if not self._agreement.retime(words):
            return
        earliest = window.start / SAMPLE_RATE + KEPT_SECONDS
        latest = window.end / SAMPLE_RATE - KEPT_SECONDS
        cut = place_to_cut(words, len(settled), earliest, latest)
        if cut is not None and cut.at >= earliest:
            self._move(cut.at, cut.words)

    def _advance(self, window: Window, words: Sequence[Word]) -> Sequence[Word]:
        """Fix the words of a full window up to a place to cut it, and go on from there."""
        end = window.end / SAMPLE_RATE
        sure = end - UNSURE_SECONDS
        count = sum(word.end <= sure for word in words)
        cut = place_to_cut(words, count, end - CUT_SECONDS, sure)
        if cut is None or cut.at < window.start / SAMPLE_RATE + ADVANCE_SECONDS:
            # No word tells where to cut; what was heard is kept, and nothing is heard twice.
            cut = Cut(len(words), end) if words else Cut(0, sure)
        self._agreement.retime(words)
        self._agreement.settle(words[: cut.words])
        settled = self._agreement.settled
        self._move(cut.at, sum((word.start + word.end) / 2 <= cut.at for word in settled))
        return self._agreement.beyond(words[cut.words :])

    def _pause(self, window: Window, words: Sequence[Word], passed: bool) -> Sequence[Word]:
        """What was said before a pause is complete: all of it settles at once, if it repeats."""
        if not passed or not self._agreement.repeats(words):
            return self._agree(window, words)
        self._agreement.settle(words)
        at = window.end / SAMPLE_RATE - OVERLAP_SECONDS
        self._move(at, len(self._agreement.settled))
        return ()

    def _move(self, seconds: float, words: int) -> None:
        self._fixed += self._agreement.release(words)
        self.start = max(self.start, round(seconds * SAMPLE_RATE) // FRAME * FRAME)


@dataclass(frozen=True, slots=True)
class _Said:
    number: int
    text: str
    language: str | None
    at: float


class Memory:
    """The last text of each owner, the context of what is said next; bounded.

    `number` counts utterances in the order they began, so that one that ends late is not taken
    for the context of one that began before it.
    """

    def __init__(self) -> None:
        self._said: OrderedDict[str, _Said] = OrderedDict()

    def recall(self, owner: str, number: int, began: float, language: str | None) -> str:
        """What was said shortly before this utterance, unless in another language."""
        said = self._said.get(owner)
        if said is None or said.number >= number or began - said.at > _SILENCE_SECONDS:
            return ""
        if language and said.language and language != said.language:
            return ""
        return said.text

    def keep(self, owner: str, said: Hypothesis, number: int, began: float, ended: float) -> None:
        """Remember the final text of an utterance."""
        if self._is_newer(owner, number):
            return
        earlier = self.recall(owner, number, began, said.language)
        texts = (earlier, *(word.text for word in said.words[-_CONTEXT_WORDS:]))
        text = tail(" ".join(filter(None, texts)))
        self._said[owner] = _Said(number, text, said.language, ended)
        self._said.move_to_end(owner)
        if len(self._said) > _OWNERS:
            self._said.popitem(last=False)

    def drop(self, owner: str, number: int) -> None:
        """Remember nothing, after an utterance whose text is not fit to be context."""
        if not self._is_newer(owner, number):
            self._said.pop(owner, None)

    def _is_newer(self, owner: str, number: int) -> bool:
        return owner in self._said and self._said[owner].number > number
