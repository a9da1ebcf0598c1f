"""Delivers what waits, each receiver in a thread of its own: a slow one keeps nobody waiting."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from joulemark_agent.contract.errors import ConfigError, JoulemarkError
from joulemark_gateway.alerts.mail import Mail
from joulemark_gateway.alerts.settings import AlertSettings, ReceiverSettings
from joulemark_gateway.alerts.store import AlertStore, Notice
from joulemark_gateway.alerts.texts import Language, kind_of, what_of
from joulemark_gateway.alerts.webhook import NotDelivered, Webhook, secret_of
from joulemark_gateway.secret_files import secret as given_secret

POLL_S = 1.0
_STOP_S = 5.0
_LEAST_SECRET = 32
_PASSWORD = "JOULEMARK_ALERTS_MAIL_PASSWORD"  # noqa: S105 - a name

log = logging.getLogger(__name__)


class Way(Protocol):
    """How one receiver is reached."""

    def tell(self, notice: Notice, now_us: int) -> None:
        """Deliver.

        Raises:
            NotDelivered: it was not.
        """


class ByWebhook:
    """A receiver that takes JSON."""

    def __init__(self, hook: Webhook, pages: str | None) -> None:
        self._hook, self._pages = hook, pages

    def tell(self, notice: Notice, now_us: int) -> None:
        """Deliver."""
        content = {**_told(dict(notice.body), self._pages), "id": notice.id}
        body = json.dumps(content, ensure_ascii=False, sort_keys=True).encode()
        self._hook.send(notice.id, body, now_us)


class ByMail:
    """A receiver that reads."""

    def __init__(self, mail: Mail, language: str, pages: str | None) -> None:
        self._mail, self._pages = mail, pages
        self._languages: tuple[Language, ...] = ("ko", "en")
        if language in {"en", "ko"}:
            self._languages = (language,)  # type: ignore[assignment]  # one of the two

    def tell(self, notice: Notice, now_us: int) -> None:
        """Deliver."""
        rows = notice.body.get("notices", [notice.body])
        parts = []
        for language in self._languages:
            lines = [_line(row, language) for row in rows]
            more = notice.body.get("count", len(rows)) - len(rows)
            parts.append("\n".join([*lines, *([f"+ {more}"] if more else [])]))
        link = link_of(notice.body, self._pages)
        parts += [link] if link else []
        head = " / ".join(kind_of(notice.kind, language) for language in self._languages)
        what = _line(rows[0], self._languages[-1]) if len(rows) == 1 else f"{len(rows)}"
        self._mail.send(notice.id, f"[Joulemark] {head}: {what}", "\n\n".join(parts), now_us)


class Deliverer:
    """The threads; each has a connection of its own."""

    def __init__(
        self,
        path: Path,
        wanted: AlertSettings,
        ways: Mapping[str, Way],
        now_us: Callable[[], int],
    ) -> None:
        self._path, self._wanted, self._ways, self._now_us = path, wanted, ways, now_us
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name,), name=f"tell-{name}", daemon=True)
            for name in ways
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; what is being sent is sent again after the next start if it is not done soon."""
        self._stopping.set()
        until_s = time.monotonic() + _STOP_S  # of all of them together
        for thread in self._threads:
            thread.join(max(until_s - time.monotonic(), 0))

    def _run(self, receiver: str) -> None:
        is_down = False
        while not self._stopping.is_set():
            try:
                with AlertStore(self._path) as store:
                    while not self._stopping.is_set():
                        if not told_next(
                            store, receiver, self._ways[receiver], self._wanted, self._now_us
                        ):
                            self._stopping.wait(POLL_S)
            except JoulemarkError as error:
                if not is_down:
                    fields = {"code": error.code, "what": error.what, "do": error.do}
                    log.error("alerts_down", extra=fields)  # noqa: TRY400 - said in full
                is_down = True
                self._stopping.wait(10 * POLL_S)


def told_next(
    store: AlertStore,
    receiver: str,
    way: Way,
    wanted: AlertSettings,
    now_us: Callable[[], int],
) -> bool:
    """Deliver what is due next; whether there was something."""
    notice = store.due(receiver, wanted.flood, now_us())
    if notice is None:
        return False
    fields: dict[str, Any] = {"receiver": receiver, "notice": notice.id, "kind": notice.kind}
    try:
        way.tell(notice, now_us())
    except NotDelivered as why:
        is_over = store.failed(notice, str(why), now_us())
        if is_over or not notice.attempts:
            event = "notice_given_up" if is_over else "notice_not_delivered"
            log.warning(event, extra={**fields, "what": str(why)})
    except Exception as error:  # a mistake of ours must not stop the others
        log.exception("notice_failed", extra=fields)
        store.failed(notice, repr(error), now_us())
    else:
        store.done(notice.id, now_us())
        log.info("notice_delivered", extra=fields)
    return True


def ways_of(wanted: AlertSettings, environment: Mapping[str, str]) -> dict[str, Way]:
    """How each receiver is reached.

    Raises:
        ConfigError: a secret or password is missing, or its file cannot be read.
    """
    return {row.name: _way(row, wanted, environment) for row in wanted.receivers}


def _way(row: ReceiverSettings, wanted: AlertSettings, environment: Mapping[str, str]) -> Way:
    if row.webhook is not None:
        variable = row.secret_variable
        secret = secret_of(given_secret(environment, variable), variable, _LEAST_SECRET)
        hook = Webhook(row.webhook, secret, row.ca, wanted.private_addresses)
        return ByWebhook(hook, wanted.pages)
    server = wanted.mail_server
    assert server is not None  # the settings say so
    password = given_secret(environment, _PASSWORD)
    if server.username is not None and not password:
        raise ConfigError(
            f"{_PASSWORD} is not set.", f"Set it to the password of {server.username!r}."
        )
    mail = Mail(
        server.host, server.port, server.security, server.sender, row.mail, server.username,
        password, server.ca,
    )  # fmt: skip
    return ByMail(mail, row.language, wanted.pages)


def link_of(body: Mapping[str, Any], pages: str | None) -> str:
    """Where the alert is acknowledged, after log-in; the link works once."""
    if pages is None:
        return ""
    base = pages.rstrip("/")
    if "alert" not in body:
        return f"{base}/alerts"
    code = f"?link={body['link']}" if body.get("link") else ""
    return f"{base}/alerts/{body['alert']}{code}"


def _told(body: dict[str, Any], pages: str | None) -> dict[str, Any]:
    """The content as a program gets it: with sentences and a whole link."""
    rows = body.get("notices")
    if rows is not None:
        return {
            **body,
            "notices": [_told(row, pages) for row in rows],
            "link": link_of(body, pages),
        }
    text = {language: _sentence(body, language) for language in ("en", "ko")}
    return {**body, "link": link_of(body, pages), "text": text}


def _sentence(body: Mapping[str, Any], language: Language) -> str:
    return what_of(body["code"], {**body["values"], "subject": body["subject"]}, language)


def _line(body: Mapping[str, Any], language: Language) -> str:
    site = f"{body['site']}: " if body["site"] else ""
    return f"{kind_of(body['kind'], language)} · {site}{_sentence(body, language)}"
