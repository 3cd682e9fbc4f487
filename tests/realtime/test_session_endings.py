"""Conversation sessions that end while a response is made: it is done before they are."""

import asyncio
from pathlib import Path

import pytest
from live import NULL, Running, connect

from pipelines.nodes.respond import Responder
from realtime.app import create_app
from realtime.config import Configuration, Defaults, Limits, Provider, ServerSettings

QUERY = "/v1/realtime?model=gpt-realtime"


class Conversing(Running):
    """A server with a language model that is never asked."""

    def __init__(self, data_dir: Path, **limits: float) -> None:
        self.configuration = Configuration(
            server=ServerSettings(port=0, grace_seconds=2),
            models=(NULL,),
            providers={"far": Provider(base_url="http://127.0.0.1:9/v1")},
            defaults=Defaults(transcription="null", chat="far.big"),
            limits=Limits.model_validate(limits),
        )
        self.app = create_app(self.configuration, data_dir)


async def hang(*arguments: object) -> None:
    await asyncio.Event().wait()


async def break_down(*arguments: object) -> None:
    raise ZeroDivisionError("a fault of ours")


@pytest.mark.parametrize(
    ("generate", "code", "reason"),
    [(hang, 1001, "session_idle_timeout"), (break_down, 1011, "server_error")],
)
async def test_a_response_is_done_before_its_session_ends(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    generate: object,
    code: int,
    reason: str,
) -> None:
    monkeypatch.setattr(Responder, "_generate", generate)
    running = await asyncio.to_thread(Conversing, tmp_path, idle_seconds=0.5)
    async with running.url() as url, connect(url + QUERY) as client:
        await client.send("response.create")
        assert await client.closed() == code
        (done,) = client.of("response.done")
        assert done["response"]["status_details"]["error"]["code"] == reason
        assert client.of("error")[0]["error"]["code"] == reason
