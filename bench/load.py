"""Streams speech into many Realtime sessions at real-time pace: the load, in its own process.

Every message is encoded once and shared by all sessions, so that this process stays cheap. It
writes JSON lines to stdout: `started` when every session is open and warm, `finished` with what
was sent since then, or `failed`. It streams on for a moment after `finished`, so that whoever
measures the server reads its counters under load.
"""

import argparse
import asyncio
import base64
import json
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

RATE = 24_000
SAMPLE_BYTES = 2
TAIL_SECONDS = 1.0
CONNECTING_AT_ONCE = 8


class LoadError(Exception):
    """Why no load could be made; a sentence."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to stream: `messages` are appends of `interval` seconds each, sent over and over."""

    url: str
    model: str
    messages: Sequence[bytes]
    interval: float
    sessions: int
    warm: float
    seconds: float


@dataclass(slots=True)
class Tally:
    """What happened while `counting`."""

    counting: bool = False
    over: bool = False
    sent: int = 0
    lateness: list[float] = field(default_factory=list)
    """Seconds by which each append was out of the door after it was due."""
    utterances: int = 0
    errors: list[str] = field(default_factory=list)


async def run(plan: Plan) -> None:
    """Open the sessions, stream, and tell stdout."""
    tally = Tally()
    doors = asyncio.Semaphore(CONNECTING_AT_ONCE)
    sockets = await asyncio.gather(*(_open(plan, doors) for _ in range(plan.sessions)))
    begin = asyncio.get_running_loop().time() + 0.1
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(_read(socket, tally)) for socket in sockets]
        writers = [
            group.create_task(_write(socket, plan, number, begin, tally))
            for number, socket in enumerate(sockets)
        ]
        await asyncio.sleep(plan.warm)
        cpu = time.process_time()
        tally.counting = True
        tell(event="started")
        await asyncio.sleep(plan.seconds)
        tally.counting = False
        tell(event="finished", cpu_seconds=time.process_time() - cpu, **_summary(tally, plan))
        await asyncio.sleep(TAIL_SECONDS)
        tally.over = True
        await asyncio.wait(writers)
        for task in readers:
            task.cancel()
    await asyncio.gather(*(socket.close() for socket in sockets))


async def _open(plan: Plan, doors: asyncio.Semaphore) -> ClientConnection:
    async with doors:
        return await open_session(plan.url, {"model": plan.model})


async def open_session(
    url: str, transcription: dict[str, str], extensions: str = ""
) -> ClientConnection:
    """A session that is set up: 24 kHz PCM, the server's VAD. Raises `LoadError`."""
    sound = {
        "format": {"type": "audio/pcm", "rate": RATE},
        "transcription": transcription,
        "turn_detection": {"type": "server_vad"},
    }
    session = {"type": "transcription", "audio": {"input": sound}}
    address = f"{url}/v1/realtime?intent=transcription&extensions={extensions}"
    return await set_up(address, session, queue=256)


async def set_up(address: str, session: Mapping[str, Any], *, queue: int) -> ClientConnection:
    """A session with these settings; `queue` events wait for who reads. Raises `LoadError`."""
    socket = await connect(
        address, compression=None, max_queue=queue, ping_interval=None, proxy=None
    )
    await socket.send(json.dumps({"type": "session.update", "session": session}))
    async with asyncio.timeout(60):
        while (event := json.loads(await socket.recv()))["type"] != "session.updated":
            if event["type"] == "error":
                raise LoadError(event["error"]["message"])
    return socket


async def _write(
    socket: ClientConnection, plan: Plan, number: int, begin: float, tally: Tally
) -> None:
    """Send appends when they are due; sessions differ in phase, within an append and the speech."""
    loop = asyncio.get_running_loop()
    share = number / plan.sessions
    due = begin + share * plan.interval
    position = int(share * len(plan.messages))
    while not tally.over:
        await asyncio.sleep(max(0.0, due - loop.time()))
        await socket.send(plan.messages[position], text=True)
        if tally.counting:
            tally.sent += 1
            tally.lateness.append(loop.time() - due)
        position = (position + 1) % len(plan.messages)
        due += plan.interval


async def _read(socket: ClientConnection, tally: Tally) -> None:
    """Take what the server says. Only errors are looked into: parsing all would cost CPU."""
    while True:
        message = await socket.recv(decode=False)
        if b"input_audio_buffer.committed" in message:
            tally.utterances += tally.counting
        elif b'"error"' in message and len(tally.errors) < 5:
            tally.errors.append(str(json.loads(message).get("error")))


def _summary(tally: Tally, plan: Plan) -> dict[str, object]:
    late = sorted(tally.lateness) or [0.0]
    return {
        "audio_seconds": tally.sent * plan.interval,
        "appends": tally.sent,
        "late_p99_ms": late[int(0.99 * (len(late) - 1))] * 1000,
        "late_max_ms": late[-1] * 1000,
        "utterances": tally.utterances,
        "errors": tally.errors,
    }


def encode(pcm: bytes, append_ms: int) -> list[bytes]:
    """Append events of `append_ms` each; a rest shorter than that is left out."""
    size = RATE * append_ms // 1000 * SAMPLE_BYTES
    events = []
    for start in range(0, len(pcm) - size + 1, size):
        audio = base64.b64encode(pcm[start : start + size]).decode()
        event = {"type": "input_audio_buffer.append", "audio": audio}
        events.append(json.dumps(event).encode())
    return events


def tell(**event: object) -> None:
    """A line on stdout for whoever started this process."""
    print(json.dumps(event), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Stream speech into many Realtime sessions.")
    parser.add_argument("--url", required=True, help="ws://host:port")
    parser.add_argument("--audio", type=Path, required=True, help="raw 16-bit mono PCM at 24 kHz")
    parser.add_argument("--model", required=True)
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--append-ms", type=int, required=True)
    parser.add_argument("--warm", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, required=True)
    return parser.parse_args()


def run_loop(work: Coroutine[Any, Any, None]) -> int:
    """Run it on uvloop where that exists: the generator must not be what is slow. The exit code;
    what went wrong is told on stdout."""
    failure = ""
    try:
        if sys.platform == "win32":
            asyncio.run(work)
        else:
            import uvloop

            uvloop.run(work)
    except* (LoadError, OSError, TimeoutError, WebSocketException) as failures:
        failure = "; ".join(str(error) or repr(error) for error in failures.exceptions)
    if failure:
        tell(event="failed", message=failure)
    return int(bool(failure))


def main() -> int:
    given = _arguments()
    plan = Plan(
        url=given.url,
        model=given.model,
        messages=encode(given.audio.read_bytes(), given.append_ms),
        interval=given.append_ms / 1000,
        sessions=given.sessions,
        warm=given.warm,
        seconds=given.seconds,
    )
    return run_loop(run(plan))


if __name__ == "__main__":
    sys.exit(main())
