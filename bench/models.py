"""Writes a Whisper model that costs what a real one of its shape costs and says a fixed text.

Its weights are small noise and, in them, a script. Each word leads to the next, whatever came
before (the first decoder layer looks up what follows a token), so every text has the same length.
Only the last word depends on the audio: it names the place of the last loud sound, as a clock
would, so that no two partials of growing speech are equal and each can be seen by a client.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOKENS = 24
MELS = 80
END, START, ENGLISH, TRANSCRIBE, WITHOUT_TIMES = 50257, 50258, 50259, 50359, 50363
FIRST_WORD = 256
"""Id of the script's first word; the others follow it, behind the 256 letters of bytes."""
MOMENTS = 24
MOMENT_FRAMES = 10
"""Encoder frames (20 ms each) for which the last word stays the same."""

_Array = NDArray[np.float32]
_NOISE = 0.01
_SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "po", "ri", "su", "ta", "ve")


@dataclass(frozen=True, slots=True)
class Shape:
    """`width`, layers of the encoder and as many of the decoder, attention heads."""

    width: int
    layers: int
    heads: int


TINY = Shape(384, 4, 6)


def script() -> list[str]:
    """The words that every text begins with."""
    return [_word(n) for n in range(TOKENS - 1)]


def write_whisper(directory: Path, shape: Shape = TINY) -> Path:
    """A CTranslate2 directory, int8, multilingual, which faster-whisper loads without a network."""
    from ctranslate2.specs import whisper_spec

    spec = whisper_spec.WhisperSpec(shape.layers, shape.heads, shape.layers, shape.heads)
    maker = _Maker(shape)
    maker.encoder(spec.encoder)
    maker.decoder(spec.decoder)
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], [END]
    spec.config.lang_ids = list(range(ENGLISH, ENGLISH + len(_languages())))
    spec.config.alignment_heads = [[shape.layers // 2, 2], [shape.layers - 1, 1]]
    pieces = vocabulary()
    spec.register_vocabulary(pieces)
    spec.validate()
    spec.optimize(quantization="int8")
    directory.mkdir(parents=True, exist_ok=True)
    spec.save(str(directory))
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer(pieces)), "utf-8")
    return directory


def vocabulary() -> list[str]:
    """Whisper's 51 865 pieces: special ones have their real ids, each word begins with a space."""
    letters = _byte_letters()
    text = [*letters, *(f"Ġ{_word(n - FIRST_WORD)}" for n in range(len(letters), END - 1))]
    specials = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{language}|>" for language in _languages()),
        *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"),
        "<|notimestamps|>",
        *(f"<|{0.02 * n:.2f}|>" for n in range(1501)),
    ]
    # The empty piece is what CTranslate2 knows a multilingual model by.
    return [*text, "", *specials]


def tokenizer(pieces: Sequence[str]) -> dict[str, Any]:
    """The `tokenizer.json` for these pieces: whole words by look-up, all else byte by byte."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    byte_level["use_regex"] = True
    added = [
        {
            "id": number,
            "content": piece,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": number < WITHOUT_TIMES + 1,
        }
        for number, piece in enumerate(pieces)
        if number >= END
    ]
    model = {
        "type": "BPE",
        "ignore_merges": True,
        "vocab": {piece: number for number, piece in enumerate(pieces[: END - 1])},
        "merges": [],
    }
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": model,
    }


def _word(number: int) -> str:
    """A made-up word of three syllables, another for each number."""
    base = len(_SYLLABLES)
    mixed = number * 1103 % base**3
    digits = [mixed // base**place % base for place in range(3)]
    tail = str(number // base**3) if number >= base**3 else ""
    return "".join(_SYLLABLES[digit] for digit in digits) + tail


def _byte_letters() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def _languages() -> list[str]:
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    english_first = ["en", *(code for code in _LANGUAGE_CODES if code not in ("en", "yue"))]
    return english_first


class _Maker:
    """Fills a specification with noise and the script.

    Orthogonal directions stand for what comes first, for the words (the last one's is shared by all
    moments), for the end, for English, and for each moment as it is heard and as it is said.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._random = np.random.default_rng(0)
        count = TOKENS + 3 + 2 * MOMENTS
        basis = np.linalg.qr(self._random.standard_normal((shape.width, count)))[0].T
        self._basis = basis.astype(np.float32)
        self._begin, self._stop, self._tongue = self._basis[:3]
        self._words = self._basis[3 : TOKENS + 3]
        self._heard, self._said = np.split(self._basis[TOKENS + 3 :], 2)

    def _noise(self, *shape: int) -> _Array:
        return (self._random.standard_normal(shape) * _NOISE).astype(np.float32)

    def _linear(self, layer: Any, rows: int, columns: int) -> None:
        layer.weight, layer.bias = self._noise(rows, columns), np.zeros(rows, np.float32)

    def _norm(self, layer: Any) -> None:
        width = self._shape.width
        layer.gamma, layer.beta = np.ones(width, np.float32), np.zeros(width, np.float32)

    def _feed_forward(self, layer: Any) -> None:
        width = self._shape.width
        self._norm(layer.layer_norm)
        self._linear(layer.linear_0, 4 * width, width)
        self._linear(layer.linear_1, width, 4 * width)

    def _self_attention(self, layer: Any) -> None:
        width = self._shape.width
        self._norm(layer.layer_norm)
        self._linear(layer.linear[0], 3 * width, width)
        self._linear(layer.linear[1], width, width)

    def encoder(self, encoder: Any) -> None:
        """Coordinate 0 tells loud frames, 1 and 2 the time, the next `MOMENTS` the moment."""
        self._convolutions(encoder)
        encoder.position_encodings.encodings = self._times()
        self._norm(encoder.layer_norm)
        for layer in encoder.layer:
            self._self_attention(layer.self_attention)
            self._feed_forward(layer.ffn)

    def _convolutions(self, encoder: Any) -> None:
        width = self._shape.width
        for convolution, channels in ((encoder.conv1, MELS), (encoder.conv2, width)):
            convolution.weight = self._noise(width, channels, 3)
            convolution.bias = np.zeros(width, np.float32)
        # What is quiet is taken from a constant: all loud frames are equally loud.
        encoder.conv1.weight[0] = 0
        encoder.conv1.weight[0, :, 1] = -400 / MELS
        encoder.conv1.bias[0] = -160
        encoder.conv2.weight[:, 0] = 0
        encoder.conv2.weight[0] = 0
        encoder.conv2.weight[0, 0, 1] = -1
        # More than any other coordinate, so that rounding to eight bits leaves it exact.
        encoder.conv2.bias[0] = 26

    def _times(self) -> _Array:
        times = self._noise(1500, self._shape.width)
        angle = np.linspace(-np.pi / 4, np.pi / 4, 1500)
        times[:, 0] = 0
        times[:, 1], times[:, 2] = 20 * np.sin(angle), 20 * np.cos(angle)
        times[:, 3 : 3 + MOMENTS] = 0
        frames = np.arange(1500)
        times[frames, 3 + frames // MOMENT_FRAMES % MOMENTS] = 20
        return times

    def decoder(self, decoder: Any) -> None:
        """The first layer's feed-forward finds the next word, the last layer's cross-attention
        which moment it is."""
        width = self._shape.width
        decoder.embeddings.weight = self._embeddings()
        decoder.projection.weight = decoder.embeddings.weight
        decoder.scale_embeddings = False
        decoder.position_encodings.encodings = self._noise(448, width)
        self._norm(decoder.layer_norm)
        for layer in decoder.layer:
            self._self_attention(layer.self_attention)
            self._norm(layer.attention.layer_norm)
            for part, rows in enumerate((width, 2 * width, width)):
                self._linear(layer.attention.linear[part], rows, width)
            self._feed_forward(layer.ffn)
        self._lead_on(decoder.layer[0].ffn)
        self._look_for_the_end(decoder.layer[-1].attention)
        self._tell_at_last(decoder.layer[-1].ffn)

    def _embeddings(self) -> _Array:
        embeddings = self._noise(len(vocabulary()), self._shape.width)
        embeddings -= (embeddings @ self._basis.T @ self._basis).astype(np.float32)
        embeddings[START] += 10 * self._tongue
        embeddings[ENGLISH] += 1.5 * self._tongue
        embeddings[[TRANSCRIBE, TRANSCRIBE - 1]] += 1.5 * self._begin
        embeddings[WITHOUT_TIMES:] += 1.5 * self._begin
        embeddings[END] += 1.5 * self._stop
        embeddings[FIRST_WORD : FIRST_WORD + TOKENS - 1] += 1.5 * self._words[:-1]
        last = slice(FIRST_WORD + TOKENS - 1, FIRST_WORD + TOKENS - 1 + MOMENTS)
        embeddings[last] += 1.5 * self._words[-1] + 1.5 * self._said
        # Nothing of the script is second best elsewhere: beam search would take the way to the end.
        embeddings[[END, *range(FIRST_WORD, last.stop)]] -= 0.3 * self._words.sum(axis=0)
        return embeddings

    def _lead_on(self, layer: Any) -> None:
        """From each direction to the next: begin, the words, stop."""
        path = [self._begin, *self._words, self._stop]
        for unit, (here, there) in enumerate(itertools.pairwise(path)):
            layer.linear_0.weight[unit] = here
            layer.linear_0.bias[unit] = -7
            layer.linear_1.weight[:, unit] = 50 * there

    def _look_for_the_end(self, layer: Any) -> None:
        """The first head looks at the last loud frame and says which moment that is."""
        width = self._shape.width
        query, key_value, out = layer.linear
        query.bias[0] = 150
        key_value.weight[0] = 0
        key_value.weight[0, :2] = 2, 1
        key_value.weight[width : width + MOMENTS] = 0
        for moment in range(MOMENTS):
            key_value.weight[width + moment, 3 + moment] = 1
        out.weight[:, :MOMENTS] = 30 * self._heard.T

    def _tell_at_last(self, layer: Any) -> None:
        """The moment is said where the last word is due, and nowhere else: beam search takes any
        other way to the end for a text that is complete."""
        units = slice(0, MOMENTS)
        layer.linear_0.weight[units] = self._heard + 1.3 * self._words[-1]
        layer.linear_0.bias[units] = -26
        layer.linear_1.weight[:, units] = 50 * self._said.T
