"""Server events of the Realtime API: their common form, and that of errors."""

from collections.abc import Callable
from typing import Any

from realtime.actions import Send


class Wire:
    """Makes events; `new_id` makes a unique id from a prefix."""

    def __init__(self, new_id: Callable[[str], str]) -> None:
        self.new_id = new_id

    def event(self, name: str, /, **fields: Any) -> Send:
        """An event with an id of its own."""
        return Send({"type": name, "event_id": self.new_id("event"), **fields})

    def error(
        self,
        code: str,
        message: str,
        param: str | None = None,
        event_id: str | None = None,
        kind: str = "invalid_request_error",
    ) -> Send:
        """An error event; `event_id` is the client's, which is how it knows what failed."""
        error = {"type": kind, "code": code, "message": message, "param": param}
        return self.event("error", error={**error, "event_id": event_id})
