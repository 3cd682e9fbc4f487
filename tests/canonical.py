"""The canonical sequences A to N of the Realtime API, as scores.

They say in which order strict clients expect what; `SEQUENCES` has them by name.
"""

from typing import Any

from canonical_steps import (
    RATE_LIMITS,
    TYPED,
    WEATHER,
    WEATHER_TOOL,
    Said,
    added,
    answered,
    begun,
    beside,
    call_item,
    called,
    closed,
    created,
    cut_off,
    done,
    error,
    flowing,
    heard,
    opened,
    partial_transcript,
    started,
    stopped,
    transcript,
    typed,
    updated,
)
from score import Client, Id, Model, Sequence, Server, Silence, Speech, Step

SAID = "It is four o'clock in the afternoon."

SPOKEN = Said("R", "A")
OUTSIDE = Said("R", "A", spoken=False, inside=False)
RESPOND = Client({"type": "response.create"})
TEXT_ONLY = {"type": "realtime", "output_modalities": ["text"]}
TOOLS = {"type": "realtime", "tools": [WEATHER_TOOL]}
TRANSCRIBED = {"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
MANUAL: dict[str, Any] = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
IDLE = {
    "type": "realtime",
    "audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}},
}


def _turn(user: str, previous: Any = ..., *, told: bool = False) -> tuple[Step, ...]:
    """Somebody says something, and is silent."""
    return (
        Speech(1.5),
        started(user),
        *([partial_transcript(user)] if told else []),
        Silence(1.0),
        stopped(user),
        *heard(user, previous),
        *([transcript(user)] if told else []),
    )


def _answer_begun(*, ends: str) -> tuple[Step, ...]:
    """A typed question and an answer that is heard and not over."""
    return (
        *typed("U"),
        Model(SAID, ends=ends),
        RESPOND,
        created("R"),
        *begun(SPOKEN, Id("U")),
        flowing(SPOKEN),
    )


def _truncated(milliseconds: int) -> tuple[Step, ...]:
    place = {"item_id": Id("A"), "content_index": 0, "audio_end_ms": milliseconds}
    return (
        Client({"type": "conversation.item.truncate", **place}),
        Server("conversation.item.truncated", place),
    )


_OUTPUT_ITEM = {
    "type": "function_call_output",
    "call_id": Id("C call"),
    "output": '{"degrees":12}',
}
_BRIEF = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": TYPED}]}]
_OUTSIDE = {
    "conversation": "none",
    "output_modalities": ["text"],
    "metadata": {"purpose": "label"},
    "input": _BRIEF,
}

_ALL: tuple[Sequence, ...] = (
    Sequence(
        "A connect",
        (
            *opened(),
            *updated(
                {"type": "realtime", "instructions": "Be brief."},
                {
                    "instructions": "Be brief.",
                    "audio": {
                        "input": {
                            "turn_detection": {
                                "type": "server_vad",
                                "create_response": True,
                                "interrupt_response": True,
                            }
                        },
                        "output": {"voice": str},
                    },
                },
            ),
        ),
    ),
    Sequence(
        "B spoken turn",
        (
            *opened(),
            *updated(TRANSCRIBED, {"audio": dict}),
            Model(SAID),
            *_turn("U", None, told=True),
            *answered(SPOKEN, SAID, Id("U")),
        ),
    ),
    Sequence(
        "C text answer",
        (
            *opened(),
            *updated(TEXT_ONLY, {"output_modalities": ["text"]}),
            Model(SAID),
            *_turn("U", None),
            *answered(Said("R", "A", spoken=False), SAID, Id("U")),
        ),
    ),
    Sequence(
        "D typed message",
        (
            *opened(),
            *typed("U"),
            Model(SAID),
            RESPOND,
            *answered(SPOKEN, SAID, Id("U")),
        ),
    ),
    Sequence(
        "E manual turn",
        (
            *opened(),
            *updated(MANUAL, MANUAL),
            Speech(1.5),
            Client({"type": "input_audio_buffer.commit"}),
            *heard("U", None),
            Model(SAID),
            RESPOND,
            *answered(SPOKEN, SAID, Id("U")),
        ),
    ),
    Sequence(
        "F function call",
        (
            *opened(),
            *updated(TOOLS, {"tools": [{"type": "function", "name": WEATHER.name}]}),
            *typed("U", "How is the weather in Oslo?"),
            Model(calls=(WEATHER,)),
            RESPOND,
            created("R"),
            *called("R", "C", previous=Id("U")),
            done("R", [call_item("C", "completed", WEATHER.arguments)]),
            RATE_LIMITS,
            Client({"type": "conversation.item.create", "item": _OUTPUT_ITEM}),
            *added("O", _OUTPUT_ITEM, Id("C")),
            Model(SAID),
            RESPOND,
            *answered(Said("R2", "A"), SAID, Id("O")),
        ),
    ),
    Sequence(
        "F function calls after words",
        (
            *opened(),
            *updated(TOOLS, {"tools": [{"type": "function", "name": WEATHER.name}]}),
            *typed("U", "How is the weather in Oslo?"),
            Model("Let me see.", calls=(WEATHER, WEATHER)),
            RESPOND,
            created("R"),
            *begun(SPOKEN, Id("U")),
            beside(
                SPOKEN,
                "Let me see.",
                *called("R", "C", index=1, previous=Id("A")),
                *called("R", "C2", index=2, previous=Id("C")),
            ),
            done(
                "R",
                [
                    SPOKEN.message("completed", list),
                    call_item("C", "completed", WEATHER.arguments),
                    call_item("C2", "completed", WEATHER.arguments),
                ],
            ),
            RATE_LIMITS,
        ),
    ),
    Sequence(
        "G interruption while the answer is made",
        (
            *opened(),
            *_answer_begun(ends="never"),
            Speech(1.5, "Stop."),
            started("U2"),
            *cut_off(SPOKEN, "cancelled", reason="turn_detected"),
            *_truncated(100),
            Model(SAID),
            Silence(1.0),
            stopped("U2"),
            *heard("U2", Id("A")),
            *answered(Said("R2", "A2"), SAID, Id("U2")),
        ),
    ),
    Sequence(
        "H interruption while the answer is played",
        (
            *opened(),
            *typed("U"),
            Model(SAID),
            RESPOND,
            *answered(SPOKEN, SAID, Id("U")),
            Speech(1.5, "Stop."),
            started("U2"),
            *_truncated(200),
        ),
    ),
    Sequence(
        "I cancelled response",
        (
            *opened(),
            *_answer_begun(ends="never"),
            Client({"type": "response.cancel"}),
            *cut_off(SPOKEN, "cancelled", reason="client_cancelled"),
            Client({"type": "response.cancel", "event_id": "again"}),
            error("response_cancel_not_active", event_id="again"),
        ),
    ),
    Sequence(
        "J response outside of the conversation",
        (
            *opened(),
            Model(SAID),
            Client({"type": "response.create", "response": _OUTSIDE}),
            created("R", conversation_id=None, metadata={"purpose": "label"}),
            *begun(OUTSIDE),
            flowing(OUTSIDE),
            *closed(OUTSIDE, SAID),
            Server(
                "response.done",
                {
                    "response": {
                        "id": Id("R"),
                        "status": "completed",
                        "conversation_id": None,
                        "metadata": {"purpose": "label"},
                        "output": [OUTSIDE.whole(SAID)],
                    }
                },
            ),
            RATE_LIMITS,
        ),
    ),
    Sequence(
        "K idle timeout",
        (
            *opened(),
            *updated(IDLE, IDLE),
            *typed("U"),
            Model(SAID),
            RESPOND,
            *answered(SPOKEN, SAID, Id("U")),
            Model("Are you still there?"),
            Silence(12.0),
            Server(
                "input_audio_buffer.timeout_triggered",
                {"item_id": Id("U2"), "audio_start_ms": int, "audio_end_ms": int},
            ),
            *heard("U2", Id("A")),
            *answered(Said("R2", "A2"), "Are you still there?", Id("U2")),
        ),
    ),
    Sequence(
        "L response that fails",
        (
            *opened(),
            *_answer_begun(ends="failed"),
            *cut_off(SPOKEN, "failed", error={"type": "server_error", "code": str, "message": str}),
        ),
    ),
    Sequence(
        "L response at the limit of tokens",
        (
            *opened(),
            *_answer_begun(ends="length"),
            *cut_off(SPOKEN, "incomplete", reason="max_output_tokens"),
        ),
    ),
    Sequence(
        "M second response",
        (
            *opened(),
            *_answer_begun(ends="never"),
            Client({"type": "response.create", "event_id": "second"}),
            error("conversation_already_has_active_response", event_id="second"),
            Client({"type": "response.cancel", "response_id": Id("R")}),
            *cut_off(SPOKEN, "cancelled", reason="client_cancelled"),
        ),
    ),
    Sequence(
        "N transcription",
        (
            *opened("transcription"),
            *updated(
                {
                    "type": "transcription",
                    "audio": {"input": {"turn_detection": {"type": "server_vad"}}},
                },
                {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}},
            ),
            *_turn("U", None, told=True),
            *_turn("U2", Id("U"), told=True),
        ),
        "transcription",
    ),
    Sequence(
        "N transcription of manual turns",
        (
            *opened("transcription"),
            *updated(MANUAL | {"type": "transcription"}, MANUAL | {"type": "transcription"}),
            partial_transcript("U"),
            Speech(1.5),
            Client({"type": "input_audio_buffer.commit"}),
            *heard("U", None),
            transcript("U"),
            Client({"type": "response.create", "event_id": "never"}),
            Server("error", {"error": {"type": "invalid_request_error", "event_id": "never"}}),
        ),
        "transcription",
    ),
)

SEQUENCES = {sequence.name: sequence for sequence in _ALL}
