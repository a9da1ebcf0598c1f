"""A profile for a SunSpec device, made of its own map: the points that matter, as YAML.

What the device does not implement is left out and named. The golden words are those it showed when
it was scanned: they hold the decoding still, and prove nothing about the device.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from joulemark_agent.contract.document import Document, parse_yaml, validate
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Response
from joulemark_agent.documents import checked_profile
from joulemark_agent.drivers.base import MAX_WORDS
from joulemark_agent.kernels.decode import decode_responses, raw_of
from joulemark_agent.sunspec_models import labels, models, place, resolved

MOST_GROUPS = 8  # of modules or ports
_INVERTER = {
    "ac_current_a": "A", "voltage_l1_v": "PhVphA", "voltage_l2_v": "PhVphB",
    "voltage_l3_v": "PhVphC", "ac_power_w": "W", "frequency_hz": "Hz", "apparent_va": "VA",
    "reactive_var": "VAr", "generated_wh": "WH", "dc_current_a": "DCA", "dc_voltage_v": "DCV",
    "dc_power_w": "DCW", "operating_state": "St",
}  # fmt: skip
_METER = {
    "current_a": "A", "current_l1_a": "AphA", "current_l2_a": "AphB", "current_l3_a": "AphC",
    "voltage_l1_v": "PhVphA", "voltage_l2_v": "PhVphB", "voltage_l3_v": "PhVphC",
    "voltage_l1_l2_v": "PhVphAB", "voltage_l2_l3_v": "PhVphBC", "voltage_l3_l1_v": "PhVphCA",
    "frequency_hz": "Hz", "power_w": "W", "power_l1_w": "WphA", "power_l2_w": "WphB",
    "power_l3_w": "WphC", "apparent_va": "VA", "reactive_var": "VAR", "exported_wh": "TotWhExp",
    "energy_wh": "TotWhImp",
}  # fmt: skip
_DER = {
    "ac_current_a": "A", "voltage_l1_v": "VL1", "voltage_l2_v": "VL2", "voltage_l3_v": "VL3",
    "ac_power_w": "W", "frequency_hz": "Hz", "apparent_va": "VA", "reactive_var": "Var",
    "generated_wh": "TotWhInj", "absorbed_wh": "TotWhAbs", "operating_state": "InvSt",
}  # fmt: skip
# By kind of device: its models, the best first, and what is read of the first that it has.
_MAIN: Mapping[str, tuple[tuple[Sequence[int], Mapping[str, str]], ...]] = {
    "pv_inverter": (((701,), _DER), ((103, 102, 101, 113, 112, 111), _INVERTER)),
    "power_meter": (((203, 204, 202, 201, 213, 214, 212, 211), _METER),),
}
_GROUPS = {160: ("module", "module"), 714: ("Prt", "port")}  # SunSpec's word for it, and ours
_OF_A_GROUP = {"dc_current_a": "DCA", "dc_voltage_v": "DCV", "dc_power_w": "DCW"}
_DIRECTIONS = {"generated_wh": "generation", "ac_power_w": "generation", "exported_wh": "export",
               "energy_wh": "import"}  # fmt: skip
_ENERGY = ("generated_wh", "absorbed_wh", "exported_wh", "energy_wh")
_KEPT = (*_ENERGY, "ac_power_w", "power_w", "frequency_hz")  # also when there is nothing there now


@dataclass(frozen=True)
class Generated:
    """A profile as YAML, and what it is called."""

    name: str
    text: str


def sunspec_profile(
    lengths: Mapping[int, int], common: Mapping[str, str], responses: Sequence[Response], on: date
) -> Generated | None:
    """A profile of what the device has; None where it has no model of power.

    Args:
        lengths: words that follow the head, by model.
        common: what model 1 says.
        responses: the models as they were read.
        on: when that was.
    """
    kind, points = _points(lengths)
    if not points:
        return None
    name = _name(common, kind)
    used = sorted({point["model"] for point in points})
    head = {
        "model": name,
        "kind": kind,
        "protocol": "sunspec",
        "source": f"SunSpec Information Models {', '.join(map(str, used))}, by their points' names",
        "confidence": "manual",
    }
    mapping = {**head, "points": points}
    profile = validate(Profile, resolved(Document(name, mapping, {})))
    (values, quality), raw = decode_responses(profile, responses), raw_of(profile, responses)
    kept = [p for p in points if p["name"] in raw and (p["name"] in values or p["name"] in _KEPT)]
    if not kept:
        return None
    absent = [p["name"] for p in points if p not in kept]
    said = " ".join(common[key] for key in ("maker", "model") if key in common) or "a device"
    lines = [
        f"# {said}, as a scan found it on {on.isoformat()}.",
        *(f"{key}: {_quoted(text)}" for key, text in head.items()),
        "points:",
    ]
    for model in dict.fromkeys(p["model"] for p in kept):
        lines.append(f"  # Model {model}: {labels().get(model, 'unknown')}.")
        lines += [f"  - {_flow(p)}" for p in kept if p["model"] == model]
    if absent:
        lines.append(f"  # It had no value for: {', '.join(absent)}.")
    lines.append("golden: # the device's own words when it was scanned, each with its scale factor")
    for point in kept:
        words = ", ".join(f"0x{word}" for word in raw[point["name"]].hex(" ", 2).upper().split())
        value = values.get(point["name"])
        shown = "null" if value is None else value
        why = f" # {quality[point['name']]}" if value is None else ""
        lines.append(f"  - {{point: {point['name']}, words: [{words}], value: {shown}}}{why}")
    text = "\n".join(lines) + "\n"
    checked_profile(parse_yaml(text, f"{name}.yaml"))
    return Generated(name, text)


def _points(lengths: Mapping[int, int]) -> tuple[str, list[dict[str, Any]]]:
    """What can be read of the models there are, each point in the form of a profile."""
    for kind, choices in _MAIN.items():
        for numbers, wanted in choices:
            model = next((number for number in numbers if number in lengths), None)
            if model is not None:
                return kind, [*_named(model, wanted), *_grouped(lengths)]
    return "", []


def _named(model: int, wanted: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    there = {point.name: point for point in models()[model].points}
    for name, path in wanted.items():
        if path not in there:
            continue
        point: dict[str, Any] = {"name": name, "model": model, "point": path}
        if name in _ENERGY and there[path].type.startswith("float"):
            point["minimum"] = 0
        elif name in _ENERGY:
            point["counter"] = True
        if name in _DIRECTIONS:
            point["direction"] = _DIRECTIONS[name]
        yield point


def _grouped(lengths: Mapping[int, int]) -> Iterator[dict[str, Any]]:
    for model, (group, word) in _GROUPS.items():
        if model not in lengths:
            continue
        for i in range(1, MOST_GROUPS + 1):
            for name, path in _OF_A_GROUP.items():
                found = place(model, f"{group}.{i}.{path}")
                if found.offset < min(lengths[model] + 2, MAX_WORDS):
                    where = f"{group}.{i}.{path}"
                    yield {"name": f"{word}_{i}_{name}", "model": model, "point": where}


def _name(common: Mapping[str, str], kind: str) -> str:
    said = "_".join(common[key] for key in ("maker", "model") if key in common).lower()
    kept = "".join(c if c.isalnum() else "_" for c in said).strip("_")[:50]
    return "_".join(part for part in kept.split("_") if part) or f"sunspec_{kind}"


_PLAIN = re.compile("[^A-Za-z0-9_ ]")


def _quoted(text: str) -> str:
    is_plain = parse_yaml(f"x: {_PLAIN.sub('', text)}\n", "").mapping["x"] == text
    return text if is_plain else f'"{text}"'  # it may be called null, or on


def _flow(point: Mapping[str, Any]) -> str:
    shown = {True: "true"}
    return (
        "{" + ", ".join(f"{key}: {shown.get(value, value)}" for key, value in point.items()) + "}"
    )
