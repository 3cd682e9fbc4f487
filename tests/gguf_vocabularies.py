"""The vocabularies of the GGUF models that tests build, and their tokenisers' settings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from string import ascii_lowercase, digits, punctuation
from typing import Any, Final

import gguf


@dataclass(frozen=True, slots=True)
class Special:
    """The tokens of a scripted model that are no text. The first control token begins a prompt if
    `bos`, and `end` ends an answer. Defined ones are special in any text, as `<think>` of Qwen3.
    `pre`: the family whose way it is to split text into words."""

    control: tuple[str, ...] = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
    defined: tuple[str, ...] = ("<think>", "</think>", "<tool_call>", "</tool_call>")
    end: str = "<|im_end|>"
    bos: bool = False
    pre: str = "gpt-2"


QWEN: Final = Special()


@dataclass(slots=True)
class Vocabulary:
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
        text = piece if isinstance(piece, str) and piece in self.ids else encoded(piece)
        if text not in self.ids:
            self.extend([text], gguf.TokenType.NORMAL)
        return self.ids[text]

    def write(self, writer: Any) -> None:
        writer.add_vocab_size(len(self.texts))
        writer.add_token_list(self.texts)
        writer.add_token_types(self.kinds)
        self.settings(writer)


def byte_level(special: Special) -> Vocabulary:
    def settings(writer: Any) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(special.pre)
        writer.add_token_merges(["\u0120 \u0120"])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(vocabulary.ids[special.end])
        writer.add_add_bos_token(special.bos)

    vocabulary = Vocabulary(settings=settings)
    vocabulary.extend(special.control, gguf.TokenType.CONTROL)
    vocabulary.extend(special.defined, gguf.TokenType.USER_DEFINED)
    vocabulary.extend(_BYTES, gguf.TokenType.NORMAL)
    vocabulary.extend(["\u0120\u0120"], gguf.TokenType.NORMAL)
    return vocabulary


def sentence_piece(size: int) -> Vocabulary:
    def settings(writer: Any) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(n) for n in range(size)])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(4)
        writer.add_unk_token_id(0)

    vocabulary = Vocabulary(settings=settings)
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


def word_piece() -> Vocabulary:
    def settings(writer: Any) -> None:
        writer.add_tokenizer_model("bert")
        writer.add_tokenizer_pre("default")
        writer.add_token_type_count(2)
        writer.add_bos_token_id(2)
        writer.add_eos_token_id(3)
        writer.add_sep_token_id(3)
        writer.add_unk_token_id(1)
        writer.add_pad_token_id(0)

    vocabulary = Vocabulary(settings=settings)
    vocabulary.extend(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], gguf.TokenType.CONTROL)
    letters = ascii_lowercase + digits
    words = [*letters, *(f"\u2581{sign}" for sign in letters + punctuation)]
    words += [f"\u2581{word}" for word in WORDS]
    vocabulary.extend(words, gguf.TokenType.NORMAL)
    return vocabulary


def _byte_texts() -> list[str]:
    """GPT-2's printable stand-in for each byte."""
    spare = iter(range(256, 512))
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    return [chr(byte if byte in plain else next(spare)) for byte in range(256)]


_BYTES: Final = _byte_texts()


def encoded(piece: str | bytes) -> str:
    return "".join(_BYTES[byte] for byte in (piece.encode() if isinstance(piece, str) else piece))


def decoded(text: str) -> bytes:
    known = {sign: byte for byte, sign in enumerate(_BYTES)}
    return bytes(known[sign] for sign in text)
