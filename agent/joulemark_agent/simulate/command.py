"""The command `joulemark agent simulate`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from typing import Any


def add_command(subparsers: Any) -> None:
    """Add `simulate` to an argparse parser's subcommands; `args.run(args)` is the exit code."""
    parser = subparsers.add_parser(
        "simulate",
        help="a virtual factory alone: recorded machines behind real Modbus TCP and OPC UA",
        description="Serve recorded machines on this machine only. A steel works over Modbus TCP:"
        " unit 1 is the main meter, unit 2 a production counter whose tonnes are synthetic. Or an"
        " equipment hall: units 11 and 12 are compressors, unit 13 is a PV inverter (SunSpec), and"
        " a furnace, which is synthetic, speaks OPC UA.",
    )
    parser.add_argument(
        "-c",
        "--scenario",
        required=True,
        metavar="SCENARIO.yaml|NAME",
        help="a scenario file, or the name of a shipped one: unchanged, retrofit, equipment_hall",
    )
    parser.add_argument(
        "--modbus-port", type=int, default=5020, metavar="N", help="0: any free one"
    )
    parser.add_argument(
        "--opcua-port",
        type=int,
        default=4840,
        metavar="N",
        help="of the equipment hall's furnace; 0: any free one",
    )
    parser.add_argument(
        "--control-port", type=int, default=5021, metavar="N", help="0: any free one"
    )
    parser.add_argument(
        "--real-time",
        action="store_true",
        help="show the quarter-hour of the recorded year that is now, without a control port;"
        " not in the equipment hall",
    )
    parser.add_argument("--json", action="store_true", help="say where it listens in one JSON line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM.

    Raises:
        JoulemarkError: the scenario or a port cannot be used.
    """
    return asyncio.run(_serve(args))


async def _serve(args: argparse.Namespace) -> int:
    # Only here: a command line that verifies a bundle must not need what a scenario file needs.
    from joulemark_agent.simulate import run as factory  # noqa: PLC0415
    from joulemark_agent.simulate.scenario import HallScenario, load_any_scenario  # noqa: PLC0415

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    scenario = load_any_scenario(args.scenario)
    simulation = await factory.serve(
        scenario,
        modbus_port=args.modbus_port,
        control_port=args.control_port,
        opcua_port=args.opcua_port,
        is_real_time=args.real_time,
    )
    async with simulation:
        ready = {
            "scenario": scenario.scenario,
            "modbus_port": simulation.modbus_port,
            "opcua_port": simulation.opcua_port,
            "control_port": simulation.control_port,
            # the Modbus unit, or the machine that has none
            "synthetic_units": ["furnace"] if isinstance(scenario, HallScenario) else [2],
        }
        text = json.dumps(ready) if args.json else _ready_text(ready)
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        await stop.wait()
    return 0


def _ready_text(ready: dict[str, Any]) -> str:
    control = ready["control_port"]
    step = "real time, no control port" if control is None else f"control on port {control}"
    modbus = f"Scenario {ready['scenario']}: Modbus TCP on 127.0.0.1:{ready['modbus_port']}"
    if ready["opcua_port"] is None:
        machines = "Unit 1 main meter (replayed), unit 2 production counter (SYNTHETIC)."
        return f"{modbus}, {step}. {machines} Stop with Ctrl-C."
    return (
        f"{modbus}, OPC UA on opc.tcp://127.0.0.1:{ready['opcua_port']}, {step}. Units 11 and 12"
        " compressors, unit 13 PV inverter (replayed), furnace over OPC UA (SYNTHETIC). Stop with"
        " Ctrl-C."
    )
