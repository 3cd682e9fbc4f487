"""Recognisers over the lane of an engine that takes audio as it comes.

They settle words with LocalAgreement, so that whoever shows the text can append and never take
back.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

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

AGREEMENT_STEP = 0.5
"""Least seconds of audio between two hypotheses that can agree: an engine that answers ten times
a second repeats its mistakes before it has heard what would mend them."""

STREAMED_AT_ONCE = 3
"""Utterances of one recording that a streaming engine is given at once: each has a place in its
lane from its first sound, and the lane has few."""

WINDOWED_AT_ONCE = 8
"""Utterances of one recording that an engine of windows is given at once: enough for its batches,
and few beside what its lane holds."""


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

    def pause(self, voiced: float | None = None) -> None:
        """Nothing: the engine has heard all but the latest audio, and its final is near."""

    def resume(self) -> None:
        """Nothing, as nothing was begun at the pause."""

    def finish(self, voiced: float | None = None) -> None:
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
