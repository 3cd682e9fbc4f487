"""Takes the picture of the page that the README shows, from a running server that is spoken to.

The server runs the small Whisper model of the tests, and Chromium's fake microphone speaks to it
with espeak-ng's voice. `python docs/screenshot.py --help`.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from voice import WHISPER_NANO, say, silence, write_wav  # noqa: E402

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
MOST_BYTES = 400_000
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
    with tempfile.TemporaryDirectory() as folder, Server(CONFIGURATION) as server:
        sound = write_wav(Path(folder) / "microphone.wav", _speech(), 48_000)
        arguments = [
            "--no-sandbox",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={sound}",
        ]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
            page = browser.new_page(
                viewport={"width": options.width, "height": options.height},
                device_scale_factor=2,
                color_scheme="dark" if options.dark else "light",
                permissions=["microphone"],
            )
            page.add_init_script(NO_NAMES)
            page.goto(f"http://localhost:{server.port}")
            _listen(page)
            page.screenshot(path=options.output)
            browser.close()
    size = options.output.stat().st_size
    print(f"{options.output}: {size // 1000} kB")
    if size > MOST_BYTES:
        sys.exit(f"That is more than {MOST_BYTES // 1000} kB.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "page.png")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--dark", action="store_true", help="the dark colours")
    return parser.parse_args()


def _speech() -> np.ndarray:
    pauses = [silence(1.2) for _ in SPOKEN]
    said = [say(sentence) for sentence in SPOKEN]
    return np.concatenate([part for pair in zip(pauses, said, strict=True) for part in pair])


def _listen(page: Page) -> None:
    button = page.get_by_role("button", name="Start listening")
    expect(page.get_by_label("Model")).not_to_have_value("")
    button.click()
    page.mouse.move(0, 0)
    page.wait_for_function(HALF_SAID, timeout=PATIENCE_MS, polling=50)


if __name__ == "__main__":
    main()
