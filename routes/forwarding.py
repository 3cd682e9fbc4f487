"""Passes a request on to a provider, and its answer back as it comes."""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from routes.services import Remote
from routes.streaming import write

_HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def forward(
    request: web.Request, remote: Remote, path: str, body: Mapping[str, Any]
) -> web.StreamResponse:
    """Answer with the provider's status, headers and bytes.

    A provider that cannot be reached is an `EngineError`; one that breaks off breaks this response
    off. A client that leaves, or takes nothing for long, ends the provider's work too.
    """
    async with remote.post(path, body) as answer:
        response = web.StreamResponse(status=answer.status, headers={**_HEADERS, **answer.headers})
        await response.prepare(request)
        async for chunk in answer.chunks():
            await write(response, chunk)
    await response.write_eof()
    return response
