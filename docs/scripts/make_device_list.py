"""Make docs/devices.md, the list of the devices that can be read, from their profiles.

Run from the root of the repository, with the project installed:
    python docs/scripts/make_device_list.py
"""

from collections.abc import Sequence
from pathlib import Path

import joulemark_profiles
from joulemark_agent.contract.profile import Identify, Point, Profile
from joulemark_agent.documents import load_profile

TARGET = Path("docs/devices.md")
MOST_VALUES = 6  # of an identity register
KINDS = {
    "power_meter": "Power meters",
    "pv_inverter": "PV inverters",
    "air_compressor": "Air compressors",
    "furnace": "Furnaces and their controllers",
    "gas_meter": "Gas meters",
    "production_counter": "Production counters",
}
HEAD = """# Devices

Made by `docs/scripts/make_device_list.py` from `configs/joulemark_profiles/devices/`: change a
profile, not this page.

What stands behind a profile: **manual** a document of the maker or of the standard; **second_hand**
a public implementation, and no document read by us; **bench** a machine on a bench; **field** a
machine at work. No profile was tried on its machine unless it says bench or field: compare the
first readings with the machine's own display.

A **disputed** point is shown and kept, but it is never a good value: sources disagree on it, or its
unit was inferred. A point called `..._wh` that is no counter books no energy.
"""


def page() -> str:
    """The whole page."""
    profiles = [load_profile(name)[0] for name in joulemark_profiles.names("devices")]
    lines = [HEAD]
    for kind, title in KINDS.items():
        group = [profile for profile in profiles if profile.kind == kind]
        lines += [
            f"## {title}",
            "",
            "| Device | Protocol | Points | Counters | Known by | Identified | Disputed |",
            "|---|---|---|---|---|---|---|",
            *(_row(profile) for profile in group),
            "",
        ]
        lines += [line for profile in group for line in _section(profile)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _row(profile: Profile) -> str:
    counters = sum(point.counter for point in profile.points)
    disputed = sum(bool(point.disputed) for point in profile.points)
    known_by = f"{profile.confidence}, synthetic" if profile.synthetic else profile.confidence
    identified = {
        "sunspec": "by its models",
        "opcua": "by its nodes",
        "elektronikon": "by its units",
        "sigma_control": "by its model",
    }.get(profile.protocol, _by_registers(profile.identify))
    cells = (
        f"[{profile.model}](#{profile.model})",
        profile.protocol,
        len(profile.points),
        counters or "-",
        known_by,
        identified,
        disputed or "-",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _by_registers(rules: Sequence[Identify]) -> str:
    if any(rule.expected for rule in rules):
        return "by registers"
    return "others are refused" if rules else "no"


def _values(rule: Identify) -> str:
    """What proves the model, or that it is another: some of it, where it is much."""
    values = [str(value) for value in rule.expected or rule.excluded]
    more = [f"{len(values) - MOST_VALUES} others"] if len(values) > MOST_VALUES else []
    return " or ".join(values[:MOST_VALUES] + more)


def _section(profile: Profile) -> list[str]:
    lines = [f"### {profile.model}", "", f"Source: {profile.source}.", ""]
    if (port := profile.serial) is not None:
        said = f"{port.baud} baud, parity {port.parity}, stop bits {port.stop_bits}"
        lines += [f"Serial port: {said}.", ""]
    names = ", ".join(f"`{point.name}`" for point in profile.points)
    lines += [f"Points: {names}.", ""]
    facts = [
        f"- {'Identified' if rule.expected else 'Refused'} by {rule.table} register {rule.address}:"
        f" {_values(rule)}{f' ({rule.note})' if rule.note else ''}."
        for rule in profile.identify
    ]
    facts += [
        f"- Identified by what it says of itself: {rule.field} {' or '.join(rule.one_of)}."
        for rule in profile.controller
    ]
    facts += [f"- Disputed: `{p.name}`: {p.disputed}." for p in profile.points if p.disputed]
    facts += [
        f"- `{point.name}` starts at 0 every day."
        for point in profile.points
        if isinstance(point, Point) and point.daily
    ]
    facts += [f"- {quirk.text} [{quirk.source}]" for quirk in profile.quirks]
    return [*lines, *facts, ""] if facts else lines


if __name__ == "__main__":
    TARGET.write_text(page(), "utf-8")
    print(f"{TARGET}: {len(joulemark_profiles.names('devices'))} devices")
