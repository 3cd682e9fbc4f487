import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from programs import NANO, Server, is_gone, wait_until
from voice import Samples, pcm16, say, silence, write_wav
from websockets.asyncio.client import connect as connect_on_loop
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.connection import Connection

pytestmark = pytest.mark.one_loop

SENTENCE = "The engineer is not happy with the support backlog."
PATIENCE = 30
"""Seconds that a loaded machine may take for what should be done at once."""
LONG_GRACE = {"server": {"grace_seconds": 4 * PATIENCE}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, configuration=LONG_GRACE) as running:
        wait_until(lambda: bool(running.family()), PATIENCE)
        yield running


def address(server: Server) -> str:
    return f"{server.url.replace('http', 'ws', 1)}/v1/realtime?intent=transcription"


def session(server: Server) -> Connection:
    socket = connect(address(server), proxy=None)
    assert json.loads(socket.recv(timeout=PATIENCE))["type"] == "session.created"
    return socket


def speak(socket: Connection, samples: Samples) -> None:
    audio = b64encode(pcm16(samples)).decode()
    socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


def rest_of(socket: Connection) -> tuple[list[str], int]:
    """Types of the events until the socket is closed, and the code it is closed with."""
    types: list[str] = []
    try:
        while True:
            types.append(json.loads(socket.recv(timeout=PATIENCE))["type"])
    except ConnectionClosed as closed:
        return types, closed.rcvd.code if closed.rcvd else 1006


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_promptly_and_tells_its_sessions(
    number: int, server: Server
) -> None:
    children = server.family()
    with session(server) as idle, session(server) as speaking:
        speak(speaking, np.concatenate([silence(0.5), say(SENTENCE)]))
        assert json.loads(speaking.recv(timeout=PATIENCE))["type"].endswith("speech_started")
        # As a terminal does it: to the whole group.
        os.killpg(server.process.pid, number)
        for socket in (idle, speaking):
            assert rest_of(socket)[1] == 1001
        assert server.process.wait(PATIENCE) in (0, 130)
    wait_until(lambda: all(map(is_gone, children)), PATIENCE)
    assert "closed with 1001" in server.log()
    assert "goodbye" not in server.log()


def test_an_utterance_that_was_spoken_gets_its_text_before_the_server_ends(tmp_path: Path) -> None:
    with Server(tmp_path, configuration=NANO) as server, session(server) as socket:
        speak(socket, np.concatenate([silence(0.5), say(SENTENCE), silence(1.0)]))
        while json.loads(socket.recv(timeout=PATIENCE))["type"] != "input_audio_buffer.committed":
            pass
        server.process.terminate()
        types, code = rest_of(socket)
        assert code == 1001
        assert "conversation.item.input_audio_transcription.completed" in types
        assert server.process.wait(PATIENCE) == 0


def test_no_worker_outlives_a_server_that_was_killed(server: Server) -> None:
    children = server.family()
    with session(server) as socket:
        speak(socket, np.concatenate([silence(0.5), say(SENTENCE)]))
        assert json.loads(socket.recv(timeout=PATIENCE))["type"].endswith("speech_started")
        children += server.family()
        assert server.stop(signal.SIGKILL, PATIENCE) == -signal.SIGKILL
    wait_until(lambda: all(map(is_gone, children)), PATIENCE)


class Upload(threading.Thread):
    """A request to transcribe minutes of speech, in a thread."""

    def __init__(self, server: Server, path: Path) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._path = path
        self.status: int | None = None
        self.start()

    def run(self) -> None:
        url = f"{self._server.url}/v1/audio/transcriptions"
        with self._path.open("rb") as file, httpx2.Client(trust_env=False, timeout=60) as client:
            try:
                form = {"model": "whisper-1"}
                self.status = client.post(url, data=form, files={"file": file}).status_code
            except httpx2.TransportError:
                self.status = 0


def begun(server: Server, path: Path) -> Upload:
    """An upload that an engine already works on."""
    upload = Upload(server, path)
    count = re.compile(r'antiphon_job_wait_seconds_count{job_class="rest",.*} [1-9]')
    wait_until(lambda: count.search(server.get("/metrics")) is not None, PATIENCE)
    return upload


def speech(folder: Path, sentences: int) -> Path:
    parts = [silence(0.5), say(SENTENCE), silence(1.0)] * sentences
    return write_wav(folder / "speech.wav", np.concatenate(parts))


def test_a_request_in_progress_is_finished_before_the_server_ends(tmp_path: Path) -> None:
    path = speech(tmp_path, 6)
    with Server(tmp_path, configuration=NANO) as server:
        upload = begun(server, path)
        server.process.send_signal(signal.SIGINT)
        upload.join(PATIENCE)
        assert upload.status == 200
        assert server.process.wait(PATIENCE) == 0


def test_a_request_that_takes_longer_than_the_grace_period_is_cancelled(tmp_path: Path) -> None:
    path = speech(tmp_path, 150)
    configuration = {"server": {"grace_seconds": 0.5}}
    with Server(tmp_path, configuration=configuration) as server:
        upload = begun(server, path)
        assert upload.status is None, "the recording is too short for this test"
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0
        upload.join(PATIENCE)
        assert upload.status != 200


def test_a_second_signal_does_not_wait_for_work_in_progress(tmp_path: Path) -> None:
    path = speech(tmp_path, 150)
    with Server(tmp_path, configuration=LONG_GRACE) as server:
        upload = begun(server, path)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert server.process.poll() is None, "it did not wait for the request"
        children = server.family()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 130
        upload.join(PATIENCE)
        assert upload.status != 200
        wait_until(lambda: all(map(is_gone, children)), PATIENCE)


def test_insecure_serves_every_address_without_a_key(tmp_path: Path) -> None:
    with Server(tmp_path, "--host", "0.0.0.0", "--insecure") as server:
        assert json.loads(server.get("/v1/models"))["object"] == "list"


def test_a_key_is_asked_for_where_one_is_configured(tmp_path: Path) -> None:
    configuration = {"server": {"api_key": "hunter2"}}
    with Server(tmp_path, "--host", "0.0.0.0", configuration=configuration) as server:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            server.get("/v1/models")
        answer = httpx2.get(
            f"{server.url}/v1/models", headers={"Authorization": "Bearer hunter2"}, trust_env=False
        )
        assert answer.status_code == 200
        assert "hunter2" not in server.log()


def test_a_certificate_of_our_own_serves_https_and_wss_and_its_fingerprint_is_shown(
    tmp_path: Path,
) -> None:
    with Server(tmp_path, "--tls-self-signed", tls=True) as server:
        pem = (tmp_path / "data" / "tls" / "certificate.pem").read_bytes()
        shown = x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex(":").upper()
        assert f"SHA-256 {shown}" in server.log()
        assert f"listening on {server.url} " in server.log()
        # Whoever trusts this certificate is content with the name in it.
        trusting = ssl.create_default_context(cadata=pem.decode())
        with httpx2.Client(verify=trusting, trust_env=False) as client:
            assert client.get(f"{server.url}/health").status_code == 200
        assert asyncio.run(_stopped_under(server, trusting)) == 1001


async def _stopped_under(server: Server, trusting: ssl.SSLContext) -> int:
    """Stop a server in the middle of a session over TLS; the code it is closed with.

    On a loop: OpenSSL does not take the two threads of a client that reads and writes at once.
    """
    async with connect_on_loop(address(server), proxy=None, ssl=trusting) as socket:
        assert json.loads(await socket.recv())["type"] == "session.created"
        assert await asyncio.to_thread(server.stop, signal.SIGTERM, PATIENCE) == 0
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_the_log_has_a_line_for_each_thing_and_names_the_session(server: Server) -> None:
    with session(server):
        pass
    wait_until(lambda: "closed with 1000" in server.log(), PATIENCE)
    lines = server.log().splitlines()
    for line in lines:
        assert line[:4].isdigit(), line
    (opened,) = [line for line in lines if "opened (transcription), model" in line]
    assert "[sess_" in opened
    assert any("antiphon pull base" in line for line in lines)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the threads of a process")
def test_the_servers_numpy_brings_no_threads_of_its_own() -> None:
    # They would spin for a tenth of a second after each small product of matrices.
    count = "import os, realtime.serving; print(len(os.listdir('/proc/self/task')))"
    told = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "1"
