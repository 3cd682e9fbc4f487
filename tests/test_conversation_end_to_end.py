"""Spoken conversations with models on this machine alone: a real llama.cpp that says a known text,
espeak's voice, and workers that are killed while they answer."""

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gguf_models
import httpx2
import numpy as np
import psutil
import pytest
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from programs import Server, free_port, wait_until
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter
from voice import WHISPER_NANO, pcm16, say, silence

pytestmark = pytest.mark.one_loop

EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
SECONDS = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("conversation")
    endless = "All work and no play makes a dull boy. "
    made = {
        "scripted": gguf_models.scripted(folder / "scripted.gguf", context=2048),
        "caller": gguf_models.scripted(folder / "caller.gguf", CALL, context=2048),
        "endless": gguf_models.scripted(
            folder / "endless.gguf", endless, ends=False, context=16384
        ),
    }
    models: list[dict[str, Any]] = [
        {
            "name": name,
            "engine": "llama",
            "source": str(path),
            "options": {"threads": 1} | ({"context": 16384} if name == "endless" else {}),
        }
        for name, path in made.items()
    ]
    models.append({"name": "nano", "engine": "whisper", "source": str(WHISPER_NANO)})
    configuration = {"models": models, "defaults": {"chat": "scripted"}}
    with Server(folder, configuration=configuration, port=free_port()) as running:
        yield running


class Conversation:
    """A session and what it was told."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.events: list[Any] = []

    async def until(self, *types: str) -> Any:
        """The next event of one of these types; each event is one that strict clients accept."""
        async with asyncio.timeout(SECONDS):
            while True:
                event = EVENTS.validate_json(await self.connection.recv_bytes(), strict=True)
                self.events.append(event)
                assert event.type != "error", event
                if event.type in types:
                    return event

    async def ask(self, text: str = "Tell me.") -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.connection.conversation.item.create(item=item)
        await self.connection.response.create()

    async def speak(self, text: str) -> None:
        audio = pcm16(np.concatenate((say(text), silence(1.2))))
        for at in range(0, len(audio), 4800):
            piece = base64.b64encode(audio[at : at + 4800]).decode()
            await self.connection.input_audio_buffer.append(audio=piece)


@asynccontextmanager
async def talking(server: Server, model: str = "gpt-realtime") -> AsyncIterator[Conversation]:
    web = httpx2.AsyncClient(trust_env=False)
    url = f"{server.url}/v1"
    async with (
        AsyncOpenAI(base_url=url, api_key="none", http_client=web) as client,
        client.realtime.connect(model=model) as connection,
    ):
        conversation = Conversation(connection)
        await conversation.until("session.created")
        yield conversation


def sounding(conversation: Conversation) -> int:
    return sum(event.type == "response.output_audio.delta" for event in conversation.events)


def live_jobs(server: Server, lane: str) -> float:
    """Jobs of a model that began and are not over, by its counters."""
    signs = {"antiphon_job_wait_seconds_count": 1, "antiphon_jobs_total": -1}
    return sum(
        sample.value * signs.get(sample.name, 0)
        for family in text_string_to_metric_families(server.get("/metrics"))
        for sample in family.samples
        if sample.labels.get("lane") == lane
    )


def worker_holding(server: Server, file: str) -> psutil.Process:
    """The worker process that has a file of this name in memory."""
    for child in server.family():
        if any(file in loaded.path for loaded in child.memory_maps()):
            return child
    raise AssertionError(f"no worker has {file}")


async def test_a_spoken_question_is_answered_aloud_by_a_model_of_this_machine(
    server: Server,
) -> None:
    async with talking(server) as conversation:
        await conversation.speak("What is the answer to everything?")
        done = await conversation.until("response.done")
        assert done.response.status == "completed"
        assert done.response.output[0].content[0].transcript == gguf_models.ANSWER
        assert done.response.usage.output_tokens > 0
        assert sounding(conversation) > 3


async def test_a_local_model_calls_functions(server: Server) -> None:
    async with talking(server, "caller") as conversation:
        await conversation.connection.session.update(
            session={"type": "realtime", "tools": [WEATHER]}
        )
        await conversation.ask()
        call = await conversation.until("response.function_call_arguments.done")
        assert (call.name, call.arguments.replace(" ", "")) == ("weather", '{"city":"Paris"}')
        assert (await conversation.until("response.done")).response.status == "completed"


async def test_speaking_over_an_endless_answer_ends_it_and_frees_the_model(server: Server) -> None:
    async with talking(server, "endless") as conversation:
        await conversation.ask()
        await conversation.until("response.output_audio.delta")
        await conversation.speak("Stop it now please.")
        started = await conversation.until("input_audio_buffer.speech_started", "response.done")
        assert started.type == "input_audio_buffer.speech_started"
        done = await conversation.until("response.done")
        assert done.response.status_details.reason == "turn_detected"
        await conversation.until("response.created")
        await conversation.connection.response.cancel()
        await conversation.until("response.done")
        await asyncio.to_thread(wait_until, lambda: live_jobs(server, "endless") == 0, 10)


@pytest.mark.parametrize("file", ["scripted.gguf", "libespeak"])
async def test_a_worker_that_is_killed_is_not_noticed_by_who_listens(
    server: Server, file: str
) -> None:
    async with talking(server) as conversation:
        await conversation.ask()
        await conversation.until("response.output_audio_transcript.delta")
        worker = await asyncio.to_thread(worker_holding, server, file)
        os.kill(worker.pid, signal.SIGKILL)
        done = await conversation.until("response.done")
        assert done.response.status == "completed"
        assert done.response.output[0].content[0].transcript == gguf_models.ANSWER
        assert sounding(conversation) > 0


def test_it_is_told_what_to_run_where_there_is_no_language_model(tmp_path: Path) -> None:
    with Server(tmp_path, configuration={}, port=free_port()) as bare:

        async def refused() -> dict[str, Any]:
            url = f"{bare.url}/v1"
            async with (
                AsyncOpenAI(base_url=url, api_key="none") as client,
                client.realtime.connect(model="gpt-realtime") as connection,
            ):
                event: dict[str, Any] = (await connection.recv()).to_dict()
                return event

        error = asyncio.run(refused())["error"]
    assert error["code"] == "model_not_found"
    assert "antiphon pull" in error["message"]
