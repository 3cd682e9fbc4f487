"""A conversation by voice: scripted devices, a real server that hears and speaks, a provider's
model that answers."""

import asyncio
import io
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from far import KEY, Far, far, streams
from far import chunk as far_chunk
from live import NANO
from rich.console import Console
from sound_devices import PortAudio
from voice import pcm16, say, word_errors

from clients.talk import talk
from clients.talk_devices import open_devices, screen_for
from clients.talk_options import TalkOptions
from realtime.app import create_app
from realtime.config import Configuration, Defaults, Provider, ServerSettings
from realtime.serving import serving

pytestmark = pytest.mark.one_loop

QUESTION = "Who is responsible for the new website?"
OBJECTION = "The budget for the supply chain is 800 thousand dollars."
STORY = "This is the beginning of a long story. " + "It goes on and on, and nobody listens. " * 6


class Room:
    """Time passes: the microphone hears what is said, or silence, and the loudspeaker plays."""

    def __init__(self, portaudio: PortAudio) -> None:
        self._portaudio = portaudio
        self._said: deque[bytes] = deque()
        self.sounded = 0.0
        """Seconds of sound from the loudspeaker."""

    def say(self, text: str) -> None:
        sound = pcm16(say(text)) + bytes(4800)
        self._said.extend(
            sound[at : at + 4800].ljust(4800, b"\x00") for at in range(0, len(sound), 4800)
        )

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            for microphone in self._portaudio.microphones:
                microphone.say(1, self._said.popleft() if self._said else bytes(4800))
            for loudspeaker in self._portaudio.loudspeakers:
                played = np.frombuffer(loudspeaker.listen(5), "<i2")
                self.sounded += 0.1 * bool(np.abs(played).max() > 1000)


def configuration(provider: Far) -> Configuration:
    endpoint = provider.provider.endpoint
    return Configuration(
        server=ServerSettings.model_validate({"port": 0, "grace_seconds": 2}),
        models=(NANO,),
        defaults=Defaults(transcription="nano", chat="far.big-1"),
        providers={"far": Provider.model_validate({"base_url": endpoint.base_url, "api_key": KEY})},
    )


@pytest.fixture
def nobody() -> Iterator[int]:
    """A standard input at its end."""
    stdin = os.open(os.devnull, os.O_RDONLY)
    yield stdin
    os.close(stdin)


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 - time passes for the room alone
        await asyncio.sleep(0.05)


async def test_a_question_is_answered_aloud_until_somebody_speaks_over_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nobody: int
) -> None:
    portaudio, out = PortAudio(), io.StringIO()
    monkeypatch.setitem(sys.modules, "sounddevice", portaudio)
    room = Room(portaudio)

    async def converse(url: str) -> None:
        options = TalkOptions(url=url, headphones=True)
        async with open_devices(options, nobody) as devices:
            await talk(options, devices, screen_for(options, devices, Console(file=out)))

    async with far(streams(*map(far_chunk, (STORY,)), far_chunk(finish="stop"))) as provider:
        app = await asyncio.to_thread(create_app, configuration(provider), tmp_path)
        async with serving(app, configuration(provider), None) as url, asyncio.timeout(120):
            passing = asyncio.create_task(room.run())
            talking = asyncio.create_task(converse(url))
            await asyncio.sleep(0.5)
            room.say(QUESTION)
            await until(lambda: room.sounded >= 1.5)
            room.say(OBJECTION)
            await until(lambda: len(provider.sent) == 2)
            os.kill(os.getpid(), signal.SIGINT)
            await talking
            passing.cancel()
            with suppress(asyncio.CancelledError):
                await passing
    question, answer, objection, *_ = out.getvalue().splitlines()
    assert word_errors(QUESTION, question.removeprefix("You: ")) <= 0.3
    assert word_errors(OBJECTION, objection.removeprefix("You: ")) <= 0.3
    heard = answer.removeprefix("Assistant: ").removesuffix(" …")
    assert STORY.startswith(heard)
    assert 10 < len(heard) < len(STORY) / 2
    told = [message["content"] for message in provider.sent[1].body["messages"]]
    assert STORY.startswith(told[-2])
    assert len(told[-2]) < len(STORY) / 2
