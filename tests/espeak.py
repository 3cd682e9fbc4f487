"""espeak-ng in a process of its own: `python espeak.py VOICE WORDS_PER_MINUTE TEXT`.

Writes the rate as four bytes, then mono 16-bit samples. Only the first text that a process speaks
is the same in every process; later ones depend on those before them.
"""

import ctypes
import sys

import espeakng_loader

SYNCHRONOUS, DO_NOT_EXIT, UTF8, RATE = 2, 0x8000, 1, 1


def speak(text: bytes, voice: str, words_per_minute: int) -> tuple[int, bytes]:
    """The sample rate and the sound."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    data = espeakng_loader.get_data_path().encode()
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, data, DO_NOT_EXIT)
    sound = bytearray()

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def collect(samples, count, _events):  # type: ignore[no-untyped-def]
        if samples and count > 0:
            sound.extend(ctypes.string_at(samples, 2 * count))
        return 0

    library.espeak_SetSynthCallback(collect)
    library.espeak_SetVoiceByName(voice.encode())
    library.espeak_SetParameter(RATE, words_per_minute, 0)
    library.espeak_Synth(text, len(text) + 1, 0, 1, 0, UTF8, None, None)
    return rate, bytes(sound)


if __name__ == "__main__":
    rate, sound = speak(sys.argv[3].encode(), sys.argv[1], int(sys.argv[2]))
    sys.stdout.buffer.write(rate.to_bytes(4, "little") + sound)
