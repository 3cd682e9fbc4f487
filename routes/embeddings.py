"""POST /v1/embeddings: texts to vectors, as numbers or as base64."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import orjson
from aiohttp import web
from numpy.typing import NDArray
from pydantic import Field, field_validator

from engines.generation import Embed, Embedding
from routes.bodies import ON_LOOP_BYTES, read_json, validated
from routes.errors import invalid
from routes.forwarding import forward
from routes.middleware import owner_of
from routes.services import SERVICES
from routes.text_requests import Given, model_of

MOST_INPUTS: Final = 2048
LARGEST_TOKEN: Final = (1 << 31) - 1


class EmbeddingsRequest(Given):
    """The body."""

    model: str
    input: tuple[str | tuple[int, ...], ...]
    """Texts, or their token ids; a single one of them counts as a list of one."""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)

    @field_validator("input", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> tuple[str | tuple[int, ...], ...]:
        if isinstance(value, str) or _are_tokens(value):
            value = [value]
        if not isinstance(value, list):
            raise ValueError("it must be a text, a list of texts, or token ids")
        if not 1 <= len(value) <= MOST_INPUTS:
            raise ValueError(f"it must have 1 to {MOST_INPUTS} entries")
        return tuple(_entry(item) for item in value)


async def embed(request: web.Request) -> web.StreamResponse:
    """POST /v1/embeddings."""
    body = await read_json(request)
    language = request.app[SERVICES].language
    if (remote := language.remote(model_of(body))) is not None:
        return await forward(request, remote, "/embeddings", body)
    form = await validated(body, EmbeddingsRequest)
    language.check(form.model, "embedding")
    inputs = [Embed(text) for text in form.input]
    found = await language.embed(form.model, inputs, owner=owner_of(request))
    if sum(embedding.vector.nbytes for embedding in found) > ON_LOOP_BYTES:
        return await asyncio.to_thread(_answer, form, found)
    return _answer(form, found)


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def _entry(value: Any) -> str | tuple[int, ...]:
    if isinstance(value, str):
        if not value:
            raise ValueError("a text must not be empty")
        return value
    if not _are_tokens(value):
        raise ValueError("each entry must be a text or a list of token ids")
    if not all(0 <= token <= LARGEST_TOKEN for token in value):
        raise ValueError("a token id must not be negative, or above the largest there can be")
    return tuple(value)


def _answer(form: EmbeddingsRequest, found: Sequence[Embedding]) -> web.Response:
    tokens = sum(embedding.tokens for embedding in found)
    body = {
        "object": "list",
        "model": form.model,
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _encoded(_shortened(embedding.vector, form.dimensions), form),
            }
            for index, embedding in enumerate(found)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return web.Response(
        body=orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), content_type="application/json"
    )


def _shortened(vector: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """The first `dimensions` of a vector, of length 1 again."""
    if dimensions is None or dimensions == len(vector):
        return vector
    if dimensions > len(vector):
        raise invalid("dimensions", f"This model's vectors have {len(vector)} dimensions, no more.")
    part = vector[:dimensions]
    length = float(np.linalg.norm(part))
    return part / np.float32(length) if length else part


def _encoded(vector: NDArray[np.float32], form: EmbeddingsRequest) -> NDArray[np.float32] | str:
    """As base64: float32, little endian, one after another."""
    if form.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode()
    return np.ascontiguousarray(vector, dtype=np.float32)
