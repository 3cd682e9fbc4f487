"""GGUF models that tests build in a moment: language models that say a known text or have random
weights, an embedding model and a reranker."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import gguf
import numpy as np
from gguf_vocabularies import (
    QWEN,
    Special,
    Vocabulary,
    byte_level,
    decoded,
    encoded,
    sentence_piece,
    word_piece,
)
from numpy.typing import NDArray

CHATML: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

ANSWER: Final = "The answer to everything is forty-two, they say."

MARGIN: Final = 25.0
"""By how much the logit of the scripted token is above 0; the others' are between -1 and 1."""

Answer = str | Sequence[str | bytes]
"""A text, which `cut` makes tokens of, or the tokens themselves; bytes may be half a character."""

_Matrix = NDArray[np.float32]
_Weights = Callable[[str, int, int], _Matrix]
"""The matrix of a name, with so many rows and columns."""


def scripted(
    path: Path,
    answers: Answer | Mapping[str, Answer] = ANSWER,
    *,
    ends: bool = True,
    context: int = 512,
    template: str = CHATML,
    special: Special = QWEN,
) -> Path:
    """A llama model that says `answers` after any prompt, whatever the temperature, and then ends,
    or says it again and again where it never `ends`.

    The next token depends on the last one alone, so no token may occur twice in the answers. With
    several answers, each is for prompts that end in its key, one byte or special token; `""` is for
    all others. Its vocabulary is byte-level BPE, whose prompts take a token for each byte.
    """
    scripts = answers if isinstance(answers, Mapping) else {"": answers}
    vocabulary = byte_level(special)
    end = vocabulary.ids[special.end]
    follows: dict[int, int] = {}
    default = end
    taken = {decoded(text) for text in vocabulary.ids}
    for key, answer in scripts.items():
        pieces = cut(answer, special.defined, taken) if isinstance(answer, str) else answer
        chain = [vocabulary.add(piece) for piece in pieces]
        if key:
            chain.insert(0, vocabulary.ids[encoded(key)])
        else:
            default = chain[0]
        chain.append(end if ends else chain[1 if key else 0])
        for last, following in pairwise(chain):
            if last in follows:
                raise ValueError(f"two things follow {vocabulary.texts[last]!r}")
            follows[last] = following
    _write_scripted(path, vocabulary, follows, default, context, template)
    return path


def cut(text: str, defined: Sequence[str] = (), taken: set[bytes] | None = None) -> list[bytes]:
    """`text` in words, none of them twice and none of one byte: those that would be are joined to
    what follows, or at an end to what is before. `defined` are words of their own the first time;
    `taken` ones are not used, and grow. Raises `ValueError` where there is nothing to join to."""
    taken = set() if taken is None else taken
    special = {word.encode() for word in defined}
    pieces: list[bytes] = []
    held = b""
    for part in re.split(f"({'|'.join(map(re.escape, defined)) or '(?!)'})", text):
        if part in defined and part.encode() not in pieces:
            _join_back(pieces, held, taken, special)
            pieces.append(part.encode())
            held = b""
            continue
        for word in re.findall(r"\s*\S+|\s+", part):
            held += word.encode()
            if len(held) > 1 and held not in taken:
                pieces.append(held)
                taken.add(held)
                held = b""
    _join_back(pieces, held, taken, special)
    return pieces


def _join_back(pieces: list[bytes], held: bytes, taken: set[bytes], special: set[bytes]) -> None:
    while held:
        if not pieces or pieces[-1] in special:
            raise ValueError(f"{held!r} cannot be a token of its own here")
        held = pieces.pop() + held
        if held not in taken:
            pieces.append(held)
            taken.add(held)
            held = b""


def random(
    path: Path,
    *,
    width: int = 64,
    layers: int = 2,
    vocabulary: int = 512,
    context: int = 2048,
    seed: int = 0,
) -> Path:
    """A llama model of random F32 weights whose every token depends on all before it; heads of 16,
    two for each of the cache. Its vocabulary is SentencePiece, with a space before the text."""
    generator = np.random.default_rng(seed)

    def weights(name: str, rows: int, columns: int) -> _Matrix:
        scale = 4.0 if name == "output" else 1.0
        return _normal(generator, scale, rows, columns)

    words = sentence_piece(vocabulary)
    shape = _Shape(width, layers, heads=width // 16, context=context)
    _write_llama(path, words, shape, weights, CHATML)
    return path


def embedder(
    path: Path, *, pooling: Literal["mean", "cls", "last"] = "mean", context: int = 512
) -> Path:
    """A BERT whose vector of a text is about its bag of words (mean pooling): the more words two
    texts share, the nearer they are. It knows `WORDS` and spells the others."""
    generator = np.random.default_rng(0)
    vocabulary = word_piece()

    def weights(name: str, rows: int, columns: int) -> _Matrix:
        if name.startswith(("attn", "ffn")):
            return _normal(generator, 0.3, rows, columns)
        return np.zeros((rows, columns), np.float32)

    writer = _bert(path, vocabulary, context, pooling, weights)
    _finish(writer)
    return path


def reranker(path: Path, *, likes: str = "music", context: int = 512) -> Path:
    """A BERT with a head whose score is higher the larger the share of the word `likes`, one of
    `WORDS`, among the words of query and document."""
    vocabulary = word_piece()
    liked = vocabulary.ids["\u2581" + likes]

    def weights(name: str, rows: int, columns: int) -> _Matrix:
        values = np.zeros((rows, columns), np.float32)
        if name in ("attn_v", "attn_output"):
            values[liked, liked] = 1.0
        return values

    writer = _bert(path, vocabulary, context, "rank", weights)
    head = np.zeros((1, _width(len(vocabulary.texts))), np.float32)
    head[0, liked] = 1.0
    writer.add_tensor("cls.output.weight", head)
    _finish(writer)
    return path


@dataclass(frozen=True, slots=True)
class _Shape:
    width: int
    layers: int
    heads: int
    context: int
    hidden: int = 64


def _write_scripted(
    path: Path,
    vocabulary: Vocabulary,
    follows: Mapping[int, int],
    default: int,
    context: int,
    template: str,
) -> None:
    """State 0 is any token without a follower of its own; each state is a direction."""
    states = {token: state for state, token in enumerate(follows, 1)}
    width = _width(len(states) + 1)
    size = len(vocabulary.texts)
    embedding = np.zeros((size, width), np.float32)
    embedding[range(size), [states.get(token, 0) for token in range(size)]] = np.sqrt(width)
    output = np.random.default_rng(0).uniform(-1, 1, (size, width)).astype(np.float32)
    output[[default, *follows.values()], range(len(states) + 1)] = MARGIN
    output /= np.sqrt(width)

    def weights(name: str, rows: int, columns: int) -> _Matrix:
        known = {"token_embd": embedding, "output": output}
        return known.get(name, np.zeros((rows, columns), np.float32))

    shape = _Shape(width, layers=1, heads=width // 32, context=context)
    _write_llama(path, vocabulary, shape, weights, template)


def _write_llama(
    path: Path, vocabulary: Vocabulary, shape: _Shape, weights: _Weights, template: str
) -> None:
    width, size = shape.width, len(vocabulary.texts)
    heads_kv = max(1, shape.heads // 2)
    head = width // shape.heads
    writer = _writer(path, "llama", shape, heads_kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(head)
    writer.add_chat_template(template)
    vocabulary.write(writer)
    writer.add_tensor("token_embd.weight", weights("token_embd", size, width))
    writer.add_tensor("output.weight", weights("output", size, width))
    ones = np.ones(width, np.float32)
    writer.add_tensor("output_norm.weight", ones)
    matrices = {
        "attn_q": (width, width),
        "attn_k": (heads_kv * head, width),
        "attn_v": (heads_kv * head, width),
        "attn_output": (width, width),
        "ffn_gate": (shape.hidden, width),
        "ffn_up": (shape.hidden, width),
        "ffn_down": (width, shape.hidden),
    }
    for layer in range(shape.layers):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", ones)
        for name, (rows, columns) in matrices.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(name, rows, columns))
    _finish(writer)


def _bert(path: Path, vocabulary: Vocabulary, context: int, pooling: str, weights: _Weights) -> Any:
    """A BERT of one layer whose words, and [CLS], are directions; [SEP] says nothing."""
    size = len(vocabulary.texts)
    width = _width(size)
    shape = _Shape(width, layers=1, heads=1, context=context)
    writer = _writer(path, "bert", shape, 1)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType[pooling.upper()])
    vocabulary.write(writer)
    embedding = np.zeros((size, width), np.float32)
    said = [2, *range(4, size)]
    embedding[said, said] = 1.0
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("position_embd.weight", weights("position_embd", context, width))
    writer.add_tensor("token_types.weight", weights("token_types", 2, width))
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(width, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", weights(name, width, width))
        writer.add_tensor(f"blk.0.{name}.bias", np.zeros(width, np.float32))
    for name, rows, columns in (("ffn_up", 64, width), ("ffn_down", width, 64)):
        writer.add_tensor(f"blk.0.{name}.weight", weights(name, rows, columns))
        writer.add_tensor(f"blk.0.{name}.bias", np.zeros(rows, np.float32))
    return writer


def _writer(path: Path, architecture: str, shape: _Shape, heads_kv: int) -> Any:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(path.stem)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(heads_kv)
    return writer


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _normal(generator: np.random.Generator, scale: float, rows: int, columns: int) -> _Matrix:
    """What it multiplies keeps its size, times `scale`."""
    values = generator.standard_normal((rows, columns), np.float32)
    values *= scale / np.sqrt(columns)
    return values


def _width(states: int) -> int:
    return max(64, -(-states // 32) * 32)
