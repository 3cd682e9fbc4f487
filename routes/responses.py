"""POST /v1/responses, and the responses that were stored: show, delete, and list their input.

Stored responses live in memory, as `routes.response_store` says. Background responses,
conversations and the tools that OpenAI runs itself are refused. A provider's models answer too.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from aiohttp import web

from engines.base import EngineError, InvalidInput, Unsupported
from engines.generation import ContextLengthExceeded, Generate, GenerationEvent
from routes.auth import tenant_of
from routes.bodies import read_json, validated
from routes.errors import ApiError, invalid, json_response
from routes.middleware import owner_of
from routes.response_events import Event, ResponseEvents
from routes.response_items import Item, new_id, quoted, resolved
from routes.response_objects import Shell
from routes.response_requests import ResponseRequest
from routes.response_store import Entry, ResponseStore
from routes.services import SERVICES
from routes.streaming import stream_events

STORE: Final[web.AppKey[ResponseStore]] = web.AppKey("responses", ResponseStore)

_PAGE: Final = 20
_LONGEST_PAGE: Final = 100

_PARAMS: Final[Mapping[str, str]] = {
    "messages": "input",
    "prompt": "input",
    "response_format": "text.format",
    "max_tokens": "max_output_tokens",
}
"""What engines call by the names of chat completions, in the words of this route."""


async def create(request: web.Request) -> web.StreamResponse:
    """POST /v1/responses."""
    body = await validated(await read_json(request), ResponseRequest)
    body.check()
    request.app[SERVICES].language.check(body.model, "chat")
    given = _conversation(request, body)
    generate = await asyncio.to_thread(body.generate, given)
    shell = Shell(new_id("resp"), int(time.time()), body.echo())
    turn = _Turn(request, body, given, ResponseEvents(shell, time.time))
    async with aclosing(turn.events(generate)) as events:
        if body.stream:
            return await stream_events(request, events, named=True, failure=turn.fail)
        async for _ in events:
            pass
    return json_response(turn.answer.response)


async def show(request: web.Request) -> web.Response:
    """GET /v1/responses/{id}."""
    if request.query.get("stream", "false").lower() not in ("false", "0", ""):
        raise invalid("stream", "A stored response cannot be streamed; leave out 'stream'.")
    return json_response(_entry(request).response)


async def delete(request: web.Request) -> web.Response:
    """DELETE /v1/responses/{id}."""
    entry = _entry(request)
    request.app[STORE].delete(_owner(request), entry.id)
    return json_response({"id": entry.id, "object": "response", "deleted": True})


async def input_items(request: web.Request) -> web.Response:
    """GET /v1/responses/{id}/input_items: the conversation that the response answers, the newest
    item first."""
    items = list(_entry(request).input)
    if _order(request) == "desc":
        items.reverse()
    after = request.query.get("after")
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise invalid("after", f"Item with id {quoted(after)} not found.")
        items = items[ids.index(after) + 1 :]
    limit = _limit(request)
    page = items[:limit]
    return json_response(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(items) > limit,
        }
    )


@dataclass(frozen=True, slots=True)
class _Turn:
    """One response on its way; `given` is the conversation that it answers."""

    request: web.Request
    body: ResponseRequest
    given: list[Item]
    answer: ResponseEvents

    async def events(self, generate: Generate) -> AsyncGenerator[Event, None]:
        """The events of its stream. When the last one is given, the response is stored already."""
        async with aclosing(self._generated(generate)) as generated:
            async for event in generated:
                events = self.answer.receive(event)
                if self.answer.response is not None and self.body.store:
                    await self._store(self.answer.response)
                for made in events:
                    yield made
        if self.answer.response is None:
            raise EngineError("The model broke its answer off.")

    def fail(self, error: ApiError) -> list[Event]:
        """The events that end its stream after `error`."""
        busy = error.status == 429
        return self.answer.fail("rate_limit_exceeded" if busy else "server_error", error.message)

    async def _generated(self, generate: Generate) -> AsyncGenerator[GenerationEvent, None]:
        language = self.request.app[SERVICES].language
        owner = owner_of(self.request)
        try:
            async with aclosing(
                language.generate(self.body.model, generate, owner=owner)
            ) as events:
                async for event in events:
                    yield event
        except (InvalidInput, Unsupported) as error:
            raise type(error)(str(error), _param(error)) from error

    async def _store(self, response: Mapping[str, Any]) -> None:
        entry = await asyncio.to_thread(Entry.of, response, self.given)
        self.request.app[STORE].put(_owner(self.request), entry)


def _param(error: InvalidInput | Unsupported) -> str | None:
    """The field of this route that `error` is about."""
    if isinstance(error, ContextLengthExceeded):
        return "input"
    return _PARAMS.get(error.param or "", error.param)


def _conversation(request: web.Request, body: ResponseRequest) -> list[Item]:
    """What was said before, and the request's input. Raises `ApiError`."""
    store, owner = request.app[STORE], _owner(request)
    before: tuple[Item, ...] = ()
    if body.previous_response_id is not None:
        previous = store.get(owner, body.previous_response_id)
        if previous is None:
            raise ApiError(
                400,
                f"Previous response with id {quoted(body.previous_response_id)} not found.",
                code="previous_response_not_found",
                param="previous_response_id",
            )
        before = previous.items
    return [*before, *resolved(body.input, partial(store.item, owner))]


def _entry(request: web.Request) -> Entry:
    """The stored response that the path names. Raises `ApiError`."""
    id = request.match_info["id"]
    entry = request.app[STORE].get(_owner(request), id)
    if entry is None:
        raise ApiError(404, f"Response with id {quoted(id)} not found.", param="response_id")
    return entry


def _owner(request: web.Request) -> str:
    """Whose the request's responses are: its API key's, or everybody's where none is needed."""
    return tenant_of(request, request.app[SERVICES].settings)


def _order(request: web.Request) -> Literal["asc", "desc"]:
    match request.query.get("order", "desc"):
        case "asc" | "desc" as order:
            return order
        case _:
            raise invalid("order", "Invalid value for 'order': supported are 'asc' and 'desc'.")


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(_PAGE))
    if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= _LONGEST_PAGE:
        return int(text)
    raise invalid("limit", f"Invalid value for 'limit': expected 1 to {_LONGEST_PAGE}.")
