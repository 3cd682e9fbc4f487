"""How the voice-activity node finds utterances."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.turn_ends import CERTAIN_SECONDS, Eagerness
from pipelines.turns import TurnSettings


class Settings(BaseModel):
    """How utterances are found: by the server, or by the client's own commits.

    Times are in seconds. `interrupt`: speech over an answer is a turn once it has lasted for
    `confirm_speaking` (while the answer is heard) or `confirm_thinking` (before); without it, at
    once as in silence. `eagerness` None: turns end after `silence`; else that only ends those of
    which nothing is understood.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["server", "manual"] = "server"
    threshold: float = Field(0.5, ge=0, le=1)
    prefix_padding: float = Field(0.3, ge=0, le=5)
    silence: float = Field(0.5, gt=0, le=10)
    interrupt: bool = True
    confirm_speaking: float = Field(0.3, ge=0, le=5)
    confirm_thinking: float = Field(0.15, ge=0, le=5)
    idle_timeout: float | None = Field(None, gt=0, le=600)
    eagerness: Eagerness | None = None

    def turns(self) -> TurnSettings:
        """The part of the settings that turn-taking reads."""
        silence = self.silence if self.eagerness is None else max(self.silence, CERTAIN_SECONDS)
        return TurnSettings(self.threshold, self.prefix_padding, silence)
