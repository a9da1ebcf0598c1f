"""Atlas Copco Elektronikon Mk5 over the questions of its own web pages: reading only, no login.

A question is a list of selectors and nothing else: QUESTION= and six hexadecimal digits for each.
There is an answer for every one of them or the reply is none, so that no value can slip to its
neighbour.
Source: siyka-au/node-elektronikon-cgi@902c0f8 notes/elektronikon-mkv-protocol.md;
siyka-au/pytronikon@3178917 tests/test_catalog_discover_live_selectors.py (which live index belongs
to what was compared with the pages of a controller).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import SELECTOR
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import MAX_SELECTORS, Request
from joulemark_agent.exchange import BAD_REPLY
from joulemark_agent.http import Http
from joulemark_agent.http_trust import Trust
from joulemark_agent.kernels.answers import ABSENT, split_answers

SCHEMES = ("elektronikon-http", "elektronikon-https")
DEFAULT_PORT = 80
PORTS = {"elektronikon-https": 443}
HAS_PATH = False
QUESTION = ("POST", "/cgi-bin/mkv.cgi", b"QUESTION=%b")

_FORM = [("Content-Type", "application/x-www-form-urlencoded")]


async def connect(url: str, *, timeout_s: float, trust: Trust | None = None) -> Elektronikon:
    """An open connection to `elektronikon-http[s]://HOST[:PORT]`.

    Raises:
        DeviceError: there is none to be had.
    """
    scheme = urlsplit(url).scheme
    known = (trust or Trust()) if scheme in PORTS else None
    http = Http(url, PORTS.get(scheme, DEFAULT_PORT), timeout_s=timeout_s, trust=known)
    await http.open()
    return Elektronikon(http, timeout_s=timeout_s)


class Elektronikon:
    """A client of one controller."""

    def __init__(self, http: Http, *, timeout_s: float) -> None:
        self._http, self._timeout_s = http, timeout_s

    @property
    def is_open(self) -> bool:
        """Whether there is a connection; many controllers end it after each answer."""
        return self._http.is_open

    async def read(
        self, unit: int, requests: Sequence[Request], *, timeout_s: float | None = None
    ) -> tuple[Response, ...]:
        """One response per selector: eight hexadecimal digits, or X for what there is not.

        Raises:
            DeviceError: as `Http.ask` does, or `bad_reply`.
        """
        del unit  # one controller to an address
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        selectors = [request.address for request in requests]
        answers = [
            answer
            for at in range(0, len(selectors), MAX_SELECTORS)
            for answer in await self._ask(selectors[at : at + MAX_SELECTORS], wait_s)
        ]
        return tuple(
            Response(SELECTOR, selector, answer)
            for selector, answer in zip(selectors, answers, strict=True)
        )

    async def close(self) -> None:
        """Give the connection back."""
        await self._http.close()

    async def _ask(self, selectors: Sequence[int], timeout_s: float) -> list[bytes]:
        method, target, form = QUESTION
        question = form % b"".join(b"%06x" % selector for selector in selectors)
        found = await self._http.ask(method, target, _FORM, question, timeout_s=timeout_s)
        text = found.body.strip()
        answers = split_answers(text)
        if answers is None or len(answers) != len(selectors):
            said = "something else" if answers is None else f"{len(answers)} answers"
            raise DeviceError(
                f"{self._http.peer} answered {len(selectors)} questions with {said}:"
                f" {text[:_SAID]!r}.",
                "If it happens again, this is no Elektronikon with a web interface.",
                code=BAD_REPLY,
            )
        return answers


@dataclass(frozen=True)
class Found:
    """Something the controller measures or counts."""

    family: str  # 'analog', 'calculated' or 'counter'
    selector: str  # of its value
    unit_selector: str  # of what says what it is
    unit_code: int
    label: int  # number of its name in the controller's table of texts


async def discover(driver: Elektronikon, *, timeout_s: float) -> tuple[Found, ...]:
    """All analog values and counters the controller has, in the order of their selectors.

    Raises:
        DeviceError: as reading does.
    """
    asked = list(_catalog())
    requests = [Request(SELECTOR, int(unit_selector, 16), 1) for _, _, unit_selector in asked]
    responses = await driver.read(0, requests, timeout_s=timeout_s)
    return tuple(
        Found(family, selector, unit_selector, said[2], int.from_bytes(said[:2], "big"))
        for (family, selector, unit_selector), response in zip(asked, responses, strict=True)
        if response.data != ABSENT
        for said in [bytes.fromhex(response.data.decode())]
        if said[3]  # it exists
    )


def _catalog() -> Iterator[tuple[str, str, str]]:
    """Family, selector of the value and of its description, for all there can be."""
    for i in range(0x80):
        yield "analog", f"3002{i + 1:02x}", f"{0x2010 + i:04x}01"
    for i in range(0x20):
        yield "calculated", f"3004{i + 1:02x}", f"{0x2090 + i:04x}01"
    for i in range(1, 0x100):
        yield "counter", f"3007{i:02x}", f"2607{i:02x}"


_SAID = 60  # bytes of an answer in a message
