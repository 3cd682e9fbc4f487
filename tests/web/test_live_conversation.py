"""The conversation tab on the real server: heard, answered, interrupted."""

import re
from typing import Protocol

import pytest
from answering_provider import ANSWER, STORY, STORY_PLEASE, AnsweringProvider
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.one_loop

PATIENCE_MS = 40_000


class Server(Protocol):
    """The real server, as the fixture gives it."""

    @property
    def url(self) -> str: ...


@pytest.fixture
def tab(page: Page, conversing_server: Server) -> Page:
    page.goto(f"{conversing_server.url}/#conversation")
    expect(page.get_by_label("Speech model")).to_have_value("nano")
    return page


def turn(page: Page, role: str) -> Locator:
    return page.locator(f".turn[data-role={role}]")


def write(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def test_what_is_said_is_answered_aloud(tab: Page, spoken: str, complaints: list[str]) -> None:
    tab.get_by_role("button", name="Talk").click()
    said = turn(tab, "user").first
    answer = turn(tab, "assistant").first
    expect(said.locator(".settled")).to_have_text(spoken, timeout=PATIENCE_MS)
    expect(answer.locator(".settled")).to_have_text(ANSWER, timeout=PATIENCE_MS)
    expect(tab.locator("#activity")).to_have_text("Answering.", timeout=PATIENCE_MS)
    latency = re.compile(
        r"transcript \d+ ms → first token \d+ ms → first audio \d+ ms \(\+ 500 ms VAD silence\)"
    )
    expect(answer.locator(".latency")).to_have_text(latency, timeout=PATIENCE_MS)
    tab.get_by_role("button", name="End", exact=True).click()
    expect(tab.get_by_role("button", name="Talk")).to_be_visible()
    assert tab.locator("#talk-status").get_attribute("data-tone") == "calm"
    assert complaints == []


def test_speaking_interrupts_a_story_which_the_assistant_then_knows(
    tab: Page, provider: AnsweringProvider
) -> None:
    write(tab, STORY_PLEASE)
    expect(tab.locator("#activity")).to_have_text("Answering.", timeout=PATIENCE_MS)
    tab.get_by_role("button", name="Talk").click()
    story = turn(tab, "assistant").first
    expect(story.locator(".mark")).to_have_text("interrupted", timeout=PATIENCE_MS)
    expect(turn(tab, "assistant")).to_have_count(2, timeout=PATIENCE_MS)
    known = provider.asked[-1]["messages"][-2]
    assert known["role"] == "assistant"
    heard = known["content"].strip()
    assert 0 < len(heard) < len(STORY) / 2
    assert STORY.startswith(heard.rstrip(" .…"))
    expect(story.locator(".settled")).to_have_text(heard)
    tab.get_by_role("button", name="End", exact=True).click()
