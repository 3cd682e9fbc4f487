"""Takes the pictures of the page that the documentation shows.

Dictation is shown with a running server that is spoken to: it runs the small Whisper model of the
tests, and Chromium's fake microphone speaks to it with espeak-ng's voice. The conversation is
scripted, so that it can be shown on a machine without a language model. `python docs/screenshot.py
--help`.
"""

import argparse
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from scripted_page import Event, Pages, Script, model_entry, serve_scripted  # noqa: E402
from voice import RATE, WHISPER_NANO, pcm16, say, silence, write_wav  # noqa: E402

from bench.running import Server  # noqa: E402

CONFIGURATION = f"""\
models:
  - name: whisper-nano
    engine: whisper
    source: {json.dumps(str(WHISPER_NANO))}
defaults:
  transcription: whisper-nano
"""
SPOKEN = (
    "How is the traffic this morning?",
    "We closed 14 tickets and opened 40 new ones.",
    "Who is responsible for the new website?",
    "Laura is working on the keyboard shortcut.",
    "The engineer is not happy with the support backlog.",
)
ASKED = (
    "How long should I let a sourdough rise?",
    "No, in the fridge. And write it down, please.",
)
ANSWERED_S = 2.0
NOTE = {
    "title": "Sourdough",
    "text": "In the fridge, at 5 °C: 12 to 16 hours\nAfterwards, at room warmth: 1 hour",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """A picture's size, `scale` being its pixels per pixel of the page."""

    width: int
    height: int
    scale: float
    most_bytes: int


SHAPES = {"page": Shape(1280, 800, 2, 400_000), "conversation": Shape(1000, 760, 1.5, 150_000)}
PATIENCE_MS = 60_000
# The last utterance is half said: some of its words are settled and some are not.
HALF_SAID = f"""() => {{
    const text = (part) => document.querySelector(`li[data-state=open] ${{part}}`)?.textContent;
    const done = document.querySelectorAll("li[data-state=done]").length;
    const words = (part) => text(part)?.trim().split(" ").length ?? 0;
    return done === {len(SPOKEN) - 1} && words(".settled") >= 3 && words(".tail") >= 2;
}}"""
NO_NAMES = "navigator.mediaDevices.enumerateDevices = () => Promise.resolve([])"
"""What the fake microphone is called would be read as part of the page."""


def main() -> None:
    """Write docs/page.png, or another picture that the options ask for."""
    options = _options()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is not installed (Debian: apt install chromium).")
    output = options.output or ROOT / "docs" / f"{options.picture}.png"
    taken = _dictation if options.picture == "page" else _conversation
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        speech = _speech() if options.picture == "page" else _questions()
        sound = write_wav(Path(folder) / "microphone.wav", speech, 48_000)
        arguments = [
            "--no-sandbox",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={sound}",
        ]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        with taken(_open(browser, options)) as page:
            page.mouse.move(0, 0)
            page.screenshot(path=output)
        browser.close()
    size = output.stat().st_size
    print(f"{output}: {size // 1000} kB")
    most = SHAPES[options.picture].most_bytes
    if size > most:
        sys.exit(f"That is more than {most // 1000} kB.")


def _open(browser: Browser, options: argparse.Namespace) -> Page:
    shape = SHAPES[options.picture]
    page = browser.new_page(
        viewport={
            "width": options.width or shape.width,
            "height": options.height or shape.height,
        },
        device_scale_factor=shape.scale,
        color_scheme="dark" if options.dark else "light",
        permissions=["microphone"],
    )
    page.add_init_script(NO_NAMES)
    return page


@contextmanager
def _dictation(page: Page) -> Iterator[Page]:
    with Server(CONFIGURATION) as server:
        page.goto(f"http://localhost:{server.port}")
        expect(page.get_by_label("Model")).not_to_have_value("")
        page.get_by_role("button", name="Start listening").click()
        page.mouse.move(0, 0)
        page.wait_for_function(HALF_SAID, timeout=PATIENCE_MS, polling=50)
        yield page


@contextmanager
def _conversation(page: Page) -> Iterator[Page]:
    script = Script()
    script.models = [
        model_entry("whisper-small", None),
        model_entry("qwen3-4b-instruct", None, "chat"),
    ]
    script.health = {"transcription": {"model": "whisper-small"}}
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        serve_scripted(page, script)
        page.goto(f"http://localhost:{server.server_port}/#conversation")
        page.get_by_role("button", name="Talk").click()
        expect(page.locator("#activity")).to_have_text("Listening.")
        _converse(page, script)
        yield page
        server.shutdown()
        thread.join()


def _questions() -> np.ndarray:
    """What the microphone hears: the questions, when the script says that they are asked."""
    first, second = (say(question) for question in ASKED)
    listened = silence(ANSWERED_S - 0.4)
    return np.concatenate([silence(0.4), first, listened, second, silence(30.0)])


def _converse(page: Page, script: Script) -> None:
    """A turn whose answer is interrupted, and one with a tool whose answer is being spoken."""
    script.greet()
    _ask(page, script, "a", ASKED[0])
    _answer(page, script, "b", "At room temperature, four to", ms=(240, 170))
    page.wait_for_timeout(1_000 * ANSWERED_S - 1_000)
    script.send({"type": "input_audio_buffer.speech_started", "item_id": "c", "audio_start_ms": 0})
    script.finish("r-b", "b", "At room temperature,", status="cancelled")
    _ask(page, script, "c", ASKED[1])
    page.wait_for_timeout(320)
    script.call("r-d", "d", "show_note", json.dumps(NOTE, ensure_ascii=False))
    expect(page.get_by_text("12 to 16 hours").first).to_be_visible()
    text = "Twelve to sixteen hours in the fridge. I have put it in a note for you."
    _answer(page, script, "e", text, ms=(190, 130))
    page.wait_for_timeout(2_500)


def _ask(page: Page, script: Script, item: str, text: str) -> None:
    transcribed: Event = {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": item,
        "transcript": text,
    }
    started = {"type": "input_audio_buffer.speech_started", "item_id": item, "audio_start_ms": 0}
    script.send(started)
    page.wait_for_timeout(1_000 * len(say(text)) / RATE)
    stopped = {"type": "input_audio_buffer.speech_stopped", "item_id": item, "audio_end_ms": 900}
    script.send(stopped)
    page.wait_for_timeout(140)
    script.send(transcribed)


def _answer(page: Page, script: Script, item: str, text: str, *, ms: tuple[int, int]) -> None:
    page.wait_for_timeout(ms[0])
    script.begin(f"r-{item}", item)
    script.speak(f"r-{item}", item, text, b"")
    page.wait_for_timeout(ms[1])
    script.speak(f"r-{item}", item, "", pcm16(say(text)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", choices=list(SHAPES), nargs="?", default="page")
    parser.add_argument("--output", type=Path, help="by default, in docs")
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--dark", action="store_true", help="the dark colours")
    return parser.parse_args()


def _speech() -> np.ndarray:
    pauses = [silence(1.2) for _ in SPOKEN]
    said = [say(sentence) for sentence in SPOKEN]
    return np.concatenate([part for pair in zip(pauses, said, strict=True) for part in pair])


if __name__ == "__main__":
    main()
