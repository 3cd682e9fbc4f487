"""How fast several clients are answered at once, and what the server adds to llama.cpp.

A language model of 134 million random weights is made for it. Parts: streams, prefix, overhead.
`python bench/language.py --help`.
"""

import argparse
import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.running import (  # noqa: E402
    BenchError,
    Child,
    Server,
    free_port,
    machine,
    start,
    stop,
    table_row,
)
from bench.transcription import percentile  # noqa: E402
from realtime.app import cores  # noqa: E402

NAME = "bench"
FULL_STREAMS, QUICK_STREAMS = (1, 2, 4, 8, 16), (1, 8)
HEADLINE = 8
ALTERNATIONS = 3
PROMPT_WORDS, ANSWER_TOKENS = 32, 96
SHARED_WORDS, OWN_WORDS = 1500, 16
HEADINGS = (
    "server",
    "streams",
    "tokens/s",
    "first text p50 / p95 s",
    "between texts p95 ms",
)


@dataclass(slots=True)
class Run:
    """Where the model is, how much is measured, and what was found."""

    model: Path
    quick: bool
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 4

    def report(self, name: str, value: float, digits: int = 3) -> None:
        """Print a figure and keep it."""
        self.figures[name] = round(value, digits)
        print(f"{name} = {self.figures[name]:g}", flush=True)

    def server(self) -> Server:
        """Ours, with the model."""
        options = {"sequences": 16, "context": 2048, "cache_tokens": 8192}
        record = {"name": NAME, "engine": "llama", "source": str(self.model), "options": options}
        return Server(json.dumps({"models": [record]}))


def streams(run: Run) -> None:
    """Tokens a second by number of streams: ours, llama.cpp in a bare loop, its Python server."""
    print(table_row(HEADINGS, HEADINGS))
    print(table_row(["-" * len(head) for head in HEADINGS], HEADINGS))
    for count in QUICK_STREAMS if run.quick else FULL_STREAMS:
        turns = ALTERNATIONS if count == HEADLINE and not run.quick else 1
        ratios = []
        for _ in range(turns):
            bare = _bare(run, count)
            with run.server() as server:
                ours = _complete(run, server.url, count)
            ratios.append(ours["tokens"] / ours["seconds"] / bare)
            _show("antiphon", count, ours)
            print(table_row(("bare loop", str(count), f"{bare:.1f}", "", ""), HEADINGS))
        _keep(run, count, ours)
        run.report(f"throughput_ratio_{count}", statistics.median(ratios))
        with _peer(run) as url:
            if url is not None:
                peer = _complete(run, url, count)
                _show("llama-cpp-python", count, peer)
                speeds = [each["tokens"] / each["seconds"] for each in (ours, peer)]
                run.report(f"throughput_over_peer_{count}", speeds[0] / speeds[1], 2)


def prefix(run: Run) -> None:
    """Time to the first text behind 1,500 tokens that were computed before, and that were not."""
    with run.server() as server:
        words = SHARED_WORDS + OWN_WORDS
        known = {"rounds": 6, "tokens": 2, "prompt": words}
        shared = _load(server.url, streams=1, shared=SHARED_WORDS, seed=1, **known)
        fresh = _load(server.url, streams=1, shared=0, seed=500, **known)
    with_reuse, without = (statistics.median(each["first"][1:]) for each in (shared, fresh))
    print(f"first text: {1000 * with_reuse:.1f} ms with reuse, {1000 * without:.0f} ms without")
    run.report("prefix_first_text_ratio", with_reuse / without, 4)


def overhead(run: Run) -> None:
    """What one request costs beside its prompt and its one token, by HTTP and alone."""
    rounds = 20 if run.quick else 60
    one = {"streams": 1, "rounds": rounds, "tokens": 1, "prompt": PROMPT_WORDS}
    differences = []
    with run.server() as server:
        _load(server.url, shared=0, seed=9000, **one)
        for turn in range(ALTERNATIONS):
            served = _load(server.url, shared=0, seed=10_000 * (turn + 1), **one)
            alone = _looped(run, **one)["median_seconds"]
            took = statistics.median(served["totals"])
            print(f"a request: {1000 * took:.1f} ms; alone: {1000 * alone:.1f} ms", flush=True)
            differences.append(1000 * (took - alone))
    run.report("overhead_ms", statistics.median(differences), 2)


PARTS: dict[str, Callable[[Run], None]] = {
    "streams": streams,
    "prefix": prefix,
    "overhead": overhead,
}


def _bare(run: Run, count: int) -> float:
    told = _looped(run, streams=count, rounds=run.rounds, tokens=ANSWER_TOKENS, prompt=PROMPT_WORDS)
    speed: float = told["tokens_a_second"]
    return speed


def _looped(run: Run, **numbers: int) -> dict[str, Any]:
    given = numbers | {"threads": cores()}
    command = [f"--{name}={value}" for name, value in given.items()]
    program = str(ROOT / "bench" / "llama_loop.py")
    with Child(program, "--source", str(run.model), *command) as child:
        return child.expect("looped")


def _complete(run: Run, url: str, count: int) -> dict[str, Any]:
    """Warm it up, then measure."""
    known = {"streams": count, "prompt": PROMPT_WORDS, "shared": 0}
    _load(url, rounds=1, tokens=8, seed=100_000, **known)
    return _load(url, rounds=run.rounds, tokens=ANSWER_TOKENS, seed=1, **known)


def _load(url: str, **numbers: int) -> dict[str, Any]:
    command = [f"--{name}={value}" for name, value in numbers.items()]
    program = str(ROOT / "bench" / "completing.py")
    with Child(program, "--url", url, "--model", NAME, *command) as child:
        return child.expect("finished")


@contextlib.contextmanager
def _peer(run: Run) -> Iterator[str | None]:
    """llama-cpp-python's own server, where it is installed with its `server` extra."""
    if importlib.util.find_spec("starlette_context") is None:
        print("llama-cpp-python's server is not installed: add --with 'llama-cpp-python[server]'")
        yield None
        return
    port = free_port()
    options = {
        "model": str(run.model),
        "model_alias": NAME,
        "n_ctx": "2048",
        "n_threads": str(cores()),
        "host": "127.0.0.1",
        "port": str(port),
        "interrupt_requests": "False",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    process = start(
        [sys.executable, "-m", "llama_cpp.server", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/v1/models")
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def _wait(url: str) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise BenchError("llama-cpp-python's server did not start.")


def _show(name: str, count: int, found: dict[str, Any]) -> None:
    row = (
        name,
        str(count),
        f"{found['tokens'] / found['seconds']:.1f}",
        f"{percentile(found['first'], 0.5):.2f} / {percentile(found['first'], 0.95):.2f}",
        f"{1000 * percentile(found['gaps'], 0.95):.0f}",
    )
    print(table_row(row, HEADINGS), flush=True)


def _keep(run: Run, count: int, found: dict[str, Any]) -> None:
    run.figures[f"tokens_per_second_{count}"] = round(found["tokens"] / found["seconds"], 1)
    run.figures[f"first_text_p50_{count}"] = round(percentile(found["first"], 0.5), 3)
    run.figures[f"first_text_p95_{count}"] = round(percentile(found["first"], 0.95), 3)
    run.figures[f"between_texts_p95_ms_{count}"] = round(1000 * percentile(found["gaps"], 0.95), 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 2 where nothing could be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="at most four minutes in all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and figures here")
    parser.add_argument(
        "--only", action="append", choices=list(PARTS), help="this part; repeatable"
    )
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="antiphon-") as folder:
            from bench.gguf_random import write_gguf

            run = Run(write_gguf(Path(folder) / "random.gguf"), given.quick)
            print(f"{machine()}\n")
            for name in given.only or PARTS:
                print(f"\n{name}: {PARTS[name].__doc__}\n", flush=True)
                PARTS[name](run)
    except ImportError as error:
        print(
            f"{error.name} is missing: run this with the development tools"
            " (uv run --group dev python bench/language.py).",
            file=sys.stderr,
        )
        return 2
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "figures": run.figures}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
