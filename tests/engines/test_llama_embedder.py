"""Vectors and scores by the real llama.cpp, on models made for the tests."""

from collections.abc import Iterator
from typing import Any

import gguf_models
import numpy as np
import pytest

from engines.base import InvalidInput, Work
from engines.generation import ContextLengthExceeded, Embed, Embedding, Rank, Relevance
from engines.llama_embedder import EmbedderSettings, LlamaEmbedder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaEmbedder]:
    path = gguf_models.embedder(tmp_path_factory.mktemp("gguf") / "embedder.gguf")
    engine = LlamaEmbedder(EmbedderSettings("embedder", str(path), None, None, 1, None))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaEmbedder]:
    path = gguf_models.reranker(tmp_path_factory.mktemp("gguf") / "reranker.gguf")
    engine = LlamaEmbedder(EmbedderSettings("reranker", str(path), None, None, 1, None))
    yield engine
    engine.close()


def results(engine: LlamaEmbedder, *payloads: Any) -> list[Any]:
    """What becomes of each: its result or its error."""
    found: dict[int, Any] = {}
    for _ in range(200):
        work = [Work(n, each) for n, each in enumerate(payloads) if n not in found]
        if not work:
            break
        for outcome in engine.step(work):
            if outcome.done:
                found[outcome.job] = outcome.error or outcome.events[0]
    return [found[n] for n in range(len(payloads))]


def test_a_vector_has_length_one(embedder: LlamaEmbedder) -> None:
    (made,) = results(embedder, Embed("the cat is in the house"))
    assert isinstance(made, Embedding)
    assert np.linalg.norm(made.vector) == pytest.approx(1.0, abs=1e-5)
    assert made.tokens == 8


def test_texts_that_share_words_are_nearer_to_each_other(embedder: LlamaEmbedder) -> None:
    cat, dog, song = results(
        embedder, Embed("a small cat animal"), Embed("a small dog animal"), Embed("piano music")
    )
    assert cat.vector @ dog.vector > cat.vector @ song.vector + 0.1


def test_a_vector_is_the_same_alone_and_in_a_batch(embedder: LlamaEmbedder) -> None:
    texts = [Embed("river " * n + "water") for n in range(1, 90)]
    together = results(embedder, *texts)
    for text, made in list(zip(texts, together, strict=True))[::11]:
        (alone,) = results(embedder, text)
        assert alone.vector @ made.vector == pytest.approx(1.0, abs=1e-3)


def test_a_text_beyond_the_context_is_refused_alone(embedder: LlamaEmbedder) -> None:
    fine, long = results(embedder, Embed("hello world"), Embed("cat " * 600))
    assert isinstance(fine, Embedding)
    assert isinstance(long, ContextLengthExceeded)


def test_a_text_beyond_the_context_is_cut_where_that_is_asked_for(
    embedder: LlamaEmbedder,
) -> None:
    (made,) = results(embedder, Embed("cat " * 600, truncate=True))
    assert made.tokens == 512


def test_tokens_that_are_not_in_the_vocabulary_are_refused(embedder: LlamaEmbedder) -> None:
    (error,) = results(embedder, Embed((5, 1_000_000)))
    assert isinstance(error, InvalidInput)


def test_the_document_that_says_more_scores_higher(reranker: LlamaEmbedder) -> None:
    loud, quiet = results(reranker, Rank("song", "music music"), Rank("song", "the red house"))
    assert isinstance(loud, Relevance)
    assert loud.score > quiet.score
