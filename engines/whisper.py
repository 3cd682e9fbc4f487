"""Whisper through faster-whisper and CTranslate2, from a model directory on this machine."""

import functools
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from engines.base import (
    Capabilities,
    EngineError,
    InvalidInput,
    Outcome,
    Recipe,
    Unsupported,
    UpTo,
    Work,
)
from engines.catalogue import ModelRecord
from engines.known_models import find_known
from engines.loops import without_loops
from engines.options import EngineOptions, language_code, read_options
from engines.recognition import SAMPLE_RATE, Hypothesis, RecognitionOptions, Samples, Word

log = logging.getLogger(__name__)

SHORTEST = SAMPLE_RATE // 10
"""Audio shorter than this (in samples) holds no word."""

TAIL = SAMPLE_RATE // 5
"""Samples of silence after the audio: what Whisper is padded with is not silence to it, and a last
word that ends with the audio would lose its last letters."""

FALLBACK_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Tried in turn while the text repeats itself or is improbable, as OpenAI's Whisper does."""

_CAPACITY = 64
_NEEDED_FILES = ("model.bin", "config.json", "tokenizer.json")
_LANGUAGE_TOKEN = re.compile(r"<\|([a-z]{2,3})\|>")
_ENGLISH = Capabilities(languages=frozenset({"en"}))
_INSTALL = "Install a multilingual model with: antiphon pull base"


class WhisperOptions(EngineOptions):
    """`device`: `auto` takes a GPU where one works. `compute_type`: CTranslate2's name for the
    arithmetic (None: int8 on a CPU, as the model was saved on a GPU).

    `beam_size` is for finals; partials are decoded greedily. `cpu_threads`: cores one step uses.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    compute_type: (
        Literal[
            "default",
            "auto",
            "int8",
            "int8_float32",
            "int8_float16",
            "int8_bfloat16",
            "int16",
            "float16",
            "bfloat16",
            "float32",
        ]
        | None
    ) = None
    beam_size: int = Field(default=5, ge=1, le=16)
    cpu_threads: int = Field(default=1, ge=1, le=64)


options_model = WhisperOptions


@dataclass(frozen=True, slots=True, eq=False)
class WhisperRequest:
    """A stretch of speech to transcribe: float32 at 16 kHz in [-1, 1].

    A partial (`final` false) is decoded greedily and once, and its words have times that are
    spread over their segment.
    """

    audio: Samples
    options: RecognitionOptions
    final: bool


@dataclass(slots=True)
class _Transcription:
    """A request under way: segments that were not decoded yet, and the words of those that were."""

    segments: Iterator[Any]
    language: str
    words: list[Word] = field(default_factory=list)


class Whisper:
    """Jobs of `WhisperRequest`; each step decodes the next segment of each job.

    Answers a job once, when it is done, with one `Hypothesis`.
    """

    def __init__(self, name: str, source: str | None, options: WhisperOptions) -> None:
        self._name = name
        self._beam_size = options.beam_size
        self._model = _load(name, _directory(name, source), options)
        self._jobs: dict[int, _Transcription] = {}

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        return [self._outcome(one) for one in work]

    def drop(self, job: int) -> None:
        self._jobs.pop(job, None)

    def close(self) -> None:
        self._jobs.clear()
        del self._model

    def _outcome(self, work: Work) -> Outcome:
        request: WhisperRequest = work.payload
        try:
            if work.job not in self._jobs:
                if len(_checked(request.audio)) < SHORTEST:
                    return Outcome(work.job, (Hypothesis((), request.final),), done=True)
                self._jobs[work.job] = self._begin(request)
        except EngineError as error:
            return Outcome(work.job, done=True, error=error)
        job = self._jobs[work.job]
        segment = next(job.segments, None)
        if segment is not None:
            job.words += _words(segment, len(request.audio) / SAMPLE_RATE)
            return Outcome(work.job)
        self.drop(work.job)
        words = tuple(without_loops(job.words))
        return Outcome(work.job, (Hypothesis(words, request.final, job.language),), done=True)

    def _begin(self, request: WhisperRequest) -> _Transcription:
        options = request.options
        temperatures: tuple[float, ...] = (options.temperature,)
        if request.final and options.temperature == 0:
            temperatures = FALLBACK_TEMPERATURES
        segments, info = self._model.transcribe(
            np.append(request.audio, np.zeros(TAIL, np.float32)),
            language=self._language(options),
            task=options.task,
            beam_size=self._beam_size if request.final else 1,
            temperature=temperatures,
            condition_on_previous_text=False,
            initial_prompt=options.prompt or None,
            word_timestamps=request.final,
            vad_filter=False,
        )
        return _Transcription(iter(segments), info.language)

    def _language(self, options: RecognitionOptions) -> str | None:
        """The language to decode in; None: to be detected. Raises `Unsupported`."""
        language = language_code(options.language) if options.language else None
        if not self._model.model.is_multilingual:
            _refuse_beyond_english(self._name, language, options.task)
            return "en"
        if language and self._model.hf_tokenizer.token_to_id(f"<|{language}|>") is None:
            raise _unknown_language(self._name, language)
        return language


def _directory(name: str, source: str | None) -> Path:
    if source is None:
        raise EngineError(f"Model '{name}' needs a 'source': a CTranslate2 Whisper directory.")
    directory = Path(source).expanduser()
    if not directory.is_dir():
        raise EngineError(f"Model '{name}': there is no directory {directory}.")
    for file in _NEEDED_FILES:
        if not (directory / file).is_file():
            raise EngineError(
                f"Model '{name}': {directory} is not a CTranslate2 Whisper model, it has no {file}."
            )
    return directory


def _load(name: str, directory: Path, options: WhisperOptions) -> Any:
    import ctranslate2

    device = options.device
    if device == "auto" and ctranslate2.get_cuda_device_count() > 0:
        try:
            return _load_on("cuda", directory, options)
        except (RuntimeError, ValueError) as error:
            log.warning("model '%s' runs on the CPU, as the GPU failed: %s", name, error)
    try:
        return _load_on("cuda" if device == "cuda" else "cpu", directory, options)
    except (RuntimeError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise EngineError(f"Model '{name}' could not be loaded: {reason}.") from error


def _load_on(device: str, directory: Path, options: WhisperOptions) -> Any:
    from faster_whisper import WhisperModel

    default = "int8" if device == "cpu" else "default"
    model = WhisperModel(
        str(directory),
        device=device,
        compute_type=options.compute_type or default,
        cpu_threads=options.cpu_threads,
        num_workers=1,
        local_files_only=True,
    )
    # Libraries of a GPU are only found missing when something runs.
    model.encode(model.feature_extractor(np.zeros(SAMPLE_RATE // 10, np.float32)))
    return model


def _checked(audio: Samples) -> Samples:
    if audio.dtype != np.float32 or audio.ndim != 1 or not np.isfinite(audio).all():
        raise InvalidInput("Speech recognition needs finite float32 samples of one channel.")
    return audio


def _words(segment: Any, end: float) -> list[Word]:
    """The words of a segment, inside the `end` seconds of audio."""
    if not segment.words:
        return _spread(segment.text, min(segment.start, end), min(segment.end, end))
    words: list[Word] = []
    for word in segment.words:
        text = word.word.strip()
        start, stop = min(float(word.start), end), min(float(word.end), end)
        probability = float(word.probability)
        if words and not word.word.startswith(" "):
            # A language without spaces, or a piece of a word: what stands together stays so.
            before = words.pop()
            text, start = before.text + text, before.start
            probability = min(probability, before.probability or 0.0)
        if text:
            words.append(Word(text, start, max(start, stop), probability))
    return words


def _spread(text: str, start: float, end: float) -> list[Word]:
    """Words with times in proportion to their letters, from `start` to `end`."""
    texts = text.split()
    ends = np.cumsum([len(word) + 1 for word in texts], dtype=float)
    times = [start, *(start + (end - start) * ends / max(1.0, ends[-1]))] if texts else []
    return [
        Word(word, round(float(times[n]), 3), round(float(times[n + 1]), 3))
        for n, word in enumerate(texts)
    ]


def recipe(record: ModelRecord, cores: int) -> Recipe:
    """How to run it: one thread, as CTranslate2 releases the interpreter lock."""
    options = read_options(record, WhisperOptions)
    options = options.model_copy(update={"cpu_threads": min(options.cpu_threads, max(1, cores))})
    return Recipe(
        name=record.name,
        build=partial(Whisper, record.name, record.source, options),
        select=UpTo(1),
        worker="thread",
        workers=1,
        capacity=_CAPACITY,
        cores=options.cpu_threads,
    )


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
    able = capabilities(record)
    language = language_code(options.language) if options.language else None
    if able.languages == _ENGLISH.languages:
        _refuse_beyond_english(record.name, language, options.task)
    if language and able.languages is not None and language not in able.languages:
        raise _unknown_language(record.name, language)
    if options.task == "translate" and not able.translate:
        raise Unsupported(f"The model '{record.name}' cannot translate. {_INSTALL}", "task")


def _refuse_beyond_english(name: str, language: str | None, task: str) -> None:
    if language not in {None, "en"}:
        raise Unsupported(f"The model '{name}' only understands English. {_INSTALL}", "language")
    if task == "translate":
        raise Unsupported(f"The model '{name}' cannot translate. {_INSTALL}", "task")


def _unknown_language(name: str, language: str) -> Unsupported:
    return Unsupported(
        f"The model '{name}' does not know the language '{language}';"
        " give an ISO 639-1 code such as 'fr'.",
        "language",
    )
