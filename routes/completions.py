"""POST /v1/completions: texts that language models go on with, here or at a provider."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web

from engines.generation import GenerationEvent
from routes.bodies import read_json, validated
from routes.choices import at_once
from routes.completion_requests import CompletionRequest
from routes.completion_results import Choice, Chunks, completion
from routes.errors import json_response
from routes.forwarding import forward
from routes.middleware import owner_of
from routes.services import SERVICES
from routes.streaming import stream_events
from routes.text_requests import model_of
from routes.text_results import Head


async def complete(request: web.Request) -> web.StreamResponse:
    """POST /v1/completions."""
    body = await read_json(request)
    model = model_of(body)
    language = request.app[SERVICES].language
    if (remote := language.remote(model)) is not None:
        return await forward(request, remote, "/completions", body)
    language.check(model, "chat")
    asked = await validated(body, CompletionRequest)
    head = Head.new("cmpl", model)
    owner = owner_of(request)
    answers = [language.generate(model, each, owner=owner) for each in asked.asked()]
    choices = [Choice(index) for index in range(len(answers))]
    async with aclosing(at_once(answers)) as events:
        if asked.stream:
            chunks = Chunks(head, asked.include_usage)
            async with aclosing(_chunks(events, chunks, choices, asked.n)) as stream:
                return await stream_events(request, stream)
        async for index, event in events:
            choices[index].add(event)
    return await asyncio.to_thread(_respond, head, choices, asked.n)


def _respond(head: Head, choices: Sequence[Choice], per_prompt: int) -> web.Response:
    """It may take a while, with log-probabilities: not for the event loop."""
    return json_response(completion(head, choices, per_prompt))


async def _chunks(
    events: AsyncIterator[tuple[int, GenerationEvent]],
    chunks: Chunks,
    choices: list[Choice],
    per_prompt: int,
) -> AsyncGenerator[dict[str, Any], None]:
    async for index, event in events:
        if (part := choices[index].add(event)) is not None:
            yield chunks.of(part)
    for chunk in chunks.closing(choices, per_prompt):
        yield chunk
