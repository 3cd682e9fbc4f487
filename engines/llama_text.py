"""Text to tokens and back, by the vocabulary of a llama.cpp model."""

import ctypes
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

_SENTENCE_PIECE, _BYTE_PAIR = 1, 2
_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1 << 0, 1 << 3, 1 << 4, 1 << 5
"""`llama_vocab_type` and `llama_token_attr`."""

_MARK: Final = "\x01"
"""A character that SentencePiece vocabularies have as a byte only: it merges with nothing."""

_LONG_RUN: Final = re.compile(r"\S{2048}|\s{2048}")
"""Where a text is cut before llama.cpp splits it into words: for the vocabularies of some families
it does so with `std::regex`, and the process dies of a word of some 30,000 characters."""


class Tokeniser:
    """The vocabulary behind `vocab`, a pointer that stays valid while the model is loaded."""

    def __init__(self, vocab: Any) -> None:
        import llama_cpp

        self._llama = llama_cpp
        self._vocab = vocab
        self.size = int(llama_cpp.llama_vocab_n_tokens(vocab))
        self._buffer = ctypes.create_string_buffer(64)
        self._special: list[int] = []
        bytes_known = False
        for token in range(self.size):
            attributes = llama_cpp.llama_vocab_get_attr(vocab, token)
            if attributes & (_CONTROL | _USER_DEFINED | _UNKNOWN):
                self._special.append(token)
            bytes_known = bytes_known or bool(attributes & _BYTE)
        self._specials = frozenset(self._special)
        self._special_texts = [text for text in map(self._text, self._special) if len(text) > 1]
        kind = llama_cpp.llama_vocab_type(vocab)
        self._cuts = kind == _BYTE_PAIR
        self._marker = self._find_marker() if kind == _SENTENCE_PIECE and bytes_known else None

    @property
    def bos(self) -> str:
        """The text of the token that begins a prompt; "" where there is none."""
        return self._text(self._llama.llama_vocab_bos(self._vocab))

    @property
    def eos(self) -> str:
        """The text of the token that ends an answer; "" where there is none."""
        return self._text(self._llama.llama_vocab_eos(self._vocab))

    def special_texts(self) -> list[str]:
        """The texts of the tokens that are no plain text, where longer than one character."""
        return list(self._special_texts)

    def tokens(self, pieces: Sequence[str], *, special: bool, bos: bool) -> list[int]:
        """The tokens of the joined `pieces`, none of them across a border.

        With `special`, the texts of control tokens are those tokens; what the user wrote is cut
        into pieces inside of such texts, or tokenised without it. `bos`: begin with the token that
        the vocabulary wants there, if the pieces do not. SentencePiece puts a space before text at
        the beginning and after special tokens; a piece that goes on from text gets none.
        """
        found: list[int] = []
        for piece in pieces:
            goes_on = bool(found) and found[-1] not in self._specials
            found += self._tokens(piece, special=special, goes_on=goes_on)
        first = int(self._llama.llama_vocab_bos(self._vocab))
        wanted = bos and first >= 0 and self._llama.llama_vocab_get_add_bos(self._vocab)
        if wanted and found[:1] != [first]:
            found.insert(0, first)
        return found

    def framed(self, text: str) -> list[int]:
        """Plain text between the tokens that the vocabulary puts around one, as embedding models
        expect it."""
        llama, vocab = self._llama, self._vocab
        if not self._cuts:
            return self._tokenise(text, frame=True, special=False)
        begins = [int(llama.llama_vocab_bos(vocab))] if llama.llama_vocab_get_add_bos(vocab) else []
        ends = [int(llama.llama_vocab_eos(vocab))] if llama.llama_vocab_get_add_eos(vocab) else []
        tokens = [*begins, *self._tokens(text, special=False), *ends]
        return [token for token in tokens if token >= 0]

    def pair(self, query: str, document: str) -> list[int]:
        """Two plain texts as rerankers expect them: `[BOS] query [EOS] [SEP] document [EOS]`, of
        which each token is there if the vocabulary asks for it."""
        llama, vocab = self._llama, self._vocab
        separator = int(llama.llama_vocab_sep(vocab))
        end = int(llama.llama_vocab_eos(vocab))
        end = separator if end < 0 else end
        begins = [int(llama.llama_vocab_bos(vocab))] if llama.llama_vocab_get_add_bos(vocab) else []
        ends = [end] if llama.llama_vocab_get_add_eos(vocab) else []
        separates = [separator] if llama.llama_vocab_get_add_sep(vocab) else []
        asked, told = (self._tokens(text, special=False) for text in (query, document))
        tokens = [*begins, *asked, *ends, *separates, *told, *ends]
        return [token for token in tokens if token >= 0]

    def piece(self, token: int, *, special: bool) -> bytes:
        """The bytes that `token` stands for, half a character at times; nothing for control and
        unknown tokens but with `special`. Raises `ValueError` for one that does not exist."""
        if not 0 <= token < self.size:
            raise ValueError(f"there is no token {token}")
        while True:
            room = len(self._buffer)
            count = self._llama.llama_token_to_piece(
                self._vocab, token, self._buffer, room, 0, special
            )
            if count >= 0:
                return bytes(self._buffer.raw[:count])
            self._buffer = ctypes.create_string_buffer(-count)

    def is_end(self, token: int) -> bool:
        """Whether it ends an answer: a vocabulary has several such tokens."""
        return bool(self._llama.llama_vocab_is_eog(self._vocab, token))

    def _tokens(self, text: str, *, special: bool, goes_on: bool = False) -> list[int]:
        if self._cuts:
            parts = (self._tokenise(part, special=special) for part in self._parts(text))
            return [token for part in parts for token in part]
        if not text or not goes_on or self._marker is None:
            return self._tokenise(text, special=special)
        found = self._tokenise(_MARK + text, special=special)
        return found[found.index(self._marker) + 1 :]

    def _tokenise(self, text: str, *, special: bool, frame: bool = False) -> list[int]:
        # Half of a surrogate pair, which JSON can bring, has no UTF-8.
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            tokens = (ctypes.c_int32 * room)()
            count = self._llama.llama_tokenize(
                self._vocab, data, len(data), tokens, room, frame, special
            )
            if count >= 0:
                return list(tokens[:count])
            room = -count

    def _parts(self, text: str) -> Iterator[str]:
        """`text`, cut where words are too long, but not inside of special texts."""
        start = 0
        for run in _LONG_RUN.finditer(text):
            end = run.end()
            for known in self._special_texts:
                place = text.find(known, max(start, end - len(known) + 1), end + len(known) - 1)
                end = place if start < place < end else end
            yield text[start:end]
            start = end
        yield text[start:]

    def _find_marker(self) -> int | None:
        """The token of the mark, where text needs one to go on without a space before it."""
        found = self._tokenise(_MARK, special=False)
        pieces = [self.piece(token, special=True) for token in found]
        return found[-1] if pieces == [b" ", _MARK.encode()] else None

    def _text(self, token: int) -> str:
        if token < 0:
            return ""
        text: bytes = self._llama.llama_vocab_get_text(self._vocab, token)
        return text.decode("utf-8", "replace")
