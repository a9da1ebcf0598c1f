"""What is done at the collector's own machine stands in the security log too, with who did it."""

from __future__ import annotations

import getpass
import os
import time
from pathlib import Path

from joulemark_gateway.access.database import FILE, Database
from joulemark_gateway.access.events import Events


def told(state_dir: Path, code: str, what: str) -> None:
    """Say in a collector's security log what somebody did at a command.

    Raises:
        StoreError: it cannot be used.
    """
    with Database(state_dir / FILE) as database:
        tell(Events(database), code, what)


def tell(events: Events, code: str, what: str) -> None:
    """The same in a log that is open."""
    events.add(code, time.time_ns() // 1000, who=f"{_user()} at the console", what=what)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"
