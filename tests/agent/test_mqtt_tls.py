"""The agent's side of mTLS: whom it believes, and what it says when it is not believed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from joulemark_agent.contract.errors import ConfigError, UplinkError
from joulemark_agent.contract.topics import all_answers, batch_topic
from joulemark_agent.mqtt import Acked, Connection, Event, Login
from joulemark_agent.tls import TlsFiles, client_context, expiry_warning, own_certificate
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.pki.authority import agent_holder
from joulemark_gateway.pki.mosquitto import write_rights
from support.identities import HOST, Mosquitto, PlantCa, mosquitto_of, now, plant_ca

pytestmark = [pytest.mark.service, pytest.mark.usefixtures("mosquitto")]
NAME = "edge-1"


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Iterator[PlantCa]:
    with plant_ca(tmp_path_factory.mktemp("plant")) as found:
        yield found


@pytest.fixture(scope="module")
def broker(plant, tmp_path_factory) -> Iterator[Mosquitto]:
    agents = [Agent(NAME, "plant", bytes(32), frozenset({"meter"}))]
    with mosquitto_of(plant, tmp_path_factory.mktemp("broker"), agents) as found:
        yield found


@pytest.fixture(scope="module")
def own(plant: PlantCa) -> TlsFiles:
    return plant.agent(NAME)


async def refusal(
    broker: Mosquitto, files: TlsFiles | None, host: str = HOST
) -> UplinkError | None:
    """Why there is no connection; None: there is one."""
    login = Login(f"mqtts://{host}:{broker.port}", NAME, tls=files)
    connection = Connection(login, lambda _: None)
    try:
        await connection.open(all_answers(NAME))
    except UplinkError as error:
        return error
    await connection.close()
    return None


async def test_an_agent_that_is_known_is_let_in(broker, own):
    assert await refusal(broker, own) is None


async def test_a_broker_of_another_name_is_not_spoken_to(broker, own):
    found = await refusal(broker, own, "localhost")
    assert found is not None
    assert found.code == "untrusted_broker"
    assert "localhost" in found.what


async def test_a_broker_of_another_authority_is_not_spoken_to(broker, own, tmp_path):
    with plant_ca(tmp_path) as other:
        found = await refusal(broker, replace(own, ca=other.ca.folder / "ca.pem"))
    assert found is not None
    assert found.code == "untrusted_broker"


async def test_who_trusts_the_machines_authorities_does_not_trust_the_sites(broker):
    """Without `tls` in the site file: what mqtts meant before, and means for a public broker."""
    found = await refusal(broker, None)
    assert found is not None
    assert found.code == "untrusted_broker"


@pytest.mark.parametrize("kind", ["expired", "rogue", "revoked"])
async def test_a_certificate_that_does_not_hold_is_said_so(broker, plant, kind):
    files = {
        "expired": lambda: plant.expired(NAME),
        "rogue": lambda: plant.rogue(NAME),
        "revoked": lambda: revoked(plant, broker),
    }[kind]()
    found = await refusal(broker, files)
    assert found is not None
    assert found.code == "certificate_refused"
    assert "joulemark agent renew" in found.do


def revoked(plant: PlantCa, broker: Mosquitto) -> TlsFiles:
    """A certificate that was taken back before the broker read its files."""
    files = plant.own("lost", agent_holder("plant", "lost"))
    plant.ca.records.revoke("lost", now())
    write_rights(broker.folder, plant.ca, [], now())
    broker.reload()
    return files


def test_files_that_cannot_be_used_are_told_with_what_to_do(own, tmp_path):
    missing = tmp_path / "missing.pem"
    open_to_all, encrypted, halves = (tmp_path / name for name in ("open", "encrypted", "halves"))
    open_to_all.write_bytes(own.certificate.read_bytes())
    open_to_all.chmod(0o644)
    key = load_pem_private_key(own.certificate.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass"))
    certificate = own_certificate(own.certificate).public_bytes(Encoding.PEM)
    for path, data in ((encrypted, certificate + locked), (halves, certificate)):
        path.write_bytes(data)
        path.chmod(0o600)
    said = {}
    for files in (
        replace(own, certificate=missing), replace(own, ca=missing),
        replace(own, certificate=open_to_all), replace(own, certificate=encrypted),
        replace(own, certificate=halves), replace(own, certificate=halves, key=encrypted),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            client_context(files)
        said[files.certificate.name, files.ca.name] = caught.value
    assert "chmod 600" in said["open", "ca.pem"].do
    assert all(str(path.name) in str(said[name, "ca.pem"].what) for name, path in (
        ("missing.pem", missing), ("encrypted", encrypted), ("halves", halves),
    ))  # fmt: skip


def test_nothing_older_than_tls_1_2_is_spoken(own):
    assert client_context(own).minimum_version is ssl.TLSVersion.TLSv1_2
    assert client_context(own).verify_mode is ssl.CERT_REQUIRED
    assert client_context(own).check_hostname


@pytest.mark.parametrize(("days", "said"), [(31, None), (29, "ends in 29 days"), (0, "has ended")])
def test_thirty_days_before_its_end_it_is_told(plant, days, said):
    files = plant.own(f"days-{days}", agent_holder("plant", NAME), days=100)
    at = own_certificate(files.certificate).not_valid_after_utc - timedelta(days=days)
    warning = expiry_warning(files.certificate, at, "Renew it.")
    assert (warning is None) == (said is None)
    if warning is not None:
        assert said in warning.what


async def test_messages_beyond_what_the_socket_takes_at_once_all_leave_and_come_in_order(
    broker: Mosquitto, own: TlsFiles
) -> None:
    """No thread waits for room: the event loop goes on writing, and reads all that TLS holds."""
    found = asyncio.Queue[Event]()
    connection = Connection(Login(f"mqtts://{HOST}:{broker.port}", NAME, tls=own), found.put_nowait)
    await connection.open(all_answers(NAME))
    mids = [connection.publish(batch_topic(NAME, "meter"), bytes(900_000)) for _ in range(12)]
    async with asyncio.timeout(30):
        events = [await found.get() for _ in mids]
    await connection.close()
    assert [event.mid for event in events if isinstance(event, Acked)] == mids
