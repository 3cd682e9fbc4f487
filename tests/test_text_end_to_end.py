"""The text routes of a running server as their users meet them: the real SDK, a real llama.cpp,
models made for the tests, clients and workers that are killed."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import gguf_models
import httpx2
import numpy as np
import openai
import psutil
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from programs import Server, free_port, wait_until
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

pytestmark = pytest.mark.one_loop

ANSWER = gguf_models.ANSWER
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
THOUGHT = "<think>\nIt is about numbers, so count them.\n</think>\n\nForty-two it is."
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("text")
    gguf_models.scripted(folder / "scripted.gguf", context=2048)
    endless = "all work and no play makes a dull boy "
    gguf_models.scripted(folder / "endless.gguf", endless, ends=False, context=16384)
    gguf_models.scripted(folder / "caller.gguf", CALL, context=2048)
    gguf_models.scripted(folder / "thinker.gguf", THOUGHT, context=2048)
    gguf_models.random(folder / "random.gguf")
    gguf_models.embedder(folder / "embedder.gguf")
    gguf_models.reranker(folder / "reranker.gguf")
    names = [path.stem for path in folder.glob("*.gguf")]
    options = {"endless": {"context": 16384}}
    models = [
        {
            "name": name,
            "engine": "llama",
            "source": str(folder / f"{name}.gguf"),
            "options": {"threads": 1} | options.get(name, {}),
        }
        for name in names
    ]
    port = free_port()
    configuration = {
        "models": models,
        "defaults": {"chat": "scripted"},
        "providers": {"mirror": {"base_url": f"http://127.0.0.1:{port}/v1"}},
    }
    with Server(folder, configuration=configuration, port=port) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    web = httpx2.Client(trust_env=False)
    with OpenAI(
        base_url=f"{server.url}/v1",
        api_key="none",
        max_retries=0,
        timeout=60,
        http_client=web,
        _strict_response_validation=True,
    ) as client:
        yield client


def user(text: str = "Hi") -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def live(server: Server, model: str) -> float:
    """Jobs of a model that began and are not over, by its counters."""
    began = ended = 0.0
    for family in text_string_to_metric_families(server.get("/metrics")):
        for sample in family.samples:
            if sample.labels.get("lane") != model:
                continue
            if sample.name == "antiphon_job_wait_seconds_count":
                began += sample.value
            if sample.name == "antiphon_jobs_total":
                ended += sample.value
    return began - ended


# Chat


def test_the_sdk_gets_an_answer(client: OpenAI) -> None:
    made = client.chat.completions.create(model="scripted", messages=user(), temperature=0)
    assert made.choices[0].message.content == ANSWER
    assert made.choices[0].finish_reason == "stop"
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens


def test_the_sdk_streams_an_answer_and_its_usage(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="scripted", messages=user(), stream_options={"include_usage": True}
    ) as stream:
        texts = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(texts) == final.choices[0].message.content == ANSWER
    assert len(texts) > 1
    assert final.usage is not None


def test_the_default_model_answers_to_its_name(client: OpenAI) -> None:
    made = client.chat.completions.create(model="default", messages=user())
    assert made.choices[0].message.content == ANSWER


def test_several_choices_share_their_prompt(client: OpenAI) -> None:
    made = client.chat.completions.create(model="scripted", messages=user("n" * 200), n=3)
    assert [choice.message.content for choice in made.choices] == [ANSWER] * 3
    assert made.usage is not None
    assert made.usage.prompt_tokens_details is not None
    assert made.usage.prompt_tokens_details.cached_tokens


def test_a_tool_is_called_and_its_result_can_be_told(client: OpenAI) -> None:
    made = client.chat.completions.create(model="caller", messages=user(), tools=[WEATHER])
    choice = made.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather",
        {"city": "Paris"},
    )
    messages: list[Any] = [
        *user(),
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny."},
    ]
    again = client.chat.completions.create(model="scripted", messages=messages, tools=[WEATHER])
    assert again.choices[0].message.content == ANSWER


def test_a_tool_call_streams_through_the_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(model="caller", messages=user(), tools=[WEATHER]) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls is not None
    assert final.choices[0].message.tool_calls[0].function.name == "weather"


def test_thoughts_are_kept_apart_from_the_answer(client: OpenAI) -> None:
    made = client.chat.completions.create(model="thinker", messages=user())
    message = made.choices[0].message
    assert message.content == "Forty-two it is."
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == "It is about numbers, so count them."
    assert made.usage is not None
    assert made.usage.completion_tokens_details is not None
    assert made.usage.completion_tokens_details.reasoning_tokens


class Mood(BaseModel):
    """What a model is asked for."""

    mood: Literal["good", "bad"]


def test_a_parsed_answer_fits_its_class_or_is_too_long(client: OpenAI) -> None:
    try:
        made = client.chat.completions.parse(
            model="random", messages=user(), response_format=Mood, max_tokens=100, seed=3
        )
    except openai.LengthFinishReasonError:
        return
    assert made.choices[0].message.parsed is not None
    assert made.choices[0].message.parsed.mood in ("good", "bad")


def test_eight_clients_are_answered_at_once(server: Server) -> None:
    async def ask() -> list[str | None]:
        async with AsyncOpenAI(
            base_url=f"{server.url}/v1",
            api_key="none",
            http_client=httpx2.AsyncClient(trust_env=False),
        ) as client:
            made = await asyncio.gather(
                *(
                    client.chat.completions.create(model="scripted", messages=user(str(n)))
                    for n in range(8)
                )
            )
        return [each.choices[0].message.content for each in made]

    assert asyncio.run(ask()) == [ANSWER] * 8


def test_a_prompt_beyond_the_context_is_a_400_that_says_so(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="scripted", messages=user("z" * 5000))
    assert refused.value.code == "context_length_exceeded"


def test_log_probabilities_come_with_their_tokens(client: OpenAI) -> None:
    made = client.chat.completions.create(
        model="scripted", messages=user(), logprobs=True, top_logprobs=2, temperature=0
    )
    logprobs = made.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(each.token for each in logprobs.content) == ANSWER
    assert all(len(each.top_logprobs) == 2 for each in logprobs.content)


# What goes wrong


def test_a_client_that_is_killed_frees_the_model(server: Server) -> None:
    body = {"model": "endless", "messages": user(), "stream": True}
    program = (
        "import httpx2, time\n"
        "with httpx2.Client(trust_env=False) as web:\n"
        f"    with web.stream('POST', '{server.url}/v1/chat/completions', json={body}) as answer:\n"
        "        lines = answer.iter_lines()\n"
        "        print(next(lines), flush=True)\n"
        "        time.sleep(60)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert client.stdout is not None
    try:
        assert client.stdout.readline().startswith(b"data: ")
        assert live(server, "endless") == 1
    finally:
        client.kill()
        client.wait()
        client.stdout.close()
    wait_until(lambda: live(server, "endless") == 0, 30)


def test_an_answer_goes_on_when_the_worker_is_killed(server: Server, client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="endless", messages=user(), stream=True, max_tokens=6000
    )
    texts: list[str] = []
    killed = False
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            texts.append(chunk.choices[0].delta.content)
        if len(texts) > 2 and not killed:
            killed = True
            os.kill(_worker(server, "endless").pid, signal.SIGKILL)
    said = "".join(texts)
    assert 'antiphon_worker_crashes_total{lane="endless"} 1.0' in server.get("/metrics")
    assert len(said) > 12_000
    assert said == ("all work and no play makes a dull boy " * 6000)[: len(said)]


def _worker(server: Server, model: str) -> psutil.Process:
    """The process that has the model's file open."""
    for child in psutil.Process(server.process.pid).children(recursive=True):
        if any(f"{model}.gguf" in each.path for each in child.memory_maps()):
            return child
    raise AssertionError(f"no process has {model} in memory")


def test_a_model_of_another_kind_says_what_it_is_for(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no language model"):
        client.chat.completions.create(model="embedder", messages=user())
    with pytest.raises(openai.BadRequestError, match="no embedding model"):
        client.embeddings.create(model="scripted", input="hello")
    with pytest.raises(openai.BadRequestError, match="no language model"):
        client.chat.completions.create(model="pocketsphinx", messages=user())


def test_a_language_model_does_not_transcribe(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot transcribe"):
        client.audio.transcriptions.create(model="scripted", file=("a.wav", b"RIFF"))


def test_a_model_that_is_not_here_is_a_404(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-5"):
        client.chat.completions.create(model="gpt-5", messages=user())


# The other routes


def test_completions_go_on_from_a_text(client: OpenAI) -> None:
    made = client.completions.create(model="scripted", prompt="So:", max_tokens=60, echo=True)
    assert made.choices[0].text == f"So:{ANSWER}"


def test_embeddings_are_near_for_texts_that_share_words(client: OpenAI) -> None:
    texts = ["a small cat animal", "a small dog animal", "piano music"]
    # The SDK asks for base64 and makes lists of it, which its strict mode does not know.
    lenient = OpenAI(base_url=client.base_url, api_key="none", http_client=client._client)
    made = lenient.embeddings.create(model="embedder", input=texts)
    plain = client.embeddings.create(model="embedder", input=texts, encoding_format="float")
    cat, dog, song = (np.array(each.embedding) for each in made.data)
    assert cat @ dog > cat @ song
    assert np.allclose(plain.data[0].embedding, cat, atol=1e-6)


def test_documents_are_ranked(server: Server) -> None:
    body = {"model": "reranker", "query": "song", "documents": ["red house", "music music"]}
    made = httpx2.post(f"{server.url}/v1/rerank", json=body, trust_env=False).json()
    assert [each["index"] for each in made["results"]] == [1, 0]


def test_responses_stream_in_order_and_are_remembered(client: OpenAI) -> None:
    with client.responses.stream(model="scripted", input="Hi") as stream:
        kinds = [event.type for event in stream]
        first = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert first.output_text == ANSWER
    second = client.responses.create(model="scripted", input="And?", previous_response_id=first.id)
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    assert client.responses.retrieve(second.id).output_text == ANSWER


def test_a_providers_model_answers_through_us(client: OpenAI) -> None:
    made = client.chat.completions.create(model="mirror.scripted", messages=user())
    assert made.choices[0].message.content == ANSWER
    response = client.responses.create(model="mirror.scripted", input="Hi")
    assert response.output_text == ANSWER
    stream = client.chat.completions.create(model="mirror.scripted", messages=user(), stream=True)
    texts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(texts) == ANSWER


def test_every_model_is_listed_with_its_kind(server: Server) -> None:
    listed = json.loads(server.get("/v1/models"))["data"]
    kinds = {each["id"]: each["antiphon"]["kind"] for each in listed}
    assert kinds["scripted"] == "chat"
    assert kinds["embedder"] == "embedding"
    assert kinds["reranker"] == "rerank"
    assert kinds["pocketsphinx"] == "transcription"


def test_a_model_is_freed_and_loaded_again_when_it_is_asked(server: Server, client: OpenAI) -> None:
    def state() -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(server.get("/v1/models/thinker"))["antiphon"]
        return shown

    url = f"{server.url}/v1/models/thinker"
    assert httpx2.post(f"{url}/load", trust_env=False, timeout=60).status_code == 200
    assert state()["state"] == "loaded"
    assert state()["memory_bytes"] > 10_000_000
    assert httpx2.post(f"{url}/unload", trust_env=False, timeout=60).status_code == 200
    assert (state()["state"], state()["memory_bytes"]) == ("installed", None)
    made = client.chat.completions.create(model="thinker", messages=user())
    assert made.choices[0].message.content == "Forty-two it is."


def test_speech_is_heard_while_a_long_answer_is_written(server: Server, client: OpenAI) -> None:
    """The event loop stays free: health answers at once beside a busy model."""
    done = threading.Event()

    def write() -> None:
        client.chat.completions.create(model="endless", messages=user(), max_tokens=3000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    waits: list[float] = []
    while not done.is_set():
        began = time.perf_counter()
        server.get("/health")
        waits.append(time.perf_counter() - began)
        time.sleep(0.02)
    writer.join()
    # Of a machine that is busy with other work the slowest answer says nothing.
    assert sorted(waits)[len(waits) * 9 // 10] < 1.0


def test_the_log_says_nothing_of_what_was_written(server: Server) -> None:
    assert not re.search("dull boy|forty-two", server.log())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


def test_without_a_language_model_the_route_says_what_to_run(folder: Path) -> None:
    with Server(folder) as bare:
        body = {"model": "default", "messages": user()}
        answer = httpx2.post(f"{bare.url}/v1/chat/completions", json=body, trust_env=False)
    assert answer.status_code == 404
    assert "antiphon pull" in answer.json()["error"]["message"]
