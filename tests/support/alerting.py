"""A collector's alerts in a process of their own, to be killed: `python -m support.alerting`.

`durable` raises and delivers as the collector does; `naive` raises, remembers in memory what is to
be told, and tells it: what many programs do.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from joulemark_gateway.alerts.deliver import Deliverer, ways_of
from joulemark_gateway.alerts.rules import Condition
from joulemark_gateway.alerts.settings import AlertSettings, RuleSettings
from joulemark_gateway.alerts.store import AlertStore
from joulemark_gateway.alerts.webhook import NotDelivered, Webhook
from support.receivers import SECRET

_RULE = RuleSettings(rule="agent_silent", tell=("ops",))


def condition(number: int) -> Condition:
    """The alert of this number."""
    key = f"agent-silent/a/edge-{number}"
    return Condition(key, _RULE.id, "a", f"edge-{number}", "agent_silent", {"minutes": "10"})


def now_us() -> int:
    """Wall time; waits after a failure are a thousandth of what they are, to be done soon."""
    return time.time_ns()


def durable(path: Path, url: str, count: int) -> None:
    """Raise alert after alert while what is due is delivered."""
    wanted = AlertSettings.model_validate(
        {
            "receivers": [{"name": "ops", "webhook": url}],
            "private_addresses": True,
            "flood": {"notices": 1000, "minutes": 1},
        }
    )
    ways = ways_of(wanted, {"JOULEMARK_ALERTS_SECRET_OPS": SECRET})
    with AlertStore(path) as store:
        deliverer = Deliverer(path, wanted, ways, now_us)
        deliverer.start()
        held = [condition(int(one.subject[5:])) for one in store.alerts(["raised"], 10_000)]
        while len(held) < count:
            held.append(condition(len(held)))
            store.apply(_RULE, held, now_us())
        while store.waiting():
            time.sleep(0.01)
        deliverer.stop()


def naive(path: Path, url: str, count: int) -> None:
    """Keep what was raised, and in memory what is to be told."""
    hook = Webhook(url, SECRET.encode(), may_be_private=True)
    raised = json.loads(path.read_text("utf-8")) if path.exists() else 0
    queue: list[int] = []
    while raised < count or queue:
        if raised < count:
            queue.append(raised)
            raised += 1
            part = path.with_suffix(".part")
            part.write_text(json.dumps(raised), "utf-8")
            part.replace(path)
        if queue and (len(queue) > 3 or raised == count):
            try:
                hook.send(f"edge-{queue[0]}", b"{}", 0)
            except NotDelivered:
                continue
            queue.pop(0)


if __name__ == "__main__":
    {"durable": durable, "naive": naive}[sys.argv[1]](
        Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    )
