"""A provider far away that a test scripts: a real HTTP server, and our side of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from engines.cloud import Provider, RemoteModel
from engines.endpoints import Endpoint

KEY = "sk-far-1234567890abcdef"


def event(**more: Any) -> bytes:
    """A chunk of a streamed chat completion."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "big-1"}
    return b"data: " + json.dumps({**head, **more}).encode() + b"\n\n"


def chunk(content: str = "", finish: str | None = None) -> bytes:
    delta = {"content": content} if content else {}
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


USAGE = event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})
DONE = b"data: [DONE]\n\n"
ANSWER = (chunk("Hel"), chunk("lo"), chunk(finish="stop"), USAGE, DONE)


@dataclass
class Sent:
    path: str
    headers: dict[str, str]
    body: Any
    peer: Any


@dataclass
class Far:
    """A provider that answers as a test says, and keeps what it was sent."""

    provider: Provider
    sent: list[Sent] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody went before the answer was over."""

    @property
    def model(self) -> RemoteModel:
        return self.provider.model("big-1")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def far(handler: Handler, *, key: str | None = KEY) -> AsyncIterator[Far]:
    """A provider on a port of its own, each of whose answers `handler` gives."""
    app = web.Application(client_max_size=1 << 26)

    async def answer(request: web.Request) -> web.StreamResponse:
        peer = request.transport and request.transport.get_extra_info("peername")
        there.sent.append(Sent(request.path, dict(request.headers), await request.json(), peer))
        there.reached.set()
        try:
            return await handler(request)
        except asyncio.CancelledError:
            there.left.set()
            raise

    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        there = Far(Provider(Endpoint("far", str(server.make_url("/v1")), key)))
        try:
            yield there
        finally:
            await there.provider.close()


def streams(
    *pieces: bytes | asyncio.Event | float, status: int = 200, headers: Any = None
) -> Handler:
    """Sends pieces, waits for events and seconds between them."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            status=status, headers={"Content-Type": "text/event-stream", **(headers or {})}
        )
        await response.prepare(request)
        for piece in pieces:
            match piece:
                case bytes():
                    await response.write(piece)
                case asyncio.Event():
                    await piece.wait()
                case _:
                    await asyncio.sleep(piece)
        return response

    return handler


def says(body: Any, status: int = 200, **headers: str) -> Handler:
    """Sends JSON."""

    async def handler(request: web.Request) -> web.StreamResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(body, status=status, headers=names)

    return handler


def breaks_off(*pieces: bytes) -> Handler:
    """Sends pieces and loses the connection."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        await asyncio.sleep(0.02)
        assert request.transport is not None
        request.transport.close()
        await asyncio.sleep(10)
        return response

    return handler


def refuses(
    message: str, status: int, code: str | None = None, param: str | None = None
) -> Handler:
    """Sends an error as OpenAI does."""
    return says({"error": {"message": message, "code": code, "param": param}}, status)
