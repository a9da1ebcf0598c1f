"""What a machine may lack: a test that needs it is skipped with a reason, or fails where asked to.

`JOULEMARK_REQUIRE_SERVICES` asks: there a technique that is not at hand must not look like success.
`python -m tests.nightly` says "not run" of such a check, and fails.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from support import servers

REQUIRE = "JOULEMARK_REQUIRE_SERVICES"


def service(program: str, package: str) -> str:
    """The path of a program; without it the test is not run."""
    found = servers.program(program)
    return missing(program, f"Debian: apt-get install {package}") if found is None else found


def missing(program: str, how: str) -> NoReturn:
    """Skip the test, or fail it where asked to."""
    lacking(f"{program} is not installed ({how})")


def lacking(why: str) -> NoReturn:
    """Skip the test, or fail it where asked to, for a reason in words of its own."""
    if os.environ.get(REQUIRE):
        pytest.fail(why)
    pytest.skip(why)
