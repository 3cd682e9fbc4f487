"""Whisper models that can be pulled by a short name, and what is known of each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A Whisper model that can be pulled by a short name.

    `download_bytes` is approximate. `languages` are the codes it is good at.
    """

    name: str
    repository: str
    download_bytes: int
    languages: frozenset[str]
    translate: bool
    aliases: tuple[str, ...]


_ENGLISH = frozenset({"en"})
_LANGUAGE_CODES = """
    af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he
    hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl
    nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz
    vi yi yo zh
"""
_LANGUAGES = frozenset(_LANGUAGE_CODES.split())


def _known(
    short: str, repository: str, megabytes: int, *others: str, languages: frozenset[str]
) -> KnownModel:
    # Turbo and the distilled models were not trained to translate.
    translate = languages != _ENGLISH and short != "large-v3-turbo"
    aliases = (short, *others, repository)
    name = f"whisper-{short}"
    return KnownModel(name, repository, megabytes * 1_000_000, languages, translate, aliases)


_ALL = (
    _known("tiny", "Systran/faster-whisper-tiny", 78, languages=_LANGUAGES),
    _known("tiny.en", "Systran/faster-whisper-tiny.en", 78, languages=_ENGLISH),
    _known("base", "Systran/faster-whisper-base", 148, languages=_LANGUAGES),
    _known("base.en", "Systran/faster-whisper-base.en", 148, languages=_ENGLISH),
    _known("small", "Systran/faster-whisper-small", 486, languages=_LANGUAGES),
    _known("small.en", "Systran/faster-whisper-small.en", 486, languages=_ENGLISH),
    _known("medium", "Systran/faster-whisper-medium", 1530, languages=_LANGUAGES),
    _known("medium.en", "Systran/faster-whisper-medium.en", 1530, languages=_ENGLISH),
    _known("large-v1", "Systran/faster-whisper-large-v1", 3090, languages=_LANGUAGES),
    _known("large-v2", "Systran/faster-whisper-large-v2", 3090, languages=_LANGUAGES),
    _known(
        "large-v3", "Systran/faster-whisper-large-v3", 3091, "large", languages=_LANGUAGES | {"yue"}
    ),
    _known(
        "large-v3-turbo",
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        1622,
        "turbo",
        languages=_LANGUAGES | {"yue"},
    ),
    _known("distil-small.en", "Systran/faster-distil-whisper-small.en", 336, languages=_ENGLISH),
    _known("distil-medium.en", "Systran/faster-distil-whisper-medium.en", 792, languages=_ENGLISH),
    _known("distil-large-v2", "Systran/faster-distil-whisper-large-v2", 1516, languages=_ENGLISH),
    _known("distil-large-v3", "Systran/faster-distil-whisper-large-v3", 1516, languages=_ENGLISH),
    _known("distil-large-v3.5", "distil-whisper/distil-large-v3.5-ct2", 1516, languages=_ENGLISH),
)

KNOWN: Mapping[str, KnownModel] = {
    alias: model for model in _ALL for alias in model.aliases if "/" not in alias
}
"""Short names (`base`, `large-v3`, `turbo`) of models that can be pulled."""

_BY_ANY_NAME = {name: model for model in _ALL for name in (model.name, *model.aliases)}
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z", re.ASCII)


def find_known(name: str) -> KnownModel | None:
    """The known model with this short name, installed name or Hugging Face repository."""
    return _BY_ANY_NAME.get(name)


def is_repository(source: str) -> bool:
    """Whether `source` has the form of a Hugging Face repository, `owner/name`."""
    return _REPOSITORY.match(source) is not None and ".." not in source
