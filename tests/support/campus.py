"""A campus whose 15 roofs and 42 feeders have Hangul names: two gateways with counters.

The recording has no licence: it is read where it lies, and so are the names.
"""

from __future__ import annotations

import csv
import gzip
import io
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.profile import NodePoint
from joulemark_gateway.evidence import history
from support.plant_day import Kept
from support.recorded import HOUR_US, number, us
from support.table_factory import Table

FILES = {"roofs": ("gist_pv_2022-07.csv.gz", 15), "feeders": ("gist_load_2022-07.csv.gz", 42)}
EMERGENCY = "(E)"  # a feeder that may hang below another: what it carries may be counted there too
URI = "urn:test:campus"
_KST_US = 9 * HOUR_US  # before UTC
_OPENING_WH = Decimal(41_235_000)


class Published(NamedTuple):
    """Hours of the recording: when each begins, and by name what flowed in it."""

    start_us: list[int]
    kwh: dict[str, list[Decimal]]


def published(folder: Path, device: str, first_day: str, end_day: str) -> Published:
    """The hours of some days, the end exclusive; local days of Korea."""
    name, columns = FILES[device]
    text = gzip.decompress((folder / name).read_bytes()).decode()
    header, *rows = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    inside = [row for row in rows if first_day <= row[0] < end_day]
    starts = [us(f"{row[0]} 00:00:00") + int(row[1]) * HOUR_US - _KST_US for row in inside]
    tags = header[-columns:]
    return Published(starts, {tag: [number(r[k - columns]) for r in inside]
                              for k, tag in enumerate(tags)})  # fmt: skip


def ways(device: str) -> tuple[str, ...]:
    """The ends of the names of a tag's counters: a roof that draws has a second one for it."""
    return ("generated_wh", "imported_wh") if device == "roofs" else ("imported_wh",)


def point(k: int, way: str) -> str:
    """The point of a counter of the k-th tag."""
    return f"tag_{k:02}_{way}"


def counts(hours: Published, device: str) -> dict[str, list[Decimal]]:
    """By point what each counter shows at the edges of the hours; none ever falls. [Wh]"""
    found = {}
    for k, kwh in enumerate(hours.kwh.values()):
        for way in ways(device):
            sign = -1 if device == "roofs" and way == "imported_wh" else 1
            flows = (max(sign * 1000 * value, Decimal(0)) for value in kwh)
            found[point(k, way)] = list(accumulate(flows, initial=(k + 1) * _OPENING_WH))
    return found


def campus(device: str, hours: Published) -> Table:
    """The gateway of the roofs or of the feeders; a counter counts kWh, its place is its tag."""
    lines = "\n".join(
        f"  - {{name: {point(k, way)}, node: 'nsu={URI};s={tag}|{way}', type: float64,"
        " scale: 1000, counter: true, minimum: 0}"
        for k, tag in enumerate(hours.kwh)
        for way in ways(device)
    )
    text = (
        f"model: campus_{device}\nkind: power_meter\nprotocol: opcua\n"
        'source: "made for a test; the tags are those of the recording"\nconfidence: bench\n'
        f"points:\n{lines}\n"
    )
    shown = counts(hours, device)
    rows = [
        {name: column[k] for name, column in shown.items()} for k in range(len(hours.start_us) + 1)
    ]
    return Table(device, text, hours.start_us[0], 3600, rows)


def check_names(kept: Kept, hours: Published) -> None:
    """What the operator signed, the broker carried and the store holds is the published name."""
    document = kept.documents[kept.tree.grant["documents"]["profile"]]
    wanted = [
        f"nsu={URI};s={tag}|{way}".encode()
        for tag in hours.kwh
        for way in ways(kept.history.device)
    ]
    assert [row["node"].encode() for row in parse_canonical(document)["points"]] == wanted
    assert all(name in document for name in wanted)  # as they are, and not escaped
    assert any("가" <= sign <= "힣" for tag in hours.kwh for sign in tag)
    model = history.profile_of(kept.tree, kept.documents)
    variables = [point for point in model.points if isinstance(point, NodePoint)]
    assert [point.node.encode() for point in variables] == wanted
