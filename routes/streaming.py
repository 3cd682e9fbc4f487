"""Server-sent events as OpenAI's streams send them, with comments while there is nothing to say."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web

from routes.errors import ApiError
from routes.middleware import describe

T = TypeVar("T")

SILENCE_SECONDS: Final = 10.0
"""After this long without an event a comment is sent, for proxies that end idle connections."""
WRITE_SECONDS: Final = 60.0
"""A client that takes nothing for this long is dropped."""

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


Failure = Callable[[ApiError], Iterable[dict[str, Any]]]
"""The events that end a stream which failed."""


def _as_error(error: ApiError) -> Iterable[dict[str, Any]]:
    return (error.body(),)


async def stream_events(
    request: web.Request,
    events: AsyncIterator[dict[str, Any]],
    *,
    named: bool = False,
    failure: Failure = _as_error,
) -> web.StreamResponse:
    """Answer with `events`, at least one, and `[DONE]`; if they are `named`, each goes out under
    its `type`, and there is no `[DONE]`.

    What fails before the first event, or the first silence, raises; later it is one event or more
    of the stream, as `failure` has it, which then ends.
    """
    response = web.StreamResponse(headers=_HEADERS)
    async with aclosing(with_silences(events, SILENCE_SECONDS)) as stream:
        first = await anext(stream)
        await response.prepare(request)
        await write(response, _record(first, named))
        try:
            async for event in stream:
                await write(response, _record(event, named))
            if not named:
                await write(response, b"data: [DONE]\n\n")
        except ConnectionError:
            raise
        except Exception as error:
            for event in failure(describe(request, error)):
                await write(response, _record(event, named))
    await response.write_eof()
    return response


class Silence:
    """Given in place of an item when none came for a while."""


async def with_silences(
    source: AsyncIterator[T], seconds: float
) -> AsyncGenerator[T | Silence, None]:
    """`source`, with a `Silence` for each `seconds` in which it gave nothing.

    Closing it cancels the item that is being waited for; closing the source is the caller's part.
    """
    pending: asyncio.Task[T] | None = None
    try:
        while True:
            pending = pending or asyncio.create_task(_next(source))
            await asyncio.wait({pending}, timeout=seconds)
            if not pending.done():
                yield Silence()
                continue
            done, pending = pending, None
            try:
                item = done.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)


def _record(event: dict[str, Any] | Silence, named: bool) -> bytes:
    if isinstance(event, Silence):
        return b": keep-alive\n\n"
    name = b"event: %b\n" % event["type"].encode() if named else b""
    return b"%bdata: %b\n\n" % (name, orjson.dumps(event))


async def write(response: web.StreamResponse, data: bytes) -> None:
    """Send `data`. Raises `ConnectionResetError` for a client that takes nothing for long."""
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write(data)
    except TimeoutError:
        raise ConnectionResetError("The client does not read its stream.") from None
