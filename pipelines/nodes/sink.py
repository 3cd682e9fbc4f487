"""The node that hands frames to whoever runs the pipeline: a session, or a route."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from pipelines.context import Context
from pipelines.frames import Frame
from pipelines.graph import Node


class Settings(BaseModel):
    """A sink has no settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sink(Node):
    """Delivers everything it receives."""

    accepts: ClassVar[tuple[type[Frame], ...]] = (Frame,)

    def __init__(self, name: str, settings: Settings, context: Context) -> None:
        super().__init__(name)
        self._deliver = context.deliver

    def receive(self, frame: Frame) -> None:
        """Deliver a frame."""
        self._deliver(frame)
