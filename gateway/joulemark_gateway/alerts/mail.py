"""Sends a notice by e-mail, over TLS that is checked; without TLS nothing is sent."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Literal

from joulemark_gateway.alerts.webhook import NotDelivered

TIMEOUT_S = 20.0
_MOST_PARTLY = 1000  # notices that some have and some have not


@dataclass(frozen=True)
class Mail:
    """By which server, from whom, to whom."""

    host: str
    port: int
    security: Literal["starttls", "tls"]
    sender: str
    to: Sequence[str]
    username: str | None = None
    password: str | None = None
    ca: Path | None = None
    timeout_s: float = TIMEOUT_S
    _have: dict[str, set[str]] = field(default_factory=dict, compare=False)  # it, by notice

    def send(self, id_: str, subject: str, text: str, now_us: int) -> None:
        """Deliver to the server, again only to those who have it not; the Message-ID stays.

        Raises:
            NotDelivered: the server did not take it for everybody.
        """
        message = EmailMessage()
        message["Subject"] = " ".join(subject.split())[:180]
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        message["Date"] = formatdate(now_us / 1_000_000)
        message["Message-ID"] = f"<{id_}@{self.sender.partition('@')[2]}>"
        message["Joulemark-Id"] = id_
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        have = self._have.get(id_, set())
        left = [one for one in self.to if one not in have]
        refused: dict[str, tuple[int, bytes]] = dict.fromkeys(left, (0, b""))
        try:
            with self._connected() as server:
                if self.username is not None:
                    server.login(self.username, self.password or "")
                refused = server.send_message(message, to_addrs=left)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            if refused:  # else it was taken, and only the good-bye went wrong
                raise NotDelivered(f"{type(error).__name__}: {error!s:.200}") from error
        if refused:
            if len(self._have) >= _MOST_PARTLY:
                self._have.clear()  # some get it twice, with the same id
            self._have[id_] = set(self.to) - refused.keys()
            raise NotDelivered(f"refused for {len(refused)} of {len(self.to)} addresses")
        self._have.pop(id_, None)

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context(cafile=self.ca)
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_s, context=context)
        server = smtplib.SMTP(self.host, self.port, timeout=self.timeout_s)
        try:
            server.starttls(context=context)  # one without STARTTLS raises
            server.ehlo()
        except BaseException:
            server.close()
            raise
        return server
