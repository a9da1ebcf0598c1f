"""`joulemark evidence fetch | requests | proof`: raw records that stay at a gateway, asked for.

Adding the commands imports nothing heavy: what they need is imported when they run.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulemark_agent.contract.errors import ConfigError

if TYPE_CHECKING:
    from joulemark_gateway.evidence.base import Head
    from joulemark_gateway.evidence.tables import EvidenceTables
    from joulemark_gateway.settings import CollectorSettings

_LOOK_S = 0.5


def add_command(subparsers: Any) -> None:
    """Add `joulemark evidence` and what it can do."""
    parser = subparsers.add_parser("evidence", help="raw records that stay at a gateway")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    fetch = commands.add_parser("fetch", help="ask a gateway for the raw records of a time")
    _add_tree(fetch)
    for name, what in (("from", "first instant"), ("to", "instant after the last")):
        fetch.add_argument(f"--{name}", required=True, metavar="TIME", help=what, dest=f"{name}_")
    fetch.add_argument(
        "--wait", type=float, default=60.0, metavar="S", help="how long to wait for them (60)"
    )
    _add_common(fetch, _fetch)
    requests = commands.add_parser("requests", help="who was asked for what, and the answers")
    _add_common(requests, _requests)
    proof = commands.add_parser("proof", help="that one leaf stands under a cosigned head")
    _add_tree(proof)
    proof.add_argument("--seq", type=int, required=True, metavar="N", help="index of the leaf")
    _add_common(proof, _proof)


def _add_tree(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, metavar="ID")
    parser.add_argument("--device", required=True, metavar="ID")
    parser.add_argument("--epoch", type=int, metavar="N", help="the latest without")


def _add_common(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, required=True, metavar="COLLECTOR.yaml",
        help="the collector's file",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=run)


def _fetch(args: argparse.Namespace) -> int:
    """0: they are all here; 1: they are not, and why."""
    from joulemark_agent.contract.raw import RawRequest, instant_us, signed_request  # noqa: PLC0415
    from joulemark_gateway.evidence.ranges import batches_between, missing_in  # noqa: PLC0415
    from joulemark_gateway.ingest.requests import Asked, Requests  # noqa: PLC0415
    from joulemark_gateway.keys import witness_key  # noqa: PLC0415

    settings, from_us, to_us = _settings(args), instant_us(args.from_), instant_us(args.to_)
    with _store(settings) as store:
        head = _head(store, args)
        batches = batches_between(store, head.origin, from_us, to_us)
        missing = missing_in(store, head.origin, batches)
        found: dict[str, Any] = {"origin": head.origin, "batches": len(batches), "answers": []}
        if missing:
            request = RawRequest(
                id=secrets.token_hex(16),
                origin=head.origin,
                first_seq=batches[0].first_seq,
                last_seq=batches[-1].size - 1,
                from_us=from_us,
                to_us=to_us,
                asked_us=time.time_ns() // 1000,
                by=settings.name,
            )
            requests = Requests(settings.state_dir)
            payload = signed_request(request, witness_key(settings.state_dir).private)
            requests.put(Asked(head.grant["agent"], head.grant["dev"], payload))
            found["request"] = request.id
            until_s = time.monotonic() + args.wait
            while missing and time.monotonic() < until_s:
                time.sleep(_LOOK_S)
                missing = missing_in(store, head.origin, batches)
                asked = requests.get(request.id)
                found["answers"] = [] if asked is None else asked.answers
                if found["answers"] and found["answers"][-1]["answer"] == "denied":
                    break
        found["missing"] = missing
    print(json.dumps(found) if args.json else _told(found))
    return 1 if missing else 0


def _told(found: dict[str, Any]) -> str:
    if not found["batches"]:
        return f"{found['origin']} has no batch of this time."
    if not found["missing"]:
        return f"{found['origin']}: every raw record of {found['batches']} batches is here."
    said = {
        "denied": "The factory refuses: it is in the evidence as a leaf of the tree.",
        "waiting": "A person at the factory has to decide; the records come by themselves then.",
        "allowed": "The factory sends them; those that its archive no longer has do not come.",
    }
    last = found["answers"][-1]["answer"] if found["answers"] else ""
    no_answer = "There is no answer yet: it comes with the end of the gateway's interval, and the "
    no_answer += "request is repeated until then, as long as the collector runs."
    return f"{found['missing']} leaves are not here. {said.get(last, no_answer)}"


def _requests(args: argparse.Namespace) -> int:
    from joulemark_agent.contract.canonical import parse_canonical  # noqa: PLC0415
    from joulemark_gateway.ingest.requests import Requests  # noqa: PLC0415

    rows = [
        {**parse_canonical(asked.payload)["request"], "answers": asked.answers}
        for asked in Requests(_settings(args).state_dir).all()
    ]
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        answers = ", ".join(answer["answer"] for answer in row["answers"]) or "no answer yet"
        print(f"{row['id']}  {row['origin']}  leaves {row['first_seq']} to {row['last_seq']}")
        print(f"  {answers}")
    if not rows:
        print("Nobody was asked.")
    return 0


def _proof(args: argparse.Namespace) -> int:
    from joulemark_gateway.api.records import proof_of  # noqa: PLC0415
    from joulemark_gateway.keys import witness_key  # noqa: PLC0415

    settings = _settings(args)
    with _store(settings) as store:
        head = _head(store, args)
        if not 0 <= args.seq < head.size:
            raise ConfigError(
                f"{head.origin} has no leaf {args.seq}.", f"Name one of 0 to {head.size - 1}."
            )
        witness = settings.name, witness_key(settings.state_dir).public
        print(json.dumps(proof_of(store, head, args.seq, witness), indent=2))
    return 0


def _settings(args: argparse.Namespace) -> CollectorSettings:
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415

    return load_collector(args.config)


def _store(settings: CollectorSettings) -> EvidenceTables:
    return settings.evidence.reader()


def _head(store: EvidenceTables, args: argparse.Namespace) -> Head:
    from joulemark_agent.contract.topics import origin  # noqa: PLC0415

    if args.epoch is None:
        head = store.latest(args.site, args.device)
    else:
        head = store.head(origin(args.site, args.device, args.epoch))
    if head is None:
        raise ConfigError(
            f"There is no evidence of the device {args.device!r} at the site {args.site!r}.",
            "Run 'joulemark collector status': it lists what is held.",
        )
    return head
