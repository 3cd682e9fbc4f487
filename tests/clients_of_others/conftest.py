"""A server as its users run it, for all tests of other people's clients: it hears by a tiny Whisper
model, speaks by espeak, and asks a provider on loopback."""

from collections.abc import Iterator
from typing import Any

import pytest
from answering_provider import AnsweringProvider
from programs import NANO, Server


@pytest.fixture(scope="package")
def provider() -> Iterator[AnsweringProvider]:
    with AnsweringProvider() as provider:
        yield provider


@pytest.fixture(scope="package")
def configuration(provider: AnsweringProvider) -> dict[str, Any]:
    return {
        **NANO,
        "providers": {"far": {"base_url": provider.url, "api_key": "sk-far-123456"}},
        "defaults": {"transcription": "nano", "chat": "far.big-1"},
    }


@pytest.fixture(scope="package")
def server(
    configuration: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), configuration=configuration) as running:
        yield running
