"""`antiphon say` and `antiphon voices` as programs."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import NANO, Server, antiphon, configured, environment
from voice import read_audio, word_errors

pytestmark = pytest.mark.one_loop

TEXT = "Who is responsible for the new website?"


def test_what_is_said_without_a_server_can_be_heard(tmp_path: Path) -> None:
    configured(tmp_path, NANO)
    said = antiphon(tmp_path, "say", TEXT, "--voice", "en-us", "--speed", "0.85", "-o", "said.wav")
    assert (said.status, said.out, said.errors) == (0, "", "")
    heard = antiphon(tmp_path, "transcribe", "said.wav")
    assert word_errors(TEXT, heard.out) <= 0.3
    assert {path.name for path in tmp_path.glob("said*")} == {"said.wav"}


def test_the_server_that_is_configured_here_speaks_what_comes_on_stdin(tmp_path: Path) -> None:
    configuration = {"server": {"api_key": "hunter2"}, **NANO}
    with Server(tmp_path, configuration=configuration) as server:
        said = subprocess.run(
            [sys.executable, "-m", "realtime", "say", "-o", "said.mp3"],
            input=TEXT,
            cwd=tmp_path,
            env=environment(tmp_path, {"ANTIPHON_SERVER_PORT": str(server.port)}),
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    assert 1 < len(read_audio(tmp_path / "said.mp3")) / 16_000 < 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("say", "-o", "a.midi", "Hello."), "a.midi does not say which format it shall have"),
        (
            ("say", "-o", "a.mp3", "--url", "http://127.0.0.1:1", "Hello."),
            "No server answers at http://127.0.0.1:1.",
        ),
    ],
)
def test_a_mistake_is_one_line_at_once(
    arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    begun = time.monotonic()
    done = antiphon(tmp_path, *arguments)
    assert (done.status, done.out) == (1, "")
    assert done.line.startswith(f"antiphon: {says}")
    assert time.monotonic() - begun < 10
    assert not list(tmp_path.glob("a.*"))


def test_a_voice_that_is_not_here_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    done = antiphon(tmp_path, "say", "-o", "a.mp3", "--voice", "aloy", "Hello.")
    assert (done.status, done.out) == (1, "")
    assert "There is no voice 'aloy'; did you mean 'alloy'?" in done.line
    assert not list(tmp_path.glob("a.*"))


def test_voices_lists_those_of_a_language_that_can_be_asked_for(tmp_path: Path) -> None:
    configured(tmp_path, {"voices": {"narrator": {"voice": "en-gb-x-rp"}}})
    shown = antiphon(tmp_path, "voices", "--language", "EN")
    assert (shown.status, shown.errors) == (0, "")
    rows = [re.split(r" {2,}", line.strip()) for line in shown.out.splitlines()]
    assert rows[0] == ["voice", "model", "language", "description"]
    by_name = {row[0]: row[1:] for row in rows[1:]}
    assert by_name["narrator"][:2] == ["espeak", "en-gb-x-rp"]
    assert by_name["en-us"] == ["espeak", "en-us", "English (America)"]
    assert {language.split("-")[0] for _, language, *_ in by_name.values()} == {"en"}


def test_a_language_that_no_voice_speaks_is_told(tmp_path: Path) -> None:
    none = antiphon(tmp_path, "voices", "--language", "xx")
    assert (none.status, none.out) == (1, "")
    assert none.line == "antiphon: No voice here speaks 'xx'; antiphon voices shows them all."
