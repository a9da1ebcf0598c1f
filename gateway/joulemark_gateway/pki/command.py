"""What `joulemark collector ca | enroll-token | enrolments` and `joulemark broker config` do."""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from joulemark_agent.contract.enrolment import PENDING
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import fingerprint
from joulemark_agent.contract.topics import require_id
from joulemark_agent.tls import (
    WARN_DAYS,
    certificate_fingerprint,
    key_pem,
    new_key,
    own_certificate,
)
from joulemark_gateway.access.console import told
from joulemark_gateway.pki import enrolments as joining
from joulemark_gateway.pki import mosquitto
from joulemark_gateway.pki.authority import (
    CA_DAYS,
    DAYS,
    Role,
    agent_holder,
    client_holder,
    common_name,
    requested_key,
)
from joulemark_gateway.pki.records import Applied, Invited
from joulemark_gateway.pki.rights import (
    agents_now,
    left_to_do,
    refresh_broker,
    register,
    registry_now,
    withdraw_certificates,
)
from joulemark_gateway.pki.servers import renewed, servers_of
from joulemark_gateway.pki.settings import EnrolmentSettings, ca_folder, own_file
from joulemark_gateway.pki.site_ca import CERTIFICATE, SiteCa, pem, written
from joulemark_gateway.settings import CollectorSettings, load_collector

_RELOAD = "Have the broker read its files again: systemctl reload mosquitto."


def init(args: argparse.Namespace) -> int:
    """`collector ca init`."""
    settings, now = load_collector(args.config), datetime.now(UTC)
    with SiteCa.created(ca_folder(settings.state_dir), now, args.days or CA_DAYS) as ca:
        path = own_file(settings.state_dir)
        ca.equip(path, Role.COLLECTOR, now, hosts=args.host or _own_names())
        made = {
            "ca": str(ca.folder / CERTIFICATE),
            "fingerprint": _fingerprint(ca.folder / CERTIFICATE),
            "valid_until": _day(ca.authority.certificate.not_valid_after_utc),
            "collector": str(path),
        }
    told(settings.state_dir, "authority_made", made["fingerprint"])
    kept = f"Keep a copy of {ca.folder} where nobody else gets at it: without its key every agent"
    _tell(args, made, f"{kept} has to be enrolled again.")
    return 0


def issue(args: argparse.Namespace) -> int:
    """`collector ca issue`."""
    settings, ca = _opened(args)
    with ca:
        if args.role == Role.AGENT:
            _issue_to_agent(args, settings, ca)
        elif args.role == Role.CLIENT:
            _issue_to_client(args, settings, ca)
        else:
            _issue_to_server(args, settings, ca)
    return 0


def _issue_to_server(args: argparse.Namespace, settings: CollectorSettings, ca: SiteCa) -> None:
    path: Path | None = args.out
    part = None if args.name is None else require_id(args.name, "collector")
    if part is not None and args.role != Role.COLLECTOR:
        raise ConfigError("There is one broker.", f"Leave the name {part!r} out.")
    if path is None and part is None and args.role == Role.COLLECTOR:
        path = own_file(settings.state_dir)
    if path is None:
        raise ConfigError("There is no '--out'.", "Say where the file is to be written.")
    now, days = datetime.now(UTC), args.days or DAYS
    ca.equip(path, Role(args.role), now, hosts=args.host, part=part, days=days, within_days=None)
    told(settings.state_dir, "certificate_issued", f"{args.role}, {path}")
    say = "Key and certificate stand in this file."
    if part is not None:
        refresh_broker(settings, ca, now)
        say = f"{say} {left_to_do(settings)}"
    _tell(args, {"certificate": str(path)}, say)


def _issue_to_agent(args: argparse.Namespace, settings: CollectorSettings, ca: SiteCa) -> None:
    if args.name is None or args.csr is None or args.out is None:
        raise ConfigError(
            "A certificate for an agent needs its id, its request and a file to write.",
            "Run: joulemark collector ca issue agent AGENT -c COLLECTOR.yaml --csr FILE --out FILE",
        )
    agent = registry_now(settings).agents.get(require_id(args.name, "agent"))
    if agent is None:
        raise ConfigError(
            f"The agent {args.name!r} is not registered here.",
            "Add it to the collector's file, with its evidence key and its devices.",
        )
    try:
        request = args.csr.read_bytes()
    except OSError as error:
        raise ConfigError(f"{args.csr} cannot be read: {error.strerror}.", "Check it.") from error
    holder = agent_holder(agent.site, agent.agent)
    made = ca.certify(requested_key(request), holder, datetime.now(UTC), args.days or DAYS)
    written(args.out, pem(made) + ca.certificate_pem, 0o644)
    _told_issued(settings, made)
    _tell(
        args,
        {"certificate": str(args.out), "valid_until": _day(made.not_valid_after_utc)},
        "Carry it back: joulemark agent enroll -c SITE.yaml --certificate FILE",
    )


def _issue_to_client(args: argparse.Namespace, settings: CollectorSettings, ca: SiteCa) -> None:
    if args.name is None or args.out is None:
        raise ConfigError(
            "A certificate for a client needs a name and a file to write.",
            "Run: joulemark collector ca issue client NAME -c COLLECTOR.yaml --out FILE",
        )
    key, holder = new_key(), client_holder(require_id(args.name, "client"))
    made = ca.certify(key.public_key(), holder, datetime.now(UTC), args.days or DAYS)
    written(args.out, pem(made) + key_pem(key))
    _told_issued(settings, made)
    shown = {"certificate": str(args.out), "valid_until": _day(made.not_valid_after_utc)}
    _tell(args, shown, "Key and certificate stand in this file; hand it over safely.")


def _told_issued(settings: CollectorSettings, made: x509.Certificate) -> None:
    what = f"{common_name(made)}, serial {made.serial_number:x}"
    told(settings.state_dir, "certificate_issued", what)


def renew(args: argparse.Namespace) -> int:
    """`collector ca renew`."""
    settings, ca = _opened(args)
    with ca:
        now, days = datetime.now(UTC), args.days or DAYS
        made = renewed(settings, ca, now, days=days, within_days=args.within)
    say = _RELOAD if servers_of(settings).get(Role.BROKER) in made else ""
    for path in made:
        told(settings.state_dir, "certificate_issued", f"renewed {path}")
    shown = {"renewed": [str(path) for path in made]}
    _tell(args, shown, say if made else "Nothing ends soon.")
    return 0


def listed(args: argparse.Namespace) -> int:
    """`collector ca list`."""
    settings, ca = _opened(args)
    now = datetime.now(UTC)
    with ca:
        rows = [
            {
                "name": one.name,
                "role": one.role,
                "serial": f"{one.serial:x}",
                "valid_until": _day(one.until),
                "revoked": None if one.revoked is None else _day(one.revoked),
            }
            for one in ca.records.issued()
        ]
    ours = [("authority", ca.folder / CERTIFICATE)]
    ours += [(str(role), path) for role, path in servers_of(settings).items()]
    ends = {name: own_certificate(path).not_valid_after_utc for name, path in ours}
    soon = [name for name, end in ends.items() if end - now < timedelta(days=WARN_DAYS)]
    if args.json:
        days = {name: _day(end) for name, end in ends.items()}
        print(json.dumps({"certificates": rows, "ours": days, "ends_soon": soon}))
        return 1 if soon else 0
    for row in rows:
        state = f"revoked {row['revoked']}" if row["revoked"] else f"until {row['valid_until']}"
        print(f"{row['role']:<9} {row['name']}  {state}  {row['serial']}")
    for name, end in ends.items():
        print(f"{name} ends {_day(end)}{' SOON' if name in soon else ''}")
    return 1 if soon else 0


def crl(args: argparse.Namespace) -> int:
    """`collector ca crl`."""
    _, ca = _opened(args)
    with ca:
        written(args.out, ca.revoked_list(datetime.now(UTC)), 0o644)
    _tell(args, {"revocation_list": str(args.out)}, _RELOAD)
    return 0


def revoke(args: argparse.Namespace) -> int:
    """`collector ca revoke`."""
    settings, ca = _opened(args)
    ca.close()
    told(settings.state_dir, "certificates_revoked", args.name)
    count = withdraw_certificates(settings, args.name, datetime.now(UTC))
    _tell(args, {"name": args.name, "revoked": count}, left_to_do(settings))
    return 0 if count else 1


def token(args: argparse.Namespace) -> int:
    """`collector enroll-token`."""
    devices = {require_id(one.strip(), "device") for one in args.devices.split(",")}
    site, agent = require_id(args.site, "site"), require_id(args.agent, "agent")
    invited = Invited(site, agent, tuple(sorted(devices)))
    settings, ca = _opened(args)
    own = own_file(settings.state_dir)
    with ca:
        made = joining.new_token(
            ca.records, invited, _fingerprint(own), datetime.now(UTC), args.minutes
        )
    told(settings.state_dir, "agent_invited", f"{agent}, {site}")
    port = (settings.enrolment or EnrolmentSettings()).port
    shown = {"token": made.text, "collector": made.fingerprint, "minutes": args.minutes}
    how = f"joulemark agent enroll -c SITE.yaml --collector https://HOST:{port} --token-file -"
    off = "" if settings.enrolment else "\nNothing listens yet: add 'enrolment: {}' to the file."
    _tell(args, shown, f"On the gateway, within {args.minutes} minutes:\n  {how}{off}")
    return 0


def enrolments(args: argparse.Namespace) -> int:
    """`collector enrolments`."""
    settings, ca = _opened(args)
    now = datetime.now(UTC)
    with ca:
        if args.decision is None:
            _list_waiting(args, ca.records.applications(now), own_file(settings.state_dir))
            return 0
        if args.id is None:
            raise ConfigError("There is no ID.", "List the enrolments without a decision first.")
        if args.decision == "refuse":
            gone = joining.refuse(ca.records, args.id, now)
            told(settings.state_dir, "agent_refused", _applicant(gone))
            _tell(args, {"refused": gone.agent}, "")
            return 0
        found = joining.pending(ca.records, args.id, now)
        days = (settings.enrolment or EnrolmentSettings()).days
        made = joining.approve(ca, found.id, now, days, partial(register, settings))
        told(settings.state_dir, "agent_approved", _applicant(found))
        refresh_broker(settings, ca, now)
    shown = {"approved": found.agent, "site": found.site, "valid_until":
             _day(made.not_valid_after_utc)}  # fmt: skip
    _tell(args, shown, left_to_do(settings))
    return 0


def _applicant(applied: Applied) -> str:
    return f"{applied.agent}, {applied.site}, {fingerprint(applied.key)}"


def config(args: argparse.Namespace) -> int:
    """`broker config`."""
    settings, ca = _opened(args)
    with ca:
        is_new = mosquitto.write_broker(
            args.out,
            ca,
            agents_now(settings, ca),
            datetime.now(UTC),
            hosts=args.host,
            port=args.tls_port,
            host=args.listen,
            days=args.days or DAYS,
        )
    if is_new:
        told(settings.state_dir, "certificate_issued", f"broker, {args.out}")
    shown = {"folder": str(args.out), "certificate": "new" if is_new else "kept"}
    _tell(
        args, shown, f"Start it: mosquitto -c {args.out / mosquitto.CONFIG}. If it runs: {_RELOAD}"
    )
    return 0


def _list_waiting(args: argparse.Namespace, applied: list[Applied], own: Path) -> None:
    rows = [
        {
            "id": one.id,
            "agent": one.agent,
            "site": one.site,
            "devices": list(one.devices),
            "fingerprint": fingerprint(one.key),
            "applied": _day(one.at),
            "state": one.state,
        }
        for one in applied
    ]
    if args.json:
        print(json.dumps({"collector": _fingerprint(own), "enrolments": rows}))
        return
    print(f"This collector's certificate  {_fingerprint(own)}")
    for row in rows:
        print(f"{row['id']}  {row['state']}  {row['agent']} of {row['site']}, {row['applied']}")
        print(f"  fingerprint {row['fingerprint']}, reads {', '.join(row['devices'])}")
    if any(one.state == PENDING for one in applied):
        print("Compare the fingerprint with the one the agent shows, by telephone or on the spot;")
        print("then: joulemark collector enrolments -c COLLECTOR.yaml approve ID")
    if not rows:
        print("Nobody has applied within the last hour.")


def _opened(args: argparse.Namespace) -> tuple[CollectorSettings, SiteCa]:
    settings = load_collector(args.config)
    return settings, SiteCa(ca_folder(settings.state_dir))


def _own_names() -> list[str]:
    """What this machine is called; a name that no certificate may bear is left out."""
    name = socket.gethostname().lower()
    parts = name.split(".")
    good = all(part.replace("-", "").isalnum() and part.isascii() for part in parts)
    return [*([name] if good else []), "localhost", "127.0.0.1"]


def _fingerprint(path: Path) -> str:
    return certificate_fingerprint(own_certificate(path).public_bytes(Encoding.DER))


def _day(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


def _tell(args: argparse.Namespace, shown: Mapping[str, Any], text: str) -> None:
    if args.json:
        print(json.dumps(shown))
        return
    for name, value in shown.items():
        listed = ", ".join(value) if isinstance(value, list) else value
        print(f"{name.replace('_', ' ')}: {listed}")
    if text:
        sys.stdout.write(f"{text}\n")
