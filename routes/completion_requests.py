"""POST /v1/completions: what a request may hold, and what a model is asked for it."""

from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationInfo, field_validator

from engines.generation import Generate, Plain
from routes.text_requests import LARGEST_TOKEN, MOST_ANSWERS, TextRequest

Prompt = str | tuple[int, ...]


def _prompts(value: Any) -> list[Prompt]:
    """One text, several, the token ids of one, or those of several."""
    match value:
        case str():
            return [value]
        case [int(), *_]:
            return [_tokens(value)]
        case [_, *_] if len(value) <= MOST_ANSWERS:
            return [each if isinstance(each, str) else _tokens(each) for each in value]
        case [_, *_]:
            raise ValueError(f"Input should have at most {MOST_ANSWERS} prompts")
        case _:
            raise ValueError("Input should be a text, a list of token ids, or a list of those")


def _tokens(value: Any) -> tuple[int, ...]:
    if not (isinstance(value, list) and value):
        raise ValueError("Input should be a text, a list of token ids, or a list of those")
    for token in value:
        if not isinstance(token, int) or isinstance(token, bool):
            raise ValueError("Input should have token ids that are integers")
        if not 0 <= token <= LARGEST_TOKEN:
            raise ValueError(f"Input should have token ids from 0 to {LARGEST_TOKEN}")
    return tuple(value)


class CompletionRequest(TextRequest):
    """Fields that are not named here are accepted and ignored, as for chat."""

    prompt: Annotated[list[Prompt], PlainValidator(_prompts)]
    max_tokens: int = Field(default=16, ge=1, lt=2**31)
    logprobs: int | None = Field(default=None, ge=0, le=5)
    echo: bool = False
    best_of: int | None = Field(default=None, ge=1)
    suffix: str = ""

    @field_validator("prompt")
    @classmethod
    def _is_bounded(cls, value: list[Prompt], info: ValidationInfo) -> list[Prompt]:
        if len(value) * int(info.data.get("n", 1)) > MOST_ANSWERS:
            raise ValueError(f"prompts times 'n' may be at most {MOST_ANSWERS}")
        return value

    @field_validator("echo")
    @classmethod
    def _has_no_logprobs(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("logprobs") is not None:
            raise ValueError(
                "the tokens of a prompt have no log-probabilities here; "
                "leave out either 'echo' or 'logprobs'"
            )
        return value

    @field_validator("best_of")
    @classmethod
    def _is_n(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value != info.data.get("n", value):
            raise ValueError("answers are not ranked here; it may only be the same as 'n'")
        return value

    @field_validator("suffix")
    @classmethod
    def _is_empty(cls, value: str) -> str:
        if value:
            raise ValueError("texts are not inserted here, only continued; leave it out")
        return value

    def asked(self) -> list[Generate]:
        """What a model is asked: `n` times for each prompt."""
        return [
            each
            for prompt in self.prompt
            for each in self.for_each(
                Generate(
                    Plain(prompt, self.echo),
                    max_tokens=self.max_tokens,
                    stop=self.stops,
                    logprobs=self.logprobs,
                )
            )
        ]
