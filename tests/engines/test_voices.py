"""Which voice a name means, and that it is heard."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from piper_voices import RATE, write_voice

from engines.base import EngineError, InvalidInput, JobClass, ModelNotFound, Unsupported
from engines.catalogue import SPEECH_NAMES, Catalogue, ModelRecord
from engines.devices import Device
from engines.models import ModelStore
from engines.scheduler import Scheduler
from engines.synthesis import Say, Spoken
from engines.voices import OPENAI_VOICES, Chosen, VoiceEntry, VoiceRecord, Voices


def store_of(tmp_path: Path, *configured: ModelRecord, default: str | None = None) -> ModelStore:
    catalogue = Catalogue(tmp_path / "data", configured, speech_default=default)
    return ModelStore(catalogue, Scheduler(Device(2)))


def piper(name: str, path: Path, *aliases: str) -> ModelRecord:
    return ModelRecord(name=name, engine="piper", source=str(path), aliases=aliases)


@pytest.fixture
def single(tmp_path: Path) -> ModelRecord:
    path = write_voice(tmp_path / "single.onnx", language="de_DE")
    return piper("de_DE-eva-tiny", path, "eva")


@pytest.fixture
def trio(tmp_path: Path) -> ModelRecord:
    return piper("trio", write_voice(tmp_path / "trio.onnx", speakers=("ann", "bob", "cy")))


def refused(voices: Voices, voice: str | None, model: str | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        voices.resolve(voice, model)
    assert caught.value.param == "voice"
    return str(caught.value)


def test_without_any_voice_installed_espeak_has_them_all(tmp_path: Path) -> None:
    voices = Voices(store_of(tmp_path))
    assert voices.resolve(None) == Chosen("espeak")
    assert voices.resolve("fr") == Chosen("espeak", "fr")
    assert voices.resolve("en-us+f3") == Chosen("espeak", "en-us+f3")
    names = [entry.name for entry in voices.names()]
    assert len(names) == len(set(names)) == 141
    assert names[0] == "en-us"
    assert voices.names()[0].description == "English (America)"
    stand_ins = {voices.resolve(name).voice for name in OPENAI_VOICES}
    assert len(stand_ins) == len(OPENAI_VOICES) == 13
    assert all(voices.resolve(name) == Chosen("espeak", name) for name in stand_ins)
    assert {voices.resolve("nova", model) for model in (*SPEECH_NAMES, "espeak")} == {
        Chosen("espeak", "en-us+f3")
    }


def test_every_listed_name_means_what_is_listed(
    tmp_path: Path, single: ModelRecord, trio: ModelRecord
) -> None:
    owned = {"boss": VoiceRecord(model="trio", voice="cy", speed=1.5)}
    voices = Voices(store_of(tmp_path, single, trio), owned)
    for entry in voices.names():
        chosen = voices.resolve(entry.name)
        assert chosen.model == entry.model
        assert chosen.voice in (entry.voice, None)
    assert voices.names()[:6] == [
        VoiceEntry("boss", "trio", "cy", "en-us", "Test (Nowhere), tiny"),
        VoiceEntry("de_DE-eva-tiny", "de_DE-eva-tiny", "default", "de-de", "Test (Nowhere), tiny"),
        *(
            VoiceEntry(f"trio:{name}", "trio", name, "en-us", "Test (Nowhere), tiny")
            for name in ("ann", "bob", "cy")
        ),
        VoiceEntry("en-us", "espeak", "en-us", "en-us", "English (America)"),
    ]
    assert voices.resolve("boss") == Chosen("trio", "cy", 1.5)


def test_a_name_is_looked_for_nearest_first(
    tmp_path: Path, single: ModelRecord, trio: ModelRecord
) -> None:
    owned = {"fr": VoiceRecord(model="trio", voice="ann"), "bob": VoiceRecord(voice="0")}
    voices = Voices(store_of(tmp_path, single, trio), owned)
    assert voices.resolve("fr") == Chosen("trio", "ann")
    assert voices.resolve("bob") == Chosen("de_DE-eva-tiny", "0")
    assert voices.resolve("cy", "trio") == Chosen("trio", "cy")
    assert voices.resolve("1", "trio") == Chosen("trio", "1")
    assert voices.resolve("eva") == Chosen("de_DE-eva-tiny")
    assert voices.resolve("trio:bob") == Chosen("trio", "bob")
    assert voices.resolve("espeak:fr") == Chosen("espeak", "fr")
    assert voices.resolve("de") == Chosen("espeak", "de")
    assert voices.resolve(None) == voices.resolve("alloy") == Chosen("de_DE-eva-tiny")
    assert voices.resolve(None, "trio") == Chosen("trio")
    spoken = [voices.resolve(name, "trio").voice for name in OPENAI_VOICES]
    assert spoken[:4] == ["ann", "bob", "cy", "ann"]


def test_a_wrong_name_is_told_with_the_nearest_right_one(
    tmp_path: Path, single: ModelRecord, trio: ModelRecord
) -> None:
    voices = Voices(store_of(tmp_path, single, trio), {"narrator": VoiceRecord()})
    assert "did you mean 'narrator'?" in refused(voices, "narator")
    assert "did you mean 'shimmer'?" in refused(voices, "shimer")
    assert "no voice 'dan' of 'trio'; did you mean 'ann'?" in refused(voices, "trio:dan")
    assert "some are: narrator, de_DE-eva-tiny, trio:ann" in refused(voices, "qqqqq")
    assert "is one of the model 'espeak', not of 'trio'" in refused(voices, "fr", "trio")
    missing = refused(voices, "en_US-lessac-medium")
    assert missing.endswith("is not installed; run: antiphon pull en_US-lessac-medium")
    with pytest.raises(ModelNotFound):
        voices.resolve("alloy", "gone")
    with pytest.raises(Unsupported, match="'pocketsphinx' is no model that speaks"):
        voices.resolve("alloy", "pocketsphinx")


def test_the_owners_default_speaks_where_nobody_says_otherwise(
    tmp_path: Path, trio: ModelRecord
) -> None:
    voices = Voices(store_of(tmp_path, trio), {"us": VoiceRecord(voice="bob", speed=2)}, "us")
    for model in (None, *SPEECH_NAMES):
        assert voices.resolve(None, model) == Chosen("trio", "bob", 2)
    assert voices.resolve(None, "espeak") == Chosen("espeak")
    assert voices.problems() == []


def test_names_in_the_configuration_that_mean_nothing_are_told(
    tmp_path: Path, trio: ModelRecord
) -> None:
    owned = {"a": VoiceRecord(model="gone"), "b": VoiceRecord(model="trio", voice="dan")}
    voices = Voices(store_of(tmp_path, trio), owned, "c")
    first, second, third = voices.problems()
    assert first.startswith("The voice 'a' cannot be used. The model 'gone' does not exist here")
    assert second.startswith("The voice 'b' cannot be used. There is no voice 'dan' of 'trio'")
    assert third.startswith("The voice 'c' cannot be used. There is no voice 'c'")
    assert [entry.name for entry in voices.names()][:3] == ["trio:ann", "trio:bob", "trio:cy"]


async def heard(voices: Voices, say: Say, model: str | None = None) -> list[Spoken]:
    pieces = voices.say(say, model=model, owner="test", kind=JobClass.FIRST_SENTENCE)
    async with aclosing(pieces):
        return [spoken async for spoken in pieces]


async def test_a_voice_is_heard_with_the_speed_of_both_its_owner_and_the_request(
    tmp_path: Path, single: ModelRecord, trio: ModelRecord
) -> None:
    scheduler = Scheduler(Device(2))

    def build() -> tuple[ModelStore, Voices]:
        store = ModelStore(Catalogue(tmp_path / "data", (single, trio)), scheduler)
        owned = {"quick": VoiceRecord(model="trio", voice="bob", speed=2)}
        return store, Voices(store, owned)

    store, voices = await asyncio.to_thread(build)
    try:
        (plain,) = await heard(voices, Say("Hello there.", "trio:bob", 4))
        (quick,) = await heard(voices, Say("Hello there.", "quick", 2))
        (clamped,) = await heard(voices, Say("Hello there.", "quick", 4))
        assert plain.rate == RATE
        assert np.array_equal(plain.samples, quick.samples)
        assert np.array_equal(plain.samples, clamped.samples)
        (other,) = await heard(voices, Say("Hello there.", "ann", 4), "trio")
        assert len(other.samples) == len(plain.samples)
        assert not np.array_equal(other.samples, plain.samples)
        with pytest.raises(EngineError, match="no voice 'dan'"):
            await heard(voices, Say("Hello", "dan"))
    finally:
        await store.close()
        await scheduler.close()
