"""Voices that a test scripts: how long they take, what fails, and what they were asked to say."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engines.base import InvalidInput, JobClass, ModelNotFound
from engines.synthesis import Say, Spoken

RATE = 22_050
PITCH = 440.0

Step = float | Exception | asyncio.Event
"""Seconds of a tone to give, an error to raise, or something to wait for."""


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    model: str = "tiny-speech"
    voice: str | None = None
    language: str | None = "en-us"
    description: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    model: str
    voice: str | None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    say: Say
    model: str | None
    owner: str
    kind: JobClass


class ScriptedVoices:
    """Says every sentence as half a second of a tone, but for those that begin as one of `script`.

    Models other than `tiny-speech` and OpenAI's names are not there, voices other than `entries`
    neither.
    """

    def __init__(
        self,
        script: Mapping[str, Sequence[Step]] | None = None,
        entries: Sequence[Entry] = (Entry("amy", voice="amy"), Entry("fr", "espeak", "fr", "fr")),
    ) -> None:
        self.script = script or {}
        self.entries = entries
        self.calls: list[Call] = []
        self.running = 0
        self.started = asyncio.Event()
        self.idle = asyncio.Event()
        """At least one sentence was begun, and none is being said."""

    @property
    def texts(self) -> list[str]:
        return [call.say.text for call in self.calls]

    def names(self) -> Sequence[Entry]:
        return self.entries

    def resolve(self, voice: str | None, model: str | None) -> Chosen:
        if model not in (None, "tiny-speech", "tts-1", "default"):
            raise ModelNotFound(str(model), ["tiny-speech"])
        for entry in self.entries:
            if voice is None or voice.partition("+")[0] == entry.name:
                own = voice and entry.voice and entry.voice + voice[len(entry.name) :]
                return Chosen(entry.model, own, entry.language)
        raise InvalidInput(f"There is no voice '{voice}'; there are amy and fr.", "voice")

    async def say(
        self, request: Say, *, model: str | None = None, owner: str, kind: JobClass
    ) -> AsyncGenerator[Spoken, None]:
        self.resolve(request.voice, model)
        self.calls.append(Call(request, model, owner, kind))
        self.running += 1
        self.started.set()
        self.idle.clear()
        try:
            for step in self._steps(request.text):
                match step:
                    case Exception():
                        raise step
                    case asyncio.Event():
                        await step.wait()
                    case _:
                        yield Spoken(tone(step), RATE)
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()

    def _steps(self, text: str) -> Sequence[Step]:
        for beginning, steps in self.script.items():
            if text.startswith(beginning):
                return steps
        return (0.5,)


def tone(seconds: float, rate: int = RATE) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    times = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * PITCH * times)).astype(np.float32)
