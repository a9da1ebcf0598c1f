"""Where the pages may be shown: to others only with TLS and log-in."""

import pytest
from pydantic import ValidationError

from joulemark_gateway.access.settings import PagesSettings, PagesTls

TLS = PagesTls(certificate="c.pem", key="k.pem")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_this_machine_needs_neither_tls_nor_log_in(host):
    assert PagesSettings(host=host, login=False).is_loopback
    assert PagesSettings(host=host).login, "without being told otherwise one has to log in"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1"])
def test_others_need_both(host):
    with pytest.raises(ValidationError, match="need TLS"):
        PagesSettings(host=host)
    with pytest.raises(ValidationError, match="login: false"):
        PagesSettings(host=host, login=False, tls=TLS)
    assert not PagesSettings(host=host, tls=TLS).is_loopback


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1.evil.example", "[::1]", "127.1 "])
def test_a_name_is_no_address_to_listen_on(host):
    with pytest.raises(ValidationError):
        PagesSettings(host=host)


@pytest.mark.parametrize("name", ["", "A.example", "-a", "a..b", "a/b", "a:1", "*", "x" * 64])
def test_a_name_to_be_asked_by_is_a_plain_one(name):
    with pytest.raises(ValidationError):
        PagesSettings(names=(name,))
    assert PagesSettings(names=("collector.plant.example",)).names
