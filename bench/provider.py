"""An OpenAI-compatible provider that answers every chat alike, word by word on a fixed schedule.

In its own process. It writes a JSON line, `ready`, when it listens. A word counts as a token.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]

from aiohttp import web  # noqa: E402

from bench.load import tell  # noqa: E402
from pipelines.sentences import SentenceSplitter  # noqa: E402

NAME = "scripted"
SENTENCES = (
    "It is four o'clock in the afternoon.",
    "Is there anything else?",
    "The next train to the city leaves in twenty minutes.",
    "You can still reach it if you walk to the station now.",
    "There will be some rain in the evening, so take a coat.",
)


@dataclass(frozen=True, slots=True)
class Script:
    """So many `sentences`; the first word after `first` seconds, the others `gap` apart."""

    sentences: int
    first: float
    gap: float

    @property
    def words(self) -> tuple[str, ...]:
        """The answer in pieces; joined they are its text."""
        text = " ".join(SENTENCES[n % len(SENTENCES)] for n in range(self.sentences))
        return tuple(f"{word} " for word in text.split())

    @property
    def first_sentence(self) -> float:
        """Seconds from a request until what ends the first sentence has been written."""
        splitter = SentenceSplitter()
        for place, word in enumerate(self.words):
            if splitter.feed(word):
                return self.first + place * self.gap
        return self.first + (len(self.words) - 1) * self.gap


def application(script: Script) -> web.Application:
    """The provider."""

    async def complete(request: web.Request) -> web.StreamResponse:
        asked = asyncio.get_running_loop().time()
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with suppress(ConnectionResetError):  # the answer was interrupted
            await _write(response, script, asked)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    return app


async def _write(response: web.StreamResponse, script: Script, asked: float) -> None:
    """Words when they are due, counted from the request: one that is late delays no other."""
    loop = asyncio.get_running_loop()
    due, late = asked + script.first, b""
    for word in script.words:
        if due > loop.time():
            if late:
                await response.write(late)
                late = b""
            await asyncio.sleep(due - loop.time())
        late += _chunk({"content": word})
        due += script.gap
    await response.write(late + _chunk({}, "stop") + b"data: [DONE]\n\n")


def _chunk(delta: dict[str, str], reason: str | None = None) -> bytes:
    chunk: dict[str, Any] = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": NAME,
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
    }
    return f"data: {json.dumps(chunk)}\n\n".encode()


async def serve(script: Script, port: int) -> None:
    """Answer until cancelled."""
    runner = web.AppRunner(application(script), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        tell(event="ready")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sentences", type=int, required=True)
    parser.add_argument("--first", type=float, required=True, help="seconds")
    parser.add_argument("--gap", type=float, required=True, help="seconds")
    given = parser.parse_args(arguments)
    asyncio.run(serve(Script(given.sentences, given.first, given.gap), given.port))


if __name__ == "__main__":
    main()
