"""What an agent states of its machines is in the tree, and whoever has the tree repeats it."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent import recorder as recorders
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import ConfigError, EvidenceError, StoreError
from joulemark_agent.contract.reading import Gap
from joulemark_agent.equipment.air_compressor import Parameters
from joulemark_agent.figures import Subject, Taken, agree, is_statement, stated, step
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.outbox import Outbox
from joulemark_agent.settings import load_site, site_document
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.claims import check_figures
from joulemark_gateway.series.base import QUALITY, Carry
from joulemark_gateway.series.project import part_of
from support import evidence
from support.evidence import START_US
from support.recording import database, kept, recorded, recorder, state
from support.sites import HEAD

MACHINE, PERIOD_S, EVERY_S = "compressor", 10, 600
PERIOD_US, EVERY_US = PERIOD_S * 1_000_000, EVERY_S * 1_000_000
FIRST_US = START_US - START_US % EVERY_US
PROFILE = evidence.profile_mapping("virtual_compressor_a1")
SITE = evidence.documents(
    period_s=PERIOD_S,
    first_slot_us=FIRST_US,
    profiles={MACHINE: PROFILE},
    settings={MACHINE: {"figures_every_s": EVERY_S, "equipment": {"rated_power_w": "160000"}}},
)
SUBJECT = Subject(
    SITE.profile(MACHINE), Parameters(rated_power_w=160_000), PERIOD_US, EVERY_US, ZoneInfo("UTC")
)
WINDOW = EVERY_US // PERIOD_US


def shown(i: int, power_w: int = 150_000):
    """What the machine answered at slot i: loaded for five minutes, then unloaded for five."""
    values = {point.name: Decimal(0) for point in SITE.profile(MACHINE).points}
    slot_us = FIRST_US + i * PERIOD_US
    values["power_w"] = Decimal(power_w if i // 30 % 2 == 0 else power_w // 3)
    if "sampled_at_s" in values:
        values["sampled_at_s"] = Decimal(slot_us // 1_000_000)
    return evidence.reading(SITE.profile(MACHINE), MACHINE, slot_us, values)


READINGS = [shown(i) for i in range(4 * WINDOW)]


def device():
    return replace(recorded(SITE, MACHINE), figures=SUBJECT)


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(state(tmp_path))
    yield box
    box.close()


def statements(outbox):
    return kept(outbox, MACHINE).of_type("figures")


def tree_of(outbox):
    return history.parse_tree(kept(outbox, MACHINE).leaves)


def check(outbox):
    check_figures(tree_of(outbox), SITE.by_digest(MACHINE))


# -------------------------------------------------------------------- windows

slots = st.lists(st.integers(0, 40), min_size=1, max_size=60, unique=True).map(sorted)


@given(slots=slots, every=st.integers(1, 9), period=st.integers(1, 4))
def test_every_step_between_readings_of_one_window_is_closed_once(slots, every, period):
    window: tuple[Taken, ...] = ()
    closed: list[list[int]] = []
    for slot in slots:
        found, window = step(window, Taken(slot, slot, slot, {}, {}), every, period)
        closed.append([row.slot_us for row in found])
    steps = [pair for rows in closed for pair in pairwise(rows)]
    ended = window[0].slot_us // every
    whole = [
        (a, b)
        for a, b in pairwise(slots)
        if a // every != ended and b < (a // every + 1) * every + period
    ]
    assert steps == whole


def test_windows_meet_at_the_edge_and_are_stated_when_they_close(outbox):
    writer = recorder(outbox, device())
    writer.commit(READINGS[:WINDOW])
    assert statements(outbox) == []
    writer.commit(READINGS[WINDOW : 2 * WINDOW + 1])
    first, second = statements(outbox)
    assert [first["start"], first["end"]] == [str(FIRST_US), str(FIRST_US + EVERY_US)]
    assert first["last_seq"] == second["first_seq"]
    assert second["start"] == first["end"]
    energy = [float(row["figures"]["energy_wh"]["value"]) for row in (first, second)]
    assert energy == pytest.approx([100_000 / 6] * 2)  # the mean of 150 and 50 kW, ten minutes
    assert first["figures"]["energy_wh"]["covered"] == "1"
    check(outbox)


def test_a_machine_that_was_away_gets_the_window_of_what_it_showed(outbox):
    writer = recorder(outbox, device())
    lost = Gap(MACHINE, FIRST_US + 40 * PERIOD_US, FIRST_US + 99 * PERIOD_US, 60, "timeout")
    writer.commit([*READINGS[:40], lost, *READINGS[100:130]])
    first, second = statements(outbox)
    assert int(first["end"]) - int(first["start"]) == EVERY_US
    assert int(second["start"]) - int(first["start"]) == EVERY_US
    assert int(second["first_seq"]) > int(first["last_seq"])
    check(outbox)


@pytest.mark.parametrize("seal_first", [True, False])
def test_the_window_of_a_restart_names_the_records_after_it(tmp_path, seal_first):
    box = Outbox(state(tmp_path))
    writer = recorder(box, device())
    writer.commit(READINGS[:30])
    if seal_first:
        writer.seal_all()
    box.close()
    box = Outbox(state(tmp_path))
    recorder(box, device()).commit(READINGS[30 : WINDOW + 5])
    [found] = statements(box)
    records = kept(box, MACHINE).of_type(None)
    seqs = [int(leaf["seq"]) for leaf in records]
    assert int(found["first_seq"]) == seqs[30 if seal_first else 0]
    check(box)
    box.close()


def test_a_full_disk_costs_no_record_of_a_window(outbox):
    writer = recorder(outbox, device())
    writer.commit(READINGS[:20])
    writer.seal_all()
    pages = database(outbox).execute("pragma page_count").fetchone()[0]
    database(outbox).execute(f"pragma max_page_count = {pages}")
    with pytest.raises(StoreError):
        writer.commit(READINGS[20:60])
    database(outbox).execute("pragma max_page_count = 1000000")
    writer.commit(READINGS[20 : WINDOW + 1])
    [found] = statements(outbox)
    assert found["first_seq"] == kept(outbox, MACHINE).of_type(None)[0]["seq"]
    check(outbox)


def test_a_model_that_fails_stops_no_reading(outbox, monkeypatch, caplog):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(recorders, "stated", broken)
    writer = recorder(outbox, device())
    writer.commit(READINGS[: WINDOW + 1])
    assert statements(outbox) == []
    assert len(kept(outbox, MACHINE).of_type(None)) == WINDOW + 1
    assert [record.message for record in caplog.records] == ["figures_failed"]


# ------------------------------------------------------------------- verifying


def forged(outbox, change):
    """The tree with its first statement changed, and hashed anew as its author could."""
    leaves = kept(outbox, MACHINE).leaves
    at = next(i for i, leaf in enumerate(leaves) if parse_canonical(leaf).get("type") == "figures")
    content = parse_canonical(leaves[at])
    change(content)
    return history.parse_tree([*leaves[:at], canonical_bytes(content), *leaves[at + 1 :]])


def set_value(name, value):
    def change(content):
        content["figures"][name]["value"] = value

    return change


def without_first(content):
    content["first_seq"] = str(int(content["first_seq"]) + 1)


def without_last(content):
    content["last_seq"] = str(int(content["last_seq"]) - 1)


def without_a_figure(content):
    del content["figures"]["energy_wh"]


@pytest.mark.parametrize(
    "change",
    [
        set_value("energy_wh", "16000"),
        without_a_figure,
        without_first,
        without_last,
        lambda content: content.update(end=str(int(content["end"]) + EVERY_US)),
        lambda content: content["findings"].append("power_negative"),
        lambda content: content["figures"]["energy_wh"].update(covered="0.5"),
        lambda content: content["figures"]["energy_wh"].update(u="0.1"),
    ],
)
def test_a_statement_that_its_records_do_not_give_is_found(outbox, change):
    recorder(outbox, device()).commit(READINGS[: 2 * WINDOW])
    documents = SITE.by_digest(MACHINE)
    check_figures(forged(outbox, lambda content: content), documents)
    with pytest.raises(EvidenceError) as caught:
        check_figures(forged(outbox, change), documents)
    assert caught.value.code == "figures_mismatch"


def test_the_last_bits_of_a_number_may_differ_and_no_more():
    rows = [
        Taken(i, r.slot_us, r.t_utc_us, *decode_responses(SUBJECT.profile, r.responses))
        for i, r in enumerate(READINGS[: WINDOW + 1])
    ]
    given = stated(SUBJECT, rows)
    name = next(name for name, figure in given["figures"].items() if float(figure["value"]))
    value = float(given["figures"][name]["value"])

    def told(other):
        changed = {**given["figures"][name], "value": repr(other)}
        return {**given, "figures": {**given["figures"], name: changed}}

    assert is_statement(given)
    assert agree(told(value * (1 + 1e-12)), given)
    assert not agree(told(value * (1 + 1e-6)), given)


@pytest.mark.parametrize(
    "wrong",
    [
        {"figures": []},
        {"start": "-1"},
        {"first_seq": "9", "last_seq": "9"},
        {"absent": "power_w"},
        {"findings": [1]},
        {"figures": {"Power": {}}},
        {"figures": {"p_w": {"covered": "1", "flags": [], "nu": None, "u": None, "value": "1e9"}}},
        {"figures": {"p_w": {"covered": "1", "flags": [], "nu": None, "u": None, "value": None}}},
        {"more": "1"},
    ],
)
def test_what_is_no_statement_is_refused_as_a_leaf(outbox, wrong):
    recorder(outbox, device()).commit(READINGS[: 2 * WINDOW])
    with pytest.raises(EvidenceError) as caught:
        forged(outbox, lambda content: content.update(wrong))
    assert caught.value.code == "bad_leaf"


# ---------------------------------------------------------------------- series


def test_figures_are_points_of_the_series_however_the_leaves_are_cut(outbox):
    recorder(outbox, device()).commit(READINGS)
    tree = tree_of(outbox)
    known = (SITE.profile(MACHINE), PERIOD_US, ZoneInfo("UTC"))
    whole = part_of(tree, len(kept(outbox, MACHINE).leaves), *known, Carry()).points
    rows = {
        (name, int(at)): (value, code)
        for name, at, value, code in zip(
            whole.point, whole.t_utc_us, whole.value, whole.quality, strict=True
        )
    }
    for leaf in statements(outbox):
        for name, figure in leaf["figures"].items():
            code = QUALITY["uncertain" if figure["flags"] else "good"]
            assert rows["kpi_" + name, int(leaf["end"])] == (float(figure["value"]), code)
    assert len([name for name, _ in rows if name.startswith("kpi_energy_wh")]) == 3
    leaves = kept(outbox, MACHINE).leaves
    parts = []
    carry = Carry()
    for first in range(0, len(leaves), 37):
        cut = history.parse_part(leaves[first : first + 37], first, tree.grant, b"")
        part = part_of(cut, min(first + 37, len(leaves)), *known, carry)
        carry = part.carry
        parts += [
            (name, int(at), value)
            for name, at, value in zip(
                part.points.point, part.points.t_utc_us, part.points.value, strict=True
            )
        ]
    assert sorted(parts) == sorted((name, at, value) for (name, at), (value, _) in rows.items())


# ------------------------------------------------------------------- site file

COMPRESSOR = """\
  - {{id: machine, profile: {profile}, url: "modbus-tcp://127.0.0.1:502", unit: 1, period_s: 59,
     {more}}}
"""


def site(folder, more, profile="virtual_compressor_a1"):
    path = folder / "site.yaml"
    path.write_text((HEAD + COMPRESSOR).format(profile=profile, more=more), "utf-8")
    return path


def test_the_site_file_says_how_often_and_the_document_says_it_to_everybody(tmp_path):
    settings = load_site(
        site(tmp_path, "figures_every_s: 3600, equipment: {rated_power_w: 200_000}")
    )
    subject = settings.figures_of(settings.devices[0])
    assert subject is not None
    assert (subject.every_us, subject.period_us) == (3_600_000_000, 59_000_000)
    assert isinstance(subject.parameters, Parameters)
    assert subject.parameters.rated_power_w == 200_000
    assert b'"figures_every_s":3600' in site_document(settings)


def test_who_asks_for_no_figures_gets_none_and_the_document_of_before(tmp_path):
    settings = load_site(site(tmp_path, "timeout_s: 1.0"))
    assert settings.figures_of(settings.devices[0]) is None
    assert b"figures" not in site_document(settings)


@pytest.mark.parametrize(
    ("every", "profile", "said"),
    [
        ("7000", "virtual_compressor_a1", "do not divide a day"),
        ("60", "virtual_compressor_a1", "fewer than two periods"),
        ("30", "virtual_compressor_a1", "figures_every_s"),
        ("3600", "virtual_production_counter", "no equipment model"),
    ],
)
def test_windows_that_cannot_be_are_refused_with_their_line(tmp_path, every, profile, said):
    with pytest.raises(ConfigError, match=rf"site\.yaml:11:.*{said}"):
        load_site(site(tmp_path, f"figures_every_s: {every}", profile))
