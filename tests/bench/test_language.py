"""The language benchmark: its model, its load, its loop, on a small model for real."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import Server

from bench.completing import Load, complete
from bench.gguf_random import Shape, words, write_gguf
from bench.llama_loop import Loop

SMALL = Shape(width=64, layers=1, vocabulary=1400, key_heads=1)

pytestmark = pytest.mark.one_loop


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("bench") / "random.gguf", SMALL)


@pytest.fixture(scope="module")
def server(path: Path) -> Iterator[Server]:
    record = {"name": "bench", "engine": "llama", "source": str(path), "options": {"threads": 1}}
    with Server(path.parent, configuration={"models": [record]}) as running:
        yield running


def test_a_prompt_has_as_many_tokens_as_words(path: Path) -> None:
    loop = Loop(path, streams=1, cells=256, threads=1)
    assert len(loop.tokens(words(40, seed=3))) == 1 + 40
    assert words(40, seed=3) == words(40, seed=3) != words(40, seed=4)


def test_the_loop_answers_several_prompts_together(path: Path) -> None:
    loop = Loop(path, streams=3, cells=256, threads=1)
    loop.answer([loop.tokens(words(8, seed)) for seed in range(3)], tokens=5)


async def test_every_token_of_every_stream_is_counted(server: Server) -> None:
    load = Load(server.url, "bench", streams=3, rounds=2, tokens=12, prompt=20, shared=8, seed=1)
    found = await complete(load)
    assert found.tokens == 3 * 2 * 12
    assert len(found.first) == len(found.totals) == 6
    assert len(found.gaps) <= 6 * 11
    assert found.seconds > 0


async def test_an_error_of_the_server_ends_the_load(server: Server) -> None:
    load = Load(server.url, "none", streams=1, rounds=1, tokens=2, prompt=4, shared=0, seed=1)
    with pytest.raises(ExceptionGroup):
        await complete(load)
