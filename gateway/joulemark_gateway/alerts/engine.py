"""Looks at every rule, and has the store raise, escalate and resolve."""

from __future__ import annotations

from collections.abc import Sequence

from joulemark_gateway.alerts.rules import Facts, conditions
from joulemark_gateway.alerts.settings import AlertSettings
from joulemark_gateway.alerts.store import AlertStore


def looked(store: AlertStore, wanted: AlertSettings, facts: Facts) -> None:
    """One look at everything; rules whose facts are not known stay as they are.

    Raises:
        StoreError: the file of alerts cannot be used; the rules before it are done.
    """
    for rule in wanted.rules:
        if rule.rule in facts.known:
            store.apply(rule, conditions(rule, facts, store.is_open), facts.now_us)


def begun(store: AlertStore, wanted: AlertSettings, now_us: int) -> None:
    """End what belongs to rules that were removed from the collector's file."""
    rules: Sequence[str] = [rule.id for rule in wanted.rules]
    store.close_unruled(rules, now_us)


def tidied(store: AlertStore, wanted: AlertSettings, now_us: int) -> None:
    """Forget what is old; the file is then no larger after years than after weeks."""
    store.tidy([row.name for row in wanted.receivers], now_us)
