"""Logs are events with fields: one JSON object a line in service, plain words on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from textwrap import indent
from typing import Any, TextIO

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def start_logging(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Send every event to the stream: readable where it is a terminal, JSON lines elsewhere.

    Args:
        stream: where to; None: standard error.
        level: events below it are dropped.
    """
    target = stream or sys.stderr
    handler = logging.StreamHandler(target)
    handler.setFormatter(_Readable() if target.isatty() else _JsonLine())
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _JsonLine(logging.Formatter):
    """`{"t": ..., "level": ..., "event": ..., fields}` on one line, whatever the fields hold."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        event = {
            "t": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            event["trace"] = self.formatException(record.exc_info)
        return json.dumps({**_fields(record), **event}, default=str)


class _Readable(logging.Formatter):
    """`12:00:00 warning device_down device=main-meter cause=timeout`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        fields = "".join(f" {name}={_safe(value)}" for name, value in _fields(record).items())
        said = _safe(record.getMessage())
        line = f"{_utc(record)[11:19]} {record.levelname.lower()} {said}{fields}"
        if record.exc_info:  # indented, so that nothing in it looks like another event
            line += indent("\n" + printable(self.formatException(record.exc_info)), "  ")
        return line


def printable(text: str) -> str:
    """The text with its lines; what else could move a terminal's cursor is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def _safe(value: Any) -> str:
    """The value as text; what could move a terminal's cursor is escaped."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def _utc(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
