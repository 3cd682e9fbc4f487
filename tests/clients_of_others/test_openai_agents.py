"""OpenAI's agents SDK in conversation with a whole server, with the settings it has by default."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from agents import function_tool
from agents.realtime import (
    AssistantMessageItem,
    RealtimeAgent,
    RealtimeRunner,
    RealtimeSession,
    UserMessageItem,
)
from answering_provider import ANSWER, STORY_PLEASE
from programs import Server
from strict_client import QUESTION, WEATHER_QUESTION
from voice import Samples, pcm16, say, silence

pytestmark = pytest.mark.one_loop

BYTES_PER_SECOND = 48_000


@function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny, {len(city)} degrees"


class Talk:
    """A session of the SDK's, and every event that it gave."""

    def __init__(self, session: RealtimeSession) -> None:
        self.session = session
        self.events: list[Any] = []
        self._news = asyncio.Event()

    async def listen(self) -> None:
        async for event in self.session:
            self.events.append(event)
            self._news.set()

    async def until(self, reached: Callable[[], bool], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not reached():
                assert not self.of("error"), self.of("error")
                self._news.clear()
                await self._news.wait()

    async def speak(self, sound: Samples, pace: float = 2.0) -> None:
        """Send sound and the quiet after it, at `pace` times real time."""
        data = pcm16(np.concatenate((sound, silence(1.6))))
        for start in range(0, len(data), 4800):
            await self.session.send_audio(data[start : start + 4800])
            await asyncio.sleep(0.1 / pace)

    def of(self, type_: str) -> list[Any]:
        return [event for event in self.events if event.type == type_]

    @property
    def sound(self) -> bytes:
        return b"".join(event.audio.data for event in self.of("audio"))

    @property
    def history(self) -> list[tuple[str, str]]:
        """Who said what, as the SDK tells it; only what is said entirely."""
        told = (event.history for event in reversed(self.of("history_updated")))
        return [line for item in next(told, []) for line in _lines(item)]


def _lines(item: Any) -> list[tuple[str, str]]:
    if not isinstance(item, UserMessageItem | AssistantMessageItem):
        return []
    texts = (getattr(c, "text", None) or getattr(c, "transcript", None) for c in item.content)
    return [(item.role, (text or "").strip()) for text in texts]


@asynccontextmanager
async def talking(server: Server, **settings: Any) -> AsyncIterator[Talk]:
    """A session of an agent that knows the weather; no event of it may be an error."""
    agent = RealtimeAgent(name="Guide", instructions="Be brief.", tools=[weather])
    config: Any = {"model_settings": settings}
    runner = RealtimeRunner(agent, config=config)
    url = f"{server.url.replace('http', 'ws', 1)}/v1/realtime?model=gpt-realtime"
    session = await runner.run(model_config={"url": url, "api_key": "sk-local"})
    async with session:
        talk = Talk(session)
        listening = asyncio.create_task(talk.listen())
        yield talk
        assert not talk.of("error"), talk.of("error")
    await listening


async def test_the_agent_answers_a_typed_question_in_text(server: Server) -> None:
    async with talking(server, output_modalities=["text"]) as talk:
        await talk.session.send_message(QUESTION)
        await talk.until(lambda: ("assistant", ANSWER) in talk.history)
        await talk.until(lambda: bool(talk.of("agent_end")))
        assert talk.history == [("user", QUESTION), ("assistant", ANSWER)]
        assert not talk.sound


async def test_the_agent_answers_a_spoken_question_aloud(server: Server) -> None:
    async with talking(server) as talk:
        await talk.speak(say(QUESTION))
        await talk.until(lambda: len(talk.history) == 2 and bool(talk.of("audio_end")))
        assert talk.history == [("user", QUESTION), ("assistant", ANSWER)]
        assert 1.5 < len(talk.sound) / BYTES_PER_SECOND < 6


async def test_the_agent_uses_its_tool_and_says_what_it_found(server: Server) -> None:
    async with talking(server) as talk:
        await talk.speak(say(WEATHER_QUESTION))
        told = ("assistant", "The weather in Paris is sunny, 5 degrees.")
        await talk.until(lambda: told in talk.history and bool(talk.of("audio_end")))
        (used,) = talk.of("tool_end")
        assert used.output == "sunny, 5 degrees"
        assert len(talk.sound) > BYTES_PER_SECOND


async def test_the_agent_is_interrupted_by_speech(server: Server) -> None:
    async with talking(server) as talk:
        await talk.session.send_message(STORY_PLEASE)
        await talk.until(lambda: len(talk.sound) > BYTES_PER_SECOND)
        await talk.speak(say(QUESTION), pace=1.0)
        await talk.until(lambda: ("assistant", ANSWER) in talk.history)
        (interrupted,) = talk.of("audio_interrupted")
        assert interrupted.item_id == talk.of("audio")[0].item_id
        assert talk.history[0] == ("user", STORY_PLEASE)
        assert talk.history[-2:] == [("user", QUESTION), ("assistant", ANSWER)]


@pytest.mark.parametrize("interrupts", [True, False])
async def test_the_program_interrupts_the_agent(interrupts: bool, server: Server) -> None:
    turns = {"type": "semantic_vad", "interrupt_response": interrupts}
    async with talking(server, audio={"input": {"turn_detection": turns}}) as talk:
        await talk.session.send_message(STORY_PLEASE)
        await talk.until(lambda: len(talk.sound) > BYTES_PER_SECOND)
        await talk.session.interrupt()
        await talk.session.send_message(QUESTION)
        await talk.until(lambda: ("assistant", ANSWER) in talk.history, 5)
        await talk.until(lambda: len(talk.of("agent_end")) == 2)
