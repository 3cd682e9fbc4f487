import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import numpy as np
import pytest
from fake_hub import Hub
from gguf_headers import Value, gguf_bytes
from piper_voices import description, network
from programs import NANO, Server, antiphon, configured
from voice import say, silence, word_errors, write_wav

pytestmark = pytest.mark.one_loop

FIRST = "The engineer is not happy with the support backlog."
SECOND = "Who is responsible for the new website?"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    parts = [silence(0.5), say(FIRST), silence(1.2), say(SECOND), silence(0.8)]
    return write_wav(tmp_path / "two.wav", np.concatenate(parts))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with fake_hub.serving() as hub:
        yield hub


@pytest.mark.parametrize(
    ("format", "pattern"),
    [
        ("txt", r"[\w ,.?']+\n"),
        (
            "srt",
            r"1\n00:00:00,\d{3} --> 00:00:0\d,\d{3}\n.+\n\n2\n00:00:0\d,\d{3} --> [\d:,]+\n.+\n",
        ),
        ("vtt", r"WEBVTT\n\n00:00:00\.\d{3} --> 00:00:0\d\.\d{3}\n.+\n\n00:00:0[\d.:> -]+\n.+\n"),
        ("json", r"(?s)\{.*\}\n"),
    ],
)
def test_transcribing_without_a_server_starts_one_for_the_duration(
    format: str, pattern: str, tmp_path: Path, two: Path
) -> None:
    configured(tmp_path, NANO)
    done = antiphon(tmp_path, "transcribe", "--format", format, str(two))
    assert (done.status, done.errors) == (0, "")
    assert re.fullmatch(pattern, done.out), done.out
    text = json.loads(done.out)["text"] if format == "json" else done.out
    words = re.sub(r"WEBVTT|^[\d:.,> -]+$", "", text, flags=re.MULTILINE)
    assert word_errors(f"{FIRST} {SECOND}", words) <= 0.3


def test_the_other_files_are_transcribed_where_some_cannot_be(tmp_path: Path, two: Path) -> None:
    configured(tmp_path, NANO)
    (tmp_path / "notes.mp3").write_text("This is no music.\n")
    files = ("nowhere.wav", "notes.mp3", str(two), str(tmp_path))
    done = antiphon(tmp_path, "transcribe", *files)
    assert done.status == 1
    missing, text, folder = done.errors.splitlines()
    assert missing == "nowhere.wav: cannot be read: No such file or directory."
    assert text.startswith("notes.mp3: The file could not be read as audio")
    assert folder == f"{tmp_path}: cannot be read: Is a directory."
    title, heard = done.out.splitlines()
    assert title == f"==> {two} <=="
    assert word_errors(f"{FIRST} {SECOND}", heard) <= 0.3


def test_a_file_that_is_missing_needs_no_server_to_say_so(tmp_path: Path) -> None:
    begun = time.monotonic()
    done = antiphon(tmp_path, "transcribe", "nowhere.wav")
    assert (done.status, done.out) == (1, "")
    assert done.line == "nowhere.wav: cannot be read: No such file or directory."
    assert time.monotonic() - begun < 10


def test_the_server_that_is_configured_here_is_used_with_its_key(tmp_path: Path, two: Path) -> None:
    with Server(tmp_path, configuration={"server": {"api_key": "hunter2"}, **NANO}) as server:
        port = {"ANTIPHON_SERVER_PORT": str(server.port)}
        done = antiphon(tmp_path, "transcribe", str(two), env=port)
        assert (done.status, done.errors) == (0, "")
        assert word_errors(f"{FIRST} {SECOND}", done.out) <= 0.3


def test_a_model_that_is_not_here_is_refused_in_a_line(tmp_path: Path, two: Path) -> None:
    done = antiphon(tmp_path, "transcribe", "--model", "base", str(two))
    assert (done.status, done.out) == (1, "")
    assert "'base'" in done.line
    assert "pocketsphinx" in done.line


def test_models_lists_what_is_here_and_what_can_be_pulled(tmp_path: Path) -> None:
    shown = antiphon(tmp_path, "models")
    assert (shown.status, shown.errors) == (0, "")
    assert re.search(r"pocketsphinx \(default\) +pocketsphinx +en\b", shown.out)
    assert re.search(r"espeak \(default\) +espeak +141 +\d+ languages", shown.out)
    assert re.search(r"antiphon pull NAME, where NAME is tiny, tiny\.en, base,", shown.out)
    assert re.search(r"\sen_US-lessac-medium, [\w.,\s-]+\sto\sspeak\n", shown.out)


def test_models_shows_a_configured_model_and_says_what_is_wrong_with_another(
    tmp_path: Path,
) -> None:
    broken = {"name": "lost", "engine": "whisper", "source": str(tmp_path / "lost")}
    configured(tmp_path, {**NANO, "models": [*NANO["models"], broken]})
    shown = antiphon(tmp_path, "models")
    assert (shown.status, shown.errors) == (0, "")
    assert re.search(r"nano \(default\) +whisper +", shown.out)
    assert f"The model 'lost' cannot be used: {tmp_path / 'lost'} lacks model.bin" in shown.out


def test_check_finds_a_fresh_machine_fit(tmp_path: Path) -> None:
    shown = antiphon(tmp_path, "check")
    assert (shown.status, shown.errors) == (0, "")
    assert "✗" not in shown.out
    assert "✓ transcription model: pocketsphinx" in shown.out
    assert "✓ speech model: espeak" in shown.out
    assert "antiphon pull base" in shown.out
    assert "antiphon pull en_US-lessac-medium" in shown.out


def test_check_fails_where_a_model_is_missing_and_names_what_it_lacks(tmp_path: Path) -> None:
    broken = {"name": "lost", "engine": "whisper", "source": str(tmp_path / "lost")}
    defaults = {"transcription": "lost", "voice": "shimer"}
    configured(tmp_path, {"models": [broken], "defaults": defaults})
    shown = antiphon(tmp_path, "check")
    assert (shown.status, shown.errors) == (1, "")
    assert "✗ The voice 'shimer' cannot be used. There is no voice 'shimer'; did you" in shown.out
    (line,) = [line for line in shown.out.splitlines() if "lost" in line]
    assert f"✗ The model 'lost' cannot be used: {tmp_path / 'lost'} lacks model.bin" in line
    refused = antiphon(tmp_path, "serve")
    assert (refused.status, refused.out) == (1, "")
    assert "The model 'lost' cannot be used" in refused.line


def test_pulling_an_unknown_name_suggests_the_nearest(tmp_path: Path) -> None:
    done = antiphon(tmp_path, "pull", "bsae")
    assert (done.status, done.out) == (1, "")
    assert "There is no model 'bsae' to pull; did you mean 'base'?" in done.line


def test_pulling_without_a_network_says_so_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    done = antiphon(tmp_path, "pull", "base", env={"HF_ENDPOINT": "http://127.0.0.1:1"})
    assert (done.status, done.out) == (1, "")
    assert "http://127.0.0.1:1 cannot be reached" in done.line
    assert "check the network" in done.line
    assert time.monotonic() - begun < 15


def test_a_model_that_was_pulled_is_listed_as_the_default(tmp_path: Path, hub: Hub) -> None:
    done = antiphon(tmp_path, "pull", "tiny", env={"HF_ENDPOINT": hub.url})
    assert (done.status, done.errors) == (0, "")
    assert "Installed whisper-tiny." in done.out
    shown = antiphon(tmp_path, "models")
    assert re.search(r"whisper-tiny \(default\) +whisper ", shown.out)
    assert "pocketsphinx" in shown.out
    assert "NAME is tiny," not in shown.out


def test_a_language_model_that_was_pulled_is_listed_with_what_it_is(
    tmp_path: Path, hub: Hub
) -> None:
    hub.repository = "Qwen/Qwen3-0.6B-GGUF"
    about: dict[str, Value] = {
        "general.size_label": "0.6B",
        "general.file_type": 7,
        "qwen3.context_length": 40960,
    }
    hub.files = {"Qwen3-0.6B-Q8_0.gguf": gguf_bytes(about, architecture="qwen3")}
    done = antiphon(tmp_path, "pull", "qwen3-0.6b", env={"HF_ENDPOINT": hub.url})
    assert (done.status, done.errors) == (0, "")
    assert "Installed qwen3-0.6b." in done.out
    shown = antiphon(tmp_path, "models")
    assert re.search(r"qwen3-0\.6b \(default\) +llama +chat +0\.6B Q8_0 +40960 ", shown.out)
    assert re.search(r"pocketsphinx \(default\) +pocketsphinx +en\b", shown.out)
    assert re.search(r"qwen3-1\.7b, [\w.,\s-]+\sfor\schat;\nnomic-embed-text", shown.out)
    assert "qwen3-0.6b," not in shown.out
    checked = antiphon(tmp_path, "check")
    assert "✓ transcription model: pocketsphinx" in checked.out
    assert "✓ language model: qwen3-0.6b" in checked.out


def test_a_voice_that_was_pulled_is_listed_as_the_default(tmp_path: Path, hub: Hub) -> None:
    hub.repository = "rhasspy/piper-voices"
    file = "de/de_DE/thorsten/medium/de_DE-thorsten-medium.onnx"
    hub.files = {file: network(), f"{file}.json": json.dumps(description(("a", "b"))).encode()}
    done = antiphon(tmp_path, "pull", "de_DE-thorsten-medium", env={"HF_ENDPOINT": hub.url})
    assert (done.status, done.errors) == (0, "")
    assert "Installed de_DE-thorsten-medium." in done.out
    shown = antiphon(tmp_path, "models")
    assert re.search(r"de_DE-thorsten-medium \(default\) +piper +2 +en +thorsten", shown.out)
    assert re.search(r"espeak +espeak +141", shown.out)


def test_pulling_a_quantisation_that_is_not_there_lists_those_that_are(
    tmp_path: Path, hub: Hub
) -> None:
    hub.repository = "a/b"
    hub.files = {name: gguf_bytes() for name in ("b-Q4_K_M.gguf", "b-Q8_0.gguf")}
    done = antiphon(tmp_path, "pull", "a/b:Q5_0", env={"HF_ENDPOINT": hub.url})
    assert (done.status, done.out) == (1, "")
    assert done.line == "antiphon: 'a/b' has no Q5_0; pull one of: a/b:Q4_K_M, a/b:Q8_0."
