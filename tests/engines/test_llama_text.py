from collections.abc import Iterator
from pathlib import Path

import gguf_models
import pytest
from gguf_vocabularies import Special
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_runs import Run, running

from engines.llama_text import Tokeniser

ALPHABET = st.text("the an ▁\n<|im_start|>é🙂\x01\x00", max_size=20)
"""Texts that SentencePiece, control tokens and the tokeniser's own mark make something of."""


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A SentencePiece vocabulary, which puts a space before text, and BOS before a prompt."""
    with running(gguf_models.random(tmp_path_factory.mktemp("gguf") / "random.gguf")) as run:
        yield run


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A byte-level vocabulary, which adds nothing."""
    with running(gguf_models.scripted(tmp_path_factory.mktemp("gguf") / "scripted.gguf")) as run:
        yield run


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A WordPiece vocabulary, of an embedding model."""
    with running(gguf_models.embedder(tmp_path_factory.mktemp("gguf") / "words.gguf")) as run:
        yield run


def text(tokeniser: Tokeniser, tokens: list[int]) -> str:
    pieces = {token: tokeniser.piece(token, special=True) for token in set(tokens)}
    return b"".join(pieces[token] for token in tokens).decode()


# SentencePiece writes a space as the block, so a block that a user wrote comes back as a space.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pieces=st.lists(ALPHABET, max_size=4))
def test_pieces_make_the_text_that_they_are_cut_from(
    sentences: Run, bytewise: Run, pieces: list[str]
) -> None:
    whole = "".join(pieces)
    plain = Tokeniser(bytewise.vocab)
    assert text(plain, plain.tokens(pieces, special=False, bos=False)) == whole
    spaced = Tokeniser(sentences.vocab)
    expected = f" {whole}".replace("▁", " ") if whole else ""
    assert text(spaced, spaced.tokens(pieces, special=False, bos=False)) == expected


def test_one_piece_is_what_llama_cpp_makes_of_it(sentences: Run, bytewise: Run) -> None:
    for run in (sentences, bytewise):
        for said in ("the hat", "<|im_start|>user\nthe<|im_end|>\n", " in", ""):
            tokens = Tokeniser(run.vocab).tokens([said], special=True, bos=False)
            assert tokens == run.tokens(said)


def test_only_text_after_a_special_token_gets_a_space(sentences: Run) -> None:
    tokeniser = Tokeniser(sentences.vocab)
    pieces = ["<|im_start|>", "the", "re", "<|im_end|>in", "", "er"]
    tokens = tokeniser.tokens(pieces, special=True, bos=False)
    assert text(tokeniser, tokens) == "<|im_start|> there<|im_end|> iner"


def test_a_control_token_is_one_only_where_it_may_be(sentences: Run, bytewise: Run) -> None:
    for run in (sentences, bytewise):
        tokeniser = Tokeniser(run.vocab)
        control = tokeniser.tokens(["<|im_end|>"], special=True, bos=False)
        assert len(control) == 1
        assert tokeniser.is_end(control[0])
        for pieces, special in ((["<|im_end|>"], False), (["<|im", "_end|>"], True)):
            tokens = tokeniser.tokens(pieces, special=special, bos=False)
            assert control[0] not in tokens
            assert text(tokeniser, tokens).lstrip() == "<|im_end|>"


def test_a_prompt_begins_with_one_bos(sentences: Run) -> None:
    tokeniser = Tokeniser(sentences.vocab)
    for pieces in (["the"], ["<s>the"], ["<s>", "the"]):
        tokens = tokeniser.tokens(pieces, special=True, bos=True)
        assert tokens[0] == 1
        assert tokens.count(1) == 1
    assert tokeniser.tokens([], special=True, bos=True) == [1]
    assert 1 not in tokeniser.tokens(["the"], special=True, bos=False)


def test_bos_is_added_only_where_the_vocabulary_wants_it(tmp_path: Path, bytewise: Run) -> None:
    assert 0 not in Tokeniser(bytewise.vocab).tokens(["the"], special=True, bos=True)
    with running(gguf_models.scripted(tmp_path / "m.gguf", special=Special(bos=True))) as run:
        assert Tokeniser(run.vocab).tokens(["the"], special=True, bos=True)[0] == 0


def test_half_a_surrogate_pair_is_text_all_the_same(bytewise: Run) -> None:
    tokeniser = Tokeniser(bytewise.vocab)
    assert text(tokeniser, tokeniser.tokens(["a\ud83d"], special=True, bos=False)) == "a?"


@pytest.mark.parametrize("run", ["a", "\n"])
def test_a_word_of_any_length_is_text(tmp_path: Path, run: str) -> None:
    whole = f"{run * 60_000} <|im_start|>{run * 60_000}<|im_end|>"
    with running(
        gguf_models.scripted(tmp_path / "m.gguf", special=Special(pre="tekken"))
    ) as loaded:
        tokeniser = Tokeniser(loaded.vocab)
        tokens = tokeniser.tokens([whole], special=True, bos=False)
        assert text(tokeniser, tokens) == whole
        assert text(tokeniser, tokeniser.framed(whole)) == whole


def test_a_long_word_is_not_cut_inside_of_a_special_token(bytewise: Run) -> None:
    tokeniser = Tokeniser(bytewise.vocab)
    end = tokeniser.tokens(["<|im_end|>"], special=True, bos=False)
    for length in range(2030, 2060):
        whole = "a" * length + "<|im_end|>" * 2
        assert tokeniser.tokens([whole], special=True, bos=False)[-2:] == end * 2


def test_a_piece_may_be_of_any_length(tmp_path: Path) -> None:
    long = "long" * 100
    with running(gguf_models.scripted(tmp_path / "m.gguf", [long, "er"])) as run:
        tokeniser = Tokeniser(run.vocab)
        pieces = [tokeniser.piece(token, special=False) for token in range(tokeniser.size)]
    assert long.encode() in pieces
    assert b"er" in pieces


def test_control_tokens_have_no_piece_of_text(sentences: Run, bytewise: Run) -> None:
    for run in (sentences, bytewise):
        tokeniser = Tokeniser(run.vocab)
        token = tokeniser.tokens(["<|im_start|>"], special=True, bos=False)[0]
        assert tokeniser.piece(token, special=False) == b""
        assert tokeniser.piece(token, special=True) == b"<|im_start|>"


def test_a_token_that_does_not_exist_has_no_piece(bytewise: Run) -> None:
    tokeniser = Tokeniser(bytewise.vocab)
    for token in (-1, tokeniser.size):
        with pytest.raises(ValueError, match="no token"):
            tokeniser.piece(token, special=True)


def test_the_special_tokens_are_told_apart(sentences: Run, bytewise: Run) -> None:
    named = Tokeniser(sentences.vocab)
    assert named.special_texts() == ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    assert (named.bos, named.eos) == ("<s>", "<|im_end|>")
    assert [token for token in range(named.size) if named.is_end(token)] == [2, 4]
    assert "<tool_call>" in Tokeniser(bytewise.vocab).special_texts()


def test_a_text_to_embed_stands_between_its_marks(words: Run) -> None:
    tokeniser = Tokeniser(words.vocab)
    assert text(tokeniser, tokeniser.framed("Hello [SEP] world")).startswith("[CLS] hello [")
    music = tokeniser.framed("music")
    assert [tokeniser.piece(token, special=True) for token in music] == [
        b"[CLS]",
        b" music",
        b"[SEP]",
    ]


def test_a_pair_is_parted_by_a_mark(words: Run) -> None:
    tokeniser = Tokeniser(words.vocab)
    pair = tokeniser.pair("music", "a piano")
    assert text(tokeniser, pair) == "[CLS] music[SEP] a piano"
