"""Speech synthesis as the rest of Antiphon sees it, whichever engine does it.

A `Say` is one sentence, or a part of one. It is answered by `Spoken` pieces as they are made.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from engines.base import EngineError, JobClass
from engines.recognition import Samples
from engines.scheduler import Lane

SPEEDS = (0.25, 4.0)
"""The slowest and the fastest that speech can be asked for; 1 is the voice's own."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice of a model; `name` is unique among the model's. `language` is a tag such as `en-us`,
    where the model knows it."""

    name: str
    language: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Say:
    """What to say, as plain text of one language. `voice` None: the model's first."""

    text: str
    voice: str | None = None
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Mark:
    """After `seconds` of a sound, the first `characters` of its text have been said."""

    characters: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Spoken:
    """More of the sound: float32 mono in [-1, 1] at `rate` Hz, the same for all of a `Say`.

    `marks` count from the beginning of the `Say`, in order; the last piece's last mark has all of
    its text and its whole length. Where an engine cannot tell, they are estimates by length.
    """

    samples: Samples
    rate: int
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class SpeechModel:
    """A loaded model that speaks, behind its lane."""

    name: str
    lane: Lane

    async def say(
        self, request: Say, *, owner: str, kind: JobClass = JobClass.REST
    ) -> AsyncGenerator[Spoken, None]:
        """The sound, as it is made; none for a text without anything to say. Closing the generator
        frees the engine. Raises `EngineError`."""
        ticket = self.lane.submit(request, owner=owner, kind=kind)
        try:
            async for spoken in ticket:
                if not isinstance(spoken, Spoken):
                    raise EngineError(f"The model '{self.name}' gave no sound.")
                yield spoken
        finally:
            ticket.cancel()
