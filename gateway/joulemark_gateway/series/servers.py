"""What a series asks of its server beyond the write call, which all of them take alike.

One file for each kind of server: `victoriametrics` and `influxql`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.series.base import Integers, SeriesReader

TIMEOUT_S = 30.0
MOST_BYTES = 256 * 1024 * 1024  # of an answer: four months of one point by the second


Span = tuple[int, int]

# Of JSON that is none, or that holds something else.
_NO_ANSWER = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError
)  # fmt: skip


@dataclass(frozen=True)
class Server:
    """Where a series is kept."""

    url: str
    org: str
    bucket: str
    token: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """What tells one place from another; no secret."""
        return f"{self.url.rstrip('/')} {self.org} {self.bucket}"


class Backend(SeriesReader, Protocol):
    """One kind of server."""

    tick_us: int  # what it counts time in
    horizon_us: int  # how far in the future it keeps rows
    replaces: bool  # a row that is written again with other values; else both are there

    def settle(self) -> None:
        """Make what was written visible to reads, where the server takes its time."""

    def repeats(self, site: str, device: str, point: str, start_us: int, end_us: int) -> bool:
        """Whether it keeps two samples of one time."""

    def mark(self, origin: str, t_us: int) -> int | None:
        """The size that `lines.tree_line` said at this time."""

    def drop(self, site: str) -> None:
        """Delete every row of a site."""

    def rows(
        self, measurement: str, labels: Mapping[str, str], fields: Sequence[str], span_us: Span
    ) -> tuple[Integers, dict[str, NDArray[np.float64]]]:
        """The rows of a measurement that stand in [start, end): times, and each field by name.

        Args:
            measurement: of `tables.MEASUREMENTS`, or that of savings.
            labels: every tag of the rows, so that no two stand at one time.
            fields: those wanted; the first is in every row. NaN: not there.
            span_us: start and end. [us UTC]
        """

    def drop_saving(self, site: str, project: str) -> None:
        """Delete every day of a project."""

    def close(self) -> None:
        """Release the connections."""


class Http:
    """Requests to one server, from any thread."""

    def __init__(self, server: Server) -> None:
        """Nothing is sent yet."""
        import urllib3  # noqa: PLC0415 -- comes with influxdb-client, needed by those who use it

        self._server = server
        self._failed = urllib3.exceptions.HTTPError
        headers = {"Authorization": f"Token {server.token}"} if server.token else {}
        self._pool = urllib3.PoolManager(
            headers=headers, timeout=urllib3.Timeout(TIMEOUT_S), retries=False, maxsize=4
        )

    def ask(self, method: str, path: str, fields: Mapping[str, Any]) -> bytes:
        """The body of an answer; the fields go into the address, or into a form with POST.

        Raises:
            StoreError: no answer, or one that says no.
        """
        options = {"encode_multipart": False} if method == "POST" else {}
        return self._answer(method, path, fields=fields, **options)

    def send(self, path: str, fields: Mapping[str, Any], content: bytes) -> bytes:
        """The body of the answer to a JSON document; errors as `ask`."""
        headers = {**self._pool.headers, "Content-Type": "application/json"}
        return self._answer("POST", f"{path}?{urlencode(fields)}", body=content, headers=headers)

    def _answer(self, method: str, path: str, **options: Any) -> bytes:
        url = self._server.url.rstrip("/") + path
        try:
            answer = self._pool.request(method, url, preload_content=False, **options)
            data: bytes = answer.read(MOST_BYTES + 1)
        except self._failed as error:
            raise unreachable(self._server, error) from error
        if len(data) > MOST_BYTES:
            answer.close()  # the rest of it answers nothing
            raise StoreError(
                f"The series server {self._server.url} answers with more than {MOST_BYTES} bytes.",
                "Ask for a shorter span; where that does not help, look at what answers there.",
                code="series",
            )
        answer.release_conn()
        if answer.status not in {200, 204}:
            raise refused(self._server, answer.status, data)
        return data

    def close(self) -> None:
        """Release the connections."""
        self._pool.clear()


@contextmanager
def understood(server: Server) -> Iterator[None]:
    """Whatever is made of an answer here is made, or it was none.

    Raises:
        StoreError: the answer is not of the form that such a server gives.
    """
    try:
        with np.errstate(invalid="raise"):  # NaN where a whole number should be
            yield
    except _NO_ANSWER as error:
        raise StoreError(
            f"The series server {server.url} answered with no rows: {error!r:.200}.",
            "Check series.url and series.kind, and whether a proxy or a log-in page stands before"
            " it; evidence goes on and the series catches up.",
            code="series",
        ) from error


def unreachable(server: Server, error: Exception) -> StoreError:
    """There was no answer."""
    return StoreError(
        f"The series server {server.url} does not answer: {str(error)[:200]}.",
        "Start it, or correct series.url; evidence goes on and the series catches up.",
        code="series",
    )


def refused(server: Server, status: int | None, body: Any) -> StoreError:
    """The answer was no."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    text = " ".join(text.split())
    if server.token:  # some say back what they were shown
        text = text.replace(server.token, "[token]")
    return StoreError(
        f"The series server {server.url} answered {status}: {text[:300]}.",
        "Check series.kind, org and bucket, and the token; evidence goes on and the series "
        "catches up.",
        code="series",
    )
