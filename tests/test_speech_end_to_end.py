"""Real speech through the whole server, as the OpenAI SDK sends it."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from live import NANO, QUERY, Running, connect
from openai import AsyncOpenAI
from voice import Samples, pcm16, recording, say, silence, spoken_text, word_errors

from engines.workers import ProcessWorker
from realtime.app import SERVER
from routes.metrics import METRICS

DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"


@pytest.fixture
def built_in(tmp_path: Path) -> Running:
    return Running(tmp_path)


@pytest.fixture
def nano(tmp_path: Path) -> Running:
    return Running(tmp_path, NANO)


async def _stream(connection: Any, audio: Samples, pace: float) -> None:
    """Append 100 ms at a time, at `pace` times real time."""
    data = pcm16(np.concatenate((silence(0.5), audio, silence(1.0))))
    for start in range(0, len(data), 4800):
        piece = base64.b64encode(data[start : start + 4800]).decode()
        await connection.input_audio_buffer.append(audio=piece)
        await asyncio.sleep(0.1 / pace)
    await connection.input_audio_buffer.clear()


async def _hear(connection: Any, speaking: asyncio.Task[None]) -> tuple[int, list[str]]:
    """Deltas that came while the speech was still being sent, and the final transcripts."""
    early, transcripts, open_items, over = 0, list[str](), set[str](), False
    async for event in connection:
        match event.type:
            case "input_audio_buffer.committed":
                open_items.add(event.item_id)
            case "input_audio_buffer.cleared":
                over = True
            case kind if kind == DELTA:
                early += not speaking.done()
            case kind if kind == COMPLETED:
                transcripts.append(event.transcript)
                open_items.discard(event.item_id)
        if over and not open_items:
            break
    return early, transcripts


@pytest.mark.one_loop
async def test_the_sdk_hears_a_person_while_he_speaks(built_in: Running) -> None:
    audio = recording("people/jfk.flac")
    async with built_in.url() as url:
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        query = {"intent": "transcription"}
        async with (
            asyncio.timeout(60),
            client.realtime.connect(extra_query=query) as connection,
            asyncio.TaskGroup() as tasks,
        ):
            speaking = tasks.create_task(_stream(connection, audio, pace=1.0))
            early, transcripts = await _hear(connection, speaking)
        await client.close()
    assert early >= 3
    assert word_errors(spoken_text("people/jfk.flac"), " ".join(transcripts)) < 0.6


@pytest.mark.one_loop
async def test_whisper_writes_what_was_said(nano: Running) -> None:
    name = "synthetic/utt05.wav"
    async with nano.client() as client:
        await client.say(np.concatenate((silence(0.5), recording(name), silence(1.0))))
        done = await client.next(COMPLETED)
        assert word_errors(spoken_text(name), done["transcript"]) < 0.3


@pytest.mark.one_loop
async def test_audio_that_arrives_while_the_model_loads_is_kept(nano: Running) -> None:
    async with nano.client() as client:
        await client.update(turn_detection=None)
        await client.say(say("what time is the meeting"))
        await client.send("input_audio_buffer.commit")
        assert (await client.next(COMPLETED))["transcript"]


def _decoders(running: Running) -> list[int]:
    lanes = running.app[SERVER].scheduler.lanes
    workers = [w for lane in lanes for w in lane.workers if isinstance(w, ProcessWorker)]
    return [worker.pid for worker in workers if worker.pid is not None]


@pytest.mark.one_loop
async def test_an_utterance_survives_the_death_of_its_decoder(built_in: Running) -> None:
    async with built_in.client() as client:
        await client.say(np.concatenate((silence(0.5), say("tell me what time it is now"))))
        await client.next("input_audio_buffer.speech_started")
        await _some_job_runs(built_in)
        for pid in _decoders(built_in):
            psutil.Process(pid).kill()
        await client.say(silence(1.0))
        assert (await client.next(COMPLETED, FAILED))["type"] == COMPLETED
    crashes = built_in.app[METRICS].get_sample_value
    assert (crashes("antiphon_worker_crashes_total", {"lane": "pocketsphinx"}) or 0) >= 1


@pytest.mark.one_loop
async def test_an_utterance_whose_decoders_keep_dying_fails_and_the_session_goes_on(
    built_in: Running,
) -> None:
    async with built_in.url() as url, connect(url + QUERY) as client:
        killing = asyncio.create_task(_kill_every_decoder(built_in))
        await client.say(np.concatenate((silence(0.5), say("nobody will hear this"), silence(1))))
        failed = await client.next(COMPLETED, FAILED, seconds=60)
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        assert failed["type"] == FAILED
        assert failed["error"]["type"] == "server_error"
        await client.say(np.concatenate((say("but this they will"), silence(1.0))))
        assert await client.next(COMPLETED)


async def _some_job_runs(running: Running) -> None:
    async with asyncio.timeout(20):
        while not _decoders(running):  # noqa: ASYNC110 - processes tell nobody that they live
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)


async def _kill_every_decoder(running: Running) -> None:
    while True:
        for pid in _decoders(running):
            psutil.Process(pid).kill()
        await asyncio.sleep(0.02)
