"""POST /v1/chat/completions: conversations with language models, here or at a provider."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web

from engines.base import EngineError
from engines.generation import Finished, GenerationEvent, Usage
from routes.bodies import read_json, validated
from routes.chat_requests import ChatRequest
from routes.chat_results import Choice, Chunks, completion
from routes.choices import at_once
from routes.errors import json_response
from routes.forwarding import forward
from routes.middleware import owner_of
from routes.services import SERVICES
from routes.streaming import stream_events
from routes.text_requests import model_of
from routes.text_results import Head


async def complete(request: web.Request) -> web.StreamResponse:
    """POST /v1/chat/completions."""
    body = await read_json(request)
    model = model_of(body)
    language = request.app[SERVICES].language
    if (remote := language.remote(model)) is not None:
        return await forward(request, remote, "/chat/completions", body)
    language.check(model, "chat")
    asked = await validated(body, ChatRequest)
    head = Head.new("chatcmpl", model)
    owner = owner_of(request)
    answers = [language.generate(model, each, owner=owner) for each in asked.asked()]
    async with aclosing(at_once(answers)) as events:
        if asked.stream:
            chunks = Chunks(head, asked.include_usage, asked.calls_functions)
            async with aclosing(_chunks(events, chunks, asked.n)) as stream:
                return await stream_events(request, stream)
        choices = [Choice(index, asked.calls_functions) for index in range(asked.n)]
        async for index, event in events:
            choices[index].add(event)
    return await asyncio.to_thread(_respond, head, choices)


def _respond(head: Head, choices: Sequence[Choice]) -> web.Response:
    """It may take a while, with log-probabilities: not for the event loop."""
    return json_response(completion(head, choices))


async def _chunks(
    events: AsyncIterator[tuple[int, GenerationEvent]], chunks: Chunks, choices: int
) -> AsyncGenerator[dict[str, Any], None]:
    """Nothing is said before a model has answered, so that an error can still have its status."""
    usages: dict[int, Usage] = {}
    opened = False
    async for index, event in events:
        if not opened:
            opened = True
            for chunk in chunks.opening(choices):
                yield chunk
        for chunk in chunks.of(index, event):
            yield chunk
        if isinstance(event, Finished):
            usages[index] = event.usage
    if len(usages) < choices:
        raise EngineError("The model broke its answer off.")
    for chunk in chunks.closing(list(usages.values())):
        yield chunk
