"""What a Whisper model can do, known without loading it, and what it is refused for."""

import functools
import json
import logging
import re
from pathlib import Path

from engines.base import Capabilities, Unsupported
from engines.catalogue import ModelRecord
from engines.known_models import find_known
from engines.options import language_code
from engines.recognition import RecognitionOptions

log = logging.getLogger(__name__)

_LANGUAGE_TOKEN = re.compile(r"<\|([a-z]{2,3})\|>")
_ENGLISH = Capabilities(languages=frozenset({"en"}))
_INSTALL = "Install a multilingual model with: antiphon pull base"


def capabilities(record: ModelRecord) -> Capabilities:
    """What the model's vocabulary says (its file is read once), else what its name says."""
    vocabulary = _vocabulary_capabilities(record.source) if record.source else None
    known = find_known(record.name) or (find_known(record.source) if record.source else None)
    if vocabulary is None:
        if record.name.endswith(".en") or (record.source or "").endswith(".en"):
            return _ENGLISH
        return Capabilities(known.languages, known.translate) if known else Capabilities(None, True)
    if known is None or vocabulary.languages is None or not vocabulary.translate:
        return vocabulary
    # Distilled models have every language's token and were trained on English alone.
    return Capabilities(vocabulary.languages & known.languages, known.translate)


@functools.lru_cache(maxsize=64)
def _vocabulary_capabilities(source: str) -> Capabilities | None:
    tokens = _vocabulary(Path(source).expanduser())
    if tokens is None:
        return None
    # CTranslate2 tells a multilingual model by its empty token; English ones have language tokens.
    if "" not in tokens:
        return _ENGLISH
    found = (_LANGUAGE_TOKEN.fullmatch(token) for token in tokens)
    return Capabilities(frozenset(match[1] for match in found if match), translate=True)


def _vocabulary(directory: Path) -> list[str] | None:
    try:
        if (directory / "vocabulary.json").is_file():
            tokens = json.loads((directory / "vocabulary.json").read_text("utf-8"))
            return tokens if isinstance(tokens, list) else None
        if (directory / "vocabulary.txt").is_file():
            return (directory / "vocabulary.txt").read_text("utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        log.warning("the vocabulary in %s cannot be read: %s", directory, error)
    return None


def check(record: ModelRecord, options: RecognitionOptions) -> None:
    """Raise `Unsupported` for a language or a translation that the model was not made for."""
    refuse(record.name, capabilities(record), options)


def refuse(name: str, able: Capabilities, options: RecognitionOptions) -> None:
    """Raise `Unsupported` for what a model that can do this was not made for."""
    language = language_code(options.language) if options.language else None
    if able.languages == _ENGLISH.languages and language not in {None, "en"}:
        raise Unsupported(f"The model '{name}' only understands English. {_INSTALL}", "language")
    if language and able.languages is not None and language not in able.languages:
        raise unknown_language(name, language)
    if options.task == "translate" and not able.translate:
        raise Unsupported(f"The model '{name}' cannot translate. {_INSTALL}", "task")


def unknown_language(name: str, language: str) -> Unsupported:
    """The error for a code that the model's vocabulary does not have."""
    return Unsupported(
        f"The model '{name}' does not know the language '{language}';"
        " give an ISO 639-1 code such as 'fr'.",
        "language",
    )
