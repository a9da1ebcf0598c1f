"""Machines read with a wrong profile: refused, or flagged within ten minutes.

Each shipped Modbus profile is served as a machine whose values fit together, by a Modbus server on
a socket; it is read with a profile that is wrong in one way, every 10 s for ten simulated minutes,
through the lines, the identification and the watch of the agent. A case in which no value differs
from the truth is no mistake and is not counted. The naive reader decodes what is answered.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

import joulemark_profiles
from joulemark_agent.contract.document import parse_yaml
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import MAX_WORDS
from joulemark_agent.identity import NOT_IDENTIFIED, WRONG_DEVICE
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.lines import Lines
from joulemark_agent.plan import PlannedDevice, plan_requests
from joulemark_agent.plausibility import Watch
from joulemark_agent.simulate.modbus_server import ModbusConnection
from support.modbus_machine import Machine

PERIOD_S, SPAN_S = 10, 600
MARGIN = 16  # words around its map that a machine answers for, with 0 as in holes
US_PER_S = 1_000_000
Mapped = dict[str, Any]


@lru_cache
def mapping_of(name: str) -> Mapped:
    """The document of a shipped profile."""
    return parse_yaml(joulemark_profiles.text("devices", name), name).mapping


@lru_cache
def machines() -> dict[str, Profile]:
    """The shipped Modbus profiles of machines, and two that no profile is shipped for."""
    found = {
        name: Profile.model_validate(mapping_of(name))
        for name in joulemark_profiles.names("devices")
        if not name.startswith("virtual_") and mapping_of(name)["protocol"] == "modbus"
    }
    return {**found, **_others()}


def _others() -> dict[str, Profile]:
    """A Logika L200, which has energy and air where the L26 has hours; an SHx as it is whole."""
    l200 = {**mapping_of("logika_control_l26"), "model": "logika_l200", "checks": [], "golden": []}
    l200["points"] = [
        point for point in l200["points"] if point["name"] not in {"running_s", "loaded_s"}
    ] + [
        {"name": "energy_wh", "table": "holding", "address": 1536, "type": "uint32", "scale": 1000,
         "counter": True},
        {"name": "air_m3", "table": "holding", "address": 1538, "type": "uint32", "counter": True},
    ]  # fmt: skip
    l200["golden"] = [{"point": "air_m3", "words": [0, 1], "value": 1}]
    shx = {**mapping_of("sungrow_shx"), "model": "sungrow_shx_whole"}
    known = {point["name"] for point in shx["points"]} | {"generated_wh"}
    sg = [point for point in mapping_of("sungrow_sg")["points"] if point["name"] not in known]
    shx["points"] = [*shx["points"], *sg]
    return {name: Profile.model_validate(one) for name, one in
            (("logika_l200", l200), ("sungrow_shx_whole", shx))}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A machine and what it is read with."""

    kind: str
    machine: str
    what: str
    profile: Mapped
    empty_tables: bool = False  # the machine shows 0 in tables it does not use

    @property
    def name(self) -> str:
        """For the list of those that passed unnoticed."""
        return f"{self.machine} {self.what}"


def cases() -> Iterator[Case]:
    """Every seeded mistake."""
    yield from _other_profiles()
    for name in machines():
        if name not in joulemark_profiles.names("devices"):
            continue
        yield from _rewritten(name)
        for unit in ("W", "Wh", "V", "A", "K", "Pa", "m3/s", "s"):
            yield from _scaled(name, unit)


def _other_profiles() -> Iterator[Case]:
    for name in machines():
        for other in machines():
            if other != name and other in joulemark_profiles.names("devices"):
                yield Case("another profile", name, f"read as {other}", mapping_of(other))


def _rewritten(name: str) -> Iterator[Case]:
    yield Case("swapped words", name, "with swapped words", _each(name, _swapped))
    for by in (-1, 1):
        yield Case(
            "address off by one", name, f"off by {by}", _each(name, lambda p, by=by: _moved(p, by))
        )
    for empty in (False, True):
        what = f"from the other table{', which reads 0' if empty else ''}"
        yield Case("other table", name, what, _each(name, _other_table), empty)
    if any(unit_of(point.name) == "W" and point.direction for point in machines()[name].points):
        yield Case("power the wrong way", name, "with power negated", _each(name, _negated))
    yield Case("import is export", name, "with counters exchanged", _exchanged(name))


def _each(name: str, change: Any) -> Mapped:
    mapping = mapping_of(name)
    return {**mapping, "points": [change(dict(point)) for point in mapping["points"]]}


def _swapped(point: Mapped) -> Mapped:
    if point["type"].endswith(("32", "64")):
        is_little = point.pop("word_order", "big") == "little"
        return {**point, "word_order": "big" if is_little else "little"}
    return point


def _moved(point: Mapped, by: int) -> Mapped:
    return {**point, "address": point["address"] + by}


def _other_table(point: Mapped) -> Mapped:
    return {**point, "table": "holding" if point["table"] == "input" else "input"}


def _negated(point: Mapped) -> Mapped:
    limits = {"minimum": point.get("maximum"), "maximum": point.get("minimum")}
    if unit_of(point["name"]) != "W" or point["name"].startswith("dc_"):
        return point
    turned = {key: -value for key, value in limits.items() if value is not None}
    kept = {key: value for key, value in point.items() if key not in limits}
    return {**kept, **turned, "scale": -point.get("scale", 1)}


def _exchanged(name: str) -> Mapped:
    points = {point["name"]: point for point in mapping_of(name)["points"]}
    places = {n: points[n]["address"] for n in points}
    for one in list(points):
        other = one.replace("energy", "exported").replace("imported", "exported")
        if one != other and {one, other} <= set(points) and unit_of(one) == "Wh":
            places[one], places[other] = places[other], places[one]
    changed = [{**point, "address": places[n]} for n, point in points.items()]
    return {**mapping_of(name), "points": changed}


def _scaled(name: str, unit: str) -> Iterator[Case]:
    for factor in (Decimal(10), Decimal("0.1")):

        def change(point: Mapped, factor: Decimal = factor) -> Mapped:
            if unit_of(point["name"]) != unit or point["type"] == "string":
                return point
            return {**point, "scale": Decimal(str(point.get("scale", 1))) * factor}

        yield Case("factor of 10", name, f"with {unit} times {factor}", _each(name, change))


# ---------------------------------------------------------------------------------------- reading


@dataclass
class Served:
    """What the server shows: the machine at a time of our choosing."""

    words: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    empty_tables: bool = False
    shown: dict[str, set[int]] = field(default_factory=dict)

    def show(self, words: Mapping[str, Mapping[int, int]]) -> None:
        """Set the registers."""
        if {t: w.keys() for t, w in words.items()} != {t: w.keys() for t, w in self.words.items()}:
            self.shown = {table: _around(sorted(held)) for table, held in words.items()}
        self.words = words

    def has_unit(self, unit: int) -> bool:
        """It is unit 1."""
        return unit == 1

    def read(self, unit: int, table: str, address: int, count: int) -> bytes | None:  # noqa: ARG002
        """What stands there; 0 near what is known and in holes."""
        held = self.words.get(table)
        if held is None:
            return bytes(2 * count) if self.empty_tables else None
        asked = range(address, address + count)
        if not self.shown[table].issuperset(asked):
            return None
        return b"".join(held.get(a, 0).to_bytes(2, "big") for a in asked)


def _around(known: list[int]) -> set[int]:
    """The addresses of a machine's map: what is known, the holes in it, and a margin."""
    shown: set[int] = set()
    for before, after in pairwise([known[0], *known]):
        first = before if after - before <= MAX_WORDS else after - MARGIN
        shown.update(range(first, after + 1))
    ends = [a for a in shown if a + 1 not in shown] + [known[0]]
    return shown | {a + k for a in ends for k in range(-MARGIN, MARGIN + 1)}


@asynccontextmanager
async def serving(served: Served) -> AsyncIterator[int]:
    """A Modbus TCP server on a free port."""
    connections: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: ModbusConnection(served, connections), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for transport in list(connections):
            transport.abort()
        await asyncio.sleep(0)


@dataclass
class Outcome:
    """What became of a case."""

    case: Case
    caught_by: str = ""  # '' where it passed unnoticed
    after_s: int = 0
    is_wrong: bool = False  # some value differs from the truth, or nothing was read at all
    naive_unnoticed: bool = False
    is_energy: bool = False  # a power or an energy is among what differs


_TIMES = range(0, SPAN_S + 1, PERIOD_S)


@lru_cache(maxsize=4096)
def _words(name: str, t_s: int) -> Mapping[str, Mapping[int, int]]:
    return _machine(name).words(t_s)


@lru_cache
def _machine(name: str) -> Machine:
    return Machine(machines()[name])


@lru_cache(maxsize=4096)
def _truth(name: str, t_s: int) -> Mapping[str, str]:
    """What the machine's own profile makes of it."""
    profile, words = machines()[name], _words(name, t_s)
    answers = [
        Response(r.table, r.address, b"".join(
            words[r.table].get(r.address + i, 0).to_bytes(2, "big") for i in range(r.count)
        ))
        for r in plan_requests(profile)
    ]  # fmt: skip
    return decode_responses(profile, answers)[0]


async def outcome(served: Served, port: int, case: Case) -> Outcome:
    """Read the machine with the wrong profile until it is noticed, or ten minutes are over."""
    found = Outcome(case)
    try:
        profile = Profile.model_validate(case.profile)
    except ValidationError:
        found.caught_by, found.is_wrong = "the profile is refused", True
        return found
    served.empty_tables = case.empty_tables
    unlimited = _unlimited(profile)
    watch, lines = Watch({"it": profile}), None
    device = PlannedDevice(
        "it", f"modbus-tcp://127.0.0.1:{port}", 1, PERIOD_S * US_PER_S,
        plan_requests(profile), identify=profile.identify,
    )  # fmt: skip
    naive = PlannedDevice("it", device.url, 1, device.period_us, device.requests)
    lines, naive_lines = Lines([device]), Lines([naive])
    good_and_wrong = False
    try:
        for t_s in _TIMES:
            served.show(_words(case.machine, t_s))
            truth = _truth(case.machine, t_s)
            try:
                responses = await naive_lines.of(naive).read(naive)
            except DeviceError:
                found.is_wrong, found.caught_by = True, "the device refuses"
                break
            values, _ = decode_responses(unlimited, responses)
            if differ := [name for name, text in values.items() if truth.get(name) != text]:
                found.is_wrong = found.naive_unnoticed = True
                found.is_energy |= any(unit_of(name) in {"W", "Wh"} for name in differ)
            try:
                responses = await lines.of(device).read(device)
            except DeviceError as error:
                if error.code not in {WRONG_DEVICE, NOT_IDENTIFIED}:
                    raise
                found.caught_by = "identification"
                if found.is_wrong:
                    break
                continue
            values, quality = decode_responses(profile, responses)
            good_and_wrong |= any(
                truth.get(name) != text
                for name, text in values.items()
                if name not in quality  # what is disputed is not good before it is accepted
            )
            changes = watch.take("it", t_s * US_PER_S, values, quality)
            if changes and not found.caught_by:
                found.caught_by, found.after_s = changes[0].verdict.rule, t_s
            if found.caught_by and found.is_wrong:
                break
    finally:
        await lines.close()
        await naive_lines.close()
    if not found.caught_by and not good_and_wrong:
        found.caught_by = "no wrong value is good"
    return found


def _unlimited(profile: Profile) -> Profile:
    """The profile of a reader that knows no limits."""
    free = {"minimum": None, "maximum": None, "disputed": ""}
    points = tuple(point.model_copy(update=free) for point in profile.points)
    return profile.model_copy(update={"points": points})


async def outcomes(chosen: list[Case]) -> list[Outcome]:
    """What became of each case."""
    served = Served()
    async with serving(served) as port:
        return [await outcome(served, port, case) for case in chosen]


async def false_alarms() -> list[str]:
    """Findings on machines that are read with their own profile."""
    found = []
    served = Served()
    async with serving(served) as port:
        for name in machines():
            if name in joulemark_profiles.names("devices"):
                got = await outcome(served, port, Case("right", name, "as it is", mapping_of(name)))
                if got.caught_by not in ("", "no wrong value is good"):
                    found.append(f"{name}: {got.caught_by}")
    return found


def run(seed: int, *, full: bool) -> dict[str, str]:
    """The whole matrix; `full=False` a case of every kind and the named ones."""
    del seed  # there is nothing drawn: every mistake is tried
    chosen = list(cases())
    if not full:
        chosen = _few(chosen)
    done = asyncio.run(outcomes(chosen))
    wrong = [one for one in done if one.is_wrong]
    unnoticed = [one for one in wrong if not one.caught_by]
    answered = [one for one in wrong if one.naive_unnoticed]
    alarms = asyncio.run(false_alarms()) if full else []
    figures = {
        "seeded mistakes that change a value": f"{len(wrong)} of {len(done)}",
        "refused or flagged within 10 min": _share(len(wrong) - len(unnoticed), len(wrong)),
        "of those the machine answers": _share(len(answered) - len(unnoticed), len(answered)),
        "of those that change a power or an energy": _share(
            sum(bool(one.caught_by) for one in answered if one.is_energy),
            sum(one.is_energy for one in answered),
        ),
        "noticed without identification and checks": _share(len(wrong) - len(answered), len(wrong)),
        "false alarms on machines read with their own profile": str(len(alarms)),
        "latest flag": f"{max((one.after_s for one in wrong), default=0)} s",
    }
    for kind in dict.fromkeys(one.case.kind for one in wrong):
        those = [one for one in wrong if one.case.kind == kind]
        missed = [one for one in those if not one.caught_by]
        figures[f"noticed, {kind}"] = _share(len(those) - len(missed), len(those))
    by = Counter(one.caught_by for one in wrong if one.caught_by)
    figures["caught by"] = ", ".join(f"{name} {count}" for name, count in by.most_common())
    figures["passed unnoticed"] = "; ".join(one.case.name for one in unnoticed) or "none"
    assert not alarms, alarms
    assert len(unnoticed) <= 0.05 * len(wrong), figures
    energy = [one for one in answered if one.is_energy]
    assert sum(not one.caught_by for one in energy) <= 0.05 * len(energy), figures
    assert len(answered) >= 0.05 * len(wrong), "the naive reader would have done as well"
    return figures


NAMED = {
    "carlo_gavazzi_em24_rs485 read as carlo_gavazzi_em24_e1",
    "carlo_gavazzi_em24_e1 read as carlo_gavazzi_em24_rs485",
    "sungrow_shx_whole read as sungrow_sg",
    "sungrow_shx read as sungrow_sg",
    "logika_l200 read as logika_control_l26",
    "schneider_iem3000 with swapped words",
    "eastron_sdm630 with swapped words",
    "schneider_iem3000 with Wh times 10",
    "schneider_iem3000 with W times 0.1",
    "sungrow_sg with Wh times 0.1",
    "lovato_dmg610 off by 1",
    "lovato_dmg610 off by -1",
    "siemens_pac2200 from the other table, which reads 0",
    "abb_b23 with power negated",
    "abb_b23 with counters exchanged",
}


def _few(chosen: list[Case]) -> list[Case]:
    few = [case for case in chosen if case.name in NAMED]
    assert {case.name for case in few} == NAMED, NAMED - {case.name for case in few}
    return few


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.1f} %)" if whole else "0 of 0"
