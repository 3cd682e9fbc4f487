"""Models that can be pulled by a short name, and what is known of each."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from engines import known_voices


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that can be pulled by a short name.

    `download_bytes` is approximate. `file` is the one to take of the repository, where not all are.
    `languages`: the codes that a Whisper model is good at; it may `translate` them to English.
    """

    name: str
    repository: str
    download_bytes: int
    aliases: tuple[str, ...]
    engine: Literal["whisper", "llama", "piper"] = "whisper"
    kind: Literal["transcription", "chat", "embedding", "rerank", "speech"] = "transcription"
    file: str | None = None
    languages: frozenset[str] = frozenset()
    translate: bool = False


_ENGLISH = frozenset({"en"})
_LANGUAGE_CODES = """
    af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he
    hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl
    nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz
    vi yi yo zh
"""
_LANGUAGES = frozenset(_LANGUAGE_CODES.split())


def _whisper(
    short: str, repository: str, megabytes: int, *others: str, languages: frozenset[str]
) -> KnownModel:
    # Turbo and the distilled models were not trained to translate.
    translate = languages != _ENGLISH and short != "large-v3-turbo"
    aliases = (short, *others, repository)
    name = f"whisper-{short}"
    return KnownModel(
        name, repository, megabytes * 1_000_000, aliases, languages=languages, translate=translate
    )


def _gguf(
    name: str,
    repository: str,
    file: str,
    megabytes: int,
    kind: Literal["chat", "embedding", "rerank"] = "chat",
) -> KnownModel:
    return KnownModel(
        name, repository, megabytes * 1_000_000, (repository,), "llama", kind, f"{file}.gguf"
    )


_WHISPER = (
    _whisper("tiny", "Systran/faster-whisper-tiny", 78, languages=_LANGUAGES),
    _whisper("tiny.en", "Systran/faster-whisper-tiny.en", 78, languages=_ENGLISH),
    _whisper("base", "Systran/faster-whisper-base", 148, languages=_LANGUAGES),
    _whisper("base.en", "Systran/faster-whisper-base.en", 148, languages=_ENGLISH),
    _whisper("small", "Systran/faster-whisper-small", 486, languages=_LANGUAGES),
    _whisper("small.en", "Systran/faster-whisper-small.en", 486, languages=_ENGLISH),
    _whisper("medium", "Systran/faster-whisper-medium", 1530, languages=_LANGUAGES),
    _whisper("medium.en", "Systran/faster-whisper-medium.en", 1530, languages=_ENGLISH),
    _whisper("large-v1", "Systran/faster-whisper-large-v1", 3090, languages=_LANGUAGES),
    _whisper("large-v2", "Systran/faster-whisper-large-v2", 3090, languages=_LANGUAGES),
    _whisper(
        "large-v3", "Systran/faster-whisper-large-v3", 3091, "large", languages=_LANGUAGES | {"yue"}
    ),
    _whisper(
        "large-v3-turbo",
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        1622,
        "turbo",
        languages=_LANGUAGES | {"yue"},
    ),
    _whisper("distil-small.en", "Systran/faster-distil-whisper-small.en", 336, languages=_ENGLISH),
    _whisper(
        "distil-medium.en", "Systran/faster-distil-whisper-medium.en", 792, languages=_ENGLISH
    ),
    _whisper("distil-large-v2", "Systran/faster-distil-whisper-large-v2", 1516, languages=_ENGLISH),
    _whisper("distil-large-v3", "Systran/faster-distil-whisper-large-v3", 1516, languages=_ENGLISH),
    _whisper("distil-large-v3.5", "distil-whisper/distil-large-v3.5-ct2", 1516, languages=_ENGLISH),
)
_LANGUAGE = (
    _gguf("qwen3-0.6b", "Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0", 639),
    _gguf("qwen3-1.7b", "Qwen/Qwen3-1.7B-GGUF", "Qwen3-1.7B-Q8_0", 1834),
    _gguf("qwen3-4b", "Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M", 2497),
    _gguf("qwen3-8b", "Qwen/Qwen3-8B-GGUF", "Qwen3-8B-Q4_K_M", 5028),
    _gguf(
        "qwen2.5-1.5b-instruct",
        "Qwen/Qwen2.5-1.5B-Instruct-GGUF",
        "qwen2.5-1.5b-instruct-q4_k_m",
        1117,
    ),
    _gguf(
        "llama-3.2-1b-instruct",
        "bartowski/Llama-3.2-1B-Instruct-GGUF",
        "Llama-3.2-1B-Instruct-Q4_K_M",
        808,
    ),
    _gguf(
        "llama-3.2-3b-instruct",
        "bartowski/Llama-3.2-3B-Instruct-GGUF",
        "Llama-3.2-3B-Instruct-Q4_K_M",
        2019,
    ),
    _gguf("gemma-3-1b-it", "ggml-org/gemma-3-1b-it-GGUF", "gemma-3-1b-it-Q4_K_M", 806),
    _gguf("gemma-3-4b-it", "ggml-org/gemma-3-4b-it-GGUF", "gemma-3-4b-it-Q4_K_M", 2490),
    _gguf(
        "smollm2-360m-instruct",
        "HuggingFaceTB/SmolLM2-360M-Instruct-GGUF",
        "smollm2-360m-instruct-q8_0",
        386,
    ),
    _gguf(
        "smollm2-1.7b-instruct",
        "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF",
        "smollm2-1.7b-instruct-q4_k_m",
        1056,
    ),
    _gguf(
        "nomic-embed-text-v1.5",
        "nomic-ai/nomic-embed-text-v1.5-GGUF",
        "nomic-embed-text-v1.5.Q8_0",
        146,
        "embedding",
    ),
    _gguf(
        "bge-small-en-v1.5",
        "CompendiumLabs/bge-small-en-v1.5-gguf",
        "bge-small-en-v1.5-q8_0",
        37,
        "embedding",
    ),
    _gguf(
        "embeddinggemma-300m",
        "ggml-org/embeddinggemma-300M-GGUF",
        "embeddinggemma-300M-Q8_0",
        334,
        "embedding",
    ),
    _gguf(
        "qwen3-embedding-0.6b",
        "Qwen/Qwen3-Embedding-0.6B-GGUF",
        "Qwen3-Embedding-0.6B-Q8_0",
        639,
        "embedding",
    ),
    _gguf(
        "bge-reranker-v2-m3",
        "gpustack/bge-reranker-v2-m3-GGUF",
        "bge-reranker-v2-m3-Q8_0",
        636,
        "rerank",
    ),
)


def _piper(name: str, aliases: tuple[str, ...]) -> KnownModel:
    size = known_voices.megabytes(name) * 1_000_000
    file = known_voices.file_of(name)
    return KnownModel(name, known_voices.REPOSITORY, size, aliases, "piper", "speech", file)


def _speech() -> Iterator[KnownModel]:
    """The first voice of each speaker can be called by the speaker's name."""
    taken: set[str] = set()
    for name in known_voices.VOICES:
        speaker = known_voices.speaker_of(name)
        yield _piper(name, () if speaker in taken else (speaker,))
        taken.add(speaker)


_SPEECH = tuple(_speech())
_ALL = (*_WHISPER, *_LANGUAGE, *_SPEECH)

KNOWN: Mapping[str, KnownModel] = {
    alias: model for model in _WHISPER for alias in model.aliases if "/" not in alias
} | {model.name: model for model in (*_LANGUAGE, *_SPEECH)}
"""Short names (`base`, `turbo`, `qwen3-0.6b`, `en_US-lessac-medium`) of models that can be
pulled."""

_BY_ANY_NAME = {name: model for model in _ALL for name in (model.name, *model.aliases)}
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z", re.ASCII)


def find_known(name: str) -> KnownModel | None:
    """The known model with this short name, installed name or Hugging Face repository."""
    return _BY_ANY_NAME.get(name)


def is_repository(source: str) -> bool:
    """Whether `source` has the form of a Hugging Face repository, `owner/name`."""
    return _REPOSITORY.match(source) is not None and ".." not in source
