"""How responses are made: what a session says of all of them, and `response.create` of one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from engines.audio import PCM_24K, AudioFormat
from engines.generation import Tool, ToolChoice
from realtime.events import not_supported, shown
from realtime.fields import Fields
from realtime.settings import format_echo, read_format

Modality = Literal["audio", "text"]

SPEEDS = (0.25, 1.5)
OUTPUT_TOKENS = (1, 4096)
TEMPERATURES = (0.0, 2.0)
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
MAX_INSTRUCTIONS = 2**18
MAX_DESCRIPTION = 2**16
MAX_TOOLS = 128
MAX_TOOLS_JSON = 2**20
"""Bytes of all tools together, so that the session they are echoed in is no message too big."""
MAX_METADATA = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MODES: Mapping[str, ToolChoice] = {
    "auto": ToolChoice(),
    "none": ToolChoice("none"),
    "required": ToolChoice("required"),
}


@dataclass(frozen=True, slots=True)
class Answering:
    """How responses are made; a response may differ from its session in any of it.

    `voice` None is the server's default voice, `max_output_tokens` None no limit, `temperature`
    None the model's default. `reasoning_effort` None is no thinking before the answer.
    """

    instructions: str = ""
    modality: Modality = "audio"
    format: AudioFormat = PCM_24K
    voice: str | None = None
    speed: float = 1.0
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default=ToolChoice())
    parallel_tool_calls: bool = True
    max_output_tokens: int | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """What `response.create` asked for, beside what the session has.

    `input` None: the conversation is what is answered; else these items (as the client wrote them)
    are. `in_conversation` False: the answer stays outside of it.
    """

    answering: Answering
    in_conversation: bool = True
    input: tuple[Mapping[str, Any], ...] | None = None
    metadata: Mapping[str, str] | None = None


def override(answering: Answering, patch: Mapping[str, Any]) -> ResponseRequest:
    """What a `response.create` with this `response` object asks for, in a session that answers so.

    All of it or `SettingsError`. The items of its input are objects, and not read any further.
    """
    response = Fields(patch, "response")
    items = tuple(entry.mapping() for entry in response.children("input"))
    read_prompt(response)
    return ResponseRequest(
        read_answering(response, answering),
        response.choice("conversation", "auto", "auto", ("auto", "none")) == "auto",
        None if response.value("input") is None else items,
        _metadata(response),
    )


def read_answering(fields: Fields, current: Answering) -> Answering:
    """`current` with what a `session` or a `response` object has."""
    tools = _tools(fields, current.tools)
    output = fields.child("audio").child("output")
    return Answering(
        instructions=fields.string("instructions", current.instructions, "", MAX_INSTRUCTIONS),
        modality=_modality(fields, current.modality),
        format=read_format(output, current.format),
        voice=_voice(output, current.voice),
        speed=output.number("speed", current.speed, 1.0, SPEEDS),
        tools=tools,
        tool_choice=_tool_choice(fields, current.tool_choice, tools),
        parallel_tool_calls=fields.boolean(
            "parallel_tool_calls", current.parallel_tool_calls, True
        ),
        max_output_tokens=_max_output_tokens(fields, current.max_output_tokens),
        temperature=fields.number("temperature", current.temperature, None, TEMPERATURES),
        reasoning_effort=_effort(fields, current.reasoning_effort),
    )


def answering_echo(answering: Answering) -> dict[str, Any]:
    """How responses are made as clients see it, but for what of it belongs to `audio.output`."""
    echoed = {
        "instructions": answering.instructions,
        "output_modalities": [answering.modality],
        "tools": [_tool_echo(tool) for tool in answering.tools],
        "tool_choice": _tool_choice_echo(answering.tool_choice),
        "parallel_tool_calls": answering.parallel_tool_calls,
        "max_output_tokens": answering.max_output_tokens or "inf",
    }
    if answering.reasoning_effort is not None:
        echoed["reasoning"] = {"effort": answering.reasoning_effort}
    return echoed


def output_echo(answering: Answering, voice: str) -> dict[str, Any]:
    """A session's `audio.output` as clients see it; `voice` is the default one's name."""
    return {
        "format": format_echo(answering.format),
        "voice": answering.voice or voice,
        "speed": answering.speed,
    }


def read_prompt(fields: Fields) -> dict[str, Any] | None:
    """A reference to a prompt that is stored at OpenAI, to be read back; None for none.

    Only those of its variables are kept that are texts.
    """
    if fields.value("prompt") is None:
        return None
    prompt = fields.child("prompt")
    kept: dict[str, Any] = {"id": prompt.text("id")}
    version = prompt.string("version", None, None)
    if version is not None:
        kept["version"] = version
    variables = prompt.child("variables")
    given = prompt.json("variables")
    if given is not None:
        kept["variables"] = {
            name: variables.value(name) for name in given if isinstance(given[name], str)
        }
    return kept


def _modality(fields: Fields, current: Modality) -> Modality:
    if not fields.has("output_modalities"):
        return current
    match fields.value("output_modalities"):
        case None | ["audio"]:
            return "audio"
        case ["text"]:
            return "text"
        case [*names] if all(isinstance(name, str) for name in names):
            given = f"[{', '.join(shown(name) for name in names[:8])}]"
        case other:
            given = shown(other)
    raise fields.error(
        "output_modalities",
        f"Invalid modalities: {given}. Supported combinations are: ['text'] and ['audio'].",
    )


def _voice(output: Fields, current: str | None) -> str | None:
    if isinstance(output.value("voice"), Mapping):
        return output.child("voice").text("id")
    return output.string("voice", current, None) or None


def _max_output_tokens(fields: Fields, current: int | None) -> int | None:
    key = "max_output_tokens"
    value = fields.value(key)
    if isinstance(value, str):
        if value != "inf":
            low, high = OUTPUT_TOKENS
            expected = f"Expected an integer between {low} and {high}, or 'inf'."
            raise fields.error(key, f"Invalid value: {shown(value)}. {expected}")
        return None
    return fields.integer(key, current, None, OUTPUT_TOKENS)


def _effort(fields: Fields, current: str | None) -> str | None:
    if fields.is_null("reasoning"):
        return None
    effort = fields.child("reasoning").choice("effort", current, None, EFFORTS)
    return None if effort == "none" else effort


def _tools(fields: Fields, current: tuple[Tool, ...]) -> tuple[Tool, ...]:
    if not fields.has("tools"):
        return current
    fields.json("tools", MAX_TOOLS_JSON)
    tools: dict[str, Tool] = {}
    for each in fields.children("tools", MAX_TOOLS):
        tool = _tool(each)
        if tool.name in tools:
            message = f"Invalid '{each.at('name')}': two tools are named '{tool.name}'."
            raise each.error("name", message)
        tools[tool.name] = tool
    return tuple(tools.values())


def _tool(fields: Fields) -> Tool:
    _check_kind(fields)
    name = fields.text("name")
    if not _TOOL_NAME.fullmatch(name):
        expected = "expected 1 to 64 letters of ASCII, digits, '_' and '-'"
        raise fields.error("name", f"Invalid '{fields.at('name')}': {expected}.")
    return Tool(
        name,
        fields.string("description", "", "", MAX_DESCRIPTION),
        fields.child("parameters").mapping(),
        fields.boolean("strict", False, False),
    )


def _check_kind(fields: Fields) -> None:
    """Tools, and the choice of one, are functions."""
    kind = fields.text("type")
    if kind == "mcp":
        message = "MCP tools are not supported by this server; use function tools."
        raise fields.error("type", f"Invalid value: 'mcp'. {message}")
    if kind != "function":
        raise fields.error("type", not_supported(kind, ("function",)))


def _tool_choice(fields: Fields, current: ToolChoice, tools: Sequence[Tool]) -> ToolChoice:
    names = [tool.name for tool in tools]
    if not fields.has("tool_choice"):
        # The function that had to be called may be gone with the tools of before.
        return ToolChoice() if current.name and current.name not in names else current
    value = fields.value("tool_choice")
    if value is None:
        return ToolChoice()
    if isinstance(value, str):
        if value not in _MODES:
            raise fields.error("tool_choice", not_supported(value, list(_MODES)))
        return _MODES[value]
    choice = fields.child("tool_choice")
    _check_kind(choice)
    name = choice.text("name")
    if name not in names:
        message = f"Invalid value: {shown(name)}. There is no such function among the tools."
        raise choice.error("name", message)
    return ToolChoice("required", name)


def _tool_echo(tool: Tool) -> dict[str, Any]:
    echoed: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description:
        echoed["description"] = tool.description
    if tool.parameters:
        echoed["parameters"] = tool.parameters
    return echoed | {"strict": True} if tool.strict else echoed


def _tool_choice_echo(choice: ToolChoice) -> str | dict[str, Any]:
    return choice.mode if choice.name is None else {"type": "function", "name": choice.name}


def _metadata(response: Fields) -> Mapping[str, str] | None:
    if response.value("metadata") is None:
        return None
    metadata = response.child("metadata")
    entries = metadata.mapping()
    path = response.at("metadata")
    if len(entries) > MAX_METADATA:
        raise response.error("metadata", f"Invalid '{path}': more than {MAX_METADATA} entries.")
    for key in entries:
        if len(key) > MAX_METADATA_KEY:
            long = f"a key is longer than {MAX_METADATA_KEY} characters"
            raise response.error("metadata", f"Invalid '{path}': {long}.")
    return {key: metadata.text(key, MAX_METADATA_VALUE) for key in entries}
