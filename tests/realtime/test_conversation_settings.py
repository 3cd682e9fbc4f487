"""Settings of a conversation session: defaults, deep merge, refusals, and the echo."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as runs
from hypothesis import strategies as st
from openai.types.realtime import RealtimeSessionCreateRequest as Request
from openai.types.realtime import SessionUpdatedEvent
from openai.types.realtime.realtime_session_create_response import (
    RealtimeSessionCreateResponse as Response,
)

from engines.audio import PCMA
from engines.generation import ToolChoice
from pipelines.nodes.vad import Settings as NodeSettings
from realtime.answering import Answering
from realtime.conversation_settings import (
    ConversationSettings,
    Truncation,
    TurnTaking,
    conversation_transcription_settings,
    conversation_turn_settings,
    echo_conversation,
    merge_conversation,
)
from realtime.fields import SettingsError
from realtime.settings import SemanticVad, ServerVad, Settings, Transcription

DEFAULT = ConversationSettings("llama", Settings("built-in"))


def patched(settings: ConversationSettings = DEFAULT, /, **session: Any) -> ConversationSettings:
    return merge_conversation(settings, {"type": "realtime", **session}).settings


def heard(settings: ConversationSettings = DEFAULT, /, **source: Any) -> ConversationSettings:
    """`settings` after an update of `audio.input`."""
    return patched(settings, audio={"input": source})


def refusal(settings: ConversationSettings = DEFAULT, /, **session: Any) -> tuple[str, str]:
    with pytest.raises(SettingsError) as caught:
        patched(settings, **session)
    assert caught.value.message
    return caught.value.code, caught.value.param


def echoed(settings: ConversationSettings) -> dict[str, Any]:
    """The echoed session, after all of the SDK's types accepted it."""
    session = echo_conversation(settings, "sess_1", 1_800_000_000, voice="en-us")
    Request.model_validate(session, strict=True)
    Response.model_validate(session, strict=True)
    event = {"type": "session.updated", "event_id": "e", "session": session}
    assert isinstance(SessionUpdatedEvent.model_validate(event, strict=True).session, Request)
    return session


def test_the_model_is_echoed_by_the_name_that_the_client_gave_it() -> None:
    named = replace(DEFAULT, called="gpt-realtime")
    assert echoed(named)["model"] == "gpt-realtime"
    assert echoed(patched(named, model="another"))["model"] == "gpt-realtime"


def test_the_defaults_are_echoed_whole() -> None:
    assert echoed(DEFAULT) == {
        "type": "realtime",
        "object": "realtime.session",
        "id": "sess_1",
        "expires_at": 1_800_000_000,
        "model": "llama",
        "instructions": "",
        "output_modalities": ["audio"],
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_output_tokens": "inf",
        "truncation": "auto",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "voice": "en-us",
                "speed": 1.0,
            },
        },
    }


def test_the_first_update_of_an_agents_client_is_taken() -> None:
    tool = {
        "type": "function",
        "name": "weather",
        "description": "",
        "parameters": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
        "strict": True,
    }
    settings = patched(
        model="gpt-realtime-2.1",
        instructions="Help.",
        output_modalities=["audio"],
        audio={
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "noise_reduction": None,
                "transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {"type": "semantic_vad"},
            },
            "output": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "speed": 1,
                "voice": "ash",
            },
        },
        tools=[tool],
        tool_choice="auto",
        tracing="auto",
        prompt=None,
    )
    session = echoed(settings)
    assert session["model"] == "llama"
    assert session["tracing"] == "auto"
    assert session["audio"]["output"]["voice"] == "ash"
    assert session["audio"]["input"]["transcription"] == {"model": "gpt-4o-mini-transcribe"}
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }


def test_what_is_echoed_can_be_sent_back() -> None:
    settings = patched(
        heard(turn_detection={"idle_timeout_ms": 5_000}, transcription={"language": "de"}),
        tools=[{"type": "function", "name": "f"}],
        tool_choice={"type": "function", "name": "f"},
        truncation={"type": "retention_ratio", "retention_ratio": 0.5},
        antiphon={"lead_ms": 100},
        include=["item.input_audio_transcription.logprobs"],
        tracing={"group_id": "g"},
        max_output_tokens=7,
    )
    merged = merge_conversation(DEFAULT, echoed(settings))
    assert echoed(merged.settings)["audio"]["input"] == echoed(settings)["audio"]["input"] | {
        "transcription": {"model": "built-in", "language": "de"}
    }
    assert merged.ignored == ("session.object", "session.id", "session.expires_at")
    assert {**echoed(merged.settings), "audio": None} == {**echoed(settings), "audio": None}


class TestType:
    @pytest.mark.parametrize("patch", [{}, {"type": None}])
    def test_a_missing_type_is_a_missing_parameter(self, patch: dict[str, Any]) -> None:
        with pytest.raises(SettingsError) as caught:
            merge_conversation(DEFAULT, patch)
        assert caught.value.code == "missing_required_parameter"
        assert caught.value.message == "Missing required parameter: 'session.type'."

    def test_a_transcription_update_is_not_allowed(self) -> None:
        with pytest.raises(SettingsError) as caught:
            merge_conversation(DEFAULT, {"type": "transcription"})
        assert (caught.value.code, caught.value.param) == ("invalid_value", "session.type")
        assert caught.value.message == (
            "Passing a transcription session update event to a realtime session is not allowed."
        )

    @pytest.mark.parametrize("kind", ["translation", "", 1, [], {}])
    def test_another_type_is_an_invalid_value(self, kind: Any) -> None:
        assert refusal(type=kind) == ("invalid_value", "session.type")


def test_the_type_alone_changes_nothing() -> None:
    assert patched() == DEFAULT
    assert patched(audio=None) == DEFAULT
    assert patched(audio={"input": None, "output": None}) == DEFAULT
    full = patched(heard(turn_detection=None), instructions="x", antiphon={"lead_ms": 50})
    assert patched(full) == full


def test_the_model_is_kept_whichever_is_named() -> None:
    assert patched(model="llama") == DEFAULT
    assert patched(model="gpt-realtime") == DEFAULT
    assert patched(model=None) == DEFAULT
    assert refusal(model=1) == ("invalid_value", "session.model")


def test_an_update_is_taken_whole_or_not_at_all() -> None:
    assert refusal(instructions="x", audio={"output": {"speed": 9}}) == (
        "invalid_value",
        "session.audio.output.speed",
    )


def test_instructions_and_tools_are_cleared_by_empty_ones() -> None:
    settings = patched(
        instructions="x",
        tools=[{"type": "function", "name": "f"}],
        tool_choice={"type": "function", "name": "f"},
    )
    assert settings.answering.tool_choice == ToolChoice("required", "f")
    assert patched(settings, instructions="", tools=[]).answering == Answering()
    assert patched(settings, instructions=None, tools=None).answering == Answering()


def test_unknown_keys_are_reported_and_ignored() -> None:
    source = {"turn_detection": {"type": "semantic_vad", "idle_timeout_ms": 5}}
    merged = merge_conversation(
        DEFAULT,
        {
            "type": "realtime",
            "foo": 1,
            "audio": {"input": source, "output": {"pitch": 1}},
            "tools": [{"type": "function", "name": "f", "defer_loading": True}],
            "antiphon": {"echo": True},
        },
    )
    assert set(merged.ignored) == {
        "session.foo",
        "session.audio.input.turn_detection.idle_timeout_ms",
        "session.audio.output.pitch",
        "session.tools[0].defer_loading",
        "session.antiphon.echo",
    }


class TestTranscription:
    def test_null_means_that_the_client_is_not_told(self) -> None:
        assert not DEFAULT.transcripts
        told = heard(transcription={"model": "whisper-1", "language": "de"})
        assert told.transcripts
        assert told.input.transcription == Transcription("whisper-1", "de")
        silent = heard(told, transcription=None)
        assert not silent.transcripts
        assert silent.input.model == "built-in"
        assert echoed(silent)["audio"]["input"]["transcription"] is None
        assert conversation_transcription_settings(silent)["model"] == "built-in"

    def test_an_empty_object_turns_it_on(self) -> None:
        settings = heard(transcription={})
        assert settings.transcripts
        assert echoed(settings)["audio"]["input"]["transcription"] == {"model": "built-in"}
        assert heard(settings, turn_detection=None).transcripts

    def test_logprobs_are_asked_for_by_include(self) -> None:
        logprobs = ["item.input_audio_transcription.logprobs"]
        settings = patched(include=logprobs)
        assert echoed(settings)["include"] == logprobs
        assert conversation_transcription_settings(settings)["word_times"]
        assert "include" not in echoed(patched(settings, include=None))
        assert refusal(include=["everything"]) == ("invalid_value", "session.include[0]")


class TestTurns:
    def test_what_turns_lead_to_is_merged_and_echoed(self) -> None:
        settings = heard(turn_detection={"create_response": False, "idle_timeout_ms": 6_000})
        assert settings.turns == TurnTaking(create_response=False, idle_timeout_ms=6_000)
        again = heard(settings, turn_detection={"interrupt_response": False, "threshold": 0.7})
        assert echoed(again)["audio"]["input"]["turn_detection"] == {
            "type": "server_vad",
            "threshold": 0.7,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 500,
            "create_response": False,
            "interrupt_response": False,
            "idle_timeout_ms": 6_000,
        }
        names = ("create_response", "interrupt_response", "idle_timeout_ms", "threshold")
        assert heard(again, turn_detection=dict.fromkeys(names)) == DEFAULT

    def test_null_means_manual_turns(self) -> None:
        settings = heard(turn_detection=None)
        assert echoed(settings)["audio"]["input"]["turn_detection"] is None
        assert conversation_turn_settings(settings)["mode"] == "manual"
        assert heard(settings, turn_detection={"type": "server_vad"}) == DEFAULT

    def test_another_type_starts_from_the_defaults(self) -> None:
        settings = heard(
            turn_detection={
                "create_response": False,
                "interrupt_response": False,
                "idle_timeout_ms": 6_000,
            }
        )
        semantic = heard(settings, turn_detection={"type": "semantic_vad", "eagerness": "high"})
        assert semantic.turns == TurnTaking()
        assert semantic.input.turn_detection == SemanticVad("high")
        assert heard(settings, turn_detection=None).turns == TurnTaking()

    @pytest.mark.parametrize(
        ("detection", "field"),
        [
            ({"create_response": 1}, "create_response"),
            ({"interrupt_response": "no"}, "interrupt_response"),
            ({"idle_timeout_ms": 99}, "idle_timeout_ms"),
            ({"idle_timeout_ms": 1e4}, "idle_timeout_ms"),
            ({"idle_timeout_ms": 600_001}, "idle_timeout_ms"),
            ({"type": "semantic_vad", "interrupt_response": 0}, "interrupt_response"),
        ],
    )
    def test_wrong_values_are_invalid(self, detection: dict[str, Any], field: str) -> None:
        param = f"session.audio.input.turn_detection.{field}"
        assert refusal(audio={"input": {"turn_detection": detection}}) == ("invalid_value", param)

    def test_the_node_is_told_in_seconds(self) -> None:
        assert conversation_turn_settings(DEFAULT) == {
            "mode": "server",
            "threshold": 0.5,
            "prefix_padding": 0.3,
            "silence": 0.5,
            "interrupt": True,
            "confirm_speaking": 0.3,
            "confirm_thinking": 0.15,
            "idle_timeout": None,
            "eagerness": None,
        }
        settings = heard(turn_detection={"interrupt_response": False, "idle_timeout_ms": 2_500})
        settings = patched(settings, antiphon={"confirm_speaking_ms": 0, "confirm_thinking_ms": 90})
        told = conversation_turn_settings(settings)
        assert (told["interrupt"], told["idle_timeout"]) == (False, 2.5)
        assert (told["confirm_speaking"], told["confirm_thinking"]) == (0.0, 0.09)

    @pytest.mark.parametrize(
        ("detection", "confirm"),
        [
            (
                {
                    "threshold": 0,
                    "prefix_padding_ms": 0,
                    "silence_duration_ms": 20,
                    "idle_timeout_ms": 100,
                },
                0,
            ),
            (
                {
                    "threshold": 1,
                    "prefix_padding_ms": 5_000,
                    "silence_duration_ms": 10_000,
                    "idle_timeout_ms": 600_000,
                },
                5_000,
            ),
        ],
    )
    def test_the_node_takes_both_ends_of_every_range(
        self, detection: dict[str, Any], confirm: int
    ) -> None:
        extensions = {"confirm_speaking_ms": confirm, "confirm_thinking_ms": confirm}
        settings = patched(heard(turn_detection=detection), antiphon=extensions)
        told = conversation_turn_settings(settings)
        assert NodeSettings.model_validate(told).model_dump() == told

    @pytest.mark.parametrize("eagerness", ["low", "medium", "high", "auto"])
    def test_the_node_is_told_the_eagerness_of_semantic_vad(self, eagerness: str) -> None:
        settings = heard(turn_detection={"type": "semantic_vad", "eagerness": eagerness})
        assert conversation_turn_settings(settings)["eagerness"] == eagerness


class TestTruncation:
    def test_words_and_ratios_are_merged_and_echoed(self) -> None:
        disabled = patched(truncation="disabled")
        assert disabled.truncation == Truncation("disabled")
        assert echoed(disabled)["truncation"] == "disabled"
        ratio = {
            "type": "retention_ratio",
            "retention_ratio": 0.8,
            "token_limits": {"post_instructions": 5_000},
        }
        kept = patched(disabled, truncation=ratio)
        assert kept.truncation == Truncation("auto", 0.8)
        assert echoed(kept)["truncation"] == ratio
        assert patched(kept, instructions="").truncation == Truncation("auto", 0.8)
        assert patched(kept, truncation="auto") == DEFAULT
        assert patched(kept, truncation=None) == DEFAULT
        limitless = {"type": "retention_ratio", "retention_ratio": 1, "token_limits": None}
        assert patched(kept, truncation=limitless).truncation == Truncation()

    @pytest.mark.parametrize(
        ("truncation", "code", "param"),
        [
            ("never", "invalid_value", ""),
            (1, "invalid_value", ""),
            ([], "invalid_value", ""),
            ({}, "missing_required_parameter", ".type"),
            ({"type": "auto"}, "invalid_value", ".type"),
            ({"type": "retention_ratio"}, "missing_required_parameter", ".retention_ratio"),
            ({"retention_ratio": 0}, "invalid_value", ".retention_ratio"),
            ({"retention_ratio": 1.1}, "invalid_value", ".retention_ratio"),
            ({"retention_ratio": True}, "invalid_value", ".retention_ratio"),
            ({"retention_ratio": 1, "token_limits": 5}, "invalid_value", ".token_limits"),
            (
                {"retention_ratio": 1, "token_limits": {"post_instructions": -1}},
                "invalid_value",
                ".token_limits.post_instructions",
            ),
        ],
    )
    def test_other_truncations_are_refused(self, truncation: Any, code: str, param: str) -> None:
        if isinstance(truncation, dict) and "retention_ratio" in truncation:
            truncation = {"type": "retention_ratio", **truncation}
        assert refusal(truncation=truncation) == (code, f"session.truncation{param}")


class TestKept:
    def test_tracing_is_read_back_until_it_is_null(self) -> None:
        tracing = {"workflow_name": "w", "group_id": "g", "metadata": {"a": [1]}}
        settings = patched(tracing=tracing)
        assert echoed(settings)["tracing"] == tracing
        assert echoed(patched(settings, tracing="auto"))["tracing"] == "auto"
        assert patched(settings, tracing=None) == DEFAULT
        assert refusal(tracing="on") == ("invalid_value", "session.tracing")
        assert refusal(tracing=1) == ("invalid_value", "session.tracing")
        assert refusal(tracing={"group_id": 1}) == ("invalid_value", "session.tracing.group_id")

    def test_a_prompt_is_read_back_with_the_texts_among_its_variables(self) -> None:
        variables = {"city": "Ulm", "picture": {"type": "input_image"}}
        merged = merge_conversation(
            DEFAULT,
            {"type": "realtime", "prompt": {"id": "p", "version": "2", "variables": variables}},
        )
        assert merged.ignored == ("session.prompt.variables.picture",)
        prompt = {"id": "p", "version": "2", "variables": {"city": "Ulm"}}
        assert echoed(merged.settings)["prompt"] == prompt
        assert patched(merged.settings, prompt=None) == DEFAULT

    def test_a_temperature_of_older_clients_is_taken(self) -> None:
        settings = patched(temperature=0.8)
        assert settings.answering.temperature == 0.8
        assert echoed(settings)["temperature"] == 0.8
        assert patched(settings, temperature=None) == DEFAULT
        assert merge_conversation(DEFAULT, {"type": "realtime", "temperature": 1}).ignored == ()
        assert refusal(temperature="warm") == ("invalid_value", "session.temperature")


class TestExtensions:
    EXTENSIONS: Mapping[str, Any] = {
        "lead_ms": 200,
        "confirm_speaking_ms": 0,
        "confirm_thinking_ms": 5_000,
        "preemptive": True,
        "temperature": 0,
    }

    def test_they_are_merged_and_echoed_once_set(self) -> None:
        settings = patched(antiphon=self.EXTENSIONS)
        assert settings.lead_ms == 200
        assert settings.turns == TurnTaking(
            confirm_speaking_ms=0, confirm_thinking_ms=5_000, preemptive=True
        )
        assert settings.answering.temperature == 0
        assert echoed(settings)["antiphon"] == self.EXTENSIONS
        more = patched(settings, antiphon={"lead_ms": 20})
        assert echoed(more)["antiphon"] == {**self.EXTENSIONS, "lead_ms": 20}
        assert "antiphon" not in echoed(DEFAULT)

    def test_null_goes_back_to_the_defaults(self) -> None:
        settings = patched(antiphon=self.EXTENSIONS)
        less = patched(settings, antiphon={"lead_ms": None, "preemptive": None})
        assert (less.lead_ms, less.turns.preemptive) == (None, False)
        assert echoed(less)["antiphon"].keys() == self.EXTENSIONS.keys() - {"lead_ms", "preemptive"}
        assert patched(settings, antiphon=None) == DEFAULT
        assert patched(settings, antiphon=dict.fromkeys(self.EXTENSIONS)) == DEFAULT
        assert patched(antiphon={}) == DEFAULT

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *[("lead_ms", value) for value in (19, 5_001, 50.5, True, "50")],
            *[("confirm_speaking_ms", value) for value in (-1, 5_001, 0.5)],
            *[("confirm_thinking_ms", value) for value in (-1, 5_001, "1")],
            ("preemptive", 1),
            ("temperature", 2.5),
        ],
    )
    def test_wrong_values_are_invalid(self, key: str, value: Any) -> None:
        assert refusal(antiphon={key: value}) == ("invalid_value", f"session.antiphon.{key}")
        assert refusal(antiphon=[value]) == ("invalid_value", "session.antiphon")


def test_the_formats_of_both_directions_are_apart() -> None:
    pcma = {"format": {"type": "audio/pcma"}}
    settings = patched(audio={"output": pcma})
    assert settings.answering.format == PCMA
    assert settings.input == DEFAULT.input
    assert settings.input.turn_detection == ServerVad()
    assert echoed(settings)["audio"]["output"]["format"] == {"type": "audio/pcma"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, each as it should be or not."""
    return st.fixed_dictionaries({}, optional={k: v | JSON for k, v in fields.items()})


def words(*names: str) -> st.SearchStrategy[str]:
    return st.sampled_from(names)


FORMATS = objects(type=words("audio/pcm", "audio/pcmu", "audio/pcma"))
TOOLS = objects(type=words("function", "mcp"), name=words("f", "g"), parameters=objects())
SESSIONS = objects(
    instructions=st.text(),
    output_modalities=st.just(["text"]),
    tools=st.lists(TOOLS, max_size=2),
    tool_choice=words("auto", "required") | objects(type=words("function"), name=words("f")),
    max_output_tokens=st.integers(0, 5000) | words("inf"),
    parallel_tool_calls=st.booleans(),
    reasoning=objects(effort=words("low", "xhigh")),
    temperature=st.floats(0, 2),
    tracing=words("auto") | objects(group_id=st.text(), metadata=objects()),
    prompt=objects(id=words("p"), version=words("1"), variables=objects(a=st.text())),
    truncation=words("auto", "disabled")
    | objects(type=words("retention_ratio"), retention_ratio=st.floats(0, 1)),
    include=st.lists(words("item.input_audio_transcription.logprobs"), max_size=2),
    antiphon=objects(lead_ms=st.integers(0, 6000), preemptive=st.booleans()),
    audio=objects(
        input=objects(
            format=FORMATS,
            transcription=objects(model=words("whisper-1"), language=words("de")),
            noise_reduction=objects(type=words("near_field")),
            turn_detection=objects(
                type=words("server_vad", "semantic_vad"),
                eagerness=words("low"),
                idle_timeout_ms=st.integers(0, 10_000),
                interrupt_response=st.booleans(),
            ),
        ),
        output=objects(
            format=FORMATS,
            voice=words("a") | objects(id=words("b")),
            speed=st.floats(0.2, 1.6),
        ),
    ),
)


@runs(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SESSIONS, max_size=4))
def test_any_updates_are_refused_or_leave_settings_that_can_be_echoed(
    patches: list[dict[str, Any]],
) -> None:
    settings, refusals = DEFAULT, list[SettingsError]()
    for key, value in [field for patch in patches for field in patch.items()]:
        try:
            settings = patched(settings, **{key: value})
        except SettingsError as error:
            refusals.append(error)
    assert all(e.code in ("invalid_value", "missing_required_parameter") for e in refusals)
    assert all(e.param.startswith("session.") for e in refusals)
    echoed(settings)
    assert conversation_turn_settings(settings)["mode"] in ("server", "manual")


@runs(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_no_object_makes_a_merge_raise_anything_else(patch: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        merge_conversation(DEFAULT, {**patch, "type": patch.get("type")})
    assert caught.value.param == "session.type"
    with contextlib.suppress(SettingsError):
        merge_conversation(DEFAULT, {**patch, "type": "realtime"})
