"""What the Realtime protocol asks its session to do, in order."""

from dataclasses import dataclass
from typing import Any

from pipelines.frames import Frame

ServerEvent = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Send:
    """Send this event to the client."""

    event: ServerEvent


@dataclass(frozen=True, slots=True)
class Push:
    """Push this frame into the session's graph."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket, after everything sent so far."""

    code: int
    reason: str = ""


Action = Send | Push | Close
