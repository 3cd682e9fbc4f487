"""Text generation as the rest of Antiphon sees it, whichever engine does it.

A `Generate` is one request for one answer; it is answered by `TextDelta`s, `ReasoningDelta`s and
`ToolCallDelta`s as they are made, and by one `Finished`, last. `Embed` and `Rank` are answered by
one `Embedding` and one `Relevance`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engines.base import InvalidInput


class ContextLengthExceeded(InvalidInput):
    """The prompt leaves no room for an answer in the model's context."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen, by OpenAI's names where it has one.

    `temperature` 0 takes the most probable. `top_k` 0, `top_p` 1, `min_p` 0, `repeat_penalty` 1 and
    the other penalties at 0 change nothing. `seed` None: another one each time. `logit_bias` is by
    token id.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_penalty: float = 1.0
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which of the tools may or must be called; `name` is the one that must be, if it is one."""

    mode: Literal["auto", "none", "required"] = "auto"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation to answer.

    `messages` are OpenAI's chat messages: `role` (system, user, assistant, tool), `content` (a
    string, None beside tool calls, or a list of OpenAI's content parts, of which the models here
    take texts only), `tool_calls` with their `arguments` as an object, `tool_call_id`, `name`,
    `reasoning_content`. `template` is handed to the model's chat template (such as
    `enable_thinking`).
    """

    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    template: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plain:
    """A text, or its token ids, to go on from as it is; `echo` gives it back before the answer."""

    text: str | tuple[int, ...]
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """What the answer has to be: any text, any JSON object, or JSON that fits `schema`."""

    kind: Literal["text", "json_object", "json_schema"] = "text"
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generate:
    """One answer. `max_tokens` None: to the end of the context, which always ends it.

    `logprobs` None: none; else that many alternatives for each token, beside the token itself.
    `stop` texts end the answer and are not part of it. `truncate` leaves out the oldest messages
    (or tokens) where the prompt would not fit beside an answer; without it that is
    `ContextLengthExceeded`. Each time a conversation outgrew the room for its prompt, so many went
    that the others took no more than the share `retention` of it: at less than 1, the prompts that
    follow begin alike until it is full again. Providers truncate as they will.
    """

    prompt: Chat | Plain
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    format: Format = Format()
    logprobs: int | None = None
    truncate: bool = False
    retention: float = 1.0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's text, its bytes (half a character, sometimes) and the logarithm of its
    probability; `top` are the most probable ones in its place."""

    text: str
    bytes: bytes
    logprob: float
    top: tuple["TokenLogprob", ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer, in whole characters; `logprobs` of its tokens, if asked for."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of what the model thought before it answered."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of a call: the first of each `index` brings `id` and `name`, the others more of the
    `arguments`, a JSON object. Calls come one after another, counted from 0."""

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `cached` of the prompt were known from an earlier one; `reasoning` of the completion
    were thought, not said."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The end: the model's own or a stop text, the limit of tokens, or its tool calls."""

    reason: Literal["stop", "length", "tool_calls"]
    usage: Usage


GenerationEvent = TextDelta | ReasoningDelta | ToolCallDelta | Finished


@dataclass(frozen=True, slots=True)
class Embed:
    """A text, or its token ids, to make a vector of; `truncate` as in `Generate`."""

    text: str | tuple[int, ...]
    truncate: bool = False


@dataclass(frozen=True, slots=True)
class Embedding:
    """`vector`: float32 of the model's width, of length 1. `tokens`: what the text was made of."""

    vector: NDArray[np.float32]
    tokens: int


@dataclass(frozen=True, slots=True)
class Rank:
    """How much does `document` say about `query`?"""

    query: str
    document: str


@dataclass(frozen=True, slots=True)
class Relevance:
    """`score`: higher is more relevant, in the model's own scale."""

    score: float
    tokens: int
