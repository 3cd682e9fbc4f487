"""espeak-ng through ctypes: a text in, its sound and the places of its words out.

The library is not safe for threads and has one state for the whole process.
"""

import ctypes
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.base import EngineError
from engines.espeak_voices import data_directory
from engines.recognition import Samples

LONGEST_PATH = 100
"""Bytes of the data's path that surely fit; from about 160 on it refuses to start."""

_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000
_UTF8, _END_PAUSE = 1, 0x1000
_WORD = 1
_RATE, _VOLUME, _PITCH, _RANGE, _PUNCTUATION, _CAPITALS, _WORD_GAP = range(1, 8)


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("value", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, slots=True)
class Word:
    """Where a word begins: character of the text, sample of the sound, both from 0."""

    character: int
    sample: int


class Library:
    """espeak-ng, started. Raises `EngineError` where it cannot be."""

    def __init__(self) -> None:
        import espeakng_loader

        try:
            self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        except (OSError, RuntimeError) as error:
            raise EngineError(f"espeak-ng cannot be loaded: {error}.") from None
        self._library.espeak_Synth.argtypes = (
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
            *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
        )
        self._library.espeak_Initialize.argtypes = (
            *(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int),
        )
        self._place: tempfile.TemporaryDirectory[str] | None = None
        self._sound = bytearray()
        self._words: list[Word] = []
        self._callback = _Callback(self._hear)
        self.rate = self._start(data_directory())
        """Hz of all its sound."""

    def say(
        self, text: str, voice: str, words_per_minute: int, pitch: int, pause: bool
    ) -> tuple[Samples, list[Word]]:
        """The sound of a text without NUL, and its words. `voice` is one of its identifiers;
        `pause`: silence after it as after a sentence. Blocks."""
        library = self._library
        library.espeak_SetSynthCallback(self._callback)  # there is one for the whole process
        if library.espeak_SetVoiceByName(voice.encode()):
            raise EngineError(f"espeak-ng does not take its own voice '{voice}'.")
        # They outlive a request, and a voice does not set all of them.
        settings = {_RATE: words_per_minute, _VOLUME: 100, _PITCH: pitch, _RANGE: 50}
        for setting, value in (settings | {_PUNCTUATION: 0, _CAPITALS: 0, _WORD_GAP: 0}).items():
            library.espeak_SetParameter(setting, value, 0)
        self._sound.clear()
        self._words.clear()
        encoded = text.encode()
        flags = _UTF8 | (_END_PAUSE if pause else 0)
        if library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, flags, None, None):
            raise EngineError("espeak-ng could not speak the text.")
        samples = np.frombuffer(bytes(self._sound), "<i2").astype(np.float32)
        return samples / np.float32(32768), list(self._words)

    def close(self) -> None:
        """Forget the short way to its data, if it needed one; it cannot speak any more."""
        if self._place is not None:
            self._place.cleanup()

    def _start(self, data: Path) -> int:
        # It would look for other data, and speak with none.
        if not (data / "phontab").is_file():
            raise EngineError(f"espeak-ng's data is not in {data}.")
        path = os.fsencode(data)
        if len(path) > LONGEST_PATH:
            path = self._shortened(data)
        rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, path, _DO_NOT_EXIT)
        if rate <= 0:
            self.close()
            raise EngineError(f"espeak-ng cannot use its data in {data}.")
        return rate

    def _shortened(self, data: Path) -> bytes:
        self._place = tempfile.TemporaryDirectory(prefix="antiphon-")
        link = Path(self._place.name, data.name)
        try:
            link.symlink_to(data, target_is_directory=True)
        except OSError as error:
            raise EngineError(
                f"espeak-ng's data lies too deep ({data}), and no link to it can be made in "
                f"{link.parent}: {error.strerror}."
            ) from None
        return os.fsencode(link)

    def _hear(self, sound: int | None, count: int, events: Any) -> int:
        # An exception here would be printed and taken for "go on".
        try:
            if sound and count > 0:
                self._sound += ctypes.string_at(sound, 2 * count)
            for event in events:
                if event.type == 0:
                    break
                if event.type == _WORD:
                    self._words.append(Word(event.position - 1, event.sample))
        except MemoryError:
            return 1
        return 0
