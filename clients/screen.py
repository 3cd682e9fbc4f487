"""Live text in a terminal: words that grow, above them the lines that are done."""

from collections.abc import Sequence
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from clients.captions import Line, Utterance
from clients.talk_screen import latest, printable
from clients.wire import ClientError, clock


class Screen:
    """Where the words go: growing text at the bottom of a terminal, finished lines above it.

    Elsewhere than in a terminal only finished lines are written, and notices go to stderr.
    """

    def __init__(self, console: Console, file: TextIO | None = None) -> None:
        self._console = console
        self._file = file
        moving = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if moving else None
        self._notices = console if console.is_terminal else Console(stderr=True)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._live:
            self._live.stop()

    def grow(self, utterances: Sequence[Utterance]) -> None:
        """Show the utterances that are not finished yet."""
        if not self._live:
            return
        lines = [_growing(u) for u in utterances if u.settled or u.unsettled]
        self._live.update(latest(self._console, Text("\n").join(lines)), refresh=True)

    def line(self, line: Line) -> None:
        """Write a finished line."""
        stamp = f"[{clock(line.start)}] "
        if line.problem:
            self.notice(f"{stamp}{line.problem}")
        if not line.text:
            return
        text = printable(line.text)
        self._console.print(Text.assemble((stamp, "dim"), text), soft_wrap=True)
        if self._file:
            try:
                print(f"{stamp}{text}", file=self._file, flush=True)
            except OSError as error:
                raise ClientError(f"The output cannot be written: {error.strerror}.") from error

    def notice(self, text: str) -> None:
        self._notices.print(Text(printable(text), "dim"), soft_wrap=True)


def _growing(utterance: Utterance) -> Text:
    settled, unsettled = printable(utterance.settled).lstrip(), printable(utterance.unsettled)
    if not settled:
        unsettled = unsettled.lstrip()
    stamp = (f"[{clock(utterance.start)}] ", "dim")
    return Text.assemble(stamp, settled, (unsettled, "dim"))
