"""What streaming costs in words: word errors of a live session against those of an upload.

Needs recordings with transcripts: `synthetic/*.wav` in the folder that `ANTIPHON_SPEECH` names.
The model is the tiny Whisper of the tests, which knows synthetic voices. `--help` tells more.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from streaming import Ears, ears, padded  # noqa: E402
from voice import RECORDINGS, read_audio, transcripts, word_errors  # noqa: E402

from bench.running import BenchError, machine  # noqa: E402


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording, heard in both ways. Errors are shares of the words that were said."""

    name: str
    words: int
    live_errors: float
    upload_errors: float
    utterances: int
    contradicted: int
    """Utterances whose final text took back committed words."""
    early: int
    """Utterances with text on the screen before they were over."""


async def hear(engine: Ears, name: str, said: str) -> Clip:
    """Hear a recording live and as an upload."""
    audio = padded(await asyncio.to_thread(read_audio, RECORDINGS / name))
    told, upload = await engine.live(audio), await engine.whole(audio)
    utterances = told.utterances.values()
    return Clip(
        name=name,
        words=len(said.split()),
        live_errors=word_errors(said, told.text),
        upload_errors=word_errors(said, upload),
        utterances=len(utterances),
        contradicted=sum(u.contradicts for u in utterances),
        early=sum(u.partials_while_speaking > 0 for u in utterances),
    )


def figures(clips: Sequence[Clip]) -> dict[str, float]:
    """Over all words and utterances, in percent."""
    words = sum(clip.words for clip in clips)
    utterances = sum(clip.utterances for clip in clips)

    def percent(part: float, whole: int) -> float:
        return round(100 * part / whole, 2)

    return {
        "live_word_error_percent": percent(sum(c.words * c.live_errors for c in clips), words),
        "upload_word_error_percent": percent(sum(c.words * c.upload_errors for c in clips), words),
        "contradicted_percent": percent(sum(c.contradicted for c in clips), utterances),
        "early_text_percent": percent(sum(c.early for c in clips), utterances),
    }


def table(clips: Sequence[Clip]) -> str:
    """One row a recording."""
    rows = ["| recording | words | live WER % | upload WER % | utterances | contradicted | early |"]
    rows.append("|---|---|---|---|---|---|---|")
    for c in clips:
        errors = f"{100 * c.live_errors:.1f} | {100 * c.upload_errors:.1f}"
        rows.append(
            f"| {c.name} | {c.words} | {errors} | {c.utterances} | {c.contradicted} | {c.early} |"
        )
    return "\n".join(rows)


async def measure(*, every: int = 1, meetings: bool = True) -> list[Clip]:
    """Hear every n-th clip, and the meetings. Raises `BenchError` where there are none."""
    said = {name: text for name, text in transcripts().items() if name.startswith("synthetic/")}
    if not said:
        raise BenchError(f"There are no recordings in {RECORDINGS / 'synthetic'}.")
    chosen = sorted(said)[::every]
    if meetings:
        for path in sorted((RECORDINGS / "synthetic").glob("meeting*.json")):
            name = f"synthetic/{path.stem}.wav"
            said[name] = " ".join(s["text"] for s in json.loads(path.read_bytes())["segments"])
            chosen.append(name)
    with tempfile.TemporaryDirectory() as directory:
        async with ears(Path(directory)) as engine:
            return [await hear(engine, name, said[name]) for name in chosen]


def main() -> None:
    """Hear all, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every fifth clip and no meetings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and figures here")
    given = parser.parse_args()
    try:
        clips = asyncio.run(measure(every=5 if given.quick else 1, meetings=not given.quick))
    except BenchError as error:
        sys.exit(str(error))
    found = figures(clips)
    print(machine(), table(clips), json.dumps(found, indent=2), sep="\n\n")
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "figures": found}, indent=2))


if __name__ == "__main__":
    main()
