"""`joulemark collector ...` over a state folder that a test has filled."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway.cli import add_commands
from support.evidence import KEYS, WITNESS


def collector(state: Path, *words: str, more: str = "") -> int:
    """The exit code of the command of these words; its file names the folder, and says more."""
    path, key = state / "collector.yaml", encode64(public_key(KEYS.operator))
    path.write_text(
        f"name: {WITNESS}\nstate_dir: {state}\nbroker: {{url: 'mqtt://127.0.0.1:9'}}\n"
        f"accept_simulated: true\nagents: []\nenrolment: {{}}\noperators: ['{key}']\n{more}",
        "utf-8",
    )
    parser = ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(["collector", words[0], "-c", str(path), *words[1:]])
    return int(args.run(args))
