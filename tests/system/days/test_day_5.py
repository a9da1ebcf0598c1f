"""Day 5, a supplier audit: a ladle furnace without a unit, a machine tool, a campus of its own.

None of the recordings has a licence, so nothing of them is here but sums.
"""

import re
from decimal import Decimal

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.energy import left_hold, power_energy
from joulemark_gateway.reports.project_file import gather, load_project
from joulemark_gateway.reports.publish import issued_of
from support.answering import answering
from support.campus import EMERGENCY, FILES, campus, check_names, point, published, ways
from support.ladle import changes, furnace, places
from support.recorded import DAY_US, HOUR_US, number, rows, us
from support.table_factory import Table

pytestmark = [pytest.mark.timeout(420), pytest.mark.endurance]

ALWAYS_US = 2**60
HEATS, ARCS, P_HOURS, ARC_HOURS = 30, 131, 5.402771, 6.2103
MELT_US = (us("2019-05-10 00:00:00"), us("2019-05-11 00:00:00"))
NIGHT_US = (MELT_US[0], MELT_US[0] + 2 * HOUR_US)
MEGAWATT = 1_000_000
ENERGY_UNITS = {"Wh", "W", "kg", "Wh/kg", "kg/kWh"}
A_NUMBER_OF_IT = re.compile(r"\d\s*(?:[kMG]?Wh?|(?:t|kg )CO2e)\b")

TOOL_KWH, PARTS, TOOL_ROWS, HALF_STEP_W = 51.6667, 886, 225, 500
SLOT_US = 300_000_000
TOOL_DAY_US = us("2022-09-05 00:00:00")
ASLEEP = "exception_11"  # a gateway's word for a device that does not answer it
TOOL = """\
model: machine_tool
kind: power_meter
protocol: modbus
source: "made for a test: mean power in whole kilowatts, and a counter of parts"
confidence: bench
points:
  - {name: power_w, table: holding, address: 0, type: int16, scale: 1000, sentinels: [0x8000]}
  - {name: parts_count, table: holding, address: 1, type: uint32, counter: true}
  - {name: sampled_at_s, table: holding, address: 3, type: uint32}
"""

CAMPUS_KWH = {"roofs": 2_150.2, "feeders": 189_138.5}  # 2022-07-04
CAMPUS_DAYS = ("2022-07-03", "2022-07-05")
CAMPUS_DAY_US = us("2022-07-04 00:00:00") - 9 * HOUR_US + np.array([0, DAY_US])  # of Korea


def tool(plant_data):
    """Every row at one slot, its stamp beside it: three rows stand between two slots."""
    path = plant_data / "sme_discrete_manufacturing/company_A_labelled_assets_0_1.csv.gz"
    own = [row for row in rows(path) if row["asset"] == "0" and row["ts"].startswith("2022-09-05")]
    stamps_s = [us(row["ts"][:19]) // 1_000_000 for row in own]
    parts = np.cumsum([0, *(int(float(row["items"])) for row in own)]).tolist()
    opening = {"power_w": None, "parts_count": parts[0], "sampled_at_s": stamps_s[0] - 300}
    shown = [
        {"power_w": 1000 * number(row["power_avg"]), "parts_count": count, "sampled_at_s": at_s}
        for row, count, at_s in zip(own, parts[1:], stamps_s, strict=True)
    ]
    asleep = (stamps_s[0] * 1_000_000 - TOOL_DAY_US) // SLOT_US - 1
    section = "{power_is: mean_right, metering: {power_step_w: 1000}}"
    return Table("tool", TOOL, TOOL_DAY_US, 300, [None] * asleep + [opening, *shown],
                 equipment=section)  # fmt: skip


@pytest.fixture(scope="module")
def melt(plant_data):
    return places(plant_data / "ladle_arc_furnace_2019", "2019-05-10")


@pytest.fixture(scope="module")
def hours(plant_data):
    folder = plant_data / "korea_gist_campus_2022"
    return {device: published(folder, device, *CAMPUS_DAYS) for device in FILES}


@pytest.fixture(scope="module")
def audit(run, plant_data, melt, hours):
    """All of the supplier at once; the second place of the furnace while it was used."""
    first, second = melt
    return run(
        [
            furnace("ladle-1", first, MELT_US),
            furnace("ladle-2", second, second.used_us),
            tool(plant_data),
            *(campus(device, of) for device, of in hours.items()),
        ]
    )


@pytest.fixture(scope="module")
def asked(audit):
    with answering(audit) as asked:
        yield asked


@pytest.fixture(scope="module")
def declared(run, melt):
    """The control: two hours of the furnace, its power taken for megawatts."""
    return run([furnace("ladle-1", melt[0], NIGHT_US, watts=MEGAWATT)])


@pytest.fixture(scope="module")
def asked_declared(declared):
    with answering(declared) as asked:
        yield asked


def held_hours(times_us, values, edges_us):
    """What a rate without a unit is over time: of that unit, times hours."""
    return left_hold(times_us, values, edges_us, ALWAYS_US)[0]


def of_heats(kept):
    """What each heat took, by its key: from its first sign until the next one's."""
    times_us, heats = changes(kept, "heat_state")
    burned = held_hours(*changes(kept, "power_unstated"), times_us)
    return dict(zip(heats[:-1].astype(int).tolist(), burned.tolist(), strict=True))


def test_arcs_at_their_own_times_add_up_and_so_do_the_heats(audit, melt, told):
    whole_us = np.array(MELT_US)
    burned, lasted, polled = 0.0, 0.0, 0.0
    heats: dict[int, float] = {}
    arcs = 0
    for device in ("ladle-1", "ladle-2"):
        times_us, power = changes(audit[device], "power_unstated")
        arcs += int((power > 0).sum())
        burned += held_hours(times_us, power, whole_us)[0]
        lasted += held_hours(times_us, (power > 0).astype(float), whole_us)[0]
        held = audit[device].history
        polled += held_hours(held.slot_us, held.gauges["power_unstated"], whole_us)[0]
        heats |= of_heats(audit[device])
    due = {arc.heat: 0.0 for place in melt for arc in place.arcs}
    for arc in (arc for place in melt for arc in place.arcs):
        due[arc.heat] += float(arc.active) * (arc.end_us - arc.start_us) / HOUR_US
    of_no_heat = heats.pop(0)  # before the first one

    assert burned == pytest.approx(P_HOURS, abs=5e-7)
    assert lasted == pytest.approx(ARC_HOURS, abs=5e-5)
    assert (arcs, sum(burned > 0 for burned in heats.values())) == (ARCS, HEATS)
    assert {heat: used for heat, used in heats.items() if used} == pytest.approx(due, abs=1e-9)
    assert of_no_heat == 0
    assert abs(sum(heats.values()) - burned) < 1e-9
    assert abs(polled - burned) > 1e-3  # the control: by the slots, not by the server's times
    told("day 5: ladle furnace, 2019-05-10 [P-unit h]", f"{burned:.6f}", "5.402771")
    told("day 5: ladle furnace, heats, arcs, hours of arcs", f"{HEATS}, {arcs}, {lasted:.4f}",
         "30, 131, 6.2103")  # fmt: skip
    told("day 5: ladle furnace, its heats together [P-unit h]", f"{sum(heats.values()):.6f}",
         "the total, to 1e-9")  # fmt: skip
    told("day 5: ladle furnace, times of slots instead (control) [P-unit h]", f"{polled:.4f}",
         "not 5.4028")  # fmt: skip


def test_every_dip_of_the_lance_is_read_and_grows_stale(audit, melt, told):
    dips = [dip for place in melt for dip in place.dips]
    found, codes = [], set()
    for device in ("ladle-1", "ladle-2"):
        times_us, values = changes(audit[device], "temperature_k")
        found += list(zip(times_us[:-1].tolist(), values[:-1].tolist(), strict=True))
        codes |= {record.quality.get("temperature_k") for record in audit[device].tree.records}

    assert sorted(found) == sorted((dip.at_us, float(dip.temperature_k)) for dip in dips)
    assert codes == {None, "stale", "bad_status"}  # good, old, and before the first
    told("day 5: ladle furnace, temperatures", f"{len(found)}, later `stale`", "158, sparse")


def numbers_of_energy(analysis):
    """The figures of an answer, of its spans too, that are an energy, a power or a mass."""
    spans = [figure for span in analysis["spans"] for figure in span["figures"]]
    return {
        figure["name"]: figure["value"]
        for figure in (*analysis["figures"], *spans)
        if figure["unit"] in ENERGY_UNITS and figure["value"] is not None
    }


def numbers_shown(page):
    """Amounts of energy, power or CO2e that a reader of the page finds."""
    text = re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL))
    return A_NUMBER_OF_IT.findall(text)


@pytest.mark.parametrize("device", ["ladle-1", "ladle-2"])
def test_without_a_unit_no_energy_and_no_co2e_comes_out_anywhere(asked, audit, device, told):
    analysis, days, stated = (asked.of(device, what) for what in ("analysis", "days", "figures"))
    [of_device] = days["devices"]
    findings = [item for item in analysis["findings"] if item["code"] == "unit_unstated"]

    assert numbers_of_energy(analysis) == {}
    assert {item["what"].split("'")[1] for item in findings} == {
        "power_unstated", "reactive_unstated",
    }  # fmt: skip
    assert of_device["basis"] == "none"
    assert of_device["total_wh"] is of_device["carbon"]["co2e_kg"] is None
    assert of_device["carbon"]["why"] == "no_energy"
    assert stated["windows"]
    assert not {f["name"] for w in stated["windows"] for f in w["figures"]} & {
        figure["name"] for figure in analysis["figures"] if figure["unit"] in ENERGY_UNITS
    }
    assert all("unit_unstated" in window["findings"] for window in stated["windows"])
    assert asked.of(device, "records?limit=1")["sum"] is None
    assert all(f.value is None for f in audit[device].analysis.figures if f.name.endswith("_wh"))
    assert numbers_shown(asked.page(f"/sites/works/devices/{device}")) == []
    told("day 5: ladle furnace, energy and CO2e", "none: `unit_unstated`", "none")


def test_a_unit_that_is_declared_though_nobody_stated_it_gives_numbers(asked_declared, told):
    """The control: what the refusal keeps away. Whatever they are, they are not published."""
    analysis, days, stated = (
        asked_declared.of("ladle-1", what) for what in ("analysis", "days", "figures")
    )
    [of_device] = days["devices"]

    assert numbers_of_energy(analysis)["electricity_wh"] > 0
    assert of_device["total_wh"] > 0
    assert float(of_device["carbon"]["co2e_kg"]) > 0
    assert all(f["value"] for w in stated["windows"] for f in w["figures"])
    assert numbers_shown(asked_declared.page("/sites/works/devices/ladle-1"))
    told("day 5: ladle furnace, its unit declared (control)", "kWh and CO2e", "kWh and CO2e")


def reported(audit, plan):
    """The report on a plan, as the command makes it."""
    path = audit.ledger.with_name("plan.yaml")
    path.write_text(plan, "utf-8")
    return issued_of(gather(load_project(path)), "2022-10-01T00:00:00Z")


PLAN = """\
id: supplier
title: "{title}"
site: works
measure: {{name: "{title}", description: "nothing was changed", implemented: 2022-07-04}}
time_zone: Asia/Seoul
energy: {{device: {device}, point: {point}}}
drivers:
  - {{device: feeders, point: {other}, name: "{name}", synthetic: false}}
baseline: {{from: 2022-07-03, to: 2022-07-04}}
reporting: {{from: 2022-07-04, to: 2022-07-05}}
unit: hour
production_cycle_days: 1
sufficiency_policy: iso50006-production
confidence: 0.9
creditable_policy: lower-bound-one-sided-95
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
evidence: ledger.db
"""


def test_a_report_on_the_furnace_is_refused(audit):
    plan = PLAN.format(device="ladle-1", point="power_unstated", title="melting", name="other",
                       other=point(1, "imported_wh"))  # fmt: skip
    with pytest.raises(MeasureError) as caught:
        reported(audit, plan)
    assert caught.value.code == "not_a_counter"


def test_a_report_on_a_feeder_carries_its_hangul_name_byte_for_byte(audit, hours):
    first, second, *_ = hours["feeders"].kwh
    plan = PLAN.format(device="feeders", point=point(0, "imported_wh"), title=first, name=second,
                       other=point(1, "imported_wh"))  # fmt: skip
    issued = reported(audit, plan)
    kwh = float(sum(hours["feeders"].kwh[first][24:]))
    total = audit["feeders"].counter(point(0, "imported_wh")).totals(CAMPUS_DAY_US).total[0]

    for name in (first, second):
        assert f'"{name}"'.encode() in issued.report_json
        assert name.encode() in issued.report_html
    assert total / 1000 == pytest.approx(kwh, abs=1e-6)


def test_a_tool_in_whole_kilowatts_has_its_energy_its_parts_and_its_band(audit, asked, told):
    kept = audit["tool"]
    span_us = np.array([TOOL_DAY_US, int(kept.history.slot_us[-1])])
    power_w = kept.history.gauges["power_w"]
    energy_wh, covered_us = power_energy(kept.history.slot_us, power_w, span_us, SLOT_US)
    kwh, covered_h = energy_wh[0] / 1000, covered_us[0] / HOUR_US
    parts = int(kept.counter("parts_count").totals(span_us).total[0])
    band_kwh = HALF_STEP_W * covered_h / 1000
    by_stamp = kept.analysis.figure("integrated_energy_wh")
    measured_us = kept.samples.t_us[~np.isnan(kept.samples.values["power_w"])]
    day_ratio = np.sum(measured_us % SLOT_US == 0) * SLOT_US / DAY_US

    assert kwh == pytest.approx(TOOL_KWH, abs=5e-5)
    assert parts == PARTS
    assert covered_us[0] == TOOL_ROWS * SLOT_US
    assert np.isin(power_w[~np.isnan(power_w)], 1000 * np.arange(5)).all()
    assert {gap.cause for gap in kept.history.gaps} == {ASLEEP}
    assert kept.tree.records[0].quality["power_w"] == "sentinel"
    assert (measured_us.size, day_ratio) == (TOOL_ROWS, 222 / 288)
    # By the stamps three rows stand between two slots, and the first has no beginning: 221 slots.
    steps_h = np.diff(measured_us) / HOUR_US
    good_w = power_w[~np.isnan(power_w)]
    assert by_stamp.value == pytest.approx(float(steps_h @ good_w[1:]), rel=1e-9)
    assert steps_h.sum() == pytest.approx(221 / 12)
    assert abs(kwh - by_stamp.value / 1000) < 0.5 < band_kwh
    [shown] = [figure for figure in asked.of("tool", "analysis")["figures"]
               if figure["name"] == "integrated_energy_wh"]  # fmt: skip
    assert shown["value"] == pytest.approx(by_stamp.value, rel=1e-9)
    told("day 5: machine tool, 2022-09-05 [kWh]", f"{kwh:.4f} +-{band_kwh:.3f} (+-0.5 kW)",
         "51.6667, 225 rows of 5 min")  # fmt: skip
    told("day 5: machine tool, by the time between its stamps [kWh]",
         f"{by_stamp.value / 1000:.4f} over {steps_h.sum():.2f} h",
         "three rows between slots")  # fmt: skip
    told("day 5: machine tool, parts", parts, "886")
    told("day 5: machine tool [kWh per part]",
         f"{kwh / parts:.4f} +-{band_kwh / parts:.4f}, {day_ratio:.1%} of the day",
         "with coverage")  # fmt: skip


def day_kwh(audit, hours, device):
    """By name and way what its counters counted on 4 July."""
    return {
        (tag, way): audit[device].counter(point(k, way)).totals(CAMPUS_DAY_US).total[0] / 1000
        for k, tag in enumerate(hours[device].kwh)
        for way in ways(device)
    }


def test_the_campus_has_its_published_day_and_keeps_what_roofs_draw(audit, hours, told):
    roofs, feeders = (day_kwh(audit, hours, device) for device in FILES)
    drawn = sum(kwh for (_, way), kwh in roofs.items() if way == "imported_wh")
    found = {"roofs": sum(roofs.values()) - 2 * drawn, "feeders": sum(feeders.values())}

    assert found == pytest.approx(CAMPUS_KWH, abs=0.05)
    assert drawn == pytest.approx(1.4)  # five hours below 0
    for device in FILES:
        assert not any(audit[device].counter(p.name).events
                       for p in audit[device].history.profile.points)  # fmt: skip
        told(f"campus {device}, 2022-07-04 [kWh]", round(found[device], 1),
             f"{CAMPUS_KWH[device]:,}")  # fmt: skip


def test_no_total_adds_feeders_that_may_hang_below_each_other(audit, asked, hours):
    """(E) feeders are told apart by their names, and nothing sums what nobody said belongs."""
    feeders = day_kwh(audit, hours, "feeders")
    apart = sum(kwh for (tag, _), kwh in feeders.items() if EMERGENCY in tag)
    [of_device] = asked.of("feeders", "days")["devices"]

    assert sum(EMERGENCY in tag for tag in hours["feeders"].kwh) == 18
    assert 0 < apart < CAMPUS_KWH["feeders"] - 1000
    assert of_device["basis"] == "none"
    assert of_device["total_wh"] is None


def test_hangul_names_lead_from_the_ledger_to_the_series_byte_for_byte(audit, asked, hours, told):
    """The tag is the variable's own name; its point's amounts are those published under it."""
    start, end = (f"{np.datetime64(int(at), 'us')}Z" for at in CAMPUS_DAY_US)
    for device in FILES:
        check_names(audit[device], hours[device])
        model = audit[device].history.profile
        sought = [f";s={tag}|{ways(device)[0]}" for tag in hours[device].kwh]
        named = {p.node.partition("urn:test:campus")[2]: p.name for p in model.points}
        assert [*named][:: len(ways(device))] == sought
        for place, kwh in zip(sought[::7], [*hours[device].kwh.values()][::7], strict=True):
            query = f"amounts?point={named[place]}&from={start}&to={end}"
            amounts = asked.of(device, query)["amounts"]
            due = [float(max(value, Decimal(0))) for value in kwh[24:]]
            assert [row["amount"] / 1000 for row in amounts] == pytest.approx(due, abs=1e-6)
    told("campus: Hangul tags, byte for byte in ledger", sum(len(h.kwh) for h in hours.values()),
         "57")  # fmt: skip
