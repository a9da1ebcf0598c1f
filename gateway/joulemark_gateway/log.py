"""Logs are events with fields: one JSON object a line in service, plain words on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
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
    handler.setFormatter(_Event(is_json=not target.isatty()))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _Event(logging.Formatter):
    """The name of the event and its fields on one line, whatever they hold."""

    def __init__(self, *, is_json: bool) -> None:
        super().__init__()
        self._is_json = is_json

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        fields: dict[str, Any] = {k: v for k, v in vars(record).items() if k not in _OWN}
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        level, event = record.levelname.lower(), record.getMessage()
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        if self._is_json:
            return json.dumps({**fields, "t": time, "level": level, "event": event}, default=str)
        told = "".join(f" {name}={_printable(value)}" for name, value in fields.items())
        return f"{time[11:19]} {level} {event}{told}"


def _printable(value: Any) -> str:
    """The value as text; what could move a terminal's cursor is escaped."""
    text = str(value)
    return text if text.isprintable() else repr(text)
