"""Controllers over https: known by fingerprint, or authority and name, before they are asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from joulemark_agent.contract.errors import ConfigError, DeviceError
from joulemark_agent.exchange import UNTRUSTED
from joulemark_agent.http import Http
from joulemark_agent.http_trust import Trust
from joulemark_agent.settings import load_site, site_document
from joulemark_agent.tls import certificate_fingerprint
from support.certificates import certificate, der, key_pem, pem
from support.sites import HEAD

NOW = datetime.now(UTC)
OLD: dict[str, Any] = {"begin": NOW - timedelta(days=800), "end": NOW - timedelta(days=1)}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Controller:
    """A web interface that counts what it is asked."""

    def __init__(self, port: int) -> None:
        self.port, self.asked = port, 0

    async def read(self, trust: Trust) -> bytes:
        """What an agent gets that trusts so."""
        http = Http("https://127.0.0.1", self.port, timeout_s=5.0, trust=trust)
        try:
            return (await http.ask("GET", "/", [], b"", timeout_s=5.0)).body
        finally:
            await http.close()


@asynccontextmanager
async def controller(
    folder: Path, shown: x509.Certificate, owner: str
) -> AsyncIterator[Controller]:
    """It, showing that certificate."""
    path = folder / "controller.pem"
    path.write_bytes(pem(shown) + key_pem(owner))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    made = Controller(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            made.asked += 1
            writer.write(ANSWER)
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


def written(folder: Path, *found: x509.Certificate) -> Path:
    path = folder / "ca.pem"
    path.write_bytes(b"".join(map(pem, found)))
    return path


async def test_a_pinned_certificate_may_be_old_and_of_another_name(tmp_path):
    shown = certificate("controller", hosts=("somebody",), **OLD)
    async with controller(tmp_path, shown, "controller") as found:
        assert await found.read(Trust(fingerprint=certificate_fingerprint(der(shown)))) == b"{}"


async def test_another_certificate_than_the_pinned_one_is_asked_nothing(tmp_path):
    """Not even a better one, which the same authority signed; without the pin it is asked."""
    authority = certificate("authority", is_authority=True)
    shown = certificate("controller", issuer="authority")
    pinned = certificate_fingerprint(der(certificate("controller", issuer="authority")))
    async with controller(tmp_path, shown, "controller") as found:
        with pytest.raises(DeviceError) as caught:
            await found.read(Trust(fingerprint=pinned))
        assert caught.value.code == UNTRUSTED
        assert certificate_fingerprint(der(shown)) in caught.value.what, "what is to be compared"
        assert found.asked == 0
        assert await found.read(Trust(ca=written(tmp_path, authority))) == b"{}"
        assert found.asked == 1


@pytest.mark.parametrize(
    ("shown", "trust", "is_read"),
    [
        ({}, {}, True),
        ({"hosts": ("controller-7",)}, {}, False),
        ({"hosts": ("controller-7",)}, {"host": "controller-7"}, True),
        ({}, {"host": "controller-7"}, False),
        (OLD, {}, False),
        ({"issuer": "stranger"}, {}, False),
        ({"issuer": None}, {}, False),
    ],
)
async def test_an_authority_vouches_for_name_and_time(tmp_path, shown, trust, is_read):
    ca = written(tmp_path, certificate("authority", is_authority=True))
    made = certificate("controller", **{"issuer": "authority", **shown})
    async with controller(tmp_path, made, "controller") as found:
        asked = found.read(Trust(ca=ca, **trust))
        if is_read:
            assert await asked == b"{}"
            return
        with pytest.raises(DeviceError) as caught:
            await asked
        assert caught.value.code == UNTRUSTED
        assert "fingerprint" in caught.value.do
        assert found.asked == 0


async def test_without_a_word_only_authorities_of_this_machine_are_believed(tmp_path):
    made = certificate("controller")
    async with controller(tmp_path, made, "controller") as found:
        with pytest.raises(DeviceError) as caught:
            await found.read(Trust())
        assert caught.value.code == UNTRUSTED
        with pytest.raises(DeviceError) as caught:
            await found.read(Trust(ca=tmp_path / "missing.pem"))
        assert caught.value.code == UNTRUSTED
        assert found.asked == 0


# ------------------------------------------------------------- the site file

DEVICE = """\
  - {{id: ga37, profile: atlas_copco_elektronikon_mkv, url: "{url}", period_s: 5, tls: {tls}}}
"""
DIGITS = "AB:" * 31 + "cd"
HTTPS = "elektronikon-https://192.0.2.1"


def site(folder: Path, *devices: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(HEAD.format() + "".join(devices))
    return path


def test_a_fingerprint_is_written_as_browsers_show_it(tmp_path):
    path = site(tmp_path, DEVICE.format(url=HTTPS, tls=f"{{fingerprint: '{DIGITS}'}}"))
    [device] = load_site(path).planned_devices()
    assert device.trust == Trust(fingerprint="ab" * 31 + "cd")
    with_ca = site(tmp_path, DEVICE.format(url=HTTPS, tls="{ca: plant.pem, host: ga37}"))
    [device] = load_site(with_ca).planned_devices()
    assert device.trust == Trust(ca=tmp_path / "plant.pem", host="ga37")


def test_how_a_device_is_known_is_no_evidence(tmp_path):
    plain = site_document(load_site(site(tmp_path, DEVICE.format(url=HTTPS, tls="null"))))
    path = site(tmp_path, DEVICE.format(url=HTTPS, tls="{ca: plant.pem}"))
    assert site_document(load_site(path)) == plain


@pytest.mark.parametrize(
    ("url", "tls", "said"),
    [
        ("elektronikon-http://192.0.2.1", "{}", "begins with ...-https://"),
        (HTTPS, "{fingerprint: ab}", "has 64 digits"),
        (HTTPS, f"{{fingerprint: '{DIGITS}', ca: a.pem}}", "says all"),
        (HTTPS, f"{{fingerprint: '{DIGITS}', host: a}}", "says all"),
        (HTTPS, "{insecure: true}", "insecure"),
    ],
)
def test_a_mistake_is_told(tmp_path, url, tls, said):
    with pytest.raises(ConfigError) as caught:
        load_site(site(tmp_path, DEVICE.format(url=url, tls=tls)))
    assert said in str(caught.value)
