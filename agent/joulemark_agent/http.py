"""One HTTP/1.1 request, one answer, over a connection that believes nothing.

h11 reads what arrives; it opens nothing and sends nothing by itself. So there are no redirects to
follow, no cookies to keep, no proxy from the environment and no compression to unpack: an answer
is a status, its fields, and a body of limited size within one time-out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from joulemark_agent import exchange
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.exchange import BAD_REPLY, Exchange
from joulemark_agent.http_trust import Trust

MAX_HEAD, MAX_BODY = 16_384, 65_536  # bytes of an answer
TOO_LARGE, HTML_PAGE, CONTENT_TYPE = "too_large", "html_page", "content_type"
_SAID = 80  # characters of an answer in a message

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """What a request with status 200 was answered with."""

    fields: tuple[tuple[str, str], ...]  # names in small letters
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for field, value in self.fields if field == name]


class Http:
    """A server at one address; the connection is opened when a request needs it."""

    def __init__(
        self, url: str, port: int, *, timeout_s: float, trust: Trust | None = None
    ) -> None:
        """Nothing is opened yet.

        Args:
            url: whose host is asked, and whose port if it has one.
            port: otherwise.
            timeout_s: for opening. [s]
            trust: whom to believe over TLS; None: it is not encrypted.
        """
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or port
        self._timeout_s, self._trust = timeout_s, trust
        self._exchange: Exchange | None = None

    @property
    def peer(self) -> str:
        """Host and port, for messages."""
        return f"{self._host}:{self._port}"

    @property
    def is_open(self) -> bool:
        """Whether there is a connection now."""
        return self._exchange is not None and self._exchange.is_open

    async def open(self) -> Exchange:
        """The connection, to whom it is meant to be.

        Raises:
            DeviceError: there is none to be had.
        """
        if self._exchange is None or not self._exchange.is_open:
            trust = self._trust
            opened = await exchange.connect(
                self._host,
                self._port,
                timeout_s=self._timeout_s,
                tls=None if trust is None else trust.context(),
                name=None if trust is None else trust.host,
            )
            if trust is not None:
                try:
                    trust.check(opened.certificate, self.peer)
                except DeviceError:
                    await opened.close()
                    raise
            self._exchange = opened
        return self._exchange

    async def ask(
        self,
        method: str,
        target: str,
        fields: Fields,
        body: bytes,
        *,
        timeout_s: float,
        is_page: bool = False,
    ) -> Answer:
        """The answer, if its status is 200; a page for people only where one is due.

        Raises:
            DeviceError: as the connection does; `bad_reply` (no HTTP), `too_large`, `html_page`,
                or `http_NNN`, another status. The connection outlives an answer that was whole.
        """
        opened = await self.open()
        host = f"[{self._host}]" if ":" in self._host else self._host
        reading = _Reading(
            self.peer,
            method,
            target,
            [
                ("Host", f"{host}:{self._port}"),
                *fields,
                ("Accept-Encoding", "identity"),
                *([("Content-Length", str(len(body)))] if body else []),
            ],
            body,
        )
        found = await opened.ask(
            reading.question, reading.check, timeout_s=timeout_s, at_end=reading.at_end
        )
        if reading.is_last:
            await opened.close()
        answer = reading.answer(found, is_page=is_page)
        if not is_page and answer.body.lstrip()[:1] == b"<":
            raise DeviceError(
                f"{self.peer} answered with a page for people: {answer.body.strip()[:_SAID]!r}.",
                "Check that 'url' is the address of the controller and not of something before it,"
                " and that its web interface is switched on.",
                code=HTML_PAGE,
            )
        return answer

    async def close(self) -> None:
        """Give the connection back."""
        opened, self._exchange = self._exchange, None
        if opened is not None:
            await opened.close()


class _Reading:
    """The answer to one request, read as it arrives."""

    def __init__(self, peer: str, method: str, target: str, fields: Fields, body: bytes) -> None:
        self._peer = peer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        events = [h11.Request(method=method, target=target, headers=list(fields))]
        parts = [self._http.send(event) for event in (*events, h11.Data(body), h11.EndOfMessage())]
        self.question = b"".join(part or b"" for part in parts)
        self._seen = 0
        self._response: h11.Response | None = None
        self._body = bytearray()

    @property
    def is_last(self) -> bool:
        """Whether the server takes no other request on this connection."""
        return self._http.their_state is not h11.DONE

    def check(self, received: bytes) -> bytes | None:
        """The body once it is whole."""
        if len(received) > MAX_HEAD + 2 * MAX_BODY:  # of pieces that carry next to nothing
            raise self._too_large()
        new, self._seen = received[self._seen :], len(received)
        return self._feed(new)

    def at_end(self, received: bytes) -> bytes | None:
        """The body, if the end of the connection is its end."""
        del received
        return self._feed(b"")

    def answer(self, body: bytes, *, is_page: bool) -> Answer:
        """What was answered, if it can be used; a page for people is read by nobody here."""
        assert self._response is not None  # there is no body before its head
        status = self._response.status_code
        if status != 200:
            raise DeviceError(
                f"{self._peer} answered with status {status}.",
                _STATUSES.get(status, _STATUSES.get(status // 100, _OTHER)),
                code=f"http_{status}",
            )
        fields = tuple(
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in self._response.headers
        )
        found = Answer(fields, body)
        encodings = [value.lower() for value in found.values("content-encoding")]
        if not is_page and any(encoding != "identity" for encoding in encodings):
            raise self.wrong("a compressed answer, which was not asked for")
        return found

    def wrong(self, what: str) -> DeviceError:
        """The error for what is no answer."""
        return DeviceError(
            f"{self._peer} answered with {what}.",
            "If it happens again, this is no controller of the kind its 'url' names.",
            code=BAD_REPLY,
        )

    def _feed(self, data: bytes) -> bytes | None:
        try:
            self._http.receive_data(data)
            return self._next()
        except h11.RemoteProtocolError as error:
            if data == b"":
                return None  # cut short: the connection is lost, and that is said
            raise self.wrong(f"what is no HTTP: {error}") from error

    def _next(self) -> bytes | None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                self._response = event
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > MAX_BODY:
                    raise self._too_large()
            elif isinstance(event, h11.EndOfMessage):
                if extra := len(self._http.trailing_data[0]):
                    raise self.wrong(f"{extra} bytes too many")
                return bytes(self._body)
            elif not isinstance(event, h11.InformationalResponse):
                return None  # more must come

    def _too_large(self) -> DeviceError:
        return DeviceError(
            f"{self._peer} answered with more than {MAX_BODY} bytes.",
            "A controller needs some thousands: check that 'url' is its address.",
            code=TOO_LARGE,
        )


_OTHER = "Look at the device's own log."
_STATUSES = {
    3: "It sends elsewhere, and the agent does not go there: write that address as 'url' if it is"
    " the controller's.",
    4: "Check that 'url' is the address of the controller, and its kind the one the scheme names.",
    5: "Look at the controller: its own program failed. Read less often if it is overloaded.",
    401: "Check the user and the password of the 'login'.",
    403: "Allow the user of the 'login' to see the values, or check 'url'.",
    429: "Read less often: raise 'period_s'.",
}
