"""The collector's private keys: made on its first start, read by nobody else.

The witness key cosigns heads, the report key signs report statements; neither does the work of the
other. The files are of the same form as the agent's.
"""

from __future__ import annotations

from pathlib import Path

from joulemark_agent.keys import Key, key_at

WITNESS_KEY, REPORT_KEY = "witness.key", "report.key"


def witness_key(state_dir: Path) -> Key:
    """The key that cosigns heads, made on the first call.

    Raises:
        ConfigError: the file is there, but others may read it or it holds no key.
    """
    return key_at(state_dir / WITNESS_KEY)


def report_key(state_dir: Path) -> Key:
    """The key that signs report statements, made on the first call; errors as `witness_key`."""
    return key_at(state_dir / REPORT_KEY)
