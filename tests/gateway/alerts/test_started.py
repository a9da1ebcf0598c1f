"""After a start the series is not open yet: an open warning of the demand stays open."""

import pytest

from gateway.alerts.test_deliver import wanted
from gateway.costs.test_months import book_of
from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.alerts.rules import Condition
from joulemark_gateway.alerts.store import AlertStore
from joulemark_gateway.api.sources import OpenSeries, Sources
from joulemark_gateway.daily import Daily
from joulemark_gateway.evidence.ledger import SqliteLedger
from support.evidence import SITE
from support.tariffs import flat


def test_a_start_before_the_series_is_open_ends_no_warning(tmp_path):
    path = tmp_path / "alerts.sqlite"
    told = wanted("https://hooks.example/", rules=[{"rule": "peak_demand", "tell": ["ops"]}])
    [rule] = told.rules
    with AlertStore(path) as store:
        one = Condition(f"{rule.id}/{SITE}/{SITE}", rule.id, SITE, SITE, "peak_demand")
        store.apply(rule, [one], 0)
    ledger = SqliteLedger(tmp_path / "evidence.sqlite")
    sources = Sources("witness", bytes(32), ledger, OpenSeries(), costs=book_of(flat()))
    with pytest.raises(StoreError, match="not open yet"):
        Daily(sources, told, path).turn()
    with AlertStore(path) as store:
        assert [alert.id for alert in store.alerts(["raised"], 10)] == [1]
