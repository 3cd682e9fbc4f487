"""The client's side of an eval: its socket, its microphone and its loudspeaker."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from aiohttp import WSMessage, WSMsgType
from eval_engines import Integers
from score import Event

from engines.recognition import SAMPLE_RATE

CHUNK = SAMPLE_RATE // 50
SECONDS = CHUNK / SAMPLE_RATE


class Socket:
    """Both ends of a socket without a network: `tell` gets what the server sends."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self.close_code: int | None = None
        self._tell = tell
        self._inbound: asyncio.Queue[WSMessage] = asyncio.Queue()

    def say(self, event: Event) -> None:
        """The client sends an event."""
        self._inbound.put_nowait(WSMessage(WSMsgType.TEXT, orjson.dumps(event).decode(), None))

    def leave(self) -> None:
        """The client closes the socket."""
        self.close_code = 1000
        self._inbound.put_nowait(WSMessage(WSMsgType.CLOSED, None, None))

    async def receive(self) -> WSMessage:
        return await self._inbound.get()

    async def send_str(self, data: str) -> None:
        self._tell(orjson.loads(data))

    async def close(self, *, code: int, message: bytes) -> None:
        self.close_code = self.close_code or code


@dataclass
class Microphone:
    """Sends sound at the pace of speech, silence where nobody speaks; one that is only `pressed`
    sends none then."""

    send: Callable[[Event], None]
    pressed: bool
    _sounds: list[tuple[Integers, Callable[[], None]]] = field(default_factory=list)

    @property
    def silent(self) -> bool:
        """Whether no sound is left to be heard."""
        return not self._sounds

    def hear(self, sound: Integers, over: Callable[[], None]) -> None:
        """A sound begins once those before it are over; `over` is called at its end."""
        self._sounds.append((sound, over))

    async def run(self) -> None:
        """Listen until cancelled."""
        loop = asyncio.get_running_loop()
        at = loop.time()
        while True:
            at += SECONDS
            await asyncio.sleep(at - loop.time())
            if self._sounds or not self.pressed:
                self._append(self._next())
            while self._sounds and not len(self._sounds[0][0]):
                self._sounds.pop(0)[1]()

    def _next(self) -> Integers:
        chunk = np.zeros(CHUNK, np.int16)
        if self._sounds:
            sound, over = self._sounds[0]
            chunk[: len(sound)] = sound[:CHUNK]
            self._sounds[0] = sound[CHUNK:], over
        return chunk

    def _append(self, sound: Integers) -> None:
        audio = base64.b64encode(sound.astype("<i2").tobytes()).decode()
        self.send({"type": "input_audio_buffer.append", "audio": audio})


@dataclass
class Loudspeaker:
    """Plays what the server sends, in order, from when it comes."""

    until: float = 0.0
    gaps: dict[str, float] = field(default_factory=dict)
    """The longest time for which it ran dry, by response."""
    ahead: dict[str, float] = field(default_factory=dict)
    """The most seconds of sound in hand, by response."""
    sounds: dict[str, list[Integers]] = field(default_factory=dict)
    """All sound that came, by item."""
    responses: dict[str, list[str]] = field(default_factory=dict)
    """The items with sound of each response."""
    _plays: list[tuple[str, float, float]] = field(default_factory=list)

    def take(self, delta: Event, now: float) -> None:
        """More sound: a `response.output_audio.delta`."""
        response, item = delta["response_id"], delta["item_id"]
        sound = np.frombuffer(base64.b64decode(delta["delta"]), "<i2").astype(np.int16)
        self.sounds.setdefault(item, []).append(sound)
        if response in self.responses:
            self.gaps[response] = max(self.gaps[response], now - self.until)
        else:
            self.responses[response], self.gaps[response] = [], 0.0
        if item not in self.responses[response]:
            self.responses[response].append(item)
        start = max(self.until, now)
        self.until = start + len(sound) / SAMPLE_RATE
        self._plays.append((item, start, self.until))
        self.ahead[response] = max(self.ahead.get(response, 0.0), self.until - now)

    def stop(self, now: float) -> tuple[str, float] | None:
        """Fall silent; the item that was played, and seconds of it, if one was."""
        item = next((item for item, _, end in self._plays if end > now), None)
        self._plays = [(item, at, min(end, now)) for item, at, end in self._plays if at < now]
        self.until = min(self.until, now)
        return None if item is None else (item, self.played(item, now))

    def played(self, item: str, now: float) -> float:
        """Seconds of an item that were played."""
        return sum(min(end, now) - at for each, at, end in self._plays if each == item and at < now)

    def loud(self, item: str, now: float) -> float:
        """Seconds of an item that were played and are no gaps between sentences."""
        played = self.sound(item)[: round(self.played(item, now) * SAMPLE_RATE)]
        return int(np.count_nonzero(played)) / SAMPLE_RATE

    def sound(self, item: str) -> Integers:
        """All sound of an item that came."""
        return np.concatenate(self.sounds[item])

    def seconds(self, response: str) -> float:
        """Seconds of a response that came."""
        items = self.responses.get(response, [])
        return sum(len(self.sound(item)) for item in items) / SAMPLE_RATE


def substituted(value: Any, names: dict[str, Any]) -> Any:
    """`value` with what was kept under a name in the place of each `$name`. Raises KeyError."""
    match value:
        case str() if value.startswith("$"):
            return names[value[1:]]
        case dict():
            return {key: substituted(inner, names) for key, inner in value.items()}
        case list():
            return [substituted(inner, names) for inner in value]
        case _:
            return value
