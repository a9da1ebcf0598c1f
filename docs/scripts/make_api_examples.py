"""Make gateway/joulemark_gateway/api/examples.json: an answer of every address of the API.

Run in the repository's folder: `python docs/scripts/make_api_examples.py`. The answers are those of
a real collector over the tests' filled state; lists are cut to one item, secrets replaced. A test
checks each against the description it stands in.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("agent", "gateway", "configs", "tests")]

from joulemark_gateway.access.roles import Role  # noqa: E402
from joulemark_gateway.alerts.rules import Condition  # noqa: E402
from joulemark_gateway.alerts.settings import RuleSettings  # noqa: E402
from joulemark_gateway.alerts.store import Alerts, AlertStore  # noqa: E402
from joulemark_gateway.costs.files import SiteTariffs  # noqa: E402
from joulemark_gateway.costs.months import CostBook  # noqa: E402
from joulemark_gateway.costs.watch import DemandBoard  # noqa: E402
from joulemark_gateway.daily import Daily  # noqa: E402
from support import guarded, pages  # noqa: E402
from support.evidence import AGENT, METER, SITE, START_US  # noqa: E402
from support.guarded import browser_of  # noqa: E402
from support.tariffs import banded, made  # noqa: E402

OUT = ROOT / "gateway/joulemark_gateway/api/examples.json"
HOUSE = {
    "id": "air",
    "kind": "compressor_house",
    "members": {"compressors": [pages.COMPRESSOR]},
    "parameters": {},
}
NAMED = {
    "site": SITE,
    "device": METER,
    "system": "air",
    "project": "pump-house",
    "name": "anna",
    "number": "1",
}
ASKED = {
    "samples": {"point": "power_w", "limit": 1},
    "amounts": {"point": "energy_wh", "limit": 1},
    "records": {"limit": 2},
    "proof": {"seq": 3},
    "series": {"resolution": "hour", "point": "energy_wh", "limit": 1},
}
PLACE = "/api/v1/sites/{site}/devices/{device}"
TEXTS: tuple[tuple[str, dict[str, str], str, int], ...] = (
    (f"{PLACE}/series", {"resolution": "day", "format": "csv"}, "text/csv", 3),
    (f"{PLACE}/series", {"resolution": "raw", "format": "ndjson"}, "application/x-ndjson", 2),
    ("/metrics", {}, "text/plain", 12),
)
SENT: dict[str, Any] = {
    "POST /api/v1/users": {
        "name": "anna",
        "role": "viewer",
        "sites": [SITE],
        "password": "rusty bucket seven cranes",
    },
    "PUT /api/v1/users/{name}": {"role": "verifier", "sites": [SITE]},
    "POST /api/v1/tokens": {
        "name": "grafana",
        "role": "viewer",
        "sites": [SITE],
        "days": 90,
        "scopes": ["series:read"],
    },
    "POST /api/v1/sites/{site}/raw-requests": {
        "device": METER,
        "from": "2018-01-01T00:00:00Z",
        "to": "2018-01-01T06:00:00Z",
    },
}
ONLY_SENT = {
    "POST /api/v1/enrolments": {"agent": "edge-7", "site": SITE, "devices": [METER], "minutes": 15},
    "POST /api/v1/revocations": {"agent": "edge-7", "reason": "the gateway was stolen"},
}
TOKEN = "jmt_00000000_it-is-shown-this-once"  # noqa: S105 - none


async def main() -> None:
    """Ask for everything, and keep the answers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state = pages.fill(folder / "state", systems=[HOUSE])
        changes: dict[str, Any] = {
            "settings": guarded.collector_of(state.folder),
            "costs": CostBook({SITE: SiteTariffs(SITE, (made(banded()),), Decimal(200), None)}),
            "demands": DemandBoard(),
            "alerts": _alerted(folder / "alerts.sqlite"),
        }
        with state.sources(**changes) as sources:
            Daily(sources, None, None).demands()
        with guarded.guarded(state, folder / "access", **changes) as (let, app):
            async with browser_of(app) as client:
                client.headers.update(let.header(Role.ADMIN))
                examples = await _examples(client)
    OUT.write_text(json.dumps(examples, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    print(f"{len(examples)} examples, {OUT.stat().st_size} bytes")


def _alerted(path: Path) -> Alerts:
    """A file in which somebody is told that an agent is silent."""
    rule = RuleSettings(rule="agent_silent", tell=("ops",))
    silent = Condition(
        f"agent-silent/{SITE}/{AGENT}", rule.id, SITE, AGENT, "agent_silent", {"minutes": "10"}
    )
    with AlertStore(path) as store:
        store.apply(rule, [silent], START_US)
    return Alerts(path)


async def _examples(client: Any) -> dict[str, Any]:
    described = (await client.get("/openapi.json")).json()
    operations = [
        (method.upper(), path) for path, methods in described["paths"].items() for method in methods
    ]
    found: dict[str, Any] = {}
    for method, path in sorted(operations, key=lambda one: (one[0] == "GET", one[0])):
        key = f"{method} {path}"
        if method == "DELETE" or (method != "GET" and key not in SENT):
            continue
        url = path.format(**{**NAMED, **({"name": "report.json"} if "/files/" in path else {})})
        asked = ASKED.get(path.rsplit("/", 1)[1], {})
        answer = await client.request(method, url, params=asked, json=SENT.get(key))
        if answer.status_code not in {200, 201}:
            print(f"no example: {key}: {answer.status_code} {answer.text[:600]}")
            continue
        is_json = answer.headers.get("content-type") == "application/json"
        if not is_json or path.endswith("/files/{name}"):
            continue
        found[key] = {"application/json": _short(answer.json())}
        if key == "POST /api/v1/tokens":
            found[key]["application/json"]["text"] = TOKEN
        if key in SENT:
            found[key]["sent"] = SENT[key]
    found |= {key: {"sent": sent} for key, sent in ONLY_SENT.items()}
    for path, query, media, lines in TEXTS:
        answer = await client.get(path.format(**NAMED), params=query)
        text = "".join(answer.text.splitlines(keepends=True)[:lines])
        found.setdefault(f"GET {path}", {})[media] = text
    return found


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items()}
    if isinstance(value, list):
        is_row = value and not isinstance(value[0], dict | list)
        return value if is_row and len(value) <= 20 else [_short(part) for part in value[:1]]
    return value


if __name__ == "__main__":
    asyncio.run(main())
