"""Streams completions from an OpenAI-compatible server, several at once: the load, in its own
process. Writes one JSON line, `finished`, with when each piece of text came."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from bench.gguf_random import words  # noqa: E402
from bench.load import tell  # noqa: E402

SAMPLING = {"temperature": 0.8, "top_p": 0.95, "top_k": 40, "seed": 1}


@dataclass(frozen=True, slots=True)
class Load:
    """`streams` at once, each `rounds` answers of `tokens` tokens to prompts of `prompt` words, the
    first `shared` of which are the same in all."""

    url: str
    model: str
    streams: int
    rounds: int
    tokens: int
    prompt: int
    shared: int
    seed: int


@dataclass(slots=True)
class Findings:
    """Seconds: of the whole, to each first text, and between texts."""

    seconds: float = 0.0
    tokens: int = 0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)


async def complete(load: Load) -> Findings:
    """Run it all."""
    findings = Findings()
    limit = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=limit) as session:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for stream in range(load.streams):
                group.create_task(_stream(session, load, stream, findings))
        findings.seconds = time.perf_counter() - began
    return findings


async def _stream(
    session: aiohttp.ClientSession, load: Load, stream: int, findings: Findings
) -> None:
    for number in range(load.rounds):
        own = words(load.prompt - load.shared, load.seed + 1000 * stream + number)
        prompt = f"{words(load.shared, 7)} {own}" if load.shared else own
        await _one(session, load, prompt, findings)


async def _one(session: aiohttp.ClientSession, load: Load, prompt: str, findings: Findings) -> None:
    body = {
        "model": load.model,
        "prompt": prompt,
        "max_tokens": load.tokens,
        "stream": True,
        **SAMPLING,
    }
    began = last = time.perf_counter()
    texts = 0
    async with session.post(f"{load.url}/v1/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.content:
            if not _has_text(line):
                continue
            now = time.perf_counter()
            (findings.gaps if texts else findings.first).append(now - last)
            texts, last = texts + 1, now
    findings.totals.append(time.perf_counter() - began)
    findings.tokens += load.tokens


def _has_text(line: bytes) -> bool:
    if not line.startswith(b"data: {"):
        return False
    event: dict[str, Any] = json.loads(line[6:])
    if "error" in event:
        raise RuntimeError(event["error"]["message"])
    return bool(event["choices"] and event["choices"][0]["text"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    for name in ("streams", "rounds", "tokens", "prompt", "shared", "seed"):
        parser.add_argument(f"--{name}", type=int, default=0)
    load = Load(**vars(parser.parse_args(arguments)))
    try:
        findings = asyncio.run(complete(load))
    except ExceptionGroup as errors:
        tell(event="failed", message=str(errors.exceptions[0]))
    else:
        tell(event="finished", **asdict(findings))


if __name__ == "__main__":
    main()
