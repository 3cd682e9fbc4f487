"""Asks llama.cpp what a grammar accepts, byte by byte, with a vocabulary and no model."""

import ctypes
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import gguf_models

_CLOSING: Final = '"}]>'


def styles(value: object) -> list[str]:
    """`value` as models write JSON."""
    return [
        json.dumps(value),
        json.dumps(value, ensure_ascii=False),
        json.dumps(value, ensure_ascii=False, separators=(",", ":")),
        json.dumps(value, ensure_ascii=False, indent=2),
    ]


class Checker:
    """A vocabulary to check grammars with."""

    def __init__(self, directory: Path) -> None:
        import llama_cpp

        self._llama = llama_cpp
        self._quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        path = gguf_models.random(directory / "words.gguf")
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        assert self._model
        self._vocabulary: Any = llama_cpp.llama_model_get_vocab(self._model)
        self._end = llama_cpp.llama_vocab_eos(self._vocabulary)
        self._bytes = self._byte_tokens()

    def close(self) -> None:
        self._llama.llama_model_free(self._model)

    def accepts(self, grammar: str, text: str) -> bool:
        """Whether `text` is a whole answer."""
        return self._follow(grammar, text, self._end)

    def begins(self, grammar: str, text: str) -> bool:
        """Whether an answer can begin with `text`."""
        return self._follow(grammar, text, None)

    def write(self, grammar: str, chance: Random, most: int = 400) -> str | None:
        """A random answer of ASCII characters that likes to end; None where it did not in time."""
        sampler = self._sampler(grammar)
        text = ""
        try:
            while len(text) < most:
                allowed = self._choices(sampler)
                if self._end in allowed and (len(allowed) == 1 or chance.random() < 0.5):
                    return text
                letters = [chr(byte) for byte in range(128) if self._bytes[byte] in allowed]
                closing = [letter for letter in letters if letter in _CLOSING]
                if closing and chance.random() < 0.4:
                    letters = closing
                if not letters:
                    return None
                text += chance.choice(letters)
                self._llama.llama_sampler_accept(sampler, self._bytes[ord(text[-1])])
            return None
        finally:
            self._llama.llama_sampler_free(sampler)

    def _choices(self, sampler: Any) -> set[int]:
        return set(self._allowed_of(sampler, [self._end, *self._bytes.values()]))

    def _sampler(self, grammar: str) -> Any:
        sampler = self._llama.llama_sampler_init_grammar(
            self._vocabulary, grammar.encode(), b"root"
        )
        assert sampler, grammar
        return sampler

    def _follow(self, grammar: str, text: str, last: int | None) -> bool:
        sampler = self._sampler(grammar)
        try:
            for byte in text.encode():
                token = self._bytes[byte]
                if not self._allowed(sampler, token):
                    return False
                self._llama.llama_sampler_accept(sampler, token)
            return last is None or self._allowed(sampler, last)
        finally:
            self._llama.llama_sampler_free(sampler)

    def _allowed(self, sampler: Any, token: int) -> bool:
        return bool(self._allowed_of(sampler, [token]))

    def _allowed_of(self, sampler: Any, tokens: Sequence[int]) -> list[int]:
        every = [self._llama.llama_token_data(token, 1.0, 0.0) for token in tokens]
        array = (self._llama.llama_token_data * len(tokens))(*every)
        candidates = self._llama.llama_token_data_array(array, len(tokens), -1, False)
        self._llama.llama_sampler_apply(sampler, ctypes.byref(candidates))
        pairs = zip(tokens, array, strict=True)
        return [token for token, one in pairs if one.logit > float("-inf")]

    def _byte_tokens(self) -> dict[int, int]:
        """The token of each byte."""
        tokens = {}
        for token in range(self._llama.llama_vocab_n_tokens(self._vocabulary)):
            text = self._llama.llama_vocab_get_text(self._vocabulary, token)
            if text.startswith(b"<0x"):
                tokens[int(text[3:5], 16)] = token
        return tokens
