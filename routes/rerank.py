"""POST /v1/rerank: documents by how much they say about a query, as Jina and Cohere have it."""

import uuid
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web
from pydantic import Field, field_validator

from engines.generation import Rank, Relevance
from routes.bodies import read_json, validated
from routes.errors import json_response
from routes.forwarding import forward
from routes.middleware import owner_of
from routes.services import SERVICES
from routes.text_requests import Given, model_of

MOST_DOCUMENTS: Final = 1000


class RerankRequest(Given):
    """The body."""

    model: str
    query: str = Field(min_length=1)
    documents: tuple[str, ...]
    """Given as texts, or as objects that have a `text`."""
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool = False

    @field_validator("documents", mode="before")
    @classmethod
    def _as_texts(cls, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError("it must be a list of texts")
        if not 1 <= len(value) <= MOST_DOCUMENTS:
            raise ValueError(f"it must have 1 to {MOST_DOCUMENTS} entries")
        return tuple(_text(item) for item in value)


async def rerank(request: web.Request) -> web.StreamResponse:
    """POST /v1/rerank."""
    body = await read_json(request)
    language = request.app[SERVICES].language
    if (remote := language.remote(model_of(body))) is not None:
        return await forward(request, remote, "/rerank", body)
    form = await validated(body, RerankRequest)
    language.check(form.model, "rerank")
    pairs = [Rank(form.query, document) for document in form.documents]
    found = await language.rank(form.model, pairs, owner=owner_of(request))
    return json_response(_answer(form, found))


def _text(value: Any) -> str:
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise ValueError("each entry must be a text, or an object with a 'text'")
    return text


def _answer(form: RerankRequest, found: Sequence[Relevance]) -> dict[str, Any]:
    best = sorted(range(len(found)), key=lambda index: -found[index].score)[: form.top_n]
    tokens = sum(relevance.tokens for relevance in found)
    return {
        "id": f"rerank-{uuid.uuid4().hex}",
        "model": form.model,
        "results": [_result(form, index, found[index].score) for index in best],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _result(form: RerankRequest, index: int, score: float) -> dict[str, Any]:
    result: dict[str, Any] = {"index": index, "relevance_score": score}
    if form.return_documents:
        result["document"] = {"text": form.documents[index]}
    return result
