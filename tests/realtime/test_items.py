"""Items as clients write them and as they see them."""

import base64
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as runs
from hypothesis import strategies as st
from openai.types.realtime import ConversationItem
from pydantic import TypeAdapter

from pipelines.items import (
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    Item,
    Message,
    OutputAudio,
    OutputText,
    Reference,
)
from realtime.fields import SettingsError
from realtime.items import read_item, to_wire

STRICT: TypeAdapter[Any] = TypeAdapter(ConversationItem)
PIXEL = "data:image/png;base64," + base64.b64encode(b"pixel").decode()
CALL = {"type": "function_call", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "done"}


def user(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": list(content), **fields}


def said(role: str, kind: str, text: Any = "hi") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def taken(item: Any, *, images: bool = False) -> Item | Reference:
    return read_item(item, "item", images=images)


def refusal(item: Any, *, images: bool = False) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        taken(item, images=images)
    assert caught.value.message
    return caught.value


def shown(item: Item) -> dict[str, Any]:
    """An item as clients see it, after the SDK's strict types accepted it."""
    wire = to_wire(item)
    STRICT.validate_python(wire, strict=True)
    assert wire["object"] == "realtime.item"
    return wire


class TestReading:
    @pytest.mark.parametrize(
        ("written", "item"),
        [
            (said("user", "input_text"), Message("", "user", [InputText("hi")])),
            (said("system", "input_text"), Message("", "system", [InputText("hi")])),
            (said("assistant", "output_text"), Message("", "assistant", [OutputText("hi")])),
            (said("assistant", "text"), Message("", "assistant", [OutputText("hi")])),
            (user(), Message("", "user", [])),
            (CALL, FunctionCall("", "", "f", "{}")),
            (CALL | {"call_id": "c", "id": "i"}, FunctionCall("i", "c", "f", "{}")),
            (CALL | {"call_id": None, "arguments": ""}, FunctionCall("", "", "f", "")),
            (OUTPUT, FunctionCallOutput("", "call_1", "done")),
            (OUTPUT | {"output": "", "id": "i"}, FunctionCallOutput("i", "call_1", "")),
            ({"type": "item_reference", "id": "i"}, Reference("i")),
        ],
    )
    def test_every_kind_of_item_is_taken(
        self, written: dict[str, Any], item: Item | Reference
    ) -> None:
        assert taken(written) == item

    def test_an_id_may_be_given_or_left_to_the_server(self) -> None:
        assert taken(user(id="mine", object="realtime.item")) == Message("mine", "user", [])
        assert taken(user(id=None)) == taken(user(id="")) == Message("", "user", [])

    @pytest.mark.parametrize(
        ("given_status", "status"),
        [
            (None, "completed"),
            ("completed", "completed"),
            ("in_progress", "completed"),
            ("incomplete", "incomplete"),
        ],
    )
    def test_what_a_client_writes_is_not_in_progress(
        self, given_status: str | None, status: str
    ) -> None:
        for written in (user(), CALL, OUTPUT):
            item = taken(written | {"status": given_status})
            assert not isinstance(item, Reference)
            assert item.status == status

    @pytest.mark.parametrize(
        ("written", "code", "param"),
        [
            ({}, "missing_required_parameter", "item.type"),
            ({"type": "mcp_call", "id": "i"}, "invalid_value", "item.type"),
            ({"type": 1}, "invalid_value", "item.type"),
            (user(id=1), "invalid_value", "item.id"),
            (user(id="i" * 513), "invalid_value", "item.id"),
            (user(object="item"), "invalid_value", "item.object"),
            (user(status="done"), "invalid_value", "item.status"),
            (user(role=None), "missing_required_parameter", "item.role"),
            (user(role="developer"), "invalid_value", "item.role"),
            (user(content=None), "missing_required_parameter", "item.content"),
            (user(content="hi"), "invalid_value", "item.content"),
            (user(1), "invalid_value", "item.content[0]"),
            (user(*[{}] * 257), "invalid_value", "item.content"),
            (user({}), "missing_required_parameter", "item.content[0].type"),
            (said("user", "output_text"), "invalid_value", "item.content[0].type"),
            (said("user", "text"), "invalid_value", "item.content[0].type"),
            (said("system", "input_audio"), "invalid_value", "item.content[0].type"),
            (said("assistant", "input_text"), "invalid_value", "item.content[0].type"),
            (
                said("user", "input_text", None),
                "missing_required_parameter",
                "item.content[0].text",
            ),
            (said("user", "input_text", 1), "invalid_value", "item.content[0].text"),
            (
                said("user", "input_text", "x" * (2**20 + 1)),
                "invalid_value",
                "item.content[0].text",
            ),
            (CALL | {"name": None}, "missing_required_parameter", "item.name"),
            (CALL | {"name": ""}, "invalid_value", "item.name"),
            (CALL | {"arguments": None}, "missing_required_parameter", "item.arguments"),
            (CALL | {"arguments": {}}, "invalid_value", "item.arguments"),
            (CALL | {"call_id": 1}, "invalid_value", "item.call_id"),
            (OUTPUT | {"call_id": None}, "missing_required_parameter", "item.call_id"),
            (OUTPUT | {"call_id": ""}, "invalid_value", "item.call_id"),
            (OUTPUT | {"output": None}, "missing_required_parameter", "item.output"),
            (OUTPUT | {"output": {}}, "invalid_value", "item.output"),
            (OUTPUT | {"output": "x" * (2**20 + 1)}, "invalid_value", "item.output"),
            ({"type": "item_reference"}, "missing_required_parameter", "item.id"),
            ({"type": "item_reference", "id": ""}, "invalid_value", "item.id"),
        ],
    )
    def test_what_is_wrong_is_named(self, written: Any, code: str, param: str) -> None:
        error = refusal(written)
        assert (error.code, error.param) == (code, param)

    def test_the_path_is_where_the_item_stands(self) -> None:
        with pytest.raises(SettingsError) as caught:
            read_item(said("user", "text"), "response.input[3]", images=False)
        assert caught.value.param == "response.input[3].content[0].type"

    @pytest.mark.parametrize("kind", ["output_audio", "audio"])
    def test_assistants_cannot_be_made_to_have_spoken(self, kind: str) -> None:
        error = refusal(said("assistant", kind))
        assert (error.code, error.param) == ("invalid_value", "item.content[0].type")
        assert "Supported value is: 'output_text'." in error.message
        assert "Assistant audio cannot be added" in error.message

    def test_the_texts_of_one_item_are_bounded_together(self) -> None:
        part = {"type": "input_text", "text": "x" * 2**20}
        assert taken(user(*[part] * 4))
        assert refusal(user(*[part] * 5)).param == "item.content"


class TestAudio:
    def test_it_is_taken_as_base64_or_as_bytes(self) -> None:
        for audio in ("AAE=", b"\0\1"):
            item = taken(user({"type": "input_audio", "audio": audio}))
            assert item == Message("", "user", [InputAudio(audio=b"\0\1")])

    def test_a_transcript_may_come_with_it_or_instead(self) -> None:
        for audio, kept in (("AAE=", b"\0\1"), (None, b"")):
            item = taken(user({"type": "input_audio", "audio": audio, "transcript": "hi"}))
            assert item == Message("", "user", [InputAudio("hi", audio=kept)])

    @pytest.mark.parametrize("audio", [None, "", b""])
    def test_neither_is_too_little(self, audio: Any) -> None:
        error = refusal(user({"type": "input_audio", "audio": audio, "transcript": None}))
        assert (error.code, error.param) == ("missing_required_parameter", "item.content[0].audio")

    @pytest.mark.parametrize("audio", ["?", "AAA", "A" * 21_000_000, 1, []])
    def test_what_is_no_audio_is_refused(self, audio: Any) -> None:
        error = refusal(user({"type": "input_audio", "audio": audio}))
        assert (error.code, error.param) == ("invalid_value", "item.content[0].audio")

    def test_a_transcript_is_a_text(self) -> None:
        error = refusal(user({"type": "input_audio", "audio": "AAE=", "transcript": 1}))
        assert error.param == "item.content[0].transcript"


class TestImages:
    def test_they_are_refused_unless_the_model_takes_them(self) -> None:
        part = {"type": "input_image", "image_url": PIXEL, "detail": "low"}
        error = refusal(user(part))
        assert (error.code, error.param) == ("invalid_value", "item.content[0].type")
        assert "takes no images" in error.message
        assert taken(user(part), images=True) == Message("", "user", [InputImage(PIXEL, "low")])

    @pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
    def test_three_formats_are_taken(self, kind: str) -> None:
        url = f"data:image/{kind};base64,AAAA"
        item = taken(user({"type": "input_image", "image_url": url}), images=True)
        assert item == Message("", "user", [InputImage(url, "auto")])

    @pytest.mark.parametrize(
        "url",
        [
            "https://example.com/a.png",
            "http://127.0.0.1/a.png",
            "file:///etc/passwd",
            "data:image/svg+xml;base64,AAAA",
            "data:image/gif;base64,AAAA",
            "data:image/png,AAAA",
            "data:image/png;base64,",
            "data:image/png;base64,AA AA",
            "data:image/png;base64,AAAA\n",
            "data:image/png;base64," + "A" * 2**22,
            "",
            1,
        ],
    )
    def test_other_addresses_are_refused(self, url: Any) -> None:
        error = refusal(user({"type": "input_image", "image_url": url}), images=True)
        assert (error.code, error.param) == ("invalid_value", "item.content[0].image_url")

    def test_a_detail_is_a_known_word(self) -> None:
        part = {"type": "input_image", "image_url": PIXEL, "detail": "huge"}
        assert refusal(user(part), images=True).param == "item.content[0].detail"


class TestShowing:
    def test_messages_carry_the_types_of_their_side(self) -> None:
        spoken = Message("a", "assistant", [OutputAudio("hello")], "incomplete")
        assert shown(spoken) == {
            "id": "a",
            "object": "realtime.item",
            "type": "message",
            "status": "incomplete",
            "role": "assistant",
            "content": [{"type": "output_audio", "transcript": "hello"}],
        }
        assert shown(Message("a", "assistant", [OutputText("x")]))["content"] == [
            {"type": "output_text", "text": "x"}
        ]
        assert shown(Message("s", "system", [InputText("x")]))["content"] == [
            {"type": "input_text", "text": "x"}
        ]
        assert shown(Message("u", "user", [InputImage(PIXEL, "high")]))["content"] == [
            {"type": "input_image", "image_url": PIXEL, "detail": "high"}
        ]

    def test_audio_of_a_user_always_has_a_transcript_and_never_its_sound(self) -> None:
        message = Message("u", "user", [InputAudio(audio=b"\0\1"), InputAudio("hi")])
        assert shown(message)["content"] == [
            {"type": "input_audio", "transcript": None},
            {"type": "input_audio", "transcript": "hi"},
        ]

    def test_calls_and_results_have_nothing_of_a_message(self) -> None:
        common = {"object": "realtime.item", "status": "in_progress"}
        assert shown(FunctionCall("i", "c", "f", "", "in_progress")) == common | {
            "id": "i",
            "type": "function_call",
            "call_id": "c",
            "name": "f",
            "arguments": "",
        }
        assert shown(FunctionCallOutput("i", "c", "done", "in_progress")) == common | {
            "id": "i",
            "type": "function_call_output",
            "call_id": "c",
            "output": "done",
        }

    def test_only_a_transcript_is_ever_null(self) -> None:
        items: list[Item] = [
            Message("m", "user", [InputText("x"), InputAudio(), InputImage(PIXEL)]),
            FunctionCall("i", "c", "f"),
            FunctionCallOutput("i", "c", ""),
        ]
        for item in items:
            wire = shown(item)
            parts = wire.pop("content", [])
            assert None not in wire.values()
            nulls = {key for part in parts for key, value in part.items() if value is None}
            assert nulls <= {"transcript"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
TEXTS = st.text(max_size=9)
KINDS = ["input_text", "input_audio", "input_image", "output_text", "text", "output_audio"]
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "text": TEXTS,
        "audio": st.just("AAE=") | JSON,
        "transcript": st.none() | TEXTS,
        "image_url": st.just(PIXEL),
    },
)
ITEMS = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "function_call", "function_call_output"]) | JSON},
    optional={
        "id": TEXTS | JSON,
        "role": st.sampled_from(["user", "assistant", "system"]),
        "status": st.sampled_from(["completed", "in_progress", "incomplete"]) | JSON,
        "content": st.lists(PARTS, max_size=2) | JSON,
        "name": TEXTS,
        "arguments": TEXTS,
        "call_id": TEXTS,
        "output": TEXTS | JSON,
    },
)


@runs(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ITEMS, st.booleans())
def test_any_item_is_refused_or_can_be_shown_and_written_again(
    written: dict[str, Any], images: bool
) -> None:
    refused: SettingsError | None = None
    try:
        item = taken(written, images=images)
    except SettingsError as error:
        refused = error
    if refused is not None:
        assert refused.code in ("invalid_value", "missing_required_parameter")
        assert refused.param.startswith("item.")
        return
    assert not isinstance(item, Reference)
    wire = shown(item)
    heard = [p for p in wire.get("content", []) if p["type"] == "input_audio"]
    if all(part["transcript"] is not None for part in heard):
        assert shown(item) == to_wire(_item(taken(wire, images=True)))


def _item(item: Item | Reference) -> Item:
    assert not isinstance(item, Reference)
    return item
