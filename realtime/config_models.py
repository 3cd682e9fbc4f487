"""What is checked of the configuration's models and voices beyond their form."""

from collections.abc import Mapping, Sequence

from engines.installed import ModelRecord
from engines.models import ENGINES
from engines.strict_yaml import Document, unknown_name, validate
from engines.voices import VoiceRecord

SOURCES: Mapping[str, str] = {
    "whisper": "a directory or a Hugging Face repository",
    "llama": "a GGUF file or a Hugging Face repository",
    "piper": "an ONNX file or a Hugging Face repository",
}
"""The engines whose models are files, and what they may be."""


def check_models(models: Sequence[ModelRecord], document: Document) -> None:
    """Refuse engines and options that do not exist, and names that two models claim. Raises
    `ConfigError`."""
    owners: dict[str, int] = {}
    for index, record in enumerate(models):
        here: tuple[str | int, ...] = ("models", index)
        if record.engine not in ENGINES:
            message = unknown_name("engine", record.engine, ENGINES)
            raise document.error((*here, "engine"), message)
        if record.options:
            validate(ENGINES[record.engine].options_model, document, (*here, "options"))
        if record.engine in SOURCES and not record.source:
            message = f"a '{record.engine}' model needs a 'source': {SOURCES[record.engine]}"
            raise document.error(here, message)
        for name in (record.name, *record.aliases):
            if name in owners:
                line = document.line_of(("models", owners[name]))
                key = "name" if name == record.name else "aliases"
                message = f"the model name '{name}' is already used at line {line}"
                raise document.error((*here, key), message)
            owners[name] = index


def check_voices(
    voices: Mapping[str, VoiceRecord], models: Sequence[ModelRecord], document: Document
) -> None:
    """Refuse voices of configured models that do not speak. Raises `ConfigError`."""
    configured = {name: record for record in models for name in (record.name, *record.aliases)}
    for name, voice in voices.items():
        record = configured.get(voice.model or "")
        if record is not None and not hasattr(ENGINES[record.engine], "voices"):
            message = f"the model '{voice.model}' does not speak: its engine is '{record.engine}'"
            raise document.error(("voices", name, "model"), message)
