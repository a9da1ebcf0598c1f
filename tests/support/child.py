"""What a process that a test starts must be told to find what the test itself found."""

from __future__ import annotations

import os
import sys


def search_path() -> str:
    """Our own search path, as PYTHONPATH takes it."""
    return os.pathsep.join(folder for folder in sys.path if folder)
