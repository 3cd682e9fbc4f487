"""Whisper from a model directory: what it hears, alone and in batches, and what it refuses."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from voice import RATE, WHISPER_NANO, Samples, say, silence, word_errors
from whisper_models import write_multilingual

from engines import whisper
from engines.base import InvalidInput, Outcome, Unsupported, Work
from engines.catalogue import ModelRecord
from engines.decoding import Decode, Decoded
from engines.recognition import RecognitionOptions
from engines.speech import Speech
from engines.whisper_engine import MOST_FRAMES, Whisper

RECORD = ModelRecord(
    name="nano", engine="whisper", source=str(WHISPER_NANO), options={"device": "cpu"}
)
OPTIONS = RecognitionOptions()
SENTENCES = (
    "The next meeting is on Friday at five in the evening.",
    "Who is responsible for the new website?",
    "There were eight support tickets next month.",
    "Anna takes the action to deliver the memo.",
)

pytestmark = pytest.mark.one_loop


def loaded(record: ModelRecord) -> Whisper:
    engine = whisper.recipe(record, cores=2).build()
    assert isinstance(engine, Whisper)
    return engine


@pytest.fixture(scope="module")
def engine() -> Iterator[Whisper]:
    made = loaded(RECORD)
    yield made
    made.close()


class Counted:
    """CTranslate2's model, with its calls written down."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._model, name)
        if name not in {"encode", "generate", "align", "detect_language"}:
            return attribute

        def call(*args: Any, **named: Any) -> Any:
            self.calls.append((name, {"batch": args[0].shape[0], "args": args, **named}))
            return attribute(*args, **named)

        return call

    def named(self, name: str) -> list[dict[str, Any]]:
        return [details for called, details in self.calls if called == name]


@pytest.fixture
def calls(engine: Whisper, monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted(engine._model)
    monkeypatch.setattr(engine, "_model", counted)
    return counted


def spoken(text: str) -> Samples:
    return np.concatenate((silence(0.2), say(text), silence(0.3)))


def decode(
    audio: Samples, *, final: bool = True, frames: int = 500, start: int = 0, **given: Any
) -> Decode:
    speech = Speech()
    speech.append(audio)
    given.setdefault("options", OPTIONS)
    return Decode(speech, start, len(audio), frames, final=final, **given)


def run(engine: Whisper, *asks: Decode) -> list[Outcome]:
    outcomes = {o.job: o for o in engine.step([Work(n, ask) for n, ask in enumerate(asks)])}
    assert all(outcome.done for outcome in outcomes.values())
    return [outcomes[n] for n in range(len(asks))]


def hear(engine: Whisper, *asks: Decode) -> list[Decoded]:
    events: list[Decoded] = []
    for outcome in run(engine, *asks):
        assert outcome.error is None
        events += outcome.events
    assert len(events) == len(asks)
    return events


def text(decoded: Decoded) -> str:
    return " ".join(word.text for word in decoded.words)


def spans(decoded: Decoded) -> list[tuple[str, float, float]]:
    return [(word.text, word.start, word.end) for word in decoded.words]


# What it hears


def test_it_hears_sentences_whose_words_it_knows(engine: Whisper) -> None:
    errors = [word_errors(s, text(hear(engine, decode(spoken(s)))[0])) for s in SENTENCES]
    assert sum(errors) / len(errors) < 0.1, errors


def test_a_last_word_that_ends_with_the_audio_keeps_its_letters(engine: Whisper) -> None:
    sentence = "We lost an architect in Tokyo."
    (heard,) = hear(engine, decode(np.concatenate((silence(0.3), say(sentence)))))
    assert text(heard) == sentence


@pytest.mark.parametrize("word_times", [True, False])
def test_words_have_times_inside_the_audio_and_in_order(engine: Whisper, word_times: bool) -> None:
    audio = spoken(SENTENCES[0])
    (heard,) = hear(engine, decode(audio, word_times=word_times))
    assert len(heard.words) == len(SENTENCES[0].split())
    times = [time for word in heard.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert len(audio) / RATE - 1 < times[-1] <= len(audio) / RATE
    assert all(word.text == word.text.strip() != "" for word in heard.words)
    assert all((word.probability is not None) is word_times for word in heard.words)
    assert (heard.language, heard.passed) == ("en", True)


def test_aligned_words_stand_where_they_were_said(engine: Whisper) -> None:
    first, second = say("The next meeting is on Friday."), say("Who will update the draft?")
    audio = np.concatenate((silence(0.5), first, silence(1.0), second, silence(0.3)))
    (heard,) = hear(engine, decode(audio, word_times=True, frames=750))
    words = {word.text.lower().strip(".?"): word for word in heard.words}
    pause = 0.5 + len(first) / RATE
    assert words["friday"].end == pytest.approx(pause, abs=0.25)
    # A pause is told from the word after it by the word's usual length alone.
    assert pause + 0.3 < words["who"].start < pause + 1.25
    assert words["who"].end == pytest.approx(pause + 1.2, abs=0.25)


def test_times_of_a_later_window_count_from_the_start_of_the_utterance(engine: Whisper) -> None:
    before = spoken(SENTENCES[0])
    before = before[: len(before) // 160 * 160]
    audio = np.concatenate((before, spoken(SENTENCES[1])))
    (heard,) = hear(engine, decode(audio, start=len(before), word_times=True))
    assert word_errors(SENTENCES[1], text(heard)) <= 0.2
    assert heard.words[0].start >= len(before) / RATE


def test_a_partial_of_the_beginning_says_the_beginning(engine: Whisper) -> None:
    audio = spoken(SENTENCES[0])
    final = [word.text for word in hear(engine, decode(audio))[0].words]
    for seconds in (1.5, 2.0):
        (partial,) = hear(engine, decode(audio[: round(seconds * RATE)], final=False))
        # The last word of a cut recording may be half a word.
        heard = [word.text.strip(".,?") for word in partial.words][:-1]
        assert heard == final[: len(heard)]
        assert len(heard) >= 2


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(0, np.float32),
        np.zeros(100, np.float32),
        np.zeros(RATE, np.float32),
        silence(3),
        np.random.default_rng(1).normal(0, 0.05, 3 * RATE).astype(np.float32),
    ],
    ids=["empty", "100 samples", "zeros", "room", "noise"],
)
def test_what_is_no_speech_gives_no_text(engine: Whisper, audio: Samples, final: bool) -> None:
    (heard,) = hear(engine, decode(audio, final=final))
    assert heard.words == ()


# Batches


def test_a_batch_says_what_each_window_says_alone(engine: Whisper, calls: Counted) -> None:
    for final in (True, False):
        asks = [decode(spoken(s), final=final, word_times=final) for s in SENTENCES]
        together = hear(engine, *asks)
        assert [c["batch"] for c in calls.named("generate")] == [len(SENTENCES)]
        calls.calls.clear()
        alone = [
            hear(engine, decode(spoken(s), final=final, word_times=final))[0] for s in SENTENCES
        ]
        assert [spans(heard) for heard in together] == [spans(heard) for heard in alone]
        calls.calls.clear()


def test_finals_are_searched_with_beams_and_partials_greedily(
    engine: Whisper, calls: Counted
) -> None:
    hear(engine, decode(spoken(SENTENCES[0])))
    hear(engine, decode(spoken(SENTENCES[0]), final=False))
    warm = replace(OPTIONS, temperature=0.3)
    hear(engine, decode(spoken(SENTENCES[0]), options=warm))
    asked = [(c["beam_size"], c["sampling_temperature"]) for c in calls.named("generate")]
    assert asked == [(5, 1.0), (1, 1.0), (1, 0.3)]


def test_a_context_of_any_text_has_the_length_of_its_group(engine: Whisper, calls: Counted) -> None:
    told = ["", "Friday.", "The next meeting. " * 40, "<|endoftext|> <|startoftranscript|>"]
    asks = [decode(spoken(SENTENCES[n]), context=c, context_tokens=32) for n, c in enumerate(told)]
    hear(engine, *asks)
    (call,) = calls.named("generate")
    prompts = call["args"][1]
    assert {len(prompt) for prompt in prompts} == {1 + 32 + 2}
    start = prompts[0][-2]
    assert all(prompt.index(start) == 33 for prompt in prompts), "text became a control token"
    plain = decode(spoken(SENTENCES[0]), context="not asked for")
    hear(engine, plain)
    assert len(calls.named("generate")[-1]["args"][1][0]) == 2


def test_a_prompt_of_the_user_comes_before_the_context(engine: Whisper, calls: Counted) -> None:
    options = replace(OPTIONS, prompt="Nina")
    hear(
        engine,
        decode(spoken(SENTENCES[0]), options=options, context="Friday.", context_tokens=32),
    )
    vocabulary = engine._vocabulary
    (prompt,) = calls.named("generate")[0]["args"][1]
    assert vocabulary.decode(prompt).strip() == "Nina Friday."


def test_a_prompt_of_the_user_is_not_pushed_out_by_a_long_context(
    engine: Whisper, calls: Counted
) -> None:
    options = replace(OPTIONS, prompt="Nina")
    context = "The next meeting. " * 40
    hear(
        engine,
        decode(spoken(SENTENCES[0]), options=options, context=context, context_tokens=32),
    )
    told = engine._vocabulary.decode(calls.named("generate")[0]["args"][1][0]).strip()
    assert told.startswith("Nina ")
    assert told.endswith("meeting.")


@pytest.mark.parametrize(("voiced", "heard"), [(0.1, False), (0.5, True), (None, True)])
def test_what_had_less_voice_than_a_word_has_no_text(
    engine: Whisper, voiced: float | None, heard: bool
) -> None:
    (decoded,) = hear(engine, replace(decode(spoken(SENTENCES[0])), voiced=voiced))
    assert bool(decoded.words) == heard


def test_audio_that_was_encoded_for_a_partial_is_not_encoded_again(
    engine: Whisper, calls: Counted
) -> None:
    ask = decode(spoken(SENTENCES[1]), final=False)
    hear(engine, ask)
    final = replace(ask, final=True)
    (heard,) = hear(engine, final)
    assert len(calls.named("encode")) == 1
    assert heard == hear(engine, decode(spoken(SENTENCES[1])))[0]
    ask.speech.append(silence(0.2))
    hear(engine, replace(final, end=ask.speech.length))
    assert len(calls.named("encode")) == 3


# Second tries


def test_a_final_that_fails_its_checks_is_decoded_with_all_of_30_seconds(
    engine: Whisper, calls: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = decode(spoken(SENTENCES[1])), decode(spoken("zyzzyva qat crwth pfft brrr"))
    monkeypatch.setattr("engines.quality.LEAST_LOGPROB", -0.35)
    hear(engine, good, bad)
    encodes = [(c["batch"], c["args"][0].shape[2]) for c in calls.named("encode")]
    assert encodes == [(1, 500), (1, 500), (1, MOST_FRAMES)]
    calls.calls.clear()
    hear(engine, replace(bad, frames=MOST_FRAMES))
    assert [c["sampling_temperature"] for c in calls.named("generate")] == [1.0, 0.4]
    calls.calls.clear()
    hear(engine, replace(bad, final=False))
    assert len(calls.named("generate")) == 1, "a partial is decoded once"


def test_a_final_that_fails_twice_says_so(engine: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.quality.LEAST_LOGPROB", 0.0)
    (heard,) = hear(engine, decode(spoken(SENTENCES[1])))
    assert not heard.passed
    assert heard.words


# What it refuses


@pytest.mark.parametrize(
    "audio",
    [
        np.full(RATE, np.nan, np.float32),
        np.zeros(RATE, np.int16),
        np.zeros((2, RATE), np.float32),
    ],
    ids=["nan", "int16", "stereo"],
)
def test_unusable_samples_fail_their_own_job_only(engine: Whisper, audio: Samples) -> None:
    wrong, right = run(engine, decode(audio), decode(spoken(SENTENCES[1])))
    assert isinstance(wrong.error, InvalidInput)
    assert right.error is None
    assert right.events[0].words


@pytest.mark.parametrize("options", [{"language": "fr"}, {"task": "translate"}])
def test_what_an_english_model_cannot_do_fails_its_own_job_only(
    engine: Whisper, options: dict[str, Any]
) -> None:
    wrong, right = run(
        engine,
        decode(spoken(SENTENCES[1]), options=replace(OPTIONS, **options)),
        decode(spoken(SENTENCES[1])),
    )
    assert isinstance(wrong.error, Unsupported)
    assert wrong.error.param in options
    assert right.events[0].words


# Many languages


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whisper]:
    directory: Path = write_multilingual(tmp_path_factory.mktemp("models") / "multi")
    made = loaded(RECORD.model_copy(update={"name": "multi", "source": str(directory)}))
    yield made
    made.close()


def test_one_batch_holds_windows_of_several_languages(
    multilingual: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Counted(multilingual._model)
    monkeypatch.setattr(multilingual, "_model", calls)
    languages = ("fr-CA", "en", None)
    asks = [
        decode(
            spoken(SENTENCES[n]),
            options=replace(OPTIONS, language=language, task="translate" if n else "transcribe"),
            word_times=True,
        )
        for n, language in enumerate(languages)
    ]
    french, english, detected = hear(multilingual, *asks)
    assert (french.language, english.language) == ("fr", "en")
    assert detected.language in {"en", "fr", "yue"}
    assert [c["batch"] for c in calls.named("generate")] == [3]


def test_a_detected_language_holds_for_the_utterance_once_it_is_certain(
    multilingual: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Counted(multilingual._model)
    monkeypatch.setattr(multilingual, "_model", calls)
    monkeypatch.setattr("engines.whisper_engine.CERTAIN_PROBABILITY", 0.0)
    short = decode(spoken(SENTENCES[1])[: 2 * RATE], final=False)
    hear(multilingual, short)
    assert short.speech.language is None
    short.speech.append(spoken(SENTENCES[0]))
    longer = replace(short, end=short.speech.length, frames=750)
    (heard,) = hear(multilingual, longer)
    assert short.speech.language == heard.language
    (again,) = hear(multilingual, longer)
    assert again.language == heard.language
    assert len(calls.named("detect_language")) == 2


def test_a_language_without_a_token_fails_its_own_job_only(multilingual: Whisper) -> None:
    unknown = decode(spoken(SENTENCES[1]), options=replace(OPTIONS, language="de"))
    wrong, right = run(multilingual, unknown, decode(spoken(SENTENCES[1])))
    assert isinstance(wrong.error, Unsupported)
    assert right.error is None


# Memory


def test_workers_share_the_weights_and_the_last_one_frees_them() -> None:
    plan = whisper.recipe(RECORD, cores=2)
    first, second = plan.build(), plan.build()
    assert isinstance(first, Whisper)
    assert isinstance(second, Whisper)
    assert first._model is second._model
    shared = first._shared
    first.close()
    assert shared._loaded is not None
    second.close()
    assert shared._loaded is None
    third = plan.build()
    assert isinstance(third, Whisper)
    assert hear(third, decode(spoken(SENTENCES[1])))[0].words
    third.close()
