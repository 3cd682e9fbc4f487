"""A Piper voice in memory: phonemes of a text, and their sound."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engines.base import EngineError
from engines.cuda import provide_libraries
from engines.onnx_files import with_durations
from engines.piper_files import description_of, read_voice
from engines.recognition import Samples

_KEPT_IDS = 200
"""Longer sentences give the memory they needed back, which costs them a little time."""

_PAD, _BEGIN, _END = "_", "^", "$"

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Voicing:
    """How phonemes shall sound. `length` is relative to the voice's own; None leaves a scale as
    the voice has it."""

    speaker: int | None = None
    length: float = 1.0
    noise: float | None = None
    noise_width: float | None = None


@dataclass(frozen=True, slots=True)
class Sound:
    """float32 in [-1, 1], as loud as the network made it. `lengths`: samples of each phoneme, after
    those of the beginning; estimated, all the same, by a network that does not tell."""

    samples: Samples
    lengths: NDArray[np.float64]
    lead: float


class Network:
    """One voice, loaded by the first worker that opens it and shared by all; any number of threads
    may use it."""

    def __init__(self, name: str, source: Path, device: Device) -> None:
        self.name = name
        self._source = source
        self._device = device
        self._lock = threading.Lock()
        self._users = 0
        self._voice: Any = None

    def open(self) -> None:
        """Load it, for one more user. Blocks; raises `EngineError`."""
        with self._lock:
            if self._voice is None:
                self._voice = self._load()
            self._users += 1

    def close(self) -> None:
        """One user less; the last one frees the memory."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._voice = None

    @property
    def rate(self) -> int:
        """Hz of its sound."""
        return int(self._voice.config.sample_rate)

    def phonemes(self, text: str) -> list[list[str]]:
        """The phonemes of each sentence that it finds; a space stands between words."""
        # Two of them would begin phonemes instead of text.
        return [list(found) for found in self._voice.phonemize(text.replace("[[", "(("))]

    def sound(self, phonemes: list[str], voicing: Voicing) -> Sound:
        """The sound of one sentence. Blocks."""
        import onnxruntime

        ids, counts = self._ids(phonemes)
        options = onnxruntime.RunOptions()
        if len(ids) > _KEPT_IDS and self._on_cpu:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        config = self._voice.config
        noise = config.noise_scale if voicing.noise is None else voicing.noise
        width = config.noise_w_scale if voicing.noise_width is None else voicing.noise_width
        scales = (noise, config.length_scale * voicing.length, width)
        feed = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if config.num_speakers > 1:
            speaker = config.default_speaker_id if voicing.speaker is None else voicing.speaker
            feed["sid"] = np.array([speaker], np.int64)
        results = self._voice.session.run(None, feed, options)
        samples = np.asarray(results[0], np.float32).reshape(-1)
        frames = np.asarray(results[1]).reshape(-1) if len(results) > 1 else ()
        if len(frames) != len(ids) or not sum(frames) > 0:
            frames = np.ones(len(ids))
        lengths = np.asarray(frames, np.float64) * (len(samples) / float(np.sum(frames)))
        ends = np.concatenate(([0.0], np.cumsum(lengths)))
        starts = np.cumsum([self._lead, *counts])
        return Sound(samples, np.diff(ends[starts]), float(ends[starts[0]]))

    def _ids(self, phonemes: list[str]) -> tuple[list[int], list[int]]:
        """The network's numbers for phonemes, and how many each of them became."""
        known = self._voice.config.phoneme_id_map
        pad = known[_PAD]
        ids = [*known[_BEGIN], *pad]
        counts = []
        for phoneme in phonemes:
            own = [*known[phoneme], *pad] if phoneme in known else []
            ids += own
            counts.append(len(own))
        return [*ids, *known[_END]], counts

    @property
    def _lead(self) -> int:
        known = self._voice.config.phoneme_id_map
        return len(known[_BEGIN]) + len(known[_PAD])

    @property
    def _on_cpu(self) -> bool:
        return bool(self._voice.session.get_providers() == ["CPUExecutionProvider"])

    def _load(self) -> Any:
        import json

        import onnxruntime
        from piper.config import PiperConfig
        from piper.voice import PiperVoice

        read_voice(self._source)
        options = _session_options()
        providers = self._providers(onnxruntime.get_available_providers())
        try:
            network = self._source.read_bytes()
            described = json.loads(description_of(self._source).read_bytes())
            session = onnxruntime.InferenceSession(
                with_durations(network), options, providers=providers
            )
        except OSError as error:
            raise EngineError(f"{self._source} cannot be read: {error.strerror}.") from None
        except Exception as error:  # onnxruntime's errors have no base but this one
            reason = " ".join(str(error).split())
            raise EngineError(f"{self._source} is not a Piper voice: {reason[:200]}") from None
        missing = {"input", "input_lengths", "scales"} - {one.name for one in session.get_inputs()}
        if missing:
            raise EngineError(f"{self._source} is not a Piper voice: it takes no {min(missing)}.")
        voice = PiperVoice(session=session, config=PiperConfig.from_dict(described))
        try:
            voice.phonemize("a")
        except RuntimeError:
            raise EngineError(
                f"{self._source} cannot be used: espeak-ng has no voice "
                f"'{voice.config.espeak_voice}', which it needs."
            ) from None
        return voice

    def _providers(self, offered: list[str]) -> list[Any]:
        if self._device == "cpu":
            return ["CPUExecutionProvider"]
        if "CUDAExecutionProvider" in offered:
            provide_libraries()
            cuda = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
            return [cuda, "CPUExecutionProvider"]
        if self._device == "cuda":
            raise EngineError(
                f"The model '{self.name}' is to run on a GPU, which this onnxruntime cannot use; "
                "install onnxruntime-gpu in its place, or leave 'device' out."
            )
        return ["CPUExecutionProvider"]


def _session_options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more of them wait for work by spinning
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options
