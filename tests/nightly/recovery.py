"""Broker, collector, agent and devices are away for a while: data flow within 5 s of their return.

A chain in real time, a reading a second. One process after the other is killed, stays away, and
comes back; counted is until the collector holds readings of after that of every device. The long
form starts every process with the command a person would use, so a return includes the start of
Python; in the short form they are forks. What was missed must stand in the evidence with its cause,
and with no other: the agent's own absence, the devices' silence, nothing for broker and collector.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from support.accounts import accounted
from support.chains import PRELOAD
from support.forks import Forks
from support.gaps import Outage, labelled
from support.real_time import Machine, RealTimeChain, now_us

DOWN_S, FEW_S = 60.0, 5.0
WITHIN_S, NAIVE_RETRY_S = 5.0, 30.0
MACHINES = (Machine("meter-1", 1), Machine("meter-2", 2))
CAUSES = {
    "broker": frozenset[str](),
    "collector": frozenset[str](),
    "agent": frozenset({"agent_down"}),
    "factory": frozenset({"refused", "closed"}),
}


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Each is away for a minute; `full=False` for five seconds."""
    del seed  # nothing is drawn
    down_s = DOWN_S if full else FEW_S
    took_s: dict[str, float] = {}
    outages: list[Outage] = []
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="joulemark-recovery-"))
        forks = None if full else stack.enter_context(Forks(*PRELOAD))
        chain = RealTimeChain(Path(name), MACHINES, forks=forks)
        chain.prepare()
        try:
            begun_s = time.monotonic()
            chain.begin()
            chain.flows_after(0)
            first_s = time.monotonic() - begun_s
            with _naive(chain.ports["broker"]) as naive:
                for victim, causes in CAUSES.items():
                    killed_us = now_us()
                    chain.kill(victim)
                    time.sleep(down_s)  # it is away: that is the test
                    returned_us = now_us()
                    chain.start(victim)
                    took_s[victim] = chain.flows_after(returned_us)
                    if victim == "broker":
                        assert not naive.is_connected(), "the control is back as soon as we are"
                    outages.append(Outage(killed_us, returned_us, now_us(), causes))
        finally:
            chain.stop()
        account = accounted(chain.store_file)
        marked = labelled(chain.store_file, outages)
    for victim, seconds in took_s.items():
        assert seconds <= WITHIN_S, f"{victim}: {seconds:.1f} s"
    return {
        "away for": f"{down_s:.0f} s each",
        **{f"data flow after the return of the {v}": f"{s:.1f} s" for v, s in took_s.items()},
        "start of all to the first readings held": f"{first_s:.1f} s",
        f"control that tries again every {NAIVE_RETRY_S:.0f} s": "not back when we were",
        **marked,
        **account.figures,
    }


@contextmanager
def _naive(port: int) -> Iterator[Client]:
    """A client with a fixed time between two attempts."""
    client = Client(CallbackAPIVersion.VERSION2)
    client.reconnect_delay_set(int(NAIVE_RETRY_S), int(NAIVE_RETRY_S))
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()
