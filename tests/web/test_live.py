"""The page on the real server: live words, files, restarts."""

import re
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from voice import say, silence, write_wav

pytestmark = pytest.mark.one_loop

PATIENCE_MS = 30_000
DATE_TIMES = "[...document.querySelectorAll('li[data-state=done] time')].map(t => t.dateTime)"
OTHER = "We lost an architect in Tokyo."


class Server(Protocol):
    """The real server, as the fixture gives it."""

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...


@pytest.fixture
def open_page(page: Page, antiphon_server: Server) -> Page:
    page.goto(antiphon_server.url)
    expect(page.get_by_label("Model")).to_have_value("nano")
    return page


def listen(page: Page) -> None:
    page.get_by_role("button", name="Start listening").click()
    expect(page.locator("#status")).to_have_text("Listening.", timeout=PATIENCE_MS)


def finished(page: Page) -> Locator:
    return page.locator("li[data-state=done]")


def test_spoken_words_appear_with_their_time_and_survive_a_reload(
    open_page: Page, spoken: str, complaints: list[str]
) -> None:
    listen(open_page)
    row = finished(open_page).first
    expect(row.locator(".settled")).to_have_text(spoken, timeout=PATIENCE_MS)
    expect(row.locator("time")).to_have_text(re.compile("00:0[0-3]"))
    open_page.get_by_role("button", name="Pause").click()
    expect(open_page.locator("#status")).to_have_text("Paused. Press the microphone to go on.")
    expect(open_page.locator("li[data-state=open]")).to_have_count(0, timeout=PATIENCE_MS)
    words = open_page.get_by_role("listitem").all_inner_texts()
    open_page.reload()
    expect(open_page.locator("#status")).to_have_text("Press the microphone to go on.")
    assert open_page.get_by_role("listitem").all_inner_texts() == words
    assert complaints == []


def test_words_are_seen_before_their_utterance_is_over_unsettled_ones_too(
    open_page: Page,
) -> None:
    listen(open_page)
    row = open_page.locator("li[data-state=open]")
    expect(row.locator(".tail")).to_have_text(re.compile(r"\w+"), timeout=PATIENCE_MS)
    expect(row.locator(".settled")).to_have_text(re.compile("^How "), timeout=PATIENCE_MS)


def test_the_page_goes_on_when_the_server_comes_back(
    open_page: Page, antiphon_server: Server, spoken: str
) -> None:
    listen(open_page)
    expect(finished(open_page)).to_have_text([re.compile(re.escape(spoken))], timeout=PATIENCE_MS)
    antiphon_server.kill()
    expect(open_page.locator("#status")).to_have_text("Connection lost. Trying again…")
    antiphon_server.start()
    expect(open_page.locator("#status")).to_have_text("Connected again.", timeout=PATIENCE_MS)
    # What was said while the server was away is heard in full when it is back.
    second = finished(open_page).nth(1)
    expect(second.locator(".settled")).to_have_text(spoken, timeout=PATIENCE_MS)
    first, again, *_ = starts(open_page)
    assert 3 < again - first < 6


def starts(page: Page) -> list[float]:
    """When each utterance began, in seconds."""
    return [float(value[2:-1]) for value in page.evaluate(DATE_TIMES)]


def test_a_chosen_file_is_transcribed_in_utterances(
    open_page: Page, spoken: str, tmp_path: Path
) -> None:
    sound = np.concatenate([say(spoken), silence(1.5), say(OTHER)])
    open_page.locator("#files").set_input_files(write_wav(tmp_path / "two.wav", sound))
    section = open_page.locator("section", has_text="two.wav")
    expect(section.locator(".settled")).to_have_text([spoken, OTHER], timeout=PATIENCE_MS)
    expect(section.locator("progress")).to_be_hidden(timeout=PATIENCE_MS)
    with open_page.expect_download() as download:
        section.get_by_role("button", name="Save .srt").click()
    assert download.value.suggested_filename == "two.srt"
    subtitles = Path(download.value.path()).read_text()
    assert re.fullmatch(
        rf"1\n00:00:00,\d+ --> .+\n{re.escape(spoken)}\n\n2\n00:00:0.+\n{re.escape(OTHER)}\n",
        subtitles,
    )


def test_a_file_that_is_no_recording_is_refused_in_plain_words(
    open_page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "notes.mp3"
    path.write_text("this is not sound")
    open_page.locator("#files").set_input_files(path)
    note = open_page.locator("section", has_text="notes.mp3").locator(".note")
    expect(note).to_contain_text("could not be read as audio", timeout=PATIENCE_MS)
    expect(note).to_have_attribute("data-state", "problem")


def test_the_built_in_recogniser_hears_too_and_the_page_can_change_to_it(
    open_page: Page,
) -> None:
    open_page.get_by_label("Model").select_option("pocketsphinx")
    listen(open_page)
    words = finished(open_page).first.locator(".settled")
    expect(words).to_have_text(re.compile(r"\w+"), timeout=PATIENCE_MS)
