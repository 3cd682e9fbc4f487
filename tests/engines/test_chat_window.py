"""What is left of a long conversation, and that it stays the same while that goes on."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engines.chat_window import window
from engines.generation import Chat

Message = Mapping[str, Any]


def say(role: str, content: str = "x", **more: Any) -> Message:
    return {"role": role, "content": content, **more}


def turn(number: int) -> list[Message]:
    return [say("user", f"question {number}"), say("assistant", f"answer {number}")]


def called(name: str) -> list[Message]:
    call = {"id": name, "function": {"name": name, "arguments": {}}}
    return [say("assistant", "", tool_calls=[call]), say("tool", "result", tool_call_id=name)]


def left(messages: Sequence[Message], room: int, target: int, cost: int = 10) -> list[Message]:
    chat = window(Chat(tuple(messages)), [cost] * len(messages), room, target)
    return list(chat.messages)


def test_a_conversation_that_fits_stays_as_it_is() -> None:
    chat = Chat((*turn(1), say("user")))
    assert window(chat, [10, 10, 10], 30, 10) is chat


def test_the_oldest_go_first_until_the_target_is_met_and_instructions_stay() -> None:
    messages = [say("system", "Be kind."), *turn(1), *turn(2), *turn(3), say("user", "last")]
    assert left(messages, 70, 40) == [messages[0], *messages[5:]]
    assert left(messages, 70, 70) == [messages[0], *messages[2:]]


def test_what_follows_the_last_question_stays_whatever_it_costs() -> None:
    messages = [*turn(1), say("user"), *called("a"), *called("b")]
    assert left(messages, 20, 0) == messages[2:]


def test_without_a_question_the_newest_message_stays() -> None:
    messages = [say("assistant", "1"), say("assistant", "2"), say("assistant", "3")]
    assert left(messages, 10, 10) == messages[2:]


def test_a_result_goes_with_its_call() -> None:
    messages = [say("user"), *called("a"), say("assistant"), say("user", "last")]
    assert left(messages, 40, 30) == messages[3:]


def test_a_call_whose_result_comes_after_another_question_stays_with_it() -> None:
    call, result = called("a")
    messages = [*turn(1), call, say("user", "and?"), result]
    assert left(messages, 30, 10) == [call, *messages[3:]]


def test_prompts_begin_alike_from_one_cut_to_the_next() -> None:
    messages: list[Message] = [say("system", "Be kind.")]
    cuts = []
    for number in range(100):
        messages.append(say("user", f"question {number}"))
        shown = left(messages, 200, 120)
        cuts.append(len(messages) - len(shown))
        messages.append(say("assistant", f"answer {number}"))
    moved = [after - before for before, after in pairwise(cuts) if after > before]
    assert sum(moved) == cuts[-1] > 150
    # Each cut makes room for eight messages, so four questions are asked before the next.
    assert len(moved) <= 100 / 4
    assert min(moved) >= 8


messages_of_a_conversation = st.lists(
    st.one_of(
        st.builds(turn, st.integers(0, 9)),
        st.builds(called, st.text("ab", min_size=1, max_size=3)),
        st.just([say("system", "Be kind.")]),
    ),
    max_size=30,
).map(lambda parts: [message for part in parts for message in part])


@given(messages_of_a_conversation, st.integers(1, 200), st.floats(0, 1))
def test_no_result_is_left_without_its_call_and_no_instruction_is_lost(
    messages: list[Message], room: int, share: float
) -> None:
    shown = left(messages, room, round(room * share))
    ids = {call["id"] for message in shown for call in message.get("tool_calls", ())}
    assert all(m["tool_call_id"] in ids for m in shown if m["role"] == "tool")
    assert shown.count(say("system", "Be kind.")) == messages.count(say("system", "Be kind."))
    assert shown[-1:] == messages[-1:]
    questions = [m for m in messages if m["role"] == "user"]
    assert not questions or questions[-1] in shown
