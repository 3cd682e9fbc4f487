import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as runs
from hypothesis import strategies as st
from language_models import Scripted
from openai import BadRequestError, NotFoundError, RateLimitError
from rest import Client, openai, serving

from engines.base import Busy, InvalidInput
from engines.generation import Embed, Embedding
from routes.bodies import ON_LOOP_BYTES
from routes.services import TextTask

PATH = "/v1/embeddings"
CHATS: tuple[TextTask, ...] = ("chat",)


def vector(tokens: int, characters: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What `Scripted` makes of a text."""
    found = np.asarray([1.0, tokens, characters, 0.5], dtype=np.float32)
    return found / np.linalg.norm(found)


def single(numbers: list[float]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(numbers, dtype=np.float32)


async def ask(client: Client, **body: Any) -> tuple[int, dict[str, Any]]:
    response = await client.post(PATH, json={"model": "tiny", **body})
    return response.status, await response.json()


async def test_the_sdk_gets_the_same_vectors_in_both_encodings() -> None:
    texts = ["one two", "three"]
    async with (
        serving() as client,
        openai(client) as sdk,
        # Strict, it refuses the base64 that it asked for itself.
        openai(client, strict=True) as strict,
    ):
        packed = await sdk.embeddings.create(model="tiny", input=texts)
        plain = await strict.embeddings.create(model="tiny", input=texts, encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        np.testing.assert_array_equal(single(one.embedding), single(other.embedding))
    assert [item.index for item in packed.data] == [0, 1]
    np.testing.assert_array_equal(single(packed.data[0].embedding), vector(2, 7))
    np.testing.assert_array_equal(single(plain.data[1].embedding), vector(1, 5))
    assert (packed.usage.prompt_tokens, packed.usage.total_tokens) == (3, 3)
    assert packed.model == "tiny"


async def test_base64_is_of_little_endian_floats() -> None:
    async with serving() as client:
        _, body = await ask(client, input="hello", encoding_format="base64")
    raw = base64.b64decode(body["data"][0]["embedding"])
    np.testing.assert_array_equal(np.frombuffer(raw, "<f4"), vector(1, 5))


@pytest.mark.parametrize(
    ("given", "embedded"),
    [
        ("a text", ["a text"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3], [(1, 2, 3)]),
        ([[1, 2], [3]], [(1, 2), (3,)]),
        (["a", [3]], ["a", (3,)]),
    ],
)
async def test_texts_and_token_ids_come_alone_or_in_lists(
    given: Any, embedded: list[str | tuple[int, ...]]
) -> None:
    model = Scripted()
    async with serving(language=model) as client:
        status, body = await ask(client, input=given)
    assert status == 200
    assert model.embedded == [Embed(text) for text in embedded]
    assert len(body["data"]) == len(embedded)


@pytest.mark.parametrize(
    "given",
    [
        "",
        [],
        [""],
        ["a", ""],
        [[]],
        [["a"]],
        [True],
        [1.5],
        [-1],
        [1 << 31],
        [None],
        {},
        5,
        [[1, "a"]],
    ],
)
async def test_an_input_that_cannot_be_embedded_is_refused_by_name(given: Any) -> None:
    async with serving() as client:
        status, body = await ask(client, input=given)
    assert status == 400
    assert body["error"]["param"] == "input"


async def test_2048_inputs_are_taken_and_one_more_is_refused() -> None:
    async with serving() as client:
        most, body = await ask(client, input=["a"] * 2048)
        more, _ = await ask(client, input=["a"] * 2049)
    assert (most, more) == (200, 400)
    assert len(body["data"]) == 2048


async def test_a_shortened_vector_has_length_one_again() -> None:
    async with serving() as client, openai(client) as sdk:
        answer = await sdk.embeddings.create(model="tiny", input="one two three", dimensions=2)
        whole = await sdk.embeddings.create(model="tiny", input="one two three", dimensions=4)
    expected = vector(3, 13)[:2] / np.linalg.norm(vector(3, 13)[:2])
    np.testing.assert_allclose(answer.data[0].embedding, expected, rtol=1e-6)
    np.testing.assert_array_equal(single(whole.data[0].embedding), vector(3, 13))


@pytest.mark.parametrize("dimensions", [5, 0, -1, "two", 2.5, True])
async def test_dimensions_that_the_model_does_not_have_are_refused(dimensions: Any) -> None:
    async with serving() as client:
        status, body = await ask(client, input="a", dimensions=dimensions)
    assert status == 400
    assert body["error"]["param"] == "dimensions"


async def test_fields_that_are_null_or_unknown_are_ignored() -> None:
    async with serving() as client:
        status, _ = await ask(
            client, input="a", dimensions=None, encoding_format=None, user="me", other=1
        )
    assert status == 200


async def test_a_model_that_is_not_here_or_does_not_embed_is_refused() -> None:
    model = Scripted(tasks=CHATS)
    async with serving(language=model) as client, openai(client) as sdk:
        with pytest.raises(NotFoundError) as unknown:
            await sdk.embeddings.create(model="ada", input="a")
        with pytest.raises(BadRequestError) as chats:
            await sdk.embeddings.create(model="tiny", input="a")
        response = await client.post(PATH, json={"input": "a"})
        missing = await response.json()
    assert unknown.value.code == "model_not_found"
    assert chats.value.param == "model"
    assert missing["error"]["code"] == "missing_required_parameter"
    assert model.embedded == []


async def test_a_full_engine_is_429_and_a_text_too_long_400() -> None:
    busy = Scripted(error=Busy("Everybody embeds.", retry_after=7))
    long = Scripted(error=InvalidInput("The text is too long.", "input"))
    async with serving(language=busy) as client, openai(client) as sdk:
        with pytest.raises(RateLimitError) as raised:
            await sdk.embeddings.create(model="tiny", input="a")
    assert raised.value.response.headers["Retry-After"] == "7"
    async with serving(language=long) as client:
        status, body = await ask(client, input="a")
    assert (status, body["error"]["param"]) == (400, "input")


class Wide(Scripted):
    """Its vectors are not small."""

    async def embed(self, model: str, inputs: Any, *, owner: str) -> list[Embedding]:
        row = np.linspace(-1, 1, 1 << 13, dtype=np.float32)
        return [Embedding(row / np.linalg.norm(row), 1) for _ in inputs]


async def test_large_answers_are_whole() -> None:
    texts = ["a"] * 8
    assert len(texts) * (1 << 13) * 4 > ON_LOOP_BYTES
    async with serving(language=Wide()) as client, openai(client) as sdk:
        packed = await sdk.embeddings.create(model="tiny", input=texts)
        plain = await sdk.embeddings.create(model="tiny", input=texts, encoding_format="float")
    assert len(packed.data) == 8
    np.testing.assert_array_equal(single(packed.data[7].embedding), single(plain.data[7].embedding))


class Recorded:
    """A provider's model that answers with what it was sent."""

    status = 200
    headers: Mapping[str, str] = {"content-type": "application/json"}

    def __init__(self) -> None:
        self.posted: list[tuple[str, Mapping[str, Any]]] = []

    @asynccontextmanager
    async def post(self, path: str, body: Mapping[str, Any]) -> AsyncIterator["Recorded"]:
        self.posted.append((path, body))
        yield self

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b'{"theirs":'
        yield b" true}"


async def test_a_providers_model_gets_the_body_as_it_came() -> None:
    remote = Recorded()
    model = Scripted(remotes={"far.ada": remote})
    sent = {"model": "far.ada", "input": {"odd": 1}, "input_type": "query"}
    async with serving(language=model) as client:
        response = await client.post(PATH, json=sent)
        assert await response.read() == b'{"theirs": true}'
    assert remote.posted == [("/embeddings", sent)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "model": st.just("tiny") | JSON,
        "input": st.text(max_size=5) | st.lists(st.integers(0, 9), max_size=4) | JSON,
        "encoding_format": st.sampled_from(["float", "base64"]) | JSON,
        "dimensions": st.integers(1, 5) | JSON,
        "user": JSON,
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
