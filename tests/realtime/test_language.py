"""Which model a name means to the text routes and to conversations, here or at a provider."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import gguf_models
import pytest
from far import ANSWER, far, streams

from engines.base import EngineError, InvalidInput, JobClass, ModelNotFound, Unsupported
from engines.catalogue import Catalogue, ModelRecord
from engines.devices import Device
from engines.generation import Chat, Generate, TextDelta
from engines.models import ModelStore
from engines.scheduler import Scheduler
from pipelines.context import Writers
from realtime.config import Configuration, Provider
from realtime.language import LanguageModels

pytestmark = pytest.mark.one_loop

SEEN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def asked(*parts: object) -> Generate:
    return Generate(Chat((message(*parts),)))


def message(*parts: object) -> dict[str, object]:
    return {"role": "user", "content": list(parts) or "Hi"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    gguf_models.scripted(folder / "scripted.gguf")
    gguf_models.embedder(folder / "embedder.gguf")
    (folder / "broken.gguf").write_bytes((folder / "scripted.gguf").read_bytes()[:-100])
    return folder


@pytest.fixture
def catalogue(folder: Path) -> Catalogue:
    records = tuple(
        ModelRecord(name=path.stem, engine="llama", source=str(path), options={"threads": 1})
        for path in sorted(folder.glob("*.gguf"))
    )
    return Catalogue(folder, records)


@pytest.fixture
async def store(catalogue: Catalogue) -> AsyncIterator[ModelStore]:
    scheduler = Scheduler(Device(1))
    store = await asyncio.to_thread(ModelStore, catalogue, scheduler)
    yield store
    await store.close()
    await scheduler.close()


def models(store: ModelStore, far_url: str = "http://127.0.0.1:9/v1") -> LanguageModels:
    providers = {"far": Provider(base_url=far_url)}
    return LanguageModels(store, Configuration(providers=providers))


def state(store: ModelStore, name: str) -> str:
    return store.state(store.catalogue.resolve(name))


async def test_a_warm_model_is_in_memory(store: ModelStore) -> None:
    language = models(store)
    assert state(store, "scripted") == "installed"
    await language.warm("scripted")
    assert state(store, "scripted") == "loaded"
    await language.warm("far.big-1")


@pytest.mark.parametrize(
    ("name", "error"),
    [("nothing", ModelNotFound), ("embedder", Unsupported), ("broken", EngineError)],
)
async def test_a_model_that_cannot_be_warmed_says_why(
    store: ModelStore, name: str, error: type[EngineError]
) -> None:
    with pytest.raises(error):
        await models(store).warm(name)


async def test_an_answer_is_as_urgent_as_was_asked_for(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = []
    language = models(store)
    writers: Writers = language
    lane = (await store.language("scripted", "chat")).lane
    submit = lane.submit

    def noted(payload: object, *, owner: str, kind: JobClass) -> object:
        kinds.append(kind)
        return submit(payload, owner=owner, kind=kind)

    monkeypatch.setattr(lane, "submit", noted)
    live = writers.generate("scripted", asked(), owner="a", kind=JobClass.FIRST_SENTENCE)
    said = [event.text async for event in live if isinstance(event, TextDelta)]
    assert "".join(said) == gguf_models.ANSWER
    async for _ in language.generate("scripted", asked(), owner="a"):
        pass
    assert kinds == [JobClass.FIRST_SENTENCE, JobClass.REST]


async def test_images_go_to_a_provider_as_they_are(store: ModelStore) -> None:
    parts = ({"type": "text", "text": "What is it?"}, SEEN)
    async with far(streams(*ANSWER)) as there:
        language = models(store, there.provider.endpoint.base_url)
        assert language.sees("far.big-1")
        kind = JobClass.FIRST_SENTENCE
        async for _ in language.generate("far.big-1", asked(*parts), owner="a", kind=kind):
            pass
        await language.close()
    assert there.sent[0].body["messages"] == [message(*parts)]


async def test_images_are_refused_by_a_model_that_reads_only(store: ModelStore) -> None:
    language = models(store)
    assert not language.sees("scripted")
    with pytest.raises(InvalidInput, match="takes text only") as refusal:
        async for _ in language.generate("scripted", asked(SEEN), owner="a"):
            pass
    assert refusal.value.param == "messages"
