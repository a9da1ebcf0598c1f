"""A secret may come by a file that a variable names; what is wrong is told, and not shown."""

from pathlib import Path

import pytest

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway.secret_files import opened
from joulemark_gateway.settings import PREFIX, load_collector
from support.evidence import KEYS

TOKEN = f"{PREFIX}SERIES__TOKEN"
SECRET = "a-token-of-a-file"


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n", "utf-8")
    return str(path)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "collector.yaml"
    path.write_text(
        f'operators: ["{encode64(public_key(KEYS.operator))}"]\nenrolment: {{}}\n'
        'series: {kind: influx, url: "http://192.0.2.10:8086"}\n',
        "utf-8",
    )
    return path


def test_the_collector_takes_its_token_from_the_file_that_is_named(file, secret, monkeypatch):
    monkeypatch.setenv(f"{TOKEN}_FILE", secret)
    settings = load_collector(file)
    assert settings.series.token is not None
    assert settings.series.token.get_secret_value() == SECRET


def test_what_stands_in_the_file_is_checked_as_what_stands_in_a_variable(file, secret, monkeypatch):
    Path(secret).write_text("two words", "utf-8")
    monkeypatch.setenv(f"{TOKEN}_FILE", secret)
    with pytest.raises(ConfigError) as caught:
        load_collector(file)
    assert "two words" not in str(caught.value)


def test_a_variable_and_its_file_at_once_are_refused(secret):
    with pytest.raises(ConfigError, match="both set"):
        opened({TOKEN: "x", f"{TOKEN}_FILE": secret}, PREFIX)


def test_a_file_that_cannot_be_read_is_one_message(tmp_path):
    with pytest.raises(ConfigError, match=r"gone cannot be read: No such file"):
        opened({f"{TOKEN}_FILE": str(tmp_path / "gone")}, PREFIX)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="no UTF-8"):
        opened({f"{TOKEN}_FILE": str(tmp_path / "bytes")}, PREFIX)


def test_variables_of_others_and_of_no_secret_are_left_alone(secret):
    given = {"OTHER_TOKEN_FILE": secret, f"{PREFIX}LOG_FILE": secret, "PATH": "/bin"}
    assert opened(given, PREFIX) == given


def test_a_file_for_what_may_not_be_set_is_refused_as_the_variable_is(file, secret, monkeypatch):
    monkeypatch.setenv(f"{PREFIX}OPERATORS__TOKEN_FILE", secret)
    with pytest.raises(ConfigError, match="write this into the file"):
        load_collector(file)
