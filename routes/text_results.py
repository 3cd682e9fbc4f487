"""What chat and plain completions have in common on the wire."""

import time
import uuid
from dataclasses import dataclass
from typing import Any, Final, Self

from engines.generation import TokenLogprob, Usage

FINGERPRINT: Final = "antiphon"

_LEAST_LOGPROB: Final = -9999.0
"""What OpenAI sends for a token that is next to impossible; JSON has no infinity."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a completion and all of its chunks say alike."""

    id: str
    created: int
    model: str

    @classmethod
    def new(cls, prefix: str, model: str) -> Self:
        return cls(f"{prefix}-{uuid.uuid4().hex}", int(time.time()), model)

    def around(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        }


def usage_json(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def logprob_of(token: TokenLogprob) -> float:
    return max(_LEAST_LOGPROB, token.logprob)
