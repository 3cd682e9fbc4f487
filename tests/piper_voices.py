"""Tiny Piper voices: each phoneme is a tone of its own, as long as its number says."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.onnx_files import field, varint

RATE = 22_050
HOP = 256

# Numbers of fields and types in onnx.proto.
_INT64, _FLOAT = 7, 1
_SYMBOLS = [
    *"_^$ !'(),-.:;?abcdefghijklmnopqrstuvwxyz0123456789",
    *"æçðøħŋœɐɑɒɓɔɕɖɗɘəɚɛɜɞɟɡɢɣɤɥɦɧɨɪɫɬɭɮɯɰɱɲɳɴɵɶɸɹɺɻɽɾʀʁʂʃʄʈʉʊʋʌʍʎʏʐʑʒʔʕʘʙʛʜʝʟʡʢˈˌːˑ˞ʲ̩̃̆̊̍",
]


def frames_of(number: int, scale: float = 1.0) -> int:
    """How many frames of `HOP` samples a phoneme of this number lasts, at a length scale."""
    return -int(-scale * (1 + number % 4) // 1)


def write_voice(
    path: Path,
    *,
    speakers: Sequence[str] = (),
    language: str = "en_US",
    espeak: str = "en-us",
    **more: Any,
) -> Path:
    """Write `path` (`name.onnx`) and its description; `more` replaces keys of that. A speaker's
    tones are an octave above those of the one before."""
    count = max(1, len(speakers))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(network(speakers=count))
    path.with_name(path.name + ".json").write_text(
        json.dumps(description(speakers, language=language, espeak=espeak) | more)
    )
    return path


def description(
    speakers: Sequence[str] = (), language: str = "en_US", espeak: str = "en-us"
) -> dict[str, Any]:
    """What `name.onnx.json` says."""
    return {
        "audio": {"sample_rate": RATE, "quality": "tiny"},
        "espeak": {"voice": espeak},
        "language": {"code": language, "name_english": "Test", "country_english": "Nowhere"},
        "phoneme_type": "espeak",
        "num_symbols": len(_SYMBOLS),
        "num_speakers": max(1, len(speakers)),
        "speaker_id_map": {name: number for number, name in enumerate(speakers)},
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(_SYMBOLS)},
        "inference": {"noise_scale": 0.0, "length_scale": 1.0, "noise_w": 0.0},
        "hop_length": HOP,
    }


def network(*, speakers: int = 1, durations: bool = True) -> bytes:
    """The ONNX file. Without `durations` nothing in it is called like what Piper rounds up."""
    rounding = "Ceil" if durations else "Neg"
    constants = {
        "four": _tensor([4], _INT64),
        "one": _tensor([1], _FLOAT),
        "zero": _tensor([0], _FLOAT),
        "hop": _tensor([HOP], _FLOAT),
        "longest": _tensor([16 * HOP], _FLOAT, scalar=True),
        "start": _tensor([0], _FLOAT, scalar=True),
        "by": _tensor([1], _FLOAT, scalar=True),
        "base": _tensor([55], _FLOAT),
        "step": _tensor([11], _FLOAT),
        "turn": _tensor([6.283185307 / RATE], _FLOAT),
        "half": _tensor([0.5], _FLOAT),
        "column": _tensor([-1, 1], _INT64),
        "shape": _tensor([1, 1, 1, -1], _INT64),
        "ids_shape": _tensor([1, 1, -1], _INT64),
        "second": _tensor([1], _INT64),
        "two": _tensor([2], _FLOAT),
    }
    nodes = [
        _node("Reshape", ["input", "ids_shape"], "ids"),
        _node("Mod", ["ids", "four"], "rest"),
        _node("Cast", ["rest"], "rest_float", to=_FLOAT),
        _node("Add", ["rest_float", "one"], "frames"),
        _node("Gather", ["scales", "second"], "length"),
        _node("Mul", ["frames", "length"], "scaled"),
        _node(rounding, ["scaled"], "rounded"),
        _node("Abs", ["rounded"], "whole"),
        _node("Mul", ["whole", "hop"], "samples"),
        _node("Reshape", ["samples", "column"], "lasting"),
        _node("Range", ["start", "longest", "by"], "time"),
        _node("Less", ["time", "lasting"], "sounding"),
        _node("Cast", ["ids"], "numbers", to=_FLOAT),
        _node("Mul", ["numbers", "step"], "above"),
        _node("Add", ["above", "base"], "hertz"),
        *_octaves(speakers),
        _node("Mul", ["pitch", "turn"], "radians"),
        _node("Reshape", ["radians", "column"], "speed"),
        _node("Mul", ["speed", "time"], "angle"),
        _node("Sin", ["angle"], "wave"),
        _node("Mul", ["wave", "half"], "quiet"),
        _node("Compress", ["quiet", "sounding_flat"], "heard"),
        _node("Reshape", ["heard", "shape"], "output"),
    ]
    flat = _node("Reshape", ["sounding", "line"], "sounding_flat")
    nodes.insert(-2, flat)
    constants["line"] = _tensor([-1], _INT64)
    inputs = [
        _value("input", _INT64, [0, 0]),
        _value("input_lengths", _INT64, [0]),
        _value("scales", _FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(_value("sid", _INT64, [1]))
    graph = b"".join(
        (
            *(field(1, node) for node in nodes),
            field(2, b"tones"),
            *(field(5, field(8, name.encode()) + made) for name, made in constants.items()),
            *(field(11, value) for value in inputs),
            field(12, _value("output", _FLOAT, [1, 1, 1, 0])),
        )
    )
    return _number(1, 8) + field(7, graph) + field(8, field(1, b"") + _number(2, 15))


def _octaves(speakers: int) -> list[bytes]:
    if speakers == 1:
        return [_node("Identity", ["hertz"], "pitch")]
    return [
        _node("Cast", ["sid"], "speaker", to=_FLOAT),
        _node("Pow", ["two", "speaker"], "octave"),
        _node("Mul", ["hertz", "octave"], "pitch"),
    ]


def _node(kind: str, inputs: Sequence[str], output: str, **numbers: int) -> bytes:
    attributes = (
        field(5, field(1, name.encode()) + _number(3, value) + _number(20, 2))
        for name, value in numbers.items()
    )
    named = (field(1, name.encode()) for name in inputs)
    return b"".join((*named, field(2, output.encode()), field(4, kind.encode()), *attributes))


def _tensor(values: Sequence[float], kind: int, *, scalar: bool = False) -> bytes:
    letter = "q" if kind == _INT64 else "f"
    whole = [int(value) for value in values] if kind == _INT64 else values
    raw = struct.pack(f"<{len(values)}{letter}", *whole)
    return b"".join((b"" if scalar else _number(1, len(values)), _number(2, kind), field(9, raw)))


def _value(name: str, kind: int, shape: Sequence[int]) -> bytes:
    """A size of 0 is free."""
    sizes = b"".join(field(1, _number(1, size) if size else b"") for size in shape)
    tensor = _number(1, kind) + field(2, sizes)
    return field(1, name.encode()) + field(2, field(1, tensor))


def _number(key: int, value: int) -> bytes:
    return varint(key << 3) + varint(value)
