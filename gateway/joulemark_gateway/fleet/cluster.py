"""The measurement of batches by Dask workers: of this machine, or of a scheduler elsewhere.

A worker gets meters and plan by value and gives documents back; it opens no file of ours. Whoever
can reach a scheduler can run any code on its workers, so nothing goes over plain TCP to another
machine unless it is asked for by name, and the workers of this machine talk TLS under certificates
of the one run.
"""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client, KilledWorker, LocalCluster, Security

from joulemark_agent.contract.errors import ConfigError, UplinkError
from joulemark_gateway.measure.fleet import Measured, Meter, measure_many
from joulemark_gateway.measure.plan import Plan

_AHEAD = 2  # batches a thread, so that none waits for the reader
_LOCAL = {"127.0.0.1", "::1", "localhost"}
_TIMEOUT_S = 20
_NO_PAGES: dict[str, list[str]] = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_SAME = ("joulemark", "numpy", "numba")  # what results rest on


@dataclass(frozen=True)
class Tls:
    """The files by which both sides of a scheduler know each other."""

    ca: Path
    certificate: Path
    key: Path


@contextmanager
def local_workers(count: int) -> Iterator[Client]:
    """A client of so many processes of this machine, which end with it."""
    with (
        dask.config.set(_NO_PAGES),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # a free port; its default may be taken
            scheduler_kwargs={"dashboard": False},
            security=True,
            silence_logs="ERROR",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def scheduler_at(
    address: str, *, tls: Tls | None = None, plain_tcp: bool = False
) -> AbstractContextManager[Client]:
    """A client of a scheduler that is running.

    Args:
        address: like tls://fleet.example:8786.
        tls: the files for an address that begins with tls.
        plain_tcp: whether an address of another machine may go without TLS.

    Raises:
        ConfigError: another kind of address, files that are missing, or plain TCP unasked for.
        UplinkError: nobody answers, or there are no workers.
    """
    security = _security(address, tls, plain_tcp=plain_tcp)
    try:
        client: AbstractContextManager[Client] = Client(
            address, security=security, timeout=_TIMEOUT_S
        )
    except (OSError, ValueError) as error:
        raise UplinkError(
            f"The scheduler {address} cannot be reached: {error}.",
            "Start it, or look at its address and at the certificates.",
        ) from error
    return client


def measure_on(client: Client, batches: Iterator[Sequence[Meter]], plan: Plan) -> list[Measured]:
    """The results of all batches, in their order.

    Raises:
        ConfigError: a worker has other versions of what the results rest on.
        UplinkError: there are no workers, or they were lost.
    """
    threads = sum(client.nthreads().values())
    if not threads:
        raise UplinkError("The scheduler has no workers.", "Start some: dask worker ADDRESS.")
    _check_versions(client)
    waiting = deque[Any]()
    found: list[Measured] = []
    try:
        for batch in batches:
            waiting.append(client.submit(measure_many, list(batch), plan, pure=False))
            if len(waiting) >= _AHEAD * threads:
                found += waiting.popleft().result()
        while waiting:
            found += waiting.popleft().result()
    except (KilledWorker, CancelledError, OSError) as error:
        raise UplinkError(
            f"Workers or the scheduler were lost: {error}.", "Give them more memory, and try again."
        ) from error
    return found


def versions() -> dict[str, str]:
    """What must be the same wherever results are to be the same to the last bit."""
    return {"python": platform.python_version(), **{name: version(name) for name in _SAME}}


def _check_versions(client: Client) -> None:
    own = versions()
    for worker, theirs in client.run(versions).items():
        if theirs != own:
            raise ConfigError(
                f"The worker {worker} has {theirs}, this process {own}.",
                "Install the same versions on both, so that results are the same.",
            )


def _security(address: str, tls: Tls | None, *, plain_tcp: bool) -> Security | None:
    parts = urlsplit(address)
    if parts.scheme not in {"tcp", "tls"} or parts.hostname is None:
        raise ConfigError(
            f"{address!r} is no address of a scheduler.",
            "Give one like tls://fleet.example:8786 or tcp://127.0.0.1:8786.",
        )
    if parts.scheme == "tcp":
        if parts.hostname not in _LOCAL and not plain_tcp:
            raise ConfigError(
                f"{address} is another machine without TLS: whoever is on the way reads the "
                "meters, and may run code on the workers.",
                "Use tls:// with --tls-ca, --tls-cert and --tls-key; in a network that nobody "
                "else is in, --plain-tcp.",
            )
        return None
    if tls is None:
        raise ConfigError(
            f"{address} asks for TLS, and its files are not named.",
            "Give --tls-ca, --tls-cert and --tls-key.",
        )
    for path in (tls.ca, tls.certificate, tls.key):
        if not path.is_file():
            raise ConfigError(f"There is no file {path}.", "Name the files of the certificates.")
    return Security(
        tls_ca_file=str(tls.ca),
        tls_client_cert=str(tls.certificate),
        tls_client_key=str(tls.key),
        require_encryption=True,
    )
