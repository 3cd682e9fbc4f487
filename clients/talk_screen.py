"""Both sides of a conversation in a terminal, or as lines where there is none."""

import unicodedata
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from clients.turns import Growing, Said, Speaker

_NAMES: Final = MappingProxyType[Speaker, tuple[str, str]](
    {"user": ("You: ", "bold cyan"), "assistant": ("Assistant: ", "bold green")}
)
_CUT: Final = " …"


class TalkScreen(Protocol):
    """Where words go. Notices, which nobody said, go to stderr where there is no terminal."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...

    def grow(self, turns: Sequence[Growing]) -> None:
        """Show the turns that are going on."""
        ...

    def line(self, said: Said) -> None:
        """Write a finished turn."""
        ...

    def notice(self, text: str) -> None: ...

    def prompt(self) -> None:
        """The user may write."""
        ...


class LiveScreen:
    """Growing turns at the bottom of a terminal, finished ones above them; elsewhere than in a
    terminal only finished ones."""

    def __init__(self, console: Console) -> None:
        self._console = console
        moving = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if moving else None
        self._notices = console if console.is_terminal else Console(stderr=True)
        self._shown: list[Growing] = []

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._live:
            self._live.stop()

    def grow(self, turns: Sequence[Growing]) -> None:
        if self._live and self._shown != turns:
            self._shown = list(turns)
            lines = [_line(turn.speaker, turn.settled, turn.unsettled) for turn in turns]
            self._live.update(latest(self._console, Text("\n").join(lines)), refresh=True)

    def line(self, said: Said) -> None:
        text = f"{said.text}{_CUT}" if said.cut else said.text
        self._console.print(_line(said.speaker, text), soft_wrap=True)

    def notice(self, text: str) -> None:
        self._notices.print(Text(printable(text), "dim"), soft_wrap=True)

    def prompt(self) -> None:
        """Nobody writes here."""


class TypingScreen:
    """A terminal in which the user writes: what the assistant says grows at the end of it, and what
    the user wrote is there already."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._written: str | None = None
        """What is on the line that the assistant's turn grows on."""
        self._prompting = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._written is not None or self._prompting:
            self._console.print()

    def grow(self, turns: Sequence[Growing]) -> None:
        settled = [turn.settled for turn in turns if turn.speaker == "assistant" and turn.settled]
        if settled:
            self._write(settled[0])

    def line(self, said: Said) -> None:
        if said.speaker == "user":
            self._prompting = False  # the line that was written ended it
            return
        self._write(said.text)
        self._put(_CUT if said.cut else "", end="\n")
        self._written = None

    def notice(self, text: str) -> None:
        if self._written is not None or self._prompting:
            self._put("", end="\n")
        self._written, self._prompting = None, False
        self._put(printable(text), "dim", end="\n")

    def prompt(self) -> None:
        if self._written is None and not self._prompting:
            self._put(*_NAMES["user"])
            self._prompting = True

    def _write(self, text: str) -> None:
        """Have this much of the assistant's turn written."""
        text = printable(text).lstrip()
        if self._written is None:
            if self._prompting:
                self._put("", end="\n")
            self._prompting = False
            self._put(*_NAMES["assistant"])
            self._written = ""
        self._put(text[len(self._written) :])
        self._written = max(self._written, text, key=len)

    def _put(self, text: str, style: str = "", end: str = "") -> None:
        self._console.print(Text(text, style), end=end, soft_wrap=True)


def _line(speaker: Speaker, settled: str, unsettled: str = "") -> Text:
    name, style = _NAMES[speaker]
    if not settled.strip():
        unsettled = unsettled.lstrip()
    said = printable(settled).lstrip()
    return Text.assemble((name, style), said, (printable(unsettled), "dim"))


def latest(console: Console, text: Text) -> Text:
    """As much of the end of a growing text as the terminal has room for."""
    return Text("\n").join(text.wrap(console, console.width)[-max(1, console.height - 1) :])


def printable(text: str) -> str:
    """Text from elsewhere without what a terminal would obey."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")
