"""The folder from which mosquitto runs for other machines: who may connect, and what each may say.

| file | what |
|---|---|
| `mosquitto.conf` | TLS 1.2 or later, client certificates; their name is user name and client id |
| `acl` | an agent writes below its registered devices and reads its answers; all else is denied |
| `ca.pem`, `crl.pem` | whom to believe, and whose certificates were taken back |
| `broker.pem` | the broker's certificate and private key, mode 0600 |

At SIGHUP (`systemctl reload mosquitto`) it reads all of them again but the listener's address. A
client that was revoked then cannot connect; one that is connected loses its rights at once,
because its user has no line in the `acl` any more. What waits for a client that asked for it
outlives an orderly restart (`persistence`), in the folder that the distribution's file names, else
in the one it is started in; the chain needs none of it, and nothing outlives a kill.
Source: mosquitto.conf(5), 2.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from joulemark_agent.contract.batch import MAX_WIRE_BYTES
from joulemark_agent.contract.topics import ROOT, health_topic
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.pki.authority import COLLECTOR_NAME, DAYS, Role
from joulemark_gateway.pki.site_ca import LIST, SiteCa, written

CONFIG, ACL, CA, OWN = "mosquitto.conf", "acl", "ca.pem", "broker.pem"
PORT = 8883
_HEAD = "# Written by 'joulemark broker config'; what is changed here is lost when it runs again.\n"
_CONFIG = """\
listener {listener}
cafile {folder}/ca.pem
crlfile {folder}/crl.pem
certfile {folder}/broker.pem
keyfile {folder}/broker.pem
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {folder}/acl
persistence true
retain_available false
message_size_limit {limit}
max_inflight_messages 512
log_dest stderr
log_type error
log_type warning
log_type notice
"""


def config_text(folder: Path, port: int = PORT, host: str | None = None) -> str:
    """mosquitto.conf.

    Args:
        folder: where the files are, as the broker sees it.
        port: to listen on.
        host: address to listen on; None: all of the machine.
    """
    listener = f"{port}" if host is None else f"{port} {host}"
    return _HEAD + _CONFIG.format(listener=listener, folder=folder, limit=MAX_WIRE_BYTES)


def acl_text(agents: Iterable[Agent], collectors: Iterable[str] = (COLLECTOR_NAME,)) -> str:
    """The access list: whoever has no lines in it may do nothing.

    Args:
        agents: who may send.
        collectors: the common names of all collectors; to share a topic each needs its own.
    """
    rights = f"topic read {ROOT}/up/#\ntopic write {ROOT}/down/#\n"
    users = [
        *(f"user {name}\n{rights}" for name in collectors),
        *map(_lines, sorted(agents, key=lambda agent: agent.agent)),
    ]
    return _HEAD + "\n".join(users)


def _lines(agent: Agent) -> str:
    name = agent.agent
    writes = [f"topic write {ROOT}/up/{name}/{device}/#\n" for device in sorted(agent.devices)]
    writes.append(f"topic write {health_topic(name)}\n")
    return f"user {name}\n{''.join(writes)}topic read {ROOT}/down/{name}/#\n"


def write_rights(folder: Path, ca: SiteCa, agents: Iterable[Agent], now: datetime) -> None:
    """Write who may do what as it is now: access list and revocation list.

    One after the other where several do, so that none of them writes what another took back.

    Args:
        folder: where to.
        ca: the site's authority.
        agents: who may send; asked when it is their turn.
        now: aware.

    Raises:
        ConfigError: a file cannot be written, or the authority's key cannot be used.
        StoreError: the authority's record cannot be used.
    """
    with ca.records.alone():
        written(folder / LIST, ca.revoked_list(now), 0o644)
        written(folder / ACL, acl_text(agents, _collectors(ca)).encode(), 0o600)


def _collectors(ca: SiteCa) -> list[str]:
    """The first, and every other that has a certificate that was not taken back."""
    held = {one.name for one in ca.records.issued() if one.role is Role.COLLECTOR}
    gone = {name for name in held if all(one.revoked for one in ca.records.issued(name))}
    return sorted((held - gone) | {COLLECTOR_NAME})


def write_broker(
    folder: Path,
    ca: SiteCa,
    agents: Iterable[Agent],
    now: datetime,
    *,
    hosts: Sequence[str] = (),
    port: int = PORT,
    host: str | None = None,
    days: int = DAYS,
) -> bool:
    """Write everything mosquitto needs; errors as `write_rights`.

    Args:
        folder: where to.
        ca: the site's authority.
        agents: who may send.
        now: aware.
        hosts: names and addresses under which agents reach it; none: those it has already.
        port: to listen on.
        host: address to listen on; None: all of the machine.
        days: how long a new certificate holds.

    Returns:
        whether the broker got a new certificate: it had none, has other names, or 30 days are left.
    """
    is_new = ca.equip(folder / OWN, Role.BROKER, now, hosts=hosts, days=days)
    written(folder / CA, ca.certificate_pem, 0o644)
    written(folder / CONFIG, config_text(folder.absolute(), port, host).encode(), 0o644)
    write_rights(folder, ca, agents, now)
    return is_new
