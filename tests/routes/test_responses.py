"""POST /v1/responses and stored responses, as OpenAI's clients use them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientTimeout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from language_models import HELLO, Scripted
from openai import (
    AsyncOpenAI,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
)
from openai.types.responses import Response
from pydantic import BaseModel
from rest import Client, openai, serving

from engines.base import Busy, InvalidInput, WorkerCrashed
from engines.generation import (
    Chat,
    ContextLengthExceeded,
    Finished,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from routes import streaming
from routes.response_requests import ResponseRequest

PATH = "/v1/responses"
USAGE = Usage(prompt=5, completion=2)
LOOK: Any = {
    "type": "function",
    "name": "look",
    "description": "Looks.",
    "parameters": {
        "type": "object",
        "properties": {"at": {"type": "integer"}},
        "required": ["at"],
        "additionalProperties": False,
    },
    "strict": True,
}
CALLING = (
    ReasoningDelta("I should look."),
    ToolCallDelta(0, "", "call_a", "look"),
    ToolCallDelta(0, '{"at":'),
    ToolCallDelta(0, " 1}"),
    Finished("tool_calls", USAGE),
)


@asynccontextmanager
async def sdk_of(language: Scripted, **changes: Any) -> AsyncIterator[AsyncOpenAI]:
    async with serving(language=language, **changes) as client, openai(client, strict=True) as sdk:
        yield sdk


async def post(client: Client, /, **body: Any) -> tuple[int, Any]:
    response = await client.post(PATH, json={"model": "tiny", "input": "Hi", **body})
    return response.status, await response.json()


def said(language: Scripted) -> list[Any]:
    """The messages of the newest request, without what is not text."""
    prompt = language.requests[-1].prompt
    assert isinstance(prompt, Chat)
    return [(message["role"], message["content"]) for message in prompt.messages]


def first_part(item: Any) -> Any:
    return item.content[0]


async def test_the_sdk_gets_a_response() -> None:
    language = Scripted()
    async with sdk_of(language) as sdk:
        answer = await sdk.responses.create(
            model="tiny",
            input="Hi",
            instructions="Be brief.",
            metadata={"topic": "greetings"},
            temperature=0.5,
            max_output_tokens=20,
        )
    assert answer.output_text == "Hello there."
    assert (answer.status, answer.model, answer.metadata) == (
        "completed",
        "tiny",
        {"topic": "greetings"},
    )
    assert answer.id.startswith("resp_")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.total_tokens) == (5, 7)
    assert said(language) == [("system", "Be brief."), ("user", "Hi")]
    [call] = language.calls
    assert call.model == "tiny"
    assert call.owner.startswith("req_")
    assert (call.request.sampling.temperature, call.request.max_tokens) == (0.5, 20)


async def test_the_sdk_gets_a_stream() -> None:
    async with sdk_of(Scripted()) as sdk:
        stream = await sdk.responses.create(model="tiny", input="Hi", stream=True)
        seen = [event async for event in stream]
    assert [event.type for event in seen] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in seen] == list(range(10))


async def test_a_stream_names_its_events_and_has_no_done() -> None:
    async with serving(language=Scripted()) as client:
        response = await client.post(PATH, json={"model": "tiny", "input": "Hi", "stream": True})
        assert response.content_type == "text/event-stream"
        records = (await response.text()).removesuffix("\n\n").split("\n\n")
    for record in records:
        name, data = record.split("\n")
        assert name == f"event: {json.loads(data.removeprefix('data: '))['type']}"


async def test_the_sdk_s_stream_helper_follows_text_thoughts_and_calls() -> None:
    async with sdk_of(Scripted(HELLO, CALLING)) as sdk:
        async with sdk.responses.stream(model="tiny", input="Hi") as stream:
            snapshots = [
                event.snapshot
                async for event in stream
                if event.type == "response.output_text.delta"
            ]
            assert (await stream.get_final_response()).output_text == "Hello there."
        async with sdk.responses.stream(model="tiny", input="Hi", tools=[LOOK]) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
    assert snapshots == ["Hello", "Hello there."]
    assert "response.reasoning_text.delta" in kinds
    assert "response.function_call_arguments.done" in kinds
    thought, call = final.output
    assert thought.type == "reasoning"
    assert call.type == "function_call"
    assert call.parsed_arguments == {"at": 1}


class Cat(BaseModel):
    name: str
    lives: int


async def test_the_sdk_parses_structured_output() -> None:
    language = Scripted((TextDelta('{"name": "Tom", "lives": 9}'), Finished("stop", USAGE)))
    async with sdk_of(language) as sdk:
        answer = await sdk.responses.parse(model="tiny", input="A cat?", text_format=Cat)
        async with sdk.responses.stream(model="tiny", input="A cat?", text_format=Cat) as stream:
            streamed = await stream.get_final_response()
    assert answer.output_parsed == streamed.output_parsed == Cat(name="Tom", lives=9)
    [request, _] = language.requests
    assert request.format.kind == "json_schema"
    assert request.format.schema["required"] == ["name", "lives"]


async def test_tools_go_round_with_previous_response_id() -> None:
    language = Scripted(CALLING, HELLO)
    async with sdk_of(language) as sdk:
        asked = await sdk.responses.create(
            model="tiny", input="What is there?", instructions="Be brief.", tools=[LOOK]
        )
        [call] = [item for item in asked.output if item.type == "function_call"]
        assert json.loads(call.arguments) == {"at": 1}
        answered = await sdk.responses.create(
            model="tiny",
            previous_response_id=asked.id,
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "a cat"}],
            tools=[LOOK],
        )
    assert (asked.status, answered.status) == ("completed", "completed")
    assert answered.previous_response_id == asked.id
    prompt = language.requests[1].prompt
    assert isinstance(prompt, Chat)
    assert said(language) == [("user", "What is there?"), ("assistant", None), ("tool", "a cat")]
    function = {"name": "look", "arguments": {"at": 1}}
    assert prompt.messages[1]["tool_calls"] == [
        {"id": "call_a", "type": "function", "function": function}
    ]
    assert prompt.messages[1]["reasoning_content"] == "I should look."


async def test_what_a_response_said_can_be_sent_back_as_input() -> None:
    language = Scripted(CALLING, HELLO)
    async with sdk_of(language) as sdk:
        asked = await sdk.responses.create(model="tiny", input="Look!", tools=[LOOK], store=False)
        history: Any = [{"role": "user", "content": "Look!"}, *asked.output]
        history.append({"type": "function_call_output", "call_id": "call_a", "output": "a cat"})
        await sdk.responses.create(model="tiny", input=history, tools=[LOOK])
    assert said(language) == [("user", "Look!"), ("assistant", None), ("tool", "a cat")]


async def test_a_stored_response_is_shown_deleted_and_its_input_listed() -> None:
    language = Scripted()
    async with sdk_of(language) as sdk:
        first = await sdk.responses.create(model="tiny", input="One")
        second = await sdk.responses.create(
            model="tiny", input="Two", previous_response_id=first.id
        )
        assert await sdk.responses.retrieve(second.id) == second
        await sdk.responses.delete(first.id)
        with pytest.raises(NotFoundError):
            await sdk.responses.retrieve(first.id)
        page = await sdk.responses.input_items.list(second.id, order="asc", limit=2)
        texts = [first_part(item).text async for item in page]
        assert texts == ["One", "Hello there.", "Two"]
        newest = await sdk.responses.input_items.list(second.id, limit=1)
        assert first_part(newest.data[0]).text == "Two"
        assert newest.has_more
        await sdk.responses.create(model="tiny", input="Three", previous_response_id=second.id)
    assert [content for _, content in said(language)] == [
        "One",
        "Hello there.",
        "Two",
        "Hello there.",
        "Three",
    ]


async def test_deleting_answers_as_openai_does() -> None:
    async with serving(language=Scripted()) as client:
        _, made = await post(client)
        response = await client.delete(f"{PATH}/{made['id']}")
        assert await response.json() == {"id": made["id"], "object": "response", "deleted": True}
        assert (await client.delete(f"{PATH}/{made['id']}")).status == 404


async def test_items_can_be_sent_as_references() -> None:
    language = Scripted()
    async with serving(language=language) as client:
        _, made = await post(client)
        message = made["output"][0]
        status, _ = await post(
            client,
            input=[
                {"type": "item_reference", "id": message["id"]},
                {"role": "user", "content": "?"},
            ],
        )
        assert status == 200
        assert said(language) == [("assistant", "Hello there."), ("user", "?")]
        status, body = await post(client, input=[{"id": "msg_gone"}])
    assert (status, body["error"]["param"]) == (404, "input[0].id")


async def test_what_shall_not_be_stored_is_not() -> None:
    async with sdk_of(Scripted()) as sdk:
        answer = await sdk.responses.create(model="tiny", input="Hi", store=False)
        with pytest.raises(NotFoundError):
            await sdk.responses.retrieve(answer.id)
        with pytest.raises(BadRequestError) as raised:
            await sdk.responses.create(model="tiny", input="Hi", previous_response_id=answer.id)
    assert raised.value.code == "previous_response_not_found"
    assert raised.value.param == "previous_response_id"


async def test_a_response_belongs_to_the_key_that_made_it() -> None:
    keys = ("sk-ann", "sk-bob")
    async with (
        serving(language=Scripted(), api_keys=keys) as client,
        openai(client, "sk-ann") as ann,
        openai(client, "sk-bob") as bob,
    ):
        answer = await ann.responses.create(model="tiny", input="Hi")
        item: Any = {"type": "item_reference", "id": answer.output[0].id}
        assert (await ann.responses.retrieve(answer.id)).output_text == "Hello there."
        with pytest.raises(NotFoundError):
            await bob.responses.retrieve(answer.id)
        with pytest.raises(NotFoundError):
            await bob.responses.input_items.list(answer.id)
        with pytest.raises(NotFoundError):
            await bob.responses.delete(answer.id)
        with pytest.raises(BadRequestError):
            await bob.responses.create(model="tiny", input="Hi", previous_response_id=answer.id)
        with pytest.raises(NotFoundError):
            await bob.responses.create(model="tiny", input=[item])
        await ann.responses.create(model="tiny", input=[item])


async def test_the_limit_of_tokens_makes_a_response_incomplete() -> None:
    cut = (TextDelta("Hel"), Finished("length", USAGE))
    async with sdk_of(Scripted(cut)) as sdk:
        answer = await sdk.responses.create(model="tiny", input="Hi", max_output_tokens=1)
        stream = await sdk.responses.create(model="tiny", input="Hi", stream=True)
        seen = [event async for event in stream]
        stored = await sdk.responses.retrieve(answer.id)
    assert answer.status == stored.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    [message] = answer.output
    assert message.type == "message"
    assert message.status == "incomplete"
    assert seen[-1].type == "response.incomplete"


async def test_log_probabilities_come_only_if_asked_for() -> None:
    token = TokenLogprob("Hi", b"Hi", -0.5, (TokenLogprob("Hi", b"Hi", -0.5),))
    language = Scripted((TextDelta("Hi", (token,)), Finished("stop", USAGE)), HELLO)
    async with sdk_of(language) as sdk:
        answer = await sdk.responses.create(
            model="tiny", input="Hi", top_logprobs=1, include=["message.output_text.logprobs"]
        )
        plain = await sdk.responses.create(model="tiny", input="Hi")
    [scored] = first_part(answer.output[0]).logprobs
    assert (scored.token, scored.bytes, scored.top_logprobs[0].logprob) == ("Hi", [72, 105], -0.5)
    assert first_part(plain.output[0]).logprobs == []
    assert [request.logprobs for request in language.requests] == [1, None]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_before_the_first_event_has_its_status(stream: bool) -> None:
    async with sdk_of(Scripted((Busy("All slots are taken.", retry_after=3),))) as sdk:
        with pytest.raises(RateLimitError) as raised:
            await sdk.responses.create(model="tiny", input="Hi", stream=stream)
    assert raised.value.code == "rate_limit_exceeded"
    assert raised.value.response.headers["Retry-After"] == "3"


async def test_an_error_in_the_stream_fails_the_response() -> None:
    language = Scripted((TextDelta("Hel"), WorkerCrashed("The worker died twice.")))
    async with sdk_of(language) as sdk:
        stream = await sdk.responses.create(model="tiny", input="Hi", stream=True)
        seen = [event async for event in stream]
        failed = seen[-1]
        assert failed.type == "response.failed"
        assert failed.response.error is not None
        assert failed.response.error.code == "server_error"
        assert failed.response.error.message == "The worker died twice."
        [message] = failed.response.output
        assert message.type == "message"
        assert message.status == "incomplete"
        with pytest.raises(NotFoundError):
            await sdk.responses.retrieve(failed.response.id)


async def test_an_error_without_a_stream_is_an_error() -> None:
    language = Scripted((TextDelta("Hel"), WorkerCrashed("The worker died twice.")))
    async with sdk_of(language) as sdk:
        with pytest.raises(InternalServerError, match="The worker died twice"):
            await sdk.responses.create(model="tiny", input="Hi")


async def test_an_unforeseen_error_in_the_stream_says_nothing_about_the_inside() -> None:
    async with serving(language=Scripted((TextDelta("Hel"), KeyError("a secret")))) as client:
        response = await client.post(PATH, json={"model": "tiny", "input": "Hi", "stream": True})
        text = await response.text()
    assert "secret" not in text
    assert "event: response.failed" in text


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_without_an_end_is_an_error(stream: bool) -> None:
    async with serving(language=Scripted((TextDelta("Hel"),))) as client:
        response = await client.post(PATH, json={"model": "tiny", "input": "Hi", "stream": stream})
        assert "broke its answer off" in await response.text()


async def test_an_error_after_a_silence_still_begins_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streaming, "SILENCE_SECONDS", 0.02)
    async with sdk_of(Scripted((0.1, Busy("All slots are taken.")))) as sdk:
        stream = await sdk.responses.create(model="tiny", input="Hi", stream=True)
        seen = [event async for event in stream]
    assert [event.type for event in seen] == [
        "response.created",
        "response.in_progress",
        "response.failed",
    ]
    assert seen[-1].response.error.code == "rate_limit_exceeded"  # type: ignore[union-attr]


async def test_a_prompt_that_is_too_long_is_400_for_the_input() -> None:
    errors = (
        (ContextLengthExceeded("Too long."),),
        (InvalidInput("No such keyword.", "response_format"),),
        (InvalidInput("No such schema.", "tools"),),
    )
    async with serving(language=Scripted(*errors)) as client:
        found = [(await post(client))[1]["error"] for _ in errors]
    assert [(error["code"], error["param"]) for error in found] == [
        ("context_length_exceeded", "input"),
        ("invalid_value", "text.format"),
        ("invalid_value", "tools"),
    ]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_the_answer_and_nothing_is_stored(stream: bool) -> None:
    language = Scripted((TextDelta("Hel"), asyncio.Event(), Finished("stop", USAGE)))
    async with serving(language=language) as client:
        body = {"model": "tiny", "input": "Hi", "stream": stream}
        sending = asyncio.create_task(client.post(PATH, json=body, timeout=ClientTimeout(30)))
        async with asyncio.timeout(30):
            await language.started.wait()
            if stream:
                response = await sending
                first = await response.content.readuntil(b"\n\n")
                made = json.loads(first.split(b"data: ")[1])["response"]["id"]
                response.close()
            else:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            await language.idle.wait()
        if stream:
            assert (await client.get(f"{PATH}/{made}")).status == 404


async def test_a_response_is_there_when_its_last_event_is() -> None:
    async with sdk_of(Scripted()) as sdk:
        stream = await sdk.responses.create(model="tiny", input="Hi", stream=True)
        async for event in stream:
            if event.type == "response.completed":
                assert await sdk.responses.retrieve(event.response.id) == event.response


async def test_an_unknown_model_is_404() -> None:
    async with sdk_of(Scripted()) as sdk:
        with pytest.raises(NotFoundError) as raised:
            await sdk.responses.create(model="gpt-9", input="Hi")
    assert raised.value.code == "model_not_found"


async def test_a_stored_response_cannot_be_streamed_again() -> None:
    async with sdk_of(Scripted()) as sdk:
        answer = await sdk.responses.create(model="tiny", input="Hi")
        with pytest.raises(BadRequestError) as raised:
            await sdk.responses.retrieve(answer.id, stream=True)
    assert raised.value.param == "stream"


@pytest.mark.parametrize(
    ("query", "param"),
    [("order=up", "order"), ("limit=0", "limit"), ("limit=101", "limit"), ("after=x", "after")],
)
async def test_a_page_that_cannot_be_is_400(query: str, param: str) -> None:
    async with serving(language=Scripted()) as client:
        _, made = await post(client)
        response = await client.get(f"{PATH}/{made['id']}/input_items?{query}")
        assert response.status == 400
        assert (await response.json())["error"]["param"] == param


async def test_the_settings_are_repeated() -> None:
    form: Any = {"type": "json_schema", "name": "cat", "schema": {"type": "object"}}
    async with sdk_of(Scripted()) as sdk:
        answer: Response = await sdk.responses.create(
            model="tiny",
            input="Hi",
            tools=[LOOK],
            tool_choice={"type": "function", "name": "look"},
            parallel_tool_calls=False,
            reasoning={"effort": "low"},
            text={"format": form, "verbosity": "low"},
            truncation="auto",
            top_p=0.5,
        )
    assert answer.tools[0].model_dump(exclude_none=True) == LOOK
    assert answer.tool_choice.name == "look"  # type: ignore[union-attr]
    assert (answer.parallel_tool_calls, answer.truncation, answer.top_p) == (False, "auto", 0.5)
    assert answer.reasoning is not None
    assert answer.reasoning.effort == "low"
    assert answer.text is not None
    assert answer.text.format is not None
    assert answer.text.format.type == "json_schema"
    assert answer.text.format.schema_ == {"type": "object"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 3) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
TYPES = st.sampled_from(
    ["message", "function_call", "function_call_output", "reasoning", "item_reference", "x"]
)
PARTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["input_text", "output_text", "refusal", "input_image"])},
        optional={"text": st.text(max_size=5) | JSON, "refusal": JSON},
    ),
    max_size=2,
)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES,
            "id": st.text(max_size=5) | JSON,
            "role": st.sampled_from(["user", "assistant", "system", "king"]),
            "content": st.text(max_size=5) | PARTS | JSON,
            "call_id": st.sampled_from(["a", "b"]) | JSON,
            "name": st.text(max_size=5) | JSON,
            "arguments": st.sampled_from(["", "{}", '{"a": 1}', "[", "null"]) | JSON,
            "output": st.text(max_size=5) | PARTS | JSON,
            "summary": JSON,
        },
    ),
    max_size=4,
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["function", "web_search"]) | JSON},
        optional={"name": st.sampled_from(["look", "wait"]) | JSON, "parameters": JSON},
    ),
    max_size=2,
)
CALL = {"type": "function_call", "call_id": "a", "name": "look", "arguments": "{}"}
GOOD_ITEMS = st.lists(
    st.sampled_from(
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
            {"type": "message", "role": "developer", "content": "Be brief."},
            CALL,
            {"type": "function_call_output", "call_id": "a", "output": "a cat"},
            {"type": "reasoning", "summary": [], "content": []},
        ]
    ),
    max_size=4,
)
GOOD = st.fixed_dictionaries(
    {"model": st.just("tiny"), "input": st.text(max_size=5) | GOOD_ITEMS},
    optional={
        "instructions": st.text(max_size=5),
        "tools": st.just([LOOK]),
        "tool_choice": st.sampled_from(["auto", "none", {"type": "function", "name": "look"}]),
        "text": st.just({"format": {"type": "json_schema", "name": "a", "schema": {}}}),
        "stream": st.booleans(),
        "store": st.booleans(),
        "reasoning": st.just({"effort": "low"}),
        "max_output_tokens": st.integers(1, 9),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_logprobs": st.integers(0, 20),
        "truncation": st.sampled_from(["auto", "disabled"]),
        "metadata": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    },
)
FIELDS = [*ResponseRequest.model_fields, "unknown"]
ANYTHING = st.dictionaries(st.sampled_from(FIELDS), ITEMS | TOOLS | JSON, max_size=2)
BODIES = st.builds(lambda good, other: {**good, **other}, GOOD, ANYTHING)


def test_whatever_is_sent_the_answer_is_200_or_says_what_is_wrong() -> None:
    with asyncio.Runner() as runner:
        context = serving(language=Scripted(HELLO, CALLING))
        client = runner.run(context.__aenter__())

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(BODIES | BODIES | BODIES | JSON)
        def check(body: Any) -> None:
            runner.run(_is_well_answered(client, body))

        try:
            check()
        finally:
            runner.run(context.__aexit__(None, None, None))


async def _is_well_answered(client: Client, body: Any) -> None:
    response = await client.post(PATH, json=body)
    if response.status == 200 and response.content_type == "text/event-stream":
        assert "event: response.completed" in await response.text()
        return
    answer = await response.json()
    if response.status == 200:
        Response.model_validate(answer, strict=True)
    else:
        assert 400 <= response.status < 500
        assert set(answer["error"]) == {"message", "type", "param", "code"}
        assert answer["error"]["message"].endswith(".")


async def test_a_body_that_is_nested_deeply_is_refused() -> None:
    async with serving(language=Scripted()) as client:
        for text in ('{"a":' * 900 + "1" + "}" * 900, "[" * 100_000):
            response = await client.post(PATH, data=text)
            assert response.status == 400
        deep = json.loads('{"a":' * 300 + "1" + "}" * 300)
        status, _ = await post(client, tools=[LOOK | {"parameters": deep}])
        assert status == 400
        status, body = await post(client, metadata=deep)
        assert (status, body["error"]["param"]) == (400, "metadata")
