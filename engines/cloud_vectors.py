"""Reads the vectors and the scores in a provider's answer."""

import base64
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, Field

from engines.base import Unsupported
from engines.cloud_errors import unreadable
from engines.endpoints import Endpoint
from engines.generation import Embedding, Relevance


class _Tokens(BaseModel):
    prompt_tokens: int | None = None
    total_tokens: int | None = None

    @property
    def count(self) -> int:
        return self.prompt_tokens or self.total_tokens or 0


class _Vector(BaseModel):
    index: int
    embedding: list[float] | str


class _Vectors(BaseModel):
    data: list[_Vector]
    usage: _Tokens | None = None


class _Score(BaseModel):
    index: int
    score: float = Field(validation_alias=AliasChoices("relevance_score", "score"))


class _Scores(BaseModel):
    results: list[_Score]
    usage: _Tokens | None = None


_Item = TypeVar("_Item", _Vector, _Score)


def embeddings(endpoint: Endpoint, answer: bytes, *, count: int) -> list[Embedding]:
    """The vectors in order, each of length 1. Raises `ProviderError`."""
    try:
        found = _Vectors.model_validate_json(answer)
        vectors = [_vector(item.embedding) for item in _in_order(found.data, count)]
    except ValueError:
        raise unreadable(endpoint) from None
    shares = _shares(found.usage, count)
    return [Embedding(vector, tokens) for vector, tokens in zip(vectors, shares, strict=True)]


def relevances(endpoint: Endpoint, answer: bytes, *, count: int) -> list[Relevance]:
    """The scores in the documents' order. Raises `ProviderError`."""
    try:
        found = _Scores.model_validate_json(answer)
        scores = [item.score for item in _in_order(found.results, count)]
    except ValueError:
        raise unreadable(endpoint) from None
    shares = _shares(found.usage, count)
    return [Relevance(score, tokens) for score, tokens in zip(scores, shares, strict=True)]


def no_ranking(endpoint: Endpoint) -> Unsupported:
    return Unsupported(f"The provider '{endpoint.name}' does not rank documents.", "model")


def _in_order(items: list[_Item], count: int) -> list[_Item]:
    """Raises `ValueError` unless there is exactly one for each place."""
    by_place = {item.index: item for item in items}
    if len(items) != count or by_place.keys() != set(range(count)):
        raise ValueError("Some are missing, or there twice.")
    return [by_place[place] for place in range(count)]


def _vector(given: list[float] | str) -> NDArray[np.float32]:
    if isinstance(given, str):
        vector = np.frombuffer(base64.b64decode(given, validate=True), "<f4").astype(np.float32)
    else:
        vector = np.asarray(given, dtype=np.float32)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        raise ValueError("A vector without a direction.")
    return vector / np.float32(length)


def _shares(tokens: _Tokens | None, count: int) -> list[int]:
    """Their number in `count` whole parts that differ by one at most."""
    each, rest = divmod(tokens.count if tokens else 0, max(1, count))
    return [each + (place < rest) for place in range(count)]
