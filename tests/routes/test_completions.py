import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from language_models import HELLO, Scripted, Step
from openai import BadRequestError
from openai.types import Completion
from rest import Client, openai, serving

from engines.base import Busy, InvalidInput, WorkerCrashed
from engines.generation import Finished, Plain, Sampling, TextDelta, TokenLogprob, Usage

PATH = "/v1/completions"


def token(text: str, logprob: float, *top: TokenLogprob) -> TokenLogprob:
    return TokenLogprob(text, text.encode(), logprob, top)


async def refused(client: Client, **body: Any) -> dict[str, Any]:
    response = await client.post(PATH, json={"model": "tiny", "prompt": "Once", **body})
    assert response.status == 400
    error: dict[str, Any] = (await response.json())["error"]
    return error


async def test_the_sdk_gets_a_text() -> None:
    model = Scripted()
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        made = await sdk.completions.create(model="tiny", prompt="Once")
    assert made.id.startswith("cmpl-")
    assert (made.object, made.model) == ("text_completion", "tiny")
    [choice] = made.choices
    assert (choice.index, choice.text, choice.finish_reason) == (0, "Hello there.", "stop")
    assert choice.logprobs is None
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.total_tokens) == (5, 7)
    [request] = model.requests
    assert request.prompt == Plain("Once")
    assert request.max_tokens == 16
    assert request.sampling == Sampling()


async def test_every_parameter_reaches_the_engine() -> None:
    model = Scripted()
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        await sdk.completions.create(
            model="tiny",
            prompt=[5, 6],
            max_tokens=3,
            temperature=0,
            top_p=0.9,
            stop=["a", "b"],
            seed=2,
            best_of=1,
            echo=True,
            suffix=None,
            frequency_penalty=0.5,
            presence_penalty=-0.5,
            logit_bias={"7": -100},
            user="me",
        )
    [request] = model.requests
    assert request.prompt == Plain((5, 6), echo=True)
    assert request.sampling == Sampling(
        0, 0.9, frequency_penalty=0.5, presence_penalty=-0.5, seed=2, logit_bias={7: -100.0}
    )
    assert (request.max_tokens, request.stop, request.logprobs) == (3, ("a", "b"), None)


async def test_several_prompts_have_their_choices_one_after_another() -> None:
    answers: list[list[Step]] = [
        [TextDelta(text), Finished("stop", Usage(prompt=length, completion=1))]
        for text, length in (("a", 3), ("b", 3), ("c", 7), ("d", 7))
    ]
    model = Scripted(*answers)
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        made = await sdk.completions.create(model="tiny", prompt=["x", "y"], n=2)
    assert [(choice.index, choice.text) for choice in made.choices] == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
        (3, "d"),
    ]
    assert [request.prompt for request in model.requests] == [
        Plain("x"),
        Plain("x"),
        Plain("y"),
        Plain("y"),
    ]
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (10, 4)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([0, 1], [(0, 1)]),
        ([[1], [2, 3]], [(1,), (2, 3)]),
        (["a", [2]], ["a", (2,)]),
        (list(range(2000)), [tuple(range(2000))]),
    ],
)
async def test_a_prompt_is_text_or_tokens_one_or_several(prompt: Any, expected: list[Any]) -> None:
    model = Scripted()
    async with serving(language=model) as client:
        response = await client.post(PATH, json={"model": "tiny", "prompt": prompt})
    assert response.status == 200
    assert [request.prompt for request in model.requests] == [Plain(each) for each in expected]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": None}, "prompt", "Missing"),
        ({"prompt": []}, "prompt", "text"),
        ({"prompt": [[]]}, "prompt", "text"),
        ({"prompt": [1, "a"]}, "prompt", "integers"),
        ({"prompt": [True]}, "prompt", "integers"),
        ({"prompt": [1.5]}, "prompt", "text"),
        ({"prompt": [-1]}, "prompt", "from 0"),
        ({"prompt": [2**31]}, "prompt", "from 0"),
        ({"prompt": {"a": 1}}, "prompt", "text"),
        ({"prompt": ["a"] * 17}, "prompt", "16"),
        ({"prompt": ["a"] * 9, "n": 2}, "prompt", "16"),
        ({"suffix": "The end."}, "suffix", "leave it out"),
        ({"best_of": 2}, "best_of", "same as 'n'"),
        ({"best_of": 2, "n": 3}, "best_of", "same as 'n'"),
        ({"echo": True, "logprobs": 1}, "echo", "log-probabilities"),
        ({"logprobs": 6}, "logprobs", "5"),
        ({"logprobs": True}, "logprobs", "integer"),
        ({"max_tokens": 0}, "max_tokens", "1"),
        ({"n": 0}, "n", "1"),
        ({"temperature": "1"}, "temperature", "number"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(
    fields: dict[str, Any], param: str, words: str
) -> None:
    async with serving() as client:
        error = await refused(client, **fields)
    assert error["param"] == param
    assert words in error["message"]


async def test_a_stream_is_text_then_the_reason_then_usage_then_done() -> None:
    async with serving() as client, openai(client) as sdk:
        stream = await sdk.completions.create(
            model="tiny", prompt="Once", stream=True, stream_options={"include_usage": True}
        )
        seen: list[Completion] = [chunk async for chunk in stream]
        body = {"model": "tiny", "prompt": "Once", "stream": True}
        raw = await (await client.post(PATH, json=body)).text()
    assert [chunk.choices[0].text for chunk in seen[:-1]] == ["Hello", " there.", ""]
    reasons = [chunk.choices[0].finish_reason for chunk in seen[:-1]]
    assert reasons == [None, None, "stop"]
    assert all(chunk.usage is None and chunk.object == "text_completion" for chunk in seen[:-1])
    assert len({chunk.id for chunk in seen}) == 1
    assert seen[-1].choices == []
    assert seen[-1].usage is not None
    assert seen[-1].usage.total_tokens == 7
    assert raw.endswith("data: [DONE]\n\n")
    assert "usage" not in raw


async def test_log_probabilities_have_their_places_in_the_text() -> None:
    first, second = token("Hel", -0.5, token("Hel", -0.5), token("By", -1.0)), token("lo", -0.25)
    half = TokenLogprob("\ufffd", b"\xc3", -2.0, (token("x", -0.125),))
    other = TokenLogprob("\ufffd", b"\xa9", float("-inf"))
    answer = (
        TextDelta("Hello", (first, second)),
        TextDelta("é!", (half, other, token("!", -1.0))),
        Finished("length", Usage(1, 5)),
    )
    async with (
        serving(language=Scripted(answer)) as client,
        openai(client, strict=True) as strict,
        openai(client) as sdk,
    ):
        made = await strict.completions.create(model="tiny", prompt="x", logprobs=2)
        stream = await sdk.completions.create(model="tiny", prompt="x", logprobs=2, stream=True)
        parts = [chunk.choices[0].logprobs async for chunk in stream]
    found = made.choices[0].logprobs
    assert made.choices[0].finish_reason == "length"
    assert found is not None
    assert found.tokens == ["Hel", "lo", "\ufffd", "\ufffd", "!"]
    assert found.token_logprobs == [-0.5, -0.25, -2.0, -9999.0, -1.0]
    assert found.text_offset == [0, 3, 5, 5, 6]
    assert found.top_logprobs is not None
    assert found.top_logprobs[0] == {"Hel": -0.5, "By": -1.0}
    assert found.top_logprobs[2] == {"x": -0.125, "\ufffd": -2.0}
    assert [part and part.text_offset for part in parts] == [[0, 3], [5, 5, 6], None]


async def test_log_probabilities_without_alternatives_have_none() -> None:
    answer = (TextDelta("a", (token("a", -0.5),)), Finished("stop", Usage(1, 1)))
    model = Scripted(answer)
    async with serving(language=model) as client, openai(client, strict=True) as sdk:
        made = await sdk.completions.create(model="tiny", prompt="x", logprobs=0)
    assert model.requests[0].logprobs == 0
    assert made.choices[0].logprobs is not None
    assert made.choices[0].logprobs.top_logprobs is None


@pytest.mark.parametrize("stream", [True, False])
async def test_an_engine_that_refuses_is_told_with_its_status(stream: bool) -> None:
    model = Scripted((InvalidInput("Token 9 is unknown.", "prompt"),), (Busy("Full."),))
    async with serving(language=model) as client, openai(client) as sdk:
        with pytest.raises(BadRequestError, match="Token 9") as raised:
            await sdk.completions.create(model="tiny", prompt=[9], stream=stream)
        response = await client.post(PATH, json={"model": "tiny", "prompt": "x", "stream": stream})
    assert raised.value.param == "prompt"
    assert response.status == 429


async def test_an_error_in_the_stream_is_its_last_event() -> None:
    for end in ((), (WorkerCrashed("The worker died twice."),)):
        model = Scripted((HELLO[0], *end))
        async with serving(language=model) as client:
            body = {"model": "tiny", "prompt": "x", "stream": True}
            records = (await (await client.post(PATH, json=body)).text()).split("\n\n")
        assert json.loads(records[-2].removeprefix("data: "))["error"]["type"] == "server_error"
        assert "[DONE]" not in "".join(records)


async def test_a_client_that_leaves_ends_every_answer() -> None:
    model = Scripted((TextDelta("Hel"), asyncio.Event()))
    body = {"model": "tiny", "prompt": ["x", "y"], "n": 2, "stream": True}
    async with serving(language=model) as client:
        response = await client.post(PATH, json=body)
        await response.content.readuntil(b"Hel")
        assert model.running == 4
        response.close()
        async with asyncio.timeout(30):
            await model.idle.wait()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**64) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODY = st.fixed_dictionaries(
    {"prompt": st.text() | st.lists(st.text() | st.lists(st.integers(0, 9)), max_size=4) | JSON},
    optional={
        "model": JSON | st.just("tiny"),
        "stream": st.booleans() | JSON,
        "n": st.integers(0, 6) | JSON,
        "best_of": st.integers(0, 6) | JSON,
        "echo": st.booleans() | JSON,
        "logprobs": st.integers(0, 6) | JSON,
        "max_tokens": st.integers(0, 6) | JSON,
        "suffix": JSON,
        "stop": JSON,
        "stream_options": st.just({"include_usage": True}) | JSON,
        "logit_bias": JSON,
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
