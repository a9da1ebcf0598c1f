"""`joulemark collector warmup`: what the collector computes with, compiled before a batch comes."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

_PROFILE = "virtual_main_meter"


def add_command(commands: Any) -> None:
    """Add the command to those of `joulemark collector`; it needs no file."""
    parser = commands.add_parser("warmup", help="compile the kernels, so that no batch waits")
    parser.set_defaults(run=_run)


def _run(_: argparse.Namespace) -> int:
    begun_s = time.perf_counter()
    # imported here: the other commands do not pay for a compiler
    import joulemark_profiles  # noqa: PLC0415
    from joulemark_agent.contract.document import parse_yaml, validate  # noqa: PLC0415
    from joulemark_agent.contract.profile import Profile  # noqa: PLC0415
    from joulemark_agent.kernels.jit import standing  # noqa: PLC0415
    from joulemark_agent.kernels.warm import warm_up  # noqa: PLC0415
    from joulemark_gateway.evidence.record_block import warm  # noqa: PLC0415

    text = joulemark_profiles.text("devices", _PROFILE)
    profile = validate(Profile, parse_yaml(text, _PROFILE))
    warm_up(profile)
    warm(profile)
    sys.stdout.write(standing().told(time.perf_counter() - begun_s))
    return 0
