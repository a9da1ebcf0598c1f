"""`python -m tests.nightly [NAME ...] [--seed N]`: run the endurance checks and keep their figures.

Run it in the repository's folder. A failing check does not stop the others; the exit code is 1 if
one failed, or could not run for something that this machine lacks. The figures of
those that ran are written to docs/figures/nightly/NAME.md.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import platform
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FIGURES = REPOSITORY / "docs" / "figures" / "nightly"


def main() -> int:
    """Run the checks that are named, or all."""
    sys.path[:0] = [str(REPOSITORY / part) for part in ("agent", "gateway", "configs", "tests")]
    known = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    known.remove("__main__")
    parser = argparse.ArgumentParser(prog="python -m tests.nightly", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(known)}")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if unknown := sorted(set(args.names) - set(known)):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    failed = [name for name in args.names or known if not _passes(name, args.seed)]
    print(f"\n{len(args.names or known) - len(failed)} passed, {len(failed)} failed {failed or ''}")
    return 1 if failed else 0


def _passes(name: str, seed: int) -> bool:
    print(f"{name} (seed {seed}) ...", flush=True)
    begun_s = time.monotonic()
    try:
        module = importlib.import_module(f"nightly.{name}")
        figures: dict[str, str] = module.run(seed, full=True)
    except (pytest.skip.Exception, pytest.fail.Exception) as lacking:
        print(f"  NOT RUN: {lacking}")
        return False
    except Exception:  # noqa: BLE001 - whatever it was, the others run
        traceback.print_exc()
        return False
    figures["took"] = f"{time.monotonic() - begun_s:.0f} s"
    for what, figure in figures.items():
        print(f"  {what}: {figure}")
    _keep(name, (module.__doc__ or name).strip().splitlines()[0], seed, figures)
    return True


def _keep(name: str, title: str, seed: int, figures: dict[str, str]) -> None:
    FIGURES.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"| {what} | {figure} |" for what, figure in figures.items())
    machine = f"{platform.machine()}, CPython {platform.python_version()}"
    (FIGURES / f"{name}.md").write_text(
        f"# {title}\n\n`python -m tests.nightly {name} --seed {seed}`,"
        f" {datetime.now(UTC):%Y-%m-%d}, {machine}.\n\n| what | figure |\n|---|---|\n{rows}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
