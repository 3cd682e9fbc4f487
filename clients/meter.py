"""A progress bar for one recording: its upload first, then how much of it was transcribed."""

from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from clients.wire import clock


class Meter:
    """Shows nothing where `console` is no terminal; is gone from the screen when it is left.

    Making one opens the file to find its duration: not for an event loop.
    """

    def __init__(self, path: Path, console: Console) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._progress = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._progress.add_task("waiting", total=None, name=path.name)
        self._duration = duration(path) if console.is_terminal else None
        self._size = self._uploaded = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._progress.stop()

    def begin(self, size: int) -> None:
        """An upload of `size` bytes starts."""
        self._size, self._uploaded = size, 0
        self._progress.reset(self._task, total=size, description="uploading")

    def sent(self, count: int) -> None:
        """`count` more bytes are on their way."""
        self._uploaded += count
        done = self._uploaded >= self._size
        self._progress.update(
            self._task,
            completed=self._uploaded,
            description="transcribing" if done else f"uploaded {self._uploaded / 1e6:.1f} MB",
        )
        if done:
            self._progress.reset(self._task, total=self._duration)

    def heard(self, seconds: float) -> None:
        """The recording is transcribed up to here."""
        whole = f" of {clock(self._duration)}" if self._duration else ""
        self._progress.update(
            self._task, completed=seconds, description=f"transcribed {clock(seconds)}{whole}"
        )

    def waiting(self, reason: str) -> None:
        """The server has no room yet."""
        self._progress.reset(self._task, total=None, description=f"waiting: {reason}")


def duration(path: Path) -> float | None:
    """A recording's length in seconds, where its container says so and PyAV is here."""
    try:
        import av
    except ImportError:
        return None
    try:
        with av.open(str(path)) as container:
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, OSError):
        return None
