"""A collector as it runs: it reads its tariff, looks at its rules, and tells a real receiver."""

import json
import threading
from pathlib import Path

import pytest

from gateway.alerts.test_deliver import waited_for
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway import app
from joulemark_gateway.settings import load_collector
from support.evidence import AGENT, KEYS, SITE
from support.receivers import SECRET, http_receiver

pytestmark = pytest.mark.service
TARIFF = Path(__file__).parents[3] / "configs/tariffs/example-time-of-use.yaml"
FILE = """\
broker: {{url: "mqtt://127.0.0.1:1"}}
pages: null
agents: [{{agent: {agent}, site: {site}, key: "{key}", devices: [main-meter]}}]
operators: ["{operator}"]
costs: [{{site: {site}, tariffs: [tariff.yaml], contract_kw: 500, warning: {{limit: contract}}}}]
alerts:
  private_addresses: true
  receivers: [{{name: ops, webhook: "{url}"}}]
  rules: [{{rule: disk, limit: 0, tell: [ops]}}]
"""


def written(folder, url):
    key, operator = (encode64(public_key(one)) for one in (KEYS.agent, KEYS.operator))
    text = FILE.format(agent=AGENT, site=SITE, key=key, operator=operator, url=url)
    path = folder / "collector.yaml"
    path.write_text(text, "utf-8")
    (folder / "tariff.yaml").write_bytes(TARIFF.read_bytes())
    return path


def test_a_collector_tells_what_its_file_says(tmp_path, monkeypatch):
    monkeypatch.setenv("JOULEMARK_ALERTS_SECRET_OPS", SECRET)
    stop = threading.Event()
    with http_receiver() as taken:
        settings = load_collector(written(tmp_path, taken.url))
        thread = threading.Thread(target=app.collect, args=(settings, stop))
        thread.start()
        try:
            waited_for(lambda: taken.requests, 30.0)
        finally:
            stop.set()
            thread.join()
    told = json.loads(taken.requests[0][1])
    assert (told["rule"], told["subject"], told["kind"]) == ("disk", "collector", "raised")


def test_a_collector_without_the_secret_does_not_start(tmp_path, monkeypatch):
    monkeypatch.delenv("JOULEMARK_ALERTS_SECRET_OPS", raising=False)
    settings = load_collector(written(tmp_path, "https://hooks.example/"))
    with pytest.raises(ConfigError, match="JOULEMARK_ALERTS_SECRET_OPS"):
        app.collect(settings, threading.Event())


def test_a_mistake_in_a_tariff_is_one_of_the_collector_s_file(tmp_path):
    path = written(tmp_path, "https://hooks.example/")
    tariff = tmp_path / "tariff.yaml"
    tariff.write_text(tariff.read_text("utf-8").replace("band: high}", "band: dear}", 1), "utf-8")
    with pytest.raises(ConfigError, match="dear"):
        load_collector(path)
