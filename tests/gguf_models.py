"""GGUF models that tests build in a moment: language models that say a known text or have random
weights, an embedding model and a reranker."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase, digits, punctuation
from typing import Any, Final, Literal

import gguf
import numpy as np
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


@dataclass(frozen=True, slots=True)
class Special:
    """The tokens of a scripted model that are no text. The first control token begins a prompt if
    `bos`, and `end` ends an answer. Defined ones are special in any text, as `<think>` of Qwen3."""

    control: tuple[str, ...] = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
    defined: tuple[str, ...] = ("<think>", "</think>", "<tool_call>", "</tool_call>")
    end: str = "<|im_end|>"
    bos: bool = False


def scripted(
    path: Path,
    answers: Answer | Mapping[str, Answer] = ANSWER,
    *,
    ends: bool = True,
    context: int = 512,
    template: str = CHATML,
    special: Special = Special(),
) -> Path:
    """A llama model that says `answers` after any prompt, whatever the temperature, and then ends,
    or says it again and again where it never `ends`.

    The next token depends on the last one alone, so no token may occur twice in the answers. With
    several answers, each is for prompts that end in its key, one byte or special token; `""` is for
    all others. Its vocabulary is byte-level BPE, whose prompts take a token for each byte.
    """
    scripts = answers if isinstance(answers, Mapping) else {"": answers}
    vocabulary = _byte_level(special)
    end = vocabulary.ids[special.end]
    follows: dict[int, int] = {}
    default = end
    taken = {_decoded(text) for text in vocabulary.ids}
    for key, answer in scripts.items():
        pieces = cut(answer, special.defined, taken) if isinstance(answer, str) else answer
        chain = [vocabulary.add(piece) for piece in pieces]
        if key:
            chain.insert(0, vocabulary.ids[_encoded(key)])
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
        values = generator.standard_normal((rows, columns)) * scale / np.sqrt(columns)
        return values.astype(np.float32)

    words = _sentence_piece(vocabulary)
    shape = _Shape(width, layers, heads=width // 16, context=context)
    _write_llama(path, words, shape, weights, CHATML)
    return path


def embedder(
    path: Path, *, pooling: Literal["mean", "cls", "last"] = "mean", context: int = 512
) -> Path:
    """A BERT whose vector of a text is about its bag of words (mean pooling): the more words two
    texts share, the nearer they are. It knows `WORDS` and spells the others."""
    generator = np.random.default_rng(0)
    vocabulary = _word_piece()

    def weights(name: str, rows: int, columns: int) -> _Matrix:
        if name.startswith(("attn", "ffn")):
            values = generator.standard_normal((rows, columns)) * 0.3 / np.sqrt(columns)
            return values.astype(np.float32)
        return np.zeros((rows, columns), np.float32)

    writer = _bert(path, vocabulary, context, pooling, weights)
    _finish(writer)
    return path


def reranker(path: Path, *, likes: str = "music", context: int = 512) -> Path:
    """A BERT with a head whose score is higher the larger the share of the word `likes`, one of
    `WORDS`, among the words of query and document."""
    vocabulary = _word_piece()
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


@dataclass(slots=True)
class _Vocabulary:
    texts: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    settings: Callable[[Any], None] = lambda writer: None
    """Writes what this kind of vocabulary has beside its tokens."""

    def extend(self, texts: Iterable[str], kind: gguf.TokenType) -> None:
        for text in texts:
            self.ids[text] = len(self.texts)
            self.texts.append(text)
            self.kinds.append(int(kind))

    def add(self, piece: str | bytes) -> int:
        """The token of a byte-level `piece`, new or known."""
        text = piece if isinstance(piece, str) and piece in self.ids else _encoded(piece)
        if text not in self.ids:
            self.extend([text], gguf.TokenType.NORMAL)
        return self.ids[text]

    def write(self, writer: Any) -> None:
        writer.add_vocab_size(len(self.texts))
        writer.add_token_list(self.texts)
        writer.add_token_types(self.kinds)
        self.settings(writer)


def _byte_level(special: Special) -> _Vocabulary:
    def settings(writer: Any) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges(["\u0120 \u0120"])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(vocabulary.ids[special.end])
        writer.add_add_bos_token(special.bos)

    vocabulary = _Vocabulary(settings=settings)
    vocabulary.extend(special.control, gguf.TokenType.CONTROL)
    vocabulary.extend(special.defined, gguf.TokenType.USER_DEFINED)
    vocabulary.extend(_BYTES, gguf.TokenType.NORMAL)
    vocabulary.extend(["\u0120\u0120"], gguf.TokenType.NORMAL)
    return vocabulary


def _sentence_piece(size: int) -> _Vocabulary:
    def settings(writer: Any) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(n) for n in range(size)])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(4)
        writer.add_unk_token_id(0)

    vocabulary = _Vocabulary(settings=settings)
    vocabulary.extend(["<unk>"], gguf.TokenType.UNKNOWN)
    control = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    vocabulary.extend(control, gguf.TokenType.CONTROL)
    vocabulary.extend((f"<0x{byte:02X}>" for byte in range(256)), gguf.TokenType.BYTE)
    words = ["\u2581", *ascii_lowercase, "\u2581t", "he", "\u2581the", "\u2581a", "in", "er", "an"]
    words += [f"\u2581w{n}" for n in range(size - len(vocabulary.texts) - len(words))]
    vocabulary.extend(words, gguf.TokenType.NORMAL)
    return vocabulary


WORDS: Final = (
    *("music", "piano", "song", "singing", "river", "water", "cat", "dog", "animal", "hello"),
    *("world", "weather", "rain", "paris", "france", "the", "of", "in", "is", "and", "speech"),
    *("text", "model", "server", "house", "book", "city", "red", "blue", "small", "large"),
)


def _word_piece() -> _Vocabulary:
    def settings(writer: Any) -> None:
        writer.add_tokenizer_model("bert")
        writer.add_tokenizer_pre("default")
        writer.add_token_type_count(2)
        writer.add_bos_token_id(2)
        writer.add_eos_token_id(3)
        writer.add_sep_token_id(3)
        writer.add_unk_token_id(1)
        writer.add_pad_token_id(0)

    vocabulary = _Vocabulary(settings=settings)
    vocabulary.extend(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], gguf.TokenType.CONTROL)
    letters = ascii_lowercase + digits
    words = [*letters, *(f"\u2581{sign}" for sign in letters + punctuation)]
    words += [f"\u2581{word}" for word in WORDS]
    vocabulary.extend(words, gguf.TokenType.NORMAL)
    return vocabulary


@dataclass(frozen=True, slots=True)
class _Shape:
    width: int
    layers: int
    heads: int
    context: int
    hidden: int = 64


def _write_scripted(
    path: Path,
    vocabulary: _Vocabulary,
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
    path: Path, vocabulary: _Vocabulary, shape: _Shape, weights: _Weights, template: str
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


def _bert(
    path: Path, vocabulary: _Vocabulary, context: int, pooling: str, weights: _Weights
) -> Any:
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


def _width(states: int) -> int:
    return max(64, -(-states // 32) * 32)


def _byte_texts() -> list[str]:
    """GPT-2's printable stand-in for each byte."""
    spare = iter(range(256, 512))
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    return [chr(byte if byte in plain else next(spare)) for byte in range(256)]


_BYTES: Final = _byte_texts()


def _encoded(piece: str | bytes) -> str:
    return "".join(_BYTES[byte] for byte in (piece.encode() if isinstance(piece, str) else piece))


def _decoded(text: str) -> bytes:
    known = {sign: byte for byte, sign in enumerate(_BYTES)}
    return bytes(known[sign] for sign in text)
