"""The models in memory: loaded once however many ask, each with a lane of the scheduler."""

import asyncio
import logging
from collections.abc import Mapping
from types import ModuleType

from engines import espeak, llama, null, piper, pocketsphinx, whisper
from engines.base import Capabilities, EngineError
from engines.catalogue import Catalogue, ModelRecord
from engines.gguf_files import Kind
from engines.language import LanguageModel
from engines.recognition import Recogniser, RecognitionOptions
from engines.scheduler import Lane, Scheduler
from engines.synthesis import SpeechModel

log = logging.getLogger(__name__)

ENGINES: Mapping[str, ModuleType] = {
    "pocketsphinx": pocketsphinx,
    "whisper": whisper,
    "llama": llama,
    "piper": piper,
    "espeak": espeak,
    "null": null,
}
"""Each engine's module: its `recipe`, `capabilities` and `check`; `recogniser` of those that hear,
`voices` and `knows` of those that speak."""


class ModelStore:
    """Loads models by name or alias and keeps them.

    Constructing one reads model directories, so it is done before the loop runs, or in a thread.
    """

    def __init__(self, catalogue: Catalogue, scheduler: Scheduler) -> None:
        self.catalogue = catalogue
        self._scheduler = scheduler
        self._loads: dict[str, asyncio.Task[Lane]] = {}
        self._recognisers: dict[str, Recogniser] = {}
        self._lanes: dict[str, Lane] = {}
        self._capabilities = {r.name: _capabilities(r) for r in catalogue.records()}

    def capabilities(self, record: ModelRecord) -> Capabilities:
        """What a model can do."""
        return self._capabilities.get(record.name, Capabilities())

    def state(self, record: ModelRecord) -> str:
        """`installed` (on disk), `loading` or `loaded`."""
        load = self._loads.get(record.name)
        if load is None:
            return "installed"
        return "loaded" if load.done() else "loading"

    def memory(self, record: ModelRecord) -> int | None:
        """Bytes that a loaded model holds in processes of its own; None where it has none."""
        lane = self._lanes.get(record.name)
        return None if lane is None else lane.memory

    async def load(self, name: str) -> None:
        """Have it in memory. Raises `ModelNotFound`, or why it could not be loaded."""
        await self._lane(self.catalogue.resolve(name))

    async def unload(self, name: str) -> None:
        """Free a model: requests that it works on fail, the next one loads it again."""
        record = self.catalogue.resolve(name)
        load = self._loads.get(record.name)
        if load is None:
            return
        lane = await asyncio.shield(load)
        if self._loads.get(record.name) is load:
            del self._loads[record.name], self._lanes[record.name]
            self._recognisers.pop(record.name, None)
            log.info("unloading model %s", record.name)
            await self._scheduler.close(lane)

    def check(self, name: str, options: RecognitionOptions) -> None:
        """Raise `ModelNotFound` or `Unsupported` without loading anything."""
        record = self.catalogue.resolve(name)
        ENGINES[record.engine].check(record, options)

    def admit(self, name: str) -> None:
        """Raise `Busy` when a loaded model could not keep up with one more live session."""
        lane = self._lanes.get(self.catalogue.resolve(name).name)
        if lane is not None:
            lane.admit()

    async def recogniser(self, name: str) -> Recogniser:
        """The model, loaded. A load that failed is tried again by the next who asks."""
        record = self.catalogue.resolve(name)
        if self.catalogue.kind(record) != "transcription":
            ENGINES[record.engine].check(record, RecognitionOptions())
        lane = await self._lane(record)
        found = self._recognisers.get(record.name)
        if found is None:
            module = ENGINES[record.engine]
            found = module.recogniser(record, self.capabilities(record), lane)
            if self._lanes.get(record.name) is lane:  # else it was unloaded as soon as it was there
                self._recognisers[record.name] = found
        return found

    async def language(self, name: str, kind: Kind) -> LanguageModel:
        """The model for text of this kind, loaded; like `recogniser`."""
        record = self.catalogue.resolve_text(name, kind)
        return LanguageModel(record.name, await self._lane(record))

    async def speech(self, name: str) -> SpeechModel:
        """The model that speaks, loaded; like `recogniser`."""
        record = self.catalogue.resolve_speech(name)
        return SpeechModel(record.name, await self._lane(record))

    async def _lane(self, record: ModelRecord) -> Lane:
        load = self._loads.get(record.name)
        if load is None:
            load = asyncio.create_task(self._load(record), name=f"load {record.name}")
            self._loads[record.name] = load
            load.add_done_callback(lambda task: self._loaded(record.name, task))
        return await asyncio.shield(load)

    async def close(self) -> None:
        """Stop loading; the scheduler closes the lanes."""
        loads = list(self._loads.values())
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)

    def _loaded(self, name: str, task: asyncio.Task[Lane]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._loads.pop(name, None)

    async def _load(self, record: ModelRecord) -> Lane:
        log.info("loading model %s", record.name)
        cores = self._scheduler.device.cores
        recipe = await asyncio.to_thread(ENGINES[record.engine].recipe, record, cores)
        lane = self._scheduler.open(recipe)
        try:
            await lane.start()
        except (EngineError, asyncio.CancelledError):
            await self._scheduler.close(lane)
            raise
        self._lanes[record.name] = lane
        return lane


def _capabilities(record: ModelRecord) -> Capabilities:
    module = ENGINES.get(record.engine)
    if module is None:
        return Capabilities()
    try:
        capabilities: Capabilities = module.capabilities(record)
    except EngineError as error:
        log.warning("model %s: %s", record.name, error)
        return Capabilities()
    return capabilities
