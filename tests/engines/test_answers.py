"""The thoughts at the beginning of an answer."""

import pytest
from answer_parts import Part, parts

from engines.chat_families import Family
from engines.generation import Chat, ReasoningDelta, TextDelta, Tool

CHAT = Chat(({"role": "user", "content": "hello"},))
WITH_TOOLS = Chat(CHAT.messages, (Tool("get"),))
FAMILY = Family("hermes")

ANSWERS: list[tuple[str, bool, list[Part]]] = [
    ("", False, []),
    ("Hello ", False, ["Hello "]),
    (" \n Hello", False, [" \n Hello"]),
    ("<think>\nHm.\n\n2 < 3 \n</think>\n\nHello\n", False, [("Hm.\n\n2 < 3",), "Hello\n"]),
    ("\n<think>Hm.</think>", False, [("Hm.",)]),
    ("<think>\n\n</think>\n\nHello", False, ["Hello"]),
    ("<think>Hm. </thi", False, [("Hm. </thi",)]),
    ("<think>Hm.</think><think>a</think>", False, [("Hm.",), "<think>a</think>"]),
    ("Hello <think>Hm.</think>", False, ["Hello <think>Hm.</think>"]),
    ("<thinker>", False, ["<thinker>"]),
    ("<thin", False, ["<thin"]),
    ("\nHm. <think>\n</think>\nHello", True, [("Hm. <think>",), "Hello"]),
    ("</think>Hello", True, ["Hello"]),
    ("Hm.", True, [("Hm.",)]),
    ("", True, []),
]


@pytest.mark.parametrize(("text", "thinking", "expected"), ANSWERS)
@pytest.mark.parametrize("chat", [CHAT, WITH_TOOLS], ids=["plain", "tools"])
def test_thoughts_are_told_from_the_answer(
    text: str, thinking: bool, expected: list[Part], chat: Chat
) -> None:
    assert parts(FAMILY, text, chat, thinking=thinking) == expected


def test_a_call_in_thoughts_is_a_thought_and_after_them_a_call() -> None:
    call = '<tool_call>{"name": "get", "arguments": {}}</tool_call>'
    text = f"<think>Maybe {call}?</think>\n{call}"
    assert parts(FAMILY, text, WITH_TOOLS) == [(f"Maybe {call}?",), ("get", "{}")]


def test_a_family_may_have_its_own_tags() -> None:
    family = Family("mistral", think=("[THINK]", "[/THINK]"))
    assert parts(family, "[THINK]Hm.[/THINK]Hello", CHAT) == [("Hm.",), "Hello"]


def test_thoughts_come_while_they_are_written_and_are_reported() -> None:
    parser = FAMILY.parser(CHAT, thinking=False)
    assert parser.feed("<think>") == []
    assert parser.reasoning
    assert parser.feed("Hm") == [ReasoningDelta("Hm")]
    assert parser.feed(" </") == []
    assert parser.feed("b>") == [ReasoningDelta(" </b>")]
    assert parser.feed("</think>") == []
    assert not parser.reasoning
    assert parser.feed("\nHello") == [TextDelta("Hello")]


def test_an_answer_whose_prompt_opened_the_thoughts_begins_inside() -> None:
    assert FAMILY.parser(CHAT, thinking=True).reasoning
    assert not FAMILY.parser(CHAT, thinking=False).reasoning
