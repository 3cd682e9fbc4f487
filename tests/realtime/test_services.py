from pathlib import Path

from gguf_headers import write_gguf

from engines.catalogue import Catalogue, ModelRecord
from engines.devices import Device
from engines.models import ModelStore
from engines.scheduler import Scheduler
from realtime.services import Models


def test_each_model_is_listed_with_what_it_is_for(tmp_path: Path) -> None:
    configured = [
        ModelRecord(name=name, engine="llama", source=str(path))
        for name, path in (
            ("mine", write_gguf(tmp_path / "mine.gguf")),
            ("vectors", write_gguf(tmp_path / "vectors.gguf", architecture="bert")),
        )
    ]
    models = Models(ModelStore(Catalogue(tmp_path, configured), Scheduler(Device(1))))
    assert {entry.name: entry.kind for entry in models.entries()} == {
        "mine": "chat",
        "vectors": "embedding",
        "pocketsphinx": "transcription",
        "espeak": "speech",
    }
    assert models.entry("mine").engine == "llama"
    assert models.entry("tts-1").name == "espeak"
    assert {"en", "fr"} <= (models.entry("espeak").capabilities.languages or frozenset())
    assert models.default_transcription.name == "pocketsphinx"
