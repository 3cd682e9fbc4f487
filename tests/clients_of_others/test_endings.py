"""What a whole server makes of a provider, a client and itself that end during an answer."""

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from answering_provider import ANSWER, BREAK_OFF, STORY_PLEASE, AnsweringProvider
from programs import Server, is_gone, wait_until
from prometheus_client.parser import text_string_to_metric_families
from strict_client import QUESTION, conversation
from websockets.exceptions import ConnectionClosed

pytestmark = pytest.mark.one_loop


def samples(server: Server, name: str) -> Counter[str]:
    """The values of a metric by lane."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(server.get("/metrics")):
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels.get("lane", "")] += int(sample.value)
    return found


def live(server: Server) -> Counter[str]:
    """Jobs that began and are not over, by lane."""
    began = samples(server, "antiphon_job_wait_seconds_count")
    return +(began - samples(server, "antiphon_jobs_total"))


async def test_a_provider_that_dies_fails_the_answer_and_the_next_one_comes(
    server: Server,
) -> None:
    async with conversation(server.url) as client:
        await client.type(BREAK_OFF)
        failed = await client.next("response.done")
        assert failed["response"]["status"] == "failed"
        assert failed["response"]["status_details"]["error"]["message"].endswith(".")
        assert client.sound(), "what came before the failure was not said"
        await client.type(QUESTION)
        done = await client.next("response.done")
    assert done["response"]["status"] == "completed"
    assert done["response"]["output"][0]["content"][0]["transcript"] == ANSWER


async def test_a_client_that_vanishes_leaves_nothing_running(
    server: Server, provider: AnsweringProvider
) -> None:
    provider.left.clear()
    async with conversation(server.url) as client:
        await client.type(STORY_PLEASE)
        await client.next("response.output_audio.delta")
        assert samples(server, "antiphon_sessions")[""] == 1
        client.events.clear()  # the answer's end is nobody's to see
        client.connection._connection.transport.abort()
    left = await asyncio.to_thread(provider.left.wait, 10)
    assert left, "the provider still answers"
    nothing: Counter[str] = Counter()
    await asyncio.to_thread(wait_until, lambda: live(server) == nothing, 10)
    assert samples(server, "antiphon_sessions")[""] == 0
    async with conversation(server.url) as client:
        await client.type(QUESTION)
        done = await client.next("response.done")
    assert done["response"]["status"] == "completed"


async def test_a_server_that_is_told_to_end_closes_its_conversations(
    configuration: dict[str, Any], provider: AnsweringProvider, tmp_path: Path
) -> None:
    provider.left.clear()
    settings = {**configuration, "server": {"grace_seconds": 1}}
    with Server(tmp_path, configuration=settings) as server:
        family = await asyncio.to_thread(server.family)
        async with conversation(server.url) as client:
            await client.type(STORY_PLEASE)
            await client.next("response.output_audio.delta")
            client.events.clear()
            stopping = asyncio.create_task(asyncio.to_thread(server.stop, signal.SIGTERM, 15))
            with pytest.raises(ConnectionClosed) as closed:
                await client.next("nothing")
            client.events.clear()
            assert await stopping == 0
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    assert provider.left.is_set()
    assert all(is_gone(process) for process in family)
