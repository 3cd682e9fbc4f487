"""A conversation without a network: what is said is heard, answered, spoken, and heard again."""

import io
import wave

import pytest
from answering_provider import ANSWER, AnsweringProvider
from programs import Server
from strict_client import QUESTION, conversation, openai_client
from voice import say, word_errors

pytestmark = pytest.mark.one_loop


def wav(pcm: bytes) -> bytes:
    """A file of 24 kHz PCM."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(24_000)
        out.writeframes(pcm)
    return file.getvalue()


async def test_the_answer_s_words_are_heard_in_its_sound(
    server: Server, provider: AnsweringProvider
) -> None:
    audio = {"output": {"speed": 0.85}}
    async with conversation(server.url, audio=audio) as client:
        await client.speak(say(QUESTION))
        await client.next("response.done")
    assert [message["role"] for message in provider.asked[-1]["messages"]] == ["system", "user"]
    assert provider.asked[-1]["messages"][-1]["content"].strip() == QUESTION
    async with openai_client(server.url) as sdk:
        heard = await sdk.audio.transcriptions.create(
            file=("answer.wav", wav(client.sound())), model="whisper-1"
        )
    assert word_errors(ANSWER, heard.text) <= 0.3, heard.text
