"""What decoding costs without a server, in a process of its own, as one JSON line.

`loop`: windows per second of the CTranslate2 calls alone, by batch, on several threads at once.
`steps`: CPU milliseconds per partial through our engine object. `python bench/decoding.py --help`.
"""

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

import engines  # noqa: E402, F401, I001 - before numpy, whose threads it limits as the server does
import numpy as np  # noqa: E402

from bench.load import tell  # noqa: E402
from bench.models import ENGLISH, MELS, START, TRANSCRIBE, WITHOUT_TIMES  # noqa: E402

PROMPT = [START, ENGLISH, TRANSCRIBE, WITHOUT_TIMES]
FRAMES = 500
SECONDS_OF_AUDIO = 5


def loop(source: Path, threads: int, batches: Sequence[int], beams: int, seconds: float) -> None:
    """Encode and generate batches of one size for so long, then of the next; windows a second."""
    import ctranslate2

    weights = ctranslate2.models.Whisper(
        str(source), device="cpu", compute_type="int8", inter_threads=threads, intra_threads=1
    )
    random = np.random.default_rng(0)
    speeds = {}
    for batch in batches:
        features = random.standard_normal((batch, MELS, FRAMES)).astype(np.float32) / 4

        def call(features: Any = features, batch: int = batch) -> None:
            view = ctranslate2.StorageView.from_array(features)
            encoded = weights.encode(view)
            weights.generate(
                encoded,
                [PROMPT] * batch,
                beam_size=beams,
                return_scores=True,
                return_no_speech_prob=True,
            )

        call()
        speeds[str(batch)] = batch * _rate(call, threads, seconds)
    tell(event="loop", speeds=speeds)


def _rate(call: Any, threads: int, seconds: float) -> float:
    """Calls a second by all threads together."""
    done = [0.0] * threads

    def work(number: int) -> None:
        began = time.perf_counter()
        calls = 0
        while (spent := time.perf_counter() - began) < seconds:
            call()
            calls += 1
        # Whole calls in the time they took, as the last one ends behind the window.
        done[number] = calls / max(spent, seconds)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done)


def steps(source: Path, audio: Path, batches: Sequence[int], seconds: float) -> None:
    """Partials of five seconds each of fresh audio (raw PCM at 16 kHz), one batch size after
    another: CPU time of this process, features included."""
    from engines import whisper
    from engines.base import Work
    from engines.catalogue import ModelRecord
    from engines.decoding import Decode
    from engines.recognition import SAMPLE_RATE, RecognitionOptions
    from engines.speech import Speech

    size = SECONDS_OF_AUDIO * SAMPLE_RATE
    samples = (np.frombuffer(audio.read_bytes(), "<i2")[:size] / 32768).astype(np.float32)
    record = ModelRecord(name="tiny", engine="whisper", source=str(source))
    engine = whisper.recipe(record, cores=1).build()
    options = RecognitionOptions(language="en")

    def step(batch: int) -> None:
        work = []
        for job in range(batch):
            speech = Speech()
            speech.append(samples)
            work.append(Work(job, Decode(speech, 0, size, FRAMES, options, final=False)))
        for outcome in engine.step(work):
            assert outcome.error is None, outcome.error
            assert outcome.events
            assert outcome.events[0].words

    costs, rounds = {}, {}
    for batch in batches:
        step(batch)
        began, cpu, count = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < seconds:
            step(batch)
            count += batch
        costs[str(batch)] = 1000 * (time.process_time() - cpu) / count
        rounds[str(batch)] = count
    engine.close()
    tell(event="steps", cpu_ms=costs, partials=rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["loop", "steps"])
    parser.add_argument("--source", type=Path, required=True, help="CTranslate2 directory")
    parser.add_argument("--audio", type=Path, help="raw 16-bit mono PCM at 16 kHz")
    parser.add_argument("--batches", default="1,2,4,8,16")
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each batch size")
    given = parser.parse_args()
    batches = [int(batch) for batch in given.batches.split(",")]
    if given.what == "loop":
        loop(given.source, given.threads, batches, given.beams, given.seconds)
    else:
        steps(given.source, given.audio, batches, given.seconds)


if __name__ == "__main__":
    main()
