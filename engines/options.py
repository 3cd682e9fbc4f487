"""An engine's own settings, read strictly from a model's record."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.base import EngineError
from engines.catalogue import ModelRecord
from engines.strict_yaml import unknown_name


class EngineOptions(BaseModel):
    """What the options of every engine have in common: no unknown names, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Options = TypeVar("Options", bound=EngineOptions)


def read_options(record: ModelRecord, model: type[Options]) -> Options:
    """The record's options as a `model`. Raises `EngineError` for the first mistake in them."""
    try:
        return model.model_validate(record.options)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
    first: Any = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        fault = unknown_name("option", path, model.model_fields)
    else:
        fault = f"option '{path}': {first['msg']} (it is {first['input']!r})"
    raise EngineError(f"Model '{record.name}': {fault}")


def language_code(language: str) -> str:
    """The ISO 639 part of a language tag, `en` of `en-US`; "English" is understood as well."""
    code = language.replace("_", "-").partition("-")[0].strip().lower()
    return "en" if code == "english" else code
