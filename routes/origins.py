"""Who may use this server from a browser: Host and Origin checks, and CORS.

The Host check stops DNS rebinding, by which a page elsewhere makes its own name point at this
machine. The Origin check stops pages elsewhere that call this server by its true name.
"""

import ipaddress
import re
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from routes.errors import ApiError
from routes.services import RouteSettings

_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[^\s:/?#@\[\]]+))(?::(?P<port>\d{1,5}))?", re.IGNORECASE
)
_DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSED: Final = "Location, Retry-After, x-request-id"
_PREFLIGHT_SECONDS: Final = "600"
_PRIVATE_NETWORK: Final = "Access-Control-Request-Private-Network"


def check_host(request: web.BaseRequest, settings: RouteSettings) -> None:
    """Raise a 403 unless the Host header names this server.

    Loopback names, IP addresses (no page can make one point elsewhere), the name the server
    listens on, and `allowed_hosts` do.
    """
    header = request.headers.get(hdrs.HOST, "")
    host = _authority(header)
    if host is None:
        raise ApiError(400, "The request needs a Host header that names this server.")
    name, _ = host
    if "*" in settings.allowed_hosts or name in _LOOPBACK or _is_address(name):
        return
    if name in {_name(allowed) for allowed in (settings.host, *settings.allowed_hosts)}:
        return
    raise ApiError(
        403,
        f"This server is not known as '{name[:100]}'. To let clients call it so, "
        "add the name to the setting 'allowed_hosts'.",
        code="host_not_allowed",
    )


def check_origin(request: web.BaseRequest, settings: RouteSettings) -> None:
    """Raise a 403 for a browser page from elsewhere that is not in `allowed_origins`.

    Clients that are no browser send no Origin and pass.
    """
    if is_allowed_origin(request, settings):
        return
    origin = request.headers.get(hdrs.ORIGIN, "")
    raise ApiError(
        403,
        f"Pages from '{origin[:100]}' may not use this server. To let them, "
        "add that origin to the setting 'allowed_origins'.",
        code="origin_not_allowed",
    )


def is_allowed_origin(request: web.BaseRequest, settings: RouteSettings) -> bool:
    """Whether the Origin is absent, the server's own or allowed; `null` needs `*`."""
    origins = request.headers.getall(hdrs.ORIGIN, [])
    if not origins or "*" in settings.allowed_origins:
        return True
    origin = _canonical(origins[0])
    if len(origins) > 1 or origin == "null":
        return False
    if origin in {_canonical(allowed) for allowed in settings.allowed_origins}:
        return True
    return _is_own(origin, request.headers.get(hdrs.HOST, ""))


def preflight(request: web.Request, settings: RouteSettings) -> web.Response:
    """The answer to OPTIONS: CORS permissions for allowed origins, else the allowed methods."""
    if hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
        return _allowed_methods(request)
    check_origin(request, settings)
    headers: dict[str, str] = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: _METHODS,
        hdrs.ACCESS_CONTROL_MAX_AGE: _PREFLIGHT_SECONDS,
        hdrs.VARY: hdrs.ACCESS_CONTROL_REQUEST_HEADERS,
    }
    if asked := request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS):
        headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = asked
    if request.headers.get(_PRIVATE_NETWORK) == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return web.Response(status=204, headers=headers)


def add_cors(request: web.BaseRequest, headers: CIMultiDict[str], settings: RouteSettings) -> None:
    """Let a page of an allowed origin read the response that has these headers."""
    headers.add(hdrs.VARY, hdrs.ORIGIN)
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and is_allowed_origin(request, settings):
        headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED


def _allowed_methods(request: web.Request) -> web.Response:
    match request.match_info.http_exception:
        case web.HTTPMethodNotAllowed() as error:
            allowed = ", ".join(sorted({*error.allowed_methods, hdrs.METH_OPTIONS}))
            return web.Response(status=204, headers={hdrs.ALLOW: allowed})
        case None:
            return web.Response(status=204, headers={hdrs.ALLOW: _METHODS})
        case error:
            raise error


def _authority(value: str) -> tuple[str, int | None] | None:
    """Host and port of `value`; None where it is not an authority."""
    found = _AUTHORITY.fullmatch(value.strip())
    if found is None:
        return None
    port = found["port"]
    return _name(found["ipv6"] or found["name"]), int(port) if port else None


def _name(value: str) -> str:
    return value.strip("[]").rstrip(".").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _canonical(origin: str) -> str:
    return origin.strip().rstrip("/").lower()


def _is_own(origin: str, host: str) -> bool:
    scheme, _, rest = origin.partition("://")
    default = _DEFAULT_PORTS.get(scheme)
    theirs, ours = _authority(rest), _authority(host)
    if default is None or theirs is None or ours is None:
        return False
    return theirs[0] == ours[0] and (theirs[1] or default) == (ours[1] or default)
