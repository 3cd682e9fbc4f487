import os
import re
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from programs import antiphon, environment
from voice import say, write_wav

pytestmark = pytest.mark.one_loop

OPTIONS = {
    "serve": (
        *("--host", "--port", "--config", "--log-level", "--insecure"),
        *("--tls-cert", "--tls-key", "--tls-self-signed"),
    ),
    "listen": (
        *("--url", "--api-key", "--model", "--language", "--device", "--list-devices"),
        *("--output", "--file", "--config", "--no-verify"),
    ),
    "transcribe": (
        *("files", "--format", "--model", "--language", "--prompt", "--output", "--url"),
        *("--api-key", "--config", "--no-verify", "txt|srt|vtt|json"),
    ),
    "say": (
        *("text", "--file", "--output", "--device", "--voice", "--model", "--speed"),
        *("--url", "--api-key", "--config", "--no-verify"),
    ),
    "voices": ("--language", "--config"),
    "models": ("--config",),
    "pull": ("name", "--revision"),
    "check": ("--config",),
}


@pytest.mark.parametrize("command", OPTIONS)
def test_the_help_of_a_command_names_every_option_and_says_what_it_is_for(
    command: str, tmp_path: Path
) -> None:
    shown = antiphon(tmp_path, command, "--help")
    assert (shown.status, shown.errors) == (0, "")
    for option in OPTIONS[command]:
        assert option in shown.out
    # Every option has its own row, and words beside it.
    rows = [line for line in shown.out.splitlines() if re.search(r"^│ [* ]\s*--", line)]
    for row in rows:
        assert re.search(r"[A-Za-z]{2,}[^<>|]* [a-z]", row.split(">", 1)[-1]), row


def test_the_help_lists_every_command_in_a_line(tmp_path: Path) -> None:
    for arguments, status in (("--help",), 0), (("-h",), 0), ((), 2):
        shown = antiphon(tmp_path, *arguments)
        assert shown.status == status
        for command in OPTIONS:
            assert re.search(rf"^│ {command} +[A-Z]", shown.out + shown.errors, re.MULTILINE)


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    shown = antiphon(tmp_path, "--version")
    assert (shown.status, shown.out, shown.errors) == (0, f"antiphon {version('antiphon')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("srve",), "No such command 'srve'"),
        (("serve", "--prot", "1"), "--port"),
        (("serve", "--port", "many"), "--port"),
        (("transcribe",), "files"),
        (("pull",), "name"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(
    arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    shown = antiphon(tmp_path, *arguments)
    assert shown.status == 2
    assert says in shown.errors


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "server:\n  port: 8801\n  prot: 3\n",
            "antiphon.yaml:3: unknown key 'prot' in 'server'; did you mean 'port'?",
        ),
        ("limits:\n  sessions: many\n", "antiphon.yaml:2: 'limits.sessions' should be a valid"),
        ("server: [\n", "antiphon.yaml:2: "),
        ("models:\n  - {name: a, engine: wisper}\n", "antiphon.yaml:2: "),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line_with_file_and_line(
    text: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "antiphon.yaml").write_text(text)
    shown = antiphon(tmp_path, "serve")
    assert (shown.status, shown.out) == (1, "")
    assert shown.line.startswith(f"antiphon: {says}")


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    shown = antiphon(tmp_path, "check", "--config", "nowhere.yaml")
    assert (shown.status, shown.out) == (1, "")
    assert shown.line == "antiphon: nowhere.yaml: cannot be read: no such file or directory"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("ANTIPHON_SERVER_PORT", "many", "ANTIPHON_SERVER_PORT: 'server.port' should be"),
        ("ANTIPHON_SERVR_HOST", "::1", "'ANTIPHON_SERVR_HOST'; did you mean 'ANTIPHON_SERVER_HO"),
    ],
)
def test_a_mistake_in_a_variable_is_one_line_that_names_it(
    variable: str, value: str, says: str, tmp_path: Path
) -> None:
    shown = antiphon(tmp_path, "serve", env={variable: value})
    assert (shown.status, shown.out) == (1, "")
    assert says in shown.line


def test_listening_without_portaudio_says_how_to_install_it(tmp_path: Path) -> None:
    stub = tmp_path / "sounddevice.py"
    stub.write_text('raise OSError("PortAudio library not found")\n')
    for more in ((), ("--list-devices",)):
        shown = _antiphon_with(tmp_path, "listen", *more)
        assert (shown.returncode, shown.stdout) == (1, "")
        (line,) = shown.stderr.splitlines()
        assert line.startswith("antiphon: No PortAudio library found. Install it with: ")
    checked = _antiphon_with(tmp_path, "check")
    assert checked.returncode == 0, checked.stderr
    assert "no PortAudio: 'antiphon listen' and 'antiphon talk' need it" in checked.stdout


def test_listening_without_a_microphone_says_so(tmp_path: Path) -> None:
    stub = tmp_path / "sounddevice.py"
    stub.write_text(
        "class PortAudioError(Exception): pass\n"
        "def query_devices(device=None, kind=None):\n"
        "    if kind: raise PortAudioError('Error querying device -1')\n"
        "    return [{'name': 'speakers', 'max_input_channels': 0}]\n"
    )
    for more in ((), ("--list-devices",), ("--device", "3")):
        shown = _antiphon_with(tmp_path, "listen", *more)
        assert (shown.returncode, shown.stdout) == (1, "")
        (line,) = shown.stderr.splitlines()
        assert line.startswith("antiphon: No microphone found. Plug one in")


def _antiphon_with(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, with the modules in `folder` before all others."""
    env = environment(folder)
    env["PYTHONPATH"] = os.pathsep.join((str(folder), env["PYTHONPATH"]))
    done = subprocess.run(
        [sys.executable, "-m", "realtime", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_listening_without_a_server_says_how_to_start_one(tmp_path: Path) -> None:
    sound = write_wav(tmp_path / "hello.wav", say("Hello."))
    shown = antiphon(tmp_path, "listen", "--file", str(sound))
    assert (shown.status, shown.out) == (1, "")
    assert "Start one with: antiphon serve" in shown.line


def test_the_server_named_by_the_environment_is_used_and_never_replaced(tmp_path: Path) -> None:
    sound = write_wav(tmp_path / "hello.wav", say("Hello."))
    url = "http://127.0.0.1:1"
    shown = antiphon(tmp_path, "transcribe", str(sound), env={"ANTIPHON_URL": url})
    assert (shown.status, shown.out) == (1, "")
    assert shown.line.startswith(f"antiphon: No server answers at {url}.")


def test_a_port_in_use_is_one_line_with_another_to_try(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        shown = antiphon(tmp_path, "serve", "--port", str(port))
    assert (shown.status, shown.out) == (1, "")
    assert shown.line.startswith(f"antiphon: port {port} is already in use")
    assert f"--port {port + 1}" in shown.line


def test_serving_other_machines_without_a_key_is_refused_with_what_to_set(tmp_path: Path) -> None:
    shown = antiphon(tmp_path, "serve", "--host", "0.0.0.0")
    assert (shown.status, shown.out) == (1, "")
    assert "set ANTIPHON_API_KEY to a secret of your choice, or pass --insecure" in shown.line


@pytest.mark.parametrize("host", ["no-such-host.invalid", 80 * "a"])
def test_a_host_that_cannot_be_listened_on_is_one_line(host: str, tmp_path: Path) -> None:
    shown = antiphon(tmp_path, "serve", "--insecure", "--host", host)
    assert (shown.status, shown.out) == (1, "")
    assert shown.line.startswith(f"antiphon: cannot listen on '{host}': ")


def test_letters_that_the_output_lacks_are_replaced(tmp_path: Path) -> None:
    shown = antiphon(tmp_path, "check", env={"PYTHONIOENCODING": "ascii"})
    assert (shown.status, shown.errors) == (0, "")
    assert "? configuration: listens on 127.0.0.1" in shown.out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_an_output_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "realtime", "models"],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "antiphon: The output cannot be written: the disk is full.\n"
