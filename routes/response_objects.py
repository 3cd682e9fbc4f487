"""The Response object of OpenAI's API, and the items that a model's answer is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engines.generation import TokenLogprob, Usage
from routes.response_items import Item, Status
from routes.text_results import logprob_of


@dataclass(frozen=True, slots=True)
class Shell:
    """What a response says from its beginning to its end; `echo` are the request's settings."""

    id: str
    created_at: int
    echo: Mapping[str, Any]

    def in_progress(self) -> dict[str, Any]:
        return self._response("in_progress", ())

    def completed(self, output: Sequence[Item], usage: Usage, now: int) -> dict[str, Any]:
        return self._response("completed", output, completed_at=now, usage=usage_json(usage))

    def incomplete(self, output: Sequence[Item], usage: Usage) -> dict[str, Any]:
        details = {"reason": "max_output_tokens"}
        usages = usage_json(usage)
        return self._response("incomplete", output, incomplete_details=details, usage=usages)

    def failed(self, output: Sequence[Item], code: str, message: str) -> dict[str, Any]:
        return self._response("failed", output, error={"code": code, "message": message})

    def _response(self, status: str, output: Sequence[Item], **changes: Any) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "background": False,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            **self.echo,
            "output": list(output),
            "usage": None,
            **changes,
        }


def usage_json(usage: Usage) -> dict[str, Any]:
    """`cache_write_tokens` are of caches that a provider charges for; there are none here."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


def message_item(id: str, status: Status, content: Sequence[Item]) -> Item:
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": list(content),
    }


def text_part(text: str, logprobs: Sequence[Item] = ()) -> Item:
    return {
        "type": "output_text",
        "text": text,
        "annotations": [],
        "logprobs": list(logprobs),
    }


def reasoning_item(id: str, status: Status, content: Sequence[Item]) -> Item:
    return {
        "id": id,
        "type": "reasoning",
        "status": status,
        "summary": [],
        "content": list(content),
    }


def reasoning_part(text: str) -> Item:
    return {"type": "reasoning_text", "text": text}


def logprob_json(token: TokenLogprob) -> Item:
    return {**_token_json(token), "top_logprobs": [_token_json(other) for other in token.top]}


def _token_json(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.text, "bytes": list(token.bytes), "logprob": logprob_of(token)}
