"""A voice that takes no time, in espeak's place: for measuring the server without synthesis."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from engines.base import Outcome, Recipe, UpTo, Work
from engines.catalogue import ModelRecord
from engines.espeak import capabilities, check, knows, options_model, voices
from engines.recognition import Samples
from engines.synthesis import Mark, Say, Spoken

__all__ = ["capabilities", "check", "knows", "options_model", "recipe", "voices"]

RATE = 22_050
SECONDS_A_CHARACTER = 0.02
MOST_SECONDS = 30


class InstantVoice:
    """Jobs of `Say`: a tone, a third as long as the text would be."""

    def __init__(self, tone: Samples) -> None:
        self._tone = tone

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [self._outcome(one.job, one.payload) for one in work]

    def drop(self, job: int) -> None:
        """Nothing is kept of jobs."""

    def close(self) -> None:
        """Nothing is to be freed."""

    def _outcome(self, job: int, request: Say) -> Outcome:
        length = round(len(request.text) * SECONDS_A_CHARACTER * RATE)
        samples = self._tone[:length]
        mark = Mark(len(request.text), len(samples) / RATE)
        return Outcome(job, (Spoken(samples, RATE, (mark,)),), done=True)


def tone() -> Samples:
    """The most that is ever said at once."""
    times = np.arange(MOST_SECONDS * RATE) / RATE
    return (0.2 * np.sin(2 * np.pi * 220 * times)).astype(np.float32)


def recipe(record: ModelRecord, cores: int) -> Recipe:
    """How to run it: on the event loop, as a step of it costs less than the way to a thread."""
    del cores
    return Recipe(
        name=record.name,
        build=partial(InstantVoice, tone()),
        select=UpTo(64),
        worker="inline",
        capacity=4096,
        cores=0,
    )
