"""Joins the sound of an item's sentences, and says how much of its text each moment has reached.

No I/O, no clock.
"""

import numpy as np

from engines.recognition import Samples
from engines.synthesis import Spoken
from pipelines.frames import AudioOut, Mark
from pipelines.sentences import Sentence, marks_to_text

SENTENCE_GAP = 0.2
"""Seconds of silence between two sentences, with what the engine leaves of it itself."""
CLAUSE_GAP = 0.1
"""The same where a sentence was cut."""
QUIET = 0.01
"""Amplitude below which sound is silence."""
_CUTS = ",;:-\u2013\u2014"


class ItemSound:
    """The sound of one item so far. Sentences come in order, each with its pieces, then its end."""

    def __init__(self, response: str, item: str) -> None:
        self._response = response
        self._item = item
        self._seconds = 0.0
        self._rate = 0
        self._characters = 0
        """Of the sentences that have ended."""
        self._marked = 0
        """Characters of the newest mark."""
        self._start: float | None = None
        """When the sentence that is spoken began, in seconds of the item."""
        self._gap = 0.0
        """Silence that has to come before the next sentence."""
        self._quiet = 0.0
        """Silence that there is at the end."""

    def piece(self, sentence: Sentence, spoken: Spoken) -> AudioOut:
        """More of the sentence's sound, as sound of the item."""
        samples, rate = spoken.samples, spoken.rate
        marks: list[Mark] = []
        if self._start is None:
            if self._marked < self._characters:
                marks.append(Mark(self._characters, self._seconds))
            gap = self._missing_gap(samples, rate)
            self._start = self._seconds + gap / rate
            samples = np.concatenate((np.zeros(gap, np.float32), samples)) if gap else samples
        for mark in spoken.marks:
            characters = self._characters + marks_to_text(sentence, mark.characters)
            marks.append(Mark(characters, self._start + mark.seconds))
        self._rate = rate
        self._seconds += len(samples) / rate
        self._quiet = _quiet_end(samples, rate)
        return self._frame(samples, marks)

    def end_sentence(self, sentence: Sentence) -> None:
        """All of a sentence has come, or it had nothing to say."""
        self._characters += len(sentence.text)
        self._start = None
        end = sentence.text.rstrip(" \t")[-1:]
        self._gap = CLAUSE_GAP if end.isalnum() or end in _CUTS else SENTENCE_GAP

    def rest(self) -> AudioOut | None:
        """What says that the last characters have been reached, where no sound says so yet; None
        also for an item without any sound."""
        if self._marked == self._characters or not self._rate:
            return None
        nothing = np.zeros(0, np.float32)
        return self._frame(nothing, [Mark(self._characters, self._seconds)])

    def _missing_gap(self, samples: Samples, rate: int) -> int:
        if not self._rate:
            return 0
        return max(0, round((self._gap - self._quiet - _quiet_start(samples, rate)) * rate))

    def _frame(self, samples: Samples, marks: list[Mark]) -> AudioOut:
        if marks:
            self._marked = marks[-1].characters
        return AudioOut(self._response, self._item, samples, self._rate, tuple(marks))


def _quiet_start(samples: Samples, rate: int) -> float:
    """Seconds of silence that a sound begins with, up to the longest gap."""
    return _quiet(samples[: round(SENTENCE_GAP * rate)]) / rate


def _quiet_end(samples: Samples, rate: int) -> float:
    """Seconds of silence that a sound ends with, up to the longest gap."""
    return _quiet(samples[-round(SENTENCE_GAP * rate) :][::-1]) / rate


def _quiet(samples: Samples) -> int:
    loud = np.flatnonzero(np.abs(samples) >= QUIET)
    return int(loud[0]) if len(loud) else len(samples)
