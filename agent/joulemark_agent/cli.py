"""The command `joulemark`. Every part adds its own commands; a mistake is told in one message.

Commands outside the agent are found by entry points of the group `joulemark.commands`: functions
that take argparse's subparsers. Every command sets `run`, a function from its arguments to an exit
code: 0 done, 1 the check failed, 2 wrong use or configuration.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from joulemark_agent import __version__
from joulemark_agent.contract.errors import ConfigError, JoulemarkError
from joulemark_agent.log import printable

INTERRUPTED = 130
GROUP = "joulemark.commands"
KERNELS = "JOULEMARK_KERNELS"
_COMPILED, _PLAIN = "compiled", "plain"

# Modules of the agent with a function `add_commands`, and the commands it adds.
AGENT_COMMANDS = {
    "commands": ("check", "read", "profiles"),
    "commission": ("commission",),
    "scan_command": ("scan",),
    "simulate.command": ("simulate",),
    "certificate_command": ("certificate",),
    "archive_command": ("archive",),
    "warmup_command": ("warmup",),
    "sets.command": ("sets",),
    "service": ("run", "enroll", "renew", "rotate-key"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: its words; None: those the process was started with.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        try:
            _choose_kernels(os.environ.get(KERNELS, _COMPILED))
            args = _parser(words).parse_args(words)
            return int(args.run(args))
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("joulemark"):
                raise
            raise ConfigError(
                f"This command needs the package {error.name!r}, which is not installed.",
                "Run: pip install 'joulemark[all]'",
            ) from error
    except JoulemarkError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _choose_kernels(chosen: str) -> None:
    """Plain kernels need no compiler: to them numba is then as if it were not installed."""
    if chosen not in {_COMPILED, _PLAIN}:
        raise ConfigError(
            f"{KERNELS} is {chosen!r}.",
            f"Set it to {_COMPILED!r}, to {_PLAIN!r} on a gateway with little memory, or not.",
        )
    if chosen == _PLAIN:
        sys.modules["numba"] = None  # type: ignore[assignment]  # how Python blocks an import


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Only the part that is asked for is imported, so `joulemark verify` needs no extra."""
    parser = argparse.ArgumentParser(
        prog="joulemark",
        description="Measure what machines really use, and prove what a change saved.",
    )
    parser.add_argument("--version", action="version", version=f"joulemark {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    agent = commands.add_parser("agent", help="read devices, sign what they say, send it on")
    if words[:1] == ["agent"]:
        word = next(iter(words[1:]), "")
        _add_agent_commands(agent.add_subparsers(metavar="COMMAND", required=True), word)
    else:
        for entry in entry_points(group=GROUP):
            entry.load()(commands)
    return parser


def _add_agent_commands(commands: Any, word: str) -> None:
    """Import only what the command that is asked for needs: the service starts sooner by it."""
    asked = [module for module, words in AGENT_COMMANDS.items() if word in words]
    for module in asked or AGENT_COMMANDS:  # a word that is none, and --help, are shown them all
        import_module(f"joulemark_agent.{module}").add_commands(commands)


if __name__ == "__main__":
    sys.exit(main())
