"""The tools of a chat, and which of them may or must be called."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator

from engines.generation import Tool, ToolChoice
from routes.errors import ApiError, invalid
from routes.text_requests import Given, JsonObject


class FunctionRequest(Given):
    name: str = Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")
    description: str = ""
    parameters: JsonObject = Field(default={})
    strict: bool = False

    @property
    def tool(self) -> Tool:
        return Tool(self.name, self.description, self.parameters, self.strict)


class ToolRequest(Given):
    type: str
    function: FunctionRequest

    @field_validator("type")
    @classmethod
    def _is_function(cls, value: str) -> str:
        if value != "function":
            raise ValueError(
                "Input should be 'function'; other tools are not supported here, "
                "and a function with one string for a parameter does what a custom tool does"
            )
        return value


def offered(functions: Sequence[FunctionRequest], param: str) -> tuple[Tool, ...]:
    """The functions as tools. Raises `ApiError`, in the name of `param`, for one that is twice."""
    tools = {function.name: function.tool for function in functions}
    if len(tools) < len(functions):
        raise invalid(param, f"Invalid value for '{param}': Two functions have the same name.")
    return tuple(tools.values())


def chosen(choice: Any, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    """What there is of `tools` under a `tool_choice`, and what it says. Raises `ApiError`."""
    match choice:
        case None:
            return tools, ToolChoice()
        case "none" | "auto" | "required" as mode:
            return _enough(tools, ToolChoice(mode))
        case {"type": "function", "function": {"name": str(name)}}:
            return tools, _named(name, tools, "tool_choice")
        case {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto" | "required" as mode, "tools": [*allowed]},
        }:
            return _enough(_allowed(allowed, tools), ToolChoice(mode))
        case _:
            raise _refused(
                "tool_choice",
                "Supported are 'none', 'auto', 'required', the name of a function and "
                "allowed_tools",
            )


def chosen_function(choice: Any, functions: tuple[Tool, ...]) -> ToolChoice:
    """What a `function_call` says, from before there were tools. Raises `ApiError`."""
    match choice:
        case None | "auto":
            return ToolChoice()
        case "none":
            return ToolChoice("none")
        case {"name": str(name)}:
            return _named(name, functions, "function_call")
        case _:
            raise _refused(
                "function_call", "Supported are 'none', 'auto' and the name of a function"
            )


def _enough(tools: tuple[Tool, ...], choice: ToolChoice) -> tuple[tuple[Tool, ...], ToolChoice]:
    if choice.mode == "required" and not tools:
        raise _refused("tool_choice", "There are no tools to call")
    return tools, choice


def _named(name: str, tools: tuple[Tool, ...], param: str) -> ToolChoice:
    if all(tool.name != name for tool in tools):
        raise _refused(param, f"There is no function '{name[:64]}' among the tools")
    return ToolChoice("required", name)


def _allowed(allowed: Sequence[Any], tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    names = set()
    for each in allowed:
        match each:
            case {"type": "function", "function": {"name": str(name)}}:
                _named(name, tools, "tool_choice")
                names.add(name)
            case _:
                raise _refused("tool_choice", "Only functions, by their names, can be allowed")
    return tuple(tool for tool in tools if tool.name in names)


def _refused(param: str, reason: str) -> ApiError:
    return invalid(param, f"Invalid value for '{param}': {reason}.")
