"""A network of its own, in which packets are lost or wait: a namespace with a loopback."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from support.needed import lacking, service

_numbers = itertools.count()
_LOSS = """\
table inet weather {{
    chain out {{
        type filter hook output priority 0;
        tcp dport {port} numgen random mod 100 < {percent} counter drop
        tcp sport {port} numgen random mod 100 < {percent} counter drop
    }}
}}
"""
_SLOW = """\
table inet weather {{
    chain out {{
        type filter hook output priority 0;
        tcp dport {{ {ports} }} meta priority set 1:2
        tcp sport {{ {ports} }} meta priority set 1:2
    }}
}}
"""


_PROBE = """\
import socket, sys, threading, time
port, count = int(sys.argv[1]), int(sys.argv[2])
server = socket.create_server(("127.0.0.1", port))
def take():
    client, _ = server.accept()
    while client.recv(65536):
        pass
    print(time.monotonic() - begun)
begun = time.monotonic()
taking = threading.Thread(target=take)
taking.start()
with socket.create_connection(("127.0.0.1", port)) as sender:
    sender.sendall(bytes(count))
taking.join()
"""


class Network:
    """One namespace, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def lose(self, port: int, percent: int) -> None:
        """Lose so many of a hundred packets from and to a port."""
        self._nft(_LOSS.format(port=port, percent=percent))

    def narrow(self, ports: Sequence[int], rate: str) -> None:
        """Let what goes from and to some ports share so much, such as `64kbit`."""
        for words in (
            "qdisc add dev lo root handle 1: htb default 1",
            "class add dev lo parent 1: classid 1:1 htb rate 10gbit quantum 60000",
            f"class add dev lo parent 1: classid 1:2 htb rate {rate} burst 4k quantum 1514",
            f"qdisc add dev lo parent 1:2 tbf rate {rate} burst 4k latency 400ms",
        ):
            self._run(service("tc", "iproute2"), *words.split())
        self._nft(_SLOW.format(ports=", ".join(map(str, ports))))

    def lost(self) -> int:
        """How many packets were lost on purpose."""
        listed = self._run(service("nft", "nftables"), "list", "ruleset")
        return sum(int(count) for count in re.findall(r"counter packets (\d+)", listed))

    def probe(self, port: int, count: int) -> float:
        """How long so many bytes take to a port. [s]"""
        return float(self._run(sys.executable, "-I", "-c", _PROBE, str(port), str(count)))

    def _nft(self, rules: str) -> None:
        self._run(service("nft", "nftables"), "-f", "-", given=rules)

    def _run(self, *words: str, given: str = "") -> str:
        command = [service("ip", "iproute2"), "netns", "exec", self.name, *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout


@contextmanager
def namespace() -> Iterator[Network]:
    """A namespace with a loopback whose packets are as small as on a wire."""
    ip, name = service("ip", "iproute2"), f"joulemark-{os.getpid()}-{next(_numbers)}"
    made = subprocess.run([ip, "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        lacking(f"a network namespace needs CAP_SYS_ADMIN: {made.stderr}")
    try:
        for words in (("up",), ("mtu", "1500")):
            subprocess.run([ip, "-n", name, "link", "set", "lo", *words], check=True)
        yield Network(name)
    finally:
        subprocess.run([ip, "netns", "del", name], check=False)
