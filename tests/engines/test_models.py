"""The models in memory: one load however many ask, and a failed load is tried again."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from piper_voices import write_voice
from voice import WHISPER_NANO

from engines import null
from engines.base import Busy, EngineError, ModelNotFound, Recipe, Unsupported
from engines.catalogue import Catalogue, ModelRecord
from engines.devices import Device
from engines.models import ModelStore
from engines.null import Null
from engines.recognisers import StreamedRecogniser
from engines.recognition import SAMPLE_RATE, RecognitionOptions
from engines.scheduler import Lane, Scheduler
from engines.whisper_stream import WhisperRecogniser

QUIET = ModelRecord(name="quiet", engine="null", aliases=("hush",))
CHATTY = ModelRecord(name="chatty", engine="null", options={"words_per_second": 2})
NANO = ModelRecord(name="nano", engine="whisper", source=str(WHISPER_NANO))


class Loads:
    """Counts loads of the null engine, holds them up and breaks them."""

    def __init__(self) -> None:
        self.begun = 0
        self.broken = False
        self.go = threading.Event()
        self.go.set()

    def build(self) -> Null:
        self.begun += 1
        self.go.wait(10)
        if self.broken:
            raise EngineError("the file is damaged")
        return Null()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loads]:
    counted, plain = Loads(), null.recipe

    def recipe(record: ModelRecord, cores: int) -> Recipe:
        return replace(plain(record, cores), build=counted.build, worker="thread")

    monkeypatch.setattr(null, "recipe", recipe)
    yield counted
    counted.go.set()


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue(tmp_path, (QUIET, CHATTY, NANO))


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(Device(2))


@pytest.fixture
async def store(catalogue: Catalogue, scheduler: Scheduler) -> AsyncIterator[ModelStore]:
    made = await asyncio.to_thread(ModelStore, catalogue, scheduler)
    yield made
    await made.close()
    await scheduler.close()


async def until_begun(loads: Loads, number: int) -> None:
    async with asyncio.timeout(10):
        while loads.begun < number:  # noqa: ASYNC110 - the load is in a thread
            await asyncio.sleep(0.001)


async def test_a_model_is_loaded_once_however_many_ask(store: ModelStore, loads: Loads) -> None:
    record = store.catalogue.resolve("quiet")
    assert store.state(record) == "installed"
    loads.go.clear()
    asking = [asyncio.create_task(store.recogniser(n)) for n in ("quiet", "hush", "quiet")]
    await until_begun(loads, 1)
    assert store.state(record) == "loading"
    loads.go.set()
    first, *others = await asyncio.gather(*asking)
    assert all(other is first for other in others)
    assert await store.recogniser("hush") is first
    assert (loads.begun, first.name, store.state(record)) == (1, "quiet", "loaded")


async def test_one_who_stops_waiting_does_not_stop_the_load(
    store: ModelStore, loads: Loads
) -> None:
    loads.go.clear()
    impatient = asyncio.create_task(store.recogniser("quiet"))
    patient = asyncio.create_task(store.recogniser("quiet"))
    await until_begun(loads, 1)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    loads.go.set()
    assert (await patient).name == "quiet"
    assert loads.begun == 1


async def test_a_failed_load_is_told_to_all_and_tried_again_by_the_next(
    store: ModelStore, loads: Loads, scheduler: Scheduler
) -> None:
    loads.broken = True
    asking = (store.recogniser("quiet"), store.recogniser("hush"))
    errors = await asyncio.gather(*asking, return_exceptions=True)
    assert [str(error) for error in errors] == ["the file is damaged"] * 2
    assert loads.begun == 1
    assert scheduler.lanes == ()
    assert store.state(store.catalogue.resolve("quiet")) == "installed"
    loads.broken = False
    assert (await store.recogniser("quiet")).name == "quiet"
    assert loads.begun == 2


async def test_an_unknown_name_lists_what_there_is(store: ModelStore) -> None:
    with pytest.raises(ModelNotFound, match="'tiny' does not exist here") as error:
        await store.recogniser("tiny")
    assert {"quiet", "chatty", "nano"} <= set(error.value.available)
    with pytest.raises(ModelNotFound):
        store.check("tiny", RecognitionOptions())


async def test_closing_stops_what_loads(
    catalogue: Catalogue, scheduler: Scheduler, loads: Loads
) -> None:
    store = await asyncio.to_thread(ModelStore, catalogue, scheduler)
    loads.go.clear()
    asking = asyncio.create_task(store.recogniser("quiet"))
    await until_begun(loads, 1)
    closing = asyncio.create_task(store.close())
    loads.go.set()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await asking
    await scheduler.close()
    assert scheduler.lanes == ()


async def test_a_model_of_each_sort_of_engine_recognises(store: ModelStore) -> None:
    chatty, nano = await store.recogniser("chatty"), await store.recogniser("nano")
    assert isinstance(chatty, StreamedRecogniser)
    assert isinstance(nano, WhisperRecogniser)
    for model in (chatty, nano):
        recognition = model.open(RecognitionOptions(partials=False), owner="a")
        recognition.push(np.zeros(SAMPLE_RATE, np.float32))
        recognition.finish()
        heard = [hypothesis async for hypothesis in recognition]
        assert [hypothesis.final for hypothesis in heard] == [True]
        assert heard[0].text == ("word word" if model is chatty else "")


async def test_a_model_whose_lane_is_overloaded_takes_no_more_sessions(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(lane: Lane) -> None:
        raise Busy(f"{lane.recipe.name} is full")

    monkeypatch.setattr(Lane, "admit", full)
    store.admit("quiet")  # not loaded: nobody waits for it
    await store.recogniser("quiet")
    with pytest.raises(Busy, match="quiet is full"):
        store.admit("hush")
    with pytest.raises(ModelNotFound):
        store.admit("gone")


async def test_what_a_model_can_do_is_known_and_checked_without_loading_it(
    store: ModelStore, loads: Loads, scheduler: Scheduler
) -> None:
    assert store.capabilities(store.catalogue.resolve("quiet")).translate
    english = store.catalogue.resolve("pocketsphinx")
    assert store.capabilities(english).languages == frozenset({"en"})
    store.check("pocketsphinx", RecognitionOptions(language="en"))
    with pytest.raises(Unsupported, match="only understands English"):
        store.check("pocketsphinx", RecognitionOptions(language="de"))
    assert loads.begun == 0
    assert scheduler.lanes == ()


async def test_a_model_that_was_unloaded_is_loaded_again_by_the_next_who_asks(
    store: ModelStore, scheduler: Scheduler, loads: Loads, catalogue: Catalogue
) -> None:
    model = await store.recogniser("quiet")
    assert isinstance(model, StreamedRecogniser)
    running = model.open(RecognitionOptions(), owner="a")
    await store.unload("hush")
    with pytest.raises(EngineError, match="unloaded"):
        async for _ in running:
            pass
    record = catalogue.resolve("quiet")
    assert (store.state(record), scheduler.lanes) == ("installed", ())
    await store.unload("quiet")
    await store.load("quiet")
    assert (store.state(record), loads.begun) == ("loaded", 2)
    assert await store.recogniser("quiet") is not model


async def test_a_model_that_is_unloaded_as_soon_as_it_is_there_is_loaded_again(
    store: ModelStore, loads: Loads
) -> None:
    loads.go.clear()
    loading = asyncio.create_task(store.load("quiet"))
    await until_begun(loads, 1)
    unloading = asyncio.create_task(store.unload("quiet"))
    await asyncio.sleep(0)
    asking = asyncio.create_task(store.recogniser("quiet"))
    await asyncio.sleep(0)
    loads.go.set()
    await asyncio.gather(loading, unloading, asking)
    recognition = (await store.recogniser("quiet")).open(RecognitionOptions(), owner="a")
    recognition.finish()
    assert [hypothesis.final async for hypothesis in recognition] == [True]
    assert loads.begun == 2


@pytest.mark.parametrize("name", ["espeak", "tts-1", "tones"])
async def test_a_model_that_speaks_is_not_loaded_to_transcribe(
    tmp_path: Path, scheduler: Scheduler, name: str
) -> None:
    tones = ModelRecord(
        name="tones", engine="piper", source=str(write_voice(tmp_path / "v.onnx")), aliases=("t",)
    )
    catalogue = await asyncio.to_thread(Catalogue, tmp_path, (tones,))
    store = await asyncio.to_thread(ModelStore, catalogue, scheduler)
    with pytest.raises(Unsupported, match="speaks and cannot transcribe speech"):
        await store.recogniser(name)
    with pytest.raises(Unsupported) as caught:
        store.check(name, RecognitionOptions())
    assert caught.value.param == "model"
    assert scheduler.lanes == ()
    speech = await store.speech(name)
    assert speech.name == ("espeak" if name == "espeak" else "tones")
    assert await store.speech("default") == await store.speech("t")
    assert store.state(catalogue.resolve(speech.name)) == "loaded"
    await store.close()
    await scheduler.close()
