"""The voice benchmark: its arithmetic, its people, its provider, one point for real."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from bench.conversations import Person, Tally, _seconds, report
from bench.conversations import Plan as Conversation
from bench.instant_voice import RATE, InstantVoice, tone
from bench.provider import Script, application
from bench.turns import Heard, Interruption, Turn, append_of
from bench.voice import INSTANT, SPANS, Run
from bench.voice_points import SHORT, Measured, Setting, Speech, measure
from engines.base import Work
from engines.synthesis import Say


def turn() -> Turn:
    return Turn(
        silent=10.0,
        proved=10.52,
        stopped=10.53,
        understood=10.6,
        token=10.75,
        sentence=10.9,
        audio=10.95,
        answered=True,
    )


def test_the_spans_of_a_turn_add_up_to_the_first_audio() -> None:
    spans = turn().spans()
    assert sum(spans[name] for name in SPANS[:-1]) == pytest.approx(spans["first_audio"])
    assert spans["first_audio"] == pytest.approx(0.95)
    assert spans["orchestration"] == pytest.approx(0.43)


def test_a_turn_without_sound_is_not_complete() -> None:
    silent = turn()
    silent.audio = None
    assert turn().complete
    assert not silent.complete


def test_a_sentence_is_over_when_the_server_can_know() -> None:
    heard = Turn(silent=0.0)
    for now, word in enumerate(("It ", "costs ", "$3.50. ", "Take ", "it.")):
        heard.read(word, float(now))
    assert heard.token == 0
    assert heard.sentence in (2, 3)


def test_an_append_is_found_that_brings_what_was_to_be_heard() -> None:
    assert list(map(append_of, (0.0, 0.032, 0.040, 0.041, 0.080, 0.32))) == [0, 0, 0, 1, 1, 7]


def test_a_loudspeaker_tells_gaps_from_a_pause_between_answers() -> None:
    heard = Heard()
    heard.begin("a")
    assert heard.play(0.5, 1.0)
    assert not heard.play(0.5, 1.4)
    assert heard.until == 2.0
    assert not heard.play(0.1, 2.25)
    heard.begin("b")
    assert heard.play(0.5, 7.0)
    assert heard.gaps == [pytest.approx(0.25)]
    heard.stop(7.2)
    assert heard.seconds == pytest.approx(1.3)
    assert not heard.playing(7.2)


def test_an_answer_has_stopped_when_its_last_sound_and_the_news_have_come() -> None:
    stopped = Interruption("r", onset=5.0, over=True, confirmed=5.3)
    stopped.hear(5.05, 4.9)
    stopped.hear(5.25, 5.1)
    stopped.tell(5.25, 5.34)
    assert stopped.spans() == pytest.approx(
        {
            "stopped": 0.04,
            "stopped_from_onset": 0.34,
            "sound_from_onset": 0.1,
            "leak": 0.15,
            "unplayed": 0.0,
        }
    )
    stopped.hear(5.6, 5.4)
    assert stopped.spans()["stopped"] == pytest.approx(0.1)


def test_without_sound_after_the_onset_the_leak_is_what_was_ahead_of_it() -> None:
    stopped = Interruption("r", onset=5.0, over=True, confirmed=5.3)
    stopped.hear(5.12, 4.95)
    stopped.tell(5.12, 5.34)
    assert stopped.leak == pytest.approx(0.12)


@pytest.mark.parametrize("samples", [1, 2, 3, 480])
def test_the_length_of_a_piece_of_sound_is_that_of_its_samples(samples: int) -> None:
    delta = base64.b64encode(bytes(2 * samples)).decode()
    assert _seconds(delta) == pytest.approx(samples / 24_000)


def test_an_instant_voice_says_all_of_a_text_at_once() -> None:
    outcome = InstantVoice(tone()).step([Work(1, Say("Hello there."))])[0]
    assert outcome.done
    assert outcome.events[0].marks[-1].characters == len("Hello there.")
    assert outcome.events[0].marks[-1].seconds == len(outcome.events[0].samples) / RATE > 0.1


def measured(**changes: Any) -> Measured:
    found = {name: 0 for name in ("unanswered", "cut", "unnoticed")}
    fields: dict[str, Any] = {
        "setting": Setting(2, 3),
        "seconds": 20.0,
        "answered": 6,
        "cpu_seconds": 3.0,
        "late_p99_ms": 2.0,
        "lag_p99_ms": 2.0,
        "report": {"turns": [turn().spans()] * 6, "errors": [], **found},
    }
    return Measured(**(fields | changes))


def test_a_ratio_is_to_the_silence_and_the_schedule_of_the_provider() -> None:
    assert SHORT.first_sentence == pytest.approx(SHORT.first + 6 * SHORT.gap)
    least = 0.5 + SHORT.first_sentence
    assert measured().ratio == pytest.approx(0.95 / least)
    assert measured().cpu_share == pytest.approx(0.15)


@pytest.mark.parametrize(
    "changes",
    [
        {"late_p99_ms": 41.0},
        {"report": dict(measured().report) | {"errors": ["no such model"]}},
        {"report": dict(measured().report) | {"turns": []}},
        {"report": dict(measured().report) | {"cut": 2}},
        {"setting": Setting(stall=0.05), "lag_p99_ms": 3.0},
    ],
)
def test_a_figure_that_means_nothing_is_refused(changes: dict[str, Any]) -> None:
    run = Run(Speech(Path(), Path(), Path()), quick=True)
    assert run.keeps(measured())
    assert not run.keeps(measured(**changes))
    assert run.refused


class NoSocket:
    async def send(self, message: bytes, text: bool) -> None:
        raise AssertionError("it only listens")


def person(*, interrupting: bool = False) -> Person:
    plan = Conversation("", {}, [], b"", 1, 1, interrupting=interrupting, confirm=0.3)
    listening = Person(plan, 0, NoSocket(), 0.0, Tally())  # type: ignore[arg-type]
    listening._sent_at = [0.04 * (n + 1) for n in range(1000)]
    return listening


def answer(listening: Person, response: str, at: float) -> None:
    place = {"response_id": response}
    words = "response.output_audio_transcript.delta"
    listening.note({"type": "response.created", "response": {"id": response}}, at)
    listening.note({"type": words, **place, "delta": "It is four. "}, at + 0.1)
    listening.note({"type": words, **place, "delta": "Or five."}, at + 0.2)
    sound = {"type": "response.output_audio.delta", **place, "delta": "AAAA" * 4000}
    listening.note(sound, at + 0.3)


def test_a_person_notes_what_becomes_of_a_turn() -> None:
    listening = person()
    listening.turns.append(Turn(silent=2.0))
    listening.note({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 2480}, 2.6)
    completed = "conversation.item.input_audio_transcription.completed"
    listening.note({"type": completed, "transcript": "What time is it?"}, 2.7)
    answer(listening, "r", 3.0)
    ended = {"id": "r", "status": "completed"}
    listening.note({"type": "response.done", "response": ended}, 3.4)
    assert listening.done == 1
    spans = listening.turns[0].spans()
    assert spans["silence"] == pytest.approx(0.6)
    assert spans["first_audio"] == pytest.approx(1.3)
    assert spans["orchestration"] == pytest.approx(3.3 - 2.48)
    assert listening.heard.until == pytest.approx(3.3 + 0.25)


def test_a_turn_that_is_cut_is_counted_and_waits_for_its_true_end() -> None:
    listening = person()
    listening.turns.append(Turn(silent=2.0))
    listening.note({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 1000}, 1.1)
    assert listening.cut == 1
    assert listening.turns[0].stopped is None


def test_nobody_speaks_into_a_long_answer_for_want_of_one() -> None:
    listening = person()
    listening._speak_at = None
    listening.turns.append(Turn(silent=2.0))
    assert not listening._wants_to_speak(16.0)
    answer(listening, "r", 16.5)
    assert not listening._wants_to_speak(30.0)
    listening.turns.append(Turn(silent=31.0))
    assert listening._wants_to_speak(47.0)
    assert listening.unanswered == 1


def test_sound_that_comes_after_the_interruption_is_counted() -> None:
    listening = person(interrupting=True)
    listening.turns.append(Turn(silent=2.0))
    answer(listening, "r", 3.0)
    listening.interruptions.append(Interruption("r", onset=3.35))
    listening.note({"type": "input_audio_buffer.speech_started", "audio_start_ms": 3050}, 3.8)
    sound = {"type": "response.output_audio.delta", "response_id": "r", "delta": "AAAA"}
    listening.note(sound, 3.9)
    listening.note({"type": "response.done", "response": {"id": "r", "status": "cancelled"}}, 3.95)
    assert listening.done == 1
    listening.interruptions.append(Interruption("r2", onset=9.0))
    found = report([listening], 1)
    assert found["late_sound"] == 1
    assert found["unnoticed"] == 0
    spans = listening.interruptions[0].spans()
    assert spans["stopped"] == pytest.approx(3.9 - listening._sent_at[91])
    assert spans["leak"] == pytest.approx(0.0)


async def test_the_provider_keeps_to_its_schedule() -> None:
    script = Script(sentences=1, first=0.1, gap=0.01)
    async with TestServer(application(script)) as server, aiohttp.ClientSession() as session:
        loop = asyncio.get_running_loop()
        began, times, words = loop.time(), [], []
        url = server.make_url("/v1/chat/completions")
        async with session.post(url, json={"model": "scripted"}) as response:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    delta = json.loads(line[6:])["choices"][0]["delta"]
                    times.append(loop.time() - began)
                    words.append(delta.get("content", ""))
    assert "".join(words) == "".join(script.words)
    assert times[0] >= 0.095
    for place, at in enumerate(times[:-1]):
        assert at >= 0.095 + 0.01 * place


@pytest.mark.one_loop
async def test_a_turn_is_measured_on_a_real_server(tmp_path: Path) -> None:
    def one_turn() -> Measured:
        setting = Setting(1, 1, INSTANT, instant=True)
        return measure(Speech.write(tmp_path), setting)

    found = await asyncio.to_thread(one_turn)
    assert found.report["errors"] == []
    assert found.answered >= 1
    (spans,) = found.report["turns"]
    assert 0.4 < spans["silence"] < 2
    assert 0 < spans["orchestration"] < 2
    assert spans["first_audio"] == pytest.approx(sum(spans[name] for name in SPANS[:-1]))
    assert found.cpu_seconds > 0
    assert found.report["played"] > 1
