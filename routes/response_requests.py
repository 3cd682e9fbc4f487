"""POST /v1/responses: what a request may hold, and what a model is asked for it."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from engines.generation import Chat, Format, Generate, Sampling
from routes.chat_requests import MOST_TOOLS, Effort
from routes.chat_tools import FunctionRequest, chosen, offered
from routes.errors import ApiError, invalid, missing
from routes.response_items import Item, messages, quoted, read_input, unsupported
from routes.text_requests import Given, JsonObject

LOGPROBS: Final = "message.output_text.logprobs"

_METADATA_PAIRS: Final = 16
_METADATA_NAME: Final = 64
_METADATA_TEXT: Final = 512


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("Input should be an object of strings")
    if len(value) > _METADATA_PAIRS:
        raise ValueError(f"Input should have at most {_METADATA_PAIRS} pairs")
    for name, text in value.items():
        if len(name) > _METADATA_NAME:
            raise ValueError(f"Input should have names of at most {_METADATA_NAME} characters")
        if not (isinstance(text, str) and len(text) <= _METADATA_TEXT):
            raise ValueError(f"Input should have strings of at most {_METADATA_TEXT} characters")
    return value


def _functions(value: Any) -> Any:
    """Refuse the tools that OpenAI runs on its own machines, and those without a JSON schema."""
    for index, tool in enumerate(value if isinstance(value, list) else ()):
        match tool:
            case {"type": str(kind)} if kind != "function":
                what = f"Tools of the type {quoted(kind)} are not"
                raise unsupported(f"tools[{index}].type", what)
    return value


def _choice(value: Any) -> str | dict[str, Any]:
    match value:
        case "auto" | "none" | "required":
            return str(value)
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "name": name}
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": [*tools]}:
            if len(tools) > MOST_TOOLS:
                raise ValueError(f"at most {MOST_TOOLS} tools can be allowed")
            return {
                "type": "allowed_tools",
                "mode": mode,
                "tools": [{"type": "function", "name": _allowed(tool)} for tool in tools],
            }
        case _:
            raise ValueError(
                "supported are 'auto', 'none', 'required', a function's name, and allowed_tools"
            )


def _allowed(tool: Any) -> str:
    match tool:
        case {"type": "function", "name": str(name)}:
            return name
        case _:
            raise ValueError("only functions by their names can be allowed")


def _in_chat(choice: Any) -> Any:
    """A choice of tools as chat completions write it, where functions are nested."""
    match choice:
        case {"type": "function", "name": name}:
            return {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "mode": mode, "tools": tools}:
            allowed = {"mode": mode, "tools": [_in_chat(tool) for tool in tools]}
            return {"type": "allowed_tools", "allowed_tools": allowed}
        case _:
            return choice


class FunctionTool(FunctionRequest):
    """A function of the client; its schema binds the model where `strict` is true."""

    type: Literal["function"]


class TextFormat(Given):
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = Field(default=None, pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    schema_: JsonObject | None = Field(default=None, alias="schema")
    strict: bool | None = None

    def format(self) -> Format:
        """Raises `ApiError` for a JSON schema without a name or a schema."""
        if self.type != "json_schema":
            return Format(self.type)
        if self.name is None:
            raise missing("text.format.name")
        if self.schema_ is None:
            raise missing("text.format.schema")
        return Format("json_schema", self.schema_)

    def echo(self) -> dict[str, Any]:
        if self.type != "json_schema":
            return {"type": self.type}
        return self.model_dump(by_alias=True)


class TextConfig(Given):
    format: TextFormat = TextFormat()
    verbosity: Literal["low", "medium", "high"] | None = None

    def echo(self) -> dict[str, Any]:
        return {"format": self.format.echo(), "verbosity": self.verbosity}


class Reasoning(Given):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None

    def template(self) -> dict[str, Any]:
        """For the chat template; models without one for it do not notice."""
        if self.effort is None:
            return {}
        thinks = self.effort not in ("none", "minimal")
        return {"enable_thinking": thinks, "reasoning_effort": self.effort}


class ResponseRequest(Given):
    """Fields that are not named here are ignored, as OpenAI's clients send fields of models and
    services that are not here.

    `chat_template_kwargs` are variables for the model's chat template, as other local servers take
    them.
    """

    model: str = Field(min_length=1)
    input: Annotated[list[Item], PlainValidator(read_input)] = Field(default=[])
    instructions: str | None = None
    previous_response_id: str | None = Field(default=None, max_length=256)
    store: bool = True
    stream: bool = False
    tools: Annotated[
        list[FunctionTool],
        Field(max_length=MOST_TOOLS, fail_fast=True),
        BeforeValidator(_functions),
    ] = Field(default=[])
    tool_choice: Annotated[str | dict[str, Any], PlainValidator(_choice)] = "auto"
    parallel_tool_calls: bool = True
    text: TextConfig = TextConfig()
    reasoning: Reasoning = Reasoning()
    max_output_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, ge=0, le=1)
    top_logprobs: int = Field(default=0, ge=0, le=20)
    include: list[str] = Field(default=[], max_length=100, fail_fast=True)
    truncation: Literal["auto", "disabled"] = "disabled"
    metadata: Annotated[dict[str, str], PlainValidator(_metadata)] = Field(default={})
    chat_template_kwargs: JsonObject = Field(default={})
    background: bool = False
    conversation: Any = None
    prompt: Any = None

    def check(self) -> None:
        """Raise `ApiError` for what this server does not do, and for an empty request."""
        if self.background:
            raise unsupported("background", "Responses in the background are not")
        if self.conversation is not None:
            raise ApiError(
                400,
                "Conversations are not supported by this server; "
                "go on from a stored response with 'previous_response_id'.",
                code="unsupported",
                param="conversation",
            )
        if self.prompt is not None:
            raise unsupported("prompt", "Stored prompts are not")
        if not self.input and self.previous_response_id is None:
            raise missing("input")

    def generate(self, conversation: Sequence[Item]) -> Generate:
        """What a model is asked; `conversation` ends with this input. Raises `ApiError`."""
        tools, choice = chosen(_in_chat(self.tool_choice), offered(self.tools, "tools"))
        said = messages(conversation, self.instructions or "")
        if not said:
            raise invalid("input", "There is nothing in 'input' that a model could answer.")
        return Generate(
            prompt=Chat(
                said,
                tools,
                choice,
                self.parallel_tool_calls,
                self.reasoning.template() | self.chat_template_kwargs,
            ),
            sampling=Sampling(temperature=self.temperature, top_p=self.top_p),
            max_tokens=self.max_output_tokens,
            format=self.text.format.format(),
            logprobs=self._logprobs(),
            truncate=self.truncation == "auto",
        )

    def echo(self) -> dict[str, Any]:
        """What a response repeats of its request."""
        return {
            "model": self.model,
            "instructions": self.instructions,
            "previous_response_id": self.previous_response_id,
            "store": self.store,
            "tools": [tool.model_dump() for tool in self.tools],
            "tool_choice": self.tool_choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            "text": self.text.echo(),
            "reasoning": self.reasoning.model_dump(),
            "max_output_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_logprobs": self.top_logprobs,
            "truncation": self.truncation,
            "metadata": self.metadata,
        }

    def _logprobs(self) -> int | None:
        return self.top_logprobs if self.top_logprobs or LOGPROBS in self.include else None
