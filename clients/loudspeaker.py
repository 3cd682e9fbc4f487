"""A stream to a loudspeaker through PortAudio: at 24 kHz, or else at the device's own rate."""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from clients.commands import RATE

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler


def open_loudspeaker(
    portaudio: ModuleType, device: int | str | None, *, block: float = 0.0, **settings: Any
) -> tuple[Any, int]:
    """A started `RawOutputStream` of 16-bit mono PCM, and its rate.

    `device` is its number or a part of its name; `block` is the seconds of sound in a block (0: as
    PortAudio likes); `settings` are the stream's others.

    Raises ValueError and PortAudio's error. Blocks.
    """
    try:
        return _started(portaudio, device, RATE, block, settings), RATE
    except portaudio.PortAudioError:
        own = int(portaudio.query_devices(device, "output")["default_samplerate"])
        if own == RATE:
            raise
        return _started(portaudio, device, own, block, settings), own


def _started(
    portaudio: ModuleType,
    device: int | str | None,
    rate: int,
    block: float,
    settings: dict[str, Any],
) -> Any:
    stream = portaudio.RawOutputStream(
        samplerate=rate,
        blocksize=round(block * rate),
        device=device,
        channels=1,
        dtype="int16",
        **settings,
    )
    try:
        stream.start()
    except portaudio.PortAudioError:
        stream.close()
        raise
    return stream


class RateConverter:
    """16-bit mono PCM at 24 kHz to another rate, in pieces of whole samples; 1 ms is held back."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler: AudioResampler | None = None

    def convert(self, data: bytes) -> bytes:
        """What became ready."""
        if self._rate == RATE or not data:
            return data
        import numpy as np
        from av import AudioFrame, AudioResampler

        if self._resampler is None:
            self._resampler = AudioResampler("s16", "mono", self._rate)
        frame = AudioFrame.from_ndarray(np.frombuffer(data, "<i2")[np.newaxis], "s16", "mono")
        frame.sample_rate = RATE
        return _joined(self._resampler.resample(frame))

    def flush(self) -> bytes:
        """What was held back; what is converted next begins anew."""
        if self._resampler is None:
            return b""
        rest = _joined(self._resampler.resample(None))
        self._resampler = None
        return rest


def _joined(frames: "list[AudioFrame]") -> bytes:
    return b"".join(frame.to_ndarray().tobytes() for frame in frames)
