import io
import json
import logging

import pytest

from joulemark_gateway.log import start_logging


@pytest.fixture(autouse=True)
def _restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_in_service_an_event_is_one_json_line_whatever_its_fields_hold():
    stream = io.StringIO()
    start_logging(stream)
    logging.getLogger("x").warning("broker_down", extra={"why": "a\nb", "size": b"7"})
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["why"]) == ("broker_down", "warning", "a\nb")
    assert event["t"].endswith("+00:00")


def test_a_field_cannot_pass_for_the_event():
    stream = io.StringIO()
    start_logging(stream)
    logging.getLogger("x").info("real", extra={"event": "forged", "level": "error"})
    event = json.loads(stream.getvalue())
    assert (event["event"], event["level"]) == ("real", "info")


def test_on_a_terminal_an_event_is_plain_words_and_cannot_move_the_cursor():
    stream = Terminal()
    start_logging(stream)
    logging.getLogger("x").info("started", extra={"state_dir": "/var/\x1b[2Jx", "n": 3})
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert "info started state_dir='/var/\\x1b[2Jx' n=3" in stream.getvalue()


def test_a_trace_stands_in_its_event():
    stream = io.StringIO()
    start_logging(stream)
    try:
        {}.popitem()
    except KeyError:
        logging.getLogger("x").exception("judge_failed")
    event = json.loads(stream.getvalue())
    assert "KeyError" in event["trace"]
    assert event["event"] == "judge_failed"
