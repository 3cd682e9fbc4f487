"""The transcription benchmark: its model, its speech, its arithmetic, one point for real."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.dictation import APPEND_MS, Dictation, Findings, Plan
from bench.dictations import TUNED, Dictated, Measured, Point, dictate
from bench.models import (
    END,
    ENGLISH,
    FIRST_WORD,
    START,
    TOKENS,
    TRANSCRIBE,
    WITHOUT_TIMES,
    script,
    vocabulary,
    write_whisper,
)
from bench.transcription import (
    by_minute,
    most_within_slo,
    percentile,
    server_to_engine,
    session_figures,
    window,
)
from bench.utterances import WIRE_RATE, track

PROMPT = [START, ENGLISH, TRANSCRIBE, WITHOUT_TIMES]
CONTEXT = [50361, FIRST_WORD + 3, FIRST_WORD + 9]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(tiny: Path) -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(
        str(tiny), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True
    )


def generate(model: Any, features: np.ndarray, beams: int, prompt: list[int]) -> list[int]:
    import ctranslate2

    encoded = model.model.encode(ctranslate2.StorageView.from_array(features[None]))
    result = model.model.generate(encoded, [prompt], beam_size=beams)[0]
    return list(result.sequences_ids[0])


def noise(seconds: float, frames: int, model: Any) -> np.ndarray:
    sound = np.zeros(frames * 160, np.float32)
    loud = round(seconds * 16_000)
    sound[:loud] = np.random.default_rng(2).standard_normal(loud) * 0.1
    return np.ascontiguousarray(model.feature_extractor(sound, padding=0)[:, :frames], np.float32)


def test_special_tokens_have_their_real_ids() -> None:
    pieces = vocabulary()
    assert len(pieces) == len(set(pieces)) == 51865
    assert pieces[END] == "<|endoftext|>"
    assert [pieces[number] for number in PROMPT] == [
        "<|startoftranscript|>",
        "<|en|>",
        "<|transcribe|>",
        "<|notimestamps|>",
    ]


@pytest.mark.parametrize("frames", [500, 3000])
@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize("prompt", [PROMPT, CONTEXT + PROMPT])
def test_the_model_says_24_words_whatever_it_hears(
    model: Any, frames: int, beams: int, prompt: list[int]
) -> None:
    tokens = generate(model, noise(3.0, frames, model), beams, prompt)
    assert len(tokens) == TOKENS
    words = model.hf_tokenizer.decode(tokens)
    assert words.startswith(" ")
    assert words.split()[:-1] == script()


def test_only_the_last_word_tells_how_much_was_heard(model: Any) -> None:
    heard = [generate(model, noise(0.4 * n, 500, model), 1, PROMPT) for n in range(1, 12)]
    assert len({tuple(tokens[:-1]) for tokens in heard}) == 1
    assert len({tokens[-1] for tokens in heard}) == len(heard)


def test_utterances_are_as_long_as_asked_and_end_where_it_says() -> None:
    speech = track(count=5)
    sound = np.abs(np.frombuffer(speech.pcm, "<i2").astype(np.float32) / 32768)
    lengths = sorted((one.end - one.start) / WIRE_RATE for one in speech.utterances)
    assert lengths == pytest.approx([4, 5, 6, 7, 8], abs=0.3)
    for one in speech.utterances:
        assert (one.next - one.begin) % (WIRE_RATE * APPEND_MS // 1000) == 0
        assert 0.79 <= (one.start - one.begin) / WIRE_RATE <= 1.1
        assert sound[one.begin : one.start].max() <= 0.0101
        assert sound[one.end : one.next].max() <= 0.0101
        assert sound[one.end - 1] > 0.0099
    assert track(count=5).pcm == speech.pcm


def dictation() -> Dictation:
    """Speaks from 0.8 to 4.8 of every 5 s; its audio began at 100 on the loop's clock."""
    appends = [b""] * (5000 // APPEND_MS)
    plan = Plan("", {}, [appends], [(0.8, 4.8)], 1, 1, None, 0.0, 60.0)
    return Dictation(plan, 0, None, 100.0)  # type: ignore[arg-type]


def events(
    session: Dictation, item: str, bounds: tuple[int, int], *told: tuple[float, str]
) -> None:
    base = "conversation.item.input_audio_transcription"
    vad = "input_audio_buffer.speech"
    session.note({"type": f"{vad}_started", "item_id": item, "audio_start_ms": bounds[0]}, 0.0)
    for at, kind in told:
        if kind == "stop":
            event = {"type": f"{vad}_stopped", "audio_end_ms": bounds[1]}
        elif kind == "tentative":
            event = {"type": "antiphon.transcription.tentative", "text": "a"}
        else:
            event = {"type": f"{base}.{kind}", "transcript": "a b", "delta": "a"}
        session.note({**event, "item_id": item}, at)


def test_latency_counts_from_the_last_sound_not_from_when_it_was_noticed() -> None:
    session, findings = dictation(), Findings()
    told = [(101.5, "tentative"), (102.5, "delta"), (102.501, "tentative"), (105.5, "stop")]
    events(session, "one", (700, 5300), *told, (105.6, "completed"))
    session.judge(findings, (100.0, 110.0 - 0.3))
    assert findings.first_partials == pytest.approx([0.7])
    assert findings.gaps == pytest.approx([1.0, 2.3])
    assert findings.finals == [pytest.approx((4.8, 0.8))]
    assert findings.silences == pytest.approx([0.5])
    assert (findings.said, findings.cut, findings.joined, findings.unheard) == (1, 0, 0, 0)


def test_utterances_that_went_astray_are_counted() -> None:
    session, findings = dictation(), Findings()
    events(session, "cut", (700, 3000), (103.0, "stop"), (103.2, "completed"))
    events(session, "joined", (3200, 10_300), (110.4, "stop"), (110.6, "completed"))
    events(session, "failed", (10_700, 15_300), (115.4, "stop"), (115.5, "failed"))
    session.judge(findings, (100.0, 121.0))
    assert findings.said == 4
    assert findings.cut == 1
    assert findings.joined == 1
    assert findings.unheard == 3  # one in the joined item, the failed one, one never noticed
    assert len(findings.finals) == 1


def measured(sessions: int = 8, **changes: Any) -> Measured:
    report = {
        "first_partials": [0.4, 0.5, 0.6],
        "gaps": [0.3, 0.4, 1.4],
        "finals": [(1.0, 0.6), (70.0, 0.9)],
        "silences": [0.5],
        **{"said": 2, "cut": 0, "joined": 0, "unheard": 0, "errors": []},
    }
    report |= {name: changes.pop(name) for name in list(changes) if name in report}
    fields: dict[str, Any] = {
        "point": Point(sessions, TUNED),
        "seconds": 60.0,
        "audio_seconds": 480.0,
        "cpu_seconds": 48.0,
        "rss_mib": 300.0,
        "rss_per_session": 2.0,
        "rss_samples": (),
        "mean_batch": 3.0,
        "partials_a_second": 10.0,
        "finals_a_second": 1.0,
        "lag_p99_ms": 2.0,
        "late_p99_ms": 1.0,
        "report": report,
    }
    return Measured(**(fields | changes))


def test_figures_are_quantiles_and_shares() -> None:
    figures = session_figures(measured())
    assert figures["first_partial_p50"] == 0.5
    assert figures["partial_gap_p95"] == 1.4
    assert figures["final_p50"] == 0.6
    assert figures["cpu_seconds_per_audio_second"] == pytest.approx(0.1)
    assert "partial_gap_p50" not in session_figures(measured(gaps=[]))
    assert math.isnan(percentile([], 0.5))


@pytest.mark.parametrize(
    "changes",
    [{"late_p99_ms": 101.0}, {"errors": ["x"]}, {"finals": []}, {"cut": 2}, {"unheard": 2}],
)
def test_a_measurement_that_means_nothing_is_refused(changes: dict[str, Any]) -> None:
    assert measured().refusal is None
    assert measured(**changes).refusal


def test_an_overloaded_server_may_be_late_but_not_fail() -> None:
    point = Point(32, TUNED, overload=True)
    assert measured(point=point, finals=[], unheard=2).refusal is None
    assert measured(point=point, errors=["x"]).refusal


def test_the_most_sessions_are_those_before_the_first_broken_promise() -> None:
    slow = [(0.0, 1.01)]
    assert most_within_slo([measured(8), measured(2), measured(16, finals=slow)]) == 8
    assert most_within_slo([measured(8), measured(4, gaps=[1.6]), measured(2)]) == 2
    assert most_within_slo([measured(1, gaps=[])]) == 0
    assert most_within_slo([measured(8, finals=slow)]) == 0


def test_the_server_is_compared_with_the_time_the_loop_would_take() -> None:
    assert server_to_engine((15.0, 4.0), (30.0, 10.0)) == pytest.approx(0.9)


def test_windows_are_long_enough_for_two_hundred_finals() -> None:
    assert window(1, 6.0) >= 200 * 6
    assert window(32, 6.0) == 60
    assert by_minute([(1.0, 0.5), (61.0, 0.6), (120.0, 0.7)], 2) == [[0.5], [0.6, 0.7]]


@pytest.mark.one_loop
async def test_a_point_is_measured_on_a_real_server(tmp_path: Path) -> None:
    def one_point() -> Measured:
        dictated = Dictated.write(track(count=2, shortest=1.0, longest=1.5), tmp_path, "speech")
        point = Point(3, {}, speakers=2, room=True)
        return dictate(point, None, dictated, 4.0, timing={"warm": 1.0, "tail": 1.0})

    found = await asyncio.to_thread(one_point)
    assert found.pace_refusal is None
    assert found.audio_seconds == pytest.approx(12, abs=1)
    assert found.cpu_seconds > 0
    assert found.lag_p99_ms is not None
    assert found.report["said"] >= 3
    assert found.report["unheard"] == found.report["said"]  # the null engine hears nothing
    assert json.loads(found.point.configuration(None))["models"][0]["engine"] == "null"
