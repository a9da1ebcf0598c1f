"""N9: what a value of an OPC UA subscription costs: ours, node-opcua's client and asyncua.

A node-opcua server whose doubles change every 100 ms, all the same; no security. Ours is asked once
a second for all that came, as a slot does, with every check; a reading holds 1,000 values at most,
so there are 50 of them. No C stack stands in Debian, so node-opcua's client is what is beaten.
"""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asyncua import Client, ua

from joulemark_agent.contract.profile import NODE
from joulemark_agent.drivers.base import Request, Subscribe
from joulemark_agent.opcua_session import open_session
from joulemark_agent.opcua_subscription import Subscription
from support import limits, servers
from support.apart import apart
from support.needed import missing
from support.rounds import Work, in_turns, show

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

NODES, SECONDS = 50, 8


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, str]]:
    """The address of the server, and where node's modules stand."""
    modules = servers.node_modules("node-opcua")
    if modules is None:
        missing("node-opcua", "npm install -g node-opcua")
    port = servers.free_port()
    said = {"modules": str(modules), "port": port, "nodes": NODES}
    words = ["node", str(limits.SOURCES / "server.js"), json.dumps(said)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        while (line := process.stdout.readline()) != "ready\n":
            assert line
        yield f"opc.tcp://127.0.0.1:{port}/plant", str(modules)
    finally:
        process.kill()
        process.communicate()


def timed(client: str, url: str) -> tuple[int, float]:
    """How many values came, and the CPU time they took. [s]"""
    return asyncio.run({"joulemark": ours, "asyncua": theirs}[client](url))


async def ours(url: str) -> tuple[int, float]:
    session = await open_session(url, timeout_s=5.0)
    subscribe = Subscribe(100, 20)
    subscription = Subscription(session, timeout_s=5.0)
    await subscription.open(subscribe)
    [uri] = [uri for uri, index in session.namespaces.items() if index == 1]
    wanted = tuple(
        Request(NODE, i, 1, f"nsu={uri};s=v{i}", subscribe=subscribe) for i in range(NODES)
    )
    await subscription.collect(wanted, 2.0)
    await asyncio.sleep(1)
    await subscription.collect(wanted, 2.0)
    count, begun_s = 0, time.process_time()
    for _ in range(SECONDS):
        await asyncio.sleep(1)
        count += len(await subscription.collect(wanted, 2.0))
    spent_s = time.process_time() - begun_s
    await session.close()
    return count, spent_s


class Counter:
    """What asyncua tells of every change."""

    count = 0

    def datachange_notification(self, *_: Any) -> None:
        self.count += 1


async def theirs(url: str) -> tuple[int, float]:
    async with Client(url) as client:
        counter = Counter()
        subscription = await client.create_subscription(100, counter)
        nodes = [client.get_node(ua.NodeId(f"v{i}", 1)) for i in range(NODES)]
        await subscription.subscribe_data_change(nodes, queuesize=20, sampling_interval=100)
        await asyncio.sleep(2)
        before, begun_s = counter.count, time.process_time()
        await asyncio.sleep(SECONDS)
        return counter.count - before, time.process_time() - begun_s


def test_cpu_of_a_value_of_a_subscription(server: tuple[str, str]) -> None:
    url, modules = server
    counts: dict[str, list[int]] = {}

    def per_value(name: str, count: str, spent_s: str) -> float:
        counts.setdefault(name, []).append(int(count))
        return float(spent_s) / int(count) * 1e6

    def way(name: str) -> Work:
        call = f"timed({name!r}, {url!r})"
        return lambda: per_value(name, *apart("bench.test_opcua", call))

    def node() -> float:
        said = {"modules": modules, "url": url, "nodes": NODES, "seconds": SECONDS}
        words = ["node", str(limits.SOURCES / "subscriber.js"), json.dumps(said)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
        return per_value("node-opcua", *done.stdout.split()[-2:])

    ways = {"node-opcua": node, "joulemark": way("joulemark"), "asyncua": way("asyncua")}
    seen = in_turns(ways, rounds=3)
    show(f"N9 {NODES} doubles every 100 ms: CPU of a value", seen, "us", to="node-opcua")
    assert min(min(found) for found in counts.values()) > 0.5 * NODES * 10 * SECONDS, counts
