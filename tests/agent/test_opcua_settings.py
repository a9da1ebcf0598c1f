"""A site file says how an OPC UA device is watched, and a mistake in that is told at its line."""

from pathlib import Path

import pytest

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.drivers.base import Subscribe
from joulemark_agent.settings import load_site, site_document

SITE = Path(__file__).parents[2] / "configs/sites/equipment-hall.yaml"
FURNACE = "    profile: virtual_furnace # SYNTHETIC\n"


def hall(folder: Path, device: str = "", *, profile: str = "virtual_furnace") -> Path:
    """The worked example, its furnace with more keys."""
    text = SITE.read_text("utf-8")
    assert text.count(FURNACE) == 1
    furnace = FURNACE.replace("virtual_furnace", profile)
    path = folder / "site.yaml"
    path.write_text(text.replace(FURNACE, furnace + device), "utf-8")
    return path


def test_a_device_that_is_watched_has_its_plan_and_its_evidence(tmp_path: Path) -> None:
    polled, watched = (
        load_site(hall(tmp_path, extra))
        for extra in ("", "    subscribe: {sampling_ms: 100, queue: 50}\n")
    )
    asked = {request.subscribe for request in watched.planned_devices()[-1].requests}
    rows = [parse_canonical(site_document(settings))["devices"] for settings in (polled, watched)]

    assert asked == {Subscribe(100, 50)}
    assert {request.subscribe for request in polled.planned_devices()[-1].requests} == {None}
    assert rows[0][:-1] == rows[1][:-1]
    assert rows[1][-1] == {**rows[0][-1], "subscribe": {"queue": 50, "sampling_ms": 100}}


@pytest.mark.parametrize(
    ("subscribe", "said"),
    [
        ("{queue: 0}", "greater than or equal to 1"),
        ("{sampling_ms: 1}", "greater than or equal to 10"),
        ("{queue: 1000}", "6000 values may wait for a slot, and a reading holds 1000; lower"),
        ("{deadband: 1}", "deadband"),
    ],
)
def test_a_mistake_is_told_at_its_line(tmp_path: Path, subscribe: str, said: str) -> None:
    path = hall(tmp_path, f"    subscribe: {subscribe}\n")
    line = next(i for i, t in enumerate(path.read_text().splitlines(), 1) if "subscribe:" in t)
    with pytest.raises(ConfigError, match=said) as caught:
        load_site(path)
    assert f"site.yaml:{line}:" in str(caught.value)


def test_a_device_that_is_read_seldom_or_is_none_of_opc_ua_is_not_watched(tmp_path: Path) -> None:
    text = SITE.read_text("utf-8")
    path = tmp_path / "site.yaml"
    path.write_text(text.replace("    unit: 11\n", "    unit: 11\n    subscribe: {}\n"), "utf-8")
    with pytest.raises(ConfigError, match="only an OPC UA server can be subscribed to"):
        load_site(path)
    slow = hall(tmp_path, "    subscribe: {}\n").read_text("utf-8")
    path.write_text(slow.replace("    period_s: 30\n", "    period_s: 120\n"), "utf-8")
    with pytest.raises(ConfigError, match="the server keeps what changes for 60 s"):
        load_site(path)


def test_a_companion_model_is_not_read_before_a_scan(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run 'joulemark agent scan opc\.tcp://"):
        load_site(hall(tmp_path, profile="opcua_compressed_air"))
