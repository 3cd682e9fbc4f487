from pathlib import Path

import gguf_models
import numpy as np
import pytest
from llama_runs import Run, running
from numpy.typing import NDArray

PROMPT = "<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n"


def test_a_scripted_model_says_its_answer_and_ends(tmp_path: Path) -> None:
    with running(gguf_models.scripted(tmp_path / "m.gguf")) as run:
        assert run.greedy(PROMPT).decode() == gguf_models.ANSWER


def test_the_scripted_token_leads_by_a_wide_margin(tmp_path: Path) -> None:
    with running(gguf_models.scripted(tmp_path / "m.gguf")) as run:
        logits = np.sort(run.logits(run.feed({0: run.tokens(PROMPT)})[0]))
    assert logits[-1] - logits[-2] > 20


def test_a_scripted_answer_may_repeat_words_and_hold_marks_and_any_character(
    tmp_path: Path,
) -> None:
    answer = (
        "<think>\nwell, well, well\n</think>\n\nÇa va, ça va 🙂🙂 a a a a\n"
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\n'
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    )
    with running(gguf_models.scripted(tmp_path / "m.gguf", answer)) as run:
        assert run.greedy(PROMPT).decode() == answer


def test_the_tokens_of_an_answer_may_be_parts_of_characters(tmp_path: Path) -> None:
    pieces: list[str | bytes] = [
        b"\xe2",
        b"\x82",
        b"\xac is ",
        "the euro",
        b".\xf0\x9f",
        b"\x99\x82",
    ]
    with running(gguf_models.scripted(tmp_path / "m.gguf", pieces)) as run:
        assert run.greedy(PROMPT).decode() == "€ is the euro.🙂"


def test_an_answer_that_never_ends_begins_again(tmp_path: Path) -> None:
    with running(gguf_models.scripted(tmp_path / "m.gguf", "on and on ", ends=False)) as run:
        assert run.greedy(PROMPT, most=9).decode() == "on and on " * 3


@pytest.mark.parametrize(
    ("prompt", "answer"), [("Well", "I see."), ("Is it?", "Yes, it is."), ("A<tool_call>", "call")]
)
def test_what_a_prompt_ends_in_chooses_the_answer(tmp_path: Path, prompt: str, answer: str) -> None:
    answers = {"": "I see.", "?": "Yes, it is.", "<tool_call>": "call"}
    with running(gguf_models.scripted(tmp_path / "m.gguf", answers)) as run:
        assert run.greedy(prompt).decode() == answer


def test_an_ambiguous_script_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two things follow"):
        gguf_models.scripted(tmp_path / "m.gguf", ["on ", "and ", "on ", "again"])
    with pytest.raises(ValueError, match="cannot be a token"):
        gguf_models.cut("a")


def test_every_token_before_it_matters_to_a_random_model(tmp_path: Path) -> None:
    with running(gguf_models.random(tmp_path / "m.gguf")) as run:
        first, second = [300, 301, 302, 303], [310, 301, 302, 303]
        lasts = run.feed({0: first, 1: second})
        difference = np.abs(run.logits(lasts[0]) - run.logits(lasts[1])).max()
        assert difference > 0.1


def test_a_random_model_is_the_same_each_time_for_one_seed(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    first, second, third = [gguf_models.random(path, seed=seed).read_bytes() for seed in (1, 1, 2)]
    assert first == second
    assert first != third


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_texts_that_share_words_have_near_vectors(tmp_path: Path, pooling: str) -> None:
    path = gguf_models.embedder(tmp_path / "m.gguf", pooling=pooling)  # type: ignore[arg-type]
    texts = ["music and song", "singing music and song", "water in the river"]
    with running(path, embeddings=True) as run:
        near, close, far = [unit(vector(run, n, text)) for n, text in enumerate(texts)]
    assert abs(near @ near - 1) < 1e-5
    if pooling == "mean":
        assert near @ close > near @ far + 0.2


def test_a_reranker_likes_its_word(tmp_path: Path) -> None:
    with running(gguf_models.reranker(tmp_path / "m.gguf"), embeddings=True) as run:
        texts = ["piano song music music", "piano song music river", "house water red river"]
        scores = [float(vector(run, n, text)[0]) for n, text in enumerate(texts)]
    assert scores[0] > scores[1] + 0.05 > scores[2] + 0.1


def vector(run: Run, sequence: int, text: str) -> NDArray[np.float32]:
    run.feed({sequence: [2, *run.tokens(text), 3]})
    return run.embedding(sequence)


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values / np.linalg.norm(values)
