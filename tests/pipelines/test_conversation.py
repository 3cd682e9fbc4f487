"""Items of a conversation: their order, which are forgotten, what a model is told of them."""

import pytest

from pipelines.conversation import MAX_ITEMS, NO_RESULT, ROOT, Conversation, chat_messages
from pipelines.items import FunctionCall, FunctionCallOutput, InputText, Item, Message


def message(name: str) -> Message:
    return Message(name, "user", [InputText(name)])


@pytest.mark.parametrize(
    ("after", "forgotten", "previous"),
    [(None, "0", f"{MAX_ITEMS - 1}"), ("5", "0", "5"), (ROOT, "0", None)],
)
def test_a_full_conversation_forgets_its_oldest_item_and_never_the_new_one(
    after: str | None, forgotten: str, previous: str | None
) -> None:
    conversation = Conversation()
    for number in range(MAX_ITEMS):
        conversation.insert(message(str(number)))
    assert conversation.insert(message("new"), after) == previous
    assert "new" in conversation
    assert forgotten not in conversation
    assert len(list(conversation)) == MAX_ITEMS


def told(*items: Item) -> list[tuple[str, str]]:
    """What a model is told of calls: their arguments and results."""
    found = []
    for message in chat_messages(items, ""):
        calls = [call["function"]["arguments"]["n"] for call in message.get("tool_calls", ())]
        found += [("call", str(number)) for number in calls]
        if message["role"] == "tool":
            found.append(("result", message["content"]))
    return found


def call(number: int, call_id: str = "call_0") -> FunctionCall:
    return FunctionCall(f"call {number}", call_id, "f", f'{{"n": {number}}}')


def result(text: str, call_id: str = "call_0") -> FunctionCallOutput:
    return FunctionCallOutput(f"result {text}", call_id, text)


def test_calls_that_a_provider_gave_the_same_id_keep_their_own_results() -> None:
    rounds = (call(1), result("a"), message("x"), call(2), result("b"))
    assert told(*rounds) == [("call", "1"), ("result", "a"), ("call", "2"), ("result", "b")]
    open_call = [("call", "1"), ("result", "a"), ("call", "2"), ("result", NO_RESULT)]
    assert told(*rounds[:-1]) == open_call


def test_the_newest_result_of_a_call_counts_and_one_before_its_call_too() -> None:
    assert told(call(1), result("a"), result("b")) == [("call", "1"), ("result", "b")]
    assert told(result("a"), call(1)) == [("call", "1"), ("result", "a")]


@pytest.mark.parametrize(
    "arguments", ["[" * 5_000, '{"a":' * 300 + "1" + "}" * 300, '{"a":"\\ud83d"}', "[1]", "no"]
)
def test_arguments_that_no_model_can_be_told_are_left_out(arguments: str) -> None:
    (message,) = chat_messages([FunctionCall("1", "c", "look", arguments)], "")[:1]
    (made,) = message["tool_calls"]
    assert made["function"] == {"name": "look", "arguments": {}}
