"""Log-mel features of growing audio, as Whisper's encoder takes them."""

import numpy as np
from numpy.typing import NDArray

from engines.base import InvalidInput
from engines.recognition import SAMPLE_RATE, Samples

Floats = NDArray[np.float32]

FRAME = 160
"""Samples from one frame to the next."""

_REACH = 200
"""A frame spans so many samples before its position, and so many from it on."""
_REFLECTED = 2
"""The frames of a window whose span begins before it; they see its beginning mirrored."""
_HANN: Floats = np.hanning(2 * _REACH + 1)[:-1].astype(np.float32)
_LEAST_POWER = 1e-10
_SILENCE = -10.0
"""The logarithm of the least power."""
_DYNAMICS = 8.0
"""What lies so far (in decades) below a window's loudest value is raised to that level."""
_BLOCK = 512
"""Frames computed in one piece, to bound the memory that takes."""
_ROOMY = 1024
"""Rows of storage that are not worth giving back."""


def mel_filters(mels: int) -> Floats:
    """The filter bank (mels, 201) of a Whisper with 80 or 128 `mels`: Slaney's scale and norm."""
    from faster_whisper.feature_extractor import FeatureExtractor

    filters = FeatureExtractor.get_mel_filters(SAMPLE_RATE, 2 * _REACH, n_mels=mels)
    return np.asarray(filters, np.float32)


class LogMel:
    """Raw log-mel frames (log10 of mel power, unclamped) of a growing signal, each computed once.

    Frames are computed by the first window that needs them. A frame spans 400 samples around its
    position; those of a window that reach over its edges depend on the window, and are not kept.
    """

    def __init__(self, filters: Floats) -> None:
        self._filters = np.ascontiguousarray(filters.T)
        self._samples = _Kept(0)
        self._frames = _Kept(_REFLECTED, len(filters))

    @property
    def start(self) -> int:
        """Samples are kept from this position, a multiple of `FRAME`."""
        return self._samples.start

    @property
    def end(self) -> int:
        """Samples pushed so far."""
        return self._samples.end

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes; at most about four times what was not forgotten."""
        return self._samples.nbytes + self._frames.nbytes

    def push(self, samples: Samples) -> None:
        """Add float32 audio at 16 kHz, of any length."""
        self._samples.append(samples)

    def forget(self, before: int) -> None:
        """Audio before this position is never needed again."""
        first = min(before, self.end) // FRAME
        self._samples.forget(first * FRAME)
        self._frames.forget(first + _REFLECTED)

    def window(self, start: int, end: int, frames: int) -> Floats:
        """Features (mels, frames), C-contiguous, of samples `start` to `end` and then silence.

        They are what faster-whisper's extractor gives, as its first `frames` frames, for that
        audio zero-padded to `frames` * 160 samples (equal within 1e-5). `start` is a multiple of
        `FRAME`. Raises `InvalidInput` for audio that is not kept or does not fit.
        """
        self._check(start, end, frames)
        length = end - start
        # One frame beyond the window is not returned, but the extractor lets it set the level.
        sounding = min(frames + 1, (length + _REACH + FRAME - 1) // FRAME)
        inner_end = max(_REFLECTED, (length - _REACH) // FRAME + 1)
        inner = self._inner(start // FRAME + _REFLECTED, start // FRAME + inner_end)
        edges = self._edges(start, end, [*range(_REFLECTED), *range(inner_end, sounding)])
        level = max(edges.max(), inner.max(initial=_SILENCE)) - _DYNAMICS

        features = np.full((self._filters.shape[1], frames), _SILENCE, np.float32)
        features[:, _REFLECTED:inner_end] = inner.T
        features[:, :_REFLECTED] = edges[:_REFLECTED][:frames].T
        features[:, inner_end:sounding] = edges[_REFLECTED:][: max(0, frames - inner_end)].T
        np.maximum(features, level, out=features)
        features += 4.0
        features *= 0.25
        return features

    def _check(self, start: int, end: int, frames: int) -> None:
        if start % FRAME or not self.start <= start <= end <= self.end:
            raise InvalidInput(
                f"Samples {start} to {end} are not at hand; {self.start} to {self.end} are."
            )
        if frames < 1 or end - start > frames * FRAME:
            raise InvalidInput(f"{end - start} samples do not fit into {frames} frames.")

    def _inner(self, first: int, stop: int) -> Floats:
        """Frames that lie inside the window that asks for them, and so in every one."""
        while first < stop and self._frames.end < stop:
            block = range(self._frames.end, min(stop, self._frames.end + _BLOCK))
            audio = self._samples.part(
                block.start * FRAME - _REACH, (block.stop - 1) * FRAME + _REACH
            )
            spans = np.lib.stride_tricks.sliding_window_view(audio, 2 * _REACH)[::FRAME]
            self._frames.append(self._log_mel(spans))
        return self._frames.part(first, stop)

    def _edges(self, start: int, end: int, frames: list[int]) -> Floats:
        """Frames of a window that see its beginning mirrored, or zeros after its end."""
        audio = self._samples.part(start, end)
        positions = np.array(frames)[:, np.newaxis] * FRAME + np.arange(-_REACH, _REACH)
        mirrored = np.abs(positions)
        heard = mirrored < len(audio)
        spans = np.zeros(mirrored.shape, np.float32)
        spans[heard] = audio[mirrored[heard]]
        return self._log_mel(spans)

    def _log_mel(self, spans: Floats) -> Floats:
        """(frames, 400) samples to (frames, mels)."""
        spectrum = np.fft.rfft(spans * _HANN).astype(np.complex64, copy=False)
        power = spectrum.real**2 + spectrum.imag**2
        return np.log10(np.maximum(power @ self._filters, np.float32(_LEAST_POWER)))


class _Kept:
    """The latest rows of a growing array; positions count from its beginning.

    Storage is at most about four times what is kept, and moving rows costs each a constant.
    """

    def __init__(self, start: int, *shape: int) -> None:
        self.start = self.end = start
        self._rows: Floats = np.empty((0, *shape), np.float32)
        self._first = 0

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    def append(self, rows: Floats) -> None:
        kept = self.end - self.start
        if self._first + kept + len(rows) > len(self._rows):
            self._move(2 * (kept + len(rows)))
        self._rows[self._first + kept : self._first + kept + len(rows)] = rows
        self.end += len(rows)

    def forget(self, before: int) -> None:
        """Rows from `before` on are kept, and if there are none yet, the next row is that one."""
        if before <= self.start:
            return
        self._first += min(before, self.end) - self.start
        self.start = before
        self.end = max(before, self.end)
        kept = self.end - self.start
        if len(self._rows) > max(_ROOMY, 4 * kept):
            self._move(2 * kept)

    def part(self, start: int, end: int) -> Floats:
        """A view, good until the next change."""
        first = self._first + start - self.start
        return self._rows[first : first + end - start]

    def _move(self, room: int) -> None:
        rows = np.empty((room, *self._rows.shape[1:]), np.float32)
        kept = self.end - self.start
        rows[:kept] = self._rows[self._first : self._first + kept]
        self._rows, self._first = rows, 0
