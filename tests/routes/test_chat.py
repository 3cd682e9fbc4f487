import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import ClientTimeout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from language_models import HELLO, Scripted, Step
from openai import APIError, BadRequestError, NotFoundError, RateLimitError
from openai.lib.streaming.chat import ChatCompletionStreamEvent
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import BaseModel, TypeAdapter
from rest import Client, openai, serving

from engines.base import Busy, InvalidInput, WorkerCrashed
from engines.generation import (
    Chat,
    ContextLengthExceeded,
    Finished,
    Format,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

PATH = "/v1/chat/completions"
USER: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
CALLS: tuple[Step, ...] = (
    TextDelta("Let me see."),
    ToolCallDelta(0, id="call_1", name="weather"),
    ToolCallDelta(0, '{"city": '),
    ToolCallDelta(0, '"Oslo"}'),
    ToolCallDelta(1, '{"city": "Rome"}', id="call_2", name="weather"),
    Finished("tool_calls", Usage(20, 9)),
)
STRICT = TypeAdapter(ChatCompletionChunk)


async def chunks(client: Client, **body: Any) -> list[Any]:
    """The events of a streamed completion; what is not a chunk as it stands."""
    request = {"model": "tiny", "messages": USER, "stream": True, **body}
    response = await client.post(PATH, json=request)
    assert response.status == 200
    assert response.content_type == "text/event-stream"
    records = (await response.text()).removesuffix("\n\n").split("\n\n")
    return [
        json.loads(record.removeprefix("data: ")) if record.startswith("data: {") else record
        for record in records
    ]


def said(events: Sequence[Any]) -> list[tuple[int, dict[str, Any], str | None]]:
    return [
        (choice["index"], choice["delta"], choice["finish_reason"])
        for event in events
        if isinstance(event, dict)
        for choice in event["choices"]
    ]


async def test_the_sdk_gets_an_answer() -> None:
    model = Scripted()
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        made = await sdk.chat.completions.create(model="tiny", messages=USER, user="me", store=True)
    assert made.id.startswith("chatcmpl-")
    assert (made.model, made.system_fingerprint) == ("tiny", "antiphon")
    [choice] = made.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello there.")
    assert (choice.message.refusal, choice.message.tool_calls) == (None, None)
    assert choice.message.model_extra == {}
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (5, 2)
    assert made.usage.total_tokens == 7
    [call] = model.calls
    assert call.model == "tiny"
    assert call.owner.startswith("req_")
    assert call.request.prompt == Chat(({"role": "user", "content": "Hi"},))


async def test_an_answer_that_reached_its_limit_says_so() -> None:
    model = Scripted((TextDelta("Hel"), Finished("length", Usage(5, 1))))
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        made = await sdk.chat.completions.create(model="tiny", messages=USER, max_tokens=1)
        events = await chunks(client, max_tokens=1)
    assert made.choices[0].finish_reason == "length"
    assert said(events)[-1] == (0, {}, "length")


async def test_usage_says_what_was_cached_and_what_was_thought() -> None:
    usage = Usage(prompt=100, completion=10, cached=64, reasoning=6)
    model = Scripted((TextDelta("Yes."), Finished("stop", usage)))
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        made = await sdk.chat.completions.create(model="tiny", messages=USER)
    assert made.usage is not None
    assert made.usage.prompt_tokens_details is not None
    assert made.usage.prompt_tokens_details.cached_tokens == 64
    assert made.usage.completion_tokens_details is not None
    assert made.usage.completion_tokens_details.reasoning_tokens == 6


async def test_a_stream_is_its_role_then_text_then_the_reason_then_done() -> None:
    async with serving() as client:
        events = await chunks(client)
    assert events.pop() == "data: [DONE]"
    assert said(events) == [
        (0, {"role": "assistant", "content": "", "refusal": None}, None),
        (0, {"content": "Hello"}, None),
        (0, {"content": " there."}, None),
        (0, {}, "stop"),
    ]
    assert len({(event["id"], event["created"], event["model"]) for event in events}) == 1
    for event in events:
        STRICT.validate_python(event)
        assert event["object"] == "chat.completion.chunk"
        assert "usage" not in event


async def test_a_stream_has_usage_last_if_asked_and_null_before() -> None:
    async with serving() as client:
        *events, last, done = await chunks(client, stream_options={"include_usage": True})
    assert done == "data: [DONE]"
    assert all(event["usage"] is None and event["choices"] for event in events)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 7
    STRICT.validate_python(last)


async def test_the_sdks_helper_streams_text_and_usage() -> None:
    async with (
        serving() as client,
        openai(client, strict=True) as sdk,
        sdk.chat.completions.stream(
            model="tiny", messages=USER, stream_options={"include_usage": True}
        ) as stream,
    ):
        deltas = [event.delta async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == "Hello there."
    assert final.usage is not None
    assert final.usage.total_tokens == 7


async def test_tool_calls_are_whole_in_a_message() -> None:
    async with (
        serving(language=Scripted(CALLS)) as client,
        openai(client, strict=True) as sdk,
    ):
        made = await sdk.chat.completions.create(model="tiny", messages=USER, tools=[WEATHER])
    [choice] = made.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    assert choice.message.tool_calls is not None
    found = [
        (call.id, call.function.name, json.loads(call.function.arguments))
        for call in choice.message.tool_calls
        if call.type == "function"
    ]
    assert found == [
        ("call_1", "weather", {"city": "Oslo"}),
        ("call_2", "weather", {"city": "Rome"}),
    ]


async def test_a_message_that_only_calls_has_no_content() -> None:
    model = Scripted(CALLS[1:])
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        made = await sdk.chat.completions.create(model="tiny", messages=USER, tools=[WEATHER])
    assert made.choices[0].message.content is None


async def test_a_streamed_tool_call_has_its_id_and_name_once() -> None:
    async with serving(language=Scripted(CALLS)) as client:
        events = await chunks(client, tools=[WEATHER])
    calls = [delta["tool_calls"][0] for _, delta, _ in said(events) if "tool_calls" in delta]
    assert calls == [
        {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": ""},
        },
        {"index": 0, "function": {"arguments": '{"city": '}},
        {"index": 0, "function": {"arguments": '"Oslo"}'}},
        {
            "index": 1,
            "id": "call_2",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
        },
    ]
    assert said(events)[-1] == (0, {}, "tool_calls")


async def test_the_sdks_helper_streams_tool_calls() -> None:
    seen: list[ChatCompletionStreamEvent[None]] = []
    async with (
        serving(language=Scripted(CALLS)) as client,
        openai(client, strict=True) as sdk,
        sdk.chat.completions.stream(model="tiny", messages=USER, tools=[WEATHER]) as stream,
    ):
        async for event in stream:
            seen.append(event)
        final = await stream.get_final_completion()
    done = [event for event in seen if event.type == "tool_calls.function.arguments.done"]
    assert [(event.index, event.parsed_arguments) for event in done] == [
        (0, {"city": "Oslo"}),
        (1, {"city": "Rome"}),
    ]
    assert final.choices[0].message.tool_calls is not None
    assert [call.id for call in final.choices[0].message.tool_calls] == ["call_1", "call_2"]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_a_client_that_knows_functions_only_gets_a_function_call() -> None:
    model = Scripted((*CALLS[1:4], Finished("tool_calls", Usage(20, 9))))
    function = {"name": "weather", "parameters": {"type": "object"}}
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        made = await sdk.chat.completions.create(
            model="tiny",
            messages=USER,
            functions=[function],  # type: ignore[list-item]
        )
        events = await chunks(client, functions=[function])
    [choice] = made.choices
    assert choice.finish_reason == "function_call"
    assert choice.message.tool_calls is None
    assert choice.message.function_call is not None
    assert choice.message.function_call.name == "weather"
    assert json.loads(choice.message.function_call.arguments) == {"city": "Oslo"}
    assert said(events)[1:] == [
        (0, {"function_call": {"name": "weather", "arguments": ""}}, None),
        (0, {"function_call": {"arguments": '{"city": '}}, None),
        (0, {"function_call": {"arguments": '"Oslo"}'}}, None),
        (0, {}, "function_call"),
    ]
    for event in events[:-1]:
        STRICT.validate_python(event)


async def test_thoughts_are_beside_the_answer() -> None:
    model = Scripted((ReasoningDelta("Hm"), ReasoningDelta("m."), *HELLO))
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        made = await sdk.chat.completions.create(model="tiny", messages=USER)
        events = await chunks(client)
    message = made.choices[0].message
    assert message.content == "Hello there."
    assert message.model_extra == {"reasoning_content": "Hmm."}
    deltas = [delta for _, delta, _ in said(events)]
    assert deltas[1:3] == [{"reasoning_content": "Hm"}, {"reasoning_content": "m."}]


async def test_log_probabilities_come_with_their_tokens() -> None:
    infinite = TokenLogprob("x", b"x", float("-inf"))
    token = TokenLogprob(
        "é", "é".encode(), -0.25, (TokenLogprob("é", b"\xc3\xa9", -0.25), infinite)
    )
    answer = (TextDelta("é", (token,)), TextDelta("é", (token,)), Finished("stop", Usage(1, 2)))
    async with serving(language=Scripted(answer)) as client, openai(client, strict=True) as sdk:
        made = await sdk.chat.completions.create(
            model="tiny", messages=USER, logprobs=True, top_logprobs=2
        )
        async with sdk.chat.completions.stream(
            model="tiny", messages=USER, logprobs=True, top_logprobs=2
        ) as stream:
            final = await stream.get_final_completion()
    for choice in (made.choices[0], final.choices[0]):
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert [each.token for each in choice.logprobs.content] == ["é", "é"]
        first = choice.logprobs.content[0]
        assert (first.logprob, first.bytes) == (-0.25, [0xC3, 0xA9])
        assert [(each.token, each.logprob) for each in first.top_logprobs] == [
            ("é", -0.25),
            ("x", -9999.0),
        ]


class Mood(BaseModel):
    mood: str


async def test_the_sdk_parses_an_answer_and_its_schema_reaches_the_engine() -> None:
    model = Scripted((TextDelta('{"mood":"good"}'), Finished("stop", Usage(9, 5))))
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        made = await sdk.chat.completions.parse(
            model="tiny", messages=USER, response_format=Mood, tools=[WEATHER]
        )
        async with sdk.chat.completions.stream(
            model="tiny", messages=USER, response_format=Mood
        ) as stream:
            final = await stream.get_final_completion()
    assert made.choices[0].message.parsed == final.choices[0].message.parsed == Mood(mood="good")
    for request in model.requests:
        assert request.format.kind == "json_schema"
        assert request.format.schema["required"] == ["mood"]
    assert model.requests[0].format == Format("json_schema", model.requests[0].format.schema)


# Several choices


async def test_choices_are_made_at_once_and_their_prompt_counts_once() -> None:
    answers = [(TextDelta(text), Finished("stop", Usage(10, 3))) for text in "abc"]
    model = Scripted(*answers)
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        made = await sdk.chat.completions.create(model="tiny", messages=USER, n=3, seed=4)
    assert [choice.index for choice in made.choices] == [0, 1, 2]
    assert [choice.message.content for choice in made.choices] == ["a", "b", "c"]
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (10, 9)
    assert [request.sampling.seed for request in model.requests] == [4, 5, 6]


async def test_streamed_choices_begin_in_order_whoever_speaks_first() -> None:
    gate = asyncio.Event()
    slow = (gate, TextDelta("slow"), Finished("stop", Usage(4, 1)))
    fast = (TextDelta("fast"), Finished("stop", Usage(4, 2)))
    seen = []
    async with (
        serving(language=Scripted(slow, fast)) as client,
        openai(client) as sdk,
        sdk.chat.completions.stream(
            model="tiny", messages=USER, n=2, stream_options={"include_usage": True}
        ) as stream,
    ):
        async for event in stream:
            if event.type == "chunk":
                seen += [(choice.index, choice.delta.content) for choice in event.chunk.choices]
            if event.type == "content.delta" and event.delta == "fast":
                gate.set()
        final = await stream.get_final_completion()
    assert seen[:3] == [(0, ""), (1, ""), (1, "fast")]
    assert [choice.message.content for choice in final.choices] == ["slow", "fast"]
    assert final.usage is not None
    assert (final.usage.prompt_tokens, final.usage.completion_tokens) == (4, 3)


# What goes wrong


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("n", [1, 3])
async def test_an_error_before_the_first_event_has_its_status(stream: bool, n: int) -> None:
    model = Scripted((Busy("All sequences are taken.", retry_after=3),))
    async with serving(language=model) as client, openai(client) as sdk:
        with pytest.raises(RateLimitError) as raised:
            await sdk.chat.completions.create(model="tiny", messages=USER, stream=stream, n=n)
    assert raised.value.response.headers["Retry-After"] == "3"
    assert model.running == 0


async def test_an_error_in_the_stream_is_its_last_event() -> None:
    model = Scripted((TextDelta("Hel"), WorkerCrashed("The worker died twice.")))
    async with serving(language=model) as client, openai(client) as sdk:
        events = await chunks(client)
        stream = await sdk.chat.completions.create(model="tiny", messages=USER, stream=True)
        with pytest.raises(APIError, match="The worker died twice"):
            [chunk async for chunk in stream]
    assert events[-1]["error"]["type"] == "server_error"
    assert len(events) == 3


async def test_an_answer_without_an_end_is_an_error() -> None:
    async with serving(language=Scripted((TextDelta("Hel"),))) as client:
        whole = await client.post(PATH, json={"model": "tiny", "messages": USER})
        assert whole.status == 500
        told = await whole.json()
        *_, last = await chunks(client)
    assert told == last
    assert "broke its answer off" in last["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_what_an_engine_refuses_is_the_clients_to_read(stream: bool) -> None:
    long = ContextLengthExceeded("This model's context is 8 tokens.", "messages")
    grammar = InvalidInput("Keyword 'not' is not supported.", "response_format")
    async with serving(language=Scripted((long,), (grammar,))) as client, openai(client) as sdk:
        create = sdk.chat.completions.create
        with pytest.raises(BadRequestError) as too_long:
            await create(model="tiny", messages=USER, stream=stream)
        with pytest.raises(BadRequestError) as unsupported:
            await create(model="tiny", messages=USER, stream=stream)
    assert too_long.value.code == "context_length_exceeded"
    assert too_long.value.param == "messages"
    assert unsupported.value.param == "response_format"


async def test_a_model_that_cannot_chat_is_refused_before_anything_else() -> None:
    model = Scripted(models=("tiny", "vectors"), tasks=["embedding"])
    async with serving(language=model) as client, openai(client) as sdk:
        with pytest.raises(NotFoundError) as unknown:
            await sdk.chat.completions.create(model="gpt-9", messages=[])
        with pytest.raises(BadRequestError) as other:
            await sdk.chat.completions.create(model="vectors", messages=[])
    assert unknown.value.code == "model_not_found"
    assert other.value.param == "model"
    assert model.calls == []


@pytest.mark.parametrize("model", [None, 3, {}])
async def test_a_model_is_named(model: Any) -> None:
    async with serving() as client:
        response = await client.post(PATH, json={"model": model, "messages": USER})
        body = await response.json()
    assert response.status == 400
    assert body["error"]["param"] == "model"


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_every_answer(stream: bool, n: int) -> None:
    model = Scripted((TextDelta("Hel"), asyncio.Event()))
    body = {"model": "tiny", "messages": USER, "stream": stream, "n": n}
    async with serving(language=model) as client:
        sending = asyncio.create_task(client.post(PATH, json=body, timeout=ClientTimeout(30)))
        async with asyncio.timeout(30):
            await model.started.wait()
            if stream:
                response = await sending
                await response.content.readuntil(b"Hel")
                assert model.running == n
                response.close()
            else:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            await model.idle.wait()
    assert len(model.calls) == n


# Whatever comes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**64) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PART = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["text", "refusal", "image_url"]) | JSON, "text": JSON}
)
CALL = st.fixed_dictionaries(
    {"id": JSON, "function": JSON | st.just({"name": "weather", "arguments": "{}"})}
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "tool", "function"]) | JSON},
    optional={
        "content": st.text() | st.lists(PART, max_size=3) | JSON,
        "name": JSON,
        "tool_calls": st.lists(CALL, max_size=2) | JSON,
        "function_call": JSON,
        "tool_call_id": st.text() | JSON,
    },
)
BODY = st.fixed_dictionaries(
    {"messages": st.just(USER) | st.lists(MESSAGE, max_size=3) | JSON},
    optional={
        "model": JSON | st.just("tiny"),
        "stream": st.booleans() | JSON,
        "n": st.integers(0, 20) | JSON,
        "stop": st.lists(st.text(), max_size=5) | JSON,
        "temperature": st.floats(0, 3) | JSON,
        "seed": st.integers() | JSON,
        "logprobs": st.booleans() | JSON,
        "top_logprobs": st.integers(0, 25) | JSON,
        "logit_bias": JSON,
        "tools": st.just([WEATHER]) | st.lists(JSON, max_size=2),
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | JSON,
        "functions": st.just([WEATHER["function"]]) | JSON,
        "response_format": st.just({"type": "json_object"}) | JSON,
        "stream_options": st.just({"include_usage": True}) | JSON,
        "chat_template_kwargs": JSON,
        "whatever": JSON,
    },
)


@pytest.mark.one_loop
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(BODY, min_size=20, max_size=20))
async def test_whatever_the_body_the_answer_is_200_or_the_clients_fault(
    bodies: list[dict[str, Any]],
) -> None:
    async with serving() as client:
        for body in bodies:
            response = await client.post(PATH, json={"model": "tiny", **body})
            content = await response.read()
            if response.status == 200:
                continue
            assert 400 <= response.status < 500, (body, content)
            error = json.loads(content)["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["message"].endswith(".")
