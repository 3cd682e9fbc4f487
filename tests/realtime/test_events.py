"""Client events: what every text message becomes."""

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from realtime.events import (
    MAX_AUDIO_BYTES,
    Append,
    BadEvent,
    ClearBuffer,
    ClearOutput,
    ClientEvent,
    CommitBuffer,
    CreateItem,
    DeleteItem,
    ResponseCancel,
    ResponseCreate,
    RetrieveItem,
    SessionUpdate,
    TruncateItem,
    binary_event,
    parse,
)

ON_A_BUSY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(**message: Any) -> ClientEvent | BadEvent:
    return parse(json.dumps(message))


def bad(text: str) -> BadEvent:
    event = parse(text)
    assert isinstance(event, BadEvent)
    return event


def bad_append(audio: Any) -> BadEvent:
    return bad(json.dumps({"type": "input_audio_buffer.append", "audio": audio, "event_id": "e"}))


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (
            {"type": "session.update", "session": {"type": "transcription"}},
            SessionUpdate({"type": "transcription"}),
        ),
        ({"type": "input_audio_buffer.append", "audio": "AAE="}, Append(b"\0\1")),
        ({"type": "input_audio_buffer.append", "audio": ""}, Append(b"")),
        ({"type": "input_audio_buffer.commit"}, CommitBuffer()),
        ({"type": "input_audio_buffer.clear"}, ClearBuffer()),
        ({"type": "conversation.item.create", "item": {}}, CreateItem({})),
        (
            {"type": "conversation.item.create", "item": {"a": 1}, "previous_item_id": "root"},
            CreateItem({"a": 1}, "root"),
        ),
        (
            {"type": "conversation.item.create", "item": {}, "previous_item_id": None},
            CreateItem({}),
        ),
        ({"type": "conversation.item.retrieve", "item_id": "a"}, RetrieveItem("a")),
        ({"type": "conversation.item.delete", "item_id": "a"}, DeleteItem("a")),
        (
            {
                "type": "conversation.item.truncate",
                "item_id": "a",
                "content_index": 0,
                "audio_end_ms": 1500,
            },
            TruncateItem("a", 0, 1500),
        ),
        ({"type": "response.create"}, ResponseCreate()),
        ({"type": "response.create", "response": None}, ResponseCreate({})),
        ({"type": "response.create", "response": {"x": 1}}, ResponseCreate({"x": 1})),
        ({"type": "response.cancel"}, ResponseCancel()),
        ({"type": "response.cancel", "response_id": None}, ResponseCancel()),
        ({"type": "response.cancel", "response_id": "resp_1"}, ResponseCancel("resp_1")),
        ({"type": "output_audio_buffer.clear"}, ClearOutput()),
    ],
)
def test_every_client_event_is_read(message: dict[str, Any], event: ClientEvent) -> None:
    assert read(**message) == event
    named = read(**message, event_id="mine")
    assert isinstance(named, type(event))
    assert named.event_id == "mine"
    assert named.type == message["type"]


def test_a_null_event_id_is_no_event_id() -> None:
    assert read(type="input_audio_buffer.commit", event_id=None) == CommitBuffer()


@pytest.mark.parametrize("text", ["", "{", "nonsense", "NaN", "1e999", '{"type": "\\ud800"}'])
def test_a_message_that_is_not_json_is_invalid_json(text: str) -> None:
    assert bad(text).code == "invalid_json"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "\ud800"])
def test_nesting_without_end_and_lone_surrogates_are_invalid_json(text: str) -> None:
    assert bad(text).code == "invalid_json"


@pytest.mark.parametrize("text", ["[]", "null", "1", '"session.update"', "true", "1" * 400])
def test_json_that_is_no_object_is_an_invalid_event(text: str) -> None:
    assert bad(text).code in ("invalid_event", "invalid_json")
    assert bad("[]") == BadEvent(
        "invalid_event", "Expected an event, which is a JSON object; got an array."
    )


def test_a_message_of_countless_values_is_not_read() -> None:
    assert bad("[" + "[]," * 600_000 + "0]").code == "invalid_event"


def test_a_binary_message_is_an_invalid_event() -> None:
    assert binary_event().code == "invalid_event"
    assert binary_event().param is None


def test_an_event_without_a_type_misses_a_parameter() -> None:
    expected = BadEvent(
        "missing_required_parameter", "Missing required parameter: 'type'.", "type", "e"
    )
    assert read(event_id="e") == expected


def test_an_unknown_type_is_an_invalid_value_that_lists_the_known_ones() -> None:
    event = read(type="transcription_session.update", event_id="e")
    assert isinstance(event, BadEvent)
    assert (event.code, event.param, event.event_id) == ("invalid_value", "type", "e")
    assert event.message.startswith("Invalid value: 'transcription_session.update'. Supported ")
    assert event.message.endswith("'response.cancel', and 'output_audio_buffer.clear'.")


def test_an_error_quotes_a_long_value_only_in_part() -> None:
    event = read(type="x" * 1_000_000)
    assert isinstance(event, BadEvent)
    assert len(event.message) < 1_000


@pytest.mark.parametrize("value", [1, True, [], {}, 1.5, 10**30])
def test_a_field_of_the_wrong_type_is_an_invalid_value(value: Any) -> None:
    for message, param in (
        ({"type": value}, "type"),
        ({"type": "input_audio_buffer.append", "audio": value}, "audio"),
        ({"type": "conversation.item.retrieve", "item_id": value}, "item_id"),
        ({"type": "input_audio_buffer.commit", "event_id": value}, "event_id"),
    ):
        event = read(**message)
        assert isinstance(event, BadEvent)
        assert (event.code, event.param) == ("invalid_value", param)


TRUNCATION = {"item_id": "a", "content_index": 0, "audio_end_ms": 0}


@pytest.mark.parametrize(
    ("name", "fields", "param"),
    [
        ("conversation.item.create", {"item": []}, "item"),
        ("conversation.item.create", {"item": "x"}, "item"),
        ("conversation.item.create", {"item": {}, "previous_item_id": 1}, "previous_item_id"),
        ("conversation.item.truncate", TRUNCATION | {"item_id": 1}, "item_id"),
        ("conversation.item.truncate", TRUNCATION | {"content_index": -1}, "content_index"),
        ("conversation.item.truncate", TRUNCATION | {"content_index": True}, "content_index"),
        ("conversation.item.truncate", TRUNCATION | {"audio_end_ms": -1}, "audio_end_ms"),
        ("conversation.item.truncate", TRUNCATION | {"audio_end_ms": 1.5}, "audio_end_ms"),
        ("conversation.item.truncate", TRUNCATION | {"audio_end_ms": "1"}, "audio_end_ms"),
        ("response.create", {"response": []}, "response"),
        ("response.create", {"response": "x"}, "response"),
        ("response.cancel", {"response_id": {}}, "response_id"),
    ],
)
def test_a_wrong_field_is_named_and_the_event_too(
    name: str, fields: dict[str, Any], param: str
) -> None:
    event = read(type=name, event_id="e", **fields)
    assert isinstance(event, BadEvent)
    assert (event.code, event.param, event.event_id) == ("invalid_value", param, "e")
    assert f"'{param}'" in event.message or "Expected 0 or more" in event.message


@pytest.mark.parametrize("absent", ["content_index", "audio_end_ms"])
def test_a_truncation_without_its_numbers_misses_a_parameter(absent: str) -> None:
    event = read(**({"type": "conversation.item.truncate"} | TRUNCATION | {absent: None}))
    assert isinstance(event, BadEvent)
    assert (event.code, event.param) == ("missing_required_parameter", absent)


SPOKEN = {"type": "message", "content": [{"type": "input_audio", "audio": "AAE="}, {"text": "x"}]}
DECODED = {"type": "message", "content": [{"type": "input_audio", "audio": b"\0\1"}, {"text": "x"}]}


def test_the_audio_of_an_item_is_decoded_where_it_is_read() -> None:
    assert read(type="conversation.item.create", item=SPOKEN) == CreateItem(DECODED)
    event = read(type="response.create", response={"input": [{"type": "x"}, SPOKEN, 5]})
    assert event == ResponseCreate({"input": [{"type": "x"}, DECODED, 5]})


def test_audio_of_an_item_that_is_not_base64_is_named_by_its_path() -> None:
    wrong = {"content": [{}, {"audio": "?"}]}
    event = read(type="conversation.item.create", item=wrong, event_id="e")
    assert isinstance(event, BadEvent)
    assert (event.code, event.param, event.event_id) == (
        "invalid_value",
        "item.content[1].audio",
        "e",
    )
    event = read(type="response.create", response={"input": [wrong]})
    assert isinstance(event, BadEvent)
    assert event.param == "response.input[0].content[1].audio"


@pytest.mark.parametrize("item", [{}, {"content": None}, {"content": "x"}, {"content": [1, None]}])
def test_other_faults_of_an_item_are_left_to_its_reader(item: dict[str, Any]) -> None:
    assert read(type="conversation.item.create", item=item) == CreateItem(item)


def test_a_session_that_is_no_object_is_an_invalid_value() -> None:
    event = read(type="session.update", session="x", event_id="e")
    assert isinstance(event, BadEvent)
    assert (event.code, event.param, event.event_id) == ("invalid_value", "session", "e")


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("session.update", "session"),
        ("input_audio_buffer.append", "audio"),
        ("conversation.item.retrieve", "item_id"),
        ("conversation.item.delete", "item_id"),
        ("conversation.item.create", "item"),
        ("conversation.item.truncate", "item_id"),
    ],
)
def test_a_required_field_that_is_absent_or_null_is_missing(name: str, param: str) -> None:
    for message in ({"type": name}, {"type": name, param: None}):
        event = read(**message)
        assert isinstance(event, BadEvent)
        assert (event.code, event.param) == ("missing_required_parameter", param)


def test_an_event_id_too_long_to_echo_is_refused() -> None:
    event = read(type="input_audio_buffer.commit", event_id="e" * 513)
    assert isinstance(event, BadEvent)
    assert (event.code, event.param, event.event_id) == ("invalid_value", "event_id", None)


@pytest.mark.parametrize("audio", ["AA=", "A", "AA-_", "A A=", "é===", "AAA=AAAA", "=", "AAE=\n"])
def test_audio_that_is_not_base64_is_an_invalid_value(audio: str) -> None:
    event = bad_append(audio)
    assert (event.code, event.param, event.event_id) == ("invalid_value", "audio", "e")


def test_padding_inside_long_base64_is_found() -> None:
    padded = base64.b64encode(b"\0" * (2**20 // 4 * 3 - 1)).decode()
    assert len(padded) == 2**20
    assert bad_append(padded + "AAAA").param == "audio"


def test_a_ten_megabyte_append_is_read_whole() -> None:
    audio = bytes(range(256)) * 40_960
    started = time.perf_counter()
    event = read(type="input_audio_buffer.append", audio=base64.b64encode(audio).decode())
    assert time.perf_counter() - started < 2
    assert event == Append(audio)


def test_an_append_of_fifteen_mebibytes_is_read_and_a_longer_one_is_refused() -> None:
    most = b"\1" * MAX_AUDIO_BYTES
    assert read(type="input_audio_buffer.append", audio=_base64(most)) == Append(most)
    for more in (1, 2, 3, 5 * 2**20):
        event = bad_append(_base64(b"\0" * (MAX_AUDIO_BYTES + more)))
        assert (event.code, event.param) == ("invalid_value", "audio")
        assert "15 MiB" in event.message


def _base64(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


@ON_A_BUSY_MACHINE
@given(st.binary(max_size=100), st.integers(0, 50))
@example(b"\0" * 7, 3)
def test_a_split_append_has_the_same_audio_cut_between_samples(audio: bytes, most: int) -> None:
    pieces = Append(audio, event_id="e").split(most)
    assert b"".join(piece.audio for piece in pieces) == audio
    assert all(len(piece.audio) % 2 == 0 for piece in pieces[:-1])
    assert all(len(piece.audio) <= max(2, most) for piece in pieces)
    assert all(piece.event_id == "e" for piece in pieces)
    assert pieces


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["type", "event_id", "session", "audio", "item_id", "response", "item"],
)
TYPES = st.sampled_from(
    [
        "session.update",
        "input_audio_buffer.append",
        "conversation.item.retrieve",
        "conversation.item.create",
        "response.create",
        "response.cancel",
    ],
)


@ON_A_BUSY_MACHINE
@given(st.dictionaries(NAMES, JSON | TYPES))
def test_no_object_makes_parsing_raise(message: dict[str, Any]) -> None:
    assert isinstance(parse(json.dumps(message)), ClientEvent | BadEvent)


@ON_A_BUSY_MACHINE
@given(st.text(st.characters()))
def test_no_text_makes_parsing_raise(text: str) -> None:
    assert isinstance(parse(text), ClientEvent | BadEvent)
