"""OpenAI's Python client in conversation with a whole server; each event is validated strictly."""

import asyncio
import json
from typing import Any

import pytest
from answering_provider import ANSWER, STORY_PLEASE, AnsweringProvider
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from programs import Server
from pydantic import TypeAdapter
from strict_client import (
    QUESTION,
    WEATHER,
    WEATHER_QUESTION,
    StrictClient,
    conversation,
    openai_client,
)
from voice import say

pytestmark = pytest.mark.one_loop

LISTENING: Any = {
    "input": {"transcription": {"model": "whisper-1"}, "turn_detection": {"type": "semantic_vad"}}
}
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
BETA: TypeAdapter[Any] = TypeAdapter(BetaServerEvent)
BYTES_PER_SECOND = 48_000


async def test_a_typed_question_is_answered_in_text(server: Server) -> None:
    async with conversation(server.url, output_modalities=["text"]) as client:
        await client.type(QUESTION)
        done = await client.next("response.done")
    assert client.events[0]["session"]["model"] == "gpt-realtime"
    assert done["response"]["status"] == "completed"
    (item,) = done["response"]["output"]
    assert item["content"] == [{"type": "output_text", "text": ANSWER}]
    assert len(client.of("response.output_text.delta")) > 3


async def test_a_spoken_question_is_answered_aloud(server: Server) -> None:
    async with conversation(server.url, audio=LISTENING) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(client.speak(say(QUESTION)))
        transcript = await client.next(TRANSCRIBED)
        done = await client.next("response.done")
    assert transcript["transcript"].strip() == QUESTION
    assert done["response"]["status"] == "completed"
    assert done["response"]["output"][0]["content"][0]["transcript"] == ANSWER
    assert 1.5 < len(client.sound()) / BYTES_PER_SECOND < 6


async def test_a_spoken_question_calls_a_tool_and_its_output_is_spoken(
    server: Server, provider: AnsweringProvider
) -> None:
    async with (
        conversation(server.url, audio=LISTENING, tools=[WEATHER]) as client,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(client.speak(say(WEATHER_QUESTION)))
        done = await client.next("response.done")
        (call,) = done["response"]["output"]
        assert (call["type"], call["name"]) == ("function_call", "weather")
        assert json.loads(call["arguments"]) == {"city": "Paris"}
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        await client.connection.conversation.item.create(item=output)
        await client.connection.response.create()
        done = await client.next("response.done")
    (item,) = done["response"]["output"]
    assert item["content"][0]["transcript"] == "The weather in Paris is sunny."
    assert len(client.sound()) > BYTES_PER_SECOND
    *_, asked, told = provider.asked[-1]["messages"]
    assert asked["tool_calls"][0]["id"] == told["tool_call_id"]


async def test_speech_interrupts_an_answer_and_is_answered_itself(
    server: Server, provider: AnsweringProvider
) -> None:
    async with conversation(server.url, audio=LISTENING) as client, asyncio.TaskGroup() as tasks:
        await client.type(STORY_PLEASE)
        delta = await client.next("response.output_audio.delta")
        tasks.create_task(client.speak(say(QUESTION), pace=1.0))
        await client.next("input_audio_buffer.speech_started")
        cut = await client.next("response.done")
        await client.connection.conversation.item.truncate(
            item_id=delta["item_id"], content_index=0, audio_end_ms=400
        )
        await client.next("conversation.item.truncated")
        done = await client.next("response.done")
    details = cut["response"]["status_details"]
    assert (details["type"], details["reason"]) == ("cancelled", "turn_detected")
    assert cut["response"]["output"][0]["status"] == "incomplete"
    assert done["response"]["output"][0]["content"][0]["transcript"] == ANSWER
    told = [m["content"] for m in provider.asked[-1]["messages"] if m["role"] == "assistant"]
    assert all(len(text) < 60 for text in told), "the model is told what nobody heard"


async def test_a_client_secret_opens_the_session_that_it_was_made_for(
    server: Server, provider: AnsweringProvider
) -> None:
    session: Any = {
        "type": "realtime",
        "output_modalities": ["text"],
        "instructions": "Be brief.",
    }
    async with openai_client(server.url) as sdk:
        secret = await sdk.realtime.client_secrets.create(session=session)
    assert secret.value.startswith("ek_")
    async with conversation(server.url, secret.value) as client:
        await client.type(QUESTION)
        done = await client.next("response.done")
    assert done["response"]["output"][0]["content"][0]["text"] == ANSWER
    assert client.events[0]["session"]["instructions"] == "Be brief."
    assert "Be brief." in provider.asked[-1]["messages"][0]["content"]


async def test_the_older_dialect_has_text_and_spoken_turns(server: Server) -> None:
    async with (
        openai_client(server.url) as sdk,
        sdk.beta.realtime.connect(model="gpt-realtime") as connection,
        asyncio.TaskGroup() as tasks,
    ):
        client = StrictClient(connection, BETA)
        await client.next("session.created")
        await connection.session.update(
            session={"modalities": ["text"], "input_audio_transcription": {"model": "whisper-1"}}
        )
        await client.next("session.updated")
        await client.type(QUESTION)
        done = await client.next("response.done")
        assert done["response"]["output"][0]["content"] == [{"type": "text", "text": ANSWER}]
        await connection.session.update(session={"modalities": ["audio", "text"]})
        await client.next("session.updated")
        tasks.create_task(client.speak(say(QUESTION)))
        heard = await client.next(TRANSCRIBED)
        done = await client.next("response.done")
    assert heard["transcript"].strip() == QUESTION
    content = done["response"]["output"][0]["content"][0]
    assert (content["type"], content["transcript"]) == ("audio", ANSWER)
    assert len(client.sound("response.audio.delta")) > 1.5 * BYTES_PER_SECOND


async def test_a_question_is_answered_while_a_tool_is_at_work(server: Server) -> None:
    async with (
        conversation(server.url, audio=LISTENING, tools=[WEATHER]) as client,
        asyncio.TaskGroup() as tasks,
    ):
        await client.type(WEATHER_QUESTION)
        (call,) = (await client.next("response.done"))["response"]["output"]
        tasks.create_task(client.speak(say(QUESTION)))
        meanwhile = await client.next("response.done")
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        await client.connection.conversation.item.create(item=output)
        await client.connection.response.create()
        late = await client.next("response.done")
    told = [done["response"]["output"][0]["content"][0]["transcript"] for done in (meanwhile, late)]
    assert told == [ANSWER, "The weather in Paris is sunny."]
