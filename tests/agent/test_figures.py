"""What an agent states of its machines is in the tree, and whoever has the tree repeats it."""

import json
import random
import threading
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from math import inf
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent import foreseen
from joulemark_agent.agent import Agent
from joulemark_agent.approved import warm_kernels
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import ConfigError, EvidenceError, StoreError
from joulemark_agent.contract.reading import Gap
from joulemark_agent.equipment import Analysis, Figure, air_compressor
from joulemark_agent.equipment.air_compressor import Parameters
from joulemark_agent.figures import VERSION, Subject, Taken, agree, stated, states_figures, step
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.outbox import Outbox
from joulemark_agent.settings import load_site, site_document
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.claims import check_figures, is_repeated
from joulemark_gateway.evidence.history import Event
from joulemark_gateway.series.base import QUALITY, Carry
from joulemark_gateway.series.project import part_of
from joulemark_gateway.verify import documents as documents_step
from joulemark_gateway.verify.verdict import Verdict
from support import evidence
from support.evidence import METER, START_US
from support.recording import database, kept, recorded, recorder, state
from support.sites import HEAD
from support.stated import PINNED, PROFILES, statement

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


def rows(count):
    """What the agent takes of the first readings."""
    return [
        Taken(i, r.slot_us, r.t_utc_us, *decode_responses(SUBJECT.profile, r.responses))
        for i, r in enumerate(READINGS[:count])
    ]


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

    monkeypatch.setattr(foreseen, "stated", broken)
    writer = recorder(outbox, device())
    writer.commit(READINGS[: WINDOW + 1])
    [said] = statements(outbox)
    assert (said["figures"], said["absent"], said["findings"]) == ({}, [], ["figures_failed"])
    check(outbox)
    tree = tree_of(outbox)
    assert [is_repeated(tree, event) for event in tree.figures] == [False]
    assert len(kept(outbox, MACHINE).of_type(None)) == WINDOW + 1
    assert [record.message for record in caplog.records] == ["figures_failed"]


@pytest.mark.parametrize("name", ["Energy_wh", "x" * 64, "energy wh"])
def test_figures_that_no_collector_would_take_are_not_written(outbox, monkeypatch, name):
    named = Analysis((Figure(name, 1.0, 1.0),))
    monkeypatch.setattr(air_compressor, "analyse", lambda *_: named)
    recorder(outbox, device()).commit(READINGS[: WINDOW + 1])
    [event] = tree_of(outbox).figures
    assert event.fields["findings"] == ["figures_failed"]


def test_an_uncertainty_without_end_is_none():
    name = "energy_wh"
    endless = Figure(name, 1.0, 1.0, standard_uncertainty=inf, degrees_of_freedom=inf)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(air_compressor, "analyse", lambda *_: Analysis((endless,)))
        given = stated(SUBJECT, rows(WINDOW + 1))
    assert (given["figures"][name]["u"], given["figures"][name]["nu"]) == (None, "inf")


def test_figures_computed_before_a_commit_are_those_computed_in_it(tmp_path, monkeypatch):
    with closing(Outbox(state(tmp_path / "one"))) as box:
        recorder(box, device()).commit(READINGS[: WINDOW + 1])
        [wanted] = statements(box)
    calls = []

    def counted(*all_):
        calls.append(1)
        return stated(*all_)

    monkeypatch.setattr(foreseen, "stated", counted)
    for before in (WINDOW, WINDOW - 1):  # a slot that was skipped is a leaf in between
        with closing(Outbox(state(tmp_path / str(before)))) as box:
            writer = recorder(box, device())
            writer.commit(READINGS[:before])
            assert writer.foresee(READINGS[before - 1]) is None
            work = writer.foresee(READINGS[WINDOW])
            assert work is not None
            work()
            computed = len(calls)
            writer.commit([READINGS[WINDOW]])
            assert len(calls) == computed
            check(box)
            assert (statements(box) == [wanted]) == (before == WINDOW)


async def test_other_lines_are_read_while_figures_are_computed():
    threads = []
    works = {0: lambda: threads.append(threading.get_ident()), 1: None}
    agent: Any = SimpleNamespace(_recorder=SimpleNamespace(foresee=works.__getitem__))
    results: Any = [0, 1]
    await Agent._foresee(agent, results)
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


def test_what_was_computed_of_another_window_is_not_stated(outbox):
    writer = recorder(outbox, device())
    writer.commit(READINGS[: WINDOW - 10])
    work = writer.foresee(READINGS[WINDOW])
    assert work is not None
    work()
    writer.commit(READINGS[WINDOW - 10 : WINDOW + 1])
    check(outbox)


def test_a_model_is_ready_before_a_window_ends(monkeypatch):
    seen = []

    def analyse(*all_):
        seen.append(all_)
        return Analysis()

    monkeypatch.setattr(air_compressor, "analyse", analyse)
    warm_kernels([device()])
    assert len(seen) == 1


def test_a_device_that_came_back_within_a_window_says_that_it_forgot(outbox):
    other = recorded(SITE, METER)
    writer = recorder(outbox, device(), other)
    writer.commit(READINGS[:20])
    writer.change([other])
    writer.change([device(), other])
    writer.commit(READINGS[20 : WINDOW + 1])
    [found] = statements(outbox)
    assert found["first_seq"] == kept(outbox, MACHINE).of_type(None)[20]["seq"]
    check(outbox)


@pytest.mark.parametrize("seed", range(6))
def test_statements_hold_whatever_happens_to_the_agent(tmp_path, seed):
    chance, at = random.Random(seed), 0
    box = Outbox(state(tmp_path))
    writer = recorder(box, device(), slots=chance.choice([7, 25, 96]))
    while at < len(READINGS):
        step_ = chance.randint(1, 12)
        new = READINGS[at : at + step_]
        at += step_ + chance.choice([0, 0, 0, 9, WINDOW])
        if (work := writer.foresee(new[0])) is not None:
            work()
        writer.commit(new)
        match chance.randint(0, 5):
            case 0:
                writer.seal_all()
            case 1:
                box.close()
                box = Outbox(state(tmp_path))
                writer = recorder(box, device(), slots=chance.choice([7, 25, 96]))
    assert len(statements(box)) >= 2
    check(box)
    box.close()


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


def renumbered(contents):
    """A tree of other leaves, hashed anew as its author could."""
    numbered = [{**content, "seq": str(i)} for i, content in enumerate(contents)]
    return history.parse_tree([canonical_bytes(content) for content in numbered])


def split(outbox):
    """The leaves before the first statement, and those from it on."""
    contents = kept(outbox, MACHINE).contents
    at = next(i for i, content in enumerate(contents) if content.get("type") == "figures")
    return contents[:at], contents[at:]


def refused(tree):
    with pytest.raises(EvidenceError) as caught:
        check_figures(tree, SITE.by_digest(MACHINE))
    assert caught.value.code == "figures_mismatch"
    return str(caught.value)


def test_a_window_that_is_stated_twice_or_later_is_found(outbox):
    recorder(outbox, device()).commit(READINGS[: WINDOW + 3])
    before, (said, *after) = split(outbox)
    check_figures(renumbered([*before, said, *after]), SITE.by_digest(MACHINE))
    refused(renumbered([*before, said, said]))
    refused(renumbered([*before, *after, said]))


def test_a_bad_hour_that_is_not_stated_is_found(outbox):
    recorder(outbox, device()).commit(READINGS[: WINDOW + 3])
    before, (_, *after) = split(outbox)
    assert "not stated" in refused(renumbered([*before, *after]))
    # The batch that holds the statement may be the next one.
    check_figures(renumbered(before), SITE.by_digest(MACHINE))


def test_records_out_of_the_order_of_their_slots_move_into_no_window(outbox):
    recorder(outbox, device()).commit(READINGS[: WINDOW + 3])
    before, after = split(outbox)
    assert "earlier slot" in refused(
        renumbered([*before[:-3], before[-2], before[-3], before[-1], *after])
    )


@pytest.mark.parametrize("seal_first", [True, False])
def test_a_restart_excuses_no_more_than_what_it_forgot(tmp_path, seal_first):
    box = Outbox(state(tmp_path))
    writer = recorder(box, device())
    writer.commit(READINGS[:30])
    if seal_first:
        writer.seal_all()
    writer.commit(READINGS[30:40])
    box.close()
    box = Outbox(state(tmp_path))
    recorder(box, device()).commit(READINGS[40 : WINDOW + 5])
    check(box)
    seqs = [row.seq for row in tree_of(box).records]
    first, last = (30, WINDOW) if seal_first else (0, WINDOW)
    for other in (first + 1, 40, max(first - 1, 0)):
        if other == first:
            continue
        taken = [
            Taken(r.seq, r.slot_us, r.t_utc_us, r.values, r.quality)
            for r in tree_of(box).records[other : last + 1]
        ]
        lie = stated(SUBJECT, taken)
        assert int(lie["first_seq"]) == seqs[other]
        refused(forged(box, lambda content, lie=lie: content.update(lie)))
    box.close()


def test_a_model_that_breaks_down_over_records_refutes_what_is_stated_of_them(outbox, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    recorder(outbox, device()).commit(READINGS[: WINDOW + 3])
    monkeypatch.setattr(air_compressor, "analyse", broken)
    assert "give no figures" in refused(tree_of(outbox))


def test_what_another_version_stated_is_not_repeated_and_not_refuted(outbox):
    recorder(outbox, device()).commit(READINGS[: 2 * WINDOW + 1])

    def of_another_version(content):
        content["version"] = "999"
        content["figures"]["energy_wh"]["value"] = "1"

    tree = forged(outbox, of_another_version)
    check_figures(tree, SITE.by_digest(MACHINE))
    assert [is_repeated(tree, event) for event in tree.figures] == [False, True]
    case: Any = SimpleNamespace(files={}, trees={(MACHINE, 1): tree})
    counts = Verdict("verified", (), None, case).counts
    assert (counts["stated_windows"], counts["stated_windows_not_repeated"]) == (2, 1)
    # One of ours beside it is repeated all the same.
    refused(replace(tree, figures=(tree.figures[0], told_wrongly(tree.figures[1]))))


@pytest.mark.parametrize("name", PROFILES)
def test_figures_that_differ_from_those_before_have_another_version(name):
    pinned = json.loads(PINNED.read_text("utf-8"))[name]
    assert agree(pinned, statement(name)), (
        "A model gives other figures. If it is meant: raise figures.VERSION once since the last"
        " release, so that nobody refutes old evidence, and run 'python -m support.stated'."
    )


def told_wrongly(event):
    figures = {**event.fields["figures"], "energy_wh": event.fields["figures"]["load_s"]}
    return replace(event, fields={**event.fields, "figures": figures})


@pytest.mark.parametrize(
    "row",
    [
        {"figures_every_s": EVERY_S, "equipment": {"bogus": "1"}},
        {"figures_every_s": 7},
        {"figures_every_s": -1},
        {"figures_every_s": "600"},
        {"figures_every_s": 864_000},
    ],
)
def test_a_site_document_that_hides_statements_from_the_verifier_is_an_objection(outbox, row):
    site = evidence.documents(
        period_s=PERIOD_S, first_slot_us=FIRST_US, profiles={MACHINE: PROFILE},
        settings={MACHINE: row},
    )  # fmt: skip
    recorder(outbox, recorded(site, MACHINE))
    said = Event(9, "figures", {"version": VERSION, "findings": []})
    tree = replace(tree_of(outbox), figures=(said,))
    case: Any = SimpleNamespace(documents=site.by_digest(MACHINE))
    with pytest.raises(EvidenceError) as caught:
        documents_step._check_content(tree, case)
    assert caught.value.code == "bad_document"


def test_the_last_bits_of_a_number_may_differ_and_no_more():
    given = stated(SUBJECT, rows(WINDOW + 1))
    name = next(name for name, figure in given["figures"].items() if float(figure["value"]))
    value = float(given["figures"][name]["value"])

    def told(other):
        changed = {**given["figures"][name], "value": repr(other)}
        return {**given, "figures": {**given["figures"], name: changed}}

    assert states_figures(given)
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
        {"version": "one"},
        {"absent": ["u_power_w"]},
        {"absent": [f"x{i}_wh" for i in range(501)]},
        {"figures": {"p_w": {"covered": "1", "flags": [], "nu": None, "u": "inf", "value": "1"}}},
        {"figures": {"p_w": {"covered": "1", "flags": [], "nu": [], "u": None, "value": "\u0661"}}},
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
