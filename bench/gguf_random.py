"""Writes a language model of random weights: it costs what a real one of its shape costs, and never
ends an answer by itself."""

from pathlib import Path
from typing import Any

import numpy as np

WIDTH, LAYERS, VOCABULARY = 768, 12, 32_000
"""About 134 million parameters."""
HEADS, HEADS_KV = 12, 4
CONTEXT = 4096
_SPECIAL = 3
_BYTES = 256


def words(count: int, seed: int) -> str:
    """A text of so many tokens, another one for each seed."""
    chosen = np.random.default_rng(seed).integers(0, VOCABULARY - _SPECIAL - _BYTES, count)
    return " ".join(f"w{number}" for number in chosen)


def write_gguf(path: Path) -> Path:
    """A llama in Q8_0 with a vocabulary of words `w0`, `w1`, … that are a token each."""
    import gguf

    head, hidden = WIDTH // HEADS, WIDTH * 8 // 3 // 32 * 32
    out = gguf.GGUFWriter(path, "llama")
    out.add_name("random")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(hidden)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS_KV)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(head)
    out.add_vocab_size(VOCABULARY)
    _vocabulary(out)
    random = np.random.default_rng(0)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = (random.standard_normal((rows, columns), np.float32) * 0.02).astype(np.float32)
        if name.startswith("output"):
            values[:_SPECIAL] = 0.0  # no logit is ever the highest: the end is never chosen
        kind = gguf.GGMLQuantizationType.Q8_0
        out.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    matrix("token_embd.weight", VOCABULARY, WIDTH)
    matrix("output.weight", VOCABULARY, WIDTH)
    out.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
        for name, rows, columns in (
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", HEADS_KV * head, WIDTH),
            ("attn_v", HEADS_KV * head, WIDTH),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", hidden, WIDTH),
            ("ffn_up", hidden, WIDTH),
            ("ffn_down", WIDTH, hidden),
        ):
            matrix(f"blk.{layer}.{name}.weight", rows, columns)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def _vocabulary(out: Any) -> None:
    count = VOCABULARY - _SPECIAL - _BYTES
    pieces = ["<unk>", "<s>", "</s>"]
    pieces += [f"<0x{byte:02X}>" for byte in range(_BYTES)]
    pieces += [f"\u2581w{number}" for number in range(count)]
    out.add_tokenizer_model("llama")
    out.add_token_list(pieces)
    # Merges of a SentencePiece vocabulary go by score; spelling a word in bytes comes last.
    out.add_token_scores([0.0] * _SPECIAL + [-1000.0] * _BYTES + [-float(n) for n in range(count)])
    out.add_token_types([2, 3, 3] + [6] * _BYTES + [1] * count)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_chat_template("{% for message in messages %}{{ message.content }}{% endfor %}")
