"""OpenAI's agents SDK for JavaScript in conversation with a whole server, with its own defaults."""

from pathlib import Path
from typing import Any

import node_programs
import numpy as np
import pytest
from answering_provider import ANSWER, STORY_PLEASE
from programs import Server
from strict_client import QUESTION, WEATHER_QUESTION
from voice import pcm16, say, silence

BYTES_PER_SECOND = 48_000


@pytest.fixture(scope="module")
def folder() -> Path:
    return node_programs.installed()


def talk(folder: Path, server: Server, scenario: str, typed: str = "", said: str = "") -> Any:
    """What the SDK saw. No event may be an error, or one that the SDK does not know."""
    url = f"{server.url.replace('http', 'ws', 1)}/v1/realtime?model=gpt-realtime"
    speech = pcm16(np.concatenate((say(said), silence(1.6)))) if said else b""
    seen = node_programs.run(folder, "talk.mjs", url, scenario, typed, given=speech, seconds=40)
    assert seen["errors"] == []
    assert seen["ignored"] == []
    return seen


def test_the_agent_answers_a_typed_question_in_text(folder: Path, server: Server) -> None:
    seen = talk(folder, server, "text", typed=QUESTION)
    assert seen["history"] == [["user", QUESTION], ["assistant", ANSWER]]
    assert seen["audioBytes"] == 0


def test_the_agent_answers_a_spoken_question_aloud(folder: Path, server: Server) -> None:
    seen = talk(folder, server, "speech", said=QUESTION)
    assert seen["history"] == [["user", QUESTION], ["assistant", ANSWER]]
    assert 1.5 < seen["audioBytes"] / BYTES_PER_SECOND < 6


def test_the_agent_uses_its_tool_and_says_what_it_found(folder: Path, server: Server) -> None:
    seen = talk(folder, server, "tool", said=WEATHER_QUESTION)
    assert seen["tools"] == ["sunny, 5 degrees"]
    assert seen["history"][-1] == ["assistant", "The weather in Paris is sunny, 5 degrees."]
    assert seen["audioBytes"] > BYTES_PER_SECOND


def test_the_agent_is_interrupted_by_speech(folder: Path, server: Server) -> None:
    seen = talk(folder, server, "interruption", typed=STORY_PLEASE, said=QUESTION)
    assert seen["interruptions"] == 1
    assert seen["history"][-2:] == [["user", QUESTION], ["assistant", ANSWER]]
