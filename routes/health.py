"""GET /health: that the server is up, and what it transcribes with."""

from typing import Any

from aiohttp import web

from engines.base import ModelNotFound
from routes.auth import public
from routes.errors import json_response
from routes.services import SERVICES, Models


@public
async def show(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    return json_response(
        {
            "status": "ok",
            "version": services.version,
            "transcription": _transcription(services.models),
        }
    )


def _transcription(models: Models) -> dict[str, Any] | None:
    try:
        entry = models.default_transcription
    except ModelNotFound:
        return None
    shown: dict[str, Any] = {"model": entry.name, "built_in": entry.engine == "pocketsphinx"}
    if models.hint is not None:
        shown["hint"] = models.hint
    return shown
