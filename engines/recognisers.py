"""Recognisers over a lane: for engines that hear a stream, and for those that hear a window.

Both settle words with LocalAgreement, so that whoever shows the text can append and never
take back.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engines.agreement import LocalAgreement
from engines.base import Capabilities, JobClass
from engines.recognition import (
    SAMPLE_RATE,
    Hypothesis,
    Recogniser,
    RecognitionOptions,
    Samples,
    Word,
)
from engines.scheduler import Lane
from engines.tickets import Ticket
from engines.utterance import Utterance

PARTIAL_STEP = 0.5
"""Least seconds of new audio that are worth decoding an utterance again."""

AGREEMENT_STEP = 0.5
"""Least seconds of audio between two hypotheses that can agree: an engine that answers ten times
a second repeats its mistakes before it has heard what would mend them."""

STREAMED_AT_ONCE = 3
"""Utterances of one recording that a streaming engine is given at once: each has a place in its
lane from its first sound, and the lane has few."""

WINDOWED_AT_ONCE = 8
"""Utterances of one recording that an engine of windows is given at once: enough for its batches,
and few beside what its lane holds."""

WINDOW_SECONDS = 15.0
"""A window longer than this drops the audio of words that have settled."""


@dataclass(frozen=True, slots=True)
class StreamedRecogniser:
    """For engines that take audio as it comes and keep the utterance's state."""

    name: str
    capabilities: Capabilities
    lane: Lane

    def open(
        self, options: RecognitionOptions, *, owner: str, kind: JobClass | None = None
    ) -> "StreamedRecognition":
        """Start one utterance; see `engines.recognition.Recogniser.open`."""
        ticket = self.lane.submit(
            Utterance(options, owner),
            owner=owner,
            kind=JobClass.PARTIAL if kind is None else kind,
            streaming=True,
        )
        return StreamedRecognition(ticket, JobClass.FINAL if kind is None else kind)


class StreamedRecognition:
    """One utterance inside a streaming engine."""

    def __init__(self, ticket: Ticket, final: JobClass) -> None:
        self._ticket = ticket
        self._final = final
        self._agreement = LocalAgreement()
        self._pushed = 0
        self._agreed = 0

    @property
    def backlog(self) -> int:
        """Samples that the engine has not taken yet."""
        return self._ticket.backlog

    def push(self, samples: Samples) -> None:
        """Add audio."""
        self._pushed += len(samples)
        self._ticket.push(samples, len(samples))

    def pause(self) -> None:
        """Nothing: the engine has heard all but the latest audio, and its final is near."""

    def resume(self) -> None:
        """Nothing, as nothing was begun at the pause."""

    def finish(self) -> None:
        """The utterance is complete."""
        self._ticket.finish(self._final)

    def cancel(self) -> None:
        """Give the slot back."""
        self._ticket.cancel()

    async def __aiter__(self) -> AsyncIterator[Hypothesis]:
        async for hypothesis in self._ticket:
            yield hypothesis if hypothesis.final else self._settle(hypothesis)

    def _settle(self, hypothesis: Hypothesis) -> Hypothesis:
        """Let it agree with an earlier one if enough was heard since; else only show its words."""
        taken = self._pushed - self._ticket.backlog
        if taken - self._agreed >= AGREEMENT_STEP * SAMPLE_RATE:
            self._agreed = taken
            return settle(self._agreement, hypothesis)
        settled = self._agreement.settled
        words = (*settled, *self._agreement.beyond(hypothesis.words))
        return replace(hypothesis, words=words, settled=len(settled))


@dataclass(frozen=True, slots=True)
class WindowedRecogniser:
    """For engines that transcribe a window of audio at a time.

    `request` makes the engine's payload from the window, the options and whether it is final.
    """

    name: str
    capabilities: Capabilities
    lane: Lane
    request: Callable[[Samples, RecognitionOptions, bool], Any]

    def open(
        self, options: RecognitionOptions, *, owner: str, kind: JobClass | None = None
    ) -> "WindowedRecognition":
        """Start one utterance; see `engines.recognition.Recogniser.open`."""
        return WindowedRecognition(self, options, owner, kind)


class WindowedRecognition:
    """One utterance, decoded again as it grows: at most one partial is queued at a time."""

    def __init__(
        self,
        recogniser: WindowedRecogniser,
        options: RecognitionOptions,
        owner: str,
        kind: JobClass | None,
    ) -> None:
        self._recogniser = recogniser
        self._options = options
        self._owner = owner
        self._kind = kind
        self._pieces: list[Samples] = []
        self._length = 0
        self._heard = 0
        self._window_start = 0
        self._before_window: tuple[Word, ...] = ()
        self._agreement = LocalAgreement()
        self._changed = asyncio.Event()
        self._finished = False
        self._cancelled = False
        self._ticket: Ticket | None = None

    @property
    def backlog(self) -> int:
        """Samples that wait for the final pass."""
        return self._length if self._finished else 0

    def push(self, samples: Samples) -> None:
        """Add audio."""
        self._pieces.append(samples)
        self._length += len(samples)
        self._changed.set()

    def pause(self) -> None:
        """Nothing: its final is decoded when the utterance is known to be over."""

    def resume(self) -> None:
        """Nothing, as nothing was begun at the pause."""

    def finish(self) -> None:
        """The utterance is complete; a partial that is under way is not worth waiting for."""
        self._finished = True
        self._stop_ticket()

    def cancel(self) -> None:
        """Give the slot back."""
        self._cancelled = True
        self._stop_ticket()

    def _stop_ticket(self) -> None:
        if self._ticket is not None:
            self._ticket.cancel()
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Hypothesis]:
        step = PARTIAL_STEP
        while not (self._finished or self._cancelled):
            if not self._options.partials or self._length - self._heard < step * SAMPLE_RATE:
                self._changed.clear()
                await self._changed.wait()
                continue
            began = asyncio.get_running_loop().time()
            async for hypothesis in self._partial():
                yield hypothesis
            # Decoding that is slower than speech is asked for less often, so it never queues up.
            step = max(PARTIAL_STEP, asyncio.get_running_loop().time() - began)
        if not self._cancelled:
            async for hypothesis in self._decode(self._audio(0), final=True):
                yield hypothesis

    async def _partial(self) -> AsyncIterator[Hypothesis]:
        self._heard = self._length
        self._trim_window()
        offset = self._window_start / SAMPLE_RATE
        async for hypothesis in self._decode(self._audio(self._window_start), final=False):
            words = (*self._before_window, *shifted(hypothesis.words, offset))
            yield settle(self._agreement, replace(hypothesis, words=words))

    def _trim_window(self) -> None:
        settled = self._agreement.settled
        if settled and self._length - self._window_start > WINDOW_SECONDS * SAMPLE_RATE:
            self._window_start = round(settled[-1].end * SAMPLE_RATE)
            self._before_window = settled

    def _audio(self, start: int) -> Samples:
        if len(self._pieces) != 1:
            joined = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)
            self._pieces = [joined]
        return self._pieces[0][start:]

    async def _decode(self, audio: Samples, *, final: bool) -> AsyncIterator[Hypothesis]:
        kind = self._kind
        if kind is None:
            kind = JobClass.FINAL if final else JobClass.PARTIAL
        payload = self._recogniser.request(audio, self._options, final)
        self._ticket = ticket = self._recogniser.lane.submit(payload, owner=self._owner, kind=kind)
        try:
            async for hypothesis in ticket:
                yield hypothesis
        finally:
            ticket.cancel()


def most_at_once(recogniser: Recogniser) -> int:
    """How many utterances of one recording to give it at once."""
    return STREAMED_AT_ONCE if isinstance(recogniser, StreamedRecogniser) else WINDOWED_AT_ONCE


def settle(agreement: LocalAgreement, hypothesis: Hypothesis) -> Hypothesis:
    """The hypothesis with its settled words first and their number."""
    rest = agreement.hear(hypothesis.words)
    settled = agreement.settled
    return replace(hypothesis, words=(*settled, *rest), settled=len(settled))


def shifted(words: Sequence[Word], seconds: float) -> tuple[Word, ...]:
    """The same words, later by `seconds`."""
    return tuple(replace(w, start=w.start + seconds, end=w.end + seconds) for w in words)
