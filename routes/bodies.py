"""Reads JSON bodies: bounded, parsed off the loop where that takes long, checked by pydantic."""

import asyncio
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel

from engines.json_values import MOST_VALUES, has_few_values
from routes.errors import ApiError

BODY_BYTES: Final = 32 << 20
"""Largest JSON body."""

ON_LOOP_BYTES: Final = 1 << 16
"""A longer body is parsed in a thread."""

IDLE_SECONDS: Final = 60.0
"""A body that brings nothing for this long is given up."""

_ModelT = TypeVar("_ModelT", bound=BaseModel)


async def read_json(request: web.Request) -> dict[str, Any]:
    """The body, which must be a JSON object. Raises `ApiError`."""
    body = await _read(request)
    try:
        if len(body) > ON_LOOP_BYTES:
            value = await asyncio.to_thread(_parsed, body)
        else:
            value = _parsed(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"The body is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ApiError(400, "The body must be a JSON object.")
    return value


def _parsed(body: bytes) -> Any:
    if not has_few_values(body):
        raise ApiError(413, f"The body holds more than {MOST_VALUES} values.")
    return orjson.loads(body)


async def validated(body: dict[str, Any], model: type[_ModelT]) -> _ModelT:
    """The body as a `model`. Raises pydantic's `ValidationError`."""
    return await asyncio.to_thread(model.model_validate, body)


async def _read(request: web.Request) -> bytes:
    if (request.content_length or 0) > BODY_BYTES:
        raise _too_big()
    body = bytearray()
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await request.content.readany()
        except TimeoutError:
            raise ApiError(408, "The body did not arrive in time.") from None
        if not chunk:
            return bytes(body)
        body += chunk
        if len(body) > BODY_BYTES:
            raise _too_big()


def _too_big() -> ApiError:
    return ApiError(413, f"The body is larger than {BODY_BYTES >> 20} MiB.")
