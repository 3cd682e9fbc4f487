"""Both sides of a conversation on a screen."""

import io
import re

import pytest
from rich.console import Console

from clients.talk_screen import LiveScreen, TypingScreen, printable
from clients.turns import Growing, Said

STYLE = re.compile(r"\x1b\[[0-9;]*m")


def terminal() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, color_system="standard", width=60), out


def plain(out: io.StringIO) -> str:
    return STYLE.sub("", out.getvalue())


def test_without_a_terminal_only_what_was_said_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = io.StringIO()
    with LiveScreen(Console(file=out, width=20)) as screen:
        screen.grow([Growing("user", "Who", " is")])
        screen.line(Said("user", "Who is it, [b]at this hour[/b]?"))
        screen.line(Said("assistant", "It is", cut=True))
        screen.notice("Connected again.")
    assert out.getvalue() == "You: Who is it, [b]at this hour[/b]?\nAssistant: It is …\n"
    assert capsys.readouterr().err == "Connected again.\n"


def test_a_terminal_shows_turns_that_grow_and_unsettled_words_dimmed() -> None:
    console, out = terminal()
    with LiveScreen(console) as screen:
        screen.grow([Growing("user", " Sure", " perhaps")])
        screen.line(Said("user", "Sure enough."))
    assert "Sure\x1b[2m perhaps\x1b[0m" in out.getvalue()
    assert "You: Sure enough.\n" in plain(out)


def test_a_terminal_shows_the_latest_words_of_a_turn_that_is_too_long_for_it() -> None:
    out = io.StringIO()
    with LiveScreen(Console(file=out, force_terminal=True, width=20, height=5)) as screen:
        screen.grow([Growing("assistant", " ".join(f"word{n}" for n in range(60)))])
        shown = out.getvalue()
    assert "word59" in shown
    assert shown.count("\n") < 5


def test_an_answer_grows_where_the_user_writes() -> None:
    console, out = terminal()
    with TypingScreen(console) as screen:
        screen.prompt()
        screen.prompt()
        screen.line(Said("user", "Hello"))
        screen.grow([Growing("assistant", " Hi")])
        screen.grow([Growing("assistant", " Hi there, ")])
        screen.line(Said("assistant", "Hi there, you."))
        screen.prompt()
        screen.line(Said("user", "Stop"))
        screen.line(Said("assistant", "What", cut=True))
        screen.prompt()
        screen.notice("The connection was lost.")
        screen.prompt()
    assert plain(out) == (
        "You: Assistant: Hi there, you.\nYou: Assistant: What …\n"
        "You: \nThe connection was lost.\nYou: \n"
    )


def test_a_notice_within_an_answer_gets_a_line_of_its_own() -> None:
    console, out = terminal()
    with TypingScreen(console) as screen:
        screen.grow([Growing("assistant", "Hi")])
        screen.notice("Hm.")
    assert plain(out) == "Assistant: Hi\nHm.\n"


def test_what_a_terminal_would_obey_is_left_out() -> None:
    assert printable("a\x1b[2Jb\x07\x9bc\nd\té 你") == "a[2Jbc\nd\té 你"
    for console, out in (terminal(), terminal()):
        with LiveScreen(console) as screen:
            screen.line(Said("assistant", "\x1b]0;title\x07text"))
        assert "\x1b]0" not in out.getvalue()
