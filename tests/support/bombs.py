"""Every bomb before everything that takes files or messages of its kind.

`python -m support.bombs ours FILE...` takes what `prepare` wrote, in a process of its own: JSON of
the most memory it ever had, of the longest computing, and of what was not refused in our own words.
`python -m support.bombs naive FILE...` is the control: what anybody would use.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.document import parse_yaml
from joulemark_agent.contract.errors import JoulemarkError
from joulemark_agent.contract.leaf import parse_leaf
from joulemark_agent.contract.raw import parse_raw_file, parse_request
from joulemark_agent.contract.sparse import parse_sparse
from joulemark_agent.kernels.answers import members, parse_json
from joulemark_gateway.evidence.bundle import MAX_LEAVES_BYTES, Bundle
from joulemark_gateway.evidence.container import read_container
from joulemark_gateway.evidence.statement import open_statement
from joulemark_gateway.verify.policy import parse_policy
from support.fuzz.harness import peak_mb  # getrusage tells that of the process that forked us
from support.injections import Payload, payloads

MOST_BODY = 65_536  # bytes of a controller's answer: more is refused before any of it is read
_PIECE = 1 << 16
_PACKED = {"zlib": zlib.MAX_WBITS, "gzip": 16 + zlib.MAX_WBITS}
Take = Callable[[bytes], Any]


def _leaves(data: bytes) -> Any:
    return Bundle({"evidence/a/1/leaves.jsonl.gz": data}).tree("a", 1, MAX_LEAVES_BYTES)


def _answered(data: bytes) -> Any:
    return parse_json(data), members(data)


TAKES: Mapping[str, Mapping[str, Take]] = {  # by the form in which a bomb comes
    "yaml": {"file": lambda data: parse_yaml(data.decode(errors="replace"), "f.yaml")},
    "json": {
        "leaf": parse_leaf,
        "statement": open_statement,
        "policy": parse_policy,
        "request": lambda data: parse_request(data, bytes(32)),
        "controller": lambda data: _answered(data[:MOST_BODY]),
        "container": lambda data: read_container(b"PK\x03\x04" + data),
    },
    "zlib": {"batch": parse_batch, "sparse batch": parse_sparse},
    "gzip": {"leaves": _leaves, "records": parse_raw_file},
}
REFUSALS = (JoulemarkError, ValueError)  # ValueError: of a controller, whose driver tells it


def prepare(folder: Path) -> dict[str, list[str]]:
    """Write every bomb once in each of its forms; the names of the files by class."""
    made: dict[str, list[str]] = {}
    for kind, forms in (
        ("yaml_bomb", ("yaml",)),
        ("json_bomb", ("json", "zlib")),
        ("zip_bomb", ("zlib", "gzip")),
    ):
        made[kind] = []
        for number, bomb in enumerate(payloads(kind)):
            for form in forms:
                name = f"{form}.{kind}.{number}"
                (folder / name).write_bytes(_formed(bomb, form))
                made[kind].append(name)
    return made


def _formed(bomb: Payload, form: str) -> bytes:
    if form in _PACKED:
        return _packed(bomb, _PACKED[form])
    return bomb.text.encode(errors="surrogatepass")


def _packed(bomb: Payload, form: int) -> bytes:
    """Compressed, without being whole anywhere."""
    stream = zlib.compressobj(9, zlib.DEFLATED, form)
    found = []
    for part, times in bomb.parts:
        piece = part.encode(errors="surrogatepass")
        at_once = max(1, _PIECE // max(1, len(piece)))
        found += [stream.compress(piece * at_once) for _ in range(times // at_once)]
        found.append(stream.compress(piece * (times % at_once)))
    return b"".join([*found, stream.flush()])


def _naive(form: str) -> Mapping[str, Take]:
    """What a quick program does with the same files."""
    import yaml  # noqa: PLC0415 - ours is imported, and measured, without

    take: Mapping[str, Take] = {
        "yaml": lambda data: json.dumps(yaml.safe_load(data.decode(errors="replace"))),
        "json": json.loads,
        "zlib": lambda data: json.loads(zlib.decompress(data)),
        "gzip": lambda data: zlib.decompress(data, _PACKED["gzip"]).split(b"\n"),
    }
    return {"naive": take[form]}


def main(kind: str, *paths: str) -> None:
    """Take them all."""
    slowest_s, worst, tried, unforeseen = 0.0, "", 0, []
    base_mb = peak_mb()
    for path in map(Path, paths):
        form, data = path.name.partition(".")[0], path.read_bytes()
        for name, take in (TAKES[form] if kind == "ours" else _naive(form)).items():
            tried += 1
            begun_s = time.thread_time()
            try:
                take(data)
            except REFUSALS:
                pass
            except BaseException as error:  # noqa: BLE001 - a panic of a library is no Exception
                unforeseen.append(f"{name}, {path.name}: {type(error).__name__}: {error!s:.100}")
            if (took_s := time.thread_time() - begun_s) > slowest_s:
                slowest_s, worst = took_s, f"{name}, {path.name}"
    told = {"base_mb": base_mb, "peak_mb": peak_mb(), "slowest_s": slowest_s, "worst": worst}
    sys.stdout.write(json.dumps({**told, "tried": tried, "unforeseen": unforeseen}))


if __name__ == "__main__":
    main(*sys.argv[1:])
