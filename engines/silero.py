"""Silero voice activity detection: the probability of speech in each 32 ms window of a stream.

The network is the ONNX file inside the faster-whisper package, run by onnxruntime alone.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.base import EngineError, InvalidInput, JobClass, Outcome, Recipe, UpTo, Work

WINDOW = 512
"""Samples per probability, at 16 kHz."""

_CONTEXT = 64
_STATE = 128
_MOST_STREAMS_A_STEP = 64
_TICKS = {JobClass.FINAL: 0.01, JobClass.PARTIAL: 0.02}
"""Seconds, less than a window: many streams share a way to the thread; one alone never waits. Where
an answer waits for the end of the turn, less of it is worth more steps."""

Floats = NDArray[np.float32]


def _zero_state() -> Floats:
    return np.zeros((1, 1, _STATE), np.float32)


@dataclass(slots=True)
class _Stream:
    """What the network remembers of one stream between windows."""

    h: Floats = field(default_factory=_zero_state)
    c: Floats = field(default_factory=_zero_state)
    context: Floats = field(default_factory=lambda: np.zeros(_CONTEXT, np.float32))


def network_path() -> Path:
    """The ONNX file, found without importing faster-whisper."""
    spec = importlib.util.find_spec("faster_whisper")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "assets" / "silero_vad_v6.onnx"
        if path.is_file():
            return path
    raise EngineError(
        "The voice activity model is missing. Reinstall it with: pip install --force-reinstall"
        " 'faster-whisper>=1.2,<2'"
    )


class Silero:
    """Streaming jobs. An input is float32 at 16 kHz in [-1, 1], a whole number of windows.

    Each step answers a job with one float32 array: a probability for every window it took.
    """

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(network_path()), options, providers=["CPUExecutionProvider"]
        )
        self._streams: dict[int, _Stream] = {}

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [self._outcome(one) for one in work]

    def drop(self, job: int) -> None:
        self._streams.pop(job, None)

    def close(self) -> None:
        self._streams.clear()
        del self._session

    def _outcome(self, work: Work) -> Outcome:
        try:
            audio = _joined(work.inputs)
        except InvalidInput as error:
            self.drop(work.job)
            return Outcome(work.job, done=True, error=error)
        events = (self._probabilities(work.job, audio),) if len(audio) else ()
        if work.ended:
            self.drop(work.job)
        return Outcome(work.job, events, done=work.ended)

    def _probabilities(self, job: int, audio: Floats) -> Floats:
        stream = self._streams.setdefault(job, _Stream())
        # The network's first axis is time; each row is a window after the 64 samples before it.
        samples = np.concatenate((stream.context, audio))
        rows = np.lib.stride_tricks.sliding_window_view(samples, _CONTEXT + WINDOW)[::WINDOW]
        found, stream.h, stream.c = self._session.run(
            None, {"input": np.ascontiguousarray(rows), "h": stream.h, "c": stream.c}
        )
        stream.context = samples[-_CONTEXT:].copy()
        return np.asarray(found, np.float32).reshape(-1)


def _joined(inputs: Sequence[Floats]) -> Floats:
    audio = np.concatenate(inputs) if inputs else np.zeros(0, np.float32)
    if audio.dtype != np.float32 or audio.ndim != 1 or len(audio) % WINDOW:
        raise InvalidInput(f"Voice activity needs float32 audio in windows of {WINDOW} samples.")
    return audio


def recipe(cores: int) -> Recipe:
    """How to run it: one thread for every stream, too small a work to be granted cores."""
    del cores
    return Recipe(
        name="silero",
        build=partial(Silero),
        select=UpTo(_MOST_STREAMS_A_STEP),
        worker="thread",
        workers=1,
        cores=0,
        ticks=_TICKS,
    )
