"""A server to measure: started, watched and stopped; and what this machine is."""

import contextlib
import ctypes
import json
import math
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[1]
_START_SECONDS = 90.0
_STOP_SECONDS = 15.0
_PR_SET_PDEATHSIG = 1

_without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class BenchError(Exception):
    """Why nothing can be measured; a sentence."""


class Scrape:
    """One reading of /metrics."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """The sum over the samples of this name that have these labels; None without any."""
        found = [
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def buckets(self, histogram: str) -> dict[float, float]:
        """Cumulative counts by upper bound in the histogram's unit; empty without one."""
        counts: dict[float, float] = {}
        for sample in self._samples:
            if sample.name == f"{histogram}_bucket":
                bound = float(sample.labels["le"])
                counts[bound] = counts.get(bound, 0.0) + sample.value
        return counts


class Server:
    """`antiphon serve` as a child process, with its own data folder and this configuration.

    `program` takes the command's place: what is behind `python`, up to `serve`. It dies with this
    process, however this process dies (Linux); elsewhere on a normal end.
    """

    def __init__(self, configuration: str, *program: str) -> None:
        self._configuration = configuration
        self._program = program or ("-m", "realtime")
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="antiphon-")))
            configuration = folder / "antiphon.yaml"
            configuration.write_text(self._configuration)
            self._log = folder / "server.log"
            environment = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
            paths = [str(ROOT), environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
            environment["ANTIPHON_DATA_DIR"] = str(folder / "data")
            command = ["serve", "--port", str(self.port), "--config", str(configuration)]
            self._process = start(
                [sys.executable, *self._program, *command],
                stdout=stack.enter_context(self._log.open("wb")),
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
            )
            stack.callback(stop, self._process)
            self._watched = psutil.Process(self._process.pid)
            self._wait_for_health()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def cpu_seconds(self) -> float:
        """CPU that the server has used so far, children that are gone included."""
        self._check()
        return tree_cpu_seconds(self._watched)

    def rss_mib(self) -> float:
        """Resident memory of all processes of the server."""
        self._check()
        return tree_rss_mib(self._watched)

    def scrape(self) -> Scrape:
        self._check()
        try:
            return Scrape(self._get("/metrics"))
        except OSError as error:
            raise BenchError(f"The server does not show its metrics ({error}).") from error

    def _check(self) -> None:
        if self._process.poll() is not None:
            raise BenchError(f"The server died:\n{self._tail()}")

    def _get(self, path: str) -> str:
        with _without_proxy.open(f"{self.url}{path}", timeout=10) as response:
            body: bytes = response.read()
        return body.decode()

    def _wait_for_health(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BenchError(f"The server did not start:\n{self._tail()}")
            with contextlib.suppress(OSError):
                self._get("/health")
                return
            time.sleep(0.1)
        raise BenchError(f"The server was not up after {_START_SECONDS:.0f} s:\n{self._tail()}")

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-20:])


def tree_cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and its descendants, dead ones that were reaped too."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


def tree_rss_mib(process: psutil.Process) -> float:
    """Resident memory of a process and its descendants."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total / 2**20


def start(command: list[str], **more: Any) -> "subprocess.Popen[bytes]":
    """A child that is killed when this process is gone, be it by SIGKILL (Linux)."""
    return subprocess.Popen(command, preexec_fn=_end_with_parent(), **more)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to end, then kill it and what it started."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def _end_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)

    def ask() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return ask


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def quantile(before: Mapping[float, float], after: Mapping[float, float], q: float) -> float | None:
    """The q-quantile of what a histogram saw between two readings, None if it saw nothing.

    Linear inside a bucket, as Prometheus' `histogram_quantile`; beyond the last bound, infinity.
    """
    counts = {bound: count - before.get(bound, 0.0) for bound, count in sorted(after.items())}
    total = counts.get(math.inf, 0.0)
    if total <= 0:
        return None
    wanted = q * total
    lower, below = 0.0, 0.0
    for bound, count in counts.items():
        if count >= wanted:
            if math.isinf(bound):
                return bound
            return lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return math.inf


def machine() -> str:
    """What this was measured on, in a line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().total / 2**30
    python = f"Python {platform.python_version()}"
    system = f"{platform.system()} {platform.release()}"
    return f"{_processor()}, {cores} cores, {memory:.0f} GiB, {python}, {system}"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class Child:
    """A load generator or another program that tells JSON lines; ended with this context."""

    def __init__(self, *command: str) -> None:
        self._process = start([sys.executable, *command], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._stdout = self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if not any(failure):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
        stop(self._process)
        self._stdout.close()

    def expect(self, kind: str) -> dict[str, Any]:
        """Its next line, an event of this kind. Raises `BenchError` for any other."""
        line = self._stdout.readline() or b'{"event": "failed", "message": "it ended early"}'
        event: dict[str, Any] = json.loads(line)
        if event["event"] != kind:
            raise BenchError(f"The load generator failed: {event.get('message')}")
        return event


def grown(scrapes: tuple[Scrape, Scrape], name: str, **labels: str) -> float | None:
    """By how much a counter grew between two readings; None where the server has none."""
    before, after = (scrape.value(name, **labels) for scrape in scrapes)
    return None if after is None else after - (before or 0.0)


def table_row(cells: Sequence[str], headings: Sequence[str]) -> str:
    """A line in columns as wide as their headings, which can be pasted into Markdown."""
    padded = (cell.rjust(len(head)) for cell, head in zip(cells, headings, strict=True))
    return f"| {' | '.join(padded)} |"
