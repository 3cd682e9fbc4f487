"""What a pipeline's nodes may use of the server, given to them when the pipeline is built."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from engines.base import JobClass
from engines.generation import Generate, GenerationEvent
from engines.recognition import Recogniser, RecognitionOptions
from engines.synthesis import Say, Spoken
from engines.tickets import Ticket
from pipelines.floor import Floor
from pipelines.frames import Frame
from pipelines.gate import EnergyGate


class Recognisers(Protocol):
    """Loads speech-to-text models by name."""

    async def recogniser(self, name: str) -> Recogniser:
        """The model, loaded once however many ask. Raises `EngineError`."""
        ...


class Writers(Protocol):
    """Language models by name, here or at a provider."""

    def generate(
        self, model: str, request: Generate, *, owner: str, kind: JobClass
    ) -> AsyncGenerator[GenerationEvent, None]:
        """One answer, as it is made. Closing the generator frees the engine. Raises
        `EngineError`."""
        ...


class Speakers(Protocol):
    """Voices by name, whichever model has them."""

    def say(
        self, request: Say, *, model: str | None = None, owner: str, kind: JobClass
    ) -> AsyncGenerator[Spoken, None]:
        """One sentence, as it is made. `request.voice` is any name of a voice; None: the default.

        Closing the generator frees the engine. Raises `EngineError`."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much audio a pipeline holds, in seconds."""

    manual_buffer: float = 600.0
    """Longest utterance that a client commits itself."""
    unspoken: float = 30.0
    """Audio outside of speech that a client may still commit."""


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of one pipeline.

    `owner` is the unit of fairness (a session); `kind` None means live speech. `new_item` makes
    utterance ids. `deliver` gets what reaches a sink. `new_gate` makes the energy gate, so that
    its work can be counted.
    """

    owner: str
    models: Recognisers
    open_voice_activity: Callable[[str], Ticket]
    new_item: Callable[[], str]
    deliver: Callable[[Frame], None]
    kind: JobClass | None = None
    options: RecognitionOptions = field(default_factory=RecognitionOptions)
    model: str = "default"
    bounds: Bounds = field(default_factory=Bounds)
    ready_seconds: float = 5.0
    """Unprocessed audio above which the pipeline's sources wait."""
    new_gate: Callable[[], EnergyGate] = EnergyGate
    writers: Writers | None = None
    speakers: Speakers | None = None
    floor: Floor = field(default_factory=Floor)
