"""The transcription session's protocol: wire to frames, frames to wire, and what always holds."""

import base64
import json
import math
from collections.abc import Callable
from itertools import count, pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as runs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from openai.types.realtime import (
    RealtimeServerEvent,
    RealtimeTranscriptionSessionCreateRequest,
    SessionCreatedEvent,
    SessionUpdatedEvent,
)
from pydantic import TypeAdapter
from voice import pcm16, say

from engines.audio import Decoder
from engines.base import ModelNotFound, Unsupported
from pipelines.frames import (
    Audio,
    Clear,
    Commit,
    Configure,
    Document,
    End,
    Error,
    Frame,
    Metrics,
    Pause,
    SpeechStarted,
    SpeechStopped,
    Transcript,
    Word,
)
from realtime.actions import Action, Close, Push, Send
from realtime.events import BadEvent, ClientEvent, binary_event, parse
from realtime.protocol import MAX_ITEMS, ProtocolSettings, RealtimeProtocol
from realtime.settings import LOGPROBS, Settings

ADAPTER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
TRANSCRIPTION = "conversation.item.input_audio_transcription"
VENDOR = "antiphon.transcription.tentative"
NO_HINTS = {"model": "built-in", "language": None, "prompt": "", "word_times": False}


def check_model(model: str, language: str | None) -> None:
    if model not in ("built-in", "whisper-1"):
        raise ModelNotFound(model, ("built-in", "whisper-1"))
    if language not in (None, "en"):
        raise Unsupported(f"'{model}' knows only English.", "language")


def validate(event: dict[str, Any]) -> None:
    """The event as the SDK reads it, with nothing coerced and nothing unknown."""
    if event["type"] == VENDOR:
        return
    wire = json.loads(orjson.dumps(event))
    if event["type"].startswith("session."):
        format = wire["session"]["audio"]["input"]["format"]
        if "rate" in format:
            format["rate"] = 24_000  # other rates are our extension
    parsed = ADAPTER.validate_json(json.dumps(wire), strict=True)
    assert parsed.type == event["type"]
    assert parsed.model_extra == {}
    if isinstance(parsed, SessionCreatedEvent | SessionUpdatedEvent):
        assert isinstance(parsed.session, RealtimeTranscriptionSessionCreateRequest)


class Socket:
    """A protocol with everything it ever sent, pushed and closed.

    Every event is validated, and its id must be new.
    """

    def __init__(
        self,
        *,
        tentative: bool = False,
        settings: Settings | None = None,
        audio_of: Callable[[str], bytes | None] = lambda item: None,
    ) -> None:
        ids = count(1)
        self.protocol = RealtimeProtocol(
            ProtocolSettings(
                session_id="sess_1",
                expires_at=1_800_000_000,
                max_seconds=3600,
                settings=settings or Settings("built-in"),
                tentative=tentative,
            ),
            new_id=lambda prefix: f"{prefix}_{next(ids)}",
            check_model=check_model,
            decoder=Decoder,
            audio_of=audio_of,
        )
        self.events: list[dict[str, Any]] = []
        self.ids: set[str] = set()
        self.frames: list[Frame] = []
        self.closes: list[Close] = []
        self.take(self.protocol.open())

    def take(self, actions: list[Action]) -> list[dict[str, Any]]:
        """Do as the protocol says; the events that were sent."""
        sent = [action.event for action in actions if isinstance(action, Send)]
        for event in sent:
            validate(event)
            assert event["event_id"] not in self.ids
            self.ids.add(event["event_id"])
        self.events += sent
        self.frames += [action.frame for action in actions if isinstance(action, Push)]
        self.closes += [action for action in actions if isinstance(action, Close)]
        return sent

    def say(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        """What the server sends at once after this client event."""
        return self.take(self.protocol.receive(parse(json.dumps({"type": name, **fields}))))

    def append(self, audio: bytes) -> list[dict[str, Any]]:
        return self.say("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    def update(self, event_id: str | None = None, **source: Any) -> list[dict[str, Any]]:
        session = {"type": "transcription", "audio": {"input": source}}
        return self.say("session.update", session=session, event_id=event_id)

    def receive(self, event: ClientEvent | BadEvent) -> list[dict[str, Any]]:
        return self.take(self.protocol.receive(event))

    def frame(self, *frames: Frame) -> list[dict[str, Any]]:
        """What the server sends when the graph brings these frames."""
        return [event for f in frames for event in self.take(self.protocol.send_frame(f))]

    def expire(self) -> list[dict[str, Any]]:
        return self.take(self.protocol.expire())

    def fail(self, *words: str) -> list[dict[str, Any]]:
        return self.take(self.protocol.fail(*words))

    def pushed(self) -> list[Frame]:
        """Frames pushed since the last call."""
        frames, self.frames = self.frames, []
        return frames


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def the_error(events: list[dict[str, Any]]) -> dict[str, Any]:
    [event] = events
    assert event["type"] == "error"
    error: dict[str, Any] = event["error"]
    return error


def final(item: str, text: str, start: int = 0, end: int = 16_000) -> Transcript:
    return Transcript(item, text, "final", start=start, end=end)


def heard(item: str, text: str) -> Transcript:
    return Transcript(item, text, "committed")


def positions(frames: list[Frame]) -> list[tuple[int, int]]:
    return [(frame.at, frame.end) for frame in frames if isinstance(frame, Audio)]


class TestSession:
    def test_it_opens_with_the_session_and_configures_the_graph(self) -> None:
        socket = Socket()
        [created] = socket.events
        assert created["type"] == "session.created"
        assert created["session"]["id"] == "sess_1"
        assert created["session"]["expires_at"] == 1_800_000_000
        vad = {"mode": "server", "threshold": 0.5, "prefix_padding": 0.3, "silence": 0.5}
        assert socket.pushed() == [
            Configure("vad", vad),
            Configure("transcribe", NO_HINTS),
        ]

    def test_an_update_is_answered_with_the_whole_session(self) -> None:
        socket = Socket()
        socket.pushed()
        [updated] = socket.update(turn_detection={"silence_duration_ms": 800})
        assert updated["type"] == "session.updated"
        source = updated["session"]["audio"]["input"]
        assert source["turn_detection"]["silence_duration_ms"] == 800
        assert source["format"] == {"type": "audio/pcm", "rate": 24_000}
        [configure] = socket.pushed()
        assert isinstance(configure, Configure)
        assert (configure.node, configure.settings["silence"]) == ("vad", 0.8)

    def test_only_the_nodes_whose_settings_changed_are_configured(self) -> None:
        socket = Socket()
        socket.pushed()
        socket.update(noise_reduction={"type": "near_field"})
        assert socket.pushed() == []
        hints = {"prompt": "Names", "keywords": ["Antiphon", "Kowalska"]}
        socket.update(transcription={"model": "whisper-1", "language": "en", **hints})
        assert socket.pushed() == [
            Configure(
                "transcribe",
                {
                    **NO_HINTS,
                    "model": "whisper-1",
                    "language": "en",
                    "prompt": "Antiphon, Kowalska Names",
                },
            )
        ]
        socket.update(transcription=None)
        assert socket.pushed() == [Configure("transcribe", NO_HINTS)]

    def test_semantic_vad_is_accepted(self) -> None:
        socket = Socket()
        socket.pushed()
        [updated] = socket.update(turn_detection={"type": "semantic_vad", "eagerness": "high"})
        assert updated["type"] == "session.updated"
        [configure] = socket.pushed()
        assert isinstance(configure, Configure)
        assert configure.settings["silence"] == 0.4

    def test_ignored_keys_can_be_read_for_the_log(self) -> None:
        socket = Socket()
        assert types(socket.update(volume=11)) == ["session.updated"]
        assert list(socket.protocol.ignored) == ["session.audio.input.volume"]
        socket.update()
        assert list(socket.protocol.ignored) == []

    def test_it_expires_with_an_error_and_close_1001(self) -> None:
        socket = Socket()
        error = the_error(socket.expire())
        assert error["code"] == "session_expired"
        assert error["message"] == "Your session hit the maximum duration of 60 minutes."
        assert socket.closes == [Close(1001, error["message"])]

    def test_a_failure_beside_the_graph_is_a_server_error(self) -> None:
        error = the_error(Socket().fail("server_error", "The model cannot be loaded."))
        assert (error["type"], error["code"]) == ("server_error", "server_error")


class TestErrors:
    """Each code of the reference that a transcription session can give."""

    def test_invalid_json(self) -> None:
        socket = Socket()
        error = the_error(socket.receive(parse("{")))
        assert (error["code"], error["event_id"]) == ("invalid_json", None)
        assert error["type"] == "invalid_request_error"

    def test_invalid_event(self) -> None:
        assert the_error(Socket().receive(binary_event()))["code"] == "invalid_event"

    def test_invalid_value_for_an_unknown_event(self) -> None:
        error = the_error(Socket().say("response.start", event_id="mine"))
        assert (error["code"], error["param"]) == ("invalid_value", "type")
        assert error["event_id"] == "mine"

    def test_missing_required_parameter(self) -> None:
        error = the_error(Socket().say("session.update", session={}, event_id="mine"))
        assert error["code"] == "missing_required_parameter"
        assert error["message"] == "Missing required parameter: 'session.type'."
        assert (error["param"], error["event_id"]) == ("session.type", "mine")

    def test_invalid_value_for_a_realtime_update(self) -> None:
        error = the_error(Socket().say("session.update", session={"type": "realtime"}))
        assert (error["code"], error["param"]) == ("invalid_value", "session.type")

    def test_invalid_value_in_an_update_that_then_applies_nothing(self) -> None:
        socket = Socket()
        before = socket.protocol.settings
        socket.pushed()
        error = the_error(
            socket.update(
                "mine",
                format={"type": "audio/pcmu"},
                transcription={"model": "whisper-1"},
                turn_detection={"threshold": 2},
            )
        )
        assert (error["code"], error["event_id"]) == ("invalid_value", "mine")
        assert error["param"] == "session.audio.input.turn_detection.threshold"
        assert socket.protocol.settings == before
        assert socket.pushed() == []

    def test_model_not_found_lists_what_is_there_and_applies_nothing(self) -> None:
        socket = Socket()
        before = socket.protocol.settings
        error = the_error(
            socket.update("mine", transcription={"model": "nova"}, turn_detection=None)
        )
        assert (error["code"], error["event_id"]) == ("model_not_found", "mine")
        assert error["param"] == "session.audio.input.transcription.model"
        assert "built-in, whisper-1" in error["message"]
        assert socket.protocol.settings == before

    def test_a_language_the_model_does_not_know_is_an_invalid_value(self) -> None:
        error = the_error(Socket().update("mine", transcription={"language": "fr"}))
        assert (error["code"], error["event_id"]) == ("invalid_value", "mine")
        assert error["param"] == "session.audio.input.transcription.language"

    @pytest.mark.parametrize(
        ("name", "fields"),
        [
            ("response.create", {}),
            ("conversation.item.create", {"item": {}}),
            (
                "conversation.item.truncate",
                {"item_id": "item_1", "content_index": 0, "audio_end_ms": 0},
            ),
            ("output_audio_buffer.clear", {}),
        ],
    )
    def test_events_of_a_conversation_are_refused(self, name: str, fields: dict[str, Any]) -> None:
        error = the_error(Socket().say(name, event_id="mine", **fields))
        assert (error["code"], error["param"]) == ("invalid_value", "type")
        assert error["event_id"] == "mine"
        assert name in error["message"]
        assert "transcription session" in error["message"]

    def test_response_cancel_not_active(self) -> None:
        error = the_error(Socket().say("response.cancel", event_id="mine"))
        assert error == {
            "type": "invalid_request_error",
            "code": "response_cancel_not_active",
            "message": "Cancellation failed: no active response found",
            "param": None,
            "event_id": "mine",
        }

    def test_item_retrieve_invalid_item_id(self) -> None:
        socket = Socket()
        error = the_error(socket.say("conversation.item.retrieve", item_id="no", event_id="mine"))
        assert error["code"] == "item_retrieve_invalid_item_id"
        assert (error["param"], error["event_id"]) == ("item_id", "mine")
        assert error["message"] == ("Error retrieving item: the item with id 'no' does not exist.")

    def test_item_delete_invalid_item_id(self) -> None:
        error = the_error(Socket().say("conversation.item.delete", item_id="n" * 9_999))
        assert (error["code"], error["param"]) == ("item_delete_invalid_item_id", "item_id")
        assert len(error["message"]) < 200

    def test_input_audio_buffer_commit_empty_names_the_event_that_asked(self) -> None:
        socket = Socket()
        socket.pushed()
        for event_id in ("mine", None):
            socket.say("input_audio_buffer.commit", event_id=event_id)
            commit = socket.pushed()[-1]
            assert isinstance(commit, Commit)
            empty = Error("input_audio_buffer_commit_empty", "too small", request=commit.request)
            error = the_error(socket.frame(empty))
            assert error["code"] == "input_audio_buffer_commit_empty"
            assert error["event_id"] == event_id

    def test_an_error_of_the_graph_keeps_its_type(self) -> None:
        error = the_error(Socket().frame(Error("server_error", "Sorry.", kind="server_error")))
        assert (error["type"], error["event_id"]) == ("server_error", None)


class TestAudio:
    def test_appends_are_one_unbroken_clock_of_16_khz_samples(self) -> None:
        socket = Socket()
        speech = say("one two three")
        wire = pcm16(speech)
        for at in range(0, len(wire), 1_001):  # odd: samples are cut in two
            assert socket.append(wire[at : at + 1_001]) == []
        socket.say("input_audio_buffer.commit")
        spans = positions(socket.pushed())
        assert spans[0][0] == 0
        assert all(end == start for (_, end), (start, _) in pairwise(spans))
        assert abs(spans[-1][1] - len(speech)) <= 2

    def test_what_is_pushed_is_what_was_said(self) -> None:
        socket = Socket()
        speech = say("one two three")
        socket.append(pcm16(speech))
        socket.say("input_audio_buffer.commit")
        pushed = [frame.samples for frame in socket.pushed() if isinstance(frame, Audio)]
        samples = np.concatenate(pushed)[16 : len(speech)]  # the filter is late by a millisecond
        noise = samples - speech[: len(samples)]
        assert 10 * np.log10(np.sum(speech**2) / np.sum(noise**2)) > 25

    def test_a_commit_comes_after_the_audio_before_it(self) -> None:
        socket = Socket()
        socket.pushed()
        socket.append(bytes(9_600))
        socket.say("input_audio_buffer.commit", event_id="mine")
        frames = socket.pushed()
        assert frames[-1] == Commit(request="mine")
        assert [type(frame) for frame in frames[:-1]] == [Audio] * (len(frames) - 1)
        assert abs(positions(frames)[-1][1] - 3_200) <= 2

    def test_an_append_without_audio_pushes_nothing(self) -> None:
        socket = Socket()
        socket.pushed()
        socket.append(b"")
        assert socket.pushed() == []

    def test_positions_go_on_across_formats(self) -> None:
        socket = Socket()
        socket.append(bytes(48_000))
        socket.update(format={"type": "audio/pcmu"})
        assert abs(positions(socket.frames)[-1][1] - 16_000) <= 2
        socket.append(b"\xff" * 8_000)
        socket.update(format={"type": "audio/pcma"})
        socket.append(b"\xd5" * 8_000)
        socket.update(format={"type": "audio/pcm", "rate": 16_000})
        socket.append(bytes(32_000))
        socket.say("input_audio_buffer.commit")
        spans = positions(socket.frames)
        assert all(end == start for (_, end), (start, _) in pairwise(spans))
        assert abs(spans[-1][1] - 64_000) <= 8

    def test_a_format_change_pushes_the_old_audio_before_the_new_settings(self) -> None:
        socket = Socket()
        socket.pushed()
        socket.append(bytes(48_000))
        socket.update(format={"type": "audio/pcmu"}, turn_detection=None)
        kinds = [type(frame) for frame in socket.pushed()]
        assert kinds == [*[Audio] * (len(kinds) - 1), Configure]

    def test_clear_keeps_the_clock_going(self) -> None:
        socket = Socket()
        socket.append(bytes(48_000))
        before = positions(socket.pushed())[-1][1]
        socket.say("input_audio_buffer.clear", event_id="mine")
        assert socket.pushed() == [Clear(request="mine")]
        socket.append(bytes(48_000))
        assert positions(socket.pushed())[0][0] == before


class TestTurns:
    def test_a_spoken_turn_gives_the_events_of_the_reference_in_order(self) -> None:
        socket = Socket()
        sent = socket.frame(
            SpeechStarted("a", 1_600),
            heard("a", "hello"),
            SpeechStopped("a", 40_008),
            Commit("a", 1_600, 40_008),
            heard("a", " big"),
            final("a", "hello big world", 1_600, 40_008),
        )
        assert types(sent) == [
            "input_audio_buffer.speech_started",
            f"{TRANSCRIPTION}.delta",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            f"{TRANSCRIPTION}.delta",
            f"{TRANSCRIPTION}.delta",
            f"{TRANSCRIPTION}.completed",
        ]
        started, _, stopped, committed, added, done, *_, completed = sent
        assert started["audio_start_ms"] == 100
        assert stopped["audio_end_ms"] == 2_500
        assert all(e["item_id"] == "a" for e in (started, stopped, committed, completed))
        assert committed["previous_item_id"] is None
        assert added["item"] == done["item"]
        assert done["item"] == {
            "id": "a",
            "object": "realtime.item",
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        assert completed["transcript"] == "hello big world"
        assert completed["content_index"] == 0
        assert completed["usage"] == {"type": "duration", "seconds": 2.4}

    def test_each_item_names_the_one_before_it(self) -> None:
        socket = Socket()
        sent = socket.frame(Commit("a"), Commit("b"), Commit("c"))
        previous = [(e["type"], e["previous_item_id"]) for e in sent]
        names = [e["type"] for e in sent[:3]]
        assert previous == [(name, item) for item in (None, "a", "b") for name in names]

    def test_a_deleted_item_is_nobodys_predecessor(self) -> None:
        socket = Socket()
        socket.frame(Commit("a"), Commit("b"))
        socket.say("conversation.item.delete", item_id="b")
        assert socket.frame(Commit("c"))[0]["previous_item_id"] == "a"

    def test_completed_waits_until_the_client_knows_the_item(self) -> None:
        socket = Socket()
        assert socket.frame(final("a", "hello")) == []
        assert types(socket.frame(Commit("a")))[2:] == [
            "conversation.item.done",
            f"{TRANSCRIPTION}.delta",
            f"{TRANSCRIPTION}.completed",
        ]

    def test_failed_waits_until_the_client_knows_the_item(self) -> None:
        socket = Socket()
        assert socket.frame(Error("server_error", "Sorry.", item="a", kind="server_error")) == []
        failed = socket.frame(Commit("a"))[-1]
        assert failed["type"] == f"{TRANSCRIPTION}.failed"
        assert (failed["item_id"], failed["content_index"]) == ("a", 0)
        assert failed["error"] == {
            "type": "server_error",
            "code": "server_error",
            "message": "Sorry.",
        }

    def test_an_item_ends_once(self) -> None:
        socket = Socket()
        socket.frame(Commit("a"), final("a", "hello"))
        late = Error("server_error", "Sorry.", item="a")
        assert socket.frame(final("a", "other"), late, heard("a", " more"), Commit("a")) == []

    def test_silence_is_completed_with_an_empty_transcript(self) -> None:
        sent = Socket().frame(Commit("a", 0, 8_000), Transcript("a", "", "final"))
        assert types(sent)[3:] == [f"{TRANSCRIPTION}.completed"]
        assert sent[-1]["transcript"] == ""
        assert sent[-1]["usage"]["seconds"] == 0.5

    def test_deltas_concatenate_to_the_transcript(self) -> None:
        socket = Socket()
        sent = socket.frame(
            heard("a", " hello"), heard("a", " there"), Commit("a"), final("a", "hello there, you")
        )
        deltas = [event["delta"] for event in sent if event["type"].endswith(".delta")]
        assert deltas == ["hello", " there", ", you"]
        assert socket.protocol.contradictions == 0

    def test_a_final_that_contradicts_the_deltas_wins_and_is_counted(self) -> None:
        socket = Socket()
        sent = socket.frame(heard("a", "hollow"), Commit("a"), final("a", "hello"))
        assert types(sent).count(f"{TRANSCRIPTION}.delta") == 1
        assert sent[-1]["transcript"] == "hello"
        assert socket.protocol.contradictions == 1

    def test_tentative_text_goes_only_to_sockets_that_asked(self) -> None:
        frame = Transcript("a", "maybe this", "tentative")
        assert Socket().frame(frame) == []
        [event] = Socket(tentative=True).frame(frame)
        assert event.pop("event_id")
        assert event == {
            "type": VENDOR,
            "item_id": "a",
            "content_index": 0,
            "text": "maybe this",
        }

    def test_a_clear_is_answered_only_to_the_client_that_asked(self) -> None:
        socket = Socket()
        socket.pushed()
        for event_id in ("mine", None):
            socket.say("input_audio_buffer.clear", event_id=event_id)
            [clear] = socket.pushed()
            assert types(socket.frame(clear)) == ["input_audio_buffer.cleared"]
        assert socket.frame(Clear(item="a")) == []

    def test_nothing_more_is_heard_of_a_cleared_utterance(self) -> None:
        socket = Socket(tentative=True)
        socket.frame(SpeechStarted("a", 0), heard("a", "hello"), Clear("a"))
        late = Transcript("a", "maybe", "tentative")
        assert socket.frame(heard("a", " you"), late, final("a", "hello you")) == []
        assert socket.frame(Commit("b"))[0]["previous_item_id"] is None

    def test_other_frames_mean_nothing_to_a_client(self) -> None:
        frames = (Metrics({"x": 1.0}), Document("minutes", {}), End(), Configure("vad"))
        pauses = (Pause("a", 16_000), Pause("a", 17_000, resumed=True))
        assert Socket().frame(*frames, *pauses, Commit()) == []


def with_words(item: str, *words: tuple[str, float | None]) -> Transcript:
    text = " ".join(word for word, _ in words)
    heard = tuple(Word(word, n, n + 1, p) for n, (word, p) in enumerate(words))
    return Transcript(item, text, "final", words=heard)


class TestLogprobs:
    def asked(self, include: list[str] | None) -> Socket:
        socket = Socket()
        socket.pushed()
        socket.say("session.update", session={"type": "transcription", "include": include})
        return socket

    def completed(self, socket: Socket, frame: Transcript) -> dict[str, Any]:
        event = socket.frame(Commit(frame.item), frame)[-1]
        assert event["type"] == f"{TRANSCRIPTION}.completed"
        return event

    def test_asking_for_them_asks_the_engine_for_exact_words(self) -> None:
        socket = self.asked([LOGPROBS])
        assert socket.pushed() == [Configure("transcribe", {**NO_HINTS, "word_times": True})]
        assert socket.events[-1]["session"]["include"] == [LOGPROBS]
        socket.say("session.update", session={"type": "transcription", "include": None})
        assert socket.pushed() == [Configure("transcribe", NO_HINTS)]

    def test_they_are_of_the_words_with_their_spaces_and_add_up_to_the_transcript(self) -> None:
        socket = self.asked([LOGPROBS])
        event = self.completed(socket, with_words("a", ("Grüß", 1.0), ("Gott,", 0.5), ("Nina", 0)))
        entries = event["logprobs"]
        assert [entry["token"] for entry in entries] == ["Grüß", " Gott,", " Nina"]
        assert "".join(entry["token"] for entry in entries) == event["transcript"]
        assert bytes(entries[0]["bytes"]).decode() == "Grüß"
        assert [e["logprob"] for e in entries[:2]] == [0.0, pytest.approx(math.log(0.5))]
        assert -math.inf < entries[2]["logprob"] < -100
        assert json.loads(orjson.dumps(event)) == event

    def test_nobody_gets_them_who_did_not_ask(self) -> None:
        event = self.completed(self.asked(None), with_words("a", ("hello", 0.5)))
        assert "logprobs" not in event

    def test_words_without_probabilities_have_none(self) -> None:
        socket = self.asked([LOGPROBS])
        frame = with_words("a", ("hello", 0.5), ("there", None))
        assert "logprobs" not in self.completed(socket, frame)
        assert self.completed(socket, final("b", ""))["logprobs"] == []


class TestItems:
    def test_an_item_is_retrieved_with_its_transcript_and_audio(self) -> None:
        socket = Socket(audio_of={"a": b"\1\2\3\4"}.get)
        socket.frame(Commit("a"), final("a", "hello"))
        [event] = socket.say("conversation.item.retrieve", item_id="a")
        assert event["type"] == "conversation.item.retrieved"
        [part] = event["item"]["content"]
        assert part == {"type": "input_audio", "transcript": "hello", "audio": "AQIDBA=="}

    @pytest.mark.parametrize("audio", [None, bytes(6_000_001)])
    def test_audio_that_was_not_kept_or_is_too_long_is_left_out(self, audio: bytes | None) -> None:
        socket = Socket(audio_of=lambda item: audio)
        socket.frame(Commit("a"))
        [event] = socket.say("conversation.item.retrieve", item_id="a")
        assert event["item"]["content"] == [{"type": "input_audio", "transcript": None}]

    def test_an_item_is_deleted_once_and_then_silent(self) -> None:
        socket = Socket()
        socket.frame(Commit("a"))
        [event] = socket.say("conversation.item.delete", item_id="a")
        assert (event["type"], event["item_id"]) == ("conversation.item.deleted", "a")
        assert the_error(socket.say("conversation.item.delete", item_id="a"))
        assert the_error(socket.say("conversation.item.retrieve", item_id="a"))
        assert socket.frame(heard("a", "hello"), final("a", "hello")) == []

    def test_only_so_many_items_are_kept(self) -> None:
        socket = Socket()
        names = [f"item_{n}" for n in range(MAX_ITEMS + 1)]
        actions = [a for name in names for a in socket.protocol.send_frame(Commit(name))]
        assert len(actions) == 3 * len(names)
        assert the_error(socket.say("conversation.item.retrieve", item_id="item_0"))
        assert types(socket.say("conversation.item.retrieve", item_id="item_1")) == [
            "conversation.item.retrieved"
        ]
        assert socket.frame(Commit("next"))[0]["previous_item_id"] == names[-1]


ITEMS = st.sampled_from([f"item_{n}" for n in range(4)])
TEXTS = st.sampled_from(["", "hello", " hello", " there", "hello there", "hello there you"])
SOURCES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"format": {"type": "audio/pcmu"}},
        {"format": {"type": "audio/pcma"}},
        {"format": {"type": "audio/pcm", "rate": 16_000}},
        {"format": None},
        {"format": {"type": "mp3"}, "turn_detection": None},
        {"turn_detection": None},
        {"turn_detection": {"type": "server_vad", "threshold": 0.7}},
        {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}},
        {"turn_detection": {"threshold": 3}, "transcription": None},
        {"transcription": {"model": "whisper-1"}},
        {"transcription": {"model": "nova"}, "turn_detection": None},
        {"transcription": {"language": "fr"}, "format": {"type": "audio/pcmu"}},
        {"transcription": None, "noise_reduction": {"type": "far_field"}},
    ]
)
RUBBISH = st.sampled_from(
    [
        "",
        "[]",
        "null",
        "{}",
        '{"type":1}',
        '{"type":"x","event_id":"mine"}',
        '{"type":"session.update"}',
        '{"type":"session.update","session":{"type":"realtime"}}',
        '{"type":"input_audio_buffer.append","audio":"*"}',
        '{"type":"response.create","event_id":"mine"}',
        '{"type":"conversation.item.truncate"}',
    ]
)


class AnySession(RuleBasedStateMachine):
    """Any client events and any frames, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.socket = Socket(tentative=True)
        self.chain: list[str] = []
        self.over: set[str] = set()
        self.deleted: set[str] = set()

    @rule(text=RUBBISH)
    def rubbish(self, text: str) -> None:
        before = self.socket.protocol.settings
        error = the_error(self.socket.receive(parse(text)))
        assert error["event_id"] == ("mine" if "mine" in text else None)
        assert self.socket.protocol.settings == before

    @rule(audio=st.binary(max_size=2_000))
    def append(self, audio: bytes) -> None:
        assert self.socket.append(audio) == []

    @rule(name=st.sampled_from(["commit", "clear"]), event_id=st.none() | st.just("mine"))
    def ask(self, name: str, event_id: str | None) -> None:
        assert self.socket.say(f"input_audio_buffer.{name}", event_id=event_id) == []
        request = self.socket.frames[-1]
        assert isinstance(request, Commit | Clear)
        assert request.request == (event_id or "")

    @rule(source=SOURCES)
    def update(self, source: dict[str, Any]) -> None:
        before = self.socket.protocol.settings
        pushed = len(self.socket.frames)
        [event] = self.socket.update(**source)
        if event["type"] == "error":
            assert self.socket.protocol.settings == before
            assert len(self.socket.frames) == pushed

    @rule(item=ITEMS)
    def retrieve(self, item: str) -> None:
        [event] = self.socket.say("conversation.item.retrieve", item_id=item)
        assert (event["type"] == "error") == (item not in self.chain)

    @rule(item=ITEMS)
    def delete(self, item: str) -> None:
        [event] = self.socket.say("conversation.item.delete", item_id=item)
        assert (event["type"] == "error") == (item not in self.chain)
        if item in self.chain:
            self.chain.remove(item)
            self.deleted.add(item)

    @rule(item=ITEMS, at=st.integers(0, 10**9))
    def speech(self, item: str, at: int) -> None:
        started, stopped = self.socket.frame(SpeechStarted(item, at), SpeechStopped(item, at))
        assert started["audio_start_ms"] == stopped["audio_end_ms"] == at // 16

    @rule(item=ITEMS)
    def commit(self, item: str) -> None:
        sent = self.socket.frame(Commit(item, 0, 16_000))
        if item in self.chain or item in self.deleted:
            assert sent == []
            return
        previous = self.chain[-1] if self.chain else None
        assert [event["previous_item_id"] for event in sent[:3]] == [previous] * 3
        self.chain.append(item)

    @rule(item=ITEMS, text=TEXTS, state=st.sampled_from(["committed", "tentative"]))
    def text(self, item: str, text: str, state: Any) -> None:
        sent = self.socket.frame(Transcript(item, text, state))
        if item in self.over or item in self.deleted:
            assert sent == []

    @rule(item=ITEMS, text=TEXTS, fails=st.booleans())
    def end(self, item: str, text: str, fails: bool) -> None:
        error = Error("server_error", "Sorry.", item=item, kind="server_error")
        sent = self.socket.frame(error if fails else final(item, text))
        if item in self.deleted:
            assert sent == []
        else:
            self.over.add(item)

    @rule(item=ITEMS, before=TEXTS, after=TEXTS, whole=TEXTS)
    def utterance(self, item: str, before: str, after: str, whole: str) -> None:
        self.text(item, before, "committed")
        self.commit(item)
        self.text(item, after, "committed")
        self.end(item, whole, False)

    @invariant()
    def an_item_ends_once_and_only_after_it_is_done(self) -> None:
        done: set[str] = set()
        ended: list[str] = []
        for event in self.socket.events:
            if event["type"] == "conversation.item.done":
                done.add(event["item"]["id"])
            elif event["type"] in (f"{TRANSCRIPTION}.completed", f"{TRANSCRIPTION}.failed"):
                assert event["item_id"] in done
                ended.append(event["item_id"])
        assert len(ended) == len(set(ended))
        assert set(ended) >= self.over & set(self.chain)

    @invariant()
    def deltas_concatenate_to_the_transcript_or_are_contradicted(self) -> None:
        text: dict[str, str] = {}
        contradicted = 0
        for event in self.socket.events:
            if event["type"] == f"{TRANSCRIPTION}.delta":
                assert event["delta"]
                text[event["item_id"]] = text.get(event["item_id"], "") + event["delta"]
            elif event["type"] == f"{TRANSCRIPTION}.completed":
                contradicted += text.get(event["item_id"], "") != event["transcript"]
        assert contradicted == self.socket.protocol.contradictions

    @invariant()
    def audio_is_one_unbroken_clock(self) -> None:
        spans = positions(self.socket.frames)
        assert [start for start, _ in spans] == [0, *[end for _, end in spans]][: len(spans)]


TestAnySession = AnySession.TestCase
TestAnySession.settings = runs(
    deadline=None,
    max_examples=200,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow],
)
