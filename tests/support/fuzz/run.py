"""`python -m support.fuzz.run MODULE[.TARGET] ... --seconds N --seed N`: fuzz in its own process.

One line of JSON for each target, when it is over. The process has a limit of memory, so that a
decoder which builds what it is told to build fails here and not elsewhere.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module

from support.child import search_path
from support.fuzz.harness import Outcome, Target, drive

MEMORY_BYTES = 2 << 30  # of addresses; what is used is measured
MODULES = ("devices", "opcua_forms", "evidence_forms", "joining_forms", "files")
FOREVER = 10**12


def targets(names: Sequence[str]) -> list[Target]:
    """Those of `module` or `module.target`, in order."""
    found: list[Target] = []
    for name in names:
        module, _, wanted = name.partition(".")
        listed: Sequence[Target] = getattr(import_module(f"support.fuzz.{module}"), module.upper())
        found += [target for target in listed if wanted in {"", target.name}]
    return found


def fuzzed(
    names: Sequence[str], *, seed: int, seconds: float, executions: int = FOREVER, nice: int = 0
) -> Iterator[Outcome]:
    """The targets one after the other in another process."""
    words = [sys.executable, "-m", "support.fuzz.run", *names, f"--seed={seed}"]
    words += [f"--seconds={seconds}", f"--executions={executions}"]
    environment = {**os.environ, "PYTHONPATH": search_path()}
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: os.nice(nice),  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield Outcome(**json.loads(line))
        except GeneratorExit:  # nobody wants the rest
            process.kill()
            raise
        assert process.wait() == 0, f"fuzzing ended with {process.returncode}"


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=MODULES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--executions", type=int, default=FOREVER)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for target in targets(args.names):
        outcome = drive(target, seed=args.seed, seconds=args.seconds, executions=args.executions)
        sys.stdout.write(json.dumps(outcome.as_json()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
