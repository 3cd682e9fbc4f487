"""The older dialect: its tables, its detection, and the types of OpenAI's own older client."""

from typing import Any

import pytest
from canonical import SEQUENCES
from canonical_events import example
from hypothesis import given
from hypothesis import strategies as st
from openai.types.beta.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from score import Sequence

from realtime.beta import BetaDialect, Dialect, detect, is_older
from realtime.beta_shapes import flat_path
from realtime.settings import Settings, echo, merge

OLDER_EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
OF_TODAY = ("input_audio_buffer.timeout_triggered",)
"""Events that the older dialect never had: they are passed on."""

NESTED = {
    "type": "realtime",
    "instructions": "Be brief.",
    "output_modalities": ["audio"],
    "max_output_tokens": 200,
    "tools": [{"type": "function", "name": "look"}],
    "tool_choice": {"type": "function", "name": "look"},
    "temperature": 0.7,
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "whisper-1"},
            "noise_reduction": None,
            "turn_detection": {"type": "server_vad", "threshold": 0.6},
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "ash", "speed": 1.1},
    },
}
FLAT = {
    "instructions": "Be brief.",
    "modalities": ["audio", "text"],
    "max_response_output_tokens": 200,
    "tools": [{"type": "function", "name": "look"}],
    "tool_choice": "look",
    "temperature": 0.7,
    "input_audio_format": "g711_ulaw",
    "input_audio_transcription": {"model": "whisper-1"},
    "input_audio_noise_reduction": None,
    "turn_detection": {"type": "server_vad", "threshold": 0.6},
    "output_audio_format": "pcm16",
    "voice": "ash",
    "speed": 1.1,
}


def beta() -> BetaDialect:
    return BetaDialect("conv_1", lambda prefix: f"{prefix}_new")


def inbound(type_: str, **fields: Any) -> dict[str, Any]:
    return beta().inbound({"type": type_, "event_id": "mine", **fields})


def outbound(type_: str, **fields: Any) -> dict[str, Any]:
    """The one event that an event becomes."""
    (event,) = beta().outbound({"type": type_, "event_id": "event_1", **fields})
    return event


def test_a_flat_session_is_nested() -> None:
    update = {"type": "session.update", "event_id": "mine", "session": NESTED}
    assert inbound("session.update", session=FLAT) == update


def test_a_nested_session_is_flat_again() -> None:
    assert outbound("session.updated", session=NESTED)["session"] == FLAT


@pytest.mark.parametrize(
    ("flat", "nested"),
    [
        ({"modalities": ["text"]}, {"output_modalities": ["text"]}),
        ({"modalities": ["text", "audio"]}, {"output_modalities": ["audio"]}),
        ({"modalities": ["audio"]}, {"output_modalities": ["audio"]}),
        ({"modalities": ["smell"]}, {"output_modalities": ["smell"]}),
        ({"modalities": None}, {"output_modalities": None}),
        (
            {"input_audio_format": "g711_alaw"},
            {"audio": {"input": {"format": {"type": "audio/pcma"}}}},
        ),
        ({"input_audio_format": "mp3"}, {"audio": {"input": {"format": {"type": "mp3"}}}}),
        ({"output_audio_format": None}, {"audio": {"output": {"format": None}}}),
        ({"turn_detection": None}, {"audio": {"input": {"turn_detection": None}}}),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        ({"max_response_output_tokens": "inf"}, {"max_output_tokens": "inf"}),
        ({"client_secret": {"expires_after": {}}}, {}),
        ({"audio": 5, "voice": "ash"}, {"audio": 5}),
        ({"unheard_of": [1]}, {"unheard_of": [1]}),
    ],
)
def test_each_key_of_a_session_has_its_place(flat: Any, nested: Any) -> None:
    session = {"type": "realtime", **nested}
    assert inbound("session.update", session=flat)["session"] == session


def test_a_session_of_today_is_understood_in_the_older_dialect_too() -> None:
    assert inbound("session.update", session=NESTED)["session"] == NESTED


def test_what_the_client_sent_is_left_as_it_was() -> None:
    message = {"type": "session.update", "session": {"audio": {"output": {}}, "voice": "ash"}}
    assert beta().inbound(message)["session"]["audio"] == {"output": {"voice": "ash"}}
    assert message["session"] == {"audio": {"output": {}}, "voice": "ash"}
    event = {"type": "session.updated", "session": {"audio": {"output": {"voice": "ash"}}}}
    beta().outbound(event)
    assert event["session"] == {"audio": {"output": {"voice": "ash"}}}


def test_transcription_sessions_have_events_of_their_own() -> None:
    flat = {
        "input_audio_transcription": {"model": "whisper-1", "language": "en"},
        "input_audio_format": "g711_ulaw",
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
        "modalities": ["text"],
    }
    update = inbound("transcription_session.update", session=flat)
    assert update["type"] == "session.update"
    merged = merge(Settings("nano"), update["session"])
    assert merged.ignored == ()
    assert merged.settings.transcription.language == "en"
    assert merged.settings.format.encoding == "pcmu"
    told = outbound("session.updated", session=echo(merged.settings, "sess_1", 5))
    assert told["type"] == "transcription_session.updated"
    session = told["session"]
    assert "type" not in session
    assert session["input_audio_format"] == "g711_ulaw"
    assert session["input_audio_transcription"] == {"model": "whisper-1", "language": "en"}
    assert session["turn_detection"]["silence_duration_ms"] == 300
    created = outbound("session.created", session=echo(Settings("nano"), "sess_1", 5))
    assert created["type"] == "transcription_session.created"


def test_the_conversation_is_announced_after_the_session() -> None:
    session, conversation = beta().outbound(
        {"type": "session.created", "event_id": "event_1", "session": NESTED}
    )
    assert session["type"] == "session.created"
    assert session["event_id"] == "event_1"
    assert conversation == {
        "type": "conversation.created",
        "event_id": "event_new",
        "conversation": {"id": "conv_1", "object": "realtime.conversation"},
    }


@pytest.mark.parametrize(
    ("today", "older"),
    [
        ("response.output_audio.delta", "response.audio.delta"),
        ("response.output_audio.done", "response.audio.done"),
        ("response.output_audio_transcript.delta", "response.audio_transcript.delta"),
        ("response.output_audio_transcript.done", "response.audio_transcript.done"),
        ("response.output_text.delta", "response.text.delta"),
        ("response.output_text.done", "response.text.done"),
        ("conversation.item.added", "conversation.item.created"),
        ("response.content_part.added", "response.content_part.added"),
        ("input_audio_buffer.committed", "input_audio_buffer.committed"),
        ("response.function_call_arguments.done", "response.function_call_arguments.done"),
        ("something.new", "something.new"),
    ],
)
def test_each_event_has_its_name(today: str, older: str) -> None:
    assert outbound(today, item_id="A")["type"] == older
    assert outbound(today, item_id="A")["item_id"] == "A"


def test_an_item_is_told_once() -> None:
    assert beta().outbound({"type": "conversation.item.done", "item": {"id": "A"}}) == []


SPOKEN = {"type": "message", "role": "assistant", "content": [{"type": "output_audio"}]}
WRITTEN = {"type": "message", "role": "assistant", "content": [{"type": "output_text"}]}


@pytest.mark.parametrize(("item", "kind"), [(SPOKEN, "audio"), (WRITTEN, "text")])
def test_what_the_assistant_said_has_the_older_content_types(item: Any, kind: str) -> None:
    for name in ("conversation.item.added", "conversation.item.retrieved"):
        assert outbound(name, item=item)["item"]["content"] == [{"type": kind}]
    for name in ("response.output_item.added", "response.output_item.done"):
        assert outbound(name, item=item)["item"]["content"] == [{"type": kind}]
    done = outbound("response.done", response={"output": [item]})
    assert done["response"]["output"][0]["content"] == [{"type": kind}]


@pytest.mark.parametrize(
    ("role", "kind", "nested"),
    [
        ("assistant", "text", "output_text"),
        ("assistant", "audio", "output_audio"),
        ("assistant", "output_text", "output_text"),
        ("user", "input_text", "input_text"),
        ("user", "text", "text"),
    ],
)
def test_items_of_the_client_get_the_content_types_of_today(
    role: str, kind: str, nested: str
) -> None:
    item = {"type": "message", "role": role, "content": [{"type": kind, "text": "Hi."}]}
    expected = {**item, "content": [{"type": nested, "text": "Hi."}]}
    assert inbound("conversation.item.create", item=item)["item"] == expected
    request = inbound("response.create", response={"input": [item, {"type": "item_reference"}]})
    assert request["response"]["input"] == [expected, {"type": "item_reference"}]


def test_a_response_is_asked_for_in_today_s_words() -> None:
    flat = {
        "modalities": ["text"],
        "max_response_output_tokens": 20,
        "voice": "ash",
        "output_audio_format": "g711_ulaw",
        "conversation": "none",
        "tool_choice": "none",
    }
    assert inbound("response.create", response=flat)["response"] == {
        "output_modalities": ["text"],
        "max_output_tokens": 20,
        "audio": {"output": {"voice": "ash", "format": {"type": "audio/pcmu"}}},
        "conversation": "none",
        "tool_choice": "none",
    }
    assert inbound("response.create") == {"type": "response.create", "event_id": "mine"}


def test_a_response_is_told_in_the_older_words() -> None:
    nested = {
        "id": "resp_1",
        "output_modalities": ["audio"],
        "audio": {"output": {"format": {"type": "audio/pcma"}, "voice": "ash"}},
        "max_output_tokens": "inf",
        "status": "in_progress",
    }
    assert outbound("response.created", response=nested)["response"] == {
        "id": "resp_1",
        "modalities": ["audio", "text"],
        "output_audio_format": "g711_alaw",
        "voice": "ash",
        "max_output_tokens": "inf",
        "temperature": 0.8,
        "status": "in_progress",
    }


@pytest.mark.parametrize(
    ("nested", "flat"),
    [
        ("session.audio.input.turn_detection.threshold", "session.turn_detection.threshold"),
        ("session.audio.output.voice", "session.voice"),
        ("session.audio.input.format.type", "session.input_audio_format"),
        ("session.output_modalities[0]", "session.modalities[0]"),
        ("response.max_output_tokens", "response.max_response_output_tokens"),
        ("session.tool_choice", "session.tool_choice"),
        ("session.audio", "session.audio"),
        ("item.content", "item.content"),
        ("audio", "audio"),
    ],
)
def test_errors_name_the_fields_that_the_client_knows(nested: str, flat: str) -> None:
    error = {"message": f"Missing required parameter: '{nested}'.", "param": nested, "code": None}
    told = outbound("error", error=error)["error"]
    assert told["param"] == flat_path(nested) == flat
    assert told["message"] == f"Missing required parameter: '{flat}'."
    assert outbound("error", error={"message": "No.", "param": None})["error"]["param"] is None


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=lambda sequence: sequence.name)
def test_openai_s_older_client_accepts_every_event(sequence: Sequence) -> None:
    dialect = beta()
    for event in example(sequence):
        for told in dialect.outbound(event):
            if told["type"] in OF_TODAY:
                continue
            if told["type"].startswith("transcription_session"):
                assert told["session"]["client_secret"] is None
                told["session"]["client_secret"] = {"value": "ek_1", "expires_at": 1}
            if told["type"] == "transcription_session.created":
                told["type"] = "transcription_session.updated"  # their types lack the first event
            parsed = OLDER_EVENTS.validate_python(told, strict=True)
            assert parsed.type == told["type"]


def test_a_spoken_turn_reads_as_it_did_in_the_older_dialect() -> None:
    dialect = beta()
    events = example(SEQUENCES["B spoken turn"])
    names = [told["type"] for event in events for told in dialect.outbound(event)]
    assert names == [
        "session.created",
        "conversation.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "conversation.item.input_audio_transcription.delta",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.audio_transcript.delta",
        "response.audio.delta",
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]


@pytest.mark.parametrize(
    ("versions", "subprotocols", "minted", "older"),
    [
        (["realtime=v1"], [], False, True),
        (["assistants=v2, realtime=v1"], [], False, True),
        (["assistants=v2", "realtime=v1"], [], False, True),
        ([], ["realtime, openai-insecure-api-key.k, openai-beta.realtime-v1"], False, True),
        ([], [], True, True),
        ([], ["realtime", "openai-insecure-api-key.k", "openai-agents-sdk.0.20.0"], False, False),
        (["assistants=v2"], [], False, False),
        (["realtime=v12"], ["openai-beta.realtime-v2"], False, False),
    ],
)
def test_the_handshake_tells_the_dialect(
    versions: list[str], subprotocols: list[str], minted: bool, older: bool
) -> None:
    assert detect(versions, subprotocols, minted) is older


@pytest.mark.parametrize(
    ("message", "older"),
    [
        ({"type": "session.update", "session": {"voice": "ash"}}, True),
        ({"type": "session.update", "session": {"turn_detection": None}}, True),
        ({"type": "session.update", "session": {"temperature": 0.8}}, True),
        ({"type": "transcription_session.update", "session": {}}, True),
        ({"type": "session.update", "session": {"type": "realtime", "voice": "ash"}}, False),
        ({"type": "session.update", "session": {"instructions": "Hi."}}, False),
        ({"type": "session.update", "session": {"tool_choice": "auto"}}, False),
        ({"type": "session.update", "session": None}, False),
        ({"type": "response.create", "session": {"voice": "ash"}}, False),
    ],
)
def test_the_first_update_tells_the_dialect(message: dict[str, Any], older: bool) -> None:
    assert is_older(message) is older


ADDED = {"type": "conversation.item.added", "item": {"id": "A"}}


def new_dialect(older: bool = False) -> Dialect:
    return Dialect(older, "conv_1", lambda prefix: f"{prefix}_new")


def test_a_session_is_of_today_until_an_update_says_otherwise() -> None:
    dialect = new_dialect()
    assert dialect.outbound(ADDED) == [ADDED]
    update = {"type": "session.update", "session": {"voice": "ash"}}
    assert dialect.inbound(update)["session"]["type"] == "realtime"
    assert dialect.older
    assert dialect.outbound(ADDED)[0]["type"] == "conversation.item.created"


def test_only_the_first_update_is_listened_to() -> None:
    dialect = new_dialect()
    first = {"type": "session.update", "session": {"type": "realtime"}}
    assert dialect.inbound(first) is first
    second = {"type": "session.update", "session": {"voice": "ash"}}
    assert dialect.inbound(second) is second
    assert not dialect.older


def test_a_transcription_update_is_of_the_older_dialect_at_any_time() -> None:
    dialect = new_dialect()
    dialect.inbound({"type": "session.update", "session": {"type": "transcription"}})
    update = dialect.inbound({"type": "transcription_session.update", "session": {}})
    assert update == {"type": "session.update", "session": {"type": "transcription"}}
    assert dialect.older


def test_a_handshake_in_the_older_dialect_is_not_taken_back() -> None:
    dialect = new_dialect(older=True)
    dialect.inbound({"type": "session.update", "session": {"type": "realtime"}})
    assert dialect.older


NAMES = st.sampled_from(
    [
        *("session.update", "transcription_session.update", "session.created", "session.updated"),
        *("conversation.item.create", "conversation.item.added", "conversation.item.done"),
        *("response.create", "response.done", "response.output_item.done", "error"),
    ]
)
KEYS = st.sampled_from(
    [
        *(*FLAT, *NESTED, "input", "output", "item", "content", "role", "session", "response"),
        *("error", "param", "message", "format", "name", "client_secret", "threshold"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
JSON = st.recursive(
    SCALARS | st.sampled_from(["realtime", "transcription", "audio", "assistant", "function"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.builds(
    lambda type_, fields: {**fields, "type": type_},
    NAMES | JSON,
    st.dictionaries(st.sampled_from(["session", "item", "response", "error"]) | KEYS, JSON),
)


@given(MESSAGES)
def test_no_json_object_is_too_strange(message: dict[str, Any]) -> None:
    dialect = beta()
    assert isinstance(dialect.inbound(message), dict)
    assert all(isinstance(event, dict) for event in dialect.outbound(message))
    undecided = new_dialect()
    undecided.inbound(message)
    undecided.outbound(message)
