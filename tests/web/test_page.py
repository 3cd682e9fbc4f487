"""The page against a scripted server: what it sends, what it shows, and what it says in trouble."""

import base64
import json
import re
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from scripted_page import (
    WEB,
    Script,
    allow_microphone,
    model_entry,
    open_microphones,
    serve_scripted,
    withhold_microphone,
)

pytestmark = pytest.mark.one_loop

APPEND = "input_audio_buffer.append"
TRANSCRIPTION = "conversation.item.input_audio_transcription"
INSECURE = "http://192.0.2.7:8800"


def listen(page: Page) -> None:
    page.get_by_role("button", name="Start listening").click()
    expect(page.locator("#status")).to_have_text("Listening.")


def until(page: Page, holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        page.wait_for_timeout(50)
    pytest.fail("it did not come to hold within half a minute")


def test_the_microphone_is_sent_as_chunks_of_100_ms(page: Page, script: Script) -> None:
    listen(page)
    until(page, lambda: len(script.of_type(APPEND)) >= 20)
    session = script.received[0]["session"]
    sizes = {len(base64.b64decode(event["audio"])) for event in script.of_type(APPEND)}
    assert session["type"] == "transcription"
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert session["audio"]["input"]["transcription"] == {"model": "pocketsphinx", "language": "en"}
    assert sizes == {4800}
    assert np.abs(np.frombuffer(script.audio, "<i2")).max() > 3_000
    expect(page.locator("#clock")).to_have_text(re.compile("00:0[1-9]"))


def test_words_grow_settled_and_unsettled(page: Page, script: Script) -> None:
    listen(page)
    script.send(
        {"type": "input_audio_buffer.speech_started", "item_id": "a", "audio_start_ms": 0},
        {"type": f"{TRANSCRIPTION}.delta", "item_id": "a", "delta": "Hello"},
        {"type": "antiphon.transcription.tentative", "item_id": "a", "text": "word"},
    )
    row = page.get_by_role("listitem")
    expect(row.locator(".settled")).to_have_text("Hello")
    expect(row.locator(".tail")).to_have_text(" word", use_inner_text=True)
    colours = [
        row.locator(part).evaluate("e => getComputedStyle(e).color")
        for part in (".settled", ".tail")
    ]
    assert colours[0] != colours[1]
    expect(page.locator("#announcer")).to_have_text("")
    script.send(
        {"type": f"{TRANSCRIPTION}.completed", "item_id": "a", "transcript": "Hello world."}
    )
    expect(row.locator("p")).to_have_text("Hello world.")
    expect(page.locator("#announcer")).to_have_text("Hello world.")


def test_an_utterance_that_failed_says_why_in_its_place(page: Page, script: Script) -> None:
    listen(page)
    script.send(
        {"type": "input_audio_buffer.speech_started", "item_id": "a", "audio_start_ms": 0},
        {"type": f"{TRANSCRIPTION}.failed", "item_id": "a", "error": {"message": "Out of memory."}},
    )
    expect(page.get_by_role("listitem")).to_contain_text("Not transcribed: Out of memory.")


def test_pause_sends_the_last_sound_and_commits_it(page: Page, script: Script) -> None:
    listen(page)
    page.wait_for_timeout(250)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status")).to_have_text("Paused. Press the microphone to go on.")
    until(page, lambda: script.received[-1]["type"] == "input_audio_buffer.commit")
    script.utter("a", "After the pause.")
    expect(page.get_by_role("listitem")).to_contain_text("After the pause.")
    before = len(script.received)
    page.wait_for_timeout(300)
    assert len(script.received) == before
    listen(page)
    assert len(script.sockets) == 1


def test_a_reload_keeps_the_transcript_and_the_choices(page: Page, script: Script) -> None:
    script.models.append(model_entry("whisper-small", None))
    page.reload()
    page.get_by_label("Model").select_option("whisper-small")
    page.get_by_label("Language").select_option("de")
    listen(page)
    script.utter("a", "Guten Tag.")
    expect(page.get_by_role("listitem")).to_contain_text("Guten Tag.")
    page.reload()
    expect(page.get_by_role("listitem")).to_contain_text("Guten Tag.")
    expect(page.get_by_label("Model")).to_have_value("whisper-small")
    expect(page.get_by_label("Language")).to_have_value("de")
    expect(page.locator("#status")).to_have_text("Press the microphone to go on.")
    listen(page)
    script.utter("b", "Und weiter.", 500)
    expect(page.get_by_role("listitem")).to_have_count(2)


def test_a_page_that_only_looked_on_keeps_the_words_of_another(
    page: Page, script: Script, context: BrowserContext, origin: str
) -> None:
    other, said = context.new_page(), Script()
    serve_scripted(other, said)
    other.goto(origin)
    listen(other)
    said.utter("a", "Guten Tag.")
    expect(other.get_by_role("listitem")).to_contain_text("Guten Tag.")
    other.goto("about:blank")
    page.reload()
    expect(page.get_by_role("listitem")).to_contain_text("Guten Tag.")


def test_a_model_of_one_language_leaves_no_language_to_choose(page: Page, script: Script) -> None:
    script.models += [
        model_entry("base.en", ["en"]),
        model_entry("two", ["fr", "en"]),
        model_entry("tts", None, "speech"),
    ]
    page.reload()
    expect(page.get_by_label("Model").locator("option")).to_have_text(
        ["pocketsphinx", "base.en", "two"]
    )
    expect(page.get_by_label("Language")).to_be_disabled()
    page.get_by_label("Model").select_option("two")
    expect(page.get_by_label("Language").locator("option")).to_have_text(
        ["Detect", "English", "French"]
    )


def test_a_changed_model_takes_effect_while_listening(page: Page, script: Script) -> None:
    script.models.append(model_entry("whisper-small", None))
    page.reload()
    listen(page)
    page.get_by_label("Model").select_option("whisper-small")
    until(page, lambda: len(script.of_type("session.update")) == 2)
    session = script.of_type("session.update")[1]["session"]
    assert session["audio"]["input"]["transcription"] == {"model": "whisper-small"}
    expect(page.locator("#status")).to_have_text("Listening.")


def test_a_dropped_connection_comes_back_and_loses_no_audio(page: Page, script: Script) -> None:
    listen(page)
    page.wait_for_timeout(500)
    script.refuse = True
    script.sockets[-1].close(code=1001)
    expect(page.locator("#status")).to_have_text("Connection lost. Trying again…")
    page.wait_for_timeout(1500)
    sent = len(script.audio)
    script.refuse = False
    expect(page.locator("#status")).to_have_text("Connected again.")
    assert len(script.sockets) == 2
    until(page, lambda: len(script.audio) > sent)
    heard = page.evaluate("document.querySelector('#clock').textContent")
    assert len(script.audio) / 48_000 >= int(heard[-2:])


def test_times_go_on_after_a_reconnection(page: Page, script: Script) -> None:
    listen(page)
    until(page, lambda: len(script.audio) > 3 * 48_000)
    script.utter("a", "Before.", 0, 500)
    sent = len(script.audio) / 48_000
    script.sockets[-1].close(code=1011)
    until(page, lambda: len(script.sockets) == 2 and len(script.audio) / 48_000 > sent + 1)
    script.utter("a", "After.", 0, 500)
    expect(page.get_by_role("listitem")).to_have_count(2)
    at = page.locator("time").last.get_attribute("datetime")
    assert at is not None
    assert 3.0 <= float(at[2:-1]) <= sent + 1


def test_an_utterance_cut_by_a_drop_is_sent_again(page: Page, script: Script) -> None:
    listen(page)
    page.wait_for_timeout(300)
    script.send(
        {"type": "input_audio_buffer.speech_started", "item_id": "a", "audio_start_ms": 100},
        {"type": f"{TRANSCRIPTION}.delta", "item_id": "a", "delta": "Half a"},
    )
    until(page, lambda: len(script.audio) > 2 * 48_000)
    from_its_start = script.audio[4800:]
    script.sockets[-1].close(code=1011)
    until(page, lambda: len(script.sockets) == 2)
    until(page, lambda: len(script.audio_since_greeting) >= len(from_its_start))
    assert script.audio_since_greeting.startswith(from_its_start)
    expect(page.get_by_role("listitem")).to_have_count(0)


def test_audio_beyond_what_is_kept_is_counted_as_lost(page: Page, script: Script) -> None:
    page.route(
        "**/outbox.js",
        lambda route: route.fulfill(
            body=(WEB / "outbox.js").read_text().replace("20 * OUTPUT", "1 * OUTPUT"),
            content_type="text/javascript",
        ),
    )
    page.reload()
    listen(page)
    script.refuse = True
    script.sockets[-1].close(code=1011)
    page.wait_for_timeout(2500)
    script.refuse = False
    expect(page.locator("#status")).to_contain_text(
        re.compile(r"Connected again\. About \d+ seconds? of speech were lost\.")
    )


def test_a_missing_key_is_asked_for_and_then_used(page: Page, script: Script) -> None:
    keys: list[str | None] = []

    def guard(route: Route) -> bool:
        keys.append(route.request.headers.get("authorization"))
        if route.request.url.endswith("/health") or keys[-1] == "Bearer sk-right":
            return False
        route.fulfill(status=401, json={"error": {"message": "Incorrect API key.", "code": None}})
        return True

    script.on_route = guard
    page.reload()
    page.get_by_label("This server asks for a key.").fill("sk-right")
    page.get_by_role("button", name="Use key").click()
    expect(page.get_by_label("Model")).to_have_value("pocketsphinx")
    expect(page.locator("#key")).to_be_hidden()
    assert "sk-right" not in page.evaluate("JSON.stringify(localStorage)")


def test_a_key_refused_by_the_socket_is_asked_for(page: Page, script: Script) -> None:
    listen(page)
    script.send({"type": "error", "error": {"code": "invalid_api_key", "message": "Wrong key."}})
    script.sockets[-1].close(code=3000)
    expect(page.locator("#key")).to_be_visible()
    expect(page.locator("#status")).to_have_text("Wrong key.")


def test_settings_the_server_refuses_stop_the_session_with_its_words(
    page: Page, script: Script
) -> None:
    listen(page)
    error = {"code": "model_not_found", "message": "No such model.", "event_id": "configure"}
    script.send({"type": "error", "error": error})
    expect(page.locator("#status")).to_have_text("No such model.")
    expect(page.get_by_role("button", name="Start listening")).to_be_visible()


def test_a_refused_microphone_says_where_to_allow_it(browser: Browser, origin: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    serve_scripted(page, Script())
    page.goto(origin)
    page.get_by_role("button", name="Start listening").click()
    expect(page.locator("#status")).to_contain_text("The microphone is blocked for this page.")
    expect(page.get_by_role("button", name="Start listening")).to_be_visible()
    context.close()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("NotFoundError", "No microphone was found."),
        ("NotReadableError", "The microphone is in use by another program"),
    ],
)
def test_a_microphone_that_cannot_be_had_says_why(
    page: Page, script: Script, name: str, sentence: str
) -> None:
    page.evaluate(
        "name => navigator.mediaDevices.getUserMedia = "
        "() => Promise.reject(new DOMException('no', name))",
        name,
    )
    page.get_by_role("button", name="Start listening").click()
    expect(page.locator("#status")).to_contain_text(sentence)


def test_a_microphone_allowed_after_its_tab_was_left_stays_off(page: Page, script: Script) -> None:
    withhold_microphone(page)
    page.get_by_role("button", name="Start listening").click()
    expect(page.locator("#status")).to_have_text("Waiting for the microphone…")
    page.get_by_role("tab", name="Conversation").click()
    allow_microphone(page)
    until(page, lambda: open_microphones(page) == 0)
    page.get_by_role("tab", name="Dictation").click()
    expect(page.get_by_role("button", name="Start listening")).to_be_visible()
    expect(page.locator("#status")).to_have_text("Ready.")
    assert script.of_type(APPEND) == []


def test_a_page_from_another_machine_over_plain_http_says_what_to_do(
    page: Page, origin: str
) -> None:
    script = Script()

    def fetch_from_origin(route: Route) -> None:
        response = route.fetch(url=route.request.url.replace(INSECURE, origin))
        route.fulfill(response=response)

    page.route(f"{INSECURE}/**", fetch_from_origin)
    serve_scripted(page, script)
    page.goto(INSECURE)
    expect(page.locator("#obstacle")).to_contain_text("http://localhost:8800")
    expect(page.locator("#obstacle")).to_contain_text("antiphon serve --tls-self-signed")
    page.get_by_role("button", name="Start listening").click()
    expect(page.locator("#status")).to_contain_text("secure pages")


def test_the_outline_of_focus_is_there_for_keys_and_not_for_a_mouse(
    page: Page, script: Script
) -> None:
    outlined = "e => e.matches(':focus-visible')"
    assert page.locator("#listen").evaluate(outlined)
    listen(page)
    expect(page.locator("#listen")).to_be_focused()
    assert not page.locator("#listen").evaluate(outlined)


def test_everything_can_be_done_from_the_keyboard(page: Page, script: Script) -> None:
    expect(page.locator("#listen")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator("#status")).to_have_text("Listening.")
    script.utter("a", "By keyboard.")
    expect(page.get_by_role("listitem")).to_contain_text("By keyboard.")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Start listening")).to_be_visible()
    reached = set()
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent.trim()"))
    assert {"Copy", "Save .txt", "Save .srt", "Clear", "Open a file…"} <= reached


def test_copy_and_exports_hold_the_words_and_their_times(page: Page, script: Script) -> None:
    listen(page)
    until(page, lambda: len(script.audio) > 0)
    script.utter("a", "Hello world.", 100, 1600)
    script.utter("b", "Goodbye.", 2000, 3500)
    expect(page.get_by_role("listitem")).to_have_count(2)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "Hello world.\nGoodbye.\n"
    assert saved(page, "Save .txt") == "Hello world.\nGoodbye.\n"
    assert saved(page, "Save .srt") == (
        "1\n00:00:00,100 --> 00:00:01,600\nHello world.\n\n"
        "2\n00:00:02,000 --> 00:00:03,500\nGoodbye.\n"
    )


def saved(page: Page, button: str) -> str:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button).click()
    return waiting.value.path().read_text()


def test_a_cleared_transcript_can_be_brought_back(page: Page, script: Script) -> None:
    listen(page)
    script.utter("a", "Keep me.")
    expect(page.get_by_role("listitem")).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("listitem")).to_have_count(0)
    script.utter("b", "Later.")
    expect(page.get_by_role("listitem")).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("listitem").locator("p")).to_have_text(["Keep me.", "Later."])


def test_a_dropped_file_is_transcribed_segment_by_segment(page: Page, script: Script) -> None:
    bodies: list[bytes] = []

    def answer(route: Route) -> bool:
        if not route.request.url.endswith("/transcriptions"):
            return False
        bodies.append(route.request.post_data_buffer or b"")
        events = (
            ": keep-alive\n\n"
            'data: {"type":"transcript.text.delta","delta":"One.","start":0.5,"end":2}'
            '\n\ndata: {"type":"transcript.text.delta","delta":" Two.","start":3,"end":4}'
            '\n\ndata: {"type":"transcript.text.done","text":"One. Two."}\n\ndata: [DONE]\n\n'
        )
        route.fulfill(body=events, content_type="text/event-stream")
        return True

    script.on_route = answer
    drop(page, "talk.wav")
    section = page.locator("section", has_text="talk.wav")
    expect(section.get_by_role("listitem").locator("p")).to_have_text(["One.", "Two."])
    expect(section.locator("time")).to_have_text(["00:00", "00:03"])
    assert b'name="stream"\r\n\r\ntrue' in bodies[0]
    assert b'name="timestamp_granularities[]"\r\n\r\nsegment' in bodies[0]
    assert b'filename="talk.wav"' in bodies[0]
    page.reload()
    expect(section.get_by_role("listitem")).to_have_count(2)


def test_of_many_files_that_are_dropped_none_is_left_out(page: Page, script: Script) -> None:
    heard: list[str] = []

    def answer(route: Route) -> bool:
        if not route.request.url.endswith("/transcriptions"):
            return False
        [name] = re.findall(rb'filename="(.*?)"', route.request.post_data_buffer or b"")
        heard.append(name.decode())
        event = {"type": "transcript.text.done", "text": ""}
        route.fulfill(body=f"data: {json.dumps(event)}\n\n", content_type="text/event-stream")
        return True

    script.on_route = answer
    names = [f"{number}.wav" for number in range(23)]
    drop(page, *names)
    until(page, lambda: heard == names)
    drop(page, "last.wav")
    expect(page.get_by_role("heading", name="last.wav")).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile(r"\.wav$"))).to_have_count(20)


def drop(page: Page, *names: str) -> None:
    page.evaluate(
        """names => {
            const dataTransfer = new DataTransfer();
            for (const name of names) {
                dataTransfer.items.add(new File(["RIFF"], name, { type: "audio/wav" }));
            }
            const options = { dataTransfer, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent("dragover", options));
            document.body.dispatchEvent(new DragEvent("drop", options));
        }""",
        names,
    )


def test_a_file_the_server_cannot_read_says_so(page: Page, script: Script) -> None:
    def refuse(route: Route) -> bool:
        if not route.request.url.endswith("/transcriptions"):
            return False
        route.fulfill(status=400, json={"error": {"message": "This file has no sound."}})
        return True

    script.on_route = refuse
    drop(page, "picture.wav")
    expect(page.locator("section", has_text="picture.wav")).to_contain_text(
        "This file has no sound."
    )


def test_the_built_in_recogniser_names_the_command_for_a_better_one(
    page: Page, script: Script
) -> None:
    expect(page.locator("#hint")).to_be_hidden()
    script.health = {"transcription": {"model": "pocketsphinx", "hint": "antiphon pull base"}}
    page.reload()
    expect(page.locator("#hint")).to_contain_text("small built-in recogniser")
    page.locator("#hint").get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == "antiphon pull base"


def test_a_phone_s_width_needs_no_sideways_scroll(page: Page, script: Script) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    script.health = {"transcription": {"model": "pocketsphinx", "hint": "antiphon pull base"}}
    page.reload()
    listen(page)
    script.utter("a", "A sentence that is rather long, and a word: " + "a" * 80)
    expect(page.get_by_role("listitem")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    box = page.locator("#listen").bounding_box()
    assert box is not None
    assert box["width"] >= 44
    assert box["y"] + box["height"] <= 740


def test_light_and_dark_differ_and_both_can_be_read(context: BrowserContext, origin: str) -> None:
    papers = []
    for scheme in ("light", "dark"):
        page = context.new_page()
        page.emulate_media(color_scheme=scheme)
        serve_scripted(page, Script())
        page.goto(origin)
        colours = page.evaluate(
            """() => {
                const style = getComputedStyle(document.documentElement);
                return Object.fromEntries(["paper", "ink", "soft", "rubric", "on-rubric", "wash"]
                    .map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
            }"""
        )
        papers.append(colours["paper"])
        for over, under in [
            ("ink", "paper"),
            ("soft", "paper"),
            ("rubric", "paper"),
            ("on-rubric", "rubric"),
            ("rubric", "wash"),
            ("ink", "wash"),
        ]:
            assert contrast(colours[over], colours[under]) >= 4.5, (scheme, over, under)
    assert papers[0] != papers[1]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_strict_content_policy_has_nothing_to_object_to(
    page: Page, script: Script, complaints: list[str]
) -> None:
    page.evaluate(
        "document.addEventListener('securitypolicyviolation', "
        "(event) => console.error(event.violatedDirective))"
    )
    listen(page)
    script.utter("a", "<img src=x onerror=alert(1)>")
    expect(page.get_by_role("listitem")).to_contain_text("<img src=x")
    saved(page, "Save .txt")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status")).to_have_text("Paused. Press the microphone to go on.")
    assert complaints == []
