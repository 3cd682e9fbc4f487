"""One line per log record: time, level, where, which session, what."""

import logging
import sys
from contextvars import ContextVar

session_id: ContextVar[str] = ContextVar("session_id", default="-")
"""The session that the current task works for."""

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s [%(session)s] %(message)s"


class _WithSession(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.session = session_id.get()
        return True


class _NoBadRequests(logging.Filter):
    """aiohttp logs a traceback for bytes that are no HTTP; the client's fault is not our error."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "Error handling request" not in record.getMessage()


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


def configure(level: str) -> None:
    """Log to standard error from `level` on; call once, at the start of a program."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(_FORMAT))
    handler.addFilter(_WithSession())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.server").addFilter(_NoBadRequests())
    for noisy in ("asyncio", "httpx", "httpx2", "httpcore", "httpcore2", "faster_whisper"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
