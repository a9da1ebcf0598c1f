"""Bad networks between agent, broker and collector: nothing is lost, a dead peer is found out.

| case | what is wrong with the wire to the broker |
|---|---|
| loss | 20 % of all packets are dropped, either way (nftables, in a network namespace) |
| narrow | all share 64 kbit/s (tbf, in a network namespace) |
| late | every byte arrives 2 s late, either way |
| parted | cut, or silent for a while, or silent and then cut, again and again |
| mute | it takes what is sent and passes nothing on: nobody hangs up |

Real processes, started as forks; agent and collector reach the broker over the same wire. The
factory moves in lock step, so every record is compared with what was served. Each case shows that
its weather is what it says; beside `parted` a sender with QoS 0 must lose readings, and beside
`mute` a connection without keep-alive must not notice.
"""

from __future__ import annotations

import random
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from support import naive_chain
from support.accounts import accounted
from support.chains import PRELOAD, ForkedChain, compared
from support.forks import Forks, until
from support.network import Network, namespace
from support.servers import free_port
from support.weather import Wire, wired

SLOTS, FEW_SLOTS, ENDLESS, DELAY_S = 1000, 100, 100_000, 0.02
PARTITIONS, FEW = 1000, 30
LOSS_PERCENT, LATE_S, DETECTED_S = 20, 2.0, 45.0
RATE, BYTES_PER_S = "64kbit", 8000
PROBE_BYTES = 24_000
_FOUND_OUT = {"agent": '"code": "lost"', "collector": '"broker_down"'}
Figures = dict[str, str]


def loss(chain: ForkedChain) -> Figures:
    """Read all while packets are lost."""
    with _namespaced(chain) as network:
        network.lose(chain.ports["broker"], LOSS_PERCENT)
        figures, dropped = _read(chain), network.lost()
        assert dropped > 0, "no packet was dropped"
        return figures | {"loss: packets dropped": f"{dropped:,}"}


def narrow(chain: ForkedChain) -> Figures:
    """Read all over a thin line."""
    with _namespaced(chain) as network:
        port = free_port()
        network.narrow([chain.ports["broker"], port], RATE)
        took_s = network.probe(port, PROBE_BYTES)
        assert took_s > 0.5 * PROBE_BYTES / BYTES_PER_S, f"the line is not narrow: {took_s:.1f} s"
        return _read(chain) | {f"narrow: {PROBE_BYTES:,} bytes over it": f"{took_s:.1f} s"}


def late(chain: ForkedChain) -> Figures:
    """Read all over a long line."""
    with _wired(chain) as wire, _echo() as behind, wired(behind) as other:
        wire.delay_s = other.delay_s = LATE_S
        begun_s = time.monotonic()
        with socket.create_connection(("127.0.0.1", other.port)) as client:
            client.sendall(b"ping")
            assert client.recv(4) == b"ping"
        took_s = time.monotonic() - begun_s
        assert took_s >= 2 * LATE_S, f"the line is not long: {took_s:.1f} s"
        return _read(chain) | {"late: there and back": f"{took_s:.1f} s"}


def parted(chain: ForkedChain, forks: Forks, draw: random.Random, count: int) -> Figures:
    """Part and join them again and again; then let the recording end."""
    naive = chain.folder / "naive"
    naive.mkdir(parents=True)
    with _wired(chain) as wire:

        def during() -> None:
            sides = [
                forks.start(
                    f"support.naive_chain:{does}", [naive_chain.FIRE, port, str(naive)], log
                )
                for does, port, log in (
                    ("consume", str(chain.behind), naive / "in.log"),
                    ("produce", str(wire.port), naive / "out.log"),
                )
            ]
            for _ in range(count):
                time.sleep(draw.uniform(0.1, 1.0))
                kind, lasts_s = (
                    draw.choice(("cut", "silent", "silent, cut")),
                    draw.uniform(0.1, 1.0),
                )
                (wire.cut if kind == "cut" else wire.silence)()
                time.sleep(lasts_s)
                if kind == "silent, cut":
                    wire.drop()
                (wire.mend if kind == "cut" else wire.speak)()
            for side in reversed(sides):
                side.terminate()
                side.wait(30)
            chain.end_soon()

        figures = _read(chain, during)
    made, lost = naive_chain.lost(naive)
    assert lost > 0, "QoS 0 loses nothing here: these partitions prove nothing"
    return figures | {
        "parted: partitions": f"{count:,}",
        "parted: control with QoS 0": f"{lost:,} of {made:,} lost ({lost / made:.1%})",
    }


def mute(chain: ForkedChain) -> Figures:
    """Pass nothing on until both have found out, then all again."""
    took_s: dict[str, float] = {}
    with _wired(chain) as wire:

        def during() -> None:
            logs = {name: chain.folder / "logs" / f"{name}.log" for name in _FOUND_OUT}
            before = {name: log.read_text().count(_FOUND_OUT[name]) for name, log in logs.items()}
            with socket.create_connection(("127.0.0.1", wire.port)) as trusting:
                trusting.setblocking(False)
                wire.silence()
                begun_s = time.monotonic()
                while len(took_s) < len(logs):
                    for name, log in logs.items():
                        if log.read_text().count(_FOUND_OUT[name]) > before[name]:
                            took_s.setdefault(name, time.monotonic() - begun_s)
                    assert time.monotonic() - begun_s < 2 * DETECTED_S, f"found out: {took_s}"
                    time.sleep(0.05)
                assert not _is_closed(trusting), "the control was told: this wire is not mute"
            wire.drop()
            wire.speak()
            chain.end_soon()

        figures = _read(chain, during)
    for name, seconds in took_s.items():
        assert seconds <= DETECTED_S, f"the {name} took {seconds:.0f} s"
    return figures | {
        f"mute: found out by the {name}": f"{seconds:.0f} s of {DETECTED_S:.0f} s"
        for name, seconds in sorted(took_s.items())
    }


def run(seed: int, *, full: bool) -> Figures:
    """All cases side by side; `full` parts them a thousand times."""
    draw, count = random.Random(seed), PARTITIONS if full else FEW
    slots = SLOTS if full else FEW_SLOTS
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="joulemark-network-") as name, Forks(*PRELOAD) as forks:

        def chain(case: str, slots: int) -> ForkedChain:
            folder = Path(name) / case
            folder.mkdir()
            found = ForkedChain(folder, forks, slots=slots, delay_s=DELAY_S)
            found.broker_kind = "mosquitto"
            return found

        cases: dict[str, Callable[[], Figures]] = {
            "loss": partial(loss, chain("loss", slots)),
            "narrow": partial(narrow, chain("narrow", slots)),
            "late": partial(late, chain("late", slots)),
            "parted": partial(parted, chain("parted", ENDLESS), forks, draw, count),
            "mute": partial(mute, chain("mute", ENDLESS)),
        }
        with ThreadPoolExecutor(len(cases)) as pool:
            doing = {case: pool.submit(does) for case, does in cases.items()}
            for done in doing.values():
                figures |= done.result()
    return figures


def _read(chain: ForkedChain, during: Callable[[], None] = lambda: None) -> Figures:
    """Let a chain read to the end of its recording; what it holds must be what was served."""
    name, begun_s = chain.folder.name, time.monotonic()
    try:
        chain.begin()
        until(lambda: chain.leaves_held() > 0, "the first batch is held")
        during()
        chain.wait(lambda _: None, poll_s=0.1)
    finally:
        chain.stop()
    took_s = time.monotonic() - begun_s
    found, account = compared(chain), accounted(chain.store_file)
    assert found.is_whole, f"{name}: {found}"
    assert account.total.expected == account.total.received == found.served
    return {
        f"{name}: readings served, lost, twice, altered": f"{found.served:,}, 0, 0, 0",
        f"{name}: to the last receipt": f"{took_s:.0f} s",
    }


@contextmanager
def _namespaced(chain: ForkedChain) -> Iterator[Network]:
    """All its processes in a network of their own."""
    chain.prepare()
    with namespace() as network:
        chain.network = network.name
        yield network


@contextmanager
def _wired(chain: ForkedChain) -> Iterator[Wire]:
    """A wire where its broker was, and the broker behind it."""
    chain.prepare()
    chain.behind = free_port()
    with wired(chain.behind, chain.ports["broker"]) as wire:
        yield wire


@contextmanager
def _echo() -> Iterator[int]:
    """A port that gives back what it is sent, once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(client.recv(100))

        thread = threading.Thread(target=answer)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join()


def _is_closed(connection: socket.socket) -> bool:
    """Whether the system knows that the other side is gone."""
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
