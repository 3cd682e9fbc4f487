"""Whole sessions over the real wire, with real voice activity and a recogniser that says "word"."""

import asyncio
import contextlib
import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from live import NULL, QUERY, Client, Running, built, connect, pieces, turns
from voice import Samples, pcm16, say, silence

from engines.audio import encode_alaw, encode_ulaw
from engines.base import Busy
from engines.models import ModelStore
from realtime.app import SERVER
from routes.metrics import METRICS

FRAME_MS = 32
BUFFER = "input_audio_buffer"
DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"


def two_utterances() -> Samples:
    return np.concatenate(
        (
            silence(1.0),
            say("bring the list to the meeting"),
            silence(1.5),
            say("bring it"),
            silence(1),
        )
    )


@pytest.fixture(scope="module")
def speech() -> Samples:
    return two_utterances()


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path, NULL)


async def transcribed(client: Client, utterances: int) -> None:
    for _ in range(utterances):
        await client.next(COMPLETED)


@pytest.mark.one_loop
async def test_chunk_size_does_not_move_the_turns(running: Running, speech: Samples) -> None:
    audio = pcm16(speech)
    found = []
    async with running.url() as url:
        for milliseconds in (10, 20, 64, 100, 256, 1000):
            async with connect(url + QUERY) as client:
                await client.append(audio, milliseconds * 48)
                await transcribed(client, 2)
                found.append(turns(client))
    assert len(found[0]) == 2
    for other in found[1:]:
        assert np.abs(np.subtract(other, found[0])).max() <= FRAME_MS


@pytest.mark.one_loop
async def test_every_format_gives_the_same_turns(running: Running, speech: Samples) -> None:
    narrow = np.frombuffer(pcm16(speech, 8000), "<i2").astype(np.float32) / np.float32(32768)
    wires = [
        ({"type": "audio/pcm", "rate": 24000}, pcm16(speech), 4800),
        ({"type": "audio/pcm", "rate": 16000}, pcm16(speech, 16000), 3200),
        ({"type": "audio/pcmu"}, encode_ulaw(narrow).tobytes(), 800),
        ({"type": "audio/pcma"}, encode_alaw(narrow).tobytes(), 800),
    ]
    found = []
    async with running.url() as url:
        for wire, data, size in wires:
            async with connect(url + QUERY) as client:
                await client.update(format=wire)
                await client.append(data, size)
                await transcribed(client, 2)
                found.append(turns(client))
    for other in found[1:]:
        assert np.abs(np.subtract(other, found[0])).max() <= FRAME_MS, found


async def test_one_item_id_ties_an_utterance_together(running: Running, speech: Samples) -> None:
    async with running.client() as client:
        await client.say(speech)
        await transcribed(client, 2)
        started = [e["item_id"] for e in client.of("input_audio_buffer.speech_started")]
        assert len(set(started)) == 2
        for kind in ("input_audio_buffer.speech_stopped", "input_audio_buffer.committed"):
            assert [e["item_id"] for e in client.of(kind)] == started
        for kind in ("conversation.item.added", "conversation.item.done"):
            assert [e["item"]["id"] for e in client.of(kind)] == started
        assert {e["item_id"] for e in client.of(DELTA)} == set(started)
        before = [e["previous_item_id"] for e in client.of("input_audio_buffer.committed")]
        assert before == [None, started[0]]
        ids = [e["event_id"] for e in client.events]
        assert len(set(ids)) == len(ids)


async def test_deltas_add_up_to_the_transcript(running: Running, speech: Samples) -> None:
    async with running.client() as client:
        await client.say(speech)
        await transcribed(client, 2)
        for done in client.of(COMPLETED):
            deltas = [e["delta"] for e in client.of(DELTA) if e["item_id"] == done["item_id"]]
            assert "".join(deltas) == done["transcript"]
            assert done["transcript"].startswith("word word")
            assert done["usage"]["type"] == "duration"


async def test_only_a_client_that_asked_sees_unsettled_text(
    running: Running, speech: Samples
) -> None:
    tentative = "antiphon.transcription.tentative"
    async with running.url() as url:
        async with connect(url + QUERY) as plain:
            await plain.say(speech)
            await transcribed(plain, 2)
            assert not plain.of(tentative)
        async with connect(f"{url}{QUERY}&extensions={'antiphon.tentative'}") as asked:
            await asked.say(speech)
            await transcribed(asked, 2)
            assert asked.of(tentative)


async def test_a_client_may_commit_in_the_middle_of_speech(running: Running) -> None:
    async with running.client() as client:
        await client.say(np.concatenate((silence(0.5), say("the meeting begins at noon today"))))
        started = await client.next("input_audio_buffer.speech_started")
        await client.send("input_audio_buffer.commit")
        committed = await client.next("input_audio_buffer.committed")
        assert committed["item_id"] == started["item_id"]
        assert (await client.next(COMPLETED))["item_id"] == started["item_id"]
        assert not client.of("input_audio_buffer.speech_stopped")


async def test_there_is_nothing_to_commit_in_an_empty_buffer(running: Running) -> None:
    async with running.client() as client:
        await client.send("input_audio_buffer.commit", event_id="mine")
        error = (await client.next("error"))["error"]
        assert error["code"] == "input_audio_buffer_commit_empty"
        assert error["event_id"] == "mine"
        assert "0.00ms" in error["message"]


async def test_without_turn_detection_the_client_commits_and_clears(running: Running) -> None:
    async with running.client() as client:
        await client.update(turn_detection=None)
        await client.say(say("this is forgotten"))
        await client.send("input_audio_buffer.clear")
        await client.next("input_audio_buffer.cleared")
        await client.say(say("this one is kept"))
        await client.send("input_audio_buffer.commit")
        done = await client.next(COMPLETED)
        item = client.of("input_audio_buffer.committed")[0]["item_id"]
        assert done["item_id"] == item
        assert not client.of("input_audio_buffer.speech_started")


async def test_the_audio_of_an_item_begins_before_its_first_word(running: Running) -> None:
    spoken = say("good morning to all of you")
    async with running.client() as client:
        await client.say(np.concatenate((silence(2.0), spoken, silence(1.0))))
        await transcribed(client, 1)
        start = client.of("input_audio_buffer.speech_started")[0]["audio_start_ms"]
        assert 1500 <= start <= 2000
        item = client.of("input_audio_buffer.committed")[0]["item_id"]
        await client.send("conversation.item.retrieve", item_id=item)
        content = (await client.next("conversation.item.retrieved"))["item"]["content"][0]
        end = client.of("input_audio_buffer.speech_stopped")[0]["audio_end_ms"]
        seconds = len(content["audio"]) * 3 / 4 / 48_000
        assert seconds == pytest.approx((end - start) / 1000, abs=0.05)


@pytest.mark.one_loop
async def test_ten_minutes_of_silence_cost_no_transcription_and_no_memory(
    running: Running,
) -> None:
    minute = pcm16(silence(60))
    async with running.client() as client:
        await client.append(minute, 48_000)
        await _is_caught_up(client)
        before = psutil.Process().memory_info().rss
        for _ in range(9):
            await client.append(minute, 48_000)
            await _is_caught_up(client)
        grown = psutil.Process().memory_info().rss - before
        jobs = running.app[METRICS].get_sample_value
        assert (
            sum(
                jobs("antiphon_jobs_total", {"lane": "null", "result": result}) or 0
                for result in ("done", "failed", "cancelled", "refused")
            )
            == 0
        )
        assert grown <= 2 * 2**20
        assert not client.of("input_audio_buffer.speech_started")


async def _is_caught_up(client: Client) -> None:
    await client.send("input_audio_buffer.clear")
    await client.next("input_audio_buffer.cleared", seconds=60)


async def test_leaving_in_the_middle_of_an_utterance_leaves_nothing_behind(
    running: Running,
) -> None:
    async with running.url() as url:
        server = running.app[SERVER]
        async with connect(url + QUERY) as first:
            await first.say(two_utterances())
            await transcribed(first, 2)
        await _until(lambda: not server.endpoint.sessions)
        await asyncio.sleep(0.2)
        tasks = len(asyncio.all_tasks())
        async with connect(url + QUERY) as client:
            await client.say(np.concatenate((silence(0.5), say("nobody hears the end of this"))))
            await client.next(DELTA)
            (session,) = server.endpoint.sessions
            gone = weakref.ref(session)
            del session
        await _until(lambda: not server.endpoint.sessions)
        await _until(lambda: all(lane.live == 0 for lane in server.scheduler.lanes))
        await _until(lambda: len(asyncio.all_tasks()) <= tasks)
        await _until(lambda: gc.collect() >= 0 and gone() is None)


async def _until(true: object) -> None:
    assert callable(true)
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - there is no event for what is gone
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        "[]",
        "{}",
        '{"type": "no.such.event"}',
        '{"type": "input_audio_buffer.append"}',
        '{"type": "input_audio_buffer.append", "audio": 7}',
        '{"type": "input_audio_buffer.append", "audio": "@@@@"}',
        '{"type": "session.update", "session": {"type": "realtime"}}',
        '{"type": "session.update", "session": {"audio": {}}}',
        '{"type": "response.create", "event_id": "x"}',
        '{"type": "conversation.item.retrieve", "item_id": "nowhere"}',
        b"\x00\x01",
    ],
)
async def test_a_bad_frame_is_answered_and_the_session_lives(
    running: Running, frame: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with running.client() as client:
        if isinstance(frame, bytes):
            await client.socket.send_bytes(frame)
        else:
            await client.socket.send_str(frame)
        error = (await client.next("error"))["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"]
        assert (await client.update(turn_detection=None))["type"] == "session.updated"
    assert "Traceback" not in caplog.text


@pytest.mark.one_loop
async def test_a_fifteen_megabyte_append_works_and_a_larger_one_is_an_error(
    running: Running,
) -> None:
    async with running.client() as client:
        await client.update(turn_detection=None)
        await client.append(bytes(15 * 2**20))
        await client.append(bytes(20 * 2**20))
        error = (await client.next("error", seconds=60))["error"]
        assert error["type"] == "invalid_request_error"
        await client.send("input_audio_buffer.commit")
        done = await client.next(COMPLETED, seconds=60)
        assert done["usage"]["seconds"] == pytest.approx(15 * 2**20 / 48_000, abs=0.2)


async def test_odd_byte_counts_lose_nothing(running: Running, speech: Samples) -> None:
    async with running.client() as client:
        await client.append(pcm16(speech), 4799)
        await transcribed(client, 2)
        assert not client.of("error")


@pytest.mark.one_loop
async def test_faster_than_real_time_is_complete(running: Running, speech: Samples) -> None:
    async with running.client() as client:
        for _ in range(10):
            await client.append(pcm16(speech), 4800)
        await transcribed(client, 20)
        assert len(turns(client)) == 20


async def test_turn_detection_can_change_in_the_middle(running: Running) -> None:
    gap = np.concatenate((say("one moment"), silence(0.8), say("here it is"), silence(1.5)))
    async with running.client() as client:
        await client.update(turn_detection={"type": "server_vad", "silence_duration_ms": 1200})
        await client.say(np.concatenate((silence(0.5), gap)))
        await transcribed(client, 1)
        await client.update(turn_detection={"type": "server_vad", "silence_duration_ms": 300})
        await client.say(gap)
        await transcribed(client, 2)
        assert len(client.of(COMPLETED)) == 3


async def test_semantic_vad_is_accepted(running: Running, speech: Samples) -> None:
    async with running.client() as client:
        updated = await client.update(turn_detection={"type": "semantic_vad", "eagerness": "high"})
        assert updated["session"]["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"
        await client.say(speech)
        await transcribed(client, 2)


async def test_a_client_that_does_not_read_is_closed_with_1013(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.session.SEND_SECONDS", 0.5)
    running = await built(tmp_path, NULL, outbound_events=8)
    async with running.client() as client:
        await client.next("session.created")
        with contextlib.suppress(ConnectionError):
            while running.app[SERVER].endpoint.sessions:
                await client.send("no.such.event", event_id="x" * 500)
        assert await client.closed() in (1013, 1006)
        await _until(lambda: not running.app[SERVER].endpoint.sessions)
    code = {"code": "1013"}
    assert running.app[METRICS].get_sample_value("antiphon_sessions_closed_total", code) == 1


async def test_a_client_that_is_slow_to_answer_a_close_still_hears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.session.CLOSE_SECONDS", 0.05)
    running = await built(tmp_path, NULL, session_seconds=0.3)
    async with running.client() as client:
        assert client.socket._response.connection is not None
        transport = client.socket._response.connection.transport
        assert transport is not None
        transport.pause_reading()
        await _until(lambda: running.app[SERVER].endpoint.sessions)
        await _until(lambda: not running.app[SERVER].endpoint.sessions)
        await asyncio.sleep(0.1)
        transport.resume_reading()
        assert await client.closed() == 1001
        assert client.of("error")[0]["error"]["code"] == "session_expired"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [("conversation.item.delete", "error"), ("input_audio_buffer.clear", f"{BUFFER}.cleared")],
)
async def test_thousands_of_events_at_once_are_all_answered(
    running: Running, sent: str, answer: str
) -> None:
    async with running.client() as client:
        for _ in range(9000):
            await client.send(sent, item_id="nowhere")
        for _ in range(9000):
            await client.next(answer)


async def test_a_silent_client_is_sent_away(tmp_path: Path) -> None:
    async with (await built(tmp_path, NULL, idle_seconds=0.3)).client() as client:
        assert await client.closed() == 1001
        assert client.of("error")[0]["error"]["code"] == "session_idle_timeout"


async def test_a_client_that_only_answers_pings_is_silent(tmp_path: Path) -> None:
    async def answer(client: Client) -> None:
        while not client.socket.closed:
            await client.socket.pong()
            await asyncio.sleep(0.1)

    async with (await built(tmp_path, NULL, idle_seconds=0.5)).client() as client:
        answering = asyncio.create_task(answer(client))
        assert await client.closed() == 1001
        answering.cancel()
        assert client.of("error")[0]["error"]["code"] == "session_idle_timeout"


async def test_a_connection_that_is_lost_is_counted(running: Running) -> None:
    async with running.url() as url, connect(url + QUERY) as client:
        await client.next("session.created")
        assert client.socket._response.connection is not None
        transport = client.socket._response.connection.transport
        assert transport is not None
        transport.abort()
        await _until(lambda: not running.app[SERVER].endpoint.sessions)
    code = {"code": "1006"}
    assert running.app[METRICS].get_sample_value("antiphon_sessions_closed_total", code) == 1


async def test_a_session_ends_at_its_longest(tmp_path: Path) -> None:
    async with (await built(tmp_path, NULL, session_seconds=0.3)).client() as client:
        assert await client.closed() == 1001
        assert client.of("error")[0]["error"]["code"] == "session_expired"


async def test_more_sessions_than_allowed_are_refused(tmp_path: Path) -> None:
    running = await built(tmp_path, NULL, sessions=1)
    async with running.client() as client:
        await client.next("session.created")
        url = str(client.socket._response.url)
        async with connect(url) as second:
            assert await second.closed() == 1013
            assert second.of("error")[0]["error"]["code"] == "too_many_sessions"


async def test_a_session_that_could_not_be_kept_up_with_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(store: ModelStore, name: str) -> None:
        raise Busy(f"The model '{name}' is busy.")

    running = await built(tmp_path, NULL)
    monkeypatch.setattr(ModelStore, "admit", full)
    async with running.client() as client:
        assert await client.closed() == 1013
        (event,) = client.of("error")
        assert event["error"]["code"] == "server_overloaded"


async def test_a_manual_buffer_that_is_full_says_so_once(tmp_path: Path) -> None:
    async with (await built(tmp_path, NULL, manual_buffer_seconds=1)).client() as client:
        await client.update(turn_detection=None)
        await client.append(bytes(48_000 * 3), 4800)
        await client.send("input_audio_buffer.commit")
        done = await client.next(COMPLETED)
        assert done["usage"]["seconds"] == pytest.approx(1.0, abs=0.05)
        assert [e["error"]["code"] for e in client.of("error")] == ["input_audio_buffer_full"]


async def test_stopping_the_server_closes_sessions_with_1001(running: Running) -> None:
    async with running.url() as url:
        opened = connect(url + QUERY)
        client = await opened.__aenter__()
        await client.next("session.created")
        closing = asyncio.create_task(client.closed())
    assert await closing == 1001
    await opened.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("query", "code", "close"),
    [
        ("", "missing_model", 4000),
        ("?model=nobody-has-this", "model_not_found", 4004),
        ("?intent=conversation", "invalid_value", 4000),
    ],
)
async def test_what_cannot_be_opened_is_refused_in_band(
    running: Running, query: str, code: str, close: int
) -> None:
    async with running.client("/v1/realtime" + query) as client:
        assert await client.closed() == close
        assert client.events[0]["error"]["code"] == code


@pytest.mark.parametrize(
    "how",
    [
        {"headers": {"Authorization": "Bearer secret"}},
        {"headers": {"api-key": "secret"}},
        {"protocols": ("realtime", "openai-insecure-api-key.secret")},
    ],
)
async def test_the_key_is_taken_from_every_place(tmp_path: Path, how: dict[str, Any]) -> None:
    running = await built(tmp_path, NULL, server={"api_key": "secret"})
    async with running.client(**how) as client:
        assert await client.next("session.created")
        assert client.socket.protocol == ("realtime" if "protocols" in how else None)


async def test_a_wrong_key_is_refused_in_band(tmp_path: Path) -> None:
    running = await built(tmp_path, NULL, server={"api_key": "secret"})
    async with running.client(headers={"Authorization": "Bearer guess"}) as client:
        assert await client.closed() == 3000
        assert client.events[0]["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("header", ["Host", "Origin"])
async def test_a_page_from_elsewhere_cannot_open_a_socket(running: Running, header: str) -> None:
    import aiohttp

    value = "evil.example" if header == "Host" else "https://evil.example"
    async with running.url() as url, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(url + QUERY, headers={header: value})
        assert refused.value.status == 403


def test_pieces_put_together_are_the_whole() -> None:
    assert b"".join(pieces(b"abcdefg", 3)) == b"abcdefg"
