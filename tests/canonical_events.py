"""Whole server events for a canonical sequence: what a server that follows it could send.

Every field that today's API knows is there, as OpenAI's server sends it.
"""

from collections.abc import Iterator
from types import EllipsisType
from typing import Any

from score import Event, Id, Later, Sequence, Server, Step, Together

SAMPLES: dict[type, Any] = {str: "text", int: 100, list: [], dict: {}}

_PCM = {"type": "audio/pcm", "rate": 24_000}
_INPUT: Event = {
    "format": _PCM,
    "transcription": {"model": "whisper-1"},
    "noise_reduction": {"type": "near_field"},
    "turn_detection": {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
    },
}
_TURNS = {"create_response": True, "interrupt_response": True, "idle_timeout_ms": None}
_TRANSCRIPTION: Event = {
    "type": "transcription",
    "object": "realtime.transcription_session",
    "id": "sess_1",
    "expires_at": 1_800_000_000,
    "include": None,
    "audio": {"input": _INPUT},
}
_CONVERSATION: Event = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_1",
    "expires_at": 1_800_000_000,
    "model": "gpt-4o-realtime-preview",
    "instructions": "",
    "output_modalities": ["audio"],
    "max_output_tokens": "inf",
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "truncation": "auto",
    "tracing": None,
    "prompt": None,
    "include": None,
    "audio": {
        "input": {**_INPUT, "turn_detection": {**_INPUT["turn_detection"], **_TURNS}},
        "output": {"format": _PCM, "voice": "alloy", "speed": 1.0},
    },
}
_RESPONSE: Event = {
    "metadata": None,
    "output_modalities": ["audio"],
    "max_output_tokens": "inf",
    "audio": {"output": {"format": _PCM, "voice": "alloy"}},
}
_USAGE: Event = {
    "total_tokens": 30,
    "input_tokens": 20,
    "output_tokens": 10,
    "input_token_details": {"text_tokens": 20, "audio_tokens": 0, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 10, "audio_tokens": 0},
}
_WHOLE: dict[str, Event] = {
    "response.created": {"response": _RESPONSE},
    "response.done": {"response": _RESPONSE},
    "response.output_audio.delta": {"delta": "AAAA"},
    "input_audio_buffer.committed": {"previous_item_id": None},
    "conversation.item.added": {"previous_item_id": None},
    "conversation.item.done": {"previous_item_id": None},
    "conversation.item.input_audio_transcription.completed": {
        "usage": {"type": "duration", "seconds": 2}
    },
    "error": {"error": {"code": "invalid_value", "message": "It failed.", "param": None}},
}


def example(sequence: Sequence) -> list[Event]:
    """Its server events, each optional one once; the deltas of a text are one delta."""
    events: list[Event] = []
    deltas: dict[tuple[str, str], Event] = {}
    for server in _servers(sequence.steps):
        event = {"event_id": f"event_{len(events)}", "type": server.type, **_whole(server)}
        events.append(event)
        place, _, state = server.type.rpartition(".")
        key = (place, event.get("item_id", ""))
        if state == "delta" and place != "response.output_audio":
            deltas[key] = event
        elif state in ("done", "completed") and key in deltas:
            texts = (event.get(name) for name in ("text", "transcript", "arguments"))
            deltas[key]["delta"] = next(text for text in texts if text is not None)
    return events


def _servers(steps: tuple[Step, ...]) -> Iterator[Server]:
    for step in steps:
        match step:
            case Server():
                yield step
            case Together(runs):
                yield from (server for run in runs for server in run)
            case Later(run):
                yield from run


def _whole(server: Server) -> Event:
    base: Event = _WHOLE.get(server.type, {})
    if server.type in ("session.created", "session.updated"):
        kind = server.fields["session"]["type"]
        base = {"session": _TRANSCRIPTION if kind == "transcription" else _CONVERSATION}
    elif server.type == "response.done":
        base = {"response": {**_RESPONSE, "usage": _USAGE, "conversation_id": "conv_1"}}
        base["response"]["status_details"] = None
    filled = _filled(dict(server.fields), base)
    assert isinstance(filled, dict)
    return filled


def _filled(pattern: Any, base: Any) -> Any:
    """A value that fits `pattern`: what it leaves open is as in `base`."""
    match pattern:
        case EllipsisType():
            return base
        case type():
            return base if isinstance(base, pattern) else SAMPLES[pattern]
        case Id(name):
            return f"id_{name.replace(' ', '_')}"
        case dict():
            known = base if isinstance(base, dict) else {}
            return {**known, **{key: _filled(p, known.get(key)) for key, p in pattern.items()}}
        case list():
            return [_filled(inner, None) for inner in pattern]
        case _:
            return pattern
