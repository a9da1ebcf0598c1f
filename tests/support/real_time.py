"""A whole chain in real time, a reading a second of every machine of a virtual factory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.sparse import present
from joulemark_gateway.api.records import leaf_of
from joulemark_gateway.demo.chain import Place
from joulemark_gateway.evidence.store import SqliteStore
from support.chains import QuickChain
from support.forks import Forks, until

SITE = "hall"
PERIOD_US = 1_000_000
_SITE = """\
site: {site}
agent: {agent}
time_zone: UTC
state_dir: state
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
uplink:
  url: "mqtt://127.0.0.1:{broker}"
  collector_key: "{collector_key}"
  collector_name: {collector_name}
batch: {{slots: 96, seconds: 1}}
devices:
{rows}
"""
_ROW = (
    '  - {{id: {id}, profile: {profile}, url: "modbus-tcp://127.0.0.1:{port}", unit: {unit},'
    " period_s: 1, timeout_s: {timeout_s}}}"
)
_FACTORY = """\
scenario: in_real_time
kind: devices
about: as many machines as a test asks for
synthetic: true
first_slot: "2022-05-09T00:00:00Z"
period_s: 1
count: 1000000
devices:
{rows}
"""


@dataclass(frozen=True)
class Machine:
    """One device of the site, a unit of the factory."""

    id: str
    unit: int
    profile: str = "virtual_main_meter"
    timeout_s: float = 0.5


class RealTimeChain(QuickChain):
    """Factory, broker, collector and agent; the agent reads every machine once a second."""

    def __init__(
        self,
        folder: Path,
        machines: Sequence[Machine],
        *,
        faults: str = "",
        forks: Forks | None = None,
    ) -> None:
        self.machines = {machine.id: machine for machine in machines}
        self.lines: Mapping[str, int] = {}  # ports of machines that stand behind a wire
        self._given: dict[str, Any] = {}
        scenario = folder / "factory.yaml"
        rows = "\n".join(f"  - {{unit: {m.unit}, profile: {m.profile}}}" for m in machines)
        scenario.write_text(_FACTORY.format(rows=rows) + faults, "utf-8")
        ports = ("modbus", "control", "rtu")
        ids = tuple(self.machines)
        place = Place(SITE, "edge-1", "site", str(scenario), ids, 0, ports)
        super().__init__(folder, place, forks)

    @property
    def state(self) -> Path:
        """The agent's state folder."""
        return self.places[0].site_file(self.folder).parent / "state"

    def site_text(self, place: Place, values: dict[str, Any]) -> str:
        """The site file with every machine."""
        self._given = {**values, "site": place.site, "agent": place.agent}
        return self._site_of(self.machines)

    def _site_of(self, ids: Sequence[str] | Mapping[str, Any]) -> str:
        rows = [
            _ROW.format(**vars(machine), port=self.lines.get(name, self.ports["modbus"]))
            for name, machine in self.machines.items()
            if name in ids
        ]
        return _SITE.format(**self._given, rows="\n".join(rows))

    def reload(self, ids: Sequence[str]) -> None:
        """Let the site file name these machines, granted by the operator, and the agent read it."""
        path, key = self.places[0].site_file(self.folder), self.folder / "keys" / "operator.key"
        path.write_text(self._site_of(ids), "utf-8")
        self.joulemark("agent", "enroll", "-c", str(path), "--operator-key", str(key))
        os.kill(self.processes["agent"].pid, signal.SIGHUP)

    def command(self, name: str) -> list[str]:
        """The command line of one of the processes."""
        words = super().command(name)
        return [*words, "--real-time"] if name == "factory" else words

    def newest_us(self) -> int:
        """The newest slot up to which the collector has a reading of every machine. [us UTC]"""
        path = self.collector_file.parent / "state" / "evidence.sqlite"
        found: dict[str, int] = {}
        with suppress(StoreError), SqliteStore(path, create=False) as store:
            for head in store.heads():
                start = max(head.size - 40, 0)
                for seq, data in present(store.parts(head.origin, start, head.size), start):
                    leaf = leaf_of(data, seq)
                    if leaf.kind == "record":
                        found[head.grant["dev"]] = leaf.slot_us or 0
        return min(found.values()) if len(found) == len(self.machines) else 0

    def flows_after(self, at_us: int, within_s: float = 60.0) -> float:
        """How long it takes until readings of after an instant are held of every machine. [s]"""
        return until(lambda: self.newest_us() > at_us, "readings arrive", within_s)


def now_us() -> int:
    """UTC since 1970. [us]"""
    return time.time_ns() // 1000
