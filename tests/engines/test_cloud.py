import asyncio
import gzip
import json
import logging
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from far import ANSWER, DONE, KEY, Handler, breaks_off, chunk, far, refuses, says, streams

from engines import cloud, cloud_events
from engines.base import (
    Busy,
    EngineError,
    InvalidInput,
    ModelNotFound,
    ProviderError,
    Unsupported,
)
from engines.cloud import Provider, RemoteModel
from engines.endpoints import Endpoint
from engines.generation import (
    Chat,
    ContextLengthExceeded,
    Embed,
    Finished,
    Generate,
    GenerationEvent,
    Rank,
    TextDelta,
    Usage,
)

ASKED = Generate(Chat(({"role": "user", "content": "Hi"},)), max_tokens=9)


HELLO: list[GenerationEvent] = [
    TextDelta("Hel"),
    TextDelta("lo"),
    Finished("stop", Usage(prompt=7, completion=2)),
]


async def generated(model: RemoteModel, request: Generate = ASKED) -> list[GenerationEvent]:
    async with aclosing(model.generate(request)) as events:
        return [event async for event in events]


async def posted(model: RemoteModel, /, path: str = "/chat/completions", **body: Any) -> bytes:
    async with model.post(path, body) as answer:
        return b"".join([piece async for piece in answer.chunks()])


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def test_a_request_is_passed_on_with_the_providers_name_of_the_model_and_its_key() -> None:
    async with far(says({"fine": True})) as there:
        content = await posted(there.model, model="far.big-1", x=1)
    assert json.loads(content) == {"fine": True}
    (sent,) = there.sent
    assert sent.path == "/v1/chat/completions"
    assert sent.body == {"model": "big-1", "x": 1}
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert sent.headers["Content-Type"] == "application/json"


async def test_a_stream_is_passed_on_byte_for_byte_and_as_it_comes() -> None:
    gate = asyncio.Event()
    first = b': hello\r\n\r\ndata: {"a": \xc3'
    second = b"\xa9}\n\ndata: [DONE]"
    async with (
        far(streams(first, gate, second)) as there,
        there.model.post("/chat/completions", {"stream": True}) as answer,
        aclosing(answer.chunks()) as chunks,
    ):
        assert await anext(chunks) == first
        gate.set()
        assert b"".join([piece async for piece in chunks]) == second


async def test_only_headers_that_concern_the_client_are_passed_on() -> None:
    headers = {"Retry-After": "3", "X-Request-Id": "r1", "Set-Cookie": "a=b", "Server": "far"}
    async with (
        far(streams(DONE, headers=headers)) as there,
        there.model.post("/completions", {}) as answer,
    ):
        assert dict(answer.headers) == {
            "content-type": "text/event-stream",
            "retry-after": "3",
            "x-request-id": "r1",
        }


async def test_a_compressed_answer_is_passed_on_uncompressed() -> None:
    body = b"".join(ANSWER)
    compressed = gzip.compress(body)
    handler = streams(compressed[:9], compressed[9:], headers={"Content-Encoding": "gzip"})
    async with far(handler) as there:
        assert await posted(there.model, stream=True) == body
        assert await generated(there.model) == HELLO
        async with there.model.post("/chat/completions", {}) as answer:
            assert "content-encoding" not in answer.headers
            assert "content-length" not in answer.headers


@pytest.mark.parametrize("status", [400, 404, 418, 429, 500, 503])
async def test_an_error_is_passed_on_as_it_is(status: int) -> None:
    async with (
        far(says({"error": "odd"}, status, Retry_After="9")) as there,
        there.model.post("/chat/completions", {}) as answer,
    ):
        assert (answer.status, answer.headers["retry-after"]) == (status, "9")
        assert b"".join([piece async for piece in answer.chunks()]) == b'{"error": "odd"}'


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_not_told_as_if_it_were_the_clients(status: int) -> None:
    async with far(refuses(f"Incorrect API key: {KEY[:8]}***cdef", status)) as there:
        for request in (posted(there.model), generated(there.model)):
            with pytest.raises(ProviderError, match=f"'far' .* key .*{status}") as raised:
                await request
            assert "cdef" not in str(raised.value)
            assert KEY[:8] not in str(raised.value)


async def test_a_missing_key_is_told() -> None:
    async with far(refuses("Who are you?", 401), key=None) as there:
        with pytest.raises(ProviderError, match="wants an API key, and none is configured"):
            await generated(there.model)
    assert "Authorization" not in there.sent[0].headers


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_the_key_does_not_follow_a_redirection(status: int) -> None:
    async with far(says({})) as elsewhere:
        target = elsewhere.provider.endpoint.url("/chat/completions")
        async with far(says({}, status, Location=target)) as there:
            for request in (posted(there.model), generated(there.model)):
                with pytest.raises(ProviderError, match="another address"):
                    await request
    assert elsewhere.sent == []


async def test_a_provider_that_is_not_there_cannot_be_reached() -> None:
    provider = Provider(Endpoint("far", f"http://127.0.0.1:{unused_port()}/v1", KEY))
    for request in (posted(provider.model("a")), generated(provider.model("a"))):
        with pytest.raises(ProviderError, match="The provider 'far' could not be reached: "):
            await request
    await provider.close()


async def test_proxies_that_cannot_be_used_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "ftp://127.0.0.1:1")
    async with far(says({})) as there:
        with pytest.raises(ProviderError, match="proxies"):
            await posted(there.model)


async def test_an_answer_comes_as_events() -> None:
    async with far(streams(*ANSWER)) as there:
        assert await generated(there.model) == HELLO
    (sent,) = there.sent
    assert sent.path == "/v1/chat/completions"
    assert sent.body == {
        "model": "big-1",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_events_do_not_wait_for_the_next() -> None:
    gate = asyncio.Event()
    async with (
        far(streams(ANSWER[0], gate, *ANSWER[1:])) as there,
        aclosing(there.model.generate(ASKED)) as events,
    ):
        assert await anext(events) == TextDelta("Hel")
        gate.set()
        assert [event async for event in events] == HELLO[1:]


@pytest.mark.parametrize(
    "pieces",
    [
        (b"".join(ANSWER),),
        [bytes([byte]) for byte in b"".join(ANSWER)],
        [piece.replace(b"\n", b"\r\n") for piece in ANSWER],
        (b": waiting\n\n", *ANSWER),
        ANSWER[:-1],
        (*ANSWER[:-1], DONE.rstrip()),
    ],
    ids=["at once", "byte by byte", "CRLF", "a comment", "no DONE", "DONE is cut"],
)
async def test_an_answer_is_the_same_however_it_comes(pieces: Iterable[bytes]) -> None:
    async with far(streams(*pieces)) as there:
        assert await generated(there.model) == HELLO


@pytest.mark.parametrize(
    "handler",
    [
        breaks_off(*ANSWER[:2]),
        streams(*ANSWER[:2]),
        streams(*ANSWER[:2], DONE),
        streams(*ANSWER[:2], b'data: {"error": {"message": "No GPU left"}}\n\n', DONE),
        streams(*ANSWER[:2], b"data: {oops\n\n"),
        streams(*ANSWER[:2], chunk(finish="content_filter"), DONE),
    ],
    ids=["cut", "no end", "no reason", "an error", "not JSON", "filtered"],
)
async def test_an_answer_that_has_no_good_end_fails_after_what_came(handler: Handler) -> None:
    async with far(handler) as there, aclosing(there.model.generate(ASKED)) as events:
        assert [await anext(events), await anext(events)] == HELLO[:2]
        with pytest.raises(ProviderError, match="The provider 'far'"):
            await anext(events)


async def test_a_page_in_place_of_an_answer_is_told() -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>Log in first</html>", content_type="text/html")

    async with far(page) as there:
        with pytest.raises(ProviderError, match="OpenAI's API"):
            await generated(there.model)
        with pytest.raises(ProviderError, match="OpenAI's API"):
            await there.model.embed([Embed("a")])


async def test_a_stream_passed_on_that_breaks_off_raises() -> None:
    got: list[bytes] = []

    async def read(model: RemoteModel) -> None:
        async with model.post("/chat/completions", {"stream": True}) as answer:
            async for piece in answer.chunks():
                got.append(piece)

    async with far(breaks_off(*ANSWER[:2])) as there:
        with pytest.raises(ProviderError, match="broke off"):
            await read(there.model)
    assert b"".join(got) == b"".join(ANSWER[:2])


async def test_a_silent_provider_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(cloud, "ANSWER_SECONDS", 0.5)
    never = asyncio.Event()

    async def says_nothing(request: web.Request) -> web.StreamResponse:
        await never.wait()
        raise AssertionError

    async with far(streams(ANSWER[0], never)) as there:
        with pytest.raises(ProviderError, match="silent"):
            await generated(there.model)
        async with asyncio.timeout(30):
            await there.left.wait()
    async with far(says_nothing) as there:
        with pytest.raises(ProviderError, match="did not answer in time"):
            await posted(there.model)
        async with asyncio.timeout(30):
            await there.left.wait()


@pytest.mark.parametrize("how", ["cancel", "close", "cancel before the first"])
async def test_who_leaves_an_answer_ends_it_at_the_provider(how: str) -> None:
    never = asyncio.Event()
    pieces = () if how == "cancel before the first" else (ANSWER[0],)
    async with far(streams(*pieces, never)) as there:
        if how == "close":
            events = there.model.generate(ASKED)
            await anext(events)
            await events.aclose()
        else:
            task = asyncio.create_task(generated(there.model))
            await there.reached.wait()
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with asyncio.timeout(30):
            await there.left.wait()


async def test_who_leaves_a_request_passed_on_ends_it_at_the_provider() -> None:
    async with far(streams(ANSWER[0], asyncio.Event())) as there:
        async with there.model.post("/chat/completions", {"stream": True}) as answer:
            await anext(answer.chunks())
        async with asyncio.timeout(30):
            await there.left.wait()


async def test_a_connection_is_used_again_after_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cloud, "LEAVE_SECONDS", 5)
    async with far(streams(*ANSWER)) as there:
        for _ in range(3):
            await generated(there.model)
    assert len({sent.peer for sent in there.sent}) == 1


async def test_openai_is_told_an_effort_and_no_variables_of_templates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    template = {"enable_thinking": True, "reasoning_effort": "low"}
    request = Generate(Chat(({"role": "user", "content": "Hi"},), template=template))
    async with far(streams(*ANSWER)) as there:
        await generated(there.model, request)
        monkeypatch.setattr(Endpoint, "is_openai", True)
        await generated(there.model, request)
    other, openais = (sent.body for sent in there.sent)
    assert other["chat_template_kwargs"] == template
    assert openais["reasoning_effort"] == "low"
    assert "chat_template_kwargs" not in openais


async def test_an_answer_does_not_wait_for_a_connection_that_stays_open() -> None:
    async with far(streams(*ANSWER, asyncio.Event())) as there:
        async with asyncio.timeout(30):
            assert await generated(there.model) == HELLO


async def test_an_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_events, "EVENT_BYTES", 1 << 16)
    block = b"x" * 50_000
    async with far(streams(b"data: ", block, block, asyncio.Event())) as there:
        with pytest.raises(ProviderError, match="sent an event of more than"):
            await generated(there.model)


@pytest.mark.parametrize("status", [400, 500])
async def test_an_error_without_end_is_told_all_the_same(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud, "REFUSAL_SECONDS", 0.1)
    large = b"x" * cloud.REFUSAL_BYTES
    for pieces in [(large, large), (b"It is full",)]:
        async with far(streams(*pieces, asyncio.Event(), status=status)) as there:
            async with asyncio.timeout(30):
                with pytest.raises(EngineError, match="The provider 'far'") as raised:
                    await generated(there.model)
            assert len(str(raised.value)) < 2000


async def test_a_busy_provider_says_when_to_come_back() -> None:
    async with far(says({"error": {"message": "Slow down"}}, 429, Retry_After="17")) as there:
        with pytest.raises(Busy, match=r"The provider 'far' is busy: Slow down\.") as raised:
            await generated(there.model)
    assert raised.value.retry_after == 17


async def test_what_a_provider_refuses_is_told_with_its_field() -> None:
    async with far(refuses("No such voice", 400, "invalid_value", "voice")) as there:
        with pytest.raises(InvalidInput, match="'far' refused the request: No such") as raised:
            await generated(there.model)
    assert raised.value.param == "voice"
    long = refuses("Too many tokens.", 400, "context_length_exceeded", "messages")
    async with far(long) as there:
        with pytest.raises(ContextLengthExceeded):
            await generated(there.model)


async def test_a_model_and_an_address_that_are_not_there_are_told_apart() -> None:
    async with far(refuses("The model `big-1` does not exist", 404, "model_not_found")) as there:
        with pytest.raises(ModelNotFound, match="The provider 'far' has no model 'big-1'"):
            await generated(there.model)
    async with far(says({"detail": "Not Found"}, 404)) as there:
        with pytest.raises(ProviderError, match="base_url"):
            await generated(there.model)


@pytest.mark.parametrize("status", [402, 408, 500, 503])
async def test_what_a_provider_fails_at_is_told(status: int) -> None:
    async with far(refuses("Out of credit", status)) as there:
        with pytest.raises(ProviderError, match=rf"'far' failed \({status}\): Out of credit\."):
            await generated(there.model)


async def test_the_key_is_in_no_message_and_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def echoes(request: web.Request) -> web.StreamResponse:
        told = {"error": {"message": f"I got {dict(request.headers)}", "param": "x"}}
        return web.json_response(told, status=400)

    error = b'data: {"error": {"message": "Your key is ' + KEY.encode() + b'"}}\n\n'
    for handler in (echoes, streams(*ANSWER), streams(error), breaks_off(), refuses(KEY, 401)):
        async with far(handler) as there:
            said = repr(there.provider.endpoint)
            try:
                await generated(there.model)
            except EngineError as raised:
                said += str(raised)
            assert KEY not in said
    assert "POST" in caplog.text
    assert KEY not in caplog.text


async def test_texts_become_vectors_of_length_one_in_their_order() -> None:
    data = [{"index": 1, "embedding": [0.0, 2.0]}, {"index": 0, "embedding": [3.0, 4.0]}]
    body = {"object": "list", "data": data, "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    async with far(says(body)) as there:
        found = await there.model.embed([Embed("a b"), Embed("c")])
        assert await there.model.embed([]) == []
    np.testing.assert_allclose(found[0].vector, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found[1].vector, [0.0, 1.0], rtol=1e-6)
    assert [item.tokens for item in found] == [3, 2]
    assert found[0].vector.dtype == np.float32
    (sent,) = there.sent
    assert sent.path == "/v1/embeddings"
    assert sent.body["input"] == ["a b", "c"]


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [0.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": "???"}],
        None,
    ],
)
async def test_vectors_that_are_missing_or_none_fail(data: Any) -> None:
    async with far(says({"data": data})) as there:
        with pytest.raises(ProviderError):
            await there.model.embed([Embed("a"), Embed("b")])


async def test_documents_are_ranked_query_by_query() -> None:
    async def ranks(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        scores = [
            {"index": index, "relevance_score": len(body["query"]) * len(document)}
            for index, document in enumerate(body["documents"])
        ]
        return web.json_response({"results": scores[::-1], "usage": {"total_tokens": 4}})

    pairs = [Rank("a", "xx"), Rank("bb", "xxx"), Rank("a", "x")]
    async with far(ranks) as there:
        found = await there.model.rank(pairs)
    assert [item.score for item in found] == [2.0, 6.0, 1.0]
    assert [item.tokens for item in found] == [2, 4, 2]
    assert [sent.path for sent in there.sent] == ["/v1/rerank", "/v1/rerank"]


async def test_a_provider_that_does_not_rank_says_so() -> None:
    async with far(says({"detail": "Not Found"}, 404)) as there:
        with pytest.raises(Unsupported, match="does not rank"):
            await there.model.rank([Rank("a", "b")])


async def test_what_json_cannot_hold_is_the_callers_fault() -> None:
    async with far(says({})) as there:
        with pytest.raises(InvalidInput, match="JSON"):
            await posted(there.model, text="\ud800")
    assert there.sent == []


async def test_closing_ends_what_runs_and_what_comes() -> None:
    async with far(streams(ANSWER[0], asyncio.Event())) as there:
        events = there.model.generate(ASKED)
        await anext(events)
        await there.provider.close()
        with pytest.raises(ProviderError):
            await anext(events)
        with pytest.raises(EngineError, match="stopping"):
            await generated(there.model)
        await there.provider.close()
