"""What requests for text have in common: strict types, and how the next token is chosen."""

from dataclasses import replace
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from engines.generation import Generate, Sampling
from engines.json_values import DEEPEST, is_shallow
from routes.errors import invalid, missing

MOST_ANSWERS: Final = 16
"""Answers that one request may ask for at once."""

LARGEST_TOKEN: Final = 2**31 - 1

_MOST_BIASES: Final = 4096
_LARGEST_BIAS: Final = 100


class Given(BaseModel):
    """JSON that a client sent: strict about types, and what is not named is ignored.

    A field that is null counts as left out, as many clients send all the fields they know.
    """

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: given for name, given in value.items() if given is not None}


def model_of(body: dict[str, Any]) -> str:
    """The model that a body asks for. Raises `ApiError`."""
    match body.get("model"):
        case str(model):
            return model
        case None:
            raise missing("model")
        case _:
            raise invalid("model", "Invalid value for 'model': Input should be a valid string.")


def _shallow(value: dict[str, Any]) -> dict[str, Any]:
    if is_shallow(value):
        return value
    raise ValueError(f"Input should be nested at most {DEEPEST} levels deep")


JsonObject = Annotated[dict[str, Any], AfterValidator(_shallow)]
"""Any JSON object, nested so little that nothing which walks through it runs out of stack."""


def _one_or_more(value: Any) -> Any:
    if isinstance(value, str | list):
        return [value] if isinstance(value, str) else value
    raise ValueError("Input should be a string or a list of strings")


def _biases(value: Any) -> dict[int, float]:
    if not isinstance(value, dict):
        raise ValueError("Input should be an object of token ids and numbers")
    if len(value) > _MOST_BIASES:
        raise ValueError(f"Input should have at most {_MOST_BIASES} tokens")
    return {_token(name): _bias(bias) for name, bias in value.items()}


def _token(name: str) -> int:
    if not (name.isascii() and name.isdigit() and len(name) <= 10 and int(name) <= LARGEST_TOKEN):
        raise ValueError(f"Input should have token ids for names, and {name[:40]!r} is none")
    return int(name)


def _bias(bias: Any) -> float:
    number = isinstance(bias, int | float) and not isinstance(bias, bool)
    if not (number and abs(bias) <= _LARGEST_BIAS):
        raise ValueError(f"Input should have numbers from -{_LARGEST_BIAS} to {_LARGEST_BIAS}")
    return float(bias)


class StreamOptions(Given):
    include_usage: bool = False


class TextRequest(Given):
    """The fields of both chat and plain completions, and three that other local servers take:
    `top_k`, `min_p` and `repeat_penalty`."""

    model: str
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: int = Field(default=1, ge=1, le=MOST_ANSWERS)
    stop: Annotated[
        list[Annotated[str, Field(max_length=1000)]],
        Field(max_length=4, fail_fast=True),
        BeforeValidator(_one_or_more),
    ] = []
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, ge=0, le=1)
    top_k: int = Field(default=0, ge=0, le=LARGEST_TOKEN)
    min_p: float = Field(default=0.0, ge=0, le=1)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    repeat_penalty: float = Field(default=1.0, gt=0, le=10)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    logit_bias: Annotated[dict[int, float], BeforeValidator(_biases)] = {}

    @property
    def include_usage(self) -> bool:
        return self.stream_options.include_usage

    @property
    def stops(self) -> tuple[str, ...]:
        """Without empty ones, which some clients send for none."""
        return tuple(stop for stop in self.stop if stop)

    def for_each(self, asked: Generate) -> list[Generate]:
        """`asked`, `n` times, each with a seed of its own where one was given."""
        return [replace(asked, sampling=self._sampling(number)) for number in range(self.n)]

    def _sampling(self, number: int) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            repeat_penalty=self.repeat_penalty,
            seed=None if self.seed is None else self.seed + number,
            logit_bias=self.logit_bias,
        )
