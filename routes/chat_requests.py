"""POST /v1/chat/completions: what a request may hold, and what a model is asked for it."""

from typing import Any, Final, Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from engines.generation import Chat, Format, Generate
from routes.chat_messages import Message, conversation
from routes.chat_tools import FunctionRequest, ToolRequest, chosen, chosen_function, offered
from routes.errors import invalid, missing
from routes.text_requests import Given, JsonObject, TextRequest

MOST_MESSAGES: Final = 10_000
MOST_TOOLS: Final = 128

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class JsonSchema(Given):
    schema_: JsonObject = Field(default={}, alias="schema")


class ResponseFormat(Given):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None

    @property
    def format(self) -> Format:
        """Raises `ApiError` for a JSON schema that is not there."""
        if self.type != "json_schema":
            return Format(self.type)
        if self.json_schema is None:
            raise missing("response_format.json_schema")
        return Format("json_schema", self.json_schema.schema_)


class ChatRequest(TextRequest):
    """Fields that are not named here are accepted and ignored, as OpenAI's clients send fields of
    models and services that are not here: `user`, `metadata`, `store`, `service_tier` and others.

    `chat_template_kwargs` are variables for the model's chat template, as other local servers take
    them. Validation raises `ApiError` for what the types of the fields cannot say.
    """

    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    max_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: ResponseFormat = ResponseFormat()
    tools: list[ToolRequest] = Field(default=[], max_length=MOST_TOOLS, fail_fast=True)
    tool_choice: Any = None
    parallel_tool_calls: bool = True
    functions: list[FunctionRequest] = Field(default=[], max_length=MOST_TOOLS, fail_fast=True)
    function_call: Any = None
    modalities: list[Literal["text", "audio"]] = Field(default=[], max_length=2)
    reasoning_effort: Effort | None = None
    chat_template_kwargs: JsonObject = Field(default={})
    _asked: Generate = PrivateAttr()

    @field_validator("top_logprobs")
    @classmethod
    def _has_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("logprobs") is False:
            raise ValueError("it needs 'logprobs' to be true")
        return value

    @model_validator(mode="after")
    def _read(self) -> Self:
        if "audio" in self.modalities:
            raise invalid(
                "modalities",
                f"Invalid value for 'modalities': The model '{self.model}' answers with text only; "
                "leave 'audio' out.",
            )
        self._asked = Generate(
            prompt=self._chat(),
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=self.stops,
            format=self.response_format.format,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )
        return self

    @property
    def calls_functions(self) -> bool:
        """Whether the client knows functions only, from before there were tools."""
        return bool(self.functions)

    def asked(self) -> list[Generate]:
        """What a model is asked: one for each choice."""
        return self.for_each(self._asked)

    def _chat(self) -> Chat:
        messages = conversation(self.messages, self.model)
        if self.functions:
            if self.tools:
                raise invalid("functions", "Either 'tools' or 'functions' may be given, not both.")
            tools = offered(self.functions, "functions")
            choice = chosen_function(self.function_call, tools)
        else:
            functions = [tool.function for tool in self.tools]
            tools, choice = chosen(self.tool_choice, offered(functions, "tools"))
        return Chat(
            messages,
            tools,
            choice,
            self.parallel_tool_calls and not self.functions,
            self._template(),
        )

    def _template(self) -> dict[str, Any]:
        if self.reasoning_effort is None:
            return self.chat_template_kwargs
        thinks = self.reasoning_effort not in ("none", "minimal")
        effort = {"enable_thinking": thinks, "reasoning_effort": self.reasoning_effort}
        return effort | self.chat_template_kwargs
