"""What a streaming recogniser is asked to do: one utterance of one speaker's session."""

from dataclasses import dataclass

from engines.recognition import RecognitionOptions


@dataclass(frozen=True, slots=True)
class Utterance:
    """The payload of a streaming job. `owner` is the session; it says whose voice comes next."""

    options: RecognitionOptions
    owner: str
