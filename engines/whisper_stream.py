"""Utterances recognised by a Whisper while they grow: decodes windows through a lane.

`Progress` says what to decode and what has settled; here is when, with which urgency, and what
of it is given up. At most one partial is outstanding, and a final beside it once there is a pause.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from engines.base import Busy, Capabilities, EngineError, JobClass
from engines.decoding import Decode, Decoded
from engines.recognition import Hypothesis, RecognitionOptions, Samples
from engines.speech import Speech
from engines.whisper_windows import (
    LONGEST,
    Memory,
    Progress,
    StreamSettings,
    Window,
    bucket,
    context_size,
)

STALE_SECONDS = 1.5
"""A partial that has waited so long is not worth decoding: newer audio is there."""

SPECULATION_WAIT = 1.0
"""Seconds that finals may wait before none is decoded on the chance that nothing more is said: a
lane that is so far behind has no time for what may be of no use."""

HEADROOM = 1.5
"""How many times as long as a partial takes to wait before the next: the lane is not asked for all
it could do, so that finals find it ready."""

SLOWEST_SECONDS = 3.0
"""Most seconds between partials, however slow they are."""


class Answer(Protocol):
    """A submitted decode: at most one `Decoded`, or the `EngineError` that kept it away."""

    @property
    def started(self) -> bool: ...

    def cancel(self) -> None: ...

    def __aiter__(self) -> AsyncIterator[Any]: ...


class DecodingLane(Protocol):
    """What is needed of the lane of an engine that takes `Decode` payloads."""

    def submit(
        self,
        payload: Decode,
        *,
        owner: str,
        kind: JobClass,
        coalesce: Hashable | None = None,
        stale_after: float | None = None,
    ) -> Answer: ...

    def predicted_wait(self, kind: JobClass) -> float:
        """Seconds until a new job of this class would start."""
        ...


@dataclass(frozen=True, slots=True)
class WhisperRecogniser:
    """A loaded Whisper; it remembers what each owner said last, as context of the next."""

    name: str
    capabilities: Capabilities
    lane: DecodingLane
    settings: StreamSettings = field(default_factory=StreamSettings)
    memory: Memory = field(default_factory=Memory)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def open(
        self, options: RecognitionOptions, *, owner: str, kind: JobClass | None = None
    ) -> "WhisperRecognition":
        """Start one utterance; see `engines.recognition.Recogniser.open`."""
        return WhisperRecognition(self, options, owner, kind)


@dataclass(slots=True, eq=False)
class _Asked:
    window: Window
    answer: Answer
    at: float
    dropped: bool = False

    def drop(self) -> None:
        self.dropped = True
        self.answer.cancel()

    async def decoded(self) -> Decoded | None:
        """The words; None if they were given up."""
        try:
            async for decoded in self.answer:
                assert isinstance(decoded, Decoded)
                return decoded
            return None
        finally:
            self.answer.cancel()


class WhisperRecognition:
    """One utterance, decoded again as it grows; see `engines.recognition.Recognition`."""

    def __init__(
        self,
        recogniser: WhisperRecogniser,
        options: RecognitionOptions,
        owner: str,
        kind: JobClass | None,
    ) -> None:
        self._recogniser = recogniser
        self._options = options
        self._owner = owner
        self._kind = kind
        self._number = next(recogniser.numbers)
        self._began = self._ended = _now()
        self._speech = Speech()
        self._progress = Progress(
            0.0,
            partials=options.partials,
            word_times=options.word_times,
            trim_seconds=recogniser.settings.trim_seconds,
        )
        self._voiced: float | None = None
        """Seconds of speech, as far as was told."""
        self._turnaround = 0.0
        """Seconds from asking for a partial to its answer, a moving average."""
        self._adapt(0.0)
        self._asked: deque[_Asked] = deque()
        self._last: _Asked | None = None
        """The decode whose words are final if no more is said."""
        self._conclusion: Hypothesis | None = None
        self._fit = True
        """Whether the conclusion can be context."""
        self._changed = asyncio.Event()
        self._cancelled = False

    @property
    def backlog(self) -> int:
        """Samples that wait for a decode that has no need of more."""
        return 0 if self._cancelled else self._progress.backlog

    def push(self, samples: Samples) -> None:
        """Add audio."""
        if self._cancelled:
            return
        assert not self._progress.finished, "a finished utterance takes no more audio"
        self._speech.append(samples)
        self._progress.length += len(samples)
        if not self._asked and self._progress.next() is not None:
            self._changed.set()

    def pause(self, voiced: float | None = None) -> None:
        """The utterance may be over: decode its final now, so that it is there when it is."""
        if self._progress.paused or self._progress.finished or self._cancelled:
            return
        self._voiced = voiced
        self._progress.paused = True
        for asked in self._asked:
            if asked.window.purpose == "partial" and not asked.answer.started:
                asked.drop()
        window = self._progress.final()
        if window is not None and self._options.partials and self._may_speculate():
            try:
                self._last = self._ask(window)
            except EngineError:
                return  # nothing is lost: what is wrong will show when the utterance is finished
            self._changed.set()

    def _may_speculate(self) -> bool:
        """Whether the lane has time for a final that may be of no use."""
        return self._recogniser.lane.predicted_wait(JobClass.FINAL) <= SPECULATION_WAIT

    def resume(self) -> None:
        """Speech goes on: what was decoded since the pause is one more hypothesis."""
        if not self._progress.paused or self._progress.finished or self._cancelled:
            return
        self._progress.paused = False
        if self._last is not None and not self._last.answer.started:
            self._last.drop()
        self._last = self._conclusion = None
        self._changed.set()

    def finish(self, voiced: float | None = None) -> None:
        """The utterance is complete; a partial that is under way is not worth waiting for."""
        if self._progress.finished or self._cancelled:
            return
        self._voiced = voiced
        self._progress.finished = True
        self._ended = _now()
        for asked in self._asked:
            if asked is not self._last and asked.window.purpose != "advance":
                asked.drop()
        self._changed.set()

    def cancel(self) -> None:
        """Give everything back."""
        self._cancelled = True
        for asked in self._asked:
            asked.drop()
        self._speech = Speech()
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Hypothesis]:
        try:
            while not self._cancelled:
                hypothesis = await self._next()
                if hypothesis is not None and not self._cancelled:
                    yield hypothesis
                    if hypothesis.final:
                        return
        finally:
            self.cancel()

    async def _next(self) -> Hypothesis | None:
        """Do the next thing there is to do, or wait until there is one."""
        if self._asked:
            return await self._collect(self._asked[0])
        if self._progress.finished and self._conclusion is not None:
            return self._conclude(self._conclusion)
        window = self._progress.next()
        if window is not None:
            self._begin(window)
        elif self._progress.finished:
            return self._conclude(self._progress.conclude_as_heard())
        else:
            self._changed.clear()
            await self._changed.wait()
        return None

    def _begin(self, window: Window) -> None:
        try:
            asked = self._ask(window)
        except Busy:
            if window.purpose != "partial":
                raise
            self._adapt(SLOWEST_SECONDS)
        else:
            if window.purpose == "final":
                self._last = asked

    def _ask(self, window: Window) -> _Asked:
        self._progress.asked(window)
        partial = window.purpose == "partial"
        kind = self._kind
        if kind is None:
            kind = JobClass.PARTIAL if partial else JobClass.FINAL
        answer = self._recogniser.lane.submit(
            self._decode(window),
            owner=self._owner,
            kind=kind,
            coalesce=self if partial else None,
            stale_after=STALE_SECONDS if partial else None,
        )
        asked = _Asked(window, answer, _now())
        self._asked.append(asked)
        return asked

    def _decode(self, window: Window) -> Decode:
        settings = self._recogniser.settings
        whole = window.purpose == "final" and window.start == 0
        context = ""
        if settings.context_tokens:
            language = self._options.language or self._progress.language
            earlier = self._recogniser.memory.recall(
                self._owner, self._number, self._began, language
            )
            context = self._progress.context(window, earlier)
        return Decode(
            speech=self._speech,
            start=window.start,
            end=window.end,
            frames=bucket(window.end - window.start, settings),
            options=self._options,
            final=window.purpose != "partial",
            context=context,
            context_tokens=context_size(self._options.prompt, context, settings),
            voiced=self._voiced if whole else None,
            word_times=window.word_times,
        )

    async def _collect(self, asked: _Asked) -> Hypothesis | None:
        decoded = await asked.decoded()
        if self._cancelled:
            return None
        self._asked.popleft()
        if asked.window.purpose == "partial" and not asked.dropped:
            if decoded is None:
                self._turnaround = _now() - asked.at  # stale: no time for a slow average
            self._adapt(_now() - asked.at)
        if decoded is not None:
            return self._take(asked, decoded)
        if asked.window.purpose != "partial" and not asked.dropped:
            raise EngineError("The engine gave up a part of the audio.")
        return None

    def _take(self, asked: _Asked, decoded: Decoded) -> Hypothesis | None:
        progress = self._progress
        if asked is self._last:
            self._conclusion = progress.conclude(asked.window, decoded)
            self._fit = decoded.passed
        if progress.finished and asked.window.purpose != "advance":
            return None
        hypothesis = progress.hear(asked.window, decoded)
        if progress.length > LONGEST:
            starts = (each.window.start for each in self._asked)
            self._speech.forget(min((progress.start, *starts)))
        return hypothesis if self._options.partials else None

    def _adapt(self, seconds: float) -> None:
        """Ask for partials as often as the lane can answer them, given how long the last took."""
        self._turnaround = (self._turnaround + seconds) / 2
        seconds = max(self._turnaround, self._recogniser.lane.predicted_wait(JobClass.PARTIAL))
        least = self._recogniser.settings.min_interval
        self._progress.interval = min(max(HEADROOM * seconds, least), SLOWEST_SECONDS)

    def _conclude(self, hypothesis: Hypothesis) -> Hypothesis:
        memory = self._recogniser.memory
        if not self._fit:
            memory.drop(self._owner, self._number)
        elif hypothesis.words:
            memory.keep(self._owner, hypothesis, self._number, self._began, self._ended)
        return hypothesis


def _now() -> float:
    return asyncio.get_running_loop().time()
