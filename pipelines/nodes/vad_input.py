"""What reaches the voice-activity node: the frames that wait for it, and what a client's requests
are refused with."""

from typing import TypeGuard

import numpy as np

from pipelines.frames import SAMPLE_RATE, Audio, Error, Frame, Samples
from pipelines.graph import Inbox, Policy

INBOX = 4096
BATCH = SAMPLE_RATE
"""Most samples that are scored together."""


class AudioInbox(Inbox):
    """Counts the `samples` that wait, and gives sound that waits together at once.

    Fewer than `enough` samples are not worth waking for: clients send sound in pieces of any size.
    """

    def __init__(self, enough: int) -> None:
        super().__init__(INBOX, Policy.WAIT)
        self.enough = enough
        self.samples = 0
        self._pieces = 0
        """Frames of sound among those that wait."""

    @property
    def is_ready(self) -> bool:
        return self.samples >= self.enough or len(self) > self._pieces

    def put(self, frame: Frame) -> None:
        """Queue a frame. Raises `InboxFull`."""
        if _is_uncut(frame):
            self.samples += len(frame.samples)
            self._pieces += 1
        super().put(frame)

    def gather(self, first: Audio) -> Samples:
        """The audio at the head, joined up to a bound, behind `first`, which was taken."""
        pieces = [first.samples]
        total = len(first.samples)
        while _is_uncut(following := self.peek()) and total < BATCH:
            self.pop()
            pieces.append(following.samples)
            total += len(following.samples)
        self.samples -= total
        self._pieces -= len(pieces)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def buffer_full(seconds: float) -> Error:
    """What is told once of audio that no longer fits."""
    return Error(
        "input_audio_buffer_full",
        f"The input audio buffer holds at most {seconds:g} seconds. Commit or clear it; audio "
        "after that is not kept.",
    )


def too_little(samples: int, request: str | None) -> Error:
    """The answer to a commit of so little audio."""
    message = (
        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
        f"but buffer only has {samples / SAMPLE_RATE * 1000:.2f}ms of audio."
    )
    return Error("input_audio_buffer_commit_empty", message, request=request)


def _is_uncut(frame: Frame | None) -> TypeGuard[Audio]:
    """Whether it is sound that may have utterances in it."""
    return isinstance(frame, Audio) and frame.item is None
