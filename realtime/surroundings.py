"""What a conversation session is told when it begins, and what it may ask of the server."""

from collections.abc import Callable
from dataclasses import dataclass

from engines.audio import AudioFormat
from realtime.conversation_settings import ConversationSettings
from realtime.ear import Decoder


@dataclass(frozen=True, slots=True)
class Terms:
    """What one session is: times in seconds, `expires_at` since the epoch; `voice` is the name of
    the default voice; `tentative` says that the socket asked for unsettled text when it opened."""

    session_id: str
    expires_at: int
    max_seconds: int
    settings: ConversationSettings
    voice: str
    tentative: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the protocol asks of the server.

    The checks raise `EngineError`: of a transcription model and a language; of a voice, whose
    language it gives. `local`:
    whether the language model is one of ours; others may take images. `audio_of` gives an item's
    wire audio where it was kept, `heard` the seconds of its sound that a listener can have heard.
    """

    new_id: Callable[[str], str]
    decoder: Callable[[AudioFormat], Decoder]
    check_model: Callable[[str, str | None], None]
    check_voice: Callable[[str], str | None]
    local: bool = True
    audio_of: Callable[[str], bytes | None] = lambda item: None
    heard: Callable[[str], float | None] = lambda item: None
