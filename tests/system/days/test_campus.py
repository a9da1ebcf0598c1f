"""A campus in July: 15 roofs and 42 feeders whose names are Hangul, an hour's energy a reading.

The recording has no licence: nothing of it is here but sums. The names are read from it.
"""

import csv
import gzip
import io

import numpy as np
import pytest

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.profile import NodePoint
from joulemark_agent.kernels.energy import power_energy
from joulemark_gateway.evidence import history
from support.recorded import DAY_US, HOUR_US, number, us
from support.table_factory import Table

pytestmark = pytest.mark.timeout(420)

JULY_KWH = {"roofs": 98_684.3, "feeders": 5_500_670.6}
DAY_KWH = {"roofs": 2_150.2, "feeders": 189_138.5}  # 2022-07-04
FILES = {"roofs": ("gist_pv_2022-07.csv.gz", 15), "feeders": ("gist_load_2022-07.csv.gz", 42)}
EMERGENCY = "(E)"  # a feeder that may hang below another: what it carries may be counted there too
URI = "urn:test:campus"


def published(plant_data, device):
    """Names of the last columns, and the rows; the stamp is the start of the hour."""
    name, columns = FILES[device]
    text = gzip.decompress((plant_data / "korea_gist_campus_2022" / name).read_bytes()).decode()
    header, *rows = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    names = header[-columns:]
    return names, [
        (us(f"{row[0]} 00:00:00") + int(row[1]) * HOUR_US, row[-columns:]) for row in rows
    ]


def points(names):
    """The names of the points, in the order of the columns."""
    return [f"tag_{i:02}_power_w" for i in range(len(names))]


def campus(device, names, rows):
    """An hour's energy is shown at its end, as the mean power; the opening slot has none."""
    lines = "\n".join(
        f"  - {{name: {point}, node: 'nsu={URI};s={name}', type: float64, scale: 1000}}"
        for point, name in zip(points(names), names, strict=True)
    )
    text = (
        f"model: campus_{device}\nkind: power_meter\nprotocol: opcua\n"
        'source: "made for a test; the tags are those of the recording"\nconfidence: bench\n'
        f"points:\n{lines}\n"
    )
    shown = [
        {p: 1000 * number(v) for p, v in zip(points(names), values, strict=True)}
        for _, values in rows
    ]
    return Table(device, text, rows[0][0], 3600, [dict.fromkeys(points(names)), *shown])


def sums_kwh(kept, names, edges):
    """By name: what was drawn or fed in, with its sign."""
    found = {}
    for name, point in zip(names, points(names), strict=True):
        wh, covered_us = power_energy(
            kept.history.slot_us, kept.history.gauges[point], edges, HOUR_US
        )
        assert covered_us[0] == edges[1] - edges[0]
        found[name] = wh[0] / 1000
    return found


def check_names(kept, names):
    """What the operator signed and the store holds is the published name, byte for byte."""
    profile = parse_canonical(kept.documents[kept.tree.grant["documents"]["profile"]])
    nodes = [point["node"].encode() for point in profile["points"]]
    assert nodes == [f"nsu={URI};s={name}".encode() for name in names]
    assert kept.documents[kept.tree.grant["documents"]["profile"]].count(names[0].encode()) >= 1
    assert any("가" <= sign <= "힣" for name in names for sign in name)
    model = history.profile_of(kept.tree, kept.documents)
    variables = [point for point in model.points if isinstance(point, NodePoint)]
    assert [point.node for point in variables] == [node.decode() for node in nodes]


def run_span(run, plant_data, span):
    tables, names = [], {}
    for device in FILES:
        names[device], rows = published(plant_data, device)
        inside = [row for row in rows if span[0] <= row[0] < span[1]]
        tables.append(campus(device, names[device], inside))
    return run(tables), names


def test_a_day_of_the_campus_has_its_published_sums_under_its_own_names(run, plant_data, told):
    start_us = us("2022-07-04 00:00:00")
    edges = np.array([start_us, start_us + DAY_US])
    day, names = run_span(run, plant_data, edges)
    sums = {device: sums_kwh(day[device], names[device], edges) for device in FILES}

    for device in FILES:
        check_names(day[device], names[device])
        assert set(day[device].tree.records[0].quality.values()) == {"bad_status"}
        assert sum(sums[device].values()) == pytest.approx(DAY_KWH[device], abs=0.05)
        told(f"campus {device}, 2022-07-04 [kWh]", round(sum(sums[device].values()), 1),
             f"{DAY_KWH[device]:,}")  # fmt: skip
    told("campus: Hangul tags, byte for byte in ledger", sum(map(len, names.values())), "57")


@pytest.mark.endurance
def test_july_of_the_campus_keeps_its_sign_and_its_emergency_feeders_apart(run, plant_data, told):
    edges = np.array([us("2022-07-01 00:00:00"), us("2022-08-01 00:00:00")])
    july, names = run_span(run, plant_data, edges)
    sums = {device: sums_kwh(july[device], names[device], edges) for device in FILES}
    roofs_kw = np.array(list(july["roofs"].history.gauges.values()))[:, 1:] / 1000
    apart = sum(kwh for name, kwh in sums["feeders"].items() if EMERGENCY in name)
    cut_off = np.maximum(roofs_kw, 0).sum()

    for device in FILES:
        check_names(july[device], names[device])
        assert sum(sums[device].values()) == pytest.approx(JULY_KWH[device], abs=0.05)
        told(f"campus {device}, July [kWh]", round(sum(sums[device].values()), 1),
             f"{JULY_KWH[device]:,}")  # fmt: skip
    assert (roofs_kw < 0).sum() == 77
    assert roofs_kw.min() == pytest.approx(-1.2)
    assert cut_off > sum(sums["roofs"].values())  # the control: what is drawn was cut off
    assert 0 < apart < JULY_KWH["feeders"]
    told("campus: hours in which a roof draws", "77, down to -1.2 kW, kept", "77")
    told("campus: emergency feeders (E), of all feeders [kWh]", round(apart, 1), "told apart")
