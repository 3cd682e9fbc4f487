"""Items of a conversation: their order, and which are forgotten."""

import pytest

from pipelines.conversation import MAX_ITEMS, ROOT, Conversation
from pipelines.items import InputText, Message


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
