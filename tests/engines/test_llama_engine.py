"""Answers written together by the real llama.cpp, on models made for the tests."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf_models
import llama_cpp
import pytest

from engines.base import EngineError, InvalidInput, JobClass, Outcome, Recipe, UpTo, Work
from engines.devices import Device
from engines.generation import (
    Chat,
    ContextLengthExceeded,
    Finished,
    Format,
    Generate,
    Plain,
    Sampling,
    TextDelta,
    Tool,
)
from engines.language import LanguageModel
from engines.llama_engine import LlamaEngine, LlamaSettings
from engines.llama_sampling import Sampled, Sampler
from engines.scheduler import Scheduler

TOLERANCE = 0.02
"""Of log-probabilities: llama.cpp keeps keys and values in 16 bits, and sums batches otherwise."""

GREEDY = Sampling(temperature=0)

WORDS = "one two three four five "


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scripted model and one of random weights."""
    folder = tmp_path_factory.mktemp("gguf")
    gguf_models.scripted(folder / "scripted.gguf")
    gguf_models.scripted(folder / "endless.gguf", WORDS, ends=False)
    gguf_models.scripted(folder / "long.gguf", WORDS, ends=False, context=16384)
    gguf_models.random(folder / "random.gguf")
    return folder


class Run:
    """An engine and the jobs it was given."""

    def __init__(self, engine: LlamaEngine) -> None:
        self.engine = engine
        self.open: dict[int, Generate] = {}
        self.live: set[int] = set()
        self.events: dict[int, list[Any]] = {}
        self.errors: dict[int, EngineError] = {}
        self.progress: dict[int, list[Any]] = {}

    def add(self, *requests: Generate, live: bool = False) -> list[int]:
        """New jobs; answers their numbers."""
        jobs = [len(self.events) + n for n in range(len(requests))]
        for job, request in zip(jobs, requests, strict=True):
            self.open[job] = request
            if live:
                self.live.add(job)
            self.events[job], self.progress[job] = [], []
        return jobs

    def step(self, *jobs: int) -> Sequence[Outcome]:
        """A step of these jobs, or of all."""
        taking = [(job, self.open[job]) for job in jobs or self.open]
        outcomes = self.engine.step([self._work(*each) for each in taking])
        for outcome in outcomes:
            self.events[outcome.job] += outcome.events
            self.progress[outcome.job] += outcome.progress
            if outcome.error is not None:
                self.errors[outcome.job] = outcome.error
            if outcome.done:
                del self.open[outcome.job]
        return outcomes

    def _work(self, job: int, request: Generate) -> Work:
        kind = JobClass.FIRST_SENTENCE if job in self.live else JobClass.REST
        return Work(job, request, kind=kind)

    def finish(self, *, most: int = 2000) -> None:
        for _ in range(most):
            if not self.open:
                return
            self.step()
        raise AssertionError(f"{len(self.open)} answers do not end")

    def text(self, job: int) -> str:
        return "".join(each.text for each in self.events[job] if isinstance(each, TextDelta))

    def end(self, job: int) -> Finished:
        last = self.events[job][-1]
        assert isinstance(last, Finished)
        return last


@pytest.fixture
def opened(models: Path) -> Iterator[Any]:
    """Opens engines and closes them."""
    engines: list[LlamaEngine] = []

    def open_one(name: str = "scripted", **settings: Any) -> Run:
        known: dict[str, Any] = {
            "context": None,
            "cells": None,
            "sequences": 8,
            "batch": 128,
            "threads": 1,
            "gpu_layers": None,
        }
        path = str(models / f"{name}.gguf")
        engines.append(LlamaEngine(LlamaSettings(name=name, path=path, **known | settings)))
        return Run(engines[-1])

    yield open_one
    for engine in engines:
        engine.close()


def asked(text: str = "Hi", **settings: Any) -> Generate:
    chat = Chat(({"role": "user", "content": text},))
    return Generate(chat, **{"sampling": GREEDY} | settings)


def plain(tokens: Sequence[int], **settings: Any) -> Generate:
    return Generate(Plain(tuple(tokens)), **{"sampling": GREEDY} | settings)


def test_an_answer_is_written_to_its_end(opened: Any) -> None:
    run = opened()
    (job,) = run.add(asked())
    run.finish()
    assert run.text(job) == gguf_models.ANSWER
    usage = run.end(job).usage
    assert run.end(job).reason == "stop"
    assert usage.prompt > 10
    assert usage.completion == len(gguf_models.cut(gguf_models.ANSWER))


def test_many_answers_at_once_say_what_each_says_alone(opened: Any) -> None:
    run = opened()
    jobs = run.add(*(asked("x" * n) for n in range(1, 12)))
    run.finish()
    assert {run.text(job) for job in jobs} == {gguf_models.ANSWER}


def test_logits_in_a_batch_are_those_of_the_prompt_alone(opened: Any) -> None:
    prompts = [[1 + (7 * n + 3 * k) % 500 for k in range(20 + 9 * n)] for n in range(6)]
    requests = [plain(prompt, max_tokens=1, logprobs=5) for prompt in prompts]
    together = opened("random")
    jobs = together.add(*requests)
    together.finish()
    for job, request in zip(jobs, requests, strict=True):
        alone = opened("random")
        (only,) = alone.add(request)
        alone.finish()
        for one, other in zip(_top(together, job), _top(alone, only), strict=True):
            assert one == pytest.approx(other, abs=TOLERANCE)


def test_a_prompt_that_begins_alike_is_not_computed_again(opened: Any) -> None:
    run = opened("random")
    prompt = [1 + n % 500 for n in range(300)]
    (first,) = run.add(plain(prompt, max_tokens=4))
    run.finish()
    (second,) = run.add(plain([*prompt, 7, 8, 9], max_tokens=1, logprobs=5))
    run.finish()
    assert run.end(first).usage.cached == 0
    assert run.end(second).usage.cached == 300
    fresh = opened("random")
    (alone,) = fresh.add(plain([*prompt, 7, 8, 9], max_tokens=1, logprobs=5))
    fresh.finish()
    assert _top(run, second) == pytest.approx(_top(fresh, alone), abs=TOLERANCE)


def test_prompts_that_come_together_and_begin_alike_are_computed_once(opened: Any) -> None:
    run = opened("random")
    prompt = [1 + n % 500 for n in range(300)]
    jobs = run.add(*(plain([*prompt, 10 + n], max_tokens=2) for n in range(4)))
    run.finish()
    assert sorted(run.end(job).usage.cached for job in jobs) == [0, 300, 300, 300]


def test_the_same_prompt_again_computes_its_last_token_only(opened: Any) -> None:
    run = opened()
    for _ in range(2):
        (job,) = run.add(asked())
        run.finish()
    assert run.text(job) == gguf_models.ANSWER
    assert run.end(job).usage.cached == run.end(job).usage.prompt - 1


def test_a_long_prompt_does_not_stop_those_that_write(opened: Any) -> None:
    run = opened("endless", context=512)
    (writer,) = run.add(asked(max_tokens=400))
    while not run.text(writer):
        run.step()
    (reader,) = run.add(asked("y" * 300, max_tokens=2))
    steps = 0
    while not run.text(reader):
        before = len(run.progress[writer])
        run.step()
        assert len(run.progress[writer]) > before
        steps += 1
    assert steps >= 2


def test_a_prompt_beyond_the_context_is_refused_before_any_work(opened: Any) -> None:
    run = opened(context=128)
    (job,) = run.add(asked("z" * 400))
    run.step()
    assert isinstance(run.errors[job], ContextLengthExceeded)
    assert "maximum context length is 128 tokens" in str(run.errors[job])


@pytest.mark.parametrize("text", ["", ()])
def test_an_empty_prompt_is_refused(opened: Any, text: str | tuple[int, ...]) -> None:
    run = opened()
    (job,) = run.add(Generate(Plain(text), GREEDY))
    run.step()
    assert isinstance(run.errors[job], InvalidInput)


def test_an_answer_ends_with_the_context(opened: Any) -> None:
    run = opened("endless", context=128)
    (job,) = run.add(asked())
    run.finish()
    usage = run.end(job).usage
    assert run.end(job).reason == "length"
    assert usage.prompt + usage.completion == 128


def test_the_oldest_messages_are_left_out_where_that_is_asked_for(opened: Any) -> None:
    run = opened(context=256)
    messages = [{"role": "user", "content": "q" * 50}, {"role": "assistant", "content": "a" * 50}]
    chat = Chat((*(messages * 4), {"role": "user", "content": "last"}))
    (job,) = run.add(Generate(chat, GREEDY, truncate=True))
    run.finish()
    assert run.text(job) == gguf_models.ANSWER
    assert 128 < run.end(job).usage.prompt < 256


@pytest.mark.parametrize("retention", [1.0, 0.6])
def test_a_conversation_that_was_cut_is_not_computed_again_with_each_answer(
    opened: Any, retention: float
) -> None:
    run = opened("long", context=2048, cells=4096)
    tool = Tool("look", "Looks up a word.", {"type": "object", "properties": {}})
    messages = [{"role": "system", "content": "You are brief."}]
    reused = []
    for number in range(50):
        messages.append({"role": "user", "content": f"This is question {number}, is it not?"})
        chat = Chat(tuple(messages), (tool,))
        (job,) = run.add(Generate(chat, GREEDY, max_tokens=2, truncate=True, retention=retention))
        run.finish()
        usage = run.end(job).usage
        assert usage.prompt <= 2048 - 2
        reused.append(usage.cached > usage.prompt - 200)
        messages.append({"role": "assistant", "content": f"It is, and {number} is a number."})
    # Some twenty questions fit.
    again = reused[25:].count(False)
    assert again <= 4 if retention < 1 else again == 25


def test_room_is_left_for_the_answer_to_a_conversation_that_is_cut(opened: Any) -> None:
    run = opened("endless", context=256)
    messages = [{"role": "user", "content": f"{n}" * 10} for n in range(30)]
    (job,) = run.add(Generate(Chat(tuple(messages)), GREEDY, truncate=True))
    (short,) = run.add(Generate(Chat(tuple(messages)), GREEDY, max_tokens=5, truncate=True))
    run.finish()
    assert run.end(job).usage.completion >= 256 // 8
    assert run.end(short).usage.prompt > run.end(job).usage.prompt


def test_user_text_never_becomes_a_control_token(opened: Any) -> None:
    run = opened()
    (plain_job,) = run.add(asked("0123456789"))
    run.finish()
    (job,) = run.add(asked("<|im_end|>"))
    run.finish()
    assert run.end(job).usage.prompt == run.end(plain_job).usage.prompt


def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(opened: Any) -> None:
    run = opened()
    (job,) = run.add(asked(stop=("forty",)))
    run.finish()
    assert run.text(job) == "The answer to everything is "
    assert run.end(job).reason == "stop"


def test_an_answer_has_no_more_tokens_than_were_asked_for(opened: Any) -> None:
    run = opened()
    (job,) = run.add(asked(max_tokens=3))
    run.finish()
    assert run.end(job).usage.completion == 3
    assert run.end(job).reason == "length"


def test_a_seed_gives_the_same_answer_alone_and_in_company(opened: Any) -> None:
    warm = Sampling(temperature=1.0, seed=42)
    prompt = list(range(5, 25))
    run = opened("random")
    (alone,) = run.add(plain(prompt, sampling=warm, max_tokens=20))
    run.finish()
    others = [plain(range(30, 50), max_tokens=20, sampling=Sampling(seed=n)) for n in range(3)]
    same, *_ = run.add(plain(prompt, sampling=warm, max_tokens=20), *others)
    run.finish()
    assert run.text(same) == run.text(alone)


def test_answers_that_do_not_fit_together_give_way_and_still_end(opened: Any) -> None:
    run = opened("endless", context=256, cells=256)
    jobs = run.add(*(asked(max_tokens=100) for _ in range(6)))
    run.finish()
    for job in jobs:
        assert run.end(job).usage.completion == 100
        assert run.text(job) == (WORDS * 40)[: len(run.text(job))]


def test_more_answers_than_sequences_wait_for_each_other(opened: Any) -> None:
    run = opened(sequences=2)
    jobs = run.add(*(asked(str(n)) for n in range(20)))
    run.finish()
    assert all(run.text(job) == gguf_models.ANSWER for job in jobs)


def test_who_is_dropped_leaves_room_for_the_others(opened: Any) -> None:
    run = opened("endless", context=256, cells=256)
    gone, stays = run.add(asked(max_tokens=200), asked(max_tokens=100))
    run.step()
    run.engine.drop(gone)
    del run.open[gone]
    run.finish()
    assert run.end(stays).usage.completion == 100


def test_a_live_answers_prompt_is_computed_before_the_others(opened: Any) -> None:
    run = opened("random", context=2048, cells=8192)
    prompts = [[1 + (7 * n + k) % 500 for k in range(1000)] for n in range(3)]
    slow = run.add(*(plain(prompt, max_tokens=4) for prompt in prompts))
    (live,) = run.add(plain(range(10, 300), max_tokens=4), live=True)
    while live in run.open:
        run.step()
    assert all(not run.events[job] for job in slow)
    run.finish()


def test_a_live_answer_begins_though_the_others_have_all_the_cells(opened: Any) -> None:
    run = opened("endless", context=256, cells=256)
    others = run.add(*(asked(max_tokens=100) for _ in range(4)))
    while not all(run.events[job] for job in others[:2]):
        run.step()
    (live,) = run.add(asked("Listen. " * 15, max_tokens=100), live=True)
    steps = 0
    while not run.text(live):
        run.step()
        steps += 1
    assert steps <= 3
    run.finish()
    for job in (live, *others):
        assert run.end(job).usage.completion == 100
        assert run.text(job) == (WORDS * 40)[: len(run.text(job))]


@pytest.mark.parametrize(("seconds", "known"), [(60.0, True), (0.0, False)])
def test_a_conversation_is_kept_while_others_ask(
    opened: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, known: bool
) -> None:
    monkeypatch.setattr("engines.llama_engine.KEPT_SECONDS", seconds)
    run = opened("random", context=1024, cells=1024)
    conversation = [1 + n % 500 for n in range(300)]
    for _ in range(3):
        (live,) = run.add(plain(conversation, max_tokens=2), live=True)
        run.finish()
        for first in range(2, 12):
            run.add(plain(range(first, first + 200), max_tokens=2))
            run.finish()
        conversation += [7, 8, 9]
    assert (run.end(live).usage.cached >= 300) is known


def test_no_more_than_the_newest_of_a_conversation_is_kept(opened: Any) -> None:
    run = opened("random", context=1024, cells=1024, sequences=2)
    conversation = list(range(10, 40))
    for _ in range(30):
        run.add(plain(conversation, max_tokens=2), live=True)
        run.finish()
        conversation += [7, 8, 9]
    other = [plain(range(first, first + 100), max_tokens=2) for first in (100, 200, 300)]
    for request in (*other, *other):
        (job,) = run.add(request)
        run.finish()
        assert run.end(job).usage.completion == 2
    assert run.end(job).usage.cached == 99


def test_what_a_live_answer_waits_for_is_as_urgent_as_it_is(opened: Any) -> None:
    run = opened("random", context=2048, cells=8192)
    shared = [1 + n % 500 for n in range(600)]
    (other,) = run.add(plain(range(20, 480), max_tokens=2))
    (alike,) = run.add(plain([*shared, *range(3, 500)], max_tokens=2))
    run.step()
    (live,) = run.add(plain([*shared, 9, 8, 7], max_tokens=2), live=True)
    while live in run.open:
        run.step()
    assert run.end(live).usage.cached >= 500
    assert not run.events[alike]
    assert not run.events[other]
    run.finish()
    assert run.end(other).usage.completion == 2


async def test_a_live_request_to_a_full_model_is_told_its_first_token_in_a_few_steps(
    opened: Any,
) -> None:
    run = opened("long", context=16384, cells=65536)
    steps = 0

    class Counted:
        def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
            nonlocal steps
            steps += 1
            return run.engine.step(work)  # type: ignore[no-any-return]

        def drop(self, job: int) -> None:
            run.engine.drop(job)

        def close(self) -> None: ...

    scheduler = Scheduler(Device(1))
    lane = scheduler.open(Recipe("long", Counted, UpTo(4), slots=4, reserved=1, longest_wait=1e9))
    model = LanguageModel("long", lane)
    others = [model.generate(asked(str(n)), owner=str(n)) for n in range(6)]
    told = [asyncio.create_task(anext(each)) for each in others]
    await asyncio.wait(told[:3])
    assert sum(each.done() for each in told) == 3
    began = steps
    kind = JobClass.FIRST_SENTENCE
    live = model.generate(asked("live"), owner="live", kind=kind)
    assert isinstance(await anext(live), TextDelta)
    assert steps - began <= 4
    assert not told[5].done()
    for task in told:
        task.cancel()
    await asyncio.gather(*told, return_exceptions=True)
    for each in (*others, live):
        await each.aclose()
    await scheduler.close()


def test_an_answer_goes_on_from_what_another_worker_wrote(opened: Any) -> None:
    run = opened()
    (job,) = run.add(asked())
    while len(run.progress[job]) < 3:
        run.step()
    said = run.text(job)
    other = opened()
    work = Work(0, asked(), progress=tuple(run.progress[job]))
    events = list(other.engine.step([work])[0].events)
    other.events[0], other.progress[0], other.open[0] = events, [], asked()
    if not any(isinstance(event, Finished) for event in events):
        other.finish()
    assert said + other.text(0) == gguf_models.ANSWER
    assert other.end(0).usage.completion == len(gguf_models.cut(gguf_models.ANSWER))


def test_an_answer_that_has_to_be_json_is_json_or_the_beginning_of_it(opened: Any) -> None:
    run = opened("random")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    jobs = run.add(
        *(
            asked(
                str(n),
                format=Format("json_schema", {**schema, "additionalProperties": False}),
                sampling=Sampling(seed=n),
                max_tokens=60,
            )
            for n in range(8)
        )
    )
    run.finish()
    for job in jobs:
        if run.end(job).reason == "stop":
            assert isinstance(json.loads(run.text(job))["a"], int)
        else:
            assert run.text(job).lstrip().startswith("{")


@pytest.mark.parametrize("computed", [False, True])
def test_after_a_decode_that_failed_each_answer_goes_on_alone(
    opened: Any, monkeypatch: pytest.MonkeyPatch, computed: bool
) -> None:
    run = opened("endless")
    jobs = run.add(*(asked(str(n), max_tokens=40) for n in range(3)))
    while not all(run.text(job) for job in jobs):
        run.step()
    decode = llama_cpp.llama_decode

    def failing(context: Any, batch: Any) -> int:
        monkeypatch.setattr(llama_cpp, "llama_decode", decode)
        if computed:
            decode(context, batch)  # a part of a batch may have been computed when it fails
        return -3

    monkeypatch.setattr(llama_cpp, "llama_decode", failing)
    with pytest.raises(EngineError, match="code -3"):
        run.step()
    for job in jobs:
        run.step(job)
    run.finish()
    for job in jobs:
        assert run.end(job).usage.completion == 40
        assert run.text(job) == (WORDS * 40)[: len(run.text(job))]


def test_an_answer_that_cannot_go_on_fails_alone(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened("endless")
    jobs = run.add(*(asked(str(n), max_tokens=40) for n in range(3)))
    while not all(run.text(job) for job in jobs):
        run.step()
    sample, broken = Sampler.sample, run.engine._answers[jobs[1]]._sampler

    def failing(self: Sampler, context: Any, index: int) -> Sampled:
        if self is broken:
            raise EngineError("The model has no token that ends an answer.")
        return sample(self, context, index)

    monkeypatch.setattr(Sampler, "sample", failing)
    run.finish()
    assert "no token that ends" in str(run.errors[jobs[1]])
    for job in (jobs[0], jobs[2]):
        assert run.end(job).usage.completion == 40
        assert run.text(job) == (WORDS * 40)[: len(run.text(job))]


def test_an_answer_whose_reader_is_behind_gives_way_to_those_that_wait(opened: Any) -> None:
    run = opened("endless", context=256, cells=256)
    (behind,) = run.add(asked("b" * 150, max_tokens=40))
    while not run.text(behind):
        run.step()
    (waits,) = run.add(asked("w" * 150, max_tokens=40))
    for _ in range(200):
        if waits in run.open:
            run.step(waits)
    assert run.end(waits).usage.completion == 40
    run.finish()
    assert run.end(behind).usage.completion == 40
    assert run.text(behind) == (WORDS * 40)[: len(run.text(behind))]


def test_a_file_that_is_no_model_is_told_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF and then nothing")
    settings = LlamaSettings("broken", str(path), None, None, 4, 64, 1, None)
    with pytest.raises(EngineError, match=r"no GGUF that llama\.cpp can load"):
        LlamaEngine(settings)


def _top(run: Run, job: int) -> list[float]:
    found = [
        [each.logprob for each in logprob.top]
        for event in run.events[job]
        if isinstance(event, TextDelta)
        for logprob in event.logprobs
    ]
    assert found, "no log-probabilities"
    return found[0]
