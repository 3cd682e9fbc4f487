"""Templates that refuse a chat as OpenAI shapes it get it in a shape that they take."""

import re

import pytest
from chat_dialects import DEEPSEEK, GEMMA, LLAMA, MISTRAL, QWEN, WEATHER, call, prompt, say

from engines.base import InvalidInput
from engines.chat_templates import ChatTemplate
from engines.generation import Chat


def test_a_template_without_tools_is_told_of_them_in_the_system_message() -> None:
    assert not ChatTemplate(None).takes_tools
    text = prompt(None, say("system", "Be kind."), say("user", "Rain?"), tools=(WEATHER,))
    assert text.startswith("<|im_start|>system\nBe kind.\n\nYou can call these functions.")
    assert '<tools>\n{"type": "function", "function": {"name": "weather"' in text
    alone = prompt(None, say("user", "Rain?"), tools=(WEATHER,))
    assert alone.startswith("<|im_start|>system\nYou can call these functions.")
    one = prompt(None, say("user", "Rain?"), tools=(WEATHER,), parallel_tool_calls=False)
    assert "one call at a time" in one
    assert "one call at a time" not in alone


def test_calls_and_results_are_text_for_a_template_without_tools() -> None:
    text = prompt(
        None,
        say("user", "Rain?"),
        say(
            "assistant",
            None,
            tool_calls=[call("weather", {"in": "Köln"}), call("weather", {"in": "Bonn"}, "call_2")],
        ),
        say("tool", "yes", tool_call_id="call_1"),
        say("tool", "no", tool_call_id="call_2"),
    )
    assert text == (
        "<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\n"
        '<tool_call>\n{"name": "weather", "arguments": {"in": "Köln"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "weather", "arguments": {"in": "Bonn"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\nyes\n</tool_response>\n"
        "<tool_response>\nno\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_that_refuses_system_messages_gets_them_with_the_users_first() -> None:
    messages = (say("developer", "Be kind."), say("user", "Hello"), say("user", "there "))
    assert prompt(GEMMA, *messages) == (
        "<s><start_of_turn>user\nBe kind.\n\nHello\n\nthere<end_of_turn>\n<start_of_turn>model\n"
    )


def test_a_template_that_wants_the_user_first_takes_a_greeting() -> None:
    text = prompt(GEMMA, say("assistant", "Welcome!"), say("user", "Hello"))
    assert text == (
        "<s><start_of_turn>user\n<end_of_turn>\n<start_of_turn>model\nWelcome!<end_of_turn>\n"
        "<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n"
    )


def test_a_template_that_takes_a_chat_as_it_is_gets_it_as_it_is() -> None:
    text = prompt(QWEN, say("system", "a"), say("user", "b"), say("user", "c"))
    assert text.count("<|im_start|>") == 4


def test_a_template_of_one_call_at_a_time_gets_several_one_after_another() -> None:
    text = prompt(
        LLAMA,
        say("user", "Rain?"),
        say("assistant", None, tool_calls=[call("a", {"x": 1}), call("b", {}, "call_2")]),
        say("tool", "no", tool_call_id="call_2"),
        say("tool", "yes", tool_call_id="call_1"),
        template={"date_string": "today"},
    )
    turns = re.findall(r"<\|end_header_id\|>\n\n(.*?)<\|eot_id\|>", text, re.DOTALL)
    assert turns == [
        *("Today: today\n", "Rain?", '{"name": "a", "parameters": {"x": 1}}', "yes"),
        *('{"name": "b", "parameters": {}}', "no"),
    ]


def test_a_template_that_is_strict_about_ids_gets_some_that_it_takes() -> None:
    text = prompt(
        MISTRAL,
        say("system", "Be kind."),
        say("user", "Rain?"),
        say("assistant", None, tool_calls=[call("weather", {"in": "<Köln>"}, "call_abcdefgh")]),
        say("tool", "yes", tool_call_id="call_abcdefgh"),
        say("user", "Sure?"),
        tools=(WEATHER,),
    )
    assert '"arguments": {"in": "<Köln>"}, "id": "000000000"}]</s>' in text
    assert '[TOOL_RESULTS] {"content": "yes", "call_id": "000000000"}[/TOOL_RESULTS]' in text
    assert text.endswith("[INST] Be kind.\n\nSure?[/INST]")


def test_arguments_are_an_object_and_a_text_as_the_template_wants() -> None:
    calls = [call("weather", {"in": "Köln", "now": True})]
    text = prompt(DEEPSEEK, say("user", "Rain?"), say("assistant", None, tool_calls=calls))
    assert '\n```json\n{"in": "Köln", "now": true}\n```' in text
    source = "{{ messages[0].tool_calls[0].function.arguments }}{% if tools %}{% endif %}"
    assert prompt(source, say("assistant", None, tool_calls=calls)) == (
        '{"in": "Köln", "now": true}'
    )


def test_the_reason_is_that_of_the_last_shape_tried() -> None:
    message = r"could not take these messages: Roles must alternate user/assistant\.$"
    with pytest.raises(InvalidInput, match=message):
        prompt(
            GEMMA + "{{ tools }}", say("system", "x"), *[say("user", "y"), *[say("tool", "z")] * 2]
        )


def test_texts_in_parts_are_lines_of_one_text() -> None:
    parts = [{"type": "text", "text": "Rain"}, {"type": "text", "text": "in Bonn?<|im_end|>"}]
    message = {"role": "user", "content": parts}
    assert prompt(QWEN, message) == prompt(QWEN, say("user", "Rain\nin Bonn?<|im_end|>"))
    pieces = ChatTemplate(QWEN, special=("<|im_end|>",)).render(Chat((message,)))
    assert any(piece.endswith("Bonn?<") for piece in pieces), "its control texts are cut"


@pytest.mark.parametrize(
    "part", [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text"}, "text", None]
)
def test_a_part_that_is_no_text_is_refused(part: object) -> None:
    with pytest.raises(InvalidInput, match="takes text only") as refusal:
        prompt(QWEN, {"role": "user", "content": [{"type": "text", "text": "Look:"}, part]})
    assert refusal.value.param == "messages"
