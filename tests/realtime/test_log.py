import logging
from collections.abc import Iterator

import pytest

from realtime import log


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    filters = list(logging.getLogger("aiohttp.server").filters)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("aiohttp.server").filters[:] = filters


def test_a_record_is_one_line_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("engines.test").exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert " ERROR   engines.test [-] it failed | " in line
    assert line.endswith("ValueError: two | lines")


def test_a_line_names_the_session_that_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    token = log.session_id.set("sess_1")
    logging.getLogger("engines.test").info("heard")
    log.session_id.reset(token)
    logging.getLogger("engines.test").info("idle")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("[sess_1] heard")
    assert second.endswith("[-] idle")


def test_only_what_was_asked_for_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("warning")
    logging.getLogger("engines.test").info("not this")
    logging.getLogger("engines.test").warning("but this")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("but this")


def test_rubbish_from_a_client_is_no_error_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info")
    logging.getLogger("aiohttp.server").error("Error handling request from 127.0.0.1")
    assert capsys.readouterr().err == ""
