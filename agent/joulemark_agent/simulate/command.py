"""The command `joulemark agent simulate`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from typing import Any


def add_commands(subparsers: Any) -> None:
    """Add `simulate` to an argparse parser's subcommands; `args.run(args)` is the exit code."""
    parser = subparsers.add_parser(
        "simulate",
        help="a virtual factory alone: recorded machines behind real Modbus TCP and OPC UA",
        description="Serve recorded machines on this machine only. A steel works over Modbus TCP:"
        " unit 1 is the main meter, unit 2 a production counter whose tonnes are synthetic. Or an"
        " equipment hall: units 11 and 12 are compressors, unit 13 is a PV inverter (SunSpec), and"
        " a furnace, which is synthetic, speaks OPC UA. Or any devices that a profile is shipped"
        " for, over Modbus TCP and in RTU frames over TCP, with seeded faults: what of them was met"
        " is printed at the end. The values of such devices are synthetic.",
    )
    parser.add_argument(
        "-c",
        "--scenario",
        required=True,
        metavar="SCENARIO.yaml|NAME",
        help="a scenario file, or the name of a shipped one: unchanged, retrofit,"
        " equipment_hall, faults",
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
        "--rtu-port",
        type=int,
        default=5022,
        metavar="N",
        help="of RTU frames over TCP, in a scenario of devices; 0: any free one",
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
    from joulemark_agent.simulate.scenario import (  # noqa: PLC0415
        DevicesScenario,
        HallScenario,
        load_any_scenario,
    )

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
        rtu_port=args.rtu_port,
        is_real_time=args.real_time,
    )
    async with simulation:
        ready: dict[str, Any] = {
            "scenario": scenario.scenario,
            "modbus_port": simulation.modbus_port,
            "opcua_port": simulation.opcua_port,
            "control_port": simulation.control_port,
            # the Modbus unit, or the machine that has none
            "synthetic_units": ["furnace"] if isinstance(scenario, HallScenario) else [2],
        }
        if isinstance(scenario, DevicesScenario):
            ready["rtu_port"] = simulation.rtu_port
            ready["devices"] = {device.unit: device.profile for device in scenario.devices}
            ready["synthetic_units"] = [*ready["devices"]]
            ready["synthetic_units"] += ["furnace"] if scenario.furnace else []
        _say(json.dumps(ready) if args.json else _ready_text(ready))
        await stop.wait()
    if isinstance(scenario, DevicesScenario):
        met = simulation.record.all()
        _say(json.dumps({"injected": met}) if args.json else _met_text(met))
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _ready_text(ready: dict[str, Any]) -> str:
    control = ready["control_port"]
    step = "real time, no control port" if control is None else f"control on port {control}"
    modbus = f"Scenario {ready['scenario']}: Modbus TCP on 127.0.0.1:{ready['modbus_port']}"
    opcua = f", OPC UA on opc.tcp://127.0.0.1:{ready['opcua_port']}" if ready["opcua_port"] else ""
    if "devices" in ready:
        rows = "".join(f"\n  unit {unit}: {name}" for unit, name in ready["devices"].items())
        return (
            f"{modbus}, RTU over TCP on 127.0.0.1:{ready['rtu_port']}{opcua}, {step}."
            f" All SYNTHETIC:{rows}\nStop with Ctrl-C."
        )
    if not opcua:
        machines = "Unit 1 main meter (replayed), unit 2 production counter (SYNTHETIC)."
        return f"{modbus}, {step}. {machines} Stop with Ctrl-C."
    return (
        f"{modbus}{opcua}, {step}. Units 11 and 12"
        " compressors, unit 13 PV inverter (replayed), furnace over OPC UA (SYNTHETIC). Stop with"
        " Ctrl-C."
    )


def _met_text(met: list[dict[str, Any]]) -> str:
    """One line for each fault that a client has met."""
    lines = [f"{len(met)} faults were met."]
    for one in met:
        where = f"unit {one['unit']}" if "unit" in one else "furnace"
        more = " ".join(str(one[key]) for key in ("point", "code") if key in one)
        lines.append(f"  slot {one['slot']} {where}: {one['kind']} {more}".rstrip())
    return "\n".join(lines)
