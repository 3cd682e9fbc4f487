"""The parts that canonical sequences are made of: turns, answers and their ends, as steps."""

from dataclasses import dataclass
from typing import Any

from score import Call, Client, Id, Later, Server, Step, Together

TYPED = "What time is it?"
WEATHER = Call("get_weather", '{"city":"Oslo"}')
WEATHER_TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
RATE_LIMITS = Server("rate_limits.updated", {"rate_limits": list}, least=0)

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


def opened(kind: str = "realtime") -> tuple[Step, ...]:
    """The greeting."""
    session = {"type": kind, "id": str, "object": _OBJECTS[kind], "expires_at": int, "audio": dict}
    return (Server("session.created", {"session": session}),)


_OBJECTS = {"realtime": "realtime.session", "transcription": "realtime.transcription_session"}


def updated(session: dict[str, Any], echoed: dict[str, Any]) -> tuple[Step, ...]:
    """A `session.update`, and what of it the answer shows."""
    return (
        Client({"type": "session.update", "session": session}),
        Server("session.updated", {"session": {"type": session["type"], **echoed}}),
    )


def heard(user: str, previous: Any = ...) -> tuple[Step, ...]:
    """The utterance is committed and becomes an item."""
    part = {"type": "input_audio", "transcript": ...}
    item = {
        "id": Id(user),
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [part],
    }
    return (
        Server("input_audio_buffer.committed", {"item_id": Id(user), "previous_item_id": previous}),
        Server("conversation.item.added", {"item": item, "previous_item_id": previous}),
        Server("conversation.item.done", {"item": item}),
    )


def started(user: str) -> Server:
    return Server("input_audio_buffer.speech_started", {"item_id": Id(user), "audio_start_ms": int})


def stopped(user: str) -> Server:
    return Server("input_audio_buffer.speech_stopped", {"item_id": Id(user), "audio_end_ms": int})


def partial_transcript(user: str) -> Later:
    """Text of an utterance may come from its beginning on."""
    place = {"item_id": Id(user), "content_index": 0, "delta": str}
    return Later((Server(f"{_TRANSCRIPTION}.delta", place, least=0, most=None),))


def transcript(user: str) -> Later:
    """The whole text comes once, after its item."""
    fields = {"item_id": Id(user), "content_index": 0, "transcript": str, "usage": {"type": str}}
    return Later((Server(f"{_TRANSCRIPTION}.completed", fields),))


def typed(user: str, text: str = TYPED) -> tuple[Step, ...]:
    """A message that the client writes."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return (Client({"type": "conversation.item.create", "item": item}), *added(user, item))


def added(item_id: str, item: dict[str, Any], previous: Any = ...) -> tuple[Step, ...]:
    """An item that the client created is whole at once."""
    whole = {"id": Id(item_id), **item}
    return (
        Server("conversation.item.added", {"item": whole, "previous_item_id": previous}),
        Server("conversation.item.done", {"item": whole}),
    )


def created(response: str, **fields: Any) -> Server:
    whole = {
        "id": Id(response),
        "object": "realtime.response",
        "status": "in_progress",
        "status_details": None,
        "output": [],
        "usage": None,
        "conversation_id": str,
        **fields,
    }
    return Server("response.created", {"response": whole})


def done(response: str, output: list[Any], status: str = "completed", **fields: Any) -> Server:
    """The end of a response; `fields` are of its `status_details`."""
    whole = {
        "id": Id(response),
        "status": status,
        "status_details": {"type": status, **fields} if status != "completed" else None,
        "output": output,
        "usage": {"total_tokens": int, "input_tokens": int, "output_tokens": int},
    }
    return Server("response.done", {"response": whole})


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a response: which, as what, and whether in the conversation."""

    response: str
    item: str
    index: int = 0
    spoken: bool = True
    inside: bool = True

    @property
    def place(self) -> dict[str, Any]:
        return {"response_id": Id(self.response), "output_index": self.index}

    @property
    def ids(self) -> dict[str, Any]:
        return {**self.place, "item_id": Id(self.item), "content_index": 0}

    @property
    def key(self) -> str:
        return "transcript" if self.spoken else "text"

    def message(self, status: str, content: list[Any] | type) -> dict[str, Any]:
        """The item."""
        return {
            "id": Id(self.item),
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def whole(self, text: Any, status: str = "completed") -> dict[str, Any]:
        """The item when it is over."""
        kind = "output_audio" if self.spoken else "output_text"
        return self.message(status, [{"type": kind, self.key: text}])

    def part(self, text: Any) -> dict[str, Any]:
        return {"type": "audio" if self.spoken else "text", self.key: text}


def begun(said: Said, previous: Any = ...) -> tuple[Step, ...]:
    """A message is opened: 7, 8 and 9 of sequence B."""
    empty = said.message("in_progress", [])
    into = Server("conversation.item.added", {"item": empty, "previous_item_id": previous})
    return (
        Server("response.output_item.added", {**said.place, "item": empty}),
        *([into] if said.inside else []),
        Server("response.content_part.added", {**said.ids, "part": said.part("")}),
    )


def flowing(said: Said) -> Step:
    """The deltas of a message."""
    fields = {**said.ids, "delta": str}
    if not said.spoken:
        return Server("response.output_text.delta", fields, most=None)
    return Together(
        (
            (Server("response.output_audio_transcript.delta", fields, most=None),),
            (Server("response.output_audio.delta", fields, most=None),),
        )
    )


def closed(said: Said, text: Any, status: str = "completed") -> tuple[Server, ...]:
    """A message is closed: 11 to 15 of sequence B."""
    whole = said.whole(text, status)
    name = "response.output_audio_transcript" if said.spoken else "response.output_text"
    return (
        *([Server("response.output_audio.done", said.ids)] if said.spoken else []),
        Server(f"{name}.done", {**said.ids, said.key: text}),
        Server("response.content_part.done", {**said.ids, "part": said.part(text)}),
        *([Server("conversation.item.done", {"item": whole})] if said.inside else []),
        Server("response.output_item.done", {**said.place, "item": whole}),
    )


def beside(said: Said, text: str, *others: Server) -> Step:
    """A message goes on and is closed while others, which do not wait for its sound, come."""
    fields = {**said.ids, "delta": str}
    return Together(
        (
            (Server("response.output_audio_transcript.delta", fields, most=None),),
            (Server("response.output_audio.delta", fields, most=None), *closed(said, text)),
            others,
        )
    )


def answered(said: Said, text: str, previous: Any = ...) -> tuple[Step, ...]:
    """A whole answer of one message: 6 to 17 of sequence B."""
    return (
        created(said.response),
        *begun(said, previous),
        flowing(said),
        *closed(said, text),
        done(said.response, [said.whole(text)]),
        RATE_LIMITS,
    )


def cut_off(said: Said, status: str, **details: Any) -> tuple[Step, ...]:
    """The end of an answer that is not whole."""
    return (
        *closed(said, str, "incomplete"),
        done(said.response, [said.message("incomplete", list)], status, **details),
        RATE_LIMITS,
    )


def called(response: str, item: str, *, index: int = 0, previous: Any = ...) -> tuple[Server, ...]:
    """One function call, from its beginning to its end."""
    place = {"response_id": Id(response), "output_index": index}
    ids = {**place, "item_id": Id(item), "call_id": Id(f"{item} call")}
    name, arguments = WEATHER.name, WEATHER.arguments
    empty = call_item(item, "in_progress", "")
    whole = call_item(item, "completed", arguments)
    return (
        Server("response.output_item.added", {**place, "item": empty}),
        Server("conversation.item.added", {"item": empty, "previous_item_id": previous}),
        Server("response.function_call_arguments.delta", {**ids, "delta": str}, most=None),
        Server(
            "response.function_call_arguments.done", {**ids, "arguments": arguments, "name": name}
        ),
        Server("conversation.item.done", {"item": whole}),
        Server("response.output_item.done", {**place, "item": whole}),
    )


def call_item(item: str, status: str, arguments: str) -> dict[str, Any]:
    return {
        "id": Id(item),
        "type": "function_call",
        "status": status,
        "call_id": Id(f"{item} call"),
        "name": WEATHER.name,
        "arguments": arguments,
    }


def error(code: str, *, event_id: str | None, param: str | None = None) -> Server:
    """A refusal."""
    kind = "invalid_request_error"
    fields = {"type": kind, "code": code, "message": str, "param": param, "event_id": event_id}
    return Server("error", {"error": fields})
