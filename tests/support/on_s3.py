"""What processes do with an object store: `python -m support.on_s3 WHAT URL ...`, one per process.

| WHAT | does |
|---|---|
| `publish` | says `ready`; with each line on stdin puts the report of that number, and says so |
| `plainly` | the same with plain files, one after the other: the control |
| `look` | copies until stdin ends; says how often, how many reports, and how many were mixed |
| `plain-look` | the same of plain files |
| `blocks` | fills a ledger, compacts it, and compares every answer; says how many objects |
| `away` | says the code of the error, and after how long it came |
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_gateway.evidence import compactor
from joulemark_gateway.evidence.ledger import SqliteLedger
from joulemark_gateway.evidence.objects import Objects
from joulemark_gateway.evidence.store import FILE
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.reports.stored import KIND, copy, publish
from support.book import NOW_US, registry
from support.evidence import (
    AGENT,
    KEYS,
    METER,
    SITE,
    WITNESS,
    build_tree,
    documents,
    meter_readings,
    uncosigned,
)

NAMES = ("report.html", "report.pdf", "report.json", "bundle.zip", "policy.json")
_EACH_BYTES = 200_000
_LATER_US = NOW_US + 10**12


def report(number: int) -> dict[str, bytes]:
    """Files of which each says which report it is of."""
    return {
        name: f"{number} {name} ".encode().ljust(_EACH_BYTES, b"%d" % (number % 10))
        for name in NAMES
    }


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _publish(url: str) -> None:
    objects = Objects(url, KIND)
    _each(lambda files: publish(objects, files))


def _plainly(url: str) -> None:
    objects = Objects(url, KIND)

    def put(files: dict[str, bytes]) -> None:
        for name, data in files.items():
            objects.replace(name, data)

    _each(put)


def _each(put: Callable[[dict[str, bytes]], None]) -> None:
    _say("ready")
    for line in sys.stdin:
        put(report(int(line)))
        _say(line.strip())


def _look(url: str) -> None:
    objects = Objects(url, KIND)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "0"

        def held() -> dict[str, bytes]:
            try:
                copy(objects, folder)
            except StoreError as error:
                if error.code != "no_report":
                    raise
                return {}
            return {path.name: path.read_bytes() for path in folder.iterdir()}

        _seen(held)


def _plain_look(url: str) -> None:
    objects = Objects(url, KIND)
    _seen(lambda: {name: data for name in NAMES if (data := objects.read(name))})


def _seen(held: Callable[[], dict[str, bytes]]) -> None:
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    _say("ready")
    looks, mixed = 0, 0
    numbers: set[int] = set()
    while not ended.is_set():
        if files := held():
            [number, *others] = {int(data.partition(b" ")[0]) for data in files.values()}
            looks, numbers = looks + 1, numbers | {number}
            mixed += bool(others) or files != report(number)
    _say(json.dumps({"looks": looks, "mixed": mixed, "reports": len(numbers)}))


def _blocks(url: str) -> None:
    vars(compactor)["PLAIN_BYTES"] = 20_000  # several objects of little evidence
    made = documents()
    name, topic = origin(SITE, METER, 1), batch_topic(AGENT, METER)
    batches = build_tree(made, METER, meter_readings(made, [1000] * 149), slots_per_batch=3)
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqliteLedger(Path(folder) / FILE, Objects(url))
        witness = Witness(WITNESS, KEYS.witness)
        with closing(Intake(ledger.writer, registry, witness, lambda: NOW_US)) as intake:
            for batch in batches:
                intake.take(topic, batch_bytes(uncosigned(batch)))
        with ledger.reader() as store:
            before = store.leaves(name), store.batches(name)
        with ledger.compactor() as opened:
            moved = len(list(opened.moves(_LATER_US, all_of_it=True)))
        with ledger.reader() as store:
            assert (store.leaves(name), store.batches(name)) == before
            store.scrub(name)
    _say(json.dumps({"objects": moved, "leaves": len(before[0])}))


def _away(url: str) -> None:
    objects, begun_s = Objects(url, KIND), time.monotonic()
    try:
        objects.read("report.files.json")
    except StoreError as error:
        _say(json.dumps({"code": error.code, "took_s": time.monotonic() - begun_s}))


DOES: dict[str, Callable[[str], None]] = {
    "publish": _publish,
    "plainly": _plainly,
    "look": _look,
    "plain-look": _plain_look,
    "blocks": _blocks,
    "away": _away,
}

if __name__ == "__main__":
    DOES[sys.argv[1]](sys.argv[2])
