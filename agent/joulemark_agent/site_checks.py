"""What in a site file is wrong only together with something else, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from joulemark_agent.contract.batch import MAX_LEAVES
from joulemark_agent.contract.document import plain
from joulemark_agent.contract.profile import WITHOUT_UNITS, AnyPoint, NodePoint, Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.contract.reading import SIMULATED
from joulemark_agent.documents import load_profile
from joulemark_agent.drivers.base import MAX_VALUES
from joulemark_agent.figures import MOST_READINGS
from joulemark_agent.lines import IN_MODBUS, line_of
from joulemark_agent.site_sections import DeviceSettings, SubscribeSettings

if TYPE_CHECKING:
    from joulemark_agent.settings import SiteSettings


SPOKEN_OVER = {  # the schemes of a device's URL, by its profile's protocol
    "modbus": (
        "modbus-tcp",
        "modbus-rtu",
        "modbus-rtu-tcp",
        "modbus-ascii",
        "modbus-ascii-tcp",
        "sunspec-tcp",
        "sunspec-rtu",
        "sunspec-rtu-tcp",
    ),
    "sunspec": ("sunspec-tcp", "sunspec-rtu", "sunspec-rtu-tcp"),
    "opcua": ("opc.tcp",),
    "elektronikon": ("elektronikon-http", "elektronikon-https"),
    "sigma_control": ("sigma-control-http", "sigma-control-https"),
}
ON_A_BUS = ("modbus-rtu", "modbus-ascii", "sunspec-rtu")  # how such a scheme begins
LONGEST_TIMEOUT_S = 10  # that may be written whatever the period is; nobody waits longer than that
LONGEST_UNASKED_S = 60  # half of what a subscription lives without being asked
_DAY_S = 86_400
Where = tuple[str | int, ...]
_Read = tuple[str, int | None, tuple[AnyPoint, ...]]


def contradictions(settings: SiteSettings) -> Iterator[tuple[Where, str]]:
    """What is wrong only together with something else, and where it stands."""
    if settings.clock == SIMULATED and settings.replay is None:
        yield ("clock",), "a simulated clock needs 'replay: {url: ..., first_slot: ...}'"
    if settings.clock != SIMULATED and settings.replay is not None:
        yield ("replay",), "a replay needs 'clock: simulated'; remove one of the two"
    factors = settings.factors
    if not any(
        factors.rule_set in factor.rule_sets and factors.jurisdiction == factor.jurisdiction
        for factor in settings.factor_set()[0].factors
    ):
        yield (
            ("factors",),
            f"{factors.set!r} has no factor for {factors.rule_set!r} in {factors.jurisdiction!r}",
        )
    token, uplink = settings.evidence_key, settings.uplink
    if token is not None and (token.pin_variable is None) == (token.pin_file is None):
        yield ("evidence_key",), "write either 'pin_file' or 'pin_variable'"
    for name, broker in (("uplink", uplink), ("sparkplug", settings.sparkplug)):
        if broker is not None and broker.tls is not None and not broker.url.startswith("mqtts:"):
            yield (name, "tls"), "'tls' needs an 'url' that begins with mqtts://"
    if (uplink.collector_key is None) != (uplink.collector_name is None):
        text = "'collector_key' and 'collector_name' go together; write both, or none once enrolled"
        yield ("uplink",), text
    yield from _of_committed(settings)
    seen: set[str] = set()
    read: dict[_Read, str] = {}
    ports: dict[str, tuple[str, str]] = {}  # of Modbus: who uses them first, and how
    locks: dict[str, DeviceSettings] = {}  # servers: who reads them first
    for i, device in enumerate(settings.devices):
        if device.id in seen:
            yield ("devices", i, "id"), f"two devices are called {device.id!r}; rename one"
        seen.add(device.id)
        other = read.setdefault(_what_is_read(settings, device), device.id)
        if other != device.id:
            text = f"{device.id!r} reads what {other!r} reads, which would count twice; remove one"
            yield ("devices", i, "unit"), text
        if (parts := urlsplit(line_of(device.url))).scheme.startswith(IN_MODBUS):
            look = parts.geturl().replace("sunspec", "modbus", 1)  # they share the connection
            first, how = ports.setdefault(parts.netloc or parts.path, (device.id, look))
            if how != look:
                text = f"{first!r} uses this port as {how!r}; a line has one speed and one framing"
                yield ("devices", i, "url"), text
        first_there = locks.setdefault(line_of(device.url), device)
        if first_there.login != device.login:
            text = f"{first_there.id!r} is read from this controller too, with another 'login'; a"
            yield ("devices", i, "login"), f"{text} connection has one: write the same for both"
        if first_there.tls != device.tls:
            text = f"{first_there.id!r} is read from this controller too, with another 'tls'; a"
            yield ("devices", i, "tls"), f"{text} connection has one: write the same for both"
        if first_there.security != device.security:
            text = f"{first_there.id!r} is read from this server too, with other 'security'; both"
            yield ("devices", i, "security"), f"{text} share one session: write the same for both"
        if device.timeout_s > max(device.period_s, LONGEST_TIMEOUT_S):
            text = f"'timeout_s' is longer than 'period_s' ({device.period_s} s); lower it"
            yield ("devices", i, "timeout_s"), text
        yield from ((("devices", i, *where), text) for where, text in _of_device(settings, device))
    if settings.systems:
        yield from _of_systems(settings)


def _of_committed(settings: SiteSettings) -> Iterator[tuple[Where, str]]:
    """What does not fit raw records that go to the collector, or that stay at the gateway."""
    sparkplug = settings.sparkplug
    if sparkplug is not None and sparkplug.values_leave != settings.is_committed:
        if settings.is_committed:
            text = (
                "with 'evidence: committed' raw records stay here, and Sparkplug sends every value"
            )
            do = f"to {sparkplug.url}; write 'values_leave: true' if it may, or remove 'sparkplug'"
            yield ("sparkplug",), f"{text} {do}"
        else:
            text = "'values_leave' is only for 'evidence: committed'; remove it"
            yield ("sparkplug", "values_leave"), text
    if not settings.is_committed:
        for key in ("interval_s", "archive", "raw_requests"):
            if key in settings.model_fields_set:
                yield (key,), f"'{key}' is only for 'evidence: committed'; remove one of the two"
        return
    if "batch" in settings.model_fields_set:
        yield ("batch",), "with 'evidence: committed' a batch ends with its interval; remove it"
    for i, device in enumerate(settings.devices):
        records, rest = divmod(settings.interval_s, device.period_s)
        if rest or records > MAX_LEAVES // 2:
            text = f"an interval of {settings.interval_s} s must hold whole periods, at most"
            yield ("devices", i, "period_s"), f"{text} {MAX_LEAVES // 2} of them"
        if not any(point.counter for point in settings.profile(device)[0].points):
            text = "it has no counter: between the ends of intervals nobody would know what it used"
            do = "read its energy register too, or read it by an agent with 'evidence: full'"
            yield ("devices", i, "profile"), f"{text}; {do}"


def _what_is_read(settings: SiteSettings, device: DeviceSettings) -> _Read:
    """Place, unit and points: the same whatever the scheme, and the name of the profile's file."""
    profile, _ = settings.written_profile(device)
    place = line_of(device.url).partition("://")[2]
    return place, None if profile.protocol in WITHOUT_UNITS else device.unit, profile.points


def _of_device(settings: SiteSettings, device: DeviceSettings) -> Iterator[tuple[Where, str]]:
    """What of a device does not fit its profile, its address or the clock."""
    profile, _ = settings.profile(device)
    spoken = SPOKEN_OVER[profile.protocol]
    if (scheme := urlsplit(device.url).scheme) not in spoken:
        text = f"the profile speaks {profile.protocol}, over {' or '.join(spoken)}, not {scheme}"
        yield ("url",), text
    if profile.protocol not in WITHOUT_UNITS and "unit" not in device.model_fields_set:
        yield (), "'unit' is missing: the device's number on its line, often 1"
    elif scheme.startswith(ON_A_BUS) and device.unit == 0:
        yield ("unit",), "unit 0 is every device of a serial line at once; write 1 to 247"
    if any(isinstance(point, NodePoint) and point.path for point in profile.points):
        text = "its nodes are places in a companion model, where each server has other identifiers"
        yield ("profile",), f"{text}: run 'joulemark agent scan {device.url}' and use what it says"
    for point in profile.registers:
        every_s = point.every_s or device.period_s
        if every_s % device.period_s and device.period_s % every_s:
            text = f"{point.name} is due every {every_s} s: a multiple of 'period_s' is needed"
            yield ("period_s",), f"{text}, or one of which 'period_s' is a multiple"
    if device.subscribe is not None:
        yield from _of_subscription(profile, device, device.subscribe)
    if (profile.protocol == "sigma_control") != (device.login is not None):
        text = "write 'login: {user: NAME, password_variable: JOULEMARK_NAME}', a user of its own"
        yield ("login",), "only a Sigma Control logs in; remove it" if device.login else text
    if device.tls is not None and not scheme.endswith("-https"):
        yield ("tls",), "only an address that begins with ...-https:// has TLS; remove it"
    if device.tls is not None and device.tls.fingerprint and (device.tls.ca or device.tls.host):
        yield ("tls",), "a 'fingerprint' says all; remove 'ca' and 'host'"
    if device.security is not None:
        yield from ((("security", *where), text) for where, text in _of_security(device))
    if device.equipment is not None:
        yield from _of_equipment(profile, device.equipment)
    if device.figures_every_s is not None:
        yield from _of_figures(profile, device, device.figures_every_s)
    written = load_profile(device.profile)[0] if device.accept_disputed else profile
    disputed = {point.name for point in written.points if point.disputed}
    for i, name in enumerate(device.accept_disputed):
        if name not in disputed:
            known = ", ".join(sorted(disputed)) or "none"
            text = f"{name!r} is no disputed point of this profile (disputed: {known}); remove it"
            yield ("accept_disputed", i), text
    if device.maximum_power_w is not None and not energy_counters(profile):
        yield ("maximum_power_w",), "it bounds counters of Wh, and the profile has none; remove it"
    windows = {"first_slot": device.first_slot, "last_slot": device.last_slot}
    for name, at in windows.items():
        if at is not None and settings.replay is None:
            yield (name,), f"'{name}' is only for a replay; remove it"
    first_us, last_us = settings.first_slot_us(device), device.last_slot_us
    if first_us is None:
        return
    where = ("period_s",) if device.first_slot is None else ("first_slot",)
    name = "replay.first_slot" if device.first_slot is None else "first_slot"
    if first_us < 0:
        yield where, f"'{name}' is before 1970; no evidence is"
    if first_us % device.period_us:
        yield where, f"'{name}' is not a multiple of {device.period_s} s; slots are"
    if last_us is not None and (last_us - first_us < 0 or last_us % device.period_us):
        text = f"'last_slot' is before the first slot, or no multiple of {device.period_s} s"
        yield ("last_slot",), text


def energy_counters(profile: Profile) -> tuple[str, ...]:
    """The counters that `maximum_power_w` of a device bounds."""
    found = (point.name for point in profile.points if point.counter)
    return tuple(name for name in found if unit_of(name) == "Wh")


def _of_subscription(
    profile: Profile, device: DeviceSettings, subscribe: SubscribeSettings
) -> Iterator[tuple[Where, str]]:
    """What speaks against watching the device between its slots."""
    if profile.protocol != "opcua":
        yield ("subscribe",), "only an OPC UA server can be subscribed to; remove it"
    if device.period_s > LONGEST_UNASKED_S:
        text = f"the server keeps what changes for {LONGEST_UNASKED_S} s: lower 'period_s' to that"
        yield ("subscribe",), f"{text}, or remove 'subscribe'"
    if (values := len(profile.points) * subscribe.queue) > MAX_VALUES:
        text = f"{values} values may wait for a slot, and a reading holds {MAX_VALUES}"
        yield ("subscribe", "queue"), f"{text}; lower 'queue'"


def _of_security(device: DeviceSettings) -> Iterator[tuple[Where, str]]:
    """What of a device's security does not fit together."""
    security = device.security
    assert security is not None
    if urlsplit(device.url).scheme not in SPOKEN_OVER["opcua"]:
        yield (), "'security' is only for OPC UA; remove it"
    passwords = sum(one is not None for one in (security.password_variable, security.password_file))
    if security.user is not None and passwords != 1:
        yield (), "a 'user' needs either 'password_file' or 'password_variable'"
    if security.user is None and passwords:
        yield (), "a password needs a 'user'"
    if security.user is not None and security.user_certificate is not None:
        yield (), "'user' and 'user_certificate' are two ways to log in; write one"
    if security.user_key is not None and security.user_certificate is None:
        yield (), "'user_key' needs a 'user_certificate'"


def _of_equipment(profile: Profile, section: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    """What of a device's section its equipment model does not take."""
    from joulemark_agent.equipment import parameters_of  # noqa: PLC0415 - brings numba

    try:
        if parameters_of(profile.kind, section) is None:
            yield ("equipment",), f"there is no equipment model for {profile.kind!r}; remove it"
    except ValidationError as error:
        for item in error.errors(include_url=False):
            yield ("equipment", *item["loc"]), f"equipment: {item['msg']} ({item['input']!r})"


def _of_systems(settings: SiteSettings) -> Iterator[tuple[Where, str]]:
    """What is wrong with the systems of devices, and where."""
    from joulemark_agent.equipment.systems import mistakes  # noqa: PLC0415 - brings numba

    kind_of = {device.id: settings.profile(device)[0].kind for device in settings.devices}
    seen: set[str] = set()
    for i, system in enumerate(settings.systems):
        if system.id in seen:
            yield ("systems", i, "id"), f"two systems are called {system.id!r}; rename one"
        seen.add(system.id)
        found = mistakes(system.kind, system.members, plain(system.parameters), kind_of)
        yield from ((("systems", i, *where), text) for where, text in found)


def _of_figures(
    profile: Profile, device: DeviceSettings, every_s: int
) -> Iterator[tuple[Where, str]]:
    """What speaks against windows of that length."""
    from joulemark_agent.equipment import has_model  # noqa: PLC0415 - as above

    where = ("figures_every_s",)
    if not has_model(profile.kind):
        yield where, f"there is no equipment model for {profile.kind!r}; remove it"
    if _DAY_S % every_s or every_s < 2 * device.period_s:
        text = f"windows of {every_s} s do not divide a day, or hold fewer than two periods of"
        yield where, f"{text} {device.period_s} s; write 900 or 3600"
    elif every_s // device.period_s > MOST_READINGS:
        text = f"a window would hold {every_s // device.period_s} readings"
        yield where, f"{text}; {MOST_READINGS} are the most: lower it"
