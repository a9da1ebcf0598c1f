"""Sends a notice by e-mail, over TLS that is checked; without TLS nothing is sent."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Literal

from joulemark_gateway.alerts.webhook import NotDelivered

TIMEOUT_S = 20.0


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

    def send(self, id_: str, subject: str, text: str, now_us: int) -> None:
        """Deliver to the server; the Message-ID is the same in every attempt.

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
        try:
            with self._connected() as server:
                if self.username is not None:
                    server.login(self.username, self.password or "")
                refused = server.send_message(message)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise NotDelivered(f"{type(error).__name__}: {error!s:.200}") from error
        if refused:
            raise NotDelivered(f"refused for {len(refused)} of {len(self.to)} addresses")

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
