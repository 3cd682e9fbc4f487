"""A scripted PortAudio for both directions: a microphone that says what a test says, a loudspeaker
whose sound the test listens to."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class Stream:
    """A stream whose callback is called from a thread of its own, as PortAudio's is."""

    latency = 0.02

    def __init__(
        self,
        callback: Callable[..., None],
        finished_callback: Callable[[], None],
        blocksize: int,
        **settings: Any,
    ) -> None:
        self._callback = callback
        self._finished = finished_callback
        self.blocksize = blocksize
        self.settings = settings
        self.started = self.closed = False
        self.heard = b""
        """What a loudspeaker played, silence included."""

    def start(self) -> None:
        self.started = True

    def abort(self) -> None:
        self.started = False

    def close(self) -> None:
        self.closed = True
        self._finished()

    def say(self, blocks: int, data: bytes = b"\x05\x06") -> None:
        """Speak into a microphone: blocks that repeat `data`."""
        block = data * (2 * self.blocksize // len(data))
        self._in_thread(lambda: [self._callback(block, 0, None, None) for _ in range(blocks)])

    def listen(self, blocks: int) -> bytes:
        """Let a loudspeaker play; the sound."""
        heard = bytearray(2 * self.blocksize * blocks)
        size = 2 * self.blocksize

        def play() -> None:
            for start in range(0, len(heard), size):
                block = memoryview(heard)[start : start + size]
                self._callback(block, self.blocksize, None, None)

        self._in_thread(play)
        self.heard += heard
        return bytes(heard)

    def unplug(self) -> None:
        self._in_thread(self._finished)

    @staticmethod
    def _in_thread(act: Callable[[], object]) -> None:
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()


class PortAudio(SimpleNamespace):
    """What the clients use of sounddevice, with one microphone and one loudspeaker."""

    class PortAudioError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__()
        self.microphones: list[Stream] = []
        self.loudspeakers: list[Stream] = []
        self.fault: Exception | None = None
        self.only_rate: int | None = None
        """The one rate that the loudspeaker can play, where it cannot play any."""

    def query_devices(self, device: object = None, kind: str | None = None) -> Any:
        headset = {"name": "Headset", "default_samplerate": 48_000.0}
        if kind is not None:
            return headset
        return [
            {**headset, "max_input_channels": 1, "max_output_channels": 0},
            {**headset, "max_input_channels": 0, "max_output_channels": 2},
        ]

    def RawInputStream(self, **settings: Any) -> Stream:
        self.microphones.append(Stream(**settings))
        return self.microphones[-1]

    def RawOutputStream(self, **settings: Any) -> Stream:
        if self.fault is not None:
            raise self.fault
        if self.only_rate not in (None, settings["samplerate"]):
            raise self.PortAudioError("Invalid sample rate")
        self.loudspeakers.append(Stream(**settings))
        return self.loudspeakers[-1]
