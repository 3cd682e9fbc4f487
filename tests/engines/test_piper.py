"""Piper voices, with tiny networks in which every phoneme is a tone."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piper_voices import HOP, RATE, frames_of, network, write_voice

from engines import piper
from engines.base import EngineError, InvalidInput, Unsupported, Work
from engines.devices import Device
from engines.installed import ModelRecord
from engines.onnx_files import with_durations
from engines.piper import MOST_PHONEMES, PIECE, Piper
from engines.piper_files import find_voice, read_voice
from engines.piper_words import cut_sentence, group_ends, match_words
from engines.recognition import RecognitionOptions
from engines.scheduler import Scheduler
from engines.synthesis import Mark, Say, SpeechModel, Spoken


def record(path: Path, **options: object) -> ModelRecord:
    return ModelRecord(name="voice", engine="piper", source=str(path), options=options)


def built(path: Path, **options: object) -> Piper:
    engine = piper.recipe(record(path, **options), 1).build()
    assert isinstance(engine, Piper)
    return engine


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voice(tmp_path_factory.mktemp("voices") / "single.onnx")


@pytest.fixture(scope="module")
def engine(single: Path) -> Piper:
    return built(single)


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("voices") / "trio.onnx"
    return write_voice(path, speakers=("ann", "bob", "cy"))


def say(engine: Piper, request: Say, job: int = 1) -> list[Spoken]:
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


def check_marks(text: str, spoken: Sequence[Spoken]) -> list[Mark]:
    marks = [mark for one in spoken for mark in one.marks]
    characters, times = [m.characters for m in marks], [m.seconds for m in marks]
    assert characters == sorted(set(characters))
    assert times == sorted(times)
    assert marks[-1].characters == len(text)
    assert marks[-1].seconds == pytest.approx(seconds(spoken))
    return marks


def hertz(samples: np.ndarray) -> float:
    """The strongest tone."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 16))
    return float(np.argmax(spectrum) * RATE / (1 << 16))


def test_every_phoneme_is_heard_in_its_place(single: Path, engine: Piper) -> None:
    text = "one two"
    (spoken,) = say(engine, Say(text))
    known = read_voice(single).phoneme_id_map
    (phonemes,) = engine._network.phonemes(text)
    ids = [*known["^"], 0, *(i for p in phonemes for i in (*known[p], 0)), *known["$"]]
    assert spoken.rate == RATE
    assert len(spoken.samples) == sum(frames_of(number) * HOP for number in ids)
    at = 0
    for number in ids:
        length = frames_of(number) * HOP
        if length >= 3 * HOP:
            assert hertz(spoken.samples[at : at + length]) == pytest.approx(
                55 + 11 * number, abs=12
            )
        at += length


def test_a_mark_stands_at_the_end_of_each_word(single: Path, engine: Piper) -> None:
    text = "Hello, wonderful people  there."
    spoken = say(engine, Say(text))
    marks = check_marks(text, spoken)
    assert [mark.characters for mark in marks] == [6, 16, 23, len(text)]
    known = read_voice(single).phoneme_id_map
    (phonemes,) = engine._network.phonemes(text)
    frames = frames_of(known["^"][0]) + frames_of(0)
    ends = group_ends(phonemes)
    found = []
    for index, phoneme in enumerate(phonemes):
        frames += frames_of(known[phoneme][0]) + frames_of(0)
        if index + 1 in ends:
            found.append(frames * HOP / RATE)
    assert [mark.seconds for mark in marks[:3]] == pytest.approx(found[:3])


@pytest.mark.parametrize(
    "text",
    [
        "I have 23 cats, é and  dogs. Then world!",
        "In 1984 it cost $3.50 of the 100 % more, e.g. so.",
        "Dr. Smith — well... (hm) [[x]] & Co.",
        "第一 句。 ???",
        "word " * 200,
        "x" * 700,
        "9" * 400,
        "One. \n\n . ! ",
    ],
)
def test_marks_of_any_text_come_in_order_and_end_with_all_of_it(engine: Piper, text: str) -> None:
    spoken = say(engine, Say(text))
    check_marks(text, spoken)
    longest = (2 * (MOST_PHONEMES + 2)) * 4 * HOP / RATE
    assert all(len(one.samples) / RATE <= longest for one in spoken)
    assert all(one.samples.dtype == np.float32 for one in spoken)


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_is_spoken_or_says_nothing(text: str, engine: Piper) -> None:
    spoken = say(engine, Say(text))
    if spoken:
        check_marks(text, spoken)


@pytest.mark.parametrize("text", ["", "   ", "...", "\n"])
def test_what_says_nothing_makes_no_sound(engine: Piper, text: str) -> None:
    assert say(engine, Say(text)) == []


def test_each_sentence_is_a_step_of_its_own(engine: Piper) -> None:
    text = "The first one. Then a second one! And a third?"
    (first,) = engine.step([Work(9, Say(text))])
    assert not first.done
    assert first.events[0].marks[-1].characters == len("The first one.")
    engine.drop(9)
    assert len(say(engine, Say(text), job=9)) == 3
    assert len(say(engine, Say("word " * 200))) >= 1000 / PIECE


def test_speed_shortens_every_phoneme(engine: Piper) -> None:
    text = "A sentence to measure."
    plain, fast, slow = (seconds(say(engine, Say(text, speed=s))) for s in (1, 2, 0.5))
    assert fast < plain < slow
    assert slow == pytest.approx(2 * plain)
    with pytest.raises(InvalidInput, match=r"from 0\.25 to 4"):
        say(engine, Say(text, speed=5))


def test_a_network_that_tells_no_durations_has_its_marks_estimated(tmp_path: Path) -> None:
    path = write_voice(tmp_path / "plain.onnx")
    path.write_bytes(network(durations=False))
    engine = built(path)
    text = "Hello wonderful people."
    spoken = say(engine, Say(text))
    marks = check_marks(text, spoken)
    assert [mark.characters for mark in marks] == [5, 15, len(text)]
    share = [mark.seconds / seconds(spoken) for mark in marks]
    assert share[0] == pytest.approx(5 / 23, abs=0.12)
    assert share[1] == pytest.approx(15 / 23, abs=0.12)


def test_speakers_are_called_by_name_or_number(trio: Path) -> None:
    engine = built(trio)
    sounds = {
        voice: say(engine, Say("one", voice))[0].samples
        for voice in (None, "ann", "bob", "cy", "0", "1", "2")
    }
    assert np.array_equal(sounds[None], sounds["ann"])
    for name, number in (("ann", "0"), ("bob", "1"), ("cy", "2")):
        assert np.array_equal(sounds[name], sounds[number])
    assert hertz(sounds["bob"]) == pytest.approx(2 * hertz(sounds["ann"]), rel=0.1)
    with pytest.raises(InvalidInput, match="no voice 'dan'; did you mean 'ann'") as caught:
        say(engine, Say("one", "dan"))
    assert caught.value.param == "voice"
    with pytest.raises(InvalidInput, match="no voice '3'"):
        say(engine, Say("one", "3"))
    own = built(trio, speaker="cy")
    assert np.array_equal(say(own, Say("one"))[0].samples, sounds["cy"])
    assert [voice.name for voice in piper.voices(record(trio, speaker="cy"))] == [
        "cy",
        "ann",
        "bob",
    ]
    with pytest.raises(InvalidInput, match="no voice 'eve'"):
        piper.recipe(record(trio, speaker="eve"), 1)


def test_a_voice_of_one_speaker_takes_its_only_name(engine: Piper) -> None:
    assert say(engine, Say("one", "default"))
    assert say(engine, Say("one", "0"))
    with pytest.raises(InvalidInput, match="no voice 'ann'"):
        say(engine, Say("one", "ann"))


def test_gain_is_fixed_and_never_more_than_full_scale(single: Path, engine: Piper) -> None:
    plain = say(engine, Say("one"))[0].samples
    assert np.abs(plain).max() == pytest.approx(0.5, abs=0.01)
    assert np.allclose(say(built(single, gain=0.5), Say("one"))[0].samples, plain / 2)
    assert np.abs(say(built(single, gain=10), Say("one"))[0].samples).max() == 1


def test_what_a_voice_is_stands_in_its_description(tmp_path: Path, trio: Path) -> None:
    path = write_voice(tmp_path / "v.onnx", language="de_DE", espeak="de")
    (voice,) = piper.voices(record(path))
    assert (voice.name, voice.language) == ("default", "de-de")
    assert piper.capabilities(record(path)).languages == frozenset({"de"})
    assert find_voice(tmp_path) == path
    numbered = write_voice(tmp_path / "n.onnx", speakers=("a", "b"), speaker_id_map={})
    assert [one.name for one in piper.voices(record(numbered))] == ["0", "1"]
    assert len(say(built(numbered), Say("one", "1"))) == 1
    with pytest.raises(Unsupported, match="speaks and cannot transcribe"):
        piper.check(record(trio), RecognitionOptions())


def refusal(path: Path) -> str:
    with pytest.raises(EngineError) as caught:
        built(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_files_that_are_no_voice_are_refused_with_a_reason(tmp_path: Path) -> None:
    path = write_voice(tmp_path / "v.onnx")
    path.write_bytes(b"not a network")
    assert f"{path} is not a Piper voice: " in refusal(path)
    write_voice(path, num_speakers="many")
    assert "does not describe a Piper voice (num_speakers: " in refusal(path)
    write_voice(path)
    whole = json.loads(path.with_name("v.onnx.json").read_text())
    path.with_name("v.onnx.json").write_text(json.dumps({**whole, "espeak": {}}))
    assert "does not describe a Piper voice (espeak.voice: " in refusal(path)
    write_voice(path, phoneme_type="pinyin")
    assert "asks for phonemes of the kind 'pinyin'" in refusal(path)
    write_voice(path, phoneme_id_map={"_": [0], "^": [1]})
    assert "has no phoneme '$'" in refusal(path)
    write_voice(path, espeak="xx-none")
    assert "espeak-ng has no voice 'xx-none'" in refusal(path)
    path.with_name("v.onnx.json").write_text("{")
    assert "it is not JSON" in refusal(path)
    path.with_name("v.onnx.json").unlink()
    assert "v.onnx.json cannot be read" in refusal(path)
    for place, reason in ((tmp_path, "no .onnx and .onnx.json"), (tmp_path / "x.bin", "no .onnx")):
        with pytest.raises(EngineError, match=reason):
            find_voice(place)


def test_a_gpu_that_onnxruntime_cannot_use_is_refused(single: Path) -> None:
    with pytest.raises(EngineError, match="install onnxruntime-gpu"):
        built(single, device="cuda")


def test_a_network_is_given_its_durations_once() -> None:
    plain = network()
    extended = with_durations(plain)
    assert extended.startswith(plain)
    assert len(extended) > len(plain)
    assert with_durations(extended) == extended
    for other in (network(durations=False), b"", b"\xff" * 40, plain[:-3], b"\x3a\x7f"):
        assert with_durations(other) == other


def test_workers_share_a_network_that_goes_with_the_last_of_them(single: Path) -> None:
    recipe = piper.recipe(record(single), 2)
    assert (recipe.workers, recipe.worker) == (2, "thread")
    one, other = recipe.build(), recipe.build()
    assert isinstance(one, Piper)
    assert isinstance(other, Piper)
    assert one._network is other._network
    one.close()
    assert say(other, Say("still here"))
    other.close()
    assert one._network._voice is None
    assert say(built(single), Say("again"))


async def test_it_speaks_through_the_scheduler(trio: Path) -> None:
    scheduler = Scheduler(Device(2))
    lane = scheduler.open(await asyncio.to_thread(piper.recipe, record(trio), 2))
    try:
        pieces = SpeechModel("voice", lane).say(Say("One. Two. Three.", "bob"), owner="a")
        async with aclosing(pieces):
            spoken = [piece async for piece in pieces]
        assert len(spoken) == 3
        check_marks("One. Two. Three.", spoken)
    finally:
        await scheduler.close()


def test_words_and_groups_of_phonemes_are_matched() -> None:
    assert group_ends(list("ab, cd.")) == [3, 7]
    assert group_ends(list(" ., ")) == []
    alone = {"of": "av", "the": "ðə", "23": "twenty three", "cats": "cats"}

    def phonemize(word: str) -> list[list[str]]:
        return [list(alone[word])]

    (exact,) = match_words("of cats", [list("av cats")], phonemize)
    assert [(end.characters, end.group) for end in exact] == [(2, 1), (7, 2)]
    number, cats = match_words("23 cats", [list("twenty three"), list("cats")], phonemize)
    assert [(end.characters, end.group) for end in number] == [(2, 2)]
    assert [(end.characters, end.group) for end in cats] == [(7, 1)]
    (merged,) = match_words("of the cats", [list("avðə cats")], phonemize)
    assert [end.group for end in merged] == pytest.approx([2 / 3, 4 / 3, 2])
    assert match_words("", [], phonemize) == []


def test_a_long_sentence_is_cut_between_words() -> None:
    phonemes = list("abc def ghi")
    assert cut_sentence(phonemes, 20) == [phonemes]
    assert ["".join(part) for part in cut_sentence(phonemes, 7)] == ["abc ", "def ghi"]
    assert [len(part) for part in cut_sentence(list("x" * 25), 10)] == [10, 10, 5]
