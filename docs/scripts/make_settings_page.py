"""Make docs/settings.md, every key of the site file and of the collector's file, from their models.

Run from the root of the repository, with the project installed:
    python docs/scripts/make_settings_page.py
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from joulemark_agent.settings import SiteSettings
from joulemark_gateway.settings import CollectorSettings

TARGET = Path("docs/settings.md")
UNITS = {"s": "s", "ms": "ms", "mb": "MB", "w": "W", "bytes": "bytes"}  # by the end of a key
UNITS |= {"kw": "kW", "minutes": "min", "seconds": "s", "days": "days"}
KINDS = {
    int: "whole number",
    float: "number",
    Decimal: "number",
    bool: "true or false",
    str: "text",
}
KINDS |= {Path: "file or folder", dict: "mapping", tuple: "list", SecretStr: "not in the file"}

HEAD = """# Settings

Made by `docs/scripts/make_settings_page.py` from the code: every key there is, what it takes, and
what holds without it. **must** stands for a key that has to be there, *none* for one that is off
without being written. A key that is not listed is refused with its line. Relative files start at
the file they stand in.

Keys behind `devices[]` and the like stand in each item of that list. `joulemark agent check -c
SITE.yaml` says every mistake at once, with line and what to do.
"""
SITE_HEAD = """## Site file

Environment: `JOULEMARK_STATE_DIR`, `JOULEMARK_REPLAY__URL`, `JOULEMARK_UPLINK__` and any key of
`uplink`, `JOULEMARK_SPARKPLUG__URL`, `__USERNAME` and `__PASSWORD` replace what the file says.
Nothing else may be replaced.
"""
COLLECTOR_HEAD = """## Collector's file

Environment: `JOULEMARK_COLLECTOR_STATE_DIR`, `JOULEMARK_COLLECTOR_BROKER__` and any key of
`broker`, `JOULEMARK_COLLECTOR_SERIES__` and any key of `series` but `kind`, and
`JOULEMARK_COLLECTOR_LEDGER__URL` and `__PASSWORD` replace what the file says. Nothing else may be
replaced. A secret may stand in a file instead: `..._PASSWORD_FILE` and `..._TOKEN_FILE` name it.
"""
TLS = {
    "ca": "PEM of whose broker is believed; without it {0}",
    "certificate": "own certificate, PEM; without it {1}",
    "key": "private key; without it in the certificate's file",
}
AGENT_TLS = {
    name: text.format("`STATE_DIR/tls/ca.pem`", "`STATE_DIR/tls/agent.pem`")
    for name, text in TLS.items()
}
COLLECTOR_TLS = {
    name: text.format("`STATE_DIR/ca/ca.pem`", "`STATE_DIR/tls/collector.pem`")
    for name, text in TLS.items()
}
SITE = {
    "site": "name of the factory: a-z, 0-9 and -",
    "agent": "name of this gateway, no other has it",
    "time_zone": "such as `Asia/Seoul`; days and tariffs are its",
    "clock": "`simulated` only in a replay",
    "replay": "the simulator that owns the clock ([simulator](simulator.md))",
    "replay.url": "of its control socket: `tcp://HOST:PORT`",
    "replay.first_slot": "where the recording begins, with offset from UTC",
    "state_dir": "keys, grants, outbox, archive; nobody else may read it",
    "evidence_key": "evidence key in a security chip ([security](security.md)); without it a file",
    "evidence_key.module": "PKCS #11 library of the maker",
    "evidence_key.token": "label of the token",
    "evidence_key.label": "label of the key",
    "evidence_key.pin_variable": "environment variable with the PIN: `JOULEMARK_...`",
    "evidence_key.pin_file": "file with the PIN, mode 0600; one of the two must be there",
    "factors": "emission factors of the agent's own CO2e figures",
    "factors.set": "a shipped set, or a file that ends in `.yaml`",
    "factors.rule_set": "such as `ESG`; the set must have a factor for it",
    "factors.jurisdiction": "such as `KR`",
    "uplink": "the broker, and the collector whose receipts count",
    "uplink.url": "`mqtt://HOST:PORT`, or `mqtts://` with TLS",
    "uplink.username": "at the broker; not needed with a certificate",
    "uplink.password": "only `JOULEMARK_UPLINK__PASSWORD`",
    "uplink.tls": "certificates ([security](security.md)); else any authority of this machine",
    **{f"uplink.tls.{name}": text for name, text in AGENT_TLS.items()},
    "uplink.collector_key": "public key of the collector, base64; without it as enrolled",
    "uplink.collector_name": "its name; goes with the key",
    "sparkplug": "tells a Sparkplug B host ([page](sparkplug.md))",
    "sparkplug.url": "of the plant's broker",
    "sparkplug.group_id": "1 to 100 of A-Z a-z 0-9 _ . - and inner spaces",
    "sparkplug.edge_node_id": "likewise; without it the agent's name",
    "sparkplug.primary_host": "nothing is sent before this host is online",
    "sparkplug.buffered": "readings that wait while nobody listens; about 3 kB of memory each",
    "sparkplug.values_leave": "with `evidence: committed`: every value goes there all the same",
    "sparkplug.username": "at that broker",
    "sparkplug.password": "only `JOULEMARK_SPARKPLUG__PASSWORD`",
    "sparkplug.tls": "as under `uplink`",
    **{f"sparkplug.tls.{name}": text for name, text in AGENT_TLS.items()},
    "batch": "when what was read is signed and sent; not with `evidence: committed`",
    "batch.slots": "slots of one device, or",
    "batch.seconds": "time since its first, whichever comes first",
    "evidence": "`committed` keeps raw records at the gateway ([page](committed.md))",
    "interval_s": "of committed evidence: a whole part of a day, 60 to 3600",
    "outbox": "what waits for the collector",
    "outbox.quota_mb": "of the disk; near it figures, then readings give way, and it is said",
    "archive": "raw records of committed evidence",
    "archive.quota_mb": "of the disk; beyond it the oldest go, after a leaf has said so",
    "raw_requests": "who answers requests for raw records: the file, or a person",
    "devices": "what is read; at least one",
    "devices.id": "name of the machine or meter: a-z, 0-9 and -",
    "devices.profile": "a shipped one ([devices](devices.md)), or a file that ends in `.yaml`",
    "devices.url": "where it answers ([connect](connect.md))",
    "devices.unit": "its number on the line; must be there where its protocol has units",
    "devices.period_s": "from slot to slot",
    "devices.timeout_s": "that is waited for an answer; at most 10, or the period",
    "devices.pause_ms": "quiet time before each request",
    "devices.connect_delay_ms": "quiet time after its connection was opened",
    "devices.security": "of a locked OPC UA server ([opcua](opcua.md))",
    "devices.security.policy": "of the endpoint",
    "devices.security.mode": "of the messages",
    "devices.security.trust": "folder of certificates; without it `STATE_DIR/opcua/trusted`",
    "devices.security.certificate": "the agent's; without it `STATE_DIR/opcua/agent.der`",
    "devices.security.key": "without it the certificate's file, but ending in `.key`",
    "devices.security.host": "that the server's certificate bears, if not the address's",
    "devices.security.user": "who logs in; a user that may only read",
    "devices.security.password_variable": "environment variable with the password: `JOULEMARK_...`",
    "devices.security.password_file": "file with the password, mode 0600",
    "devices.security.user_certificate": "instead of user and password",
    "devices.security.user_key": "without it as of the agent's",
    "devices.login": "of a Sigma Control",
    "devices.login.user": "a user of its own, who may only see",
    "devices.login.password_variable": "environment variable with the password: `JOULEMARK_...`",
    "devices.tls": "of a controller that speaks https",
    "devices.tls.fingerprint": "SHA-256 of its certificate, 64 digits",
    "devices.tls.ca": "PEM of its authority; without both any that this machine believes",
    "devices.tls.host": "that its certificate bears, if not the address's",
    "devices.subscribe": "OPC UA: the server watches between slots; else it is asked at slots",
    "devices.subscribe.sampling_ms": "how often the server looks",
    "devices.subscribe.queue": "values of a variable that wait for a slot",
    "devices.first_slot": "in a replay: where this device's recording begins",
    "devices.last_slot": "and ends",
    "devices.equipment": "what its model must know ([equipment](equipment.md))",
    "devices.figures_every_s": "windows of live figures; a whole part of a day",
    "devices.accept_disputed": "disputed points that passed a test on the machine",
    "devices.maximum_power_w": "that its connection can carry: counters beyond it are not booked",
    "systems": "devices whose figures belong together ([equipment](equipment.md))",
    "systems.id": "name: a-z, 0-9 and -",
    "systems.kind": "such as `compressor_house`",
    "systems.members": "ids of devices by role",
    "systems.parameters": "what its model must know",
}
COLLECTOR = {
    "name": "of the witness, in receipts; no spaces, no `+`",
    "state_dir": "keys, evidence, series; nobody else may read it",
    "broker": "where batches arrive",
    "broker.url": "`mqtt://HOST:PORT`, or `mqtts://` with TLS",
    "broker.username": "at the broker; not needed with a certificate",
    "broker.password": "only `JOULEMARK_COLLECTOR_BROKER__PASSWORD`",
    "broker.tls": "certificates ([security](security.md)); else any authority of this machine",
    **{f"broker.tls.{name}": text for name, text in COLLECTOR_TLS.items()},
    "broker.group": "of collectors that share what arrives ([how](several_collectors.md))",
    "ledger": "where evidence and the collector's log are kept",
    "ledger.kind": "a file in the state folder, or a database that several collectors share",
    "ledger.url": "of the database: `postgresql://USER@HOST/DATABASE?sslmode=verify-full`",
    "ledger.objects": "where old batches go: a folder, or an address of fsspec; else the ledger",
    "ledger.password": "only `JOULEMARK_COLLECTOR_LEDGER__PASSWORD`, or a file with `?passfile=`",
    "broker.config": "folder of mosquitto's lists, kept as enrolments and revocations say",
    "accept_simulated": "whether epochs of a replay are taken",
    "agents": "who may send, besides those that were enrolled",
    "agents.agent": "its name",
    "agents.site": "its factory",
    "agents.key": "its public evidence key, base64",
    "agents.devices": "what it may send of",
    "operators": "public keys of those who may approve; at least one",
    "revoked": "keys that are trusted no longer ([keys](keys.md))",
    "revoked.key": "which",
    "revoked.origin": "of this tree it signed heads",
    "revoked.size": "up to this size only, in leaves",
    "revoked.time": "for people",
    "revoked.reason": "for people",
    "series": "the rebuildable copy for queries",
    "series.kind": "`embedded` in the state folder, a server's, or `none`: another collector's",
    "series.url": "of the server",
    "series.org": "of InfluxDB",
    "series.bucket": "of InfluxDB",
    "series.raw_days": "of the embedded series: readings are kept, see [series.md](series.md)",
    "series.quarter_days": "likewise of quarter-hours; local days are kept for ever",
    "series.token": "only `JOULEMARK_COLLECTOR_SERIES__TOKEN`",
    "limits": "of one agent, so that none uses up what belongs to all",
    "limits.quarantine_bytes": "that are kept of refused messages",
    "limits.quarantine_messages": "that are kept",
    "limits.waiting_batches": "that may wait to be judged",
    "log": "the collector's own log ([witness](witness.md))",
    "log.close_every_s": "how often a head is made",
    "log.witnesses": "who sees and cosigns every head; at most 14",
    "log.witnesses.name": "of the witness's key",
    "log.witnesses.key": "its public key, base64",
    "log.witnesses.url": "where it is asked; without it heads go as files",
    "log.quorum": "witnesses that a head needs before a report uses it",
    "log.authorities": "time-stamping authorities (RFC 3161); at most 8",
    "log.authorities.name": "for people",
    "log.authorities.url": "where stamps are asked for",
    "log.authorities.certificates": "PEM: its root, and what lies between",
    "pages": "pages and HTTP API ([page](http_api.md)); `null`: none",
    "pages.host": "address to listen at",
    "pages.port": "likewise",
    "pages.names": "by which they are asked for, besides the address",
    "pages.login": "`false` only on this machine: whoever is there sees all and changes nothing",
    "pages.tls": "must be there where others can reach them",
    "pages.tls.certificate": "PEM",
    "pages.tls.key": "without it in the same file",
    "pages.tls.clients": "authority: only who shows a certificate of it comes to log in",
    "pages.tls.revoked": "its list of those that were taken back",
    "pages.session_minutes": "a log-in lasts",
    "pages.idle_minutes": "and without a request",
    "pages.limits": "of one address, person or program",
    "pages.limits.requests_per_s": "lasting",
    "pages.limits.burst": "requests at once",
    "pages.limits.together": "requests that are answered at a time",
    "pages.limits.connections": "of all together",
    "enrolment": "where agents join with a token ([security](security.md)); without it by hand",
    "enrolment.host": "address to listen at",
    "enrolment.port": "likewise",
    "enrolment.days": "that a certificate holds",
    "projects": "that the pages show",
    "projects.report": "what `joulemark report --out` wrote, or an address that it was given "
    "([several collectors](several_collectors.md)); either this",
    "projects.follow": "or a project file, or a folder of them: the saving so far "
    "([projects](projects.md))",
    "costs": "tariffs of the sites ([costs](costs.md))",
    "costs.site": "which site",
    "costs.tariffs": "tariff files; which of them holds, their days say",
    "costs.contract_kw": "contract demand of the site, in kW",
    "costs.warning": "peak-demand warning; without it none is raised",
    "costs.warning.limit": "of contract, of what is billed anyway, or `limit_kw`",
    "costs.warning.limit_kw": "with `fixed`, in kW",
    "costs.warning.limit_ratio": "share of the limit at which it is warned",
    "costs.warning.clear_ratio": "share of that below which the warning ends",
    "costs.warning.uncertainties": "standard uncertainties added to the forecast",
    "alerts": "what is told to whom ([alerts](alerts.md)); without it nothing",
    "alerts.rules": "what is told",
    "alerts.rules.rule": "which",
    "alerts.rules.name": "of its alerts; without it the rule's",
    "alerts.rules.sites": "only these; without it all",
    "alerts.rules.limit": "in the rule's unit; without it the usual one",
    "alerts.rules.below": "of a figure: told below the limit",
    "alerts.rules.clear": "of a figure: where it ends; without it 5 % from the limit",
    "alerts.rules.device": "of a figure",
    "alerts.rules.point": "of a figure, `kpi_` ones included",
    "alerts.rules.minutes": "it has to hold so long",
    "alerts.rules.tell": "receivers",
    "alerts.rules.escalate": "receivers where nobody acknowledges",
    "alerts.rules.escalate_minutes": "after which they are told",
    "alerts.receivers": "who is told",
    "alerts.receivers.name": "in rules, and in the variable of the secret",
    "alerts.receivers.webhook": "`https://...`; either this",
    "alerts.receivers.ca": "PEM of whose certificates are believed; without it this machine's",
    "alerts.receivers.mail": "or e-mail addresses",
    "alerts.receivers.language": "of the text",
    "alerts.mail_server": "by which e-mail goes",
    "alerts.mail_server.host": "its name",
    "alerts.mail_server.port": "of STARTTLS; with `tls` usually 465",
    "alerts.mail_server.security": "without TLS nothing is sent",
    "alerts.mail_server.ca": "as above",
    "alerts.mail_server.username": "password: only `JOULEMARK_ALERTS_MAIL_PASSWORD`",
    "alerts.mail_server.sender": "address it comes from",
    "alerts.pages": "address of the pages, for links: `https://...`",
    "alerts.private_addresses": "whether a webhook may be in the plant's own network",
    "alerts.flood": "beyond it the rest comes as one digest",
    "alerts.flood.notices": "to one receiver",
    "alerts.flood.minutes": "in this time",
}


def page() -> str:
    """The whole page."""
    parts: list[tuple[str, type[BaseModel], dict[str, str]]] = [
        (SITE_HEAD, SiteSettings, SITE),
        (COLLECTOR_HEAD, CollectorSettings, COLLECTOR),
    ]
    lines = [HEAD]
    for head, model, meaning in parts:
        lines += [head, "| key | without it | takes | what |", "|---|---|---|---|"]
        keys = dict(_keys(model))
        left = sorted({*meaning} ^ {name.replace("[]", "") for name in keys})
        assert not left, f"keys of the code without a meaning here, or the other way round: {left}"
        for name, field in keys.items():
            what = meaning[name.replace("[]", "")]
            lines.append(f"| `{name}` | {_default(field)} | {_takes(name, field)} | {what} |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _keys(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key with its place, sections before what stands in them."""
    for name, field in model.model_fields.items():
        inner = next(_models(field.annotation), None)
        is_list = inner is not None and get_origin(field.annotation) is tuple
        place = f"{before}{name}{'[]' if is_list else ''}"
        yield place, field
        if inner is not None:
            yield from _keys(inner, f"{place}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**must**"
    value = field.default
    if value is None or value in ((), {}):
        return "*none*"
    if isinstance(value, BaseModel):
        return "as below"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _takes(name: str, field: FieldInfo) -> str:
    """Kind, limits and unit of a value."""
    if next(_models(field.annotation), None) is not None:
        return "section" if "[]" not in name.rpartition(".")[2] else "list of sections"
    kind = _kind(field.annotation)
    limits = {type(one).__name__: one for one in field.metadata}
    low, high = limits.get("Ge"), limits.get("Le")
    if low is not None and high is not None:
        kind = f"{low.ge} to {high.le}"
    elif low is not None:
        kind = f"{low.ge} or more"
    elif high is not None:
        kind = f"above 0, at most {high.le}"
    rest, _, end = name.rpartition(".")[2].rpartition("_")
    is_unit = end in UNITS and not rest.endswith("_per")
    return f"{kind} {UNITS[end]}" if is_unit and (low or high) else kind


def _kind(annotation: Any) -> str:
    options = [one for one in get_args(annotation) if one is not type(None)]
    if options == [Path, str]:
        return "file or folder, or address"
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in options)
    if origin is Annotated or (len(options) == 1 and origin not in KINDS):
        return _kind(options[0])
    plain = origin or annotation
    if isinstance(plain, type) and (issubclass(plain, datetime) or "Datetime" in plain.__name__):
        return "instant with offset"
    return KINDS[plain]


if __name__ == "__main__":
    TARGET.write_text(page(), "utf-8")
