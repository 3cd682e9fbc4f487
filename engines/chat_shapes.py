"""Chat messages in the shapes that a model's chat template can take, where it refuses OpenAI's."""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from engines.base import InvalidInput
from engines.marked_text import marked

Message = dict[str, Any]


class Arguments(dict[str, Any]):
    """A call's arguments, for templates that want an object and for those that want its JSON."""

    def __str__(self) -> str:
        return json_text(self)

    def __add__(self, other: str) -> str:
        return marked("".join((str(self), other))) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> str:
        return marked("".join((other, str(self)))) if isinstance(other, str) else NotImplemented


def json_text(value: Any) -> str:
    return marked(json.dumps(value, ensure_ascii=False))


def joined(separator: str, texts: Iterable[str | None]) -> str:
    """Those of `texts` that are not empty."""
    return marked(separator.join(text for text in texts if text))


def text_of(content: Any) -> Any:
    """A message's content, of parts the lines that their texts make. Raises `InvalidInput` for one
    that is no text."""
    if isinstance(content, str) or not isinstance(content, Sequence):
        return content
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(text := part.get("text"), str):
            raise InvalidInput(
                f"This model takes text only, and a message has a part of type '{kind}'.",
                "messages",
            )
        texts.append(text)
    return "\n".join(texts)


def adapted(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The messages as they are, then each time changed further towards what templates insist on."""
    now = list(messages)
    yield now
    for adapt in (_plainest_calls, _one_call_each, _neighbours_merged, _users_first):
        changed = adapt(now)
        if changed != now:
            now = changed
            yield now


def without_tool_roles(messages: Iterable[Message]) -> list[Message]:
    """Calls and their results as text in the Hermes form, for templates that know no tools."""
    found: list[Message] = []
    for role, group in groupby(messages, key=lambda message: message["role"]):
        if role == "tool":
            results = (
                joined("", ("<tool_response>\n", message["content"], "\n</tool_response>"))
                for message in group
            )
            found.append({"role": "user", "content": joined("\n", results)})
        else:
            found += map(_calls_as_text, group)
    return found


def with_tools_described(
    messages: Sequence[Message], tools: Iterable[Mapping[str, Any]], *, parallel: bool
) -> list[Message]:
    """What tools there are and how to call them, at the end of the system message."""
    several = "Several calls are several such blocks." if parallel else "Make one call at a time."
    text = joined(
        "\n",
        (
            "You can call these functions. Each line describes one in JSON:",
            "<tools>",
            *map(json_text, tools),
            "</tools>",
            "A call is the function's name and its arguments in JSON, with nothing after it:",
            "<tool_call>",
            '{"name": "the name", "arguments": {"a parameter": "its value"}}',
            "</tool_call>",
            f"{several} You are given the result between <tool_response> and </tool_response>.",
        ),
    )
    if not messages or messages[0]["role"] != "system":
        return [{"role": "system", "content": text}, *messages]
    first = {**messages[0], "content": joined("\n\n", (messages[0]["content"], text))}
    return [first, *messages[1:]]


def _calls_as_text(message: Message) -> Message:
    calls = (call["function"] for call in message.get("tool_calls", ()))
    blocks = (
        joined(
            "\n",
            (
                "<tool_call>",
                json_text({"name": call["name"], "arguments": call["arguments"]}),
                "</tool_call>",
            ),
        )
        for call in calls
    )
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": joined("\n", (message["content"], *blocks))}


def _plainest_calls(messages: Sequence[Message]) -> list[Message]:
    """Ids of nine letters and digits (Mistral's templates take no others), and always a content."""
    ids: dict[str, str] = {}

    def plainest(given: str) -> str:
        if len(given) == 9 and given.isalnum():
            return given
        return ids.setdefault(given, f"{len(ids):09}")

    found = []
    for message in messages:
        changed = {**message, "content": message["content"] or ""}
        if "tool_calls" in message:
            calls = ({**call, "id": plainest(call.get("id", ""))} for call in message["tool_calls"])
            changed["tool_calls"] = list(calls)
        if "tool_call_id" in message:
            changed["tool_call_id"] = plainest(message["tool_call_id"])
        found.append(changed)
    return found


def _one_call_each(messages: Sequence[Message]) -> list[Message]:
    """Each call in a message of its own, before its result (Llama 3's templates refuse several)."""
    found: list[Message] = []
    rest = deque(messages)
    while rest:
        message = rest.popleft()
        calls = message.get("tool_calls", ())
        if len(calls) < 2:
            found.append(message)
            continue
        results = []
        while rest and rest[0]["role"] == "tool":
            results.append(rest.popleft())
        for at, call in enumerate(calls):
            found.append({**message, "content": "" if at else message["content"]})
            found[-1]["tool_calls"] = [call]
            found += [one for one in results if one.get("tool_call_id") == call.get("id")]
        ids = {call.get("id") for call in calls}
        found += [one for one in results if one.get("tool_call_id") not in ids]
    return found


def _neighbours_merged(messages: Sequence[Message]) -> list[Message]:
    """Neighbours of one role as one message, for templates in which roles alternate."""
    found: list[Message] = []
    for message in messages:
        if not found or message["role"] != found[-1]["role"] or message["role"] == "tool":
            found.append(message)
            continue
        before = found[-1]
        merged = {**before, **message}
        merged["content"] = joined("\n\n", (before["content"], message["content"]))
        if calls := [*before.get("tool_calls", ()), *message.get("tool_calls", ())]:
            merged["tool_calls"] = calls
        found[-1] = merged
    return found


def _users_first(messages: Sequence[Message]) -> list[Message]:
    """The system's words as the user's, and the user first (Gemma's templates insist on both)."""
    found = [
        {**message, "role": "user"} if message["role"] == "system" else message
        for message in messages
    ]
    if found and found[0]["role"] == "assistant":
        found.insert(0, {"role": "user", "content": ""})
    return _neighbours_merged(found)
