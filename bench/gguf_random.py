"""Writes a language model of random weights: it costs what a real one of its shape costs, and never
ends an answer by itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CONTEXT = 4096
WORDS = 1000
"""Words of the vocabulary that prompts are made of."""
_SPECIAL = 3
_BYTES = 256
_HEAD = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """A llama; the default has about 134 million parameters."""

    width: int = 768
    layers: int = 12
    vocabulary: int = 32_000
    key_heads: int = 4


def words(count: int, seed: int) -> str:
    """A text of so many tokens, another one for each seed."""
    chosen = np.random.default_rng(seed).integers(0, WORDS, count)
    return " ".join(f"w{number}" for number in chosen)


def write_gguf(path: Path, shape: Shape = Shape()) -> Path:
    """A llama in Q8_0 with a vocabulary of words `w0`, `w1`, … that are a token each."""
    import gguf

    hidden, keys = shape.width * 8 // 3 // 32 * 32, shape.key_heads * _HEAD
    out = gguf.GGUFWriter(path, "llama")
    out.add_name("random")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(shape.width)
    out.add_block_count(shape.layers)
    out.add_feed_forward_length(hidden)
    out.add_head_count(shape.width // _HEAD)
    out.add_head_count_kv(shape.key_heads)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(_HEAD)
    out.add_vocab_size(shape.vocabulary)
    _vocabulary(out, shape.vocabulary)
    random = np.random.default_rng(0)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = (random.standard_normal((rows, columns), np.float32) * 0.02).astype(np.float32)
        if name.startswith("output"):
            values[:_SPECIAL] = 0.0  # no logit is ever the highest: the end is never chosen
        kind = gguf.GGMLQuantizationType.Q8_0
        out.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    width = shape.width
    matrix("token_embd.weight", shape.vocabulary, width)
    matrix("output.weight", shape.vocabulary, width)
    out.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for layer in range(shape.layers):
        for name in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, np.float32))
        for name, rows, columns in (
            ("attn_q", width, width),
            ("attn_k", keys, width),
            ("attn_v", keys, width),
            ("attn_output", width, width),
            ("ffn_gate", hidden, width),
            ("ffn_up", hidden, width),
            ("ffn_down", width, hidden),
        ):
            matrix(f"blk.{layer}.{name}.weight", rows, columns)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def _vocabulary(out: Any, size: int) -> None:
    pieces = ["<unk>", "<s>", "</s>"]
    pieces += [f"<0x{byte:02X}>" for byte in range(_BYTES)]
    # SentencePiece joins two known pieces at a time, so a word's beginnings are words too.
    pieces.append("\u2581w")
    count = size - len(pieces)
    pieces += [f"\u2581w{number}" for number in range(count)]
    out.add_tokenizer_model("llama")
    out.add_token_list(pieces)
    out.add_token_scores(
        [0.0] * _SPECIAL + [-1e6] * _BYTES + [0.0] + [-float(n) for n in range(count)]
    )
    out.add_token_types([2, 3, 3] + [6] * _BYTES + [1] * (count + 1))
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_chat_template("{% for message in messages %}{{ message.content }}{% endfor %}")
