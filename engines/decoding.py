"""What a Whisper engine is asked to decode, and what it answers."""

from dataclasses import dataclass

from engines.recognition import RecognitionOptions, Word
from engines.speech import Speech


@dataclass(frozen=True, slots=True, eq=False)
class Decode:
    """One window of an utterance: samples `start` (a multiple of 160) to `end`, at most 30 s.

    A final is decoded with beam search, checked, and decoded once more when a check fails; a
    partial greedily and once. Windows of one `group` can share a batch.
    """

    speech: Speech
    start: int
    end: int
    frames: int
    """Mel frames to encode, one of a few bucket sizes; what `end` leaves over is silence. A batch
    takes those of its longest window."""
    options: RecognitionOptions
    final: bool
    context: str = ""
    """Text that was said before the window."""
    context_tokens: int = 0
    """How many tokens of prompt and context the decoder sees: exactly so many, or 0 for none."""
    voiced: float | None = None
    """Seconds of speech in the window, where known."""
    word_times: bool = False
    """Whether words get exact times, by alignment; else times are spread over the window."""

    @property
    def group(self) -> tuple[int, bool, float]:
        """What has to be the same in one batch (languages and tasks may differ)."""
        return self.context_tokens, self.final, self.options.temperature


@dataclass(frozen=True, slots=True)
class Decoded:
    """The words of one window, with times in seconds from the start of the utterance.

    `passed` is false when the text failed a check that the audio was heard well; it is then not
    fit to be context. Text that a check took for no speech at all is not here.
    """

    words: tuple[Word, ...]
    language: str | None = None
    passed: bool = True
