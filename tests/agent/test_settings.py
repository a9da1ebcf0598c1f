"""A site file: every mistake has its line, secrets stay out, evidence has one source."""

import json
import os
from pathlib import Path

import pytest

import joulemark_profiles
from joulemark_agent.contract.document import document_bytes, parse_yaml
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.documents import load_factors, load_profile, read_document
from joulemark_agent.settings import SiteSettings, load_site, site_document
from support.present import present

SITES = Path(__file__).parents[2] / "configs/sites"
EXAMPLE = SITES / "gwangyang.yaml"
SECRET = "hunter2-is-no-password"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("JOULEMARK_"):
            monkeypatch.delenv(name)


def written(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, "utf-8")
    return path


def changed(folder: Path, *replacements: tuple[str, str]) -> Path:
    """The worked example with some of its text replaced."""
    text = EXAMPLE.read_text("utf-8")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return written(folder, text)


def line_of(path: Path, text: str) -> int:
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize("path", sorted(SITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_worked_example_is_without_mistakes(path: Path) -> None:
    settings = load_site(path)

    assert settings.site == path.stem
    assert len(settings.planned_devices()) == len(settings.devices)


def test_the_worked_example_is_the_replayed_steel_works() -> None:
    settings = load_site(EXAMPLE)

    assert settings.clock == "simulated"
    assert [settings.first_slot_us(device) for device in settings.devices] == [
        1_514_732_400_000_000
    ] * len(settings.devices)
    assert settings.state_dir == EXAMPLE.parent / "state"
    assert [(d.id, d.unit, d.period_us) for d in settings.devices] == [
        ("main-meter", 1, 900_000_000),
        ("production-counter", 2, 900_000_000),
    ]
    assert settings.uplink.password is None


def test_what_is_evidence_has_these_bytes_whatever_the_wiring(tmp_path: Path) -> None:
    moved = changed(
        tmp_path, ("127.0.0.1:5020", "192.0.2.7"), ("state_dir: state", "state_dir: /var/lib/j")
    )

    assert site_document(load_site(moved)) == site_document(load_site(EXAMPLE))
    assert json.loads(site_document(load_site(EXAMPLE))) == {
        "agent": "edge-1",
        "clock": "simulated",
        "devices": [
            {
                "id": "main-meter",
                "period_s": 900,
                "profile": "virtual_main_meter",
                "unit": 1,
            },
            {
                "id": "production-counter",
                "period_s": 900,
                "profile": "virtual_production_counter",
                "unit": 2,
            },
        ],
        "factors": {"jurisdiction": "KR", "rule_set": "ESG", "set": "korea"},
        "first_slot": "1514732400000000",
        "site": "gwangyang",
        "time_zone": "Asia/Seoul",
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("site: gwangyang", "site: pohang"),
        ("agent: edge-1", "agent: edge-2"),
        ("Asia/Seoul", "Asia/Tokyo"),
        ("rule_set: ESG", "rule_set: PCF"),
        ("unit: 2", "unit: 3"),
        ("id: production-counter", "id: counter"),
        ("T00:00:00+09:00", "T00:15:00+09:00"),
    ],
)
def test_changing_evidence_changes_the_document(tmp_path: Path, old: str, new: str) -> None:
    path = changed(tmp_path, (old, new))

    assert site_document(load_site(path)) != site_document(load_site(EXAMPLE))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("site: gwangyang", "site: Gwang Yang", "cannot be the id"),
        ("batch: {slots", "batsh: {slots", "batsh: Extra inputs"),
        ("Asia/Seoul", "Asia/Soul", "there is no such time zone"),
        ("Asia/Seoul", "../../etc/passwd", "there is no such time zone"),
        ("clock: simulated", "clock: sundial", "'system' or 'simulated'"),
        ('"tcp://127.0.0.1:5021"', '"tcp://127.0.0.1"', "'tcp://127.0.0.1:5021'"),
        ('"tcp://127.0.0.1:5021"', '"tcp://127.0.0.1:99999"', "out of range"),
        ("T00:00:00+09:00", "T00:00:00", "should have timezone info"),
        ("set: korea", "set: atlantis", "use one of: dataset_check, korea"),
        ("rule_set: ESG", "rule_set: XYZ", "no factor for 'XYZ' in 'KR'"),
        ("mqtt://127.0.0.1:1883", "http://127.0.0.1:1883", "'mqtt://192.0.2.10:1883'"),
        ("collector_name: joulemark/collector", 'collector_name: "a b"', "no spaces"),
        ("batch: {slots: 96", "batch: {slots: 0", "greater than or equal to 1"),
        ("profile: virtual_main_meter", "profile: sdm630x", " virtual_main_meter"),
        ("profile: virtual_main_meter", "profile: gone.yaml", "gone.yaml cannot be read"),
        ("unit: 2", "unit: 256", "less than or equal to 255"),
        ("mqtt://127.0.0.1:1883", "mqtt://a..b", "label empty"),
        ("mqtt://127.0.0.1:1883", "mqtt://127.0.0.1:0", "can be used here"),
        ("state_dir: state", 'state_dir: "a\\tb"', "control characters"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_what_to_do(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = changed(tmp_path, (old, new))
    with pytest.raises(ConfigError, match=r"^1 mistake") as caught:
        load_site(path)

    assert said.lower() in str(caught.value).lower()
    assert f"{path}:{line_of(path, new)}: " in str(caught.value)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("modbuss-tcp://127.0.0.1:5020", "no driver for 'modbuss-tcp'"),
        ("modbus-udp://127.0.0.1:5020", "there is no driver for 'modbus-udp'. write"),
        ("modbus-rtu://127.0.0.1:5020", "not the address of a serial line"),
        ("modbus-rtu:///dev/ttyS0?baud=9601", "has baud '9601'; use one of: 1200, 2400"),
        ("modbus-rtu:///dev/ttyS0?parity=X", "has parity 'x'; use one of: n, e, o"),
        ("modbus-ascii:///dev/ttyS0?stop_bits=3", "has stop_bits '3'; use one of: 1, 2"),
        ("base://127.0.0.1:5020", "no driver for 'base'"),
        ("127.0.0.1:5020", "the schemes are: elektronikon-http, elektronikon-https"),
        ("modbus-tcp://", "not the address of a line"),
        ("modbus-tcp://127.0.0.1:5020/1", "not the address of a line"),
        ("modbus-tcp://127.0.0.1:x", "is not an address"),
        ("modbus-tcp://[::1", "is not an address"),
    ],
)
def test_an_address_no_driver_can_use_is_told(tmp_path: Path, new: str, said: str) -> None:
    path = changed(tmp_path, ("modbus-tcp://127.0.0.1:5020", new))
    with pytest.raises(ConfigError) as caught:
        load_site(path)

    assert said in str(caught.value).lower()
    assert f"{path}:{line_of(path, new)}: devices.0.url" in str(caught.value)


@pytest.mark.parametrize(
    "key", ["", "AAAA", "not base64!", "WxhFr3X+pUJSoC1zlt0/Ywi8pq84zt0LXz0B8tO4xkl="]
)
def test_a_collector_key_that_is_none_is_told(tmp_path: Path, key: str) -> None:
    old = present(load_site(EXAMPLE).uplink.collector_key)
    path = changed(tmp_path, (old, key))
    with pytest.raises(ConfigError, match=r"uplink\.collector_key"):
        load_site(path)


def test_all_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    path = changed(
        tmp_path,
        ("site: gwangyang", "site: Gwangyang"),
        ("profile: virtual_production_counter", "profile: unknown"),
        ("unit: 1", "unit: one"),
        ("rule_set: ESG, ", ""),
    )
    with pytest.raises(ConfigError, match=r"4 mistake\(s\)") as caught:
        load_site(path)

    for text, key in (
        ("site: Gwangyang", "site:"),
        ("profile: unknown", "devices.1.profile:"),
        ("unit: one", "devices.0.unit:"),
        ("factors:", "factors.rule_set:"),
    ):
        assert f"{path}:{line_of(path, text)}: {key}" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n", "site: [\n", "a: &x 1\nb: *x\n", "\x00"])
def test_a_file_that_is_no_mapping_is_refused_in_words(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_site(path)

    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "folder", "binary", "huge"])
def test_a_file_that_cannot_be_read_is_refused_in_words(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "site.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"site: \xff\xfe")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 34)  # sparse: reading all of it would fill the memory
    with pytest.raises(ConfigError) as caught:
        load_site(path)

    assert str(path) in str(caught.value)


def test_the_environment_replaces_wiring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JOULEMARK_UPLINK__URL", "mqtts://broker.example:8883")
    monkeypatch.setenv("JOULEMARK_UPLINK__USERNAME", "edge-1")
    monkeypatch.setenv("JOULEMARK_UPLINK__PASSWORD", SECRET)
    monkeypatch.setenv("JOULEMARK_REPLAY__URL", "tcp://127.0.0.1:6021")
    monkeypatch.setenv("JOULEMARK_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("JOULEMARK_DATA", "is nobody's setting here")
    settings = load_site(EXAMPLE)

    assert settings.uplink.url == "mqtts://broker.example:8883"
    assert settings.uplink.username == "edge-1"
    assert settings.uplink.collector_name == "joulemark/collector"
    assert settings.uplink.password is not None
    assert settings.uplink.password.get_secret_value() == SECRET
    assert settings.replay is not None
    assert settings.replay.url == "tcp://127.0.0.1:6021"
    assert settings.replay.first_slot_us == 1_514_732_400_000_000
    assert settings.state_dir == tmp_path
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.model_dump())


@pytest.mark.parametrize(
    "variable",
    [
        "JOULEMARK_SITE",
        "JOULEMARK_AGENT",
        "JOULEMARK_CLOCK",
        "JOULEMARK_TIME_ZONE",
        "JOULEMARK_DEVICES",
        "JOULEMARK_DEVICES__0__UNIT",
        "JOULEMARK_FACTORS__RULE_SET",
        "JOULEMARK_REPLAY",
        "JOULEMARK_REPLAY__FIRST_SLOT",
        "JOULEMARK_BATCH__SLOTS",
        "JOULEMARK_UPLINK",
        "JOULEMARK_UPLINK__PASWORD",
        "joulemark_site",
    ],
)
def test_the_environment_may_not_replace_anything_else(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "{}")
    with pytest.raises(ConfigError, match=f"{variable}: the environment may not replace this"):
        load_site(EXAMPLE)


def test_without_that_check_the_environment_would_rewrite_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: what pydantic-settings does by itself."""
    monkeypatch.setenv("JOULEMARK_SITE", "pohang")

    assert SiteSettings.model_validate(read_document(EXAMPLE).mapping).site == "pohang"


def test_a_wrong_variable_is_told_by_its_name_and_not_by_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOULEMARK_UPLINK__URL", f"mqtt://edge:{SECRET}@192.0.2.1")
    with pytest.raises(ConfigError, match="JOULEMARK_UPLINK__URL: not an address") as caught:
        load_site(EXAMPLE)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("username: null", f"username: edge\n  password: {SECRET}"),
        ("username: null", f"username: edge\n  password: [{SECRET}]"),
        ('"mqtt://127', f'"mqtt://edge:{SECRET}@127'),
    ],
)
@pytest.mark.parametrize("is_set_too", [False, True])
def test_a_password_in_the_file_is_refused_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, is_set_too: bool
) -> None:
    path = changed(tmp_path, (old, new))
    if is_set_too:
        monkeypatch.setenv("JOULEMARK_UPLINK__PASSWORD", "other")
        monkeypatch.setenv("JOULEMARK_UPLINK__URL", "mqtt://127.0.0.1:1883")
    with pytest.raises(ConfigError, match="does not belong in a file") as caught:
        load_site(path)

    assert f"{path}:{line_of(path, SECRET)}: uplink." in str(caught.value)
    assert "JOULEMARK_UPLINK__PASSWORD" in str(caught.value)
    assert SECRET not in str(caught.value)


PROFILE = """\
model: acme_gx37
kind: air_compressor
protocol: modbus
source: "Acme GX37 Modbus map, rev C (2024-03), table 4"
confidence: manual
points:
  - {name: power_w, table: input, address: 0x34, type: float32}
golden:
  - {point: power_w, words: [0x44BB, 0x8000], value: 1500}
"""


def test_a_new_device_is_one_file_beside_the_site_file(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices/acme.yaml").write_text(PROFILE)
    path = changed(tmp_path, ("virtual_main_meter", "devices/acme.yaml"))
    settings = load_site(path)

    assert settings.planned_devices()[0].requests[0].address == 0x34
    (tmp_path / "devices/acme.yaml").write_text("changed: while the agent runs")
    profile, document = settings.profile(settings.devices[0])
    assert profile.model == "acme_gx37"
    assert document == document_bytes(parse_yaml(PROFILE, "any name").mapping)
    assert json.loads(site_document(settings))["devices"][0]["profile"] == "devices/acme.yaml"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("float32", "float33", "acme.yaml:7: points.0.type"),
        ("power_w,", "power,", "acme.yaml:7: points.0: "),
        ("confidence: manual\n", "confidence: manual\nmax_words: 1\n", "power_w takes 2 words"),
        ("type: float32", "type: float32, scale: 10", "the words of power_w are"),
        ("type: float32", "type: float32, scale: 0", "scale of 0"),
        ("type: float32", "type: float32, sentinels: [-1]", "such as 0x80000000"),
        ("type: float32", "type: float32, sentinels: [0x1_0000_0000]", "such as 0x80000000"),
        ("table: input", "table: coil", "a coil is one bit"),
    ],
)
def test_a_mistake_in_a_profile_is_told_with_its_line_and_who_uses_it(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    (tmp_path / "acme.yaml").write_text(PROFILE.replace(old, new))
    path = changed(tmp_path, ("virtual_main_meter", "acme.yaml"))
    with pytest.raises(ConfigError) as caught:
        load_site(path)

    assert said in str(caught.value)
    assert f"{path}:{line_of(path, 'acme.yaml')}: devices.0.profile" in str(caught.value)


def test_two_devices_of_one_name_are_told_at_the_second(tmp_path: Path) -> None:
    path = changed(tmp_path, ("id: production-counter", "id: main-meter"))
    with pytest.raises(ConfigError, match="two devices are called 'main-meter'") as caught:
        load_site(path)

    assert f"{path}:{line_of(path, 'virtual_production_counter') - 1}: " in str(caught.value)


def test_one_unit_read_as_two_devices_is_told_because_it_would_count_twice(
    tmp_path: Path,
) -> None:
    same = ("unit: 2", "unit: 1"), ("virtual_production_counter", "virtual_main_meter")
    path = changed(tmp_path, *same)
    with pytest.raises(ConfigError, match="'production-counter' reads what 'main-meter' reads"):
        load_site(path)


def test_one_unit_read_over_two_schemes_would_count_twice(tmp_path: Path) -> None:
    again = '  - {id: again, profile: virtual_main_meter, url: "modbus-tcp://192.0.2.1", unit: 1,'
    path = windowed(tmp_path)
    path.write_text(f"{path.read_text('utf-8')}{again} period_s: 900}}\n", "utf-8")
    with pytest.raises(ConfigError, match="'again' reads what 'meter' reads"):
        load_site(path)


def test_a_unit_does_not_make_two_devices_of_one_opc_ua_server(tmp_path: Path) -> None:
    again = '  - {id: again, profile: furnace.yaml, url: "opc.tcp://192.0.2.2/plant", unit: 1,'
    path = windowed(tmp_path)
    path.write_text(f"{path.read_text('utf-8')}{again} period_s: 30}}\n", "utf-8")
    with pytest.raises(ConfigError, match="'again' reads what 'furnace' reads"):
        load_site(path)


def test_another_name_of_a_profile_does_not_make_two_devices(tmp_path: Path) -> None:
    again = '  - {id: again, profile: ./furnace.yaml, url: "opc.tcp://192.0.2.2/plant",'
    path = windowed(tmp_path)
    path.write_text(f"{path.read_text('utf-8')}{again} period_s: 30}}\n", "utf-8")
    with pytest.raises(ConfigError, match="'again' reads what 'furnace' reads"):
        load_site(path)


def test_a_timeout_longer_than_the_period_is_told(tmp_path: Path) -> None:
    path = changed(tmp_path, ("timeout_s: 1.0", "timeout_s: 901"))
    with pytest.raises(ConfigError, match=r"(?s)^2 mistake.*longer than 'period_s' \(900 s\)"):
        load_site(path)


def test_a_site_without_devices_is_told(tmp_path: Path) -> None:
    text = EXAMPLE.read_text("utf-8")
    path = written(tmp_path, text[: text.index("devices:\n")] + "devices: []\n")
    with pytest.raises(ConfigError, match="there is no device"):
        load_site(path)


def test_a_replay_needs_the_simulated_clock(tmp_path: Path) -> None:
    path = changed(tmp_path, ("clock: simulated", "clock: system"))
    with pytest.raises(ConfigError, match="a replay needs 'clock: simulated'") as caught:
        load_site(path)

    assert f"{path}:{line_of(path, 'replay:')}: " in str(caught.value)


def test_slots_of_a_replay_lie_on_multiples_of_the_period(tmp_path: Path) -> None:
    path = changed(tmp_path, ("T00:00:00+09:00", "T00:05:00+09:00"))
    with pytest.raises(ConfigError, match="not a multiple of 900 s"):
        load_site(path)


def test_a_simulated_clock_needs_its_replay(tmp_path: Path) -> None:
    text = EXAMPLE.read_text("utf-8")
    start, end = text.index("replay:\n"), text.index("state_dir")
    path = written(tmp_path, text[:start] + text[end:])
    with pytest.raises(ConfigError, match="needs 'replay") as caught:
        load_site(path)

    assert f"{path}:{line_of(path, 'clock: simulated')}: " in str(caught.value)


def test_fractions_of_a_second_are_read_as_written(tmp_path: Path) -> None:
    path = changed(tmp_path, ("timeout_s: 1.0", "timeout_s: 0.25\n    pause_ms: 20"))
    device = load_site(path).planned_devices()[0]

    assert (device.timeout_s, device.pause_s) == (0.25, 0.02)


@pytest.mark.parametrize("load", [load_profile, load_factors])
def test_an_unknown_name_is_answered_with_the_known_ones(load: object) -> None:
    assert callable(load)
    with pytest.raises(ConfigError, match="Use one of: "):
        load("nothing_of_that_name")


def test_the_shipped_factors_are_loaded_with_their_document() -> None:
    factors, document = load_factors("korea")

    assert factors.factor_set == "korea"
    assert json.loads(document)["factors"][0]["factor_kg_per_kwh"] == "0.4173"


# Sites of several protocols, and windows of a replay.

FURNACE = """model: furnace
kind: furnace
protocol: opcua
source: made up by a test
confidence: bench
synthetic: true
points:
  - {name: temperature_k, node: "nsu=urn:x;s=t", type: float64}
golden:
  - {point: temperature_k, data: "010b000000000000f03f", value: 1}
"""
WINDOWED = EXAMPLE.read_text("utf-8").partition("devices:\n")[0]
WINDOWED += """devices:
  - {id: inverter, profile: sunspec_inverter, url: "sunspec-tcp://192.0.2.1", unit: 13,
     period_s: 900, first_slot: "2022-01-02T00:00:00Z", last_slot: "2022-01-06T00:00:00Z"}
  - {id: meter, profile: virtual_main_meter, url: "sunspec-tcp://192.0.2.1", unit: 1, period_s: 900}
  - {id: furnace, profile: furnace.yaml, url: "opc.tcp://192.0.2.2/plant", period_s: 30,
     last_slot: "2018-01-01T01:00:00+09:00"}
"""
REPLAY_US, DAY_US = 1_514_732_400_000_000, 86_400_000_000
INVERTER_US = 1_641_081_600_000_000


def windowed(folder: Path, *replacements: tuple[str, str]) -> Path:
    (folder / "furnace.yaml").write_text(FURNACE, "utf-8")
    text = WINDOWED
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return written(folder, text)


def test_each_device_of_a_replay_has_its_own_window(tmp_path: Path) -> None:
    settings = load_site(windowed(tmp_path))
    planned = settings.planned_devices()

    assert [(d.unit, d.first_us, d.last_us) for d in planned] == [
        (13, INVERTER_US, INVERTER_US + 4 * DAY_US),
        (1, REPLAY_US, None),
        (0, REPLAY_US, REPLAY_US + 3_600_000_000),
    ]
    assert [request.table for device in planned for request in device.requests] == [
        "sunspec", "sunspec", "holding", "node",
    ]  # fmt: skip


def test_a_window_is_evidence_and_what_was_not_written_does_not_stand_there(tmp_path: Path) -> None:
    devices = json.loads(site_document(load_site(windowed(tmp_path))))["devices"]

    assert devices == [
        {
            "id": "inverter", "period_s": 900, "profile": "sunspec_inverter", "unit": 13,
            "first_slot": str(INVERTER_US), "last_slot": str(INVERTER_US + 4 * DAY_US),
        },
        {"id": "meter", "period_s": 900, "profile": "virtual_main_meter", "unit": 1},
        {
            "id": "furnace", "period_s": 30, "profile": "furnace.yaml", "unit": 0,
            "last_slot": str(REPLAY_US + 3_600_000_000),
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "where", "said"),
    [
        ("unit: 13,", "", "inverter", "'unit' is missing"),
        (", unit: 1,", ",", "meter", "'unit' is missing"),
        ('sunspec-tcp://192.0.2.1", unit: 13', 'modbus-tcp://192.0.2.1", unit: 13', "inverter",
         "the profile speaks sunspec, over sunspec-tcp or sunspec-rtu or"),
        ("opc.tcp://192.0.2.2/plant", "sunspec-tcp://192.0.2.2", "furnace",
         "the profile speaks opcua, over opc.tcp, not sunspec-tcp"),
        ('sunspec-tcp://192.0.2.1", unit: 1,', 'opc.tcp://192.0.2.1", unit: 1,', "meter",
         "or sunspec-rtu or sunspec-rtu-tcp, not opc.tcp"),
        ('sunspec-tcp://192.0.2.1", unit: 1,', 'sunspec-tcp://192.0.2.1/x", unit: 1,', "meter",
         "not the address of a line"),
        ("opc.tcp://192.0.2.2/plant", "opc.tcp://192.0.2.2/a plant", "furnace",
         "not the address of a line"),
        ("2022-01-02T00:00:00Z", "2022-01-02T00:00:01Z", "2022-01-02T00:00:01Z",
         "'first_slot' is not a multiple of 900 s"),
        ("2022-01-02T00:00:00Z", "1969-12-31T00:00:00Z", "1969-12-31T00:00:00Z",
         "'first_slot' is before 1970"),
        ("2022-01-06T00:00:00Z", "2022-01-06T00:00:01Z", "2022-01-06T00:00:01Z",
         "'last_slot' is before the first slot, or no multiple of 900 s"),
        ("2022-01-06T00:00:00Z", "2022-01-01T00:00:00Z", "2022-01-01T00:00:00Z",
         "'last_slot' is before the first slot"),
        ("2018-01-01T01:00:00+09:00", "2017-12-31T00:00:00Z", "2017-12-31",
         "before the first slot"),
        ("2022-01-06T00:00:00Z", "2022-01-06T00:00:00", "2022-01-06", "timezone"),
    ],
)  # fmt: skip
def test_a_device_that_does_not_fit_is_told_at_its_line(
    tmp_path: Path, old: str, new: str, where: str, said: str
) -> None:
    path = windowed(tmp_path, (old, new))
    with pytest.raises(ConfigError, match=r"^1 mistake") as caught:
        load_site(path)

    assert said in str(caught.value)
    told = int(str(caught.value).split(f"{path}:")[1].split(":")[0])
    first = line_of(path, where if where[0].isdigit() else f"id: {where}")
    assert told in {first, first + 1}


def test_a_window_of_one_slot_is_one(tmp_path: Path) -> None:
    settings = load_site(windowed(tmp_path, ("2022-01-06T00:00:00Z", "2022-01-02T00:00:00Z")))

    assert settings.planned_devices()[0].first_us == settings.planned_devices()[0].last_us


def test_a_window_is_only_for_a_replay(tmp_path: Path) -> None:
    text = WINDOWED.replace("clock: simulated", "clock: system")
    start, end = text.index("replay:\n"), text.index("state_dir")
    (tmp_path / "furnace.yaml").write_text(FURNACE, "utf-8")
    path = written(tmp_path, text[:start] + text[end:])
    with pytest.raises(ConfigError, match=r"^3 mistake") as caught:
        load_site(path)

    assert str(caught.value).count("is only for a replay; remove it") == 3


def test_one_server_may_be_several_devices_of_different_profiles(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(FURNACE.replace("s=t", "s=u"), "utf-8")
    again = '  - {id: other, profile: other.yaml, url: "opc.tcp://192.0.2.2/plant", period_s: 30}\n'
    text = WINDOWED + again
    (tmp_path / "furnace.yaml").write_text(FURNACE, "utf-8")
    assert len(load_site(written(tmp_path, text)).devices) == 4

    with pytest.raises(ConfigError, match="'other' reads what 'furnace' reads"):
        load_site(written(tmp_path, text.replace("other.yaml", "furnace.yaml")))


SERIAL = ("modbus-tcp://127.0.0.1:5020", "modbus-rtu:///dev/ttyS0?baud=9600&parity=N")


def test_devices_of_a_serial_line_are_planned(tmp_path: Path) -> None:
    planned = load_site(changed(tmp_path, SERIAL)).planned_devices()

    assert [(device.url, device.unit) for device in planned] == [(SERIAL[1], 1), (SERIAL[1], 2)]


@pytest.mark.parametrize(
    "url", [SERIAL[1], "modbus-rtu-tcp://h", "modbus-ascii-tcp://h", "modbus-ascii:///dev/ttyS0"]
)
def test_a_broadcast_is_no_unit_of_a_serial_line(tmp_path: Path, url: str) -> None:
    path = changed(tmp_path, (SERIAL[0], url), ("unit: 2", "unit: 0"))
    with pytest.raises(ConfigError, match="unit 0 is every device") as caught:
        load_site(path)

    assert f"{path}:{line_of(path, 'unit: 0')}: " in str(caught.value)


@pytest.mark.parametrize(
    "other",
    ["modbus-rtu:///dev/ttyS0?baud=19200&parity=N", "modbus-ascii:///dev/ttyS0?baud=9600&parity=N"],
)
def test_a_serial_port_has_one_speed_and_one_framing(tmp_path: Path, other: str) -> None:
    path = changed(tmp_path, SERIAL)
    text = path.read_text("utf-8")
    first, second = text.index(SERIAL[1]), text.rindex(SERIAL[1])
    assert first != second
    path = written(tmp_path, text[:second] + other + text[second + len(SERIAL[1]) :])
    with pytest.raises(ConfigError, match="a line has one speed and one framing") as caught:
        load_site(path)

    assert f"{path}:{line_of(path, other)}: " in str(caught.value)


REPLAYED = """clock: simulated # a real site: system, and no 'replay'
replay:
  url: "tcp://127.0.0.1:5021"
  first_slot: "2018-01-01T00:00:00+09:00"
"""


@pytest.mark.parametrize(
    ("period_s", "is_right"), [(1, True), (30, True), (120, True), (45, False)]
)
def test_a_slow_point_must_come_round_at_slots(
    tmp_path: Path, period_s: int, *, is_right: bool
) -> None:
    text = joulemark_profiles.text("devices", "virtual_main_meter")
    assert "  - {name: power_w," in text
    slow = text.replace("  - {name: power_w,", "  - {every_s: 60, name: power_w,")
    (tmp_path / "slow.yaml").write_text(slow, "utf-8")
    path = changed(
        tmp_path,
        ("profile: virtual_main_meter", "profile: slow.yaml"),
        ("period_s: 900", f"period_s: {period_s}"),
        (REPLAYED, "clock: system\n"),
    )
    if is_right:
        planned = load_site(path).planned_devices()[0]
        assert planned.periods_us == (60_000_000,)
        return
    with pytest.raises(ConfigError, match="power_w is due every 60 s: a multiple of 'period_s'"):
        load_site(path)
