"""What `response.create` may ask for, and the readers that a session shares with it."""

import math
from typing import Any

import pytest

from engines.audio import PCM_24K, PCMU
from engines.generation import Tool, ToolChoice
from realtime.answering import Answering, answering_echo, output_echo, override
from realtime.fields import SettingsError

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather.",
    "parameters": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"city": {"type": "string"}},
    },
}
SESSION = Answering(
    instructions="Be brief.",
    voice="en",
    tools=(Tool("look_up"), Tool("hang_up")),
    tool_choice=ToolChoice("required", "look_up"),
    max_output_tokens=100,
)


def overridden(current: Answering = SESSION, /, **response: Any) -> Answering:
    return override(current, response).answering


def refusal(current: Answering = SESSION, /, **response: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        override(current, response)
    assert caught.value.message
    return caught.value


def test_an_empty_response_answers_the_conversation_as_its_session_does() -> None:
    request = override(SESSION, {})
    assert request.answering == SESSION
    assert request.in_conversation
    assert request.input is None
    assert request.metadata is None


def test_a_response_differs_from_its_session_in_what_it_names() -> None:
    answering = overridden(
        instructions="Be long.",
        output_modalities=["text"],
        audio={"output": {"format": {"type": "audio/pcmu"}, "voice": {"id": "de"}}},
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "get_weather"},
        parallel_tool_calls=False,
        max_output_tokens="inf",
        reasoning={"effort": "low"},
        temperature=0.5,
    )
    assert answering == Answering(
        instructions="Be long.",
        modality="text",
        format=PCMU,
        voice="de",
        tools=(Tool("get_weather", "Tells the weather.", WEATHER["parameters"]),),  # type: ignore[arg-type]
        tool_choice=ToolChoice("required", "get_weather"),
        parallel_tool_calls=False,
        max_output_tokens=None,
        reasoning_effort="low",
        temperature=0.5,
    )


def test_null_goes_back_to_the_defaults() -> None:
    names = [
        *("instructions", "output_modalities", "audio", "tools", "tool_choice", "metadata"),
        *("parallel_tool_calls", "max_output_tokens", "reasoning", "prompt", "conversation"),
        *("input", "temperature"),
    ]
    request = override(SESSION, dict.fromkeys(names))
    assert request.answering == Answering(voice="en")
    assert request.in_conversation
    assert request.input is None
    output = dict.fromkeys(("format", "voice", "speed"))
    assert overridden(audio={"output": output}).voice is None


class TestConversation:
    def test_none_keeps_the_answer_outside(self) -> None:
        assert not override(SESSION, {"conversation": "none"}).in_conversation
        assert override(SESSION, {"conversation": "auto"}).in_conversation

    @pytest.mark.parametrize("value", ["conv_1", "", 1, {}])
    def test_another_conversation_is_refused(self, value: Any) -> None:
        assert refusal(conversation=value).param == "response.conversation"

    def test_input_replaces_the_conversation_even_when_it_is_empty(self) -> None:
        items = [{"type": "item_reference", "id": "a"}, {"type": "message", "role": "user"}]
        assert override(SESSION, {"input": items}).input == tuple(items)
        assert override(SESSION, {"input": []}).input == ()

    @pytest.mark.parametrize(
        ("value", "param"),
        [
            ("hello", "response.input"),
            ({}, "response.input"),
            ([{}, "x"], "response.input[1]"),
            ([{}] * 1001, "response.input"),
        ],
    )
    def test_input_is_a_bounded_list_of_objects(self, value: Any, param: str) -> None:
        assert refusal(input=value).param == param


class TestMetadata:
    def test_it_is_kept(self) -> None:
        metadata = {"k" * 64: "v" * 512, "": ""}
        assert override(SESSION, {"metadata": metadata}).metadata == metadata
        assert override(SESSION, {"metadata": {}}).metadata == {}

    @pytest.mark.parametrize(
        ("metadata", "param"),
        [
            ([], "response.metadata"),
            ({str(n): "" for n in range(17)}, "response.metadata"),
            ({"k" * 65: ""}, "response.metadata"),
            ({"a": "v" * 513}, "response.metadata.a"),
            ({"a": 1}, "response.metadata.a"),
            ({"a": None}, "response.metadata.a"),
        ],
    )
    def test_it_is_bounded_and_of_texts(self, metadata: Any, param: str) -> None:
        assert refusal(metadata=metadata).param == param


class TestModalities:
    @pytest.mark.parametrize(
        "value", [["audio", "text"], ["text", "audio"], [], ["video"], "text", {}, [1], [["audio"]]]
    )
    def test_other_combinations_are_refused(self, value: Any) -> None:
        error = refusal(output_modalities=value)
        assert (error.code, error.param) == ("invalid_value", "response.output_modalities")
        assert "Supported combinations are: ['text'] and ['audio']." in error.message

    def test_the_refusal_says_what_was_asked_for(self) -> None:
        message = refusal(output_modalities=["audio", "text"]).message
        assert message.startswith("Invalid modalities: ['audio', 'text'].")


class TestOutput:
    def test_a_voice_is_a_name_or_an_object_with_one(self) -> None:
        assert overridden(audio={"output": {"voice": "alloy"}}).voice == "alloy"
        assert overridden(audio={"output": {"voice": {"id": "mine"}}}).voice == "mine"
        assert overridden(audio={"output": {"voice": ""}}).voice is None

    @pytest.mark.parametrize(
        ("output", "field"),
        [
            ({"voice": 1}, ".voice"),
            ({"voice": {}}, ".voice.id"),
            ({"voice": {"id": 1}}, ".voice.id"),
            ({"voice": "v" * 257}, ".voice"),
            ({"speed": 0.24}, ".speed"),
            ({"speed": 1.51}, ".speed"),
            ({"speed": "fast"}, ".speed"),
            ({"speed": math.nan}, ".speed"),
            ({"format": "pcm16"}, ".format"),
            ({"format": {"type": "audio/mp3"}}, ".format.type"),
            ([], ""),
        ],
    )
    def test_wrong_outputs_are_refused(self, output: Any, field: str) -> None:
        assert refusal(audio={"output": output}).param == f"response.audio.output{field}"

    def test_it_is_echoed_with_the_default_voice_as_a_plain_name(self) -> None:
        assert output_echo(Answering(), "en-us") == {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "voice": "en-us",
            "speed": 1.0,
        }
        assert output_echo(Answering(format=PCMU, voice="x", speed=1.5), "en-us") == {
            "format": {"type": "audio/pcmu"},
            "voice": "x",
            "speed": 1.5,
        }


class TestTools:
    def test_the_schema_may_say_which_draft_it_is_of(self) -> None:
        (tool,) = overridden(tools=[WEATHER]).tools
        assert tool.parameters["$schema"] == "http://json-schema.org/draft-07/schema#"
        assert answering_echo(overridden(tools=[WEATHER]))["tools"] == [WEATHER]

    def test_what_was_not_said_of_a_tool_is_not_echoed(self) -> None:
        plain = {"type": "function", "name": "f"}
        strict = plain | {"name": "g", "strict": True}
        assert answering_echo(overridden(tools=[plain, strict]))["tools"] == [plain, strict]
        full = plain | {"description": None, "parameters": None, "strict": None}
        assert overridden(tools=[full]).tools == (Tool("f"),)

    def test_an_empty_list_takes_all_tools_away(self) -> None:
        assert overridden(tools=[]).tools == ()

    def test_tools_of_a_protocol_are_refused_with_what_to_use_instead(self) -> None:
        error = refusal(tools=[WEATHER, {"type": "mcp", "server_label": "x"}])
        assert (error.code, error.param) == ("invalid_value", "response.tools[1].type")
        assert "not supported by this server; use function tools" in error.message

    @pytest.mark.parametrize(
        ("tools", "param"),
        [
            ({}, "tools"),
            ([1], "tools[0]"),
            ([WEATHER | {"type": "custom"}], "tools[0].type"),
            ([WEATHER | {"type": None}], "tools[0].type"),
            ([WEATHER | {"name": None}], "tools[0].name"),
            ([WEATHER | {"name": ""}], "tools[0].name"),
            ([WEATHER | {"name": "get weather"}], "tools[0].name"),
            ([WEATHER | {"name": "wetter_für"}], "tools[0].name"),
            ([WEATHER | {"name": "f\n"}], "tools[0].name"),
            ([WEATHER | {"name": "f" * 65}], "tools[0].name"),
            ([WEATHER | {"description": 1}], "tools[0].description"),
            ([WEATHER | {"parameters": []}], "tools[0].parameters"),
            ([WEATHER | {"strict": "yes"}], "tools[0].strict"),
            ([WEATHER, WEATHER], "tools[1].name"),
            ([WEATHER | {"name": f"f{n}"} for n in range(129)], "tools"),
            ([WEATHER | {"parameters": {"x": "x" * 2**20}}], "tools"),
        ],
    )
    def test_wrong_tools_are_refused(self, tools: Any, param: str) -> None:
        assert refusal(tools=tools).param == f"response.{param}"


class TestToolChoice:
    @pytest.mark.parametrize("mode", ["auto", "none", "required"])
    def test_modes_are_words(self, mode: Any) -> None:
        answering = overridden(tool_choice=mode)
        assert answering.tool_choice == ToolChoice(mode)
        assert answering_echo(answering)["tool_choice"] == mode

    def test_a_function_is_chosen_by_its_name(self) -> None:
        choice = {"type": "function", "name": "hang_up"}
        answering = overridden(tool_choice=choice)
        assert answering.tool_choice == ToolChoice("required", "hang_up")
        assert answering_echo(answering)["tool_choice"] == choice

    def test_a_chosen_function_that_is_taken_away_is_no_choice_any_more(self) -> None:
        assert overridden(tools=[WEATHER]).tool_choice == ToolChoice()
        kept = overridden(tools=[WEATHER | {"name": "look_up"}])
        assert kept.tool_choice == ToolChoice("required", "look_up")

    @pytest.mark.parametrize(
        ("choice", "param"),
        [
            ("always", "tool_choice"),
            (1, "tool_choice"),
            ([], "tool_choice"),
            ({}, "tool_choice.type"),
            ({"type": "function"}, "tool_choice.name"),
            ({"type": "function", "name": "get_weather"}, "tool_choice.name"),
            ({"type": "mcp", "server_label": "x"}, "tool_choice.type"),
        ],
    )
    def test_other_choices_are_refused(self, choice: Any, param: str) -> None:
        assert refusal(tool_choice=choice).param == f"response.{param}"


class TestLimits:
    @pytest.mark.parametrize(("value", "limit"), [(1, 1), (4096, 4096), ("inf", None)])
    def test_output_tokens_have_a_limit_or_none(self, value: Any, limit: int | None) -> None:
        answering = overridden(max_output_tokens=value)
        assert answering.max_output_tokens == limit
        assert answering_echo(answering)["max_output_tokens"] == value

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *[("max_output_tokens", value) for value in (0, 4097, 1.5, True, "many")],
            ("max_output_tokens", []),
            *[("parallel_tool_calls", value) for value in (1, "true")],
            *[("temperature", value) for value in (-0.1, 2.1, "hot", True)],
            ("instructions", 1),
            ("instructions", "x" * (2**18 + 1)),
            ("reasoning", "low"),
        ],
    )
    def test_wrong_values_are_refused(self, name: str, value: Any) -> None:
        error = refusal(**{name: value})
        assert (error.code, error.param) == ("invalid_value", f"response.{name}")

    def test_efforts_are_known_words(self) -> None:
        assert refusal(reasoning={"effort": "much"}).param == "response.reasoning.effort"
        answering = overridden(reasoning={"effort": "xhigh"})
        assert answering_echo(answering)["reasoning"] == {"effort": "xhigh"}
        assert "reasoning" not in answering_echo(SESSION)
        assert overridden(answering, reasoning={"effort": "none"}) == SESSION

    def test_a_stored_prompt_is_accepted_if_it_could_be_one(self) -> None:
        assert overridden(prompt={"id": "pmpt_1", "variables": {"a": "b"}}) == SESSION
        assert refusal(prompt={}).param == "response.prompt.id"
        assert refusal(prompt={"id": "p", "variables": 1}).param == "response.prompt.variables"


def test_the_defaults_are_echoed_without_what_has_none() -> None:
    assert answering_echo(Answering()) == {
        "instructions": "",
        "output_modalities": ["audio"],
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_output_tokens": "inf",
    }
    assert Answering().format == PCM_24K
