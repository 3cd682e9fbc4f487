"""The canonical sequences are well-formed, and their score tells right orders from wrong ones."""

from typing import Any

import pytest
from canonical import SEQUENCES
from canonical_events import example
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import TypeAdapter
from score import Client, Event, Id, Later, Score, Sequence, Server, Speech, Unexpected
from wire_rules import broken_rules

SERVER_EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
CLIENT_EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)

all_sequences = pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=lambda s: s.name)


def follow(sequence: Sequence, events: list[Event]) -> list[Any]:
    """Take `events` one by one; everything that was due meanwhile."""
    score, due = Score(sequence), []
    for event in events:
        due += score.inputs()
        score.take(event)
    due += score.inputs()
    assert score.finished, score.awaited
    return due


@all_sequences
def test_every_server_event_is_one_that_strict_clients_accept(sequence: Sequence) -> None:
    for event in example(sequence):
        parsed = SERVER_EVENTS.validate_python(event, strict=True)
        assert parsed.type == event["type"]


@all_sequences
def test_a_server_that_does_as_written_is_followed_to_the_end(sequence: Sequence) -> None:
    due = follow(sequence, example(sequence))
    assert len(due) == len(sequence.inputs)
    for step in due:
        if isinstance(step, Client):
            CLIENT_EVENTS.validate_python(step.event)
            assert not any(isinstance(value, Id) for value in step.event.values())


@all_sequences
def test_what_is_written_breaks_no_rule(sequence: Sequence) -> None:
    assert broken_rules(example(sequence)) == []


@all_sequences
def test_an_event_that_is_missing_is_noticed(sequence: Sequence) -> None:
    needed = [step.type for step in sequence.steps if isinstance(step, Server) and step.least]
    events = example(sequence)
    for at, event in enumerate(events):
        if event["type"] in needed:
            with pytest.raises(AssertionError):
                follow(sequence, events[:at] + events[at + 1 :])


def test_an_id_that_changes_is_noticed() -> None:
    events = example(SEQUENCES["B spoken turn"])
    for event in events:
        if event["type"] == "response.output_audio.done":
            event["item_id"] = "another"
    with pytest.raises(Unexpected):
        follow(SEQUENCES["B spoken turn"], events)


def test_an_answer_before_its_question_is_noticed() -> None:
    events = example(SEQUENCES["D typed message"])
    names = [event["type"] for event in events]
    first, second = names.index("conversation.item.done"), names.index("response.created")
    events[first], events[second] = events[second], events[first]
    with pytest.raises(Unexpected):
        follow(SEQUENCES["D typed message"], events)


def test_the_text_of_an_utterance_may_come_after_the_answer_and_before_it() -> None:
    sequence = SEQUENCES["B spoken turn"]
    events = example(sequence)
    heard = next(event for event in events if event["type"].endswith("transcription.completed"))
    events.remove(heard)
    follow(sequence, [*events, heard])
    middle = next(at for at, e in enumerate(events) if e["type"] == "response.output_audio.delta")
    follow(sequence, [*events[:middle], heard, *events[middle:]])
    with pytest.raises(AssertionError):
        follow(sequence, events)


def test_sound_and_text_interleave_as_they_like() -> None:
    sequence = SEQUENCES["D typed message"]
    events = example(sequence)
    text, sound = (
        next(event for event in events if event["type"] == f"response.{name}.delta")
        for name in ("output_audio_transcript", "output_audio")
    )
    at = events.index(text)
    assert events.index(sound) == at + 1
    mixed = [*events[:at], sound, text, sound, text, sound, *events[at + 2 :]]
    follow(sequence, mixed)
    with pytest.raises(Unexpected):
        follow(sequence, [*events[:at], sound, *events[at + 2 :]])


def test_speech_over_an_answer_is_due_only_once_the_answer_is_heard() -> None:
    score = Score(SEQUENCES["G interruption while the answer is made"])
    for event in example(SEQUENCES["G interruption while the answer is made"]):
        due = score.inputs()
        if event["type"] == "response.output_audio.delta":
            assert not any(isinstance(step, Speech) for step in due)
            score.take(event)
            assert isinstance(score.inputs()[0], Speech)
            return
        score.take(event)
    pytest.fail("nothing was heard")


def test_client_events_name_the_ids_that_the_server_chose() -> None:
    steps = (Server("made", {"id": Id("X")}), Client({"type": "use", "deep": [{"id": Id("X")}]}))
    score = Score(Sequence("ids", steps))
    score.take({"type": "made", "id": "item_7"})
    assert score.inputs() == [Client({"type": "use", "deep": [{"id": "item_7"}]})]


def test_a_run_beside_the_others_must_come_in_its_own_order() -> None:
    later = Later((Server("first"), Server("second")))
    score = Score(Sequence("beside", (Server("start"), later, Server("end"))))
    score.take({"type": "start"})
    with pytest.raises(Unexpected):
        score.take({"type": "second"})


BREAKS = [
    ("response.output_item.done", "open"),
    ("response.content_part.done", "open"),
    ("response.content_part.added", "was not added"),
    ("response.done", "never done"),
    ("response.created", "before"),
    ("response.output_audio_transcript.delta", "deltas"),
    ("conversation.item.added", "was not added"),
    ("conversation.item.done", "never done"),
]


@pytest.mark.parametrize(("name", "sentence"), BREAKS)
def test_a_session_that_leaves_something_out_breaks_a_rule(name: str, sentence: str) -> None:
    events = example(SEQUENCES["D typed message"])
    without = [event for event in events if event["type"] != name]
    assert any(sentence in rule for rule in broken_rules(without)), broken_rules(without)


def test_ids_that_come_twice_and_words_after_the_end_break_rules() -> None:
    events = example(SEQUENCES["D typed message"])
    late = next(event for event in events if event["type"] == "response.output_audio.delta")
    told = broken_rules([*events, late])
    assert any("event id" in rule for rule in told)
    assert any("after" in rule for rule in told)
    text = next(at for at, e in enumerate(events) if e["type"].endswith("transcript.done"))
    delta = next(at for at, e in enumerate(events) if e["type"].endswith("transcript.delta"))
    moved = [*events[:delta], *events[delta + 1 : text + 1], events[delta], *events[text + 1 :]]
    assert any("after its end" in rule for rule in broken_rules(moved))
