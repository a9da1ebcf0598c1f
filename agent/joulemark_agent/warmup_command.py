"""`joulemark agent warmup`: every kernel compiled before it is needed, and how the kernels run."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from joulemark_agent.documents import load_profile

_PROFILE = "virtual_main_meter"


def add_commands(subparsers: Any) -> None:
    """Add the command to those of `joulemark agent`."""
    parser = subparsers.add_parser("warmup", help="compile the kernels, so that no start waits")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=_warmup)


def _warmup(args: argparse.Namespace) -> int:
    begun_s = time.perf_counter()
    # imported here: the other commands do not pay for a compiler
    from joulemark_agent.kernels.warm import warm_up  # noqa: PLC0415

    found = warm_up(load_profile(_PROFILE, None)[0])
    took_s = time.perf_counter() - begun_s
    is_ready = found.is_compiled and not found.waiting
    if args.json:
        document = {
            "jit_ready": is_ready,
            "compiled": found.is_compiled,
            "why": found.why,
            "cache": found.cache,
            "took_s": round(took_s, 3),
        }
        sys.stdout.write(json.dumps(document) + "\n")
        return 0
    sys.stdout.write(found.told(took_s))
    return 0
