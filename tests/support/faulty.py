"""An agent's process before a virtual factory that misbehaves, and whether the two agree.

The factory says which faults it has dealt out; the agent's signed records say what it made of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from joulemark_agent import cli
from joulemark_agent.clock import ReplayClock
from joulemark_agent.contract.document import document_bytes, parse_yaml
from joulemark_agent.contract.reading import Gap, gap_fields
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.kernels.counter import count_of, follow, semantics_of
from joulemark_agent.kernels.datavalue import parse
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.lines import Lines
from joulemark_agent.poll import Poller
from joulemark_agent.settings import load_site
from joulemark_agent.simulate.devices import Devices
from joulemark_agent.simulate.faults import VALUE
from joulemark_agent.simulate.run import factory_of, furnace_of, serve
from joulemark_agent.simulate.scenario import DevicesScenario, load_any_scenario
from joulemark_gateway.broker import start_broker
from support import evidence
from support.capture import TAKES, Heard, tapped
from support.child import search_path
from support.collecting import Ledger, SmallCollector
from support.running import Site

OVER_RTU = {2, 3, 5, 9, 10}  # units that the agent asks in RTU frames
TIMEOUT_S, LATE_S = 0.5, Decimal("0.6")  # a busy computer stands still for less
EXPECTED = {  # what a slot must be recorded as, by the fault that was met at it
    "dead": {"timeout"},
    "slow": {"good", "timeout"},  # a learned time-out may be shorter than it takes
    "late": {"timeout"},
    "drip_fed": {"good"},
    "closed": {"closed"},
}
BAD_REPLIES = {
    "short", "long", "wrong_function", "wrong_unit", "wrong_transaction", "crc", "two_answers",
    "garbage_prefix",
}  # fmt: skip
EVENTS = {"false_zero": "false_zero", "counter_reset": "reset", "rollover": "rollover"}
PATIENT = {"timeout", "refused", "closed", "bad_reply"}  # a line that rests says why it does


@dataclass
class Run:
    """What came of it."""

    scenario: DevicesScenario
    injected: list[dict[str, Any]] = field(default_factory=list)
    leaves: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by device
    heard: Heard = field(default_factory=Heard)

    @property
    def devices(self) -> Devices:
        return factory_of(self.scenario)


def variant(folder: Path, *, seed: int, times: Decimal, period_s: int = 30) -> Path:
    """The shipped scenario with another seed, so many times as long, as a file.

    What happens now and then happens as often a slot where the run is longer, and as often a run
    where it is shorter.
    """
    mapping = parse_yaml(
        resources.files("joulemark_agent.simulate").joinpath("scenarios/faults.yaml").read_text(),
        "faults.yaml",
    ).mapping
    mapping["count"] = int(mapping["count"] * times)
    mapping["period_s"] = period_s
    mapping["faults"]["seed"] = seed
    for fault in mapping["faults"]["plan"]:
        fault["first"] = int(fault["first"] * times)
        if fault["kind"] == "late":
            fault["delay_s"] = LATE_S
        if "probability" in fault:
            fault["count"] = int(fault["count"] * times)
            fault["probability"] = min(Decimal(1), fault["probability"] / min(times, Decimal(1)))
    path = folder / "faults.yaml"
    path.write_bytes(document_bytes(mapping))
    return path


@asynccontextmanager
async def factory(scenario: Path | str, *words: str) -> AsyncIterator[tuple[dict[str, Any], Any]]:
    """`joulemark agent simulate` as a process: where it listens, and a call that ends it."""
    ports = [f"--{name}-port" for name in ("modbus", "rtu", "opcua", "control")]
    base = [sys.executable, "-W", "error", "-m", "joulemark_agent.cli", "agent", "simulate"]
    process = await asyncio.create_subprocess_exec(
        *base, "-c", str(scenario), "--json", *(word for p in ports for word in (p, "0")), *words,
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": search_path()}, limit=1 << 26,
    )  # fmt: skip
    assert process.stdout is not None
    ready = json.loads(await process.stdout.readline())

    async def stop() -> list[dict[str, Any]]:
        process.terminate()
        assert process.stdout is not None
        said = await process.stdout.read()
        assert await process.wait() == 0
        injected: list[dict[str, Any]] = json.loads(said)["injected"]
        return injected

    try:
        yield ready, stop
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def site(
    folder: Path, scenario: DevicesScenario, ports: Mapping[str, int], broker_url: str
) -> Site:
    """The site file of an agent that reads every device; without a control port, in real time."""
    slots = scenario.slots
    first, last = (
        (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at)).isoformat()
        for at in (slots.first_us, slots.last_us)
    )
    if control := ports.get("control"):
        clock = (
            f'clock: simulated\nreplay: {{url: "tcp://127.0.0.1:{control}", first_slot: "{first}"}}'
        )
        until = f', last_slot: "{last}"'
    else:
        clock, until = "clock: system", ""
    rows = []
    for device in scenario.devices:
        line = "rtu" if device.unit in OVER_RTU else "modbus"
        scheme = "modbus-rtu-tcp" if line == "rtu" else "modbus-tcp"
        scheme = "sunspec-tcp" if device.profile.startswith("sunspec") else scheme
        rows.append(
            f"  - {{id: unit-{device.unit}, profile: {device.profile}, unit: {device.unit},"
            f' url: "{scheme}://127.0.0.1:{ports[line]}"'
        )
    if scenario.furnace is not None:
        url = f"opc.tcp://127.0.0.1:{ports['opcua']}"
        rows.append(f'  - {{id: furnace, profile: virtual_furnace, url: "{url}"')
    shared = f", period_s: {scenario.period_s}, timeout_s: {TIMEOUT_S}{until}}}\n"
    key = encode64(public_key(evidence.KEYS.witness))
    path = folder / "site.yaml"
    path.write_text(
        f"site: faulty\nagent: {evidence.AGENT}\ntime_zone: UTC\n{clock}\nstate_dir: state\n"
        "factors: {set: korea, rule_set: ESG, jurisdiction: KR}\n"
        f'uplink: {{url: "{broker_url}", collector_key: "{key}",'
        f" collector_name: {evidence.WITNESS}}}\n"
        "batch: {slots: 96, seconds: 5}\ndevices:\n" + "".join(row + shared for row in rows),
        "utf-8",
    )
    return Site(path)


def enroll(place: Site) -> None:
    """Let an operator approve what is configured."""
    key = place.path.parent / "operator.key"
    words = ["agent", "enroll", "-c", str(place.path), "--operator-key", str(key)]
    with redirect_stdout(StringIO()):
        assert cli.main([*words, "--create-operator-key"]) == 0


async def replay(folder: Path, scenario_file: Path | str) -> Run:
    """Run an agent through the whole scenario in lock step, to its last receipt."""
    scenario = load_any_scenario(str(scenario_file))
    assert isinstance(scenario, DevicesScenario)
    run, ledger = Run(scenario), Ledger()
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(start_broker("embedded"))
        stack.enter_context(closing(SmallCollector(broker.port, ledger)))
        ready, stop = await stack.enter_async_context(factory(scenario_file))
        ports = {"control": ready["control_port"]}
        for name, take in TAKES.items():
            if (port := ready[f"{name}_port"]) is not None:
                ports[name] = await stack.enter_async_context(tapped(port, take, run.heard))
        place = site(folder, scenario, ports, broker.url)
        enroll(place)
        log = (folder / "agent.log").open("w")
        with closing(log), place.started("run", stderr=log) as process:
            await asyncio.to_thread(process.wait)
        assert process.returncode == 0, (folder / "agent.log").read_text()[-3000:]
        run.injected = await stop()
    for origin, leaves in ledger.leaves.items():
        device = origin.split("/")[2]
        run.leaves[device] = [json.loads(leaf) for leaf in leaves]
    return run


async def soak(folder: Path, scenario_file: Path | str, seconds: float) -> Run:
    """Let an agent's process read the factory in real time for so long."""
    scenario = load_any_scenario(str(scenario_file))
    assert isinstance(scenario, DevicesScenario)
    run = Run(scenario)
    async with AsyncExitStack() as stack:
        ready, stop = await stack.enter_async_context(factory(scenario_file, "--real-time"))
        ports = {}
        for name, take in TAKES.items():
            ports[name] = await stack.enter_async_context(
                tapped(ready[f"{name}_port"], take, run.heard)
            )
        place = site(folder, scenario, ports, "mqtt://127.0.0.1:1")
        enroll(place)
        log = (folder / "agent.log").open("w")
        with closing(log), place.started("run", stderr=log) as process:
            await asyncio.sleep(seconds)
            process.terminate()
            await asyncio.to_thread(process.wait)
        assert process.returncode == 0, (folder / "agent.log").read_text()[-3000:]
        run.injected = await stop()
    return run


async def read(folder: Path, scenario_file: Path | str) -> Run:
    """The same without processes, broker and signatures: what reads, and the factory beside it."""
    scenario = load_any_scenario(str(scenario_file))
    assert isinstance(scenario, DevicesScenario)
    run = Run(scenario)
    async with AsyncExitStack() as stack:
        simulation = await stack.enter_async_context(
            await serve(scenario, modbus_port=0, control_port=0)
        )
        assert simulation.control_port is not None
        ports = {"control": simulation.control_port}
        for name, take in TAKES.items():
            port = getattr(simulation, f"{name}_port")
            if port is not None:
                ports[name] = await stack.enter_async_context(tapped(port, take, run.heard))
        settings = load_site(site(folder, scenario, ports, "mqtt://127.0.0.1:1").path)
        devices, clock = (
            settings.planned_devices(),
            ReplayClock(f"tcp://127.0.0.1:{ports['control']}"),
        )
        stack.push_async_callback(clock.close)
        lines = Lines(devices)
        stack.push_async_callback(lines.close)
        poller, committed_us = Poller(devices, lines, clock), None
        profiles = {given.id: settings.profile(given)[0] for given in settings.devices}
        for slot_us in scenario.slots.all_us():
            assert await clock.until(slot_us, committed_us)
            for result in await poller.read_slot(slot_us, list(profiles)):
                leaf: dict[str, Any] = {"slot": slot_us}
                if isinstance(result, Gap):
                    leaf = {"type": "gap", **gap_fields(result)}
                else:
                    leaf["val"], leaf["q"] = decode_responses(
                        profiles[result.device], result.responses
                    )
                    leaf["raw"] = [[r.table, r.address, r.data.hex()] for r in result.responses]
                run.leaves.setdefault(result.device, []).append(leaf)
            committed_us = slot_us
        run.injected = simulation.record.all()
    return run


@dataclass(frozen=True)
class Outcome:
    """What a slot of a device was recorded as."""

    cause: str = ""  # of a gap
    values: Mapping[str, str] = field(default_factory=dict)
    quality: Mapping[str, str] = field(default_factory=dict)


def outcomes(leaves: list[dict[str, Any]], period_us: int) -> dict[int, Outcome]:
    """By slot."""
    found: dict[int, Outcome] = {}
    for leaf in leaves:
        if "type" not in leaf:
            found[int(leaf["slot"])] = Outcome("", leaf["val"], leaf["q"])
        elif leaf["type"] == "gap":
            first, last = int(leaf["first_slot"]), int(leaf["last_slot"])
            for slot_us in range(first, last + 1, period_us):
                found[slot_us] = Outcome(leaf["cause"])
    return found


@dataclass
class Verdict:
    """The comparison of what was injected with what was recorded."""

    slots: int = 0
    values: int = 0
    wrong: list[str] = field(default_factory=list)  # good values that are not the factory's
    unflagged: list[str] = field(default_factory=list)  # faults that were not recorded as such
    unexplained: list[str] = field(default_factory=list)  # gaps without a fault
    faults: Counter[str] = field(default_factory=Counter)
    rested: int = 0  # slots at which a line was left alone after a fault

    def check(self) -> None:
        """Raise where the two do not agree."""
        assert not self.wrong, f"{len(self.wrong)} wrong values: {self.wrong[:5]}"
        assert not self.unflagged, f"{len(self.unflagged)} not flagged: {self.unflagged[:5]}"
        assert not self.unexplained, f"{len(self.unexplained)} unexplained: {self.unexplained[:5]}"


def judge(run: Run) -> Verdict:
    """Compare slot by slot, one to one."""
    verdict, slots, devices = Verdict(), run.scenario.slots, run.devices
    met: dict[tuple[int, int], list[dict[str, Any]]] = {}
    late: set[tuple[bool, int]] = set()  # line and slot at which a late answer came
    for one in run.injected:
        verdict.faults[one["kind"]] += 1
        if one["kind"] == "late_answer":
            late |= {(one["unit"] in OVER_RTU, one["slot"] + more) for more in (0, 1)}
        elif "unit" in one:
            met.setdefault((one["unit"], one["slot"]), []).append(one)
    for device in run.scenario.devices:
        found = outcomes(run.leaves[f"unit-{device.unit}"], slots.period_us)
        before = ""
        for slot, slot_us in enumerate(slots.all_us()):
            outcome, here = found[slot_us], met.get((device.unit, slot), [])
            verdict.slots += 1
            where = f"unit {device.unit} slot {slot}"
            is_hit = (device.unit in OVER_RTU, slot) in late
            for one in here:
                # Where no answer came, nothing is known of the values in it.
                is_hidden = bool(outcome.cause) and one["kind"] in VALUE and len(here) > 1
                if not (_is_flagged(one, outcome) or is_hit or is_hidden):
                    said = outcome.cause or "good"
                    verdict.unflagged.append(f"{where}: {one} recorded as {said}")
            if not outcome.cause:
                truth = devices.shown(device.unit, slot).values
                doubtful = {one["point"] for one in here if one["kind"] == "sentinel"}
                _compare(verdict, where, truth, outcome, doubtful)
            elif not here and not is_hit:
                if outcome.cause == before and before in PATIENT:
                    verdict.rested += 1
                else:
                    verdict.unexplained.append(f"{where}: {outcome.cause}")
            before = outcome.cause
    if run.scenario.furnace is not None:
        _judge_furnace(verdict, run)
    return verdict


def judge_counters(verdict: Verdict, run: Run) -> dict[str, int]:
    """Whether every fault of a counter is an event of it; the events by code."""
    slots, devices, found = run.scenario.slots, run.devices, Counter[str]()
    met = {(one.get("unit"), one["kind"], one.get("point")) for one in run.injected}
    for fault in run.scenario.faults.plan:
        if fault.kind not in EVENTS or (fault.unit, fault.kind, fault.point) not in met:
            continue
        assert fault.unit is not None
        profile = devices.profiles[fault.unit]
        by_slot = outcomes(run.leaves[f"unit-{fault.unit}"], slots.period_us)
        texts = [by_slot[at].values.get(fault.point) for at in slots.all_us()]
        semantics = semantics_of(profile, profile.point(fault.point), slots.period_us)
        raw = np.array([-1 if text is None else count_of(text) for text in texts], np.int64)
        followed = follow(
            semantics,
            np.array(slots.all_us(), np.int64),
            raw,
            raw >= 0,
            np.ones(raw.size, np.bool_),
        )
        said = Counter(event.code for event in followed.events)
        found += said
        # Only a counter whose modulus is declared can run over; of another it is a new beginning.
        is_declared = fault.kind != "rollover" or semantics.modulus
        if not said[EVENTS[fault.kind] if is_declared else "reset"]:
            verdict.unflagged.append(f"unit {fault.unit} {fault.point}: {fault.kind}, only {said}")
    return dict(found)


def _judge_furnace(verdict: Verdict, run: Run) -> None:
    """The same over OPC UA: values, source times, and variables that are gone."""
    furnace, slots = furnace_of(run.scenario), run.scenario.slots
    assert furnace is not None
    met = {(one["slot"], one["kind"]): one for one in run.injected if "unit" not in one}
    step_s = {fault.first: fault.step_s for fault in run.scenario.faults.plan if fault.step_s}
    found, before = outcomes(run.leaves["furnace"], slots.period_us), ""
    raw = {int(leaf["slot"]): leaf["raw"] for leaf in run.leaves["furnace"] if "raw" in leaf}
    for slot, slot_us in enumerate(slots.all_us()):
        outcome, where = found[slot_us], f"furnace slot {slot}"
        verdict.slots += 1
        if outcome.cause:
            if outcome.cause == before:
                verdict.rested += 1
            elif (slot, "opcua_restart") not in met:
                verdict.unexplained.append(f"{where}: {outcome.cause}")
            before = outcome.cause
            continue
        before = ""
        if (slot, "opcua_restart") in met:
            verdict.unflagged.append(f"{where}: a server that is down was read")
        gone = met.get((slot, "shrunk"), {}).get("point")
        if set(outcome.quality) != ({gone} if gone else set()):
            verdict.unflagged.append(f"{where}: {outcome.quality} where {gone} is gone")
        shown = furnace.run.slots.index(slot_us)
        for name, text in outcome.values.items():
            verdict.values += 1
            if Decimal(text) != Decimal(repr(float(furnace.value(name, shown)))):
                verdict.wrong.append(f"{where} {name}: {text}")
        off_s = next(iter(step_s.values())) if (slot, "clock_step") in met else 0
        times = {parsed.source_time_us for *_, data in raw[slot_us]
                 if (parsed := parse(bytes.fromhex(data))) and parsed.source_time_us}  # fmt: skip
        at_us = furnace.run.slots.first_us + shown * furnace.run.slots.period_us
        if times != {at_us + off_s * 1_000_000}:
            verdict.wrong.append(
                f"{where}: source times {times} where {at_us} and {off_s} s is due"
            )


def _is_flagged(one: dict[str, Any], outcome: Outcome) -> bool:
    kind = one["kind"]
    if kind == "exception":
        return outcome.cause == f"exception_{one['code']:02d}"
    if kind in BAD_REPLIES:
        return outcome.cause == "bad_reply"
    if kind in EXPECTED:
        return (outcome.cause or "good") in EXPECTED[kind]
    if kind == "sentinel":
        return outcome.quality.get(one["point"]) in {"sentinel", "nan"}
    if kind == "false_zero":
        return outcome.values.get(one["point"]) == "0"
    return not outcome.cause  # what counters do is in their values


def _compare(
    verdict: Verdict,
    where: str,
    truth: Mapping[str, Decimal],
    outcome: Outcome,
    doubtful: set[str],
) -> None:
    for name, text in outcome.values.items():
        verdict.values += 1
        if name in doubtful or Decimal(text) != truth[name]:
            verdict.wrong.append(
                f"{where} {name}: {text} where the register showed {truth.get(name)}"
            )
    may_lack = doubtful | {name for name in outcome.quality if outcome.quality[name] == "not_due"}
    if lacking := set(truth) - set(outcome.values) - may_lack:
        verdict.unflagged.append(f"{where}: no value of {sorted(lacking)}, {outcome.quality}")
