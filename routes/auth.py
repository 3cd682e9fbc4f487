"""API keys: where clients put them, and how they are compared."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from aiohttp import hdrs, web

from routes.errors import ApiError
from routes.services import RouteSettings

_KEY_SUBPROTOCOL = "openai-insecure-api-key."

_HandlerT = TypeVar("_HandlerT", bound=Callable[..., Any])


def public(handler: _HandlerT) -> _HandlerT:
    """Mark a handler that answers without a key."""
    handler.public = True  # type: ignore[attr-defined]
    return handler


def in_band(handler: _HandlerT) -> _HandlerT:
    """Mark a handler that refuses wrong keys itself, in its own protocol.

    Host and Origin are checked before it is called, whatever its method.
    """
    handler.in_band = True  # type: ignore[attr-defined]
    return handler


def is_public(request: web.Request) -> bool:
    return getattr(request.match_info.handler, "public", False)


def is_in_band(request: web.Request) -> bool:
    return getattr(request.match_info.handler, "in_band", False)


def keys_from(request: web.BaseRequest) -> list[str]:
    """Every key the request carries, in every place where a client of OpenAI may put one.

    `Authorization: Bearer`, the `api-key` header, the `api-key` or `api_key` query parameter, and
    the WebSocket subprotocol `openai-insecure-api-key.<KEY>`.
    """
    keys = []
    for value in request.headers.getall(hdrs.AUTHORIZATION, []):
        scheme, _, key = value.partition(" ")
        if scheme.lower() == "bearer":
            keys.append(key.strip())
    keys += request.headers.getall("api-key", [])
    keys += request.query.getall("api-key", []) + request.query.getall("api_key", [])
    for line in request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []):
        offered = (entry.strip() for entry in line.split(","))
        keys += [
            entry.removeprefix(_KEY_SUBPROTOCOL)
            for entry in offered
            if entry.startswith(_KEY_SUBPROTOCOL)
        ]
    return [key for key in keys if key]


def authenticate(request: web.BaseRequest, keys: Sequence[str]) -> bool:
    """Whether the request carries one of `keys`; without keys everybody may come in.

    The time it takes tells nothing about the keys: digests of one length are compared in constant
    time, each candidate with every key.
    """
    if not keys:
        return True
    known = [_digest(key) for key in keys]
    found = False
    for candidate in keys_from(request):
        digest = _digest(candidate)
        for expected in known:
            found |= hmac.compare_digest(digest, expected)
    return found


def is_authorised(request: web.BaseRequest, settings: RouteSettings) -> bool:
    """`authenticate` with the configured keys, for endpoints that answer in-band."""
    return authenticate(request, settings.api_keys)


def tenant_of(request: web.BaseRequest, settings: RouteSettings) -> str:
    """Whose request it is: a digest of the API key that let it in, or "" where none is needed."""
    for key in settings.api_keys:
        if authenticate(request, [key]):
            return _digest(key).hex()
    return ""


def check_key(request: web.BaseRequest, settings: RouteSettings) -> None:
    """Raise the 401 unless `is_authorised`."""
    if not is_authorised(request, settings):
        raise refusal(request)


def refusal(request: web.BaseRequest) -> ApiError:
    """What a client with the wrong key, or with none, is told."""
    message = (
        "Incorrect API key provided."
        if keys_from(request)
        else "You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'."
    )
    return ApiError(401, message, code="invalid_api_key", headers={hdrs.WWW_AUTHENTICATE: "Bearer"})


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
