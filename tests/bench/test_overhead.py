"""The overhead benchmark: its arithmetic, its load generator's pace, one point for real."""

import asyncio
import base64
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from voice import pcm16, silence

from bench.load import encode
from bench.overhead import CONFIGURATION, PERIOD, Point, Result, measure, speech
from bench.running import ROOT, BenchError, Scrape, Server, quantile, start, tree_cpu_seconds

INF = math.inf


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({0.001: 0, 0.002: 100, INF: 100}, 0.00199),
        ({0.001: 99, 0.002: 100, INF: 100}, 0.001),
        ({0.001: 50, 0.002: 90, INF: 100}, INF),
        ({0.001: 0, 0.002: 0, INF: 0}, None),
        ({}, None),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket(
    after: dict[float, float], expected: float | None
) -> None:
    assert quantile({}, after, 0.99) == pytest.approx(expected)


def test_a_quantile_is_of_what_came_between_two_readings() -> None:
    before = {0.001: 1000.0, 0.002: 1000.0, INF: 1000.0}
    after = {0.001: 1000.0, 0.002: 1010.0, INF: 1010.0}
    assert quantile(before, after, 0.5) == pytest.approx(0.0015)


def test_a_reading_of_the_metrics_sums_over_other_labels() -> None:
    scrape = Scrape(
        "# TYPE windows_total counter\n"
        'windows_total{result="open",lane="a"} 3\n'
        'windows_total{result="closed",lane="a"} 6\n'
        'windows_total{result="closed",lane="b"} 1\n'
        "# TYPE lag histogram\n"
        'lag_bucket{le="0.001"} 2\n'
        'lag_bucket{le="+Inf"} 5\n'
        "lag_count 5\n"
        "lag_sum 1\n"
    )
    assert scrape.value("windows_total") == 10
    assert scrape.value("windows_total", result="closed") == 7
    assert scrape.value("nothing_total") is None
    assert scrape.buckets("lag") == {0.001: 2, INF: 5}


def test_cpu_of_children_that_are_gone_is_counted() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {burn!r}])\n"
        "print('done', flush=True)\n"
        "sys.stdin.read()"
    )
    process = start([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        watched = psutil.Process(process.pid)
        own = watched.cpu_times()
        assert own.user + own.system < 0.3
        assert tree_cpu_seconds(watched) >= 0.3
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_children_die_with_a_killed_parent() -> None:
    parent = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from bench.running import start\n"
        "print(start([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
        gone, _ = psutil.wait_procs([child], timeout=5)
        assert gone or child.status() == psutil.STATUS_ZOMBIE


def test_the_speech_is_speech_three_fifths_of_every_period() -> None:
    pcm, _ = speech()
    sound = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    periods = sound.reshape(-1, PERIOD * 24_000)
    words, room = periods[:, : 3 * 24_000], periods[:, 3 * 24_000 + 240 : -240]
    assert len(periods) >= 3
    assert np.abs(room).max() < 0.01
    assert np.sqrt((words**2).mean(axis=1)).min() > 0.01


@pytest.mark.parametrize("append_ms", [20, 100])
def test_the_messages_hold_the_audio(append_ms: int) -> None:
    pcm = pcm16(silence(1))
    events = [json.loads(message) for message in encode(pcm, append_ms)]
    assert b"".join(base64.b64decode(event["audio"]) for event in events) == pcm
    assert len(events) == 1000 // append_ms


def result(**changes: Any) -> Result:
    fields: dict[str, Any] = {
        "point": Point(64, 100),
        "audio_seconds": 1920.0,
        "cpu_ms": 7.12345,
        "lag_p99_ms": 3.0,
        "lag_samples": 100,
        "gate_closed": 0.4,
        "windows": 60_000,
        "utterances": 384,
        "late_p99_ms": 2.0,
        "generator_cpu": 0.1,
    }
    return Result(**(fields | changes))


def test_figures_have_the_names_that_were_asked_for() -> None:
    assert result().figures() == {"cpu_ms_per_audio_second_64": 7.123, "loop_lag_p99_ms_64": 3.0}
    short = result(point=Point(1, 20), lag_p99_ms=None)
    assert short.figures() == {"cpu_ms_per_audio_second_1_20ms": 7.123}


@pytest.mark.parametrize(
    "changes", [{"late_p99_ms": 101.0}, {"utterances": 0}, {"errors": ("model_not_found",)}]
)
def test_a_figure_that_means_nothing_is_refused(changes: dict[str, Any]) -> None:
    assert result(**changes).refusal
    assert result(**changes).figures() == {}


@pytest.mark.one_loop
async def test_the_generator_keeps_pace_and_differs_in_phase(tmp_path: Path) -> None:
    arrivals: list[list[float]] = []
    firsts: list[str] = []

    async def realtime(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.receive_json()
        await socket.send_json({"type": "session.updated"})
        times: list[float] = []
        arrivals.append(times)
        async for message in socket:
            if not times:
                firsts.append(json.loads(message.data)["audio"])
            times.append(time.monotonic())
            if len(times) % 10 == 0:
                await socket.send_json({"type": "input_audio_buffer.committed"})
        return socket

    audio = tmp_path / "speech.pcm"
    audio.write_bytes(np.arange(24_000, dtype="<i2").tobytes())
    app = web.Application()
    app.router.add_get("/v1/realtime", realtime)
    async with TestServer(app) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(ROOT / "bench" / "load.py")),
            *("--url", f"ws://{server.host}:{server.port}", "--audio", str(audio)),
            *("--model", "null", "--sessions", "4", "--append-ms", "20"),
            *("--warm", "0.2", "--seconds", "1"),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    started, finished = (json.loads(line) for line in out.splitlines())
    assert process.returncode == 0
    assert started == {"event": "started"}
    assert finished["audio_seconds"] == pytest.approx(4.0, abs=0.5)
    assert finished["appends"] == round(finished["audio_seconds"] / 0.02)
    assert 0 <= finished["late_p99_ms"] <= finished["late_max_ms"]
    assert finished["utterances"] > 0
    assert finished["errors"] == []
    assert len(arrivals) == len(set(firsts)) == 4


@pytest.mark.one_loop
async def test_a_server_that_refuses_ends_the_load_with_its_sentence(tmp_path: Path) -> None:
    async def realtime(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_json({"type": "error", "error": {"message": "No such model."}})
        await socket.receive()
        return socket

    audio = tmp_path / "speech.pcm"
    audio.write_bytes(bytes(48_000))
    app = web.Application()
    app.router.add_get("/v1/realtime", realtime)
    async with TestServer(app) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(ROOT / "bench" / "load.py")),
            *("--url", f"ws://{server.host}:{server.port}", "--audio", str(audio)),
            *("--model", "null", "--sessions", "2", "--append-ms", "100", "--seconds", "1"),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    assert process.returncode == 1
    assert json.loads(out) == {"event": "failed", "message": "No such model."}


def test_a_server_that_does_not_start_is_told_with_its_last_words() -> None:
    sentence = "(?s)did not start.*no_such_setting"
    with pytest.raises(BenchError, match=sentence), Server("no_such_setting: 1\n"):
        pass


@pytest.mark.one_loop
async def test_a_point_is_measured_on_a_real_server(tmp_path: Path) -> None:
    def one_point() -> Result:
        audio = tmp_path / "speech.pcm"
        audio.write_bytes(speech()[0])
        with Server(CONFIGURATION) as server:
            return measure(server, audio, Point(2, 100), PERIOD)

    measured = await asyncio.to_thread(one_point)
    assert measured.errors == ()
    assert measured.audio_seconds == pytest.approx(2 * PERIOD, abs=1)
    assert measured.utterances > 0
    assert 0 < measured.cpu_ms < 1000
    assert measured.lag_samples > 0
    assert measured.lag_p99_ms is not None
    assert measured.windows > 0
    assert measured.gate_closed is not None
    assert 0 < measured.gate_closed < 1
