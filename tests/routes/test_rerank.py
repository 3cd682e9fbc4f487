from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as runs
from hypothesis import strategies as st
from language_models import Scripted
from rest import Client, serving

from engines.base import Busy, ProviderError
from engines.generation import Rank
from routes.services import TextTask

PATH = "/v1/rerank"
CHATS: tuple[TextTask, ...] = ("chat",)
DOCUMENTS = ["a cat", "the black cat sat", "dogs", "a black dog"]


async def ask(client: Client, **body: Any) -> tuple[int, dict[str, Any]]:
    body = {"model": "tiny", "query": "black cat", "documents": DOCUMENTS, **body}
    response = await client.post(PATH, json=body)
    return response.status, await response.json()


async def test_documents_come_most_relevant_first_and_equals_in_their_order() -> None:
    model = Scripted()
    async with serving(language=model) as client:
        status, body = await ask(client)
    assert status == 200
    assert body["results"] == [
        {"index": 1, "relevance_score": 2.0},
        {"index": 0, "relevance_score": 1.0},
        {"index": 3, "relevance_score": 1.0},
        {"index": 2, "relevance_score": 0.0},
    ]
    assert model.ranked == [Rank("black cat", document) for document in DOCUMENTS]
    tokens = sum(2 + len(document.split()) for document in DOCUMENTS)
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert body["model"] == "tiny"
    assert body["id"].startswith("rerank-")


async def test_the_best_few_come_with_their_texts_if_asked() -> None:
    async with serving() as client:
        _, body = await ask(client, top_n=2, return_documents=True)
        _, all_of_them = await ask(client, top_n=99)
    assert [result["document"] for result in body["results"]] == [
        {"text": "the black cat sat"},
        {"text": "a cat"},
    ]
    assert len(all_of_them["results"]) == 4


async def test_documents_may_be_objects_with_a_text() -> None:
    model = Scripted()
    async with serving(language=model) as client:
        status, body = await ask(
            client, documents=[{"text": "a dog", "id": 4}, "a cat"], return_documents=True
        )
    assert status == 200
    assert body["results"][1]["document"] == {"text": "a dog"}
    assert [pair.document for pair in model.ranked] == ["a dog", "a cat"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("documents", []),
        ("documents", ["a"] * 1001),
        ("documents", "a"),
        ("documents", [1]),
        ("documents", [{"image": "a"}]),
        ("documents", None),
        ("query", ""),
        ("query", 4),
        ("query", None),
        ("top_n", 0),
        ("top_n", "two"),
        ("top_n", True),
        ("return_documents", "yes"),
        ("model", None),
        ("model", 4),
    ],
)
async def test_what_cannot_be_ranked_is_refused_by_name(field: str, value: Any) -> None:
    async with serving() as client:
        status, body = await ask(client, **{field: value})
    assert status == 400
    assert body["error"]["param"] == field


async def test_1000_documents_are_ranked() -> None:
    async with serving() as client:
        status, body = await ask(client, documents=["a"] * 1000)
    assert status == 200
    assert [result["index"] for result in body["results"]] == list(range(1000))


async def test_a_model_that_is_not_here_or_does_not_rank_is_refused() -> None:
    async with serving(language=Scripted(tasks=CHATS)) as client:
        unknown, _ = await ask(client, model="other")
        chats, body = await ask(client)
    assert (unknown, chats) == (404, 400)
    assert body["error"]["param"] == "model"


async def test_what_fails_has_its_status() -> None:
    async with serving(language=Scripted(error=Busy("Full."))) as client:
        busy, _ = await ask(client)
    async with serving(language=Scripted(error=ProviderError("It is down."))) as client:
        down, body = await ask(client)
    assert (busy, down) == (429, 502)
    assert body["error"] == {
        "message": "It is down.",
        "type": "server_error",
        "param": None,
        "code": "provider_error",
    }


class Recorded:
    """A provider's model that answers with an error."""

    status = 422
    headers: Mapping[str, str] = {"content-type": "application/json"}

    def __init__(self) -> None:
        self.posted: list[tuple[str, Mapping[str, Any]]] = []

    @asynccontextmanager
    async def post(self, path: str, body: Mapping[str, Any]) -> AsyncIterator["Recorded"]:
        self.posted.append((path, body))
        yield self

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b'{"detail": "theirs"}'


async def test_a_providers_model_gets_the_body_as_it_came() -> None:
    remote = Recorded()
    sent = {"model": "far.rank", "query": "q", "documents": [{"image": "x"}], "more": 1}
    async with serving(language=Scripted(remotes={"far.rank": remote})) as client:
        response = await client.post(PATH, json=sent)
        assert (response.status, await response.json()) == (422, {"detail": "theirs"})
    assert remote.posted == [("/rerank", sent)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
TEXTS = st.text(max_size=8)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "model": st.just("tiny") | JSON,
        "query": TEXTS | JSON,
        "documents": st.lists(TEXTS | st.fixed_dictionaries({"text": TEXTS}), max_size=4) | JSON,
        "top_n": st.integers(1, 5) | JSON,
        "return_documents": st.booleans() | JSON,
    },
)


@pytest.mark.one_loop
@runs(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(BODIES, min_size=20, max_size=20))
async def test_whatever_the_body_the_answer_is_200_or_the_clients_fault(
    bodies: list[dict[str, Any]],
) -> None:
    async with serving() as client:
        for body in bodies:
            response = await client.post(PATH, json=body)
            assert response.status in (200, 400, 404), body
