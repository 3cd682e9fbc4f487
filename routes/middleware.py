"""What happens to every request: an id, the checks, errors in OpenAI's shape, and metrics."""

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from engines.tickets import Owner
from routes import auth, origins
from routes.errors import ApiError, api_error, unexpected
from routes.metrics import CLIENT_GONE, HTTP_METRICS
from routes.services import SERVICES

log = logging.getLogger(__name__)

_READ_ONLY: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})


@dataclass(slots=True)
class _Passage:
    """What is remembered of a request on its way through the server."""

    id: str = field(default_factory=lambda: f"req_{uuid.uuid4().hex}")
    started: float = field(default_factory=time.perf_counter)
    response: web.StreamResponse | None = None

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started


_PASSAGE: Final = web.RequestKey("passage", _Passage)


def request_id(request: web.BaseRequest) -> str:
    """The id the response carries as `x-request-id`."""
    return request[_PASSAGE].id


def owner_of(request: web.Request) -> Owner:
    """Who asks the engines: this request, of its API key's."""
    tenant = auth.tenant_of(request, request.app[SERVICES].settings)
    return Owner(request_id(request), tenant)


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, turn its errors into responses, count it."""
    passage = request[_PASSAGE] = _Passage()
    status = CLIENT_GONE
    try:
        response = await handler(request)
        status = response.status
    except web.HTTPException as error:
        status = error.status
        if error.status < 400:
            raise
        response = _answer(request, error)
    except Exception as error:
        response = _answer(request, error)
        status = response.status if _is_connected(request) else CLIENT_GONE
    finally:
        request.app[HTTP_METRICS].observe(request, status, passage.seconds)
    return response


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse strangers: wrong names for this server, pages from elsewhere, wrong keys."""
    settings = request.app[SERVICES].settings
    if request.path != "/health":
        origins.check_host(request, settings)
    if request.method == hdrs.METH_OPTIONS:
        return origins.preflight(request, settings)
    if auth.is_in_band(request) or request.method not in _READ_ONLY:
        origins.check_origin(request, settings)
    if not (auth.is_in_band(request) or auth.is_public(request)):
        auth.check_key(request, settings)
    return await handler(request)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """A signal handler, so that streams and WebSockets get the headers too."""
    passage = request.get(_PASSAGE)
    if passage is None:  # aiohttp refuses an unknown Expect before `observe` is asked
        passage = request[_PASSAGE] = _Passage()
    passage.response = response
    response.headers["x-request-id"] = passage.id
    response.headers["openai-processing-ms"] = str(round(passage.seconds * 1000))
    origins.add_cors(request, response.headers, request.app[SERVICES].settings)


def describe(request: web.Request, error: Exception) -> ApiError:
    """What the client is told about `error`; what is our fault is logged, once."""
    told = api_error(error, request)
    where = f"{request.method} {request.rel_url.raw_path}"
    if told is None:
        if _is_connected(request):
            log.error("%s failed (%s)", where, request_id(request), exc_info=error)
        return unexpected(request_id(request))
    if told.status >= 500:
        log.error("%s failed (%s): %s", where, request_id(request), told)
    return told


def _answer(request: web.Request, error: Exception) -> web.StreamResponse:
    told = describe(request, error)
    started = request[_PASSAGE].response
    if started is None:
        response = told.response()
        if isinstance(error, web.RequestPayloadError):
            request.content.feed_eof()  # or aiohttp reads on, and logs the same as a fault of ours
            response.force_close()
        return response
    if request.transport is not None:
        request.transport.abort()  # the only way left to say that the answer is not whole
    return started


def _is_connected(request: web.Request) -> bool:
    transport: asyncio.Transport | None = request.transport
    return transport is not None and not transport.is_closing()
