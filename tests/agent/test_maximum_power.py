"""What a device's connection can carry bounds its energy counters, for agent and verifier alike."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from joulemark_agent import cli
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.kernels.counter import semantics_of
from joulemark_agent.settings import load_site, site_document
from joulemark_gateway.evidence import history
from joulemark_gateway.measure.intervals import counted
from support.evidence import METER, build_tree, documents, leaves_of, meter_readings
from support.sites import HEAD

SITE = (
    HEAD
    + """\
  - {{id: meter, profile: {profile}, url: "{url}", unit: 1, period_s: 900{more}}}
"""
)
METER_PROFILE, URL = "eastron_sdm630", "modbus-tcp://127.0.0.1:502"


def site(folder: Path, more: str = "", profile: str = METER_PROFILE, extra: str = "") -> Path:
    path = folder / "site.yaml"
    path.write_text(SITE.format(more=more, profile=profile, url=URL) + extra, "utf-8")
    return path


def test_it_stands_in_the_site_document_only_when_it_is_written(tmp_path: Path) -> None:
    assert b"maximum_power_w" not in site_document(load_site(site(tmp_path)))
    written = site_document(load_site(site(tmp_path, ", maximum_power_w: 69_000")))
    assert b'"maximum_power_w":69000' in written


def test_energy_counters_count_no_more_and_others_as_before(tmp_path: Path) -> None:
    settings = load_site(site(tmp_path, ", maximum_power_w: 69_000"))
    [device] = settings.devices
    (bounded, document), (plain, same) = settings.profile(device), settings.written_profile(device)
    assert document == same
    for point in plain.points:
        ours = semantics_of(bounded, bounded.point(point.name), 10)
        if point.counter and point.name.endswith("_wh"):
            assert ours.most_per_h == 69_000
        elif point.counter:
            assert ours == semantics_of(plain, point, 10)


def test_a_rate_of_the_profile_stands_where_it_is_less() -> None:
    profile = documents().profile(METER)
    points = tuple(
        point.model_copy(update={"maximum_rate": 10}) if point.counter else point
        for point in profile.points
    )
    slow = profile.model_copy(update={"points": points})
    for most_w, per_h in ((69_000, 36_000), (7, 7), (None, 36_000)):
        bounded = slow.bounded(most_w)
        assert semantics_of(bounded, bounded.point("energy_wh"), 10).most_per_h == per_h


@pytest.mark.parametrize("given", ["0", "-5", "1.5", "1e13", "many"])
def test_what_is_no_power_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(ConfigError, match="maximum_power_w"):
        load_site(site(tmp_path, f", maximum_power_w: {given}"))


def test_a_device_without_an_energy_counter_cannot_use_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the profile has none"):
        load_site(site(tmp_path, ", maximum_power_w: 5", "virtual_production_counter"))


def test_one_meter_is_not_two_for_being_bounded_in_two_ways(tmp_path: Path) -> None:
    other = (
        f'  - {{id: again, profile: {METER_PROFILE}, url: "{URL}", unit: 1,'
        " period_s: 900, maximum_power_w: 69_000}\n"
    )
    with pytest.raises(ConfigError, match="count twice"):
        load_site(site(tmp_path, extra=other))


def test_check_says_what_it_is_good_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["agent", "check", "-c", str(site(tmp_path, ", maximum_power_w: 69_000"))]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "meter carries at most 69,000 W: what energy_wh" in text
    assert "is not booked" in text
    assert cli.main(["agent", "check", "-c", str(site(tmp_path))]) == 0
    assert "carries at most" not in capsys.readouterr().out


LEAP = [1000, 1000, 80_000_000, 1000, 1000]


@pytest.mark.parametrize(("most_w", "booked"), [(None, 80_004_000), (69_000, 4000)])
def test_measurement_finds_a_leap_by_the_power_of_the_site_document(most_w, booked) -> None:
    papers = documents()
    content = parse_canonical(papers.site)
    for row in content["devices"]:
        if row["id"] == METER and most_w is not None:
            row["maximum_power_w"] = most_w
    papers = dataclasses.replace(papers, site=canonical_bytes(content))
    tree = history.parse_tree(leaves_of(build_tree(papers, METER, meter_readings(papers, LEAP))))
    found = history.history_of(tree, papers.by_digest(METER))
    energy = counted(found, found.profile.point("energy_wh"))
    assert energy.totals(np.array([0, 2**60])).total.sum() == booked
    assert [event.code for event in energy.events] == ([] if most_w is None else ["jump"])


@pytest.mark.parametrize("given", [0, -1, 1.5, True, "5", None, 10**13, [5]])
def test_a_site_document_that_names_no_power_bounds_nothing(given) -> None:
    assert (
        history.maximum_power_w({"devices": [{"id": METER, "maximum_power_w": given}]}, METER)
        is None
    )
