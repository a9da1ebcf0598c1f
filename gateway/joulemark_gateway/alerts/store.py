"""Alerts, their log and what waits to be delivered: one SQLite file, `alerts.sqlite` in state_dir.

What an alert becomes and the notices that tell of it are one transaction: a collector that is
killed between the two has done neither, and one that is killed before a notice was delivered finds
it again. A notice keeps its id in every attempt, so that a receiver knows what it has had.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from joulemark_gateway.alerts.rules import Condition
from joulemark_gateway.alerts.settings import FloodSettings, RuleSettings
from joulemark_gateway.evidence.sqlite import SqliteFile

FILE = "alerts.sqlite"
_APPLICATION = 0x4A4C616C  # "JLal"
_VERSION = 1
_SCHEMA = """
CREATE TABLE alert (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, rule TEXT NOT NULL, site TEXT NOT NULL,
    subject TEXT NOT NULL, code TEXT NOT NULL, facts TEXT NOT NULL, state TEXT NOT NULL,
    raised_us INTEGER NOT NULL, seen_us INTEGER NOT NULL, times INTEGER NOT NULL,
    by_whom TEXT, note TEXT, acknowledged_us INTEGER, resolved_us INTEGER, escalated_us INTEGER,
    link TEXT);
CREATE UNIQUE INDEX alert_open ON alert (key) WHERE state <> 'resolved';
CREATE INDEX alert_state ON alert (state, raised_us);
CREATE TABLE line (
    id INTEGER PRIMARY KEY AUTOINCREMENT, alert INTEGER NOT NULL REFERENCES alert,
    t_us INTEGER NOT NULL, what TEXT NOT NULL, who TEXT NOT NULL, note TEXT NOT NULL);
CREATE INDEX line_alert ON line (alert, id);
CREATE TABLE pending (key TEXT PRIMARY KEY, since_us INTEGER NOT NULL);
CREATE TABLE notice (
    id TEXT PRIMARY KEY, receiver TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    made_us INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
    next_us INTEGER NOT NULL, done_us INTEGER, error TEXT NOT NULL, digest TEXT);
CREATE INDEX notice_due ON notice (receiver, state, next_us);
"""
_AGAIN_US = 86_400_000_000  # within this after its end the same alert is raised again
_FIRST_WAIT_US, _LONGEST_WAIT_US = 10_000_000, 3_600_000_000
_GIVEN_UP_US = 7 * 86_400_000_000
MOST_KEPT = 10_000  # resolved alerts
MOST_LINES = 500  # of the log of one alert, the newest
_MOST_IN_DIGEST = 100
_COLUMNS = (
    "id, key, rule, site, subject, code, facts, state, raised_us, seen_us, times, by_whom, note, "
    "acknowledged_us, resolved_us, escalated_us"
)

State = Literal["raised", "acknowledged", "resolved"]


@dataclass(frozen=True)
class Alert:
    """One alert."""

    id: int
    key: str
    rule: str
    site: str
    subject: str
    code: str
    values: Mapping[str, str]
    state: State
    raised_us: int
    seen_us: int  # it held last
    times: int  # it was raised, again included
    by_whom: str | None
    note: str | None
    acknowledged_us: int | None
    resolved_us: int | None
    escalated_us: int | None


@dataclass(frozen=True)
class Line:
    """What became of an alert."""

    t_us: int
    what: str
    who: str
    note: str


@dataclass(frozen=True)
class Notice:
    """What a receiver has to be told; the id is the same in every attempt."""

    id: str
    receiver: str
    kind: str
    body: Mapping[str, Any]
    made_us: int
    attempts: int


class AlertStore(SqliteFile):
    """The file; one thread at a time."""

    kind = "file of alerts"

    def __init__(self, path: Path) -> None:
        """Open the file, made where there is none.

        Raises:
            StoreError: it cannot be used; so with every method.
        """
        super().__init__(path)
        try:
            self._make_durable()
            self._open_as(_APPLICATION, _VERSION, _SCHEMA)
        except BaseException:
            self._db.close()
            raise

    def is_open(self, key: str) -> bool:
        """Whether there is an alert of this key that is not over."""
        return bool(self._rows("SELECT 1 FROM alert WHERE key = ? AND state <> 'resolved'", key))

    def apply(self, rule: RuleSettings, found: Sequence[Condition], now_us: int) -> None:
        """Raise, raise again, escalate and resolve what belongs to one rule.

        Args:
            rule: of the collector's file.
            found: every condition that holds of it now, or of which nobody knows whether it does.
            now_us: wall time, UTC. [us]
        """
        with self._transaction() as db:
            for condition in found:
                if condition.is_known:
                    self._hold(db, rule, condition, now_us)
            keys = {condition.key for condition in found}
            open_ = db.execute(
                f"SELECT {_COLUMNS} FROM alert WHERE rule = ? AND state <> 'resolved'",
                (rule.id,),
            ).fetchall()
            for row in map(_alert, open_):
                if row.key not in keys:
                    self._resolve(db, rule, row, now_us)
            prefix = f"{rule.id}/"
            waiting = db.execute("SELECT key FROM pending").fetchall()
            gone = [key for (key,) in waiting if key.startswith(prefix) and key not in keys]
            db.executemany("DELETE FROM pending WHERE key = ?", [(key,) for key in gone])

    def close_unruled(self, rules: Sequence[str], now_us: int) -> None:
        """End the alerts of rules that are no longer there."""
        with self._transaction() as db:
            rows = db.execute("SELECT id, rule FROM alert WHERE state <> 'resolved'").fetchall()
            for id_, rule in rows:
                if rule not in rules:
                    _end(db, id_, now_us)
                    _log(db, id_, now_us, "resolved", note="the rule was removed")

    def tidy(self, receivers: Sequence[str], now_us: int) -> None:
        """Forget what is old, and what waits for receivers that are no longer there."""
        with self._transaction() as db:
            done = (
                "SELECT id FROM alert WHERE state = 'resolved' ORDER BY id DESC LIMIT -1 OFFSET ?"
            )
            old = db.execute(done, (MOST_KEPT,)).fetchall()
            db.executemany("DELETE FROM line WHERE alert = ?", old)
            db.executemany("DELETE FROM alert WHERE id = ?", old)
            many = "SELECT alert FROM line GROUP BY alert HAVING count(*) > ?"
            for (id_,) in db.execute(many, (MOST_LINES,)).fetchall():
                db.execute(
                    "DELETE FROM line WHERE alert = ? AND id <= (SELECT id FROM line "
                    "WHERE alert = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
                    (id_, id_, MOST_LINES),
                )
            marks = ", ".join("?" for _ in receivers)
            db.execute(
                "UPDATE notice SET state = 'given_up', error = 'the receiver was removed' "
                f"WHERE state = 'waiting' AND receiver NOT IN ({marks})",
                tuple(receivers),
            )
            db.execute(
                "DELETE FROM notice WHERE state <> 'waiting' AND made_us < ?",
                (now_us - 4 * _GIVEN_UP_US,),
            )

    def acknowledge(
        self, id_: int, who: str, note: str, now_us: int, link: str | None = None
    ) -> bool | None:
        """Take note of an alert: nobody is told of it further until it is raised again.

        Returns:
            None: there is no such alert; False: it is over or known already, or the link was used.
        """
        with self._transaction() as db:
            row = db.execute("SELECT state, link FROM alert WHERE id = ?", (id_,)).fetchone()
            if row is None:
                return None
            state, digest = row
            if state != "raised" or (link is not None and digest != _digest(link)):
                return False
            db.execute(
                "UPDATE alert SET state = 'acknowledged', by_whom = ?, note = ?, "
                "acknowledged_us = ?, link = NULL WHERE id = ?",
                (who, note, now_us, id_),
            )
            _log(db, id_, now_us, "acknowledged", who=who, note=note)
            return True

    def alert(self, id_: int) -> Alert | None:
        """One alert."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM alert WHERE id = ?", id_)
        return _alert(rows[0]) if rows else None

    def alerts(self, states: Sequence[State], limit: int, before: int | None = None) -> list[Alert]:
        """The alerts of these states, newest first."""
        marks = ", ".join("?" for _ in states)
        return [
            _alert(row)
            for row in self._rows(
                f"SELECT {_COLUMNS} FROM alert WHERE state IN ({marks}) AND id < ? "
                "ORDER BY id DESC LIMIT ?",
                *states,
                2**62 if before is None else before,
                limit,
            )
        ]

    def lines(self, id_: int) -> list[Line]:
        """What became of an alert, in order."""
        rows = self._rows("SELECT t_us, what, who, note FROM line WHERE alert = ? ORDER BY id", id_)
        return [Line(*row) for row in rows]

    def due(self, receiver: str, flood: FloodSettings, now_us: int) -> Notice | None:
        """What a receiver is told next; where there is too much of it, one digest of the rest."""
        with self._transaction() as db:
            window_us = int(flood.minutes * 60_000_000)
            since = "receiver = ? AND state = 'done' AND done_us > ? AND done_us <= ?"
            sent = db.execute(
                f"SELECT count(*) FROM notice WHERE {since} AND kind <> 'digest'",
                (receiver, now_us - window_us, now_us),
            ).fetchone()[0]
            waits = "receiver = ? AND state = 'waiting'"
            new = db.execute(
                f"SELECT id FROM notice WHERE {waits} AND attempts = 0 AND kind <> 'digest' "
                "ORDER BY made_us, rowid",
                (receiver,),
            ).fetchall()
            if len(new) > max(flood.notices - sent, 0):
                rest = [id_ for (id_,) in new[max(flood.notices - sent, 0) :]]
                _gather(db, receiver, rest, now_us, now_us + window_us)
            # Further off than any wait: it was put there before the clock was set back.
            far_us = now_us + max(window_us, _LONGEST_WAIT_US)
            row = db.execute(
                "SELECT id, receiver, kind, body, made_us, attempts FROM notice "
                f"WHERE {waits} AND (next_us <= ? OR next_us > ?) "
                "ORDER BY next_us, made_us, rowid LIMIT 1",
                (receiver, now_us, far_us),
            ).fetchone()
        return None if row is None else _notice(row)

    def done(self, id_: str, now_us: int) -> None:
        """The receiver has taken it."""
        with self._transaction() as db:
            db.execute(
                "UPDATE notice SET state = 'done', done_us = ?, attempts = attempts + 1, "
                "error = '' WHERE id = ?",
                (now_us, id_),
            )

    def failed(self, notice: Notice, why: str, now_us: int) -> bool:
        """It could not be delivered: again later, each time later; True: given up."""
        wait_us = min(_FIRST_WAIT_US * 2 ** min(notice.attempts, 20), _LONGEST_WAIT_US)
        is_over = now_us - notice.made_us > _GIVEN_UP_US
        with self._transaction() as db:
            db.execute(
                "UPDATE notice SET state = ?, attempts = attempts + 1, next_us = ?, error = ? "
                "WHERE id = ?",
                ("given_up" if is_over else "waiting", now_us + wait_us, why[:300], notice.id),
            )
        return is_over

    def waiting(self) -> list[tuple[str, int, str]]:
        """How many notices wait, by receiver, and what went wrong last."""
        return self._rows(
            "SELECT receiver, count(*), max(error) FROM notice WHERE state = 'waiting' "
            "GROUP BY receiver ORDER BY receiver"
        )

    def notices(self) -> int:
        """How many are kept, whatever became of them."""
        return int(self._rows("SELECT count(*) FROM notice")[0][0])

    def _hold(
        self, db: sqlite3.Connection, rule: RuleSettings, one: Condition, now_us: int
    ) -> None:
        facts = json.dumps(dict(one.values), sort_keys=True)
        row = db.execute(
            f"SELECT {_COLUMNS} FROM alert WHERE key = ? ORDER BY id DESC LIMIT 1",
            (one.key,),
        ).fetchone()
        last = None if row is None else _alert(row)
        if last is not None and last.state != "resolved":
            db.execute(
                "UPDATE alert SET seen_us = ?, facts = ?, raised_us = min(raised_us, ?) "
                "WHERE id = ?",
                (now_us, facts, now_us, last.id),
            )
            self._escalate(db, rule, last, one, now_us)
            return
        if rule.minutes:
            insert = (  # a clock that was set back begins anew
                "INSERT INTO pending VALUES (?, ?) ON CONFLICT DO UPDATE "
                "SET since_us = min(since_us, excluded.since_us)"
            )
            db.execute(insert, (one.key, now_us))
            find = "SELECT since_us FROM pending WHERE key = ?"
            (since_us,) = db.execute(find, (one.key,)).fetchone()
            if now_us - since_us < rule.minutes * 60_000_000:
                return
        db.execute("DELETE FROM pending WHERE key = ?", (one.key,))
        link = secrets.token_urlsafe(24)
        is_again = last is not None and now_us - (last.resolved_us or 0) < _AGAIN_US
        if is_again and last is not None:
            id_, kind = last.id, "again"
            db.execute(
                "UPDATE alert SET state = 'raised', raised_us = ?, seen_us = ?, facts = ?, "
                "times = times + 1, by_whom = NULL, note = NULL, acknowledged_us = NULL, "
                "resolved_us = NULL, escalated_us = NULL, link = ? WHERE id = ?",
                (now_us, now_us, facts, _digest(link), id_),
            )
        else:
            values = (one.key, one.rule, one.site, one.subject, one.code, facts)
            kind = "raised"
            made = db.execute(
                "INSERT INTO alert (key, rule, site, subject, code, facts, state, raised_us, "
                "seen_us, times, link) VALUES (?, ?, ?, ?, ?, ?, 'raised', ?, ?, 1, ?)",
                (*values, now_us, now_us, _digest(link)),
            )
            id_ = made.lastrowid or 0
        _log(db, id_, now_us, kind)
        for receiver in dict.fromkeys(rule.tell):
            _queue(db, receiver, kind, id_, one, now_us, link)

    def _escalate(
        self, db: sqlite3.Connection, rule: RuleSettings, row: Alert, one: Condition, now_us: int
    ) -> None:
        is_late = now_us - row.raised_us >= rule.escalate_minutes * 60_000_000
        if not rule.escalate or row.state != "raised" or row.escalated_us or not is_late:
            return
        link = secrets.token_urlsafe(24)  # the one that was sent before ends
        db.execute(
            "UPDATE alert SET escalated_us = ?, link = ? WHERE id = ?",
            (now_us, _digest(link), row.id),
        )
        _log(db, row.id, now_us, "escalated", note=", ".join(rule.escalate))
        for receiver in dict.fromkeys(rule.escalate):
            _queue(db, receiver, "escalated", row.id, one, now_us, link)

    def _resolve(self, db: sqlite3.Connection, rule: RuleSettings, row: Alert, now_us: int) -> None:
        _end(db, row.id, now_us)
        _log(db, row.id, now_us, "resolved")
        one = Condition(row.key, row.rule, row.site, row.subject, row.code, row.values)
        told = (*rule.tell, *(rule.escalate if row.escalated_us else ()))
        for receiver in dict.fromkeys(told):
            _queue(db, receiver, "resolved", row.id, one, now_us, "")


class Alerts:
    """The alerts as pages and API read them; every call has a connection of its own."""

    def __init__(self, path: Path | None = None) -> None:
        """None: no alerts are kept."""
        self._path = path

    def read(self, ask: Callable[[AlertStore], Any], otherwise: Any) -> Any:
        """What the store answers; `otherwise` where none is kept."""
        if self._path is None:
            return otherwise
        with AlertStore(self._path) as store:
            return ask(store)

    def open_by_subject(self) -> Mapping[tuple[str, str], int]:
        """How many alerts are not over, by site and subject."""
        counts: dict[tuple[str, str], int] = {}
        rows = self.read(lambda store: store.alerts(("raised", "acknowledged"), 100_000), [])
        for row in rows:
            place = (row.site, row.subject)
            counts[place] = counts.get(place, 0) + 1
        return counts


def _queue(  # noqa: PLR0917 -- one for each thing it knows
    db: sqlite3.Connection,
    receiver: str,
    kind: str,
    id_: int,
    one: Condition,
    now_us: int,
    link: str,
) -> None:
    body = {
        "alert": id_,
        "code": one.code,
        "key": one.key,
        "kind": kind,
        "link": link,
        "rule": one.rule,
        "site": one.site,
        "subject": one.subject,
        "time_us": now_us,
        "values": dict(one.values),
    }
    name = f"{id_}/{kind}/{receiver}/{now_us}"
    values = (_digest(name)[:32], receiver, kind, json.dumps(body, sort_keys=True), now_us, now_us)
    db.execute(
        "INSERT INTO notice (id, receiver, kind, body, made_us, state, attempts, next_us, error) "
        "VALUES (?, ?, ?, ?, ?, 'waiting', 0, ?, '')",
        values,
    )


def _gather(
    db: sqlite3.Connection, receiver: str, ids: Sequence[str], now_us: int, due_us: int
) -> None:
    """Put notices into the digest that waits for the receiver, or into a new one."""
    name = _digest(f"digest/{receiver}/{now_us}/{ids[0]}")[:32]
    row = db.execute(
        "SELECT id, body FROM notice WHERE receiver = ? AND kind = 'digest' AND "
        "state = 'waiting' AND attempts = 0",
        (receiver,),
    ).fetchone()
    body: dict[str, Any] = {"kind": "digest", "count": 0, "notices": [], "time_us": now_us}
    if row is not None:
        name, body = row[0], json.loads(row[1])
    for id_ in ids:
        find = "SELECT body FROM notice WHERE id = ?"
        content = json.loads(db.execute(find, (id_,)).fetchone()[0])
        body["count"] += 1
        if len(body["notices"]) < _MOST_IN_DIGEST:
            body["notices"].append({**content, "link": ""})
        db.execute("UPDATE notice SET state = 'gathered', digest = ? WHERE id = ?", (name, id_))
    db.execute(
        "INSERT INTO notice (id, receiver, kind, body, made_us, state, attempts, next_us, error) "
        "VALUES (?, ?, 'digest', ?, ?, 'waiting', 0, ?, '') "
        "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        (name, receiver, json.dumps(body, sort_keys=True), now_us, due_us),
    )


def _log(
    db: sqlite3.Connection, id_: int, t_us: int, what: str, *, who: str = "", note: str = ""
) -> None:
    db.execute(
        "INSERT INTO line (alert, t_us, what, who, note) VALUES (?, ?, ?, ?, ?)",
        (id_, t_us, what, who, note),
    )


def _end(db: sqlite3.Connection, id_: int, now_us: int) -> None:
    db.execute(
        "UPDATE alert SET state = 'resolved', resolved_us = ?, link = NULL WHERE id = ?",
        (now_us, id_),
    )


def _alert(row: Sequence[Any]) -> Alert:
    values = list(row)
    values[6] = json.loads(row[6])
    return Alert(*values)


def _notice(row: Sequence[Any]) -> Notice:
    return Notice(row[0], row[1], row[2], json.loads(row[3]), row[4], row[5])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
