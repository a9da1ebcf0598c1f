import math
import struct
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from joulemark_agent.contract.profile import SUNSPEC_WORDS, Profile
from joulemark_agent.kernels.chain import (
    Chain,
    Closed,
    Device,
    Factors,
    begun_chain,
    chain_of,
    step_chain,
)
from joulemark_agent.kernels.clean import all_zero_steps
from joulemark_agent.kernels.counter import LARGEST, count_of, follow, semantics_of
from joulemark_agent.kernels.decode import NOT_DUE, absent, decode_responses
from joulemark_agent.kernels.energy import counter_energy
from joulemark_agent.kernels.stream import BAD, INST, NONE, POINT, START_US, Rule, named
from support.counters import profile_of
from support.lineup import Readings, readings
from support.streams import FIRST_US, HOUR, MINUTE, Fed, S, windows

ZONE = ZoneInfo("Asia/Seoul")
NAMES = ["eastron_sdm630", "schneider_iem3000", "virtual_main_meter", "sungrow_sg", "abb_b23"]
SLOTS = 250


@pytest.fixture(scope="module")
def made() -> Readings:
    return readings(NAMES, SLOTS, np.random.default_rng(8))


@pytest.fixture(scope="module")
def chain(made: Readings) -> Chain:
    return chain_of(made.devices, MINUTE, ZONE)


def run(chain: Chain, made: Readings, cuts=(), factors: Factors | None = None) -> Closed:
    """All slots, in blocks; windows by point and time."""
    state = begun_chain(chain)
    found = [
        step_chain(chain, state, *made.part(start, end), factors)
        for start, end in pairwise([0, *cuts, made.t_us.size])
    ]
    rows, kg, u_kg = (np.concatenate([one[k] for one in found]) for k in range(3))
    order = np.lexsort((rows[:, START_US], rows[:, POINT]))
    events = sorted((event for one in found for event in one.events), key=str)
    return Closed(rows[order], kg[order], u_kg[order], tuple(events))


def decoded(made: Readings, device: int):
    """Slot, values and quality of every reading of a device, by the exact decoder."""
    profile = made.devices[device].profile
    return [
        (slot, *decode_responses(profile, made.responses(device, slot)))
        for slot in np.flatnonzero(made.is_read[:, device]).tolist()
    ]


@pytest.mark.endurance
def test_gauges_are_those_of_decoding_one_by_one_and_integrating_alone(made, chain):
    rows = run(chain, made).rows
    compared = 0
    for device in range(len(NAMES)):
        answers = decoded(made, device)
        for k in chain.gauges.tolist():
            if chain.owner[k] != device:
                continue
            name = chain.points[k][1]
            x, q = np.zeros((SLOTS, 1)), np.full((SLOTS, 1), NONE, np.uint8)
            for slot, values, quality in answers:
                if quality.get(name) != NOT_DUE:
                    q[slot] = BAD if name in quality else 0
                    x[slot] = float(values.get(name, "nan"))
            alone = windows([Rule(INST, 3 * S, MINUTE)], Fed(made.t_us, x, q, made.cut))
            alone[:, POINT] = k
            assert rows[rows[:, POINT] == k].tobytes() == alone.tobytes(), name
            compared += alone.shape[0]
    assert compared > 200


def test_counters_are_those_of_following_one_by_one_and_booking_alone(made, chain):
    closed = run(chain, made)
    rows, compared, events = closed.rows, 0, []
    edges_us = FIRST_US + np.arange(SLOTS // 60 + 2) * MINUTE
    for k in chain.counters.tolist():
        device, name = chain.points[k]
        profile = made.devices[device].profile
        answers = decoded(made, device)
        raw = np.array([-1 if name in q else count_of(v[name]) for _, v, q in answers], np.int64)
        raw[raw >= 2**53] = -1
        ok = np.ones(raw.size, np.bool_)
        for rule in profile.rules:
            gauges, counts = (
                [[form(v[one]) if one not in q else none for _, v, q in answers] for one in names]
                for names, form, none in (
                    (rule.gauges, float, np.nan),
                    (rule.counters, count_of, -1),
                )
            )
            ok[1:] &= all_zero_steps(np.array(counts, np.int64), np.array(gauges))
        t_us = made.t_us[[slot for slot, *_ in answers]]
        rule = semantics_of(profile, profile.point(name), S)
        found = follow(rule, t_us, np.maximum(raw, 0), raw >= 0, ok, ZONE)
        events += [(k, event) for event in found.events]
        whole = np.ones(found.t_us.size, np.bool_)
        energy, covered, estimated, *_ = counter_energy(
            found.t_us, found.count, whole, found.step[1:], edges_us, LARGEST
        )
        mine = named(rows[rows[:, POINT] == k])
        mine = mine[mine["end_us"] - mine["start_us"] == MINUTE]
        place = ((mine["start_us"] - FIRST_US) / MINUTE).astype(np.int64)
        booked = pytest.approx(energy[place].tolist(), rel=1e-12, abs=1.000001)
        assert mine["import_wh"].tolist() == booked, name
        assert mine["covered_us"].tolist() == covered[place].tolist(), name
        assert mine["estimated_us"].tolist() == estimated[place].tolist(), name
        compared += mine.size
    assert compared > 50
    assert closed.events == tuple(sorted(events, key=str))
    assert closed.events, "the stirred counters must do something"


def test_slots_give_the_same_windows_however_they_are_cut_into_blocks(made, chain):
    whole = run(chain, made)
    for cuts in (range(1, SLOTS), range(7, SLOTS, 7), (1, 200, 201)):
        parts = run(chain, made, cuts)
        assert parts.rows.tobytes() == whole.rows.tobytes()
        assert parts.events == whole.events


def test_only_energy_has_co2e_and_that_of_the_factor_of_its_time(made, chain):
    factors = Factors(FIRST_US + np.arange(3) * HOUR // 12, np.array([0.4, 0.5]), np.full(2, 0.1))
    closed = run(chain, made, (), factors)
    for row, kg, u_kg in zip(named(closed.rows), closed.co2e_kg, closed.co2e_u_kg, strict=True):
        name = chain.points[int(row["point"])][1]
        if not name.endswith(("_w", "_wh")) or row["end_us"] - row["start_us"] > MINUTE:
            assert np.isnan(kg) or row["import_wh"] == 0, name
            continue
        factor = 0.4 if row["end_us"] <= FIRST_US + HOUR // 12 else 0.5
        assert kg == pytest.approx(row["import_wh"] / 1000 * factor, rel=1e-12)
        assert u_kg == pytest.approx(abs(kg) * 0.1, rel=1e-12)
    assert np.isnan(run(chain, made).co2e_kg).all()


@pytest.mark.parametrize("kind", SUNSPEC_WORDS)
def test_no_way_of_saying_not_available_reaches_a_sum(kind):
    """Of any SunSpec type, and of its scale factor; three seconds are missing for each."""
    size = 2 * SUNSPEC_WORDS[kind]
    point = {"name": "power_w", "model": 103, "offset": 2, "type": kind}
    profile = Profile.model_validate(
        profile_of().model_dump(mode="json", exclude_unset=True)
        | {"protocol": "sunspec", "points": [point | {"scale_offset": 2 + size // 2}]}
        | {"golden": [{"point": "power_w", "words": [0] * (size // 2 + 1), "value": None}]}
    )
    is_float = kind.startswith("float")
    code = {4: ">f", 8: ">d"}[size] if is_float else f">{'_HI_Q'[size // 2]}"
    good = struct.pack(code, 100)
    missing = struct.pack(code, math.nan if is_float else absent(kind, 8 * size))
    wrong = {50: (missing, 1), 100: (good, -32768), 150: (missing, -32768)}
    rows = [
        struct.pack(">HH", 103, size // 2 + 1) + word + struct.pack(">h", factor)
        for word, factor in (wrong.get(slot, (good, 1)) for slot in range(241))
    ]
    made = Readings(
        [Device(profile, (("sunspec", 103, len(rows[0])),), S)],
        FIRST_US + np.arange(241) * S,
        np.frombuffer(b"".join(rows), np.uint8).reshape(241, -1),
        np.ones((241, 1), np.bool_),
        np.zeros(241, np.bool_),
    )
    found = named(run(chain_of(made.devices, 4 * MINUTE, ZONE), made).rows)
    assert (found["low"].tolist(), found["high"].tolist()) == ([1000.0], [1000.0])
    assert found["import_wh"].tolist() == pytest.approx([1000.0 * 234 / 3600])
    assert (found["missing_us"].tolist(), found["bad_samples"].tolist()) == ([6 * S], [3])


def test_a_block_of_another_line_up_is_refused(made, chain):
    t_us, data, is_read, cut = made.part(0, 3)
    with pytest.raises(ValueError, match="3 slots"):
        step_chain(chain, begun_chain(chain), t_us, data, is_read[:, :2], cut)


def test_a_line_up_of_nothing_closes_nothing():
    chain = chain_of([], MINUTE, ZONE)
    nothing = np.zeros((1, 0), np.uint8), np.zeros((1, 0), np.bool_), np.zeros(1, np.bool_)
    closed = step_chain(chain, begun_chain(chain), np.array([FIRST_US]), *nothing)
    assert (closed.rows.shape[0], closed.events) == (0, ())
