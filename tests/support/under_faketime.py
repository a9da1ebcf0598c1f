"""`python -m support.under_faketime WORDS`: the command `joulemark WORDS` where libfaketime is.

libfaketime refuses to sleep until an instant of the monotonic clock, which `time.sleep` does; a
wait for nothing, for so long, it lets through.
"""

import select
import sys
import time
from typing import SupportsIndex

from joulemark_agent.cli import main


def _sleep(seconds: float | SupportsIndex) -> None:
    select.select([], [], [], float(seconds))


time.sleep = _sleep
sys.exit(main())
