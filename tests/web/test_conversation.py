"""The conversation tab against a scripted server: what it sends, plays, shows and says."""

import base64
import json
import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect
from scripted_page import (
    Event,
    Script,
    allow_microphone,
    model_entry,
    open_microphones,
    tone,
    withhold_microphone,
)

pytestmark = pytest.mark.one_loop

APPEND = "input_audio_buffer.append"
TRUNCATE = "conversation.item.truncate"
CREATE = "conversation.item.create"
TRANSCRIPTION = "conversation.item.input_audio_transcription"


@pytest.fixture
def tab(page: Page, script: Script) -> Page:
    """The conversation tab, with an assistant and two voices to choose."""
    script.models.append(model_entry("qwen3-4b", None, "chat"))
    script.voices = [
        {"id": "amy", "name": "amy", "model": "piper", "language": "en-GB"},
        {"id": "thorsten", "name": "thorsten", "model": "piper", "language": "de"},
    ]
    page.get_by_role("tab", name="Conversation").click()
    expect(voices(page)).to_have_count(3)
    return page


def voices(page: Page) -> Locator:
    return page.locator("[name=voice] option")


def talk(page: Page, script: Script) -> None:
    page.get_by_role("button", name="Talk").click()
    expect(page.locator("#activity")).to_have_text("Listening.")
    script.greet()


def until(page: Page, holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        page.wait_for_timeout(50)
    pytest.fail("it did not come to hold within half a minute")


def turn(page: Page, role: str) -> Locator:
    return page.locator(f".turn[data-role={role}]")


def write(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def settings(page: Page) -> None:
    page.locator("summary").click()


def last_session(script: Script) -> Event:
    session: Event = script.of_type("session.update")[-1]["session"]
    return session


def started(item: str) -> Event:
    return {"type": "input_audio_buffer.speech_started", "item_id": item, "audio_start_ms": 0}


def test_what_is_said_is_sent_and_the_answer_is_written_and_heard(
    tab: Page, script: Script, complaints: list[str]
) -> None:
    talk(tab, script)
    until(tab, lambda: len(script.of_type(APPEND)) >= 5)
    session = script.received[0]["session"]
    pcm = {"type": "audio/pcm", "rate": 24_000}
    assert session["type"] == "realtime"
    assert session["audio"]["input"]["format"] == pcm
    assert session["audio"]["input"]["transcription"] == {"model": "pocketsphinx", "language": "en"}
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert session["audio"]["output"]["format"] == pcm
    assert "model=default" in script.sockets[0].url
    script.send(
        started("u"), {"type": f"{TRANSCRIPTION}.delta", "item_id": "u", "delta": "How are"}
    )
    expect(turn(tab, "user").locator(".settled")).to_have_text("How are")
    expect(tab.locator("#activity")).to_have_text("Hearing you…")
    script.utter("u", "How are you?")
    expect(turn(tab, "user").locator(".settled")).to_have_text("How are you?")
    expect(tab.locator("#activity")).to_have_text("Thinking…")
    script.begin("r", "a")
    script.speak("r", "a", "Quite", tone(0.6))
    expect(tab.locator("#activity")).to_have_text("Answering.")
    script.speak("r", "a", " well.", tone(0.4))
    script.finish("r", "a", "Quite well.")
    expect(turn(tab, "assistant").locator(".settled")).to_have_text("Quite well.")
    expect(tab.locator("#announcer")).to_contain_text("Answer: Quite well.")
    expect(tab.locator("#activity")).to_have_text("Listening.")
    assert script.of_type(TRUNCATE) == []
    assert complaints == []


def test_the_latency_of_a_turn_is_under_its_answer(tab: Page, script: Script) -> None:
    talk(tab, script)
    script.greet(silence_ms=320)
    script.send(
        started("u"),
        {"type": "input_audio_buffer.speech_stopped", "item_id": "u", "audio_end_ms": 900},
    )
    tab.wait_for_timeout(200)
    script.send({"type": f"{TRANSCRIPTION}.completed", "item_id": "u", "transcript": "Hello."})
    tab.wait_for_timeout(200)
    script.begin("r", "a")
    script.speak("r", "a", "Hello.", b"")
    tab.wait_for_timeout(200)
    script.speak("r", "a", "", tone(0.2))
    line = turn(tab, "assistant").locator(".latency")
    expect(line).to_contain_text("(+ 320 ms VAD silence)")
    transcript, token, audio = map(int, re.findall(r"(\d+) ms", line.inner_text())[:3])
    assert 150 <= transcript < token < audio < 30_000
    assert audio - transcript >= 300
    assert "silence" in (line.get_attribute("title") or "")


def test_speaking_over_an_answer_silences_it_and_says_how_much_was_heard(
    tab: Page, script: Script
) -> None:
    talk(tab, script)
    script.begin("r", "a")
    script.speak("r", "a", "A very long answer indeed.", tone(8.0))
    expect(tab.locator("#activity")).to_have_text("Answering.")
    began = time.monotonic()
    tab.wait_for_timeout(1_200)
    script.send(started("u"))
    until(tab, lambda: bool(script.of_type(TRUNCATE)))
    passed = 1_000 * (time.monotonic() - began)
    [cut] = script.of_type(TRUNCATE)
    assert (cut["item_id"], cut["content_index"]) == ("a", 0)
    assert type(cut["audio_end_ms"]) is int
    assert 600 <= cut["audio_end_ms"] <= passed + 300
    expect(tab.locator("#activity")).to_have_text("Hearing you…")
    script.finish("r", "a", "A very long", "cancelled", reason="turn_detected")
    script.send({"type": "conversation.item.truncated", "item_id": "a", "content_index": 0})
    until(tab, lambda: bool(script.of_type("conversation.item.retrieve")))
    content = [{"type": "output_audio", "transcript": "A very"}]
    script.send({"type": "conversation.item.retrieved", "item": {"id": "a", "content": content}})
    expect(turn(tab, "assistant").locator(".settled")).to_have_text("A very")
    expect(turn(tab, "assistant").locator(".mark")).to_have_text("interrupted")
    script.utter("u", "")
    expect(turn(tab, "user")).to_have_count(0)
    expect(tab.locator("#activity")).to_have_text("Listening.")


def test_a_message_can_be_written_without_a_microphone(tab: Page, script: Script) -> None:
    write(tab, "What time is it?")
    until(tab, lambda: bool(script.of_type("response.create")))
    [message] = script.of_type(CREATE)
    assert message["item"]["role"] == "user"
    assert message["item"]["content"] == [{"type": "input_text", "text": "What time is it?"}]
    assert script.received.index(message) < script.received.index(
        script.of_type("response.create")[0]
    )
    script.begin("r", "a")
    script.speak("r", "a", "Noon.", tone(0.1))
    script.finish("r", "a", "Noon.")
    expect(tab.locator(".turn .settled")).to_have_text(["What time is it?", "Noon."])
    expect(turn(tab, "assistant").locator(".latency")).to_contain_text("first audio")
    expect(turn(tab, "assistant").locator(".latency")).not_to_contain_text("VAD")
    assert script.of_type(APPEND) == []
    assert tab.get_by_label("Message").input_value() == ""


def test_a_written_message_stops_the_answer_before_it(tab: Page, script: Script) -> None:
    write(tab, "Tell me a story.")
    until(tab, lambda: bool(script.of_type("response.create")))
    script.begin("r", "a")
    script.speak("r", "a", "Once upon a time", tone(8.0))
    expect(tab.locator("#activity")).to_have_text("Answering.")
    write(tab, "Stop.")
    until(tab, lambda: len(script.of_type("response.create")) == 2)
    kinds = [event["type"] for event in script.received]
    cancel, cut = kinds.index("response.cancel"), kinds.index(TRUNCATE)
    assert cancel < cut < len(kinds) - 1 - kinds[::-1].index(CREATE)
    assert script.of_type("response.cancel")[0]["response_id"] == "r"
    script.speak("r", "a", " there was a king", tone(2.0))
    script.finish("r", "a", "Once upon", "cancelled", reason="client_cancelled")
    script.begin("r2", "b")
    script.speak("r2", "b", "Good.", b"")
    expect(turn(tab, "assistant").locator(".settled")).to_have_text(["Once upon a time", "Good."])
    expect(tab.locator("#activity")).to_have_text("Thinking…")


def test_a_tool_runs_here_and_the_assistant_is_told_what_it_said(tab: Page, script: Script) -> None:
    write(tab, "Write that down.")
    until(tab, lambda: bool(script.of_type("response.create")))
    names = [tool["name"] for tool in last_session(script)["tools"]]
    assert names == ["current_time", "show_note"]
    note = json.dumps({"title": "List", "text": "<b>milk</b>"})
    script.call("r", "c", "show_note", note)
    until(tab, lambda: len(script.of_type("response.create")) == 2)
    [output] = [e["item"] for e in script.of_type(CREATE) if e["item"]["type"] != "message"]
    assert output == {
        "type": "function_call_output",
        "call_id": "call_c",
        "output": '{"shown":true}',
    }
    expect(turn(tab, "note")).to_contain_text("<b>milk</b>")
    expect(turn(tab, "note").locator(".title")).to_have_text("List")
    expect(turn(tab, "tool").locator(".settled")).to_have_text(
        f'show_note({note}) → {{"shown":true}}'
    )
    script.begin("r2", "a")
    script.speak("r2", "a", "Done.", tone(0.1))
    # The turn's latency is that of the answer it led to in the end.
    expect(turn(tab, "assistant").locator(".latency")).to_contain_text("first audio")


def test_a_tool_that_cannot_be_run_says_so_to_the_assistant(tab: Page, script: Script) -> None:
    write(tab, "Go on.")
    until(tab, lambda: bool(script.of_type("response.create")))
    script.call("r", "c", "show_note", "{not json")
    until(tab, lambda: len(script.of_type("response.create")) == 2)
    script.call("r2", "d", "launch", "{}")
    until(tab, lambda: len(script.of_type("response.create")) == 3)
    outputs = [e["item"]["output"] for e in script.of_type(CREATE) if "output" in e["item"]]
    assert "error" in json.loads(outputs[0])
    assert json.loads(outputs[1]) == {"error": "There is no tool 'launch'."}


def test_a_server_without_a_language_model_names_the_command_and_no_microphone_starts(
    tab: Page, script: Script
) -> None:
    message = "There is no language model here; run: antiphon pull qwen3-1.7b"
    script.refusal = ("model_not_found", message, 4004)
    tab.evaluate(
        """() => {
            navigator.mediaDevices.getUserMedia = () => {
                window.asked = true;
                return Promise.reject(new DOMException("no", "NotFoundError"));
            };
        }"""
    )
    tab.get_by_role("button", name="Talk").click()
    notice = tab.get_by_role("alert")
    expect(notice).to_contain_text("There is no language model here")
    expect(notice.locator("code")).to_have_text("antiphon pull qwen3-1.7b")
    notice.get_by_role("button", name="Copy").click()
    assert tab.evaluate("navigator.clipboard.readText()") == "antiphon pull qwen3-1.7b"
    expect(tab.get_by_role("button", name="Talk")).to_be_visible()
    assert not tab.evaluate("Boolean(window.asked)")
    script.refusal = None
    write(tab, "And now?")
    until(tab, lambda: bool(script.of_type("response.create")))
    expect(notice).to_be_hidden()


def test_settings_are_kept_and_sent(tab: Page, script: Script) -> None:
    settings(tab)
    tab.get_by_label("Assistant").select_option("named")
    tab.get_by_label("Its name").fill("far.big-1")
    tab.get_by_label("Voice").select_option("thorsten")
    tab.get_by_label("Speed").fill("1.2")
    tab.get_by_label("Turns end").select_option("semantic_vad")
    tab.get_by_label("Eagerness").select_option("high")
    tab.get_by_label("Interrupted after").fill("450")
    tab.get_by_label("Instructions").fill("Speak like a pirate.")
    tab.get_by_label("show_note").uncheck()
    tab.reload()
    expect(voices(tab)).to_have_count(3)
    expect(tab.locator("#summary")).to_have_text("far.big-1 · thorsten")
    talk(tab, script)
    session = last_session(script)
    assert "model=far.big-1" in script.sockets[-1].url
    assert session["instructions"] == "Speak like a pirate."
    assert session["audio"]["output"]["voice"] == "thorsten"
    assert session["audio"]["output"]["speed"] == 1.2
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "high",
        "create_response": True,
        "interrupt_response": True,
    }
    assert session["antiphon"]["confirm_speaking_ms"] == 450
    assert [tool["name"] for tool in session["tools"]] == ["current_time"]
    settings(tab)
    tab.get_by_label("Turns end").select_option("server_vad")
    tab.get_by_label("Silence, ms").fill("900")
    tab.get_by_label("Silence, ms").blur()

    def silence() -> object:
        return last_session(script)["audio"]["input"]["turn_detection"].get("silence_duration_ms")

    until(tab, lambda: silence() == 900)
    assert len(script.sockets) == 1


def test_a_value_out_of_bounds_is_not_taken(tab: Page, script: Script) -> None:
    settings(tab)
    tab.get_by_label("Speed").fill("9")
    tab.get_by_label("Speed").blur()
    tab.get_by_label("Turns end").select_option("manual")
    write(tab, "Hello.")
    until(tab, lambda: bool(script.of_type("session.update")))
    assert last_session(script)["audio"]["output"]["speed"] == 1
    assert last_session(script)["audio"]["input"]["turn_detection"] is None


def test_a_button_or_the_space_bar_is_held_to_speak(tab: Page, script: Script) -> None:
    settings(tab)
    tab.get_by_label("Turns end").select_option("manual")
    settings(tab)
    tab.get_by_role("button", name="Talk").click()
    hold = tab.get_by_role("button", name="Hold to speak")
    expect(hold).to_be_focused()
    tab.wait_for_timeout(400)
    assert script.of_type(APPEND) == []
    hold.hover()
    tab.mouse.down()
    expect(hold).to_have_attribute("aria-pressed", "true")
    tab.wait_for_timeout(600)
    tab.mouse.up()
    until(tab, lambda: script.received[-1]["type"] == "response.create")
    assert script.received[-2]["type"] == "input_audio_buffer.commit"
    sent = len(script.audio) / 48_000
    assert 0.4 <= sent <= 10
    script.send({"type": "input_audio_buffer.committed", "item_id": "u"})
    script.send({"type": f"{TRANSCRIPTION}.completed", "item_id": "u", "transcript": "Hello."})
    script.begin("r", "a")
    script.speak("r", "a", "A long answer", tone(8.0))
    expect(turn(tab, "assistant").locator(".latency")).to_contain_text("transcript")
    tab.keyboard.down("Space")
    until(tab, lambda: bool(script.of_type(TRUNCATE)))
    assert script.of_type("response.cancel") != []
    tab.keyboard.up("Space")
    until(tab, lambda: script.received[-1]["type"] == "input_audio_buffer.clear")
    assert len(script.of_type("response.create")) == 1


def test_a_dropped_connection_comes_back_knowing_what_was_said(tab: Page, script: Script) -> None:
    talk(tab, script)
    script.utter("u", "My name is Ada.")
    script.begin("r", "a")
    script.speak("r", "a", "Hello Ada.", b"")
    script.finish("r", "a", "Hello Ada.")
    script.begin("r2", "b")
    script.speak("r2", "b", "Half an", b"")
    expect(turn(tab, "assistant")).to_have_count(2)
    before = len(script.received)
    script.sockets[-1].close(code=1011)
    expect(tab.locator("#talk-status")).to_have_text("Connected again.")
    until(tab, lambda: len(script.sockets) == 2)
    items = [event["item"] for event in script.received[before:] if event["type"] == CREATE]
    told = [(item["role"], item["content"][0]["text"]) for item in items]
    assert told == [
        ("user", "My name is Ada."),
        ("assistant", "Hello Ada."),
        ("assistant", "Half an"),
    ]
    expect(turn(tab, "assistant").last.locator(".mark")).to_have_text("interrupted")
    until(tab, lambda: script.received[-1]["type"] == APPEND)


def test_a_new_conversation_begins_with_nothing_said(tab: Page, script: Script) -> None:
    write(tab, "Remember this.")
    expect(turn(tab, "user")).to_have_count(1)
    tab.get_by_role("button", name="New conversation").click()
    expect(turn(tab, "user")).to_have_count(0)
    until(tab, lambda: len(script.sockets) == 2)
    before = len(script.of_type(CREATE))
    write(tab, "Who am I?")
    until(tab, lambda: len(script.of_type("response.create")) == 2)
    assert len(script.of_type(CREATE)) == before + 1


def test_what_goes_wrong_is_said_in_the_server_s_words(tab: Page, script: Script) -> None:
    talk(tab, script)
    script.begin("r", "a")
    error = {"type": "server_error", "code": "server_error", "message": "The model broke down."}
    script.finish("r", "a", "", "failed", type="failed", error=error)
    expect(tab.locator("#talk-status")).to_have_text("The model broke down.")
    expect(turn(tab, "assistant").locator(".mark")).to_have_text("failed")
    late = {"code": "response_cancel_not_active", "message": "Nothing to cancel."}
    script.send({"type": "error", "error": late})
    script.send({"type": "error", "error": {"code": "invalid_value", "message": "No such voice."}})
    expect(tab.locator("#talk-status")).to_have_text("No such voice.")


def test_ending_stops_the_microphone_and_the_answer(tab: Page, script: Script) -> None:
    talk(tab, script)
    script.begin("r", "a")
    script.speak("r", "a", "A long answer", tone(8.0))
    expect(tab.locator("#activity")).to_have_text("Answering.")
    tab.get_by_role("button", name="End", exact=True).click()
    expect(tab.get_by_role("button", name="Talk")).to_be_visible()
    until(tab, lambda: script.received[-1]["type"] == "input_audio_buffer.clear")
    assert [e["response_id"] for e in script.of_type("response.cancel")] == ["r"]
    assert len(script.of_type(TRUNCATE)) == 1
    heard = len(script.received)
    tab.wait_for_timeout(300)
    assert len(script.received) == heard


def test_ending_also_ends_the_answer_that_has_not_begun(tab: Page, script: Script) -> None:
    talk(tab, script)
    script.send(
        started("u"),
        {"type": "input_audio_buffer.speech_stopped", "item_id": "u", "audio_end_ms": 900},
        {"type": "input_audio_buffer.committed", "item_id": "u"},
    )
    expect(tab.locator("#activity")).to_have_text("Thinking…")
    tab.get_by_role("button", name="End", exact=True).click()
    until(tab, lambda: bool(script.of_type("input_audio_buffer.clear")))
    assert script.of_type("response.cancel") == [{"type": "response.cancel"}]
    expect(tab.locator("#activity")).to_have_text("")


def test_a_microphone_is_opened_once_however_often_it_is_asked_for(
    tab: Page, script: Script
) -> None:
    withhold_microphone(tab)
    tab.get_by_role("button", name="Talk").click()
    expect(tab.locator("#talk-status")).to_have_text("Waiting for the microphone…")
    tab.locator("#talk").click()
    tab.locator("#talk").click()
    allow_microphone(tab)
    until(tab, lambda: open_microphones(tab) == 0)
    expect(tab.get_by_role("button", name="Talk")).to_be_visible()
    tab.get_by_role("button", name="Talk").click()
    expect(tab.locator("#talk-status")).to_have_text("Waiting for the microphone…")
    allow_microphone(tab)
    expect(tab.locator("#activity")).to_have_text("Listening.")
    assert open_microphones(tab) == 1


def test_the_microphone_is_let_go_when_the_other_tab_is_chosen_by_keyboard(
    tab: Page, script: Script
) -> None:
    talk(tab, script)
    tab.get_by_role("tab", name="Conversation").focus()
    tab.keyboard.press("ArrowLeft")
    expect(tab.get_by_role("tab", name="Dictation")).to_have_attribute("aria-selected", "true")
    expect(tab.get_by_role("button", name="Start listening")).to_be_visible()
    tab.keyboard.press("ArrowRight")
    expect(tab.get_by_role("button", name="Talk")).to_be_visible()


def test_a_phone_s_width_needs_no_sideways_scroll(tab: Page, script: Script) -> None:
    tab.set_viewport_size({"width": 380, "height": 740})
    settings(tab)
    talk(tab, script)
    script.utter("u", "A sentence that is rather long, and a word: " + "a" * 80)
    script.call("r", "c", "show_note", json.dumps({"title": "b" * 80, "text": "c" * 80}))
    expect(turn(tab, "note")).to_have_count(1)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 380
    box = tab.locator("#talk").bounding_box()
    assert box is not None
    assert box["width"] >= 44


def test_a_strict_content_policy_has_nothing_to_object_to(
    tab: Page, script: Script, complaints: list[str]
) -> None:
    tab.evaluate(
        "document.addEventListener('securitypolicyviolation', "
        "(event) => console.error(event.violatedDirective))"
    )
    talk(tab, script)
    script.utter("u", "<img src=x onerror=alert(1)>")
    expect(turn(tab, "user")).to_contain_text("<img src=x")
    script.begin("r", "a")
    script.speak("r", "a", "Well.", tone(0.2))
    expect(tab.locator("#activity")).to_have_text("Answering.")
    assert complaints == []


def test_audio_is_the_microphone_s(tab: Page, script: Script) -> None:
    talk(tab, script)
    until(tab, lambda: len(script.of_type(APPEND)) >= 10)
    sizes = {len(base64.b64decode(event["audio"])) for event in script.of_type(APPEND)}
    assert sizes == {4800}
    assert any(script.audio)
