"""The user's side of a conversation: events in, commands out, by tables."""

import base64
from collections.abc import Sequence
from typing import Any

import pytest

from clients.commands import Command, Flush, Notice, Play, Send, Show
from clients.conversation import MOST_PENDING, TAIL, Conversation
from clients.turns import Growing, Said

TRANSCRIPTION = "conversation.item.input_audio_transcription"
SECOND = 24_000


def sound(seconds: float) -> bytes:
    return b"\x01\x02" * round(seconds * SECOND)


class Played:
    """A conversation whose commands are carried out by a loudspeaker that plays when it is told."""

    def __init__(self, guard: float | None = TAIL, *, connected: bool = True) -> None:
        self.conversation = Conversation(guard)
        self.now = 0.0
        self.position = self.given = 0
        self.sent: list[dict[str, Any]] = []
        self.said: list[Said] = []
        self.notices: list[str] = []
        if connected:
            self.do(self.conversation.connect())

    def do(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Send(event):
                    self.sent.append(dict(event))
                case Play(data):
                    self.given += len(data) // 2
                case Flush():
                    self.given = self.position
                    self.do(self.conversation.flushed(self.position, self.now))
                case Show(said):
                    self.said.append(said)
                case Notice(text):
                    self.notices.append(text)

    def take(self, kind: str, **fields: Any) -> None:
        self.do(self.conversation.take({"type": kind, "event_id": "e", **fields}))

    def listen(self, seconds: float) -> None:
        """Let time pass, and the loudspeaker play."""
        self.now += seconds
        self.position = min(self.given, self.position + round(seconds * SECOND))
        self.do(self.conversation.reach(self.position, self.now))

    def hears(self, data: bytes = b"\x05\x06") -> bytes:
        event = self.conversation.hear(data, self.now).event
        assert event["type"] == "input_audio_buffer.append"
        return base64.b64decode(event["audio"])

    def user(self, item: str, text: str) -> None:
        """A whole spoken turn."""
        self.take("input_audio_buffer.speech_started", item_id=item, audio_start_ms=0)
        self.take(f"{TRANSCRIPTION}.delta", item_id=item, delta=text)
        self.take("input_audio_buffer.committed", item_id=item)
        self.take(f"{TRANSCRIPTION}.completed", item_id=item, transcript=text)

    def answer(self, text: str, seconds: float = 0.0, item: str = "a") -> None:
        """An answer that is being made; without sound it is written."""
        place = {"response_id": f"resp_{item}", "item_id": item}
        self.take("response.created", response={"id": f"resp_{item}", "status": "in_progress"})
        if not seconds:
            self.take("response.output_text.delta", **place, delta=text)
            return
        self.take("response.output_audio_transcript.delta", **place, delta=text)
        audio = base64.b64encode(sound(seconds)).decode()
        self.take("response.output_audio.delta", **place, delta=audio)

    def over(self, status: str = "completed", item: str = "a", **details: Any) -> None:
        """The answer was made, or ended otherwise."""
        self.take("response.output_item.done", item={"id": item}, response_id=f"resp_{item}")
        response = {"id": f"resp_{item}", "status": status, "status_details": details or None}
        self.take("response.done", response=response)

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.sent]


def test_a_turn_is_shown_as_it_is_heard_on_both_sides() -> None:
    talk = Played()
    talk.take("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    talk.take(f"{TRANSCRIPTION}.delta", item_id="u", delta="Who is")
    talk.take("antiphon.transcription.tentative", item_id="u", text=" their")
    assert talk.conversation.growing == [Growing("user", "Who is", " their")]
    talk.take(f"{TRANSCRIPTION}.completed", item_id="u", transcript="Who is there?")
    talk.answer("It is me, the machine.", 2.0)
    talk.over()
    assert talk.conversation.growing == []
    talk.listen(1.0)
    assert talk.conversation.growing == [Growing("assistant", "It is me, ")]
    assert not talk.conversation.idle
    talk.listen(1.0)
    assert talk.said == [Said("user", "Who is there?"), Said("assistant", "It is me, the machine.")]
    assert talk.conversation.idle
    assert talk.sent == []


def test_words_come_at_the_usual_pace_while_more_sound_is_made_and_never_go_back() -> None:
    talk = Played()
    text = "One two three four five six seven eight nine ten eleven twelve"
    talk.answer(text, 4.0)
    talk.listen(1.0)
    (growing,) = talk.conversation.growing
    assert growing.settled == "One two three "
    place = {"response_id": "resp_a", "item_id": "a"}
    talk.take("response.output_audio.delta", **place, delta=base64.b64encode(sound(9)).decode())
    talk.over()
    assert talk.conversation.growing == [growing]


def test_speech_over_an_answer_silences_it_and_says_how_much_was_heard() -> None:
    talk = Played(guard=None)
    talk.answer("Let me tell you a very long story.", 3.0)
    talk.listen(1.5)
    talk.take("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    assert talk.position == talk.given
    assert talk.sent == [
        {
            "type": "conversation.item.truncate",
            "item_id": "a",
            "content_index": 0,
            "audio_end_ms": 1500,
        }
    ]
    assert talk.said == [Said("assistant", "Let me tell you a very", cut=True)]


def test_what_still_comes_of_an_interrupted_answer_is_not_played() -> None:
    talk = Played(guard=None)
    talk.answer("Let me tell you a story.", 1.0)
    talk.take("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    place = {"response_id": "resp_a", "item_id": "a"}
    talk.take("response.output_audio.delta", **place, delta=base64.b64encode(sound(1)).decode())
    talk.take("response.output_audio_transcript.delta", **place, delta=" More.")
    talk.over("cancelled", reason="turn_detected")
    assert talk.given == talk.position == 0
    assert talk.sent[-1]["audio_end_ms"] == 0
    assert talk.said == []
    talk.take(f"{TRANSCRIPTION}.completed", item_id="u", transcript="Stop.")
    assert talk.conversation.idle


@pytest.mark.parametrize("made", [False, True], ids=["while it is made", "while it is played"])
def test_a_key_cancels_what_is_made_and_truncates_what_is_played(made: bool) -> None:
    talk = Played()
    talk.answer("Let me tell you a very long story.", 3.0)
    if made:
        talk.over()
    talk.listen(2.0)
    talk.do(talk.conversation.interrupt())
    cancel = [] if made else ["response.cancel"]
    assert talk.kinds == [*cancel, "conversation.item.truncate"]
    assert talk.sent[-1]["audio_end_ms"] == 2000
    if not made:
        assert talk.sent[0]["response_id"] == "resp_a"


def test_a_key_that_interrupts_nothing_does_nothing() -> None:
    talk = Played()
    talk.answer("Done.", 0.5)
    talk.over()
    talk.listen(0.5)
    talk.do(talk.conversation.interrupt())
    assert talk.sent == []
    assert talk.said == [Said("assistant", "Done.")]


def test_the_place_in_the_sound_is_right_after_earlier_answers_and_interruptions() -> None:
    talk = Played(guard=None)
    talk.answer("First.", 1.0, "a")
    talk.over(item="a")
    talk.listen(1.0)
    talk.answer("Second, which is cut.", 2.0, "b")
    talk.listen(0.25)
    talk.do(talk.conversation.interrupt())
    talk.over("cancelled", "b")
    talk.answer("Third, which is cut too.", 2.0, "c")
    talk.listen(0.75)
    talk.do(talk.conversation.interrupt())
    heard = [event["audio_end_ms"] for event in talk.sent if "audio_end_ms" in event]
    assert heard == [250, 750]


def test_the_guard_sends_silence_while_the_answer_sounds_and_a_moment_longer() -> None:
    talk = Played(guard=0.3)
    speech, silent = b"\x05\x06", b"\x00\x00"
    assert talk.hears() == speech
    talk.answer("Hello.", 1.0)
    assert talk.hears() == silent
    talk.listen(0.9)
    assert talk.hears() == silent
    talk.listen(0.1)
    assert talk.hears() == silent
    talk.listen(0.29)
    assert talk.hears() == silent
    talk.listen(0.02)
    assert talk.hears() == speech


def test_the_guard_ends_a_moment_after_an_interruption() -> None:
    talk = Played(guard=0.3)
    talk.answer("Hello.", 10.0)
    talk.listen(1.0)
    talk.do(talk.conversation.interrupt())
    talk.listen(0.2)
    assert talk.hears() == b"\x00\x00"
    talk.listen(0.2)
    assert talk.hears() == b"\x05\x06"


def test_with_headphones_the_microphone_is_always_heard() -> None:
    talk = Played(guard=None)
    talk.answer("Hello.", 1.0)
    assert talk.hears() == b"\x05\x06"


def test_what_is_written_is_said_and_answered() -> None:
    talk = Played()
    talk.do(talk.conversation.type("Hello"))
    assert talk.sent == [
        {
            "type": "conversation.item.create",
            "item": {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Hello"}],
            },
        },
        {"type": "response.create", "event_id": "answer"},
    ]
    assert not talk.conversation.idle
    talk.answer("Hi there.")
    assert talk.conversation.growing == [Growing("assistant", "Hi there.")]
    talk.over()
    assert talk.said == [Said("user", "Hello"), Said("assistant", "Hi there.")]
    assert talk.conversation.idle


def test_what_is_written_over_an_answer_waits_for_its_end_to_be_answered() -> None:
    talk = Played()
    talk.answer("A very long story", 2.0)
    talk.listen(0.5)
    talk.do(talk.conversation.type("Stop"))
    assert talk.kinds == [
        "response.cancel",
        "conversation.item.truncate",
        "conversation.item.create",
    ]
    assert talk.said == [Said("assistant", "A very", cut=True), Said("user", "Stop")]
    talk.over("cancelled", reason="client_cancelled")
    assert talk.kinds[-1] == "response.create"
    assert not talk.conversation.idle


def test_an_answer_that_is_given_up_before_it_begins_is_never_heard() -> None:
    talk = Played()
    talk.do(talk.conversation.type("Hello"))
    talk.do(talk.conversation.interrupt())
    assert talk.sent[-1] == {"type": "response.cancel"}
    talk.answer("Hi there.", 1.0)
    assert talk.given == 0
    talk.over("cancelled", reason="client_cancelled")
    assert talk.conversation.idle


def test_a_server_that_is_still_answering_is_asked_again_when_it_is_done() -> None:
    talk = Played()
    talk.do(talk.conversation.type("Hello"))
    code = "conversation_already_has_active_response"
    talk.take("error", error={"code": code, "message": "Busy.", "event_id": "answer"})
    assert talk.notices == []
    talk.over(item="other")
    assert talk.kinds == ["conversation.item.create", "response.create", "response.create"]


def test_a_new_session_is_told_what_was_said_and_continues() -> None:
    talk = Played()
    talk.do(talk.conversation.type("Who are you?"))
    talk.answer("A machine, and a long story.", 2.0)
    talk.listen(1.0)
    talk.do(talk.conversation.interrupt())
    talk.over("cancelled")
    talk.do(talk.conversation.type("And where?"))
    talk.do(talk.conversation.lose())
    talk.sent.clear()
    talk.do(talk.conversation.connect())
    items = [event["item"] for event in talk.sent if "item" in event]
    assert [(item["role"], item["content"][0]) for item in items] == [
        ("user", {"type": "input_text", "text": "Who are you?"}),
        ("assistant", {"type": "output_text", "text": "A machine, and"}),
        ("user", {"type": "input_text", "text": "And where?"}),
    ]
    assert talk.kinds[-1] == "response.create"


def test_an_answer_that_is_heard_when_the_session_is_lost_is_heard_to_its_end() -> None:
    talk = Played(guard=None)
    talk.user("u", "Tell me.")
    talk.answer("A short story.", 1.0)
    talk.over()
    talk.listen(0.5)
    talk.do(talk.conversation.lose())
    talk.do(talk.conversation.connect())
    told = [event["item"]["content"][0]["text"] for event in talk.sent]
    assert told == ["Tell me.", "A short story."]
    talk.sent.clear()
    talk.listen(0.5)
    assert talk.said[-1] == Said("assistant", "A short story.")
    assert talk.conversation.idle


def test_what_the_next_server_does_not_know_is_not_truncated_there() -> None:
    talk = Played(guard=None)
    talk.answer("A short story.", 1.0)
    talk.over()
    talk.listen(0.5)
    talk.do(talk.conversation.lose())
    talk.do(talk.conversation.connect())
    talk.sent.clear()
    talk.take("input_audio_buffer.speech_started", item_id="v", audio_start_ms=0)
    assert talk.sent == []
    assert talk.said == [Said("assistant", "A short", cut=True)]


def test_an_answer_that_was_lost_half_made_is_silenced_and_asked_for_again() -> None:
    talk = Played(guard=None)
    talk.user("u", "Tell me.")
    talk.answer("A short story about a machine that", 2.0)
    talk.listen(0.5)
    talk.do(talk.conversation.lose())
    assert talk.given == talk.position
    assert talk.said[-1] == Said("assistant", "A short", cut=True)
    talk.do(talk.conversation.connect())
    assert talk.kinds == ["conversation.item.create", "response.create"]
    assert talk.sent[0]["item"]["role"] == "user"


def test_speech_that_a_lost_session_did_not_understand_is_shown_but_not_continued() -> None:
    talk = Played()
    talk.take("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    talk.take(f"{TRANSCRIPTION}.delta", item_id="u", delta="Half a")
    talk.do(talk.conversation.lose())
    assert talk.said == [Said("user", "Half a", cut=True)]
    assert not talk.conversation.idle, "nobody is there"
    talk.do(talk.conversation.connect())
    assert talk.sent == []
    assert talk.conversation.idle


def test_noise_leaves_no_line() -> None:
    talk = Played()
    talk.user("u", "")
    talk.take("input_audio_buffer.speech_started", item_id="v", audio_start_ms=0)
    talk.take("input_audio_buffer.speech_started", item_id="w", audio_start_ms=0)
    talk.user("w", "Hello.")
    assert talk.said == [Said("user", "Hello.")]
    assert talk.conversation.idle


@pytest.mark.parametrize(
    ("status", "details", "notice"),
    [
        ("failed", {"error": {"message": "The model\nis gone."}}, "The model is gone."),
        ("failed", {}, "The answer failed."),
        (
            "incomplete",
            {"reason": "max_output_tokens"},
            "The answer is not complete: max_output_tokens.",
        ),
    ],
)
def test_an_answer_that_goes_wrong_is_told(
    status: str, details: dict[str, Any], notice: str
) -> None:
    talk = Played()
    talk.do(talk.conversation.type("Hello"))
    talk.answer("Hm")
    talk.over(status, **details)
    assert talk.notices == [notice]
    assert talk.conversation.failure == (notice if status == "failed" else None)
    assert talk.said == [Said("user", "Hello"), Said("assistant", "Hm")]
    talk.do(talk.conversation.type("Again"))
    assert talk.conversation.failure is None


@pytest.mark.parametrize(
    ("error", "notices", "idle"),
    [
        ({"code": "response_cancel_not_active", "message": "No."}, [], False),
        ({"code": "odd", "message": "Odd."}, ["Odd."], False),
        ({"code": "odd", "message": "Odd.", "event_id": "answer"}, ["Odd."], True),
        ({}, ["The server reports an error."], False),
    ],
)
def test_errors_are_told_unless_they_are_harmless(
    error: dict[str, Any], notices: list[str], idle: bool
) -> None:
    talk = Played()
    talk.do(talk.conversation.type("Hello"))
    talk.take("error", error=error)
    assert talk.notices == notices
    assert talk.conversation.idle is idle


def test_speech_that_was_not_understood_is_told() -> None:
    talk = Played()
    talk.take("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    talk.take(f"{TRANSCRIPTION}.failed", item_id="u", error={"message": "The worker died."})
    assert talk.notices == ["The worker died."]
    assert talk.conversation.idle


def test_an_answer_that_could_not_be_spoken_is_written() -> None:
    talk = Played()
    talk.answer("Silent words.", 0.0)
    talk.take(
        "response.output_audio_transcript.delta", response_id="resp_a", item_id="a", delta=" More."
    )
    assert talk.conversation.growing == []
    talk.over()
    assert talk.said == [Said("assistant", "Silent words. More.")]


def test_sound_cut_within_a_sample_is_put_together_and_nonsense_is_told() -> None:
    talk = Played()
    place = {"response_id": "resp_a", "item_id": "a"}
    talk.take("response.created", response={"id": "resp_a"})
    played = []
    for piece in (b"\x01", b"\x02\x03", b"\x04"):
        delta = base64.b64encode(piece).decode()
        event = {"type": "response.output_audio.delta", **place, "delta": delta}
        played += [c.data for c in talk.conversation.take(event) if isinstance(c, Play)]
    assert played == [b"\x01\x02", b"\x03\x04"]
    talk.take("response.output_audio.delta", **place, delta="no base64!")
    assert talk.notices == ["The server sent sound that is none."]


def test_sound_without_end_is_bounded() -> None:
    talk = Played()
    quarter = sound(500)
    for _ in range(6):
        delta = base64.b64encode(quarter).decode()
        place = {"response_id": "resp_a", "item_id": "a"}
        talk.take("response.output_audio.delta", **place, delta=delta)
    assert MOST_PENDING < talk.given <= MOST_PENDING + 500 * SECOND


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": None},
        {"type": "error"},
        {"type": "response.done"},
        {"type": "response.done", "response": None},
        {"type": "response.output_item.done", "item": None},
        {"type": "response.output_audio.delta", "item_id": 3, "delta": 7},
        {"type": "conversation.item.added", "item": {"id": "x"}},
        {"type": f"{TRANSCRIPTION}.failed", "item_id": "x", "error": "gone"},
        {"type": "antiphon.new", "item_id": "x"},
    ],
)
def test_odd_events_break_nothing(event: dict[str, Any]) -> None:
    talk = Played()
    talk.do(talk.conversation.take(event))
    talk.user("u", "Hello.")
    assert Said("user", "Hello.") in talk.said


def test_writing_without_spaces_is_shown_letter_by_letter() -> None:
    talk = Played()
    talk.answer("你好我是一台机器人", 3.0)
    talk.over()
    talk.listen(1.0)
    assert talk.conversation.growing == [Growing("assistant", "你好我")]
