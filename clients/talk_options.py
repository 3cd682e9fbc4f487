"""What a conversation shall be like, and how a server is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from clients.commands import RATE
from clients.wire import DEFAULT_MODEL, DEFAULT_URL

DEFAULT_CONVERSATION_MODEL: Final = "gpt-realtime"
"""The name that OpenAI-compatible servers resolve to their default model for conversations."""


@dataclass(frozen=True, slots=True)
class TalkOptions:
    """How to talk and whom to ask. `text`: the user writes, and answers are written too, and spoken
    only with `speak`. `headphones`: the microphone does not hear the loudspeaker."""

    url: str = DEFAULT_URL
    api_key: str | None = None
    model: str | None = None
    voice: str | None = None
    instructions: str | None = None
    text: bool = False
    speak: bool = False
    headphones: bool = False
    input: int | str | None = None
    output: int | str | None = None
    verify_tls: bool = True

    @property
    def spoken(self) -> bool:
        """Whether answers are heard."""
        return self.speak or not self.text

    @property
    def query(self) -> Mapping[str, str]:
        """What the WebSocket's address says."""
        model = self.model or DEFAULT_CONVERSATION_MODEL
        return {"model": model, "extensions": "antiphon.tentative"}


def session_of(options: TalkOptions, rate: int | None) -> dict[str, Any]:
    """The session that these options mean; `rate` is the microphone's, None without one."""
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio" if options.spoken else "text"],
        "audio": {"input": _heard(rate)},
    }
    if options.instructions is not None:
        session["instructions"] = options.instructions
    if options.spoken:
        output: dict[str, Any] = {"format": {"type": "audio/pcm", "rate": RATE}}
        if options.voice is not None:
            output["voice"] = options.voice
        session["audio"]["output"] = output
    return session


def _heard(rate: int | None) -> dict[str, Any]:
    if rate is None:
        return {"turn_detection": None}
    return {
        "format": {"type": "audio/pcm", "rate": rate},
        "transcription": {"model": DEFAULT_MODEL},
    }
