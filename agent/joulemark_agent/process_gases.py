"""Shipped tables in an equipment section: their names become their numbers, with the source.

A site file names a table; what is signed holds the numbers of the gases that the tool is fed, so
that whoever has the evidence computes the emissions without this package's data:

| written | signed |
|---|---|
| `factors: {set, table, process}` | `factors: {source, emitted_kg_per_kg}` |
| `warming: {set, assessment}` | `warming: {assessment, source, kg_per_kg}` |

`uncertainty_ratio` beside a named table goes along. A section that holds numbers already, of one's
own measurements, stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import joulemark_profiles
from joulemark_agent.contract.document import Document, parse_yaml, validate
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.process_gases import (
    GasTable,
    ProcessGasSet,
    WarmingSet,
    WarmingTable,
)

GASES, WARMING = "process_gases", "warming_potentials"

_UNCERTAINTY = "uncertainty_ratio"  # of the factors, which the tables do not state


def load_process_gases(name: str) -> ProcessGasSet:
    """A shipped set of emission factors (ConfigError: there is none of that name)."""
    return validate(ProcessGasSet, _document(GASES, name))


def load_warming(name: str) -> WarmingSet:
    """A shipped set of warming potentials (ConfigError: there is none of that name)."""
    return validate(WarmingSet, _document(WARMING, name))


def with_tables(section: Mapping[str, Any]) -> dict[str, Any]:
    """The equipment section with the numbers of the tables that it names.

    Raises:
        ConfigError: a set, table, process, assessment or gas is not there.
    """
    resolved = dict(section)
    factors, potentials = resolved.get("factors"), resolved.get("warming")
    if isinstance(factors, Mapping) and "set" in factors:
        resolved["factors"] = _factors(factors, _fed(section))
    if isinstance(potentials, Mapping) and "set" in potentials:
        resolved["warming"] = _potentials(potentials)
    return resolved


def _factors(named: Mapping[str, Any], fed: Iterable[str]) -> dict[str, Any]:
    _only(named, "factors", ("set", "table", "process"), optional=(_UNCERTAINTY,))
    tables = load_process_gases(str(named["set"])).tables
    table: GasTable = _one("table", named["table"], {each.table: each for each in tables})
    gases = _one("process", named["process"], table.processes)
    emitted = {gas: dict(_one("gas", gas, gases)) for gas in fed}
    source = f"{table.source}; {table.published.isoformat()}; {named['process']}"
    sure = {_UNCERTAINTY: named[_UNCERTAINTY]} if _UNCERTAINTY in named else {}
    return {"source": source, "emitted_kg_per_kg": emitted, **sure}


def _potentials(named: Mapping[str, Any]) -> dict[str, Any]:
    _only(named, "warming", ("set", "assessment"))
    tables = load_warming(str(named["set"])).assessments
    table: WarmingTable = _one(
        "assessment", named["assessment"], {each.assessment: each for each in tables}
    )
    return {
        "assessment": table.assessment,
        "source": f"{table.source}; {table.published}",
        "kg_per_kg": dict(table.kg_per_kg),
    }


def _fed(section: Mapping[str, Any]) -> list[str]:
    """The gases of the section; what is no list of gases is left to the model to refuse."""
    gases = section.get("gases")
    rows = gases if isinstance(gases, list | tuple) else ()
    return [str(row["gas"]) for row in rows if isinstance(row, Mapping) and "gas" in row]


def _only(
    named: Mapping[str, Any], key: str, wanted: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    if set(named) - set(optional) != set(wanted):
        raise ConfigError(
            f"'{key}' has {', '.join(map(str, named))}.", f"Give exactly {', '.join(wanted)}."
        )


def _one(what: str, name: Any, known: Mapping[str, Any]) -> Any:
    if str(name) not in known:
        raise ConfigError(f"There is no {what} {str(name)!r}.", f"Use one of: {', '.join(known)}.")
    return known[str(name)]


def _document(kind: str, name: str) -> Document:
    if name not in (known := joulemark_profiles.names(kind)):
        raise ConfigError(f"There is no {name!r} in {kind}.", f"Use one of: {', '.join(known)}.")
    return parse_yaml(joulemark_profiles.text(kind, name), f"{name}.yaml", is_shipped=True)
