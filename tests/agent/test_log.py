"""Logs are events with fields: one JSON object a line, or words on a terminal."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from joulemark_agent.log import printable, start_logging

HOSTILE = 'a\nb"\x1b[2J\u2028'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # otherwise `force` would close those of pytest
    yield
    root.handlers, root.level = handlers, level


def logged(stream: io.StringIO) -> str:
    start_logging(stream)
    logging.getLogger("joulemark_agent.any").info(
        "batch_sent", extra={"site": "gwangyang", "records": 96, "path": HOSTILE}
    )
    return stream.getvalue()


def test_in_service_an_event_is_one_json_object_on_one_line() -> None:
    text = logged(io.StringIO())

    assert text.count("\n") == 1
    event = json.loads(text)
    assert event["t"].endswith("+00:00")
    del event["t"]
    assert event == {
        "level": "info",
        "logger": "joulemark_agent.any",
        "event": "batch_sent",
        "site": "gwangyang",
        "records": 96,
        "path": HOSTILE,
    }


def test_on_a_terminal_an_event_is_words_and_cannot_move_the_cursor() -> None:
    text = logged(Terminal())

    assert " info batch_sent site=gwangyang records=96 path=" in text
    assert "\x1b" not in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_an_unexpected_error_is_logged_with_its_trace(stream: io.StringIO) -> None:
    start_logging(stream)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        logging.getLogger("any").exception("failed")

    assert "ZeroDivisionError" in stream.getvalue()


def test_a_field_cannot_forge_what_the_logger_says() -> None:
    stream = io.StringIO()
    start_logging(stream)
    logging.getLogger("any").warning("real", extra={"event": "forged", "level": "debug"})

    assert json.loads(stream.getvalue())["event"] == "real"
    assert json.loads(stream.getvalue())["level"] == "warning"


def test_events_go_to_standard_error_and_those_below_the_level_nowhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    start_logging(level=logging.WARNING)
    logging.getLogger("any").info("quiet")
    logging.getLogger("any").warning("loud")
    captured = capsys.readouterr()

    assert not captured.out
    assert "loud" in captured.err
    assert "quiet" not in captured.err
    assert sys.stderr is not None


def failed(stream: io.StringIO) -> str:
    """What an error is logged as whose text is hostile: a line of its own, a terminal's codes."""
    start_logging(stream)
    try:
        raise ValueError(f"of a device: {HOSTILE}\n12:00:00 info all_is_well")  # noqa: TRY301
    except ValueError:
        logging.getLogger("other").exception("text of a library: %s", HOSTILE)
    return stream.getvalue()


def test_a_traceback_on_a_terminal_is_indented_and_cannot_move_the_cursor() -> None:
    head, *trace = failed(Terminal()).rstrip("\n").split("\n")

    assert "text of a library" in head
    assert trace
    assert all(line.startswith("  ") for line in trace), "a line that looks like an event"
    assert all(line.isprintable() for line in (head, *trace))


def test_a_traceback_in_service_stands_in_its_event() -> None:
    text = failed(io.StringIO())

    assert text.count("\n") == 1
    assert "all_is_well" in json.loads(text)["trace"]


def test_what_is_told_on_a_terminal_keeps_its_lines_and_nothing_else_that_moves_it() -> None:
    assert printable("a\nb\x1b[2J\u202ec\r한") == "a\nb\\x1b[2J\\u202ec\\r한"
