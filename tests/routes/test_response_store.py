"""What is kept of responses, for whom, and how much of it."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from routes import response_store
from routes.response_items import Item
from routes.response_store import Entry, ResponseStore


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def item(id: str, text: str = "Hi") -> Item:
    content = [{"type": "input_text", "text": text}]
    return {"id": id, "type": "message", "role": "user", "status": "completed", "content": content}


def entry(id: str, *given: Item, output: tuple[Item, ...] = ()) -> Entry:
    return Entry.of({"id": id, "output": list(output)}, given)


def test_an_entry_is_found_by_its_owner_only() -> None:
    store = ResponseStore()
    store.put("ann", entry("resp_1", item("msg_1")))
    assert store.get("bob", "resp_1") is None
    assert store.item("bob", "msg_1") is None
    assert not store.delete("bob", "resp_1")
    found = store.get("ann", "resp_1")
    assert found is not None
    assert found.input == (item("msg_1"),)
    assert store.item("ann", "msg_1") == item("msg_1")
    assert store.delete("ann", "resp_1")
    assert store.get("ann", "resp_1") is None
    assert store.item("ann", "msg_1") is None


def test_a_conversation_outlives_the_responses_it_came_from() -> None:
    store = ResponseStore()
    first = entry("resp_1", item("msg_1"), output=(item("msg_2"),))
    store.put("", first)
    store.put("", entry("resp_2", *first.items, item("msg_3"), output=(item("msg_4"),)))
    assert store.delete("", "resp_1")
    second = store.get("", "resp_2")
    assert second is not None
    assert [part["id"] for part in second.items] == ["msg_1", "msg_2", "msg_3", "msg_4"]
    assert [part["id"] for part in second.input] == ["msg_1", "msg_2", "msg_3"]
    assert store.item("", "msg_1") is not None


def test_an_item_that_was_sent_again_is_found_until_the_last_of_its_responses_is_gone() -> None:
    store = ResponseStore()
    store.put("", entry("resp_1", item("msg_1", "old")))
    store.put("", entry("resp_2", item("msg_1", "new")))
    assert store.item("", "msg_1") == item("msg_1", "new")
    store.delete("", "resp_2")
    assert store.item("", "msg_1") == item("msg_1", "old")
    store.delete("", "resp_1")
    assert store.item("", "msg_1") is None
    assert store.bytes == 0


def test_a_call_that_was_cut_off_is_no_part_of_the_conversation() -> None:
    def call(status: str) -> Item:
        return {"id": f"fc_{status}", "type": "function_call", "status": status}

    kept = entry("resp_1", item("msg_1"), output=(call("completed"), call("incomplete")))
    assert [part["id"] for part in kept.items] == ["msg_1", "fc_completed"]
    assert len(kept.response["output"]) == 2


def test_shared_items_weigh_once() -> None:
    store = ResponseStore()
    long = item("msg_1", "x" * 1_000_000)
    store.put("", entry("resp_1", long))
    alone = store.bytes
    store.put("", entry("resp_2", long))
    assert store.bytes - alone < 10_000
    store.delete("", "resp_1")
    assert store.bytes > 1_000_000
    store.delete("", "resp_2")
    assert store.bytes == 0


def test_the_least_recently_used_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_store, "ENTRIES", 2)
    store = ResponseStore()
    store.put("", entry("resp_1"))
    store.put("", entry("resp_2"))
    assert store.get("", "resp_1") is not None
    store.put("", entry("resp_3"))
    assert store.get("", "resp_2") is None
    assert store.get("", "resp_1") is not None


def test_too_many_bytes_go_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_store, "BYTES", 100_000)
    store = ResponseStore()
    store.put("", entry("resp_1", item("msg_1", "x" * 60_000)))
    store.put("", entry("resp_2", item("msg_2", "x" * 60_000)))
    assert store.get("", "resp_1") is None
    assert store.get("", "resp_2") is not None
    store.put("", entry("resp_3", item("msg_3", "x" * 100_001)))
    assert store.get("", "resp_3") is None
    assert store.get("", "resp_2") is not None, "what is too big alone drives nothing out"


def test_an_entry_that_nobody_asks_for_is_forgotten() -> None:
    clock = Clock()
    store = ResponseStore(clock)
    store.put("", entry("resp_1", item("msg_1")))
    clock.now += response_store.AGE_SECONDS - 1
    assert store.get("", "resp_1") is not None
    clock.now += response_store.AGE_SECONDS - 1
    assert store.get("", "resp_1") is not None
    clock.now += response_store.AGE_SECONDS
    assert store.item("", "msg_1") is None
    assert store.get("", "resp_1") is None
    assert len(store) == store.bytes == 0


class Storing(RuleBasedStateMachine):
    """Conversations that branch and are deleted in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = ResponseStore(self.clock)
        self.live: dict[str, tuple[str, tuple[Item, ...]]] = {}
        self.made = 0

    @rule(owner=st.sampled_from("ab"), parent=st.integers(0, 9), size=st.integers(0, 2000))
    def answer(self, owner: str, parent: int, size: int) -> None:
        own = [items for who, items in self.live.values() if who == owner]
        before: tuple[Any, ...] = own[parent % len(own)] if own else ()
        self.made += 1
        given = (*before, item(f"msg_{self.made}", "x" * size))
        made = entry(f"resp_{self.made}", *given, output=(item(f"out_{self.made}"),))
        self.store.put(owner, made)
        self.live[made.id] = (owner, made.items)

    @rule(which=st.integers(0, 9))
    def delete(self, which: int) -> None:
        if self.live:
            id = list(self.live)[which % len(self.live)]
            owner, _ = self.live.pop(id)
            assert self.store.delete(owner, id)

    @invariant()
    def everything_that_lives_is_whole(self) -> None:
        for id, (owner, items) in self.live.items():
            found = self.store.get(owner, id)
            assert found is not None
            assert found.items == items
            assert all(self.store.item(owner, part["id"]) is part for part in items)

    @invariant()
    def nothing_else_is_kept(self) -> None:
        assert len(self.store) == len(self.live)
        assert (self.store.bytes > 0) == bool(self.live)


Storing.TestCase.settings = settings(deadline=None, max_examples=50)
TestStoring = Storing.TestCase
