"""The `antiphon` command as a program of its own: run to its end, or serving while a test talks."""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import pytest
import yaml
from voice import ROOT, WHISPER_NANO

NANO = {
    "models": [{"name": "nano", "engine": "whisper", "source": str(WHISPER_NANO)}],
    "defaults": {"transcription": "nano"},
}
"""A configuration whose default model is a tiny Whisper."""

_PRIVATE = ("ANTIPHON_", "OPENAI_", "HF_", "PYTHONPATH", "COLUMNS", "FORCE_COLOR")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    errors: str

    @property
    def line(self) -> str:
        """The one line on standard error."""
        lines = self.errors.splitlines()
        assert len(lines) == 1, self.errors
        return lines[0]


def environment(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without the developer's own settings and keys; data lies in `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}
    ours = {
        "PYTHONPATH": str(ROOT),
        "ANTIPHON_DATA_DIR": str(folder / "data"),
        "ANTIPHON_SERVER_PORT": str(free_port()),
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "XDG_CONFIG_HOME": str(folder / "config"),
        "HF_HOME": str(folder / "hub"),
    }
    return kept | ours | dict(more or {})


def antiphon(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Ended:
    """Run `antiphon` with these arguments in `folder`. No command may ever show a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "realtime", *arguments],
        cwd=folder,
        env=environment(folder, env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def configured(folder: Path, configuration: object) -> Path:
    """A configuration file with this content."""
    path = folder / "antiphon.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server:
    """`antiphon serve` in a process group of its own, while the block runs."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        configuration: object = None,
        tls: bool = False,
        port: int | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._folder = folder
        self._arguments = arguments
        if configuration is not None:
            configured(folder, configuration)

    def __enter__(self) -> Self:
        self._log = (self._folder / "server.log").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "realtime", "serve", "--port", str(self.port), *self._arguments],
            cwd=self._folder,
            env=environment(self._folder),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until(self._is_up, 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        family = self.family()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._log.close()
        assert "Traceback" not in self.log(), self.log()

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"the server did not start:\n{self.log()}")
        with contextlib.suppress(OSError):
            self.get("/health")
            return True
        return False

    def get(self, path: str) -> str:
        """The body of a page, whatever the certificate."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        opener = urllib.request.build_opener(*handlers)
        with opener.open(self.url + path, timeout=10) as response:
            body: bytes = response.read()
        return body.decode()

    def log(self) -> str:
        return (self._folder / "server.log").read_text(errors="replace")

    def family(self) -> list[psutil.Process]:
        """The server's child processes."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stop(self, number: int, within: float) -> int:
        """Send a signal; the exit status, which must come within so many seconds."""
        self.process.send_signal(number)
        return self.process.wait(within)


def wait_until(reached: Callable[[], bool], seconds: float) -> None:
    """Fail unless `reached` becomes true in time."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
