import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import gguf_models
import numpy as np
import pytest
from llama_runs import Run, running

from engines.base import EngineError, InvalidInput
from engines.generation import Sampling
from engines.grammars import Grammar, json_grammar
from engines.llama_sampling import Sampler

GREEDY = Sampling(temperature=0)
PROMPT = [70, 71, 72]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    gguf_models.scripted(folder / "scripted.gguf")
    gguf_models.scripted(folder / "endless.gguf", "on and on ", ends=False)
    gguf_models.scripted(folder / "json.gguf", '{"answer": [42, "forty-two"]}')
    gguf_models.random(folder / "random.gguf")
    return folder


@pytest.fixture
def random(folder: Path) -> Iterator[Run]:
    with running(folder / "random.gguf") as run:
        yield run


@pytest.fixture
def scripted(folder: Path) -> Iterator[Run]:
    with running(folder / "scripted.gguf") as run:
        yield run


def written(run: Run, sampler: Sampler, prompt: list[int], most: int = 40) -> list[int]:
    """The answer's tokens, its end among them if it came."""
    run.clear()
    tokens: list[int] = []
    fed = prompt
    while len(tokens) < most and not (tokens and run.is_end(tokens[-1])):
        fed = [sampler.sample(run.context, run.feed({0: fed})[0]).token]
        tokens += fed
    return tokens


def answer(
    run: Run, sampling: Sampling, grammar: Grammar | None = None, most: int = 40
) -> list[int]:
    with closing(Sampler(run.model, sampling, grammar, None)) as sampler:
        return written(run, sampler, PROMPT, most)


def text(run: Run, tokens: list[int]) -> str:
    said = b"".join(run.piece(token) for token in tokens if not run.is_end(token))
    return said.decode("utf-8", "replace")


def test_temperature_0_takes_the_most_probable(scripted: Run) -> None:
    assert text(scripted, answer(scripted, GREEDY)) == gguf_models.ANSWER


def test_the_same_seed_gives_the_same_tokens(random: Run) -> None:
    first, again, other = [answer(random, Sampling(seed=seed)) for seed in (-7, -7, 1 << 40)]
    assert first == again
    assert first != other


def test_without_a_seed_each_answer_is_another(random: Run) -> None:
    assert answer(random, Sampling()) != answer(random, Sampling())


def test_answers_in_one_batch_are_what_each_is_alone(random: Run) -> None:
    alone = [answer(random, Sampling(seed=seed, top_p=0.9), most=15) for seed in range(3)]
    random.clear()
    samplers = [Sampler(random.model, Sampling(seed=n, top_p=0.9), None, None) for n in range(3)]
    together: list[list[int]] = [[], [], []]
    fed = dict.fromkeys(range(3), PROMPT)
    while fed:
        lasts = random.feed(fed)
        for number, place in lasts.items():
            together[number].append(samplers[number].sample(random.context, place).token)
        fed = {n: said[-1:] for n, said in enumerate(together) if len(said) < len(alone[n])}
    for sampler in samplers:
        sampler.close()
    assert together == alone


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}])
def test_a_choice_of_one_is_the_most_probable(random: Run, narrow: dict[str, float]) -> None:
    narrowed = Sampling(temperature=1.5, seed=1, **narrow)  # type: ignore[arg-type]
    assert answer(random, narrowed) == answer(random, GREEDY)


def test_top_k_is_never_exceeded(random: Run) -> None:
    lasts = random.feed({0: PROMPT})
    best = set(np.argsort(-random.logits(lasts[0]))[:3].tolist())
    chosen = set()
    for seed in range(60):
        sampling = Sampling(temperature=2.0, top_k=3, seed=seed)
        with closing(Sampler(random.model, sampling, None, None)) as sampler:
            chosen.add(sampler.sample(random.context, lasts[0]).token)
    assert chosen == best


def test_tokens_come_as_often_as_they_are_probable(random: Run) -> None:
    last = random.feed({0: PROMPT})[0]
    logits = random.logits(last).astype(np.float64) / 0.5
    probable = np.exp(logits - logits.max())
    probable /= probable.sum()
    best = int(probable.argmax())
    with closing(Sampler(random.model, Sampling(temperature=0.5, seed=3), None, None)) as sampler:
        count = sum(sampler.sample(random.context, last).token == best for _ in range(2000))
    deviation = np.sqrt(2000 * probable[best] * (1 - probable[best]))
    assert 0.05 < probable[best] < 0.95
    assert abs(count - 2000 * probable[best]) < 5 * deviation


def test_a_bias_of_minus_100_bans_a_token_whatever_its_lead(folder: Path) -> None:
    said = gguf_models.cut(gguf_models.ANSWER)[0].decode()
    with running(folder / "scripted.gguf") as run:
        best = answer(run, GREEDY)[0]
        assert text(run, [best]) == said
        for temperature in (0, 2):
            banned = Sampling(temperature=temperature, logit_bias={best: -100})
            assert best not in answer(run, banned)


def test_a_bias_of_100_forces_a_token_whatever_the_others_lead(scripted: Run) -> None:
    for temperature in (0, 2):
        forced = Sampling(temperature=temperature, logit_bias={100: 100})
        assert answer(scripted, forced, most=5) == [100] * 5


def test_a_small_bias_is_added_to_the_logit(scripted: Run) -> None:
    best = answer(scripted, GREEDY)[0]
    assert answer(scripted, Sampling(temperature=0, logit_bias={100: 20}))[0] == best
    assert answer(scripted, Sampling(temperature=0, logit_bias={100: 30}))[0] == 100


@pytest.mark.parametrize("token", [-1, 512])
def test_a_bias_for_no_token_is_refused(random: Run, token: int) -> None:
    with pytest.raises(InvalidInput, match="vocabulary of 512") as caught:
        Sampler(random.model, Sampling(logit_bias={token: 1}), None, None)
    assert caught.value.param == "logit_bias"


def test_penalties_end_a_repetition(folder: Path) -> None:
    with running(folder / "endless.gguf") as run:
        loop = answer(run, GREEDY, most=60)
        assert loop == loop[:3] * 20
        # A token of the loop leads by 24 or more over all others.
        assert answer(run, Sampling(temperature=0, repeat_penalty=100.0), most=4)[3] != loop[0]
        assert answer(run, Sampling(temperature=0, presence_penalty=30.0), most=4)[3] != loop[0]
        often = answer(run, Sampling(temperature=0, frequency_penalty=2.0), most=60)
        assert often[:36] == loop[:36]
        assert often[36:42] != loop[36:42]


def test_penalties_do_not_count_the_prompt(folder: Path) -> None:
    with running(folder / "endless.gguf") as run:
        loop = answer(run, GREEDY, most=3)
        sampling = Sampling(temperature=0, presence_penalty=30.0)
        with closing(Sampler(run.model, sampling, None, None)) as sampler:
            assert written(run, sampler, loop, most=3) == loop


def test_an_answer_that_fits_its_grammar_is_left_alone(folder: Path) -> None:
    with running(folder / "json.gguf") as run:
        free, held = answer(run, GREEDY), answer(run, GREEDY, json_grammar(None))
    assert free == held
    assert run.is_end(held[-1])


def test_a_grammar_forces_an_answer_that_the_model_would_not_give(scripted: Run) -> None:
    said = answer(scripted, Sampling(seed=1), Grammar('root ::= "yes" | "no"'))
    assert text(scripted, said) in ("yes", "no")
    assert scripted.is_end(said[-1])


def test_any_object_is_json(random: Run) -> None:
    ended = []
    for seed in range(12):
        said = answer(random, Sampling(seed=seed), json_grammar(None), most=120)
        if random.is_end(said[-1]):
            ended.append(text(random, said))
    assert len(ended) > 3
    assert all(isinstance(json.loads(each), dict) for each in ended)


def test_an_object_fits_its_schema(random: Run) -> None:
    schema = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}, "kind": {"enum": ["a", "bb"]}},
        "required": ["sure", "kind"],
        "additionalProperties": False,
    }
    for seed in range(5):
        said = answer(random, Sampling(seed=seed), json_grammar(schema), most=300)
        assert random.is_end(said[-1])
        value = json.loads(text(random, said))
        assert value["sure"] in (True, False)
        assert value["kind"] in ("a", "bb")


def test_control_tokens_do_not_stand_for_their_text(scripted: Run) -> None:
    start = scripted.tokens("<|im_start|>")[0]
    eager = Sampling(temperature=0, logit_bias={start: 100})
    spelled = answer(scripted, eager, Grammar("root ::= [<|im_start>]*"), most=10)
    assert start not in spelled
    named = answer(scripted, eager, Grammar('root ::= "<|im_start|>" "a"'), most=10)
    assert named[0] == start


def test_an_answer_that_no_token_fits_ends(scripted: Run) -> None:
    said = answer(scripted, GREEDY, Grammar(r'root ::= "a" "\x00"'))
    assert text(scripted, said) == "a"
    assert scripted.is_end(said[-1])


def test_a_grammar_that_is_none_is_refused(scripted: Run) -> None:
    for text_ in ("root ::= (", 'other ::= "a"', "root ::= missing", 'root ::= root "a"'):
        with pytest.raises(InvalidInput, match="grammar"):
            Sampler(scripted.model, GREEDY, Grammar(text_), None)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(seed=5, temperature=1.8, top_k=50)])
def test_log_probabilities_are_the_models_own(random: Run, sampling: Sampling) -> None:
    last = random.feed({0: PROMPT})[0]
    logits = random.logits(last).astype(np.float64)
    known = logits - np.log(np.exp(logits).sum())
    with closing(Sampler(random.model, sampling, None, 5)) as sampler:
        sampled = sampler.sample(random.context, last)
    best = np.argsort(-known)[:5]
    assert sampled.logprob == pytest.approx(known[sampled.token], abs=1e-6)
    assert [token for token, _ in sampled.top] == best.tolist()
    assert [logprob for _, logprob in sampled.top] == pytest.approx(known[best].tolist(), abs=1e-6)


def test_log_probabilities_need_no_alternatives(random: Run) -> None:
    last = random.feed({0: PROMPT})[0]
    with closing(Sampler(random.model, GREEDY, None, 0)) as sampler:
        sampled = sampler.sample(random.context, last)
    assert sampled.logprob is not None
    assert sampled.top == ()


@pytest.mark.parametrize(
    ("sampling", "grammar"),
    [
        (Sampling(seed=1), None),
        (Sampling(seed=2, frequency_penalty=1.0, repeat_penalty=1.3), None),
        (Sampling(seed=3, top_k=20), Grammar('root ::= [a-e]{20} "." [a-z ]{30}')),
        (Sampling(temperature=0, presence_penalty=1.0), Grammar("root ::= [a-z ]{60}")),
    ],
)
def test_an_answer_goes_on_after_what_was_seen_as_it_did_the_first_time(
    random: Run, sampling: Sampling, grammar: Grammar | None
) -> None:
    whole = answer(random, sampling, grammar, most=24)
    with closing(Sampler(random.model, sampling, grammar, None)) as sampler:
        sampler.seen(whole[:11])
        rest = written(random, sampler, PROMPT + whole[:11], most=13)
    assert whole[11:] == rest


def test_what_a_grammar_forbids_cannot_have_been_seen(scripted: Run) -> None:
    with (
        closing(Sampler(scripted.model, GREEDY, Grammar('root ::= "a"'), None)) as sampler,
        pytest.raises(EngineError, match="grammar"),
    ):
        sampler.seen(scripted.tokens("b"))


def test_a_place_without_logits_is_an_error(random: Run) -> None:
    random.feed({0: PROMPT})
    with (
        closing(Sampler(random.model, GREEDY, None, None)) as sampler,
        pytest.raises(EngineError, match="no logits"),
    ):
        sampler.sample(random.context, 0)


def test_a_sampler_closes_more_than_once(random: Run) -> None:
    sampler = Sampler(random.model, Sampling(seed=1), json_grammar(None), None)
    sampler.close()
    sampler.close()
