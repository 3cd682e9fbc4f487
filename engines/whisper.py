"""Whisper models: their options, what they can do, and how they run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pydantic import Field

from engines.base import Capabilities, Recipe, Waiting
from engines.catalogue import ModelRecord
from engines.decoding import Decode
from engines.options import EngineOptions, read_options
from engines.recognition import Recogniser
from engines.scheduler import Lane
from engines.whisper_abilities import capabilities, check
from engines.whisper_engine import MOST_FRAMES, Model, Network, Whisper
from engines.whisper_stream import WhisperRecogniser
from engines.whisper_windows import BUCKETS, StreamSettings

__all__ = ["WhisperOptions", "capabilities", "check", "options_model", "recipe", "recogniser"]

_CAPACITY = 512

_SPREAD = 1.5
"""How much longer the windows may be that fill a batch: a longer encoder for some costs less than
a decoder for each, within bounds."""


class WhisperOptions(EngineOptions):
    """`device`: `auto` takes a GPU where one works. `compute_type`: CTranslate2's name for the
    arithmetic (None: int8 on a CPU, as the model was saved on a GPU).

    `workers` decode at the same time, each step on `cpu_threads` cores (None: one for each core on
    a CPU). `batch_size`: most windows decoded together. `beam_size` is for finals; partials are
    decoded greedily.

    The encoder is given at least `floor_seconds`, and `tail_seconds` of silence after the audio,
    in place of Whisper's 30 s; `full_windows` always gives it 30 s. `context_tokens`: the most
    tokens of earlier text that the decoder sees. `min_interval`: seconds of new audio that are
    worth a partial when the machine is idle.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    compute_type: (
        Literal[
            "default",
            "auto",
            "int8",
            "int8_float32",
            "int8_float16",
            "int8_bfloat16",
            "int16",
            "float16",
            "bfloat16",
            "float32",
        ]
        | None
    ) = None
    workers: int | None = Field(default=None, ge=1, le=64)
    cpu_threads: int = Field(default=1, ge=1, le=64)
    batch_size: int = Field(default=8, ge=1, le=64)
    beam_size: int = Field(default=5, ge=1, le=16)
    floor_seconds: float = Field(default=10.0, ge=1, le=30)
    tail_seconds: float = Field(default=2.0, ge=0, le=10)
    full_windows: bool = False
    context_tokens: Literal[0, 32, 64] = 64
    min_interval: float = Field(default=0.3, ge=0.1, le=5)

    def stream(self) -> StreamSettings:
        """The part that decides which windows are decoded."""
        return StreamSettings(
            floor_seconds=self.floor_seconds,
            tail_seconds=self.tail_seconds,
            full_windows=self.full_windows,
            context_tokens=self.context_tokens,
            min_interval=self.min_interval,
        )


options_model = WhisperOptions


@dataclass(frozen=True, slots=True)
class Batches:
    """What can share a step: windows of the most urgent one's group and length.

    Where those are few, windows of about that length fill the batch. A final counts twice (its
    beams make it as long), and nothing joins a batch that is less urgent than live speech unless
    all of it is; then 30 s of audio are enough for a step.
    """

    size: int

    def __call__(self, waiting: Sequence[Waiting]) -> Sequence[Waiting]:
        first, ask = waiting[0], waiting[0].payload
        live = first.kind.live
        fitting = [
            one for one in waiting if one.payload.group == ask.group and one.kind.live == live
        ]
        batch = [one for one in fitting if one.payload.frames == ask.frames]
        room = self._room(ask, live)
        if live and len(batch) < room // 2:
            batch += self._about_as_long(fitting, ask.frames)
        return batch[:room]

    def _room(self, ask: Decode, live: bool) -> int:
        room = max(1, self.size // 2 if ask.final else self.size)
        return room if live else min(room, max(1, MOST_FRAMES // ask.frames))

    @staticmethod
    def _about_as_long(fitting: Sequence[Waiting], frames: int) -> list[Waiting]:
        """Windows that cost less padded to one length than in steps of their own: those of the
        next longer length, or else of the next shorter."""
        longer = [size for size in BUCKETS if frames < size <= _SPREAD * frames][:1]
        shorter = [size for size in BUCKETS if size < frames <= _SPREAD * size][-1:]
        found = (
            [one for one in fitting if one.payload.frames in near] for near in (longer, shorter)
        )
        return next(filter(None, found), [])


def recipe(record: ModelRecord, cores: int) -> Recipe:
    """How to run it: in threads that share the weights, as CTranslate2 releases the interpreter
    lock."""
    options = read_options(record, WhisperOptions)
    threads = min(options.cpu_threads, max(1, cores))
    workers = options.workers or (1 if options.device == "cuda" else max(1, cores // threads))
    network = Network(
        name=record.name,
        source=record.source,
        able=capabilities(record),
        device=options.device,
        compute_type=options.compute_type,
        workers=workers,
        cpu_threads=threads,
        beam_size=options.beam_size,
    )
    return Recipe(
        name=record.name,
        build=partial(Whisper, Model(network)),
        select=Batches(options.batch_size),
        full_batch=options.batch_size,
        worker="thread",
        workers=workers,
        capacity=_CAPACITY,
        cores=threads,
    )


def recogniser(record: ModelRecord, able: Capabilities, lane: Lane) -> Recogniser:
    """The model as the rest of Antiphon sees it."""
    return WhisperRecogniser(record.name, able, lane, read_options(record, WhisperOptions).stream())
