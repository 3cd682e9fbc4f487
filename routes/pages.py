"""The browser pages: web/index.html at `/`, and its files under `/web/`."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from routes.auth import public

FOLDER: Final = Path(__file__).parents[1] / "web"

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}

_HEADERS: Final = {
    hdrs.CACHE_CONTROL: "no-cache",
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "connect-src 'self' ws: wss:",
            "worker-src 'self'",
            "img-src 'self' data:",
            "style-src 'self'",
            "object-src 'none'",
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page, as it is served."""

    body: bytes
    content_type: str
    etag: str


Assets = Mapping[str, Asset]

FILES: Final[web.AppKey[Assets]] = web.AppKey("files", Mapping)


def read_assets(folder: Path) -> dict[str, Asset]:
    """Every file under `folder` that a browser may have, by its path there."""
    return {
        path.relative_to(folder).as_posix(): _read(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _TYPES and path.is_file()
    }


async def load(app: web.Application) -> None:
    """Read the page at startup: it is small, and no request then touches the disk."""
    app[FILES] = await asyncio.to_thread(read_assets, FOLDER)


@public
async def page(request: web.Request) -> web.Response:
    """GET /."""
    return _serve(request, "index.html")


@public
async def asset(request: web.Request) -> web.Response:
    """GET /web/{path}."""
    return _serve(request, request.match_info["path"])


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, _TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:32])


def _serve(request: web.Request, name: str) -> web.Response:
    found = request.app[FILES].get(name)
    if found is None:
        raise web.HTTPNotFound
    headers = {**_HEADERS, hdrs.ETAG: f'"{found.etag}"'}
    known = request.if_none_match or ()
    if any(tag.value in (found.etag, "*") for tag in known):
        return web.Response(status=304, headers=headers)
    return web.Response(body=found.body, headers={**headers, hdrs.CONTENT_TYPE: found.content_type})
