"""espeak-ng: whose voices it has, what it says, and when it says each word."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from voice import ROOT

from engines import espeak, espeak_voices
from engines.base import EngineError, InvalidInput, JobClass, Unsupported, Work
from engines.devices import Device
from engines.espeak import PIECE, Espeak
from engines.installed import ModelRecord
from engines.recognition import RecognitionOptions
from engines.scheduler import Scheduler
from engines.synthesis import Mark, Say, SpeechModel, Spoken
from engines.workers import ProcessWorker

RECORD = ModelRecord(name="espeak", engine="espeak")


@pytest.fixture(scope="module")
def engine() -> Espeak:
    return Espeak()


def say(engine: Espeak, request: Say, job: int = 1) -> list[Spoken]:
    spoken: list[Spoken] = []
    while True:
        (outcome,) = engine.step([Work(job, request)])
        if outcome.error is not None:
            raise outcome.error
        spoken += outcome.events
        if outcome.done:
            return spoken


def seconds(spoken: Sequence[Spoken]) -> float:
    return sum(len(one.samples) / one.rate for one in spoken)


def marks(spoken: Sequence[Spoken]) -> list[Mark]:
    return [mark for one in spoken for mark in one.marks]


def check_marks(text: str, spoken: Sequence[Spoken]) -> None:
    found = marks(spoken)
    characters, times = [m.characters for m in found], [m.seconds for m in found]
    assert characters == sorted(set(characters))
    assert times == sorted(times)
    assert found[-1].characters == len(text)
    assert found[-1].seconds == pytest.approx(seconds(spoken))


def test_all_its_voices_are_known_by_name_and_it_knows_them_all(engine: Espeak) -> None:
    voices = espeak_voices.voices()
    assert len(voices) == 141
    assert {"en-us", "fr", "de", "cmn", "pt-br", "yue-latn-jyutping"} <= {v.name for v in voices}
    for voice in voices:
        for name in (voice.name, voice.description):
            assert espeak_voices.is_voice(name)
    for name in ("en-us", "fr", "cmn", "EN_us+F3", "English (America)", "gmw/en-US+Annie"):
        assert seconds(say(engine, Say("hello", name))) > 0.2


@pytest.mark.parametrize(
    ("voice", "message"),
    [
        ("en-uss", "espeak-ng has no voice 'en-uss'; did you mean 'en-us'?"),
        ("en-us+wisper", "espeak-ng has no variant 'wisper'; did you mean 'whisper'?"),
        ("en-us+", "espeak-ng has no variant ''"),
        ("../../etc/passwd", "espeak-ng has no voice '../../etc/passwd'"),
    ],
)
def test_an_unknown_voice_is_refused_by_name(engine: Espeak, voice: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        say(engine, Say("hello", voice))
    assert str(caught.value).startswith(message)
    assert caught.value.param == "voice"


def test_a_voice_and_a_speed_last_for_one_request(engine: Espeak) -> None:
    text = "This sentence is long enough to be measured."
    plain, fast, slow, other, again = (
        seconds(say(engine, Say(text, voice, speed)))
        for voice, speed in ((None, 1), (None, 2), (None, 0.5), ("en-us+f3", 1), (None, 1))
    )
    assert plain / fast == pytest.approx(2, rel=0.2)
    assert slow / plain == pytest.approx(2, rel=0.2)
    assert again == pytest.approx(plain, rel=0.01)
    assert not np.isclose(other, 0)
    with pytest.raises(InvalidInput, match=r"from 0\.25 to 4; it is 9"):
        say(engine, Say(text, speed=9))


def test_each_mark_stands_where_a_word_begins(engine: Espeak) -> None:
    text = "I have 23 cats, é and  dogs; hello 😀 world!"
    spoken = say(engine, Say(text))
    check_marks(text, spoken)
    said = [text[: mark.characters] for mark in marks(spoken)]
    for words in ("I", "I have", "I have 23", "I have 23 cats,", "I have 23 cats, é", text[:28]):
        assert words in said
    assert not any(one.endswith("I have 2") for one in said)
    early = next(mark.seconds for mark in marks(spoken) if text[: mark.characters] == "I have 23")
    assert 0.5 < early < 1.3


def test_a_word_is_over_when_its_mark_says_so(engine: Espeak) -> None:
    whole = say(engine, Say("Wonderful elephants, yesterday."))
    first = say(engine, Say("Wonderful"))
    (mark,) = (mark for mark in marks(whole) if mark.characters == len("Wonderful"))
    assert mark.seconds == pytest.approx(seconds(first), abs=0.15)


@pytest.mark.parametrize("text", ["", "  ", " . ", "\n\t", "\0"])
def test_what_says_nothing_makes_no_sound(engine: Espeak, text: str) -> None:
    assert say(engine, Say(text)) == []


def test_a_long_text_is_spoken_in_short_steps(engine: Espeak) -> None:
    text = "Some sentence of seven words here. " * 40 + "x" * 300 + " ... "
    spoken = say(engine, Say(text))
    assert len(spoken) >= len(text) / PIECE
    check_marks(text, spoken)
    assert {one.rate for one in spoken} == {22050}
    assert all(np.abs(one.samples).max() <= 1 for one in spoken)
    assert all(one.samples.dtype == np.float32 for one in spoken)


def test_what_another_worker_said_is_not_said_again() -> None:
    text = "Some sentence of seven words here. " * 20
    whole = marks(say(Espeak(), Say(text))[1:2])
    (outcome,) = Espeak().step([Work(7, Say(text))])
    assert not outcome.done
    (then,) = Espeak().step([Work(7, Say(text), progress=outcome.progress)])
    found = marks(then.events)
    assert [mark.characters for mark in found] == [mark.characters for mark in whole]
    assert found[-1].seconds == pytest.approx(whole[-1].seconds, rel=0.01)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=300))
def test_any_text_is_spoken_or_says_nothing(engine: Espeak, text: str) -> None:
    spoken = say(engine, Say(text))
    if spoken:
        check_marks(text, spoken)


@pytest.mark.parametrize("voice", ["en-us", "fr", "hi"])
def test_texts_that_espeak_would_die_of_are_spoken(engine: Espeak, voice: str) -> None:
    for text in (
        "[-\u0928\u0928",
        "(-\u0915\u0916)",
        '"-\u0928\u0928"',
        ".-\u0928\u0928",
        "[-\u65e5\u672c",
    ):
        check_marks(text, say(engine, Say(text, voice)))


def test_two_requests_at_once_do_not_mix(engine: Espeak) -> None:
    texts = {1: "One. " * 100, 2: "Two hundred elephants. " * 30}
    alone = {job: seconds(say(engine, Say(text))) for job, text in texts.items()}
    lengths = dict.fromkeys(texts, 0.0)
    waiting = set(texts)
    while waiting:
        for outcome in engine.step([Work(job, Say(texts[job])) for job in sorted(waiting)]):
            lengths[outcome.job] += seconds(outcome.events)
            if outcome.done:
                waiting.discard(outcome.job)
    for job, length in lengths.items():
        assert length == pytest.approx(alone[job], rel=0.01)


def test_a_request_that_was_dropped_is_forgotten(engine: Espeak) -> None:
    text = "Some sentence of seven words here. " * 20
    (begun,) = engine.step([Work(3, Say(text))])
    engine.drop(3)
    (again,) = engine.step([Work(3, Say(text))])
    assert again.events[0].marks[-1].characters == begun.events[0].marks[-1].characters


DEEP = """
import sys
from pathlib import Path
from engines import espeak_library, espeak_voices
from engines.espeak import Espeak
from engines.base import Work
from engines.synthesis import Say
deep = Path(sys.argv[1])
espeak_library.data_directory = lambda: deep
engine = Espeak()
(outcome,) = engine.step([Work(1, Say("Hello"))])
place = Path(engine._library._place.name)
print(len(str(deep)), len(outcome.events[0].samples), place.exists())
engine.close()
print(place.exists())
"""


@pytest.mark.one_loop
def test_data_in_a_deep_directory_is_found_all_the_same(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 60)
    deep.parent.mkdir()
    deep.symlink_to(espeak_voices.data_directory(), target_is_directory=True)
    done = subprocess.run(
        [sys.executable, "-c", DEEP, str(deep)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    length, samples, there, still_there = done.stdout.split()
    assert int(length) > 180
    assert int(samples) > 5000
    assert (there, still_there) == ("True", "False")


def test_data_that_is_missing_is_an_error_and_no_end_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.espeak_library.data_directory", lambda: tmp_path / "gone")
    with pytest.raises(EngineError, match=r"data is not in .*gone"):
        Espeak()
    monkeypatch.undo()
    assert say(Espeak(), Say("still here"))


@pytest.mark.one_loop
async def test_it_survives_the_death_of_its_process() -> None:
    scheduler = Scheduler(Device(2))
    lane = scheduler.open(espeak.recipe(RECORD, 2))
    model = SpeechModel("espeak", lane)
    text = "Some sentence of seven words here. " * 60
    try:
        await lane.start()
        (worker,) = lane.workers
        assert isinstance(worker, ProcessWorker)
        spoken: list[Spoken] = []
        async with aclosing(model.say(Say(text), owner="a", kind=JobClass.REST)) as pieces:
            async for piece in pieces:
                spoken.append(piece)
                if len(spoken) == 2 and worker.pid is not None:
                    subprocess.run(["kill", "-9", str(worker.pid)], check=True)  # noqa: ASYNC221
        check_marks(text, spoken)
    finally:
        await scheduler.close()


async def test_one_who_stops_listening_frees_the_engine() -> None:
    scheduler = Scheduler(Device(2))
    lane = scheduler.open(espeak.recipe(RECORD, 2))
    model = SpeechModel("espeak", lane)
    try:
        async with aclosing(model.say(Say("Word. " * 5000), owner="a")) as pieces:
            async for _ in pieces:
                break
        async with asyncio.timeout(10):
            while lane.live:  # noqa: ASYNC110 - the step that runs ends by itself
                await asyncio.sleep(0.01)
    finally:
        await scheduler.close()


def test_the_owner_may_name_another_first_voice() -> None:
    record = ModelRecord(name="m", engine="espeak", options={"voice": "fr+f2"})
    assert espeak.voices(record)[0].name == "fr+f2"
    assert espeak.voices(record)[0].language == "fr-fr"
    assert len(espeak.voices(RECORD)) == 141
    assert espeak.voices(RECORD)[0].name == "en-us"
    broken = ModelRecord(name="m", engine="espeak", options={"voice": "fx"})
    with pytest.raises(EngineError, match="espeak-ng has no voice 'fx'"):
        espeak.recipe(broken, 1)


def test_it_speaks_many_languages_and_hears_none() -> None:
    assert {"en", "fr", "cmn", "sw"} <= (espeak.capabilities(RECORD).languages or frozenset())
    with pytest.raises(Unsupported, match="speaks and cannot transcribe") as caught:
        espeak.check(RECORD, RecognitionOptions())
    assert caught.value.param == "model"
