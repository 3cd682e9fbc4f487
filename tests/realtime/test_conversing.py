"""The conversation session's protocol: canonical sequences, turns, items, and what always holds."""

import base64
import json
from typing import Any

import numpy as np
import orjson
import pytest
from canonical import SEQUENCES
from conversing import Talk, said
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from score import Call, Client, Model, Score, Sequence, Silence, Speech
from wire_rules import broken_rules

from engines.generation import Chat
from pipelines.conversation import NO_RESULT
from pipelines.frames import (
    Answered,
    Commit,
    Interrupt,
    Pause,
    Respond,
    SpeechStarted,
    Text,
    Transcript,
)
from realtime.events import read

EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def validate(event: dict[str, Any]) -> None:
    """The event as a strict client reads it."""
    parsed = EVENTS.validate_json(orjson.dumps(event), strict=True)
    assert parsed.type == event["type"]


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def the_error(events: list[dict[str, Any]]) -> dict[str, Any]:
    (event,) = [event for event in events if event["type"] == "error"]
    error: dict[str, Any] = event["error"]
    return error


def messages(talk: Talk, index: int = -1) -> list[Any]:
    prompt = talk.asked[index].prompt
    assert isinstance(prompt, Chat)
    return list(prompt.messages)


def typed(talk: Talk, text: str, **fields: Any) -> list[dict[str, Any]]:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return talk.client({"type": "conversation.item.create", "item": {**item, **fields}})


def update(talk: Talk, **session: Any) -> list[dict[str, Any]]:
    return talk.client({"type": "session.update", "session": {"type": "realtime", **session}})


def respond(talk: Talk, **response: Any) -> list[dict[str, Any]]:
    return talk.client({"type": "response.create", "response": response})


def turn(talk: Talk, says: str = "What time is it?") -> list[dict[str, Any]]:
    before = len(talk.events)
    talk.speech(1.0, says)
    talk.silence(1.0)
    return talk.events[before:]


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=lambda s: s.name)
def test_the_canonical_sequences_are_kept(sequence: Sequence) -> None:
    talk, score, taken = Talk(sequence.kind), Score(sequence), 0
    while True:
        for step in score.inputs():
            play(talk, step)
        if taken == len(talk.events):
            break
        score.take(talk.events[taken])
        taken += 1
    assert score.finished, score.awaited
    for event in talk.events:
        validate(event)
    assert broken_rules(talk.events) == []


def play(talk: Talk, step: Client | Speech | Silence | Model) -> None:
    """Do what a sequence says."""
    match step:
        case Client(event):
            talk.client(dict(event))
        case Speech(seconds, says):
            talk.speech(seconds, says)
        case Silence(seconds):
            talk.silence(seconds)
        case Model():
            talk.script.append(step)


class TestContext:
    def test_the_model_is_told_the_conversation_in_order(self) -> None:
        talk = Talk()
        typed(talk, "One.")
        talk.script.append(Model("Two."))
        respond(talk)
        turn(talk, "Three.")
        assert messages(talk) == [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "One."},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": "Three."},
        ]

    def test_what_is_typed_after_a_commit_comes_after_it(self) -> None:
        talk = Talk()
        update(talk, audio={"input": {"turn_detection": None}})
        talk.speech(1.0, "Spoken.")
        talk.client({"type": "input_audio_buffer.commit"})
        typed(talk, "Typed.")
        respond(talk)
        assert [m["content"] for m in messages(talk)[1:]] == ["Spoken.", "Typed."]

    def test_calls_and_their_results_are_told_as_such(self) -> None:
        talk = Talk()
        talk.script.append(Model("Let me look.", (Call("look", '{"at":1}'),)))
        typed(talk, "Look.")
        events = respond(talk)
        call = next(e["item"] for e in events if e.get("item", {}).get("type") == "function_call")
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "seen"}
        talk.client({"type": "conversation.item.create", "item": output})
        respond(talk)
        assert messages(talk)[2:] == [
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [
                    {
                        "id": call["call_id"],
                        "type": "function",
                        "function": {"name": "look", "arguments": {"at": 1}},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": call["call_id"], "content": "seen"},
        ]

    def test_a_call_is_followed_by_its_result_whatever_is_said_meanwhile(self) -> None:
        talk = Talk()
        talk.script.append(Model("", (Call("look", "{}"), Call("listen", "{}"))))
        typed(talk, "Look.")
        events = respond(talk)
        items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        look, listen = (item["call_id"] for item in items)
        talk.script.append(Model("In a moment."))
        turn(talk, "Hurry.")
        told = [(m["role"], m.get("tool_call_id") or m["content"]) for m in messages(talk)[1:]]
        assert told == [
            ("user", "Look."),
            ("assistant", None),
            ("tool", look),
            ("tool", listen),
            ("user", "Hurry."),
        ]
        for call_id, output in (("call_0", "nothing asked"), (listen, "heard")):
            result = {"type": "function_call_output", "call_id": call_id, "output": output}
            talk.client({"type": "conversation.item.create", "item": result})
        respond(talk)
        told = [(m["role"], m["content"]) for m in messages(talk)[1:]]
        assert told == [
            ("user", "Look."),
            ("assistant", None),
            ("tool", NO_RESULT),
            ("user", "Hurry."),
            ("assistant", "In a moment."),
            ("tool", "heard"),
        ]
        calls = [m["tool_calls"] for m in messages(talk) if "tool_calls" in m]
        assert [[call["id"] for call in group] for group in calls] == [[look], [listen]]

    def test_items_can_be_put_anywhere_and_deleted(self) -> None:
        talk = Talk()
        typed(talk, "second", id="b")
        created = talk.client(
            {
                "type": "conversation.item.create",
                "previous_item_id": "root",
                "item": {
                    "id": "a",
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "first"}],
                },
            }
        )
        assert created[0]["previous_item_id"] is None
        typed(talk, "third", id="c")
        talk.client({"type": "conversation.item.delete", "item_id": "b"})
        assert typed(talk, "again", id="b")[0]["previous_item_id"] == "c"
        respond(talk)
        assert [m["content"] for m in messages(talk)[1:]] == ["first", "third", "again"]

    def test_input_replaces_the_conversation_and_may_refer_to_it(self) -> None:
        talk = Talk()
        typed(talk, "kept", id="k")
        typed(talk, "left out")
        respond(
            talk,
            conversation="none",
            input=[
                {"type": "item_reference", "id": "k"},
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "new"}],
                },
            ],
        )
        assert [m["content"] for m in messages(talk)[1:]] == ["kept", "new"]
        assert the_error(respond(talk, input=[{"type": "item_reference", "id": "x"}]))["param"] == (
            "response.input[0].id"
        )

    def test_sound_that_comes_with_an_item_is_understood_first(self) -> None:
        talk = Talk()
        talk._says = "Hidden words."
        audio = base64.b64encode(np.zeros(24_000, "<i2").tobytes()).decode()
        part = {"type": "input_audio", "audio": audio}
        item = {"type": "message", "role": "user", "content": [part]}
        talk.client({"type": "conversation.item.create", "item": item})
        respond(talk)
        assert messages(talk)[-1]["content"] == "Hidden words."

    def test_overrides_hold_for_one_response(self) -> None:
        talk = Talk()
        typed(talk, "Hello.")
        events = respond(
            talk, instructions="Be rude.", output_modalities=["text"], metadata={"a": "b"}
        )
        assert messages(talk)[0]["content"] == "Be rude."
        assert "response.output_text.done" in types(events)
        assert events[-2]["response"]["metadata"] == {"a": "b"}
        assert "response.output_audio.done" in types(respond(talk))
        assert messages(talk)[0]["content"] == "Be kind."


class TestTurns:
    def test_a_noise_is_not_answered(self) -> None:
        talk = Talk()
        events = turn(talk, "")
        assert "input_audio_buffer.committed" in types(events)
        assert "response.created" not in types(events)

    def test_an_utterance_that_is_not_understood_gets_a_failed_response(self) -> None:
        talk = Talk()
        talk.transcribe = lambda _: None
        update(talk, audio={"input": {"transcription": {"model": "whisper-1"}}})
        events = turn(talk)
        names = types(events)
        failed = names.index("conversation.item.input_audio_transcription.failed")
        assert failed < names.index("response.created")
        done = next(event for event in events if event["type"] == "response.done")
        assert done["response"]["status"] == "failed"
        assert done["response"]["status_details"]["error"]["code"] == "transcription_failed"

    def test_without_create_response_the_client_asks(self) -> None:
        talk = Talk()
        vad = {"type": "server_vad", "create_response": False}
        update(talk, audio={"input": {"turn_detection": vad}})
        assert "response.created" not in types(turn(talk))
        assert "response.created" in types(respond(talk))

    def test_without_interrupt_response_a_turn_waits_for_the_answer(self) -> None:
        talk = Talk()
        vad = {"type": "server_vad", "interrupt_response": False}
        update(talk, audio={"input": {"turn_detection": vad}})
        talk.script += [Model("First.", ends="never"), Model("Second.")]
        typed(talk, "Hello.")
        first = respond(talk)[0]["response"]["id"]
        assert "response.created" not in types(turn(talk, "And?"))
        events = talk.frame(Answered(first))
        assert types(events).index("response.done") < types(events).index("response.created")
        assert messages(talk)[-1]["content"] == "And?"

    def test_speech_cuts_the_answer_to_what_was_heard(self) -> None:
        talk = Talk()
        talk.script.append(Model("One two three four.", ends="never"))
        typed(talk, "Count.")
        events = respond(talk)
        item = next(e["item_id"] for e in events if e["type"] == "response.output_audio.delta")
        talk.playing[item] = 0.4
        before = len(talk.events)
        talk.speech(1.0)
        events = talk.events[before:]
        done = next(e["item"] for e in events if e["type"] == "response.output_item.done")
        assert done["status"] == "incomplete"
        assert done["content"] == [{"type": "output_audio", "transcript": "One two"}]
        whole = next(e for e in events if e["type"] == "response.output_audio_transcript.done")
        assert whole["transcript"] == "One two three four."
        assert talk.pushed[-1] == Interrupt(events[-2]["response"]["id"])

    def test_the_clients_truncation_wins(self) -> None:
        talk = Talk()
        talk.script.append(Model("One two three four.", ends="never"))
        typed(talk, "Count.")
        events = respond(talk)
        item = next(e["item_id"] for e in events if e["type"] == "response.output_audio.delta")
        talk.playing[item] = 0.2
        talk.speech(1.0, "Stop.")
        truncate = {"type": "conversation.item.truncate", "item_id": item, "content_index": 0}
        talk.client({**truncate, "audio_end_ms": 700})
        talk.silence(1.0)
        assert messages(talk)[-2:] == [
            {"role": "assistant", "content": "One two three"},
            {"role": "user", "content": "Stop."},
        ]
        error = the_error(talk.client({**truncate, "audio_end_ms": 60_000}))
        assert (error["code"], error["param"]) == ("invalid_value", "audio_end_ms")

    def test_a_truncated_answer_ends_and_may_be_cancelled_too(self) -> None:
        talk = Talk()
        talk.script.append(Model("One two three four.", ends="never"))
        typed(talk, "Count.")
        events = respond(talk)
        item = next(e["item_id"] for e in events if e["type"] == "response.output_audio.delta")
        truncate = {"type": "conversation.item.truncate", "item_id": item, "content_index": 0}
        truncated, *_, done, _ = talk.client({**truncate, "audio_end_ms": 700})
        assert truncated["type"] == "conversation.item.truncated"
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        assert talk.pushed[-1] == Interrupt(done["response"]["id"])
        assert talk.client({"type": "response.cancel"}) == []
        error = the_error(talk.client({"type": "response.cancel"}))
        assert error["code"] == "response_cancel_not_active"
        typed(talk, "Go on.")
        respond(talk)
        assert [m["content"] for m in messages(talk)[1:]] == ["Count.", "One two three", "Go on."]

    def test_an_answer_that_is_deleted_while_it_is_made_ends_before(self) -> None:
        talk = Talk()
        talk.script.append(Model("One two three four.", ends="never"))
        typed(talk, "Count.")
        events = respond(talk)
        item = next(e["item_id"] for e in events if e["type"] == "response.output_audio.delta")
        *_, done, _, deleted = talk.client({"type": "conversation.item.delete", "item_id": item})
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        assert deleted["type"] == "conversation.item.deleted"
        typed(talk, "Go on.")
        respond(talk)
        assert [m["content"] for m in messages(talk)[1:]] == ["Count.", "Go on."]

    def test_an_answer_that_nobody_heard_is_not_in_the_context(self) -> None:
        talk = Talk()
        talk.script.append(Model(ends="never"))
        typed(talk, "Count.")
        response = respond(talk)[0]["response"]["id"]
        talk.frame(Text(response, "item_x", "Nobody hears this."))
        talk.speech(1.0, "Stop.")
        talk.silence(1.0)
        assert [m["content"] for m in messages(talk)[1:]] == ["Count.", "Stop."]

    def test_what_comes_late_of_a_response_that_is_over_reaches_nobody(self) -> None:
        talk = Talk()
        talk.script.append(Model("Soon over.", ends="never"))
        typed(talk, "Go.")
        response = respond(talk)[0]["response"]["id"]
        talk.client({"type": "response.cancel"})
        late = (Text(response, "i", "late"), said(response, "i", "late"), Answered(response))
        assert talk.frame(*late) == []

    def test_each_item_has_all_of_its_own_sound(self) -> None:
        talk = Talk()
        update(talk, audio={"output": {"format": {"type": "audio/pcmu"}}})
        talk.script.append(Model(ends="never"))
        response = respond(talk)[0]["response"]["id"]
        events = talk.frame(
            Text(response, "a", "One two."),
            said(response, "a", "One two."),
            Text(response, "b", "Three."),
            said(response, "b", "Three."),
            Answered(response),
        )
        lengths = {"a": 0, "b": 0}
        for event in events:
            if event["type"] == "response.output_audio.delta":
                lengths[event["item_id"]] += len(base64.b64decode(event["delta"]))
        assert lengths == {"a": 3200, "b": 2400}

    @pytest.mark.parametrize("end", [("expire",), ("leave", "server_shutdown", "It stops.")])
    def test_a_session_that_ends_ends_its_responses_first(self, end: tuple[str, ...]) -> None:
        talk = Talk()
        talk.script += [Model("One.", ends="never"), Model("Two.", ends="never")]
        respond(talk)
        respond(talk, conversation="none")
        before = len(talk.events)
        name, *arguments = end
        talk.do(getattr(talk.protocol, name)(*arguments))
        ended = [e["response"] for e in talk.events[before:] if e["type"] == "response.done"]
        assert [response["status"] for response in ended] == ["failed", "failed"]
        assert broken_rules(talk.events) == []

    def test_speaking_again_before_the_text_is_there_takes_the_answer_back(self) -> None:
        talk = Talk()
        talk.transcribe = lambda says: says
        talk.frame(SpeechStarted("u1", 0))
        talk.frame(Commit("u1", 0, 16_000))
        talk.frame(SpeechStarted("u2", 20_000))
        assert talk.frame(Transcript("u1", "Well,", "final")) == []
        talk.frame(Commit("u2", 20_000, 40_000))
        talk.frame(Transcript("u2", "what time is it?", "final"))
        assert [m["content"] for m in messages(talk)[1:]] == ["Well,", "what time is it?"]
        assert len(talk.asked) == 1

    def test_a_pause_prepares_the_answer_where_that_is_wanted(self) -> None:
        talk = Talk()
        update(talk, antiphon={"preemptive": True})
        talk.frame(SpeechStarted("u", 0), Transcript("u", "What time", "committed"))
        talk.frame(Pause("u", 16_000), Transcript("u", " is it", "tentative"))
        provisional = [f for f in talk.pushed if isinstance(f, Respond) and f.provisional]
        assert len(provisional) == 2
        talk.frame(Commit("u", 0, 20_000), Transcript("u", "What time is it", "final"))
        assert talk.asked == [provisional[-1].request]


class TestErrors:
    def test_a_second_response_is_refused_with_the_clients_event_id(self) -> None:
        talk = Talk()
        talk.script.append(Model("Long.", ends="never"))
        respond(talk)
        error = the_error(talk.client({"type": "response.create", "event_id": "x"}))
        assert error["code"] == "conversation_already_has_active_response"
        assert error["event_id"] == "x"

    def test_the_voice_is_locked_after_the_first_sound(self) -> None:
        talk = Talk()
        assert types(update(talk, audio={"output": {"voice": "marin"}})) == ["session.updated"]
        typed(talk, "Hello.")
        respond(talk)
        error = the_error(update(talk, audio={"output": {"voice": "ash"}}))
        assert error["code"] == "cannot_update_voice"
        assert types(update(talk, audio={"output": {"voice": "marin"}})) == ["session.updated"]

    def test_an_unknown_voice_is_an_invalid_value(self) -> None:
        error = the_error(update(Talk(), audio={"output": {"voice": "nobody"}}))
        assert (error["code"], error["param"]) == ("invalid_value", "session.audio.output.voice")

    def test_images_are_refused_unless_the_model_takes_them(self) -> None:
        part = {"type": "input_image", "image_url": "data:image/png;base64,aGk="}
        item = {"type": "message", "role": "user", "content": [part]}
        event = {"type": "conversation.item.create", "item": item}
        error = the_error(Talk().client(event))
        assert error["code"] == "invalid_value"
        assert "image" in error["message"]
        talk = Talk(images=True)
        talk.client(event)
        respond(talk)
        assert messages(talk)[-1]["content"][0]["type"] == "image_url"

    @pytest.mark.parametrize("verb", ["retrieve", "delete", "truncate"])
    def test_items_that_are_not_there(self, verb: str) -> None:
        event: dict[str, Any] = {"type": f"conversation.item.{verb}", "item_id": "nobody"}
        event["event_id"] = "e"
        if verb == "truncate":
            event |= {"content_index": 0, "audio_end_ms": 0}
        error = the_error(Talk().client(event))
        assert error["code"] == f"item_{verb}_invalid_item_id"
        assert error["event_id"] == "e"

    def test_ids_are_unique_and_predecessors_exist(self) -> None:
        talk = Talk()
        typed(talk, "one", id="a")
        assert the_error(typed(talk, "two", id="a"))["param"] == "item.id"
        event = {
            "type": "conversation.item.create",
            "previous_item_id": "nobody",
            "item": {"type": "function_call_output", "call_id": "c", "output": "o"},
        }
        assert the_error(talk.client(event))["param"] == "previous_item_id"

    def test_an_empty_commit_frees_what_waited_for_it(self) -> None:
        talk = Talk()
        update(talk, audio={"input": {"turn_detection": None}})
        events = talk.client({"type": "input_audio_buffer.commit", "event_id": "c"})
        assert the_error(events)["event_id"] == "c"
        assert "conversation.item.added" in types(typed(talk, "still here"))

    def test_a_cancel_comes_after_the_response_that_was_asked_for_before_it(self) -> None:
        talk = Talk()
        talk.script.append(Model("Never mind.", ends="never"))
        commit = talk.protocol.receive(read({"type": "input_audio_buffer.commit"}))
        assert respond(talk) + talk.client({"type": "response.cancel"}) == []
        talk.do(commit)
        responses = [e["response"]["status"] for e in talk.events if "response" in e]
        assert responses == ["in_progress", "cancelled"]
        assert the_error(talk.events)["code"] == "input_audio_buffer_commit_empty"


def test_json_of_any_event_is_serialisable() -> None:
    talk = Talk()
    turn(talk)
    json.loads(orjson.dumps(talk.events))
