"""A provider of language models on loopback that answers by rule, in a thread of its own, so that
it outlives the event loops of single tests."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer
from far import DONE, USAGE, chunk, event

ANSWER = "The engineer is responsible for the new website."
STORY = " ".join(["Once upon a time there was a king who had a small house by the sea."] * 30)
SECONDS_PER_WORD = 0.02

STORY_PLEASE = "Tell me a story."
"""Is answered at length, and slowly enough to be interrupted."""

BREAK_OFF = "Break off."
"""Is answered by a sentence and a half, after which the provider is gone."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a chat completion answers: text, or a call of `weather` with these arguments."""

    text: str = ""
    arguments: str = ""
    breaks_off: bool = False


def refusal(messages: Any) -> str | None:
    """What OpenAI says of messages in which calls and their results do not follow each other."""
    due: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in due:
                return "messages with role 'tool' must be a response to a preceding 'tool_calls'."
            due.remove(message["tool_call_id"])
            continue
        if due:
            break
        due = {call["id"] for call in message.get("tool_calls", ())}
    if due:
        return "An assistant message with 'tool_calls' must be followed by tool messages."
    return None


def reply_to(body: Any) -> Reply:
    """The answer to the newest message of a chat completion request."""
    newest = body["messages"][-1]
    text = newest["content"]
    if newest["role"] == "tool":
        return Reply(f"The weather in Paris is {text}.")
    if "weather" in text and body.get("tools"):
        city = re.search(r"\bin (\w+)", text)
        return Reply(arguments=json.dumps({"city": city[1] if city else "London"}))
    if text == STORY_PLEASE:
        return Reply(STORY)
    if text == BREAK_OFF:
        return Reply("This is the whole of the first sentence. This is not the", breaks_off=True)
    return Reply(ANSWER)


class AnsweringProvider(AbstractContextManager["AnsweringProvider"]):
    """Serves `/v1/chat/completions` while the block runs."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Any] = []
        """The bodies of the requests so far."""
        self.left = threading.Event()
        """Somebody went before an answer was over."""
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10), "the provider did not start"
        return self

    def __exit__(self, *failure: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the provider did not stop"

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/v1/chat/completions", self._answer)
        async with TestServer(app) as server:
            self.url = str(server.make_url("/v1"))
            self._up.set()
            await self._over.wait()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        if refused := refusal(body["messages"]):
            error = {"message": refused, "type": "invalid_request_error", "param": "messages"}
            return web.json_response({"error": error}, status=400)
        reply = reply_to(body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            async for piece in _pieces(reply):
                await response.write(piece)
        except (asyncio.CancelledError, ConnectionResetError):
            self.left.set()
            raise
        if reply.breaks_off and request.transport is not None:
            request.transport.abort()
        return response


async def _pieces(reply: Reply) -> AsyncIterator[bytes]:
    for word in re.findall(r"\S+\s*", reply.text):
        await asyncio.sleep(SECONDS_PER_WORD)
        yield chunk(word)
    if reply.breaks_off:
        return
    if reply.arguments:
        half = len(reply.arguments) // 2
        yield _call(id="call_1", type="function", function={"name": "weather", "arguments": ""})
        yield _call(function={"arguments": reply.arguments[:half]})
        yield _call(function={"arguments": reply.arguments[half:]})
    yield chunk(finish="tool_calls" if reply.arguments else "stop")
    yield USAGE
    yield DONE


def _call(**fields: Any) -> bytes:
    delta = {"tool_calls": [{"index": 0, **fields}]}
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])
