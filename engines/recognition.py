"""Speech recognition as the rest of Antiphon sees it, whichever engine does it.

A `Recogniser` is a loaded speech-to-text model; it opens one `Recognition` per utterance. Audio
is float32 mono in [-1, 1] at `SAMPLE_RATE`. Times are seconds from the start of the utterance.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.base import Capabilities, JobClass

SAMPLE_RATE = 16_000

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Word:
    """One word as it was heard: `text` without spaces, times in seconds."""

    text: str
    start: float
    end: float
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class RecognitionOptions:
    """What the caller asked for; engines refuse what they cannot do and ignore no field silently.

    `prompt` biases the text where the engine can use one. `partials` asks for hypotheses while
    the audio is still coming in. `word_times` asks for exact times and probabilities of the words
    of the final; an engine for which they cost time gives rougher ones, or none, without it.
    """

    language: str | None = None
    prompt: str = ""
    temperature: float = 0.0
    task: Literal["transcribe", "translate"] = "transcribe"
    partials: bool = True
    word_times: bool = False


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What an engine believes the utterance says so far; `final` comes once, last.

    `language` is an ISO 639-1 code when the engine knows or detected it. The first `settled`
    words will not change before the final (engines leave this to the recognition).
    """

    words: tuple[Word, ...]
    final: bool = False
    language: str | None = None
    settled: int = 0

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


class Recognition(Protocol):
    """One utterance being recognised: push audio, finish, iterate; or cancel."""

    @property
    def backlog(self) -> int:
        """Samples pushed that the engine has not taken yet."""
        ...

    def push(self, samples: Samples) -> None: ...

    def pause(self, voiced: float | None = None) -> None:
        """The speaker has been silent for a moment: the utterance may be over.

        Audio pushed from here until `resume` has no speech in it. `voiced`: seconds of speech so
        far, where known.
        """
        ...

    def resume(self) -> None:
        """Speech goes on after a pause, in the audio that is pushed next."""
        ...

    def finish(self, voiced: float | None = None) -> None:
        """No more audio will come; the final hypothesis follows, with FINAL urgency. `voiced`:
        seconds of speech in all, where known."""
        ...

    def cancel(self) -> None:
        """Give the engine's slot back; iteration ends. Safe to call twice."""
        ...

    def __aiter__(self) -> AsyncIterator[Hypothesis]:
        """Hypotheses as they come, the last one final. Raises `EngineError`."""
        ...


class Recogniser(Protocol):
    """A loaded speech-to-text model."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def open(
        self, options: RecognitionOptions, *, owner: str, kind: JobClass | None = None
    ) -> Recognition:
        """Start one utterance for `owner` (a session id, the unit of fairness).

        `kind` None means live speech: partials as PARTIAL, the end as FINAL. Raises `Busy`.
        """
        ...
