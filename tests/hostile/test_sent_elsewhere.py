"""A server that we were told to speak to, and that sends us elsewhere: nobody there hears of us.

Machines are in `test_addresses`; witnesses and time stamps in tests/gateway/witness.
"""

import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partialmethod
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path
from urllib.error import URLError

import pytest

import joulemark_profiles
from joulemark_agent.contract.errors import EvidenceError, StoreError, UplinkError
from joulemark_agent.enrolment import _Collector
from joulemark_gateway.series.influx import InfluxSeries
from joulemark_gateway.series.servers import Http, Server
from support import certificates, servers

CODES = (301, 302, 303, 307, 308)
KINDS = ("victoriametrics", "influx")


@contextmanager
def sent_elsewhere(code: int, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """Two servers: the address of one that sends to the other, and what the other was asked."""
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
            servers.answer_with(self, 200, b"{}")

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with servers.serving(Elsewhere) as other:

        class Sends(Elsewhere):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(code)
                self.send_header("Location", f"{other}{self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()

        with servers.serving(Sends, tls) as url:
            yield url, asked


@pytest.fixture(scope="module")
def trusted(tmp_path_factory) -> Path:
    """A certificate that is its own authority, and its key, in one file."""
    path: Path = tmp_path_factory.mktemp("tls") / "server.pem"
    shown = certificates.certificate("somewhere", is_authority=True)
    path.write_bytes(certificates.pem(shown) + certificates.key_pem("somewhere"))
    return path


def showing(path: Path) -> ssl.SSLContext:
    """What a server speaks TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize("code", CODES)
def test_the_control_a_stock_reader_goes_there(code):
    with sent_elsewhere(code) as (url, asked):
        with suppress(URLError):
            urllib.request.urlopen(f"{url}/x").read()
        assert asked


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_series_server_does_not(tmp_path, kind, code):
    """Its token would go there as well."""
    with sent_elsewhere(code) as (url, asked):
        server = Server(url, "org", "bucket", token="canary")
        series, http = InfluxSeries(kind, server, tmp_path / "series.progress"), Http(server)
        for ask in (
            lambda: series._send(["joulemark_point,site=hall value=1 1"]),
            lambda: series.latest("hall"),
            lambda: http.ask("GET", "/x", {}),
            lambda: http.send("/x", {}, b"{}"),
        ):
            with pytest.raises(StoreError, match=f"answered {code}"):
                ask()
        series.close()
        http.close()
        assert not asked


@pytest.mark.parametrize("code", CODES)
def test_where_an_agent_joins_does_not(trusted, code):
    with sent_elsewhere(code, showing(trusted)) as (url, asked):
        context = ssl.create_default_context(cafile=str(trusted))
        with pytest.raises((EvidenceError, UplinkError)):
            _Collector(url, context).ask("apply", b"{}")
        assert not asked


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder of sets as their publisher serves it."""
    pytest.importorskip("tuf", reason="the extra [sets] is not installed")
    from joulemark_agent.sets.publish import publish  # noqa: PLC0415 - needs the extra [sets]

    folder: Path = tmp_path_factory.mktemp("publisher")
    path = folder / "sets/factors/korea.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(joulemark_profiles.text("factors", "korea"))
    publish(folder / "sets", folder / "keys", folder / "out", datetime.now(UTC))
    return folder / "out"


def fetched(url: str, published: Path, into: Path):
    """What is fetched from there by who trusts the publisher."""
    from joulemark_agent.sets.fetch import fetch  # noqa: PLC0415 - needs the extra [sets]

    return fetch(url, (published / "metadata/1.root.json").read_bytes(), into)


@pytest.fixture
def _believed(trusted, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))


@pytest.mark.usefixtures("_believed")
@pytest.mark.parametrize("code", CODES)
def test_a_publisher_of_sets_does_not(trusted, published, tmp_path, code):
    with sent_elsewhere(code, showing(trusted)) as (url, asked):
        with pytest.raises(EvidenceError, match=f"cannot be reached.*answers {code}"):
            fetched(url, published, tmp_path)
        assert not asked


class Shelf(SimpleHTTPRequestHandler):
    """The files of a folder."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.usefixtures("_believed")
def test_sets_come_over_https_and_not_by_drips(trusted, published, tmp_path, monkeypatch):
    shelf = type("Of", (Shelf,), {"__init__": partialmethod(Shelf.__init__, directory=published)})
    with servers.serving(shelf, showing(trusted)) as url:
        assert fetched(url, published, tmp_path).names == ("factors/korea.yaml",)
        monkeypatch.setattr("joulemark_agent.sets.fetch.FILE_S", 0.0)
        with pytest.raises(EvidenceError, match="not here after 0 s"):
            fetched(url, published, tmp_path / "late")
    with pytest.raises(EvidenceError, match="cannot be reached"):
        fetched(url, published, tmp_path / "away")
