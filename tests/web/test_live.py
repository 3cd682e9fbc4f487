"""The page on the real server: live words, files, restarts."""

import re
from pathlib import Path
from typing import Protocol

import pytest
from playwright.sync_api import Page, expect
from voice import say, write_wav

pytestmark = pytest.mark.one_loop

PATIENCE_MS = 30_000
WORDS = re.compile(r"\w+")


class Server(Protocol):
    """The real server, as the fixture gives it."""

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...


@pytest.fixture
def open_page(page: Page, antiphon_server: Server) -> Page:
    page.goto(antiphon_server.url)
    expect(page.get_by_label("Model")).not_to_have_value("")
    return page


def listen(page: Page) -> None:
    page.get_by_role("button", name="Start listening").click()
    expect(page.locator("#status")).to_have_text("Listening.", timeout=PATIENCE_MS)


def test_spoken_words_appear_with_their_time_and_survive_a_reload(
    open_page: Page, complaints: list[str]
) -> None:
    expect(open_page.locator("#hint")).to_contain_text("antiphon pull")
    listen(open_page)
    row = open_page.locator("li[data-state=done]").first
    expect(row.locator(".settled")).to_have_text(WORDS, timeout=PATIENCE_MS)
    expect(row.locator("time")).to_have_text(re.compile(r"00:0[0-3]"))
    open_page.get_by_role("button", name="Pause").click()
    expect(open_page.locator("#status")).to_have_text("Paused. Press the microphone to go on.")
    expect(open_page.locator("li[data-state=open]")).to_have_count(0, timeout=PATIENCE_MS)
    words = open_page.get_by_role("listitem").all_inner_texts()
    open_page.reload()
    expect(open_page.locator("#status")).to_have_text("Press the microphone to go on.")
    assert open_page.get_by_role("listitem").all_inner_texts() == words
    assert complaints == []


def test_words_are_seen_before_their_utterance_is_over(open_page: Page) -> None:
    listen(open_page)
    row = open_page.locator("li[data-state=open] p")
    expect(row).to_have_text(re.compile(r"\w+"), timeout=PATIENCE_MS)


def test_the_page_goes_on_when_the_server_comes_back(
    open_page: Page, antiphon_server: Server
) -> None:
    listen(open_page)
    expect(open_page.locator("li[data-state=done]").first).to_be_visible(timeout=PATIENCE_MS)
    before = open_page.locator("li[data-state=done]").count()
    antiphon_server.kill()
    expect(open_page.locator("#status")).to_have_text("Connection lost. Trying again…")
    antiphon_server.start()
    expect(open_page.locator("#status")).to_contain_text("Connected again.", timeout=PATIENCE_MS)
    expect(open_page.locator("li[data-state=done]").nth(before)).to_be_visible(timeout=PATIENCE_MS)


def test_a_chosen_file_is_transcribed(open_page: Page, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "greeting.wav", say("hello world"))
    open_page.locator("#files").set_input_files(path)
    section = open_page.locator("section", has_text="greeting.wav")
    expect(section.locator(".settled")).to_have_text(WORDS, timeout=PATIENCE_MS)
    expect(section.locator("progress")).to_be_hidden(timeout=PATIENCE_MS)


def test_a_file_that_is_no_recording_is_refused_in_plain_words(
    open_page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("this is not sound")
    open_page.locator("#files").set_input_files(path)
    note = open_page.locator("section", has_text="notes.wav").locator(".note")
    expect(note).not_to_have_text(re.compile("Sending|Waiting"), timeout=PATIENCE_MS)
    expect(note).to_have_text(re.compile(r"\w+ \w+"))
