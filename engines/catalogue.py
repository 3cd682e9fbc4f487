"""The models this machine has: configured ones, installed ones, and the built-in ones."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ModelRecord(BaseModel):
    """One model, as the configuration's `models:` list writes it.

    `engine` is the name of an engine (`whisper`, `pocketsphinx`, `null`); `source` is a directory
    or a Hugging Face repository; `options` are the engine's own settings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    engine: str
    source: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    aliases: tuple[str, ...] = ()
