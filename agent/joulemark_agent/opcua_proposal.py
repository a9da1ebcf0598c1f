"""From what an OPC UA server has to profiles that read it: pure, and only a proposal.

Where the variables of a companion model are found, its template says which point each is; a unit
comes from the server (EUInformation) and from nowhere else. A variable without a unit, or with one
that is not listed here, becomes a point of unstated unit. The values that were seen are the
profile's golden rows.
Source: OPC UA specification (1.05), part 8, section 5.6.3; UN/CEFACT recommendation 20.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

from joulemark_agent.contract.document import MAX_DIGITS
from joulemark_agent.contract.profile import NodePoint, NodeType, Profile
from joulemark_agent.contract.quantities import UNITS, unit_of
from joulemark_agent.kernels.decode import decode_point

MOST_POINTS = 200  # of one proposal
MOST_MACHINES = 100
_SOURCE = "browsed on the server at "
# By UN/CEFACT code: the ending of a point's name, the scale to it, and what is added then.
# Fractions without end are cut after 16 digits.
_CODES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "WTT": (("_w", "1", "0"),),
    "KWT": (("_w", "1000", "0"),),
    "MAW": (("_w", "1000000", "0"),),
    "WHR": (("_wh", "1", "0"),),
    "KWH": (("_wh", "1000", "0"),),
    "MWH": (("_wh", "1000000", "0"),),
    "D46": (("_va", "1", "0"),),
    "KVA": (("_va", "1000", "0"),),
    "D44": (("_var", "1", "0"),),
    "VLT": (("_v", "1", "0"),),
    "AMP": (("_a", "1", "0"),),
    "HTZ": (("_hz", "1", "0"),),
    "PAL": (("_pa", "1", "0"),),
    "KPA": (("_pa", "1000", "0"),),
    "BAR": (("_pa", "100000", "0"),),
    "MBR": (("_pa", "100", "0"),),
    "KEL": (("_k", "1", "0"),),
    "CEL": (("_k", "1", "273.15"),),
    "MTQ": (("_m3", "1", "0"), ("_dm3", "1000", "0")),
    "DMQ": (("_dm3", "1", "0"), ("_m3", "0.001", "0")),
    "LTR": (("_dm3", "1", "0"), ("_m3", "0.001", "0")),
    "MQS": (("_m3_s", "1", "0"),),
    "G53": (("_m3_s", "0.01666666666666667", "0"),),
    "MQH": (("_m3_s", "0.0002777777777777778", "0"),),
    "L2": (("_m3_s", "0.00001666666666666667", "0"),),
    "G51": (("_m3_s", "0.001", "0"),),
    "E46": (("_j_m3", "3600000", "0"),),
    "B8": (("_j_m3", "1", "0"),),
    "SEC": (("_s", "1", "0"),),
    "MIN": (("_s", "60", "0"),),
    "HUR": (("_s", "3600", "0"),),
    "P1": (("_ratio", "0.01", "0"),),
    "C62": (("_ratio", "1", "0"),),
    "KGM": (("_kg", "1", "0"),),
}
_UNSTATED = ("_unstated", "1", "0")
_WHAT_COUNTS = ("_wh", "_varh", "_dm3", "_m3")


@dataclass(frozen=True)
class Leaf:
    """A variable that holds one number."""

    node: str  # as a profile writes it
    path: tuple[str, ...]  # browse names from the Objects folder on
    space: str  # URI of the namespace of its own browse name
    type: NodeType
    data: bytes  # the DataValue that was seen
    unit: str = ""  # UN/CEFACT code; empty: the server names none
    symbol: str = ""
    span: tuple[float, float] | None = None  # EURange


@dataclass(frozen=True)
class Found:
    """What may be read there, and how."""

    title: str
    about: str
    profile: str  # YAML, to be saved as a file


def proposals(
    leaves: Sequence[Leaf], url: str, templates: Iterable[Profile] = (), *, is_whole: bool = True
) -> list[Found]:
    """A proposal for each machine a template knows, and one for all other variables.

    Args:
        leaves: what the server has.
        url: where it was found.
        templates: profiles whose nodes are paths in a companion model.
        is_whole: False: the server has more than was looked at.
    """
    found: list[Found] = []
    used: set[str] = set()
    for template in templates:
        for place, known in islice(_machines(leaves, template).items(), MOST_MACHINES):
            used |= {leaf.node for _, leaf in known}
            found.append(_of_machine(place, known, template, url))
    if rest := [leaf for leaf in leaves if leaf.node not in used]:
        found.append(_of_rest(rest, url, is_whole=is_whole))
    return found


def _machines(
    leaves: Sequence[Leaf], template: Profile
) -> dict[tuple[str, ...], list[tuple[NodePoint, Leaf]]]:
    """By the place of a machine's object: the points of the template that it has.

    Of a place where a point is found twice stand two machines: none of both is proposed.
    """
    points = [point for point in template.points if isinstance(point, NodePoint)]
    places: dict[tuple[str, ...], list[tuple[NodePoint, Leaf]]] = {}
    for point in points:
        space = point.node.removeprefix("nsu=").partition(";")[0]
        for leaf in leaves:
            size = len(point.path or ())
            if leaf.space == space and leaf.path[-size:] == point.path and len(leaf.path) > size:
                places.setdefault(leaf.path[:-size], []).append((point, leaf))
    return {
        place: known
        for place, known in places.items()
        if len({point.name for point, _ in known}) == len(known)
    }


def _of_machine(
    place: tuple[str, ...], known: Sequence[tuple[NodePoint, Leaf]], template: Profile, url: str
) -> Found:
    points = [_point(leaf, _stem(point.name), point) for point, leaf in known]
    unstated = [point.name for point, _ in points if point.name.endswith("_unstated")]
    about = f"{len(points)} of {len(template.points)} points of {template.model} at"
    title = _one_line("/".join(place))
    about += f" {title}."
    if unstated:
        about += f" The server names no unit that is known here for {', '.join(unstated)}."
    name = _slug(place[-1]) or "machine"
    return Found(title, about, _yaml(name, template.kind, points, url))


def _of_rest(leaves: Sequence[Leaf], url: str, *, is_whole: bool) -> Found:
    points: list[tuple[NodePoint, Leaf]] = []
    names: set[str] = set()
    for leaf in leaves[:MOST_POINTS]:
        stem = _slug("_".join(leaf.path[-2:])) or "point"
        point, _ = _point(leaf, stem, None)
        number = 1
        while point.name in names:
            number += 1
            point, _ = _point(leaf, f"{stem}_{number}", None)
        names.add(point.name)
        points.append((point, leaf))
    about = f"{len(leaves)} variables that hold a number; keep what you need."
    if len(leaves) > len(points):
        about += f" The first {len(points)} are in the proposal."
    if not is_whole:
        about += " The server has more than was looked at."
    text = _yaml("opcua_server", "power_meter", points, url)
    kind = "kind: power_meter"
    return Found("all other variables", about, text.replace(kind, kind + _KINDS))


_KINDS = "  # choose: power_meter, production_counter, air_compressor, pv_inverter or furnace"


def _point(leaf: Leaf, stem: str, template: NodePoint | None) -> tuple[NodePoint, Leaf]:
    """The point a variable becomes, in the template's unit or in that of its own."""
    options = _CODES.get(leaf.unit, ())
    if template is not None:
        options = tuple(o for o in options if template.name == stem + o[0])
    ending, scale, offset = options[0] if options else _UNSTATED
    is_float = leaf.type.startswith("float")
    counts = leaf.type.startswith("uint") if template is None else template.counter
    is_whole = Decimal(scale) == int(Decimal(scale))
    is_counter = counts and ending in _WHAT_COUNTS and is_whole
    name = (stem + ending)[-63:].lstrip("_0123456789")
    if unit_of(name) != UNITS[ending]:  # a name that ends in _m3 would make m3/s of seconds
        name = f"{stem}_value{ending}"
    fields = {"name": name, "node": leaf.node,
              "type": leaf.type, "scale": scale, "offset": offset}  # fmt: skip
    if is_counter:
        fields |= {"counter": "true"} | ({"minimum": "0"} if is_float else {})
    return NodePoint.model_validate(fields), leaf


def _yaml(model: str, kind: str, points: Sequence[tuple[NodePoint, Leaf]], url: str) -> str:
    """The profile as a file."""
    lines = [
        f"# Proposed by 'joulemark agent scan' from what {_one_line(url)} told. Check each line.",
        f"model: {json.dumps(model, ensure_ascii=False)}",  # it may be called null, or on
        f"kind: {kind}",
        "protocol: opcua",
        f"source: {json.dumps(_SOURCE + _one_line(url), ensure_ascii=False)}",
        "confidence: bench",
        "points:",
    ]
    for point, leaf in points:
        entry = f"  - {{name: {point.name}, node: {json.dumps(point.node, ensure_ascii=False)},"
        entry += f" type: {point.type}"
        if point.scale != 1:
            entry += f", scale: {point.scale}"
        if point.offset:
            entry += f", offset: {point.offset}"
        if point.counter:
            entry += ", counter: true"
        if point.minimum is not None:
            entry += f", minimum: {point.minimum}"
        lines.append(f"{entry}}}{_remark(leaf)}")
    seen = [
        f'  - {{point: {point.name}, data: "{leaf.data.hex()}", value: {value or "null"}}}'
        for point, leaf in points
        for value in (decode_point(point, leaf.data)[0],)
        if len(value or "") <= MAX_DIGITS  # a longer one cannot be written, nor is it measured
    ]
    if seen:
        lines += ["golden:  # what the server said when it was browsed", *seen]
    return "\n".join(lines) + "\n"


def _remark(leaf: Leaf) -> str:
    unit = f"in {leaf.symbol or leaf.unit}" if leaf.unit or leaf.symbol else "no unit named"
    span = "" if leaf.span is None else f", {leaf.span[0]:g} to {leaf.span[1]:g}"
    return f"  # {_one_line('/'.join(leaf.path))}: {unit}{span}"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _stem(name: str) -> str:
    """A point's name without its unit."""
    fits = [ending for ending in UNITS if name.endswith(ending)]
    return name.removesuffix(max(fits, key=len))


def _slug(text: str) -> str:
    """What of a browse name a point may be called."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()
    return re.sub(r"[^a-z0-9]+", "_", words).strip("_").lstrip("0123456789_")[:40].strip("_")
