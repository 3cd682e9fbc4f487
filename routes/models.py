"""GET /v1/models and GET /v1/models/{id}: which models are here. An extension: POST to
/v1/models/{id}/load and /unload has one in memory, or frees it."""

from typing import Any

from aiohttp import web

from routes.errors import json_response
from routes.services import SERVICES, ModelEntry


def as_json(entry: ModelEntry) -> dict[str, Any]:
    """OpenAI's model object; `antiphon` holds what theirs has no field for."""
    languages = entry.capabilities.languages
    return {
        "id": entry.name,
        "object": "model",
        "created": entry.created,
        "owned_by": entry.owned_by,
        "antiphon": {
            "kind": entry.kind,
            "engine": entry.engine,
            "languages": None if languages is None else sorted(languages),
            "state": entry.state,
            "memory_bytes": entry.memory,
        },
    }


async def index(request: web.Request) -> web.Response:
    """GET /v1/models."""
    entries = request.app[SERVICES].models.entries()
    return json_response({"object": "list", "data": [as_json(entry) for entry in entries]})


async def show(request: web.Request) -> web.Response:
    """GET /v1/models/{id}; an alias shows the model it stands for."""
    entry = request.app[SERVICES].models.entry(request.match_info["id"])
    return json_response(as_json(entry))


async def load(request: web.Request) -> web.Response:
    """POST /v1/models/{id}/load: answers when the model is in memory."""
    await request.app[SERVICES].models.load(request.match_info["id"])
    return await show(request)


async def unload(request: web.Request) -> web.Response:
    """POST /v1/models/{id}/unload: requests that it works on fail, the next one loads it again."""
    await request.app[SERVICES].models.unload(request.match_info["id"])
    return await show(request)
