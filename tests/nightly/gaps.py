"""Whatever keeps a slot from being read, its gap says so: every cause, injected and compared.

A chain in real time reads seven machines a second, each over a wire of its own. One is silent, one
hangs up, one refuses, one answers short, one answers too late; then the agent is killed, then
stopped, a machine is taken out of the site file and put back, the agent's disk is filled, and its
outbox is damaged while it is down. Every slot that was taken away must stand as a gap with that
cause, none with another, and on every device-day readings + gaps = slots. The control looks for the
same causes elsewhere and must fail.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from joulemark_gateway.evidence.slots import STORE_DAMAGED
from support.accounts import accounted
from support.chains import PRELOAD
from support.disk import mounted
from support.forks import Forks, until
from support.gaps import Outage, labelled
from support.real_time import Machine, RealTimeChain, now_us
from support.weather import Wire, wired

LASTS_S, FEW_S = 20.0, 4.0
QUIET_S = 12  # after the factory's start, before its own faults begin
DISK = "16m"
UNSENT_US = 5_000_000  # what was read in so much time may not have left the outbox yet
MACHINES = tuple(
    Machine(name, unit, timeout_s=timeout_s)
    for unit, (name, timeout_s) in enumerate(
        (
            ("steady", 0.5),
            ("silent", 0.5),
            ("hangs-up", 0.5),
            ("refuses", 0.5),
            ("short", 0.5),
            ("slow", 3.0),
            ("leaves", 0.5),
        ),
        1,
    )
)
IDS = tuple(machine.id for machine in MACHINES)
_FAULTS = """\
faults:
  seed: 1
  plan:
    - {{unit: 4, kind: exception, code: 6, by: second, first: {first}, count: {count}}}
    - {{unit: 5, kind: short, by: second, first: {first}, count: {count}}}
    - {{unit: 6, kind: slow, delay_s: 1.6, by: second, first: {first}, count: {count}}}
"""
OWN_CAUSES = {"refuses": "exception_06", "short": "bad_reply", "slow": "timeout"}


@dataclass
class Trial:
    """A running chain, and what was taken away from it."""

    chain: RealTimeChain
    wires: dict[str, Wire]
    lasts_s: float
    outages: list[Outage] = field(default_factory=list)

    def take_away(
        self, cause: str, ids: tuple[str, ...], away: Callable[[], None], back: Callable[[], None]
    ) -> None:
        """Take something away for a while; over it is when all machines are read again."""
        away()
        began_us = now_us()
        time.sleep(self.lasts_s)  # it is away: that is the test
        ended_us = now_us()
        back()
        self.chain.flows_after(now_us())
        self.outages.append(
            Outage(began_us, ended_us, now_us(), frozenset({cause}), frozenset(ids))
        )

    def faults_of_the_factory(self, began_us: int) -> None:
        """Wait for those that the factory deals out by itself, and spoil two wires meanwhile."""
        assert now_us() < began_us, "the machine is too slow: the chain did not start in time"
        time.sleep((began_us - now_us()) / 1e6)
        silent, hanging = self.wires["silent"], self.wires["hangs-up"]
        silent.silence()
        hanging.cut()
        spoiled_us = now_us()
        time.sleep(self.lasts_s)
        ended_us = now_us()
        silent.drop()
        silent.speak()
        hanging.mend()
        self.chain.flows_after(now_us() + 1_000_000)
        over_us, spoiled = now_us(), {"silent": "timeout", "hangs-up": "closed"}
        self.outages += [
            Outage(first_us, last_us, over_us, frozenset({cause}), frozenset({device}))
            for causes, first_us, last_us in (
                (OWN_CAUSES, began_us, began_us + int(self.lasts_s * 1e6)),
                (spoiled, spoiled_us, ended_us),
            )
            for device, cause in causes.items()
        ]


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Everything is away for twenty seconds; `full=False` for four."""
    del seed  # nothing is drawn
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="joulemark-gaps-")))
        (folder / "site" / "state").mkdir(parents=True, mode=0o700)
        stack.enter_context(mounted(folder / "site" / "state", DISK))
        trial = stack.enter_context(_running(folder, LASTS_S if full else FEW_S))
        chain = trial.chain
        trial.take_away(
            "agent_down", IDS, lambda: chain.kill("agent"), lambda: chain.start("agent")
        )
        trial.take_away("overrun", IDS, partial(_signal, chain, signal.SIGSTOP),
                        partial(_signal, chain, signal.SIGCONT))  # fmt: skip
        trial.take_away(
            "not_configured", ("leaves",),
            lambda: chain.reload(IDS[:-1]), lambda: chain.reload(IDS),
        )  # fmt: skip
        with _filling(chain) as (fill, free):
            trial.take_away("disk_full", IDS, fill, free)
        trial.outages[-1] = replace(trial.outages[-1], is_whole=False)  # room comes and goes
        trial.take_away(STORE_DAMAGED, IDS, partial(_damage, chain), lambda: chain.start("agent"))
        trial.outages[-1] = replace(trial.outages[-1], early_us=UNSENT_US)
        chain.stop()
        account = accounted(chain.store_file)
        marked = labelled(chain.store_file, trial.outages)
        others = [
            replace(one, causes=other.causes)
            for one, other in zip(
                trial.outages, [*trial.outages[1:], trial.outages[0]], strict=True
            )
        ]
        with suppress(AssertionError):
            labelled(chain.store_file, others)
            raise RuntimeError("the control finds the wrong causes right")
    return {**marked, "control with the causes changed about": "refused", **account.figures}


@contextmanager
def _running(folder: Path, lasts_s: float) -> Iterator[Trial]:
    """The chain, from its start until the faults of the factory are over."""
    with ExitStack() as stack:
        forks = stack.enter_context(Forks(*PRELOAD))
        faults = _FAULTS.format(first=QUIET_S, count=int(lasts_s))
        chain = RealTimeChain(folder, MACHINES, faults=faults, forks=forks)
        wires = {name: stack.enter_context(wired(0)) for name in IDS}
        chain.lines = {name: wire.port for name, wire in wires.items()}
        chain.prepare()
        for wire in wires.values():
            wire.behind = chain.ports["modbus"]
        trial = Trial(chain, wires, lasts_s)
        try:
            began_us = now_us() + QUIET_S * 1_000_000
            chain.begin()
            chain.flows_after(0)
            trial.faults_of_the_factory(began_us)
            yield trial
        finally:
            chain.stop()


def _damage(chain: RealTimeChain) -> None:
    """Kill the agent, and give its disk other bytes to hold than those it was given."""
    chain.kill("agent")
    outbox = chain.state / "outbox.db"
    outbox.write_bytes(b"\xa5" * outbox.stat().st_size)
    for suffix in ("-wal", "-shm"):
        Path(f"{outbox}{suffix}").unlink(missing_ok=True)


def _signal(chain: RealTimeChain, number: int) -> None:
    os.kill(chain.processes["agent"].pid, number)


@contextmanager
def _filling(chain: RealTimeChain) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """To fill the agent's disk as often as something is freed there, and to free it again."""
    ballast, is_over = chain.state / "ballast", threading.Event()
    log = chain.folder / "logs" / "agent.log"

    def write() -> None:
        with ballast.open("wb", buffering=0) as file:
            while not is_over.is_set():
                with suppress(OSError):
                    file.write(bytes(4096))
                    continue
                is_over.wait(0.02)

    writing = threading.Thread(target=write)

    def fill() -> None:
        writing.start()
        until(lambda: '"outbox_full"' in log.read_text(), "the agent says that its disk is full")

    def free() -> None:
        is_over.set()
        writing.join()
        ballast.unlink()

    yield fill, free
