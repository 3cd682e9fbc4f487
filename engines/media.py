"""Recordings in any container that FFmpeg reads, decoded to samples in a thread of their own."""

import asyncio
import logging
import struct
import threading
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from engines.base import InvalidInput
from engines.recognition import SAMPLE_RATE, Samples

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler
    from av.container import InputContainer

Source = BinaryIO | Path

AHEAD = 8
"""Most blocks that are decoded before somebody takes them."""
RATES = range(1_000, 768_001)
"""Sample rates of sound; others are damage, or meant to exhaust the resampler."""

NOT_AUDIO = (
    "The file could not be read as audio: it is incomplete, damaged or not an audio file at all."
)
NO_AUDIO = "There is no audio in the file."

log = logging.getLogger(__name__)


class MediaError(InvalidInput):
    """The recording cannot be used; the message says why."""


async def decode(
    source: Source, *, max_seconds: float, block_seconds: float = 1.0
) -> AsyncGenerator[Samples, None]:
    """The recording's sound, mixed to mono, in blocks of `block_seconds`, the last one shorter.

    An open file is read from its beginning, only by the decoding thread, and is not closed. Use
    `contextlib.aclosing`: closing the generator ends the thread.

    Raises `MediaError` for what is not audio, has none, or is longer than `max_seconds`. Where
    the audio breaks off, it comes after the blocks that were good: this is noticed in WAV, FLAC,
    AAC and MP4. In other containers (MP3, Ogg, WebM, AIFF, MPEG-TS and more) a truncated
    recording cannot be told from a short one, and just ends.
    """
    stop = threading.Event()
    size = max(1, round(block_seconds * SAMPLE_RATE))
    ahead = _Ahead(_blocks(source, stop, max_seconds, size), stop)
    try:
        while (block := await ahead.take()) is not None:
            yield block
    finally:
        await ahead.close()


class _Stopped(Exception):
    """Nobody wants the recording any more."""


@dataclass(frozen=True, slots=True)
class _End:
    """What the thread hands over last."""

    error: BaseException | None = None


class _Ahead:
    """Takes blocks from an iterator in a thread, at most `AHEAD` before they are asked for."""

    def __init__(self, blocks: Generator[Samples], stop: threading.Event) -> None:
        self._blocks = blocks
        self._stop = stop
        self._room = threading.Semaphore(AHEAD)
        self._ready: asyncio.Queue[Samples | _End] = asyncio.Queue()
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="antiphon-media", daemon=True)
        self._thread.start()

    async def take(self) -> Samples | None:
        """The next block, or None after the last. Raises what the iterator raised."""
        taken = await self._next()
        if not isinstance(taken, _End):
            self._room.release()
            return taken
        if taken.error is not None:
            raise taken.error
        return None

    async def close(self) -> None:
        """End the thread, at its next read or packet, and wait for it."""
        self._stop.set()
        self._room.release()
        while not self._ended:
            await self._next()
        await asyncio.to_thread(self._thread.join)

    async def _next(self) -> Samples | _End:
        taken = await self._ready.get()
        self._ended = isinstance(taken, _End)
        return taken

    def _run(self) -> None:
        end = _End()
        try:
            with closing(self._blocks):
                self._hand_over_blocks()
        except BaseException as error:
            # Whatever it is, it belongs to whoever reads the blocks, and is raised there.
            end = _End(error)
        self._hand_over(end)

    def _hand_over_blocks(self) -> None:
        while self._room.acquire() and not self._stop.is_set():
            block = next(self._blocks, None)
            if block is None:
                return
            self._hand_over(block)

    def _hand_over(self, item: Samples | _End) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ready.put_nowait, item)
        except RuntimeError:  # The loop is closed, and with it everybody who could be waiting.
            self._stop.set()


class _Input:
    """What FFmpeg reads from: the file, until `stop` is set."""

    def __init__(self, file: BinaryIO, stop: threading.Event) -> None:
        self._file = file
        self._stop = stop
        self.empty = True
        """Nothing could be read so far."""
        self.seekable = file.seekable
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if self._stop.is_set():
            raise _Stopped
        data = self._file.read(size)
        self.empty = self.empty and not data
        return data


class _Sound:
    """The samples of a container's first audio stream, and how reading it went."""

    def __init__(self, container: "InputContainer", max_seconds: float) -> None:
        self._container = container
        self._max_seconds = max_seconds
        self._resampler: AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        self.seconds = Fraction(0)
        """Decoded so far; exact, since a recording may be just as long as is allowed."""
        self.broken = False
        """What was read last could not be decoded."""

    def __iter__(self) -> Iterator[Samples]:
        from av.error import FFmpegError

        try:
            for frame in self._frames():
                yield from self._resampled(frame)
        except FFmpegError:
            self.broken = True
        try:
            yield from self._rest()
        except FFmpegError:
            self.broken = True

    def _frames(self) -> Iterator["AudioFrame"]:
        """Frames of every packet that can be decoded; players skip the others, and so do we."""
        from av import AudioFrame
        from av.error import FFmpegError

        skipped = 0
        for packet in self._container.demux(audio=0):
            try:
                frames = packet.decode()
            except FFmpegError:
                self.broken = True
                skipped += 1
                continue
            if frames:
                self.broken = False
            yield from (frame for frame in frames if isinstance(frame, AudioFrame))
        if self._container.format.name == "mp3" and self.seconds:
            # Truncation is never an error there, so this was a foreign tag behind the music.
            self.broken = False
        if skipped and not self.broken:
            log.warning("damaged packets of a recording that were skipped: %d", skipped)

    def _resampled(self, frame: "AudioFrame") -> Iterator[Samples]:
        from av import AudioResampler

        if frame.sample_rate not in RATES:
            raise MediaError(f"The file has a sample rate of {frame.sample_rate} Hz.")
        self.seconds += Fraction(frame.samples, frame.sample_rate)
        if self.seconds > self._max_seconds:
            raise MediaError(
                f"The audio is longer than the limit of {self._max_seconds:.10g} seconds."
            )
        format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if format != self._format:
            yield from self._rest()
            # To integers: FFmpeg mixes channels down to floats without keeping to full scale.
            self._resampler = AudioResampler("s32", "mono", SAMPLE_RATE)
            self._format = format
        if self._resampler is not None:
            yield from _samples(self._resampler.resample(frame))

    def _rest(self) -> Iterator[Samples]:
        if self._resampler is not None:
            yield from _samples(self._resampler.resample(None))


def _blocks(
    source: Source, stop: threading.Event, max_seconds: float, size: int
) -> Generator[Samples]:
    with _opened(source) as file:
        incomplete = _is_incomplete_wav(file)
        _rewind(file)
        with closing(_container(_Input(file, stop))) as container:
            sound = _Sound(container, max_seconds)
            yield from _of_size(size, sound)
    if sound.seconds == 0:
        raise MediaError(NOT_AUDIO if sound.broken else NO_AUDIO)
    if sound.broken or incomplete:
        raise MediaError(
            f"The audio breaks off after {float(sound.seconds):.1f} seconds: "
            "the file is truncated or damaged."
        )


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
        return
    _rewind(source)
    yield source


def _rewind(file: BinaryIO) -> None:
    if file.seekable():
        file.seek(0)


def _container(input: _Input) -> "InputContainer":
    import av
    from av.error import FFmpegError

    try:
        # A playlist or session description inside an upload names other files and hosts:
        # with no protocol allowed, FFmpeg opens none of them.
        container = av.open(
            input, "r", options={"protocol_whitelist": "none"}, metadata_errors="ignore"
        )
    except FFmpegError as error:
        raise MediaError("The file is empty." if input.empty else NOT_AUDIO) from error
    if not container.streams.audio:
        container.close()
        raise MediaError(NO_AUDIO)
    return container


def _samples(frames: Iterable["AudioFrame"]) -> Iterator[Samples]:
    for frame in frames:
        yield frame.to_ndarray()[0].astype(np.float32) / np.float32(1 << 31)


def _of_size(size: int, pieces: Iterable[Samples]) -> Iterator[Samples]:
    block, filled = np.empty(size, np.float32), 0
    for piece in pieces:
        while len(piece):
            taken = piece[: size - filled]
            block[filled : filled + len(taken)] = taken
            filled += len(taken)
            piece = piece[len(taken) :]
            if filled == size:
                yield block
                block, filled = np.empty(size, np.float32), 0
    if filled:
        yield block[:filled]


STREAMED = 0x7FFF_0000
"""Sizes from here up are what programs write that could not know how long the audio would be."""
SLACK = 64
"""Bytes by which a sound file may be short: writers that count its header too."""
MOST_CHUNKS = 1_000


def _is_incomplete_wav(file: BinaryIO) -> bool:
    """Whether this is a WAV file that lacks data its header announces, which FFmpeg ignores."""
    if not file.seekable():
        return False
    size = file.seek(0, 2)
    file.seek(0)
    header = file.read(12)
    at = len(header)
    if header[:4] != b"RIFF" or header[8:] != b"WAVE":
        return False
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8:
            return False
        name: bytes
        length: int
        name, length = struct.unpack("<4sI", chunk)
        at += 8 + length + length % 2
        if name == b"data":
            return length < STREAMED and at > size + SLACK
    return False
