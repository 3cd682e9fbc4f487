"""Whisper on CTranslate2: windows of many utterances encoded and decoded in one batch."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engines.base import Capabilities, EngineError, Outcome, Work
from engines.cuda import provide_libraries
from engines.decoding import Decode, Decoded
from engines.loops import without_loops
from engines.mel import FRAME, Floats, mel_filters
from engines.options import language_code
from engines.quality import Verdict, judge, token_cap
from engines.recognition import SAMPLE_RATE, Word
from engines.whisper_abilities import refuse, unknown_language
from engines.whisper_text import Vocabulary, spread

log = logging.getLogger(__name__)

MOST_FRAMES = 3000
"""Mel frames of 30 s, the most that Whisper's encoder takes."""

SECOND_TEMPERATURE = 0.4
"""For a text that failed its checks although the encoder had its full 30 s."""

CERTAIN_SECONDS = 3.0
"""Audio from which a detected language is believed for the rest of the utterance."""
CERTAIN_PROBABILITY = 0.5

_MOST_TOKENS = 448
_NEEDED_FILES = ("model.bin", "config.json", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class Network:
    """Where a model is and how CTranslate2 runs it."""

    name: str
    source: str | None
    able: Capabilities
    device: str = "auto"
    compute_type: str | None = None
    workers: int = 1
    cpu_threads: int = 1
    beam_size: int = 5


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory: CTranslate2's weights, the tokens, and the mel filters of its features."""

    weights: Any
    vocabulary: Vocabulary
    filters: Floats


class Model:
    """A network, loaded by the first worker that opens it and shared by all."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._lock = threading.Lock()
        self._users = 0
        self._loaded: Loaded | None = None

    def open(self) -> Loaded:
        """Load it, for one more user. Blocks; raises `EngineError`."""
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self.network)
            self._users += 1
            return self._loaded

    def close(self) -> None:
        """One user less; the last one frees the memory."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._loaded = None


@dataclass(frozen=True, slots=True)
class _Window:
    """A decode under way, with features of `frames`."""

    job: int
    ask: Decode
    frames: int
    features: Floats

    @property
    def seconds(self) -> float:
        return (self.ask.end - self.ask.start) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class _Heard:
    """What one pass over a window found."""

    language: str
    text: str
    tokens: Sequence[int]
    avg_logprob: float
    verdict: Verdict
    words: Sequence[Word] | None = None
    """With times from alignment, where it was asked for and made."""


class Whisper:
    """Jobs of `Decode`, those of a step all of one group; each is answered with one `Decoded`."""

    def __init__(self, model: Model) -> None:
        self._shared = model
        self._network = model.network
        loaded = model.open()
        self._model = loaded.weights
        self._vocabulary = loaded.vocabulary
        self._filters = loaded.filters

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        windows: list[_Window] = []
        frames = max(one.payload.frames for one in work)
        for one in work:
            ask: Decode = one.payload
            try:
                self._check(ask)
                windows.append(self._window(one.job, ask, frames))
            except EngineError as error:
                outcomes.append(Outcome(one.job, done=True, error=error))
        if windows:
            for window, heard in zip(windows, self._decode(windows), strict=True):
                outcomes.append(Outcome(window.job, (_decoded(window, heard),), done=True))
        return outcomes

    def drop(self, job: int) -> None:
        """Nothing is kept between steps."""

    def close(self) -> None:
        del self._model
        self._shared.close()

    def _window(self, job: int, ask: Decode, frames: int) -> _Window:
        features = ask.speech.features(self._filters, ask.start, ask.end, frames)
        return _Window(job, ask, frames, features)

    def _check(self, ask: Decode) -> None:
        """Raise `Unsupported` here, as one prompt without its tokens would fail the batch."""
        refuse(self._network.name, self._network.able, ask.options)
        language = _language(ask)
        if language and self._vocabulary.multilingual and not self._vocabulary.knows(language):
            raise unknown_language(self._network.name, language)

    def _decode(self, windows: Sequence[_Window]) -> list[_Heard]:
        """Decode, and decode again what is final and failed a check."""
        found = self._pass(windows, windows[0].ask.options.temperature)
        doubtful = [
            place
            for place, (window, heard) in enumerate(zip(windows, found, strict=True))
            if window.ask.final and heard.verdict.kind == "doubtful"
        ]
        if doubtful:
            again = self._second_pass([windows[place] for place in doubtful])
            for place, second in zip(doubtful, again, strict=True):
                first = found[place]
                sure = second.verdict.kind != "doubtful"
                found[place] = second if sure or second.avg_logprob > first.avg_logprob else first
        return found

    def _second_pass(self, windows: Sequence[_Window]) -> list[_Heard]:
        """With the 30 s that Whisper was trained on; where it had them, with some chance."""
        if windows[0].frames == MOST_FRAMES:
            return self._pass(windows, max(SECOND_TEMPERATURE, windows[0].ask.options.temperature))
        full = [self._window(window.job, window.ask, MOST_FRAMES) for window in windows]
        return self._pass(full, windows[0].ask.options.temperature)

    # One pass: encode, detect, generate, judge, align

    def _pass(self, windows: Sequence[_Window], temperature: float) -> list[_Heard]:
        encoded = self._encode(windows)
        languages = self._languages(windows, encoded)
        results = self._generate(windows, languages, encoded, temperature)
        found = [
            self._judged(window, language, result)
            for window, language, result in zip(windows, languages, results, strict=True)
        ]
        return self._align(windows, found, encoded)

    def _encode(self, windows: Sequence[_Window]) -> Any:
        """The encoder's output for all windows: [batch, frames / 2, width], on the device.

        One by one on a CPU, where a batch does not fit into the caches and costs up to half as
        much again for each window.
        """
        if self._model.device != "cpu":
            return self._model.encode(_view(np.stack([window.features for window in windows])))
        return _view(np.concatenate([self._encode_one(window) for window in windows]))

    def _encode_one(self, window: _Window) -> Floats:
        """What was encoded for a partial is kept: a final of the same audio needs it again."""
        key = (window.ask.start, window.ask.end, window.frames)
        kept = window.ask.speech.encoded.get(key)
        if kept is not None:
            return kept
        rows: Floats = np.array(self._model.encode(_view(window.features[np.newaxis])))
        if not window.ask.final:
            window.ask.speech.encoded = {key: rows}
        return rows

    def _languages(self, windows: Sequence[_Window], encoded: Any) -> list[str]:
        """The language of each window: asked for, or else detected."""
        asked = [
            "en" if not self._vocabulary.multilingual else _language(window.ask)
            for window in windows
        ]
        if all(asked):
            return [language or "en" for language in asked]
        detected = self._model.detect_language(encoded)
        for place, window in enumerate(windows):
            if not asked[place]:
                token, probability = detected[place][0]
                asked[place] = token.strip("<|>")
                if probability >= CERTAIN_PROBABILITY and window.seconds >= CERTAIN_SECONDS:
                    window.ask.speech.language = asked[place]
        return [language or "en" for language in asked]

    def _generate(
        self,
        windows: Sequence[_Window],
        languages: Sequence[str],
        encoded: Any,
        temperature: float,
    ) -> Sequence[Any]:
        asks = [window.ask for window in windows]
        prompts = [
            self._vocabulary.prompt(
                self._vocabulary.head(language, ask.options.task),
                ask.options.prompt,
                ask.context,
                ask.context_tokens,
            )
            for ask, language in zip(asks, languages, strict=True)
        ]
        cap = max(token_cap(window.seconds) for window in windows)
        results: Sequence[Any] = self._model.generate(
            encoded,
            prompts,
            beam_size=self._network.beam_size if asks[0].final and not temperature else 1,
            # CTranslate2 counts the prompt, and halves what is left for the text.
            max_length=min(_MOST_TOKENS, max(2 * cap, cap + len(prompts[0]))),
            return_scores=True,
            return_no_speech_prob=True,
            sampling_topk=0 if temperature else 1,
            sampling_temperature=temperature or 1.0,
        )
        return results

    def _judged(self, window: _Window, language: str, result: Any) -> _Heard:
        tokens = [token for token in result.sequences_ids[0] if token < self._vocabulary.end]
        text = self._vocabulary.decode(tokens).strip()
        # As OpenAI's: the end counts as a token, and the score was divided by those without it.
        avg_logprob = float(result.scores[0]) * len(tokens) / (len(tokens) + 1)
        verdict = judge(
            text,
            seconds=window.seconds,
            voiced_seconds=window.ask.voiced,
            avg_logprob=avg_logprob,
            no_speech_prob=float(result.no_speech_prob),
        )
        return _Heard(language, text, tokens, avg_logprob, verdict)

    def _align(
        self, windows: Sequence[_Window], found: Sequence[_Heard], encoded: Any
    ) -> list[_Heard]:
        """The same, with timed words where they were asked for; one call for each language."""
        timed = list(found)
        wanted: dict[str, list[int]] = {}
        for place, (window, heard) in enumerate(zip(windows, found, strict=True)):
            if window.ask.word_times and heard.tokens and heard.verdict.kind != "silence":
                wanted.setdefault(heard.language, []).append(place)
        for language, places in wanted.items():
            aligned = self._model.align(
                encoded if len(places) == len(windows) else _rows(encoded, places),
                self._vocabulary.head(language, "transcribe"),
                [list(found[place].tokens) for place in places],
                [_frames_of(windows[place]) for place in places],
            )
            for place, result in zip(places, aligned, strict=True):
                words = self._vocabulary.aligned(
                    found[place].tokens, result.alignments, result.text_token_probs, language
                )
                timed[place] = replace(found[place], words=words)
        return timed


def _decoded(window: _Window, heard: _Heard) -> Decoded:
    if heard.verdict.kind == "silence":
        return Decoded((), heard.language)
    begin, end = window.ask.start / SAMPLE_RATE, window.ask.end / SAMPLE_RATE
    words = heard.words
    if words is None:
        words = spread(heard.text, 0.0, window.seconds)
    placed = [
        replace(word, start=min(begin + word.start, end), end=min(begin + word.end, end))
        for word in words
    ]
    passed = heard.verdict.kind == "speech"
    return Decoded(tuple(without_loops(placed)), heard.language, passed)


def _language(ask: Decode) -> str | None:
    if ask.options.language:
        return language_code(ask.options.language)
    return ask.speech.language


def _frames_of(window: _Window) -> int:
    """Mel frames that hold audio."""
    return min(window.frames, -(-(window.ask.end - window.ask.start) // FRAME))


def _view(array: Floats) -> Any:
    import ctranslate2

    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array))


def _rows(encoded: Any, places: Sequence[int]) -> Any:
    """Some rows of a batch."""
    import ctranslate2

    rows = np.array(encoded.to_device(ctranslate2.Device.cpu))[list(places)]
    return _view(rows)


def _load(network: Network) -> Loaded:
    directory = _directory(network)
    try:
        weights = _weights(network, directory)
        vocabulary = Vocabulary(directory, multilingual=weights.is_multilingual)
    except (RuntimeError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise EngineError(f"Model '{network.name}' could not be loaded: {reason}.") from error
    return Loaded(weights, vocabulary, mel_filters(weights.n_mels))


def _weights(network: Network, directory: Path) -> Any:
    import ctranslate2

    if network.device != "cpu" and ctranslate2.get_cuda_device_count() > 0:
        provide_libraries()
    if network.device == "auto" and ctranslate2.get_cuda_device_count() > 0:
        try:
            return _weights_on("cuda", network, directory)
        except (RuntimeError, ValueError) as error:
            log.warning("model '%s' runs on the CPU, as the GPU failed: %s", network.name, error)
    return _weights_on("cuda" if network.device == "cuda" else "cpu", network, directory)


def _weights_on(device: str, network: Network, directory: Path) -> Any:
    import ctranslate2

    model = ctranslate2.models.Whisper(
        str(directory),
        device=device,
        compute_type=network.compute_type or ("int8" if device == "cpu" else "default"),
        inter_threads=network.workers,
        intra_threads=network.cpu_threads,
    )
    # Libraries of a GPU are only found missing when something runs.
    model.encode(_view(np.zeros((1, model.n_mels, 100), np.float32)))
    log.info("model %s runs on %s (%s)", network.name, device, model.compute_type)
    return model


def _directory(network: Network) -> Path:
    name, source = network.name, network.source
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
