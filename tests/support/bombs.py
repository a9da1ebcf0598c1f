"""Every bomb before everything that takes files or messages of its kind.

`python -m support.bombs FOLDER` takes what `prepare` put there, in a process of its own: JSON of
the most memory it ever had, of the longest computing, and of what was not refused in our own words.
`python -m support.bombs FOLDER naive` is the control: what anybody would use.
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
_GZIP, _ZLIB = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS
Take = Callable[[bytes], Any]


def _leaves(data: bytes) -> Any:
    return Bundle({"evidence/a/1/leaves.jsonl.gz": data}).tree("a", 1, MAX_LEAVES_BYTES)


def _answered(data: bytes) -> Any:
    return parse_json(data), members(data)


TAKES: Mapping[str, Take] = {
    "yaml": lambda data: parse_yaml(data.decode(errors="replace"), "f.yaml"),
    "batch": parse_batch,
    "sparse": parse_sparse,
    "leaf": parse_leaf,
    "statement": open_statement,
    "policy": parse_policy,
    "request": lambda data: parse_request(data, bytes(32)),
    "controller": _answered,
    "leaves": _leaves,
    "records": parse_raw_file,
    "container": lambda data: read_container(b"PK\x03\x04" + data),
}
PLAIN = ("leaf", "statement", "policy", "request", "container")  # of JSON as it is
REFUSALS = (JoulemarkError, ValueError)  # ValueError: of a controller, whose driver tells it


def prepare(folder: Path) -> int:
    """Write every bomb as each of them would get it; how many there are."""
    made: list[tuple[str, bytes]] = []
    for bomb in payloads("yaml_bomb"):
        made += [("yaml", bomb.text.encode(errors="surrogatepass"))]
    for bomb in payloads("json_bomb"):
        data = bomb.text.encode(errors="surrogatepass")
        made += [(take, data) for take in PLAIN]
        made += [("controller", data[:MOST_BODY])]
        made += [(take, _packed(bomb, _ZLIB)) for take in ("batch", "sparse")]
    for bomb in payloads("zip_bomb"):
        made += [(take, _packed(bomb, _ZLIB)) for take in ("batch", "sparse")]
        made += [(take, _packed(bomb, _GZIP)) for take in ("leaves", "records")]
    for number, (take, data) in enumerate(made):
        (folder / f"{take}.{number}").write_bytes(data)
    return len(made)


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


def _naive(name: str, data: bytes) -> None:
    """What a quick program does with the same files."""
    import yaml  # noqa: PLC0415 - ours is imported, and measured, without

    if name == "yaml":
        json.dumps(yaml.safe_load(data.decode(errors="replace")))
    elif name in {"leaves", "records"}:
        zlib.decompress(data, _GZIP).split(b"\n")
    elif name in {"batch", "sparse"}:
        json.loads(zlib.decompress(data))
    else:
        json.loads(data)


def main(folder: str, kind: str = "ours") -> None:
    """Take them all."""
    slowest_s, worst, unforeseen = 0.0, "", []
    base_mb = peak_mb()
    for path in sorted(Path(folder).iterdir()):
        name, data = path.name.partition(".")[0], path.read_bytes()
        begun_s = time.thread_time()
        try:
            if kind == "naive":
                _naive(name, data)
            else:
                TAKES[name](data)
        except REFUSALS:
            pass
        except BaseException as error:  # noqa: BLE001 - a panic of a library is no Exception
            unforeseen.append(f"{path.name}: {type(error).__name__}: {error!s:.100}")
        if (took_s := time.thread_time() - begun_s) > slowest_s:
            slowest_s, worst = took_s, path.name
    told = {"base_mb": base_mb, "peak_mb": peak_mb(), "slowest_s": slowest_s, "worst": worst}
    sys.stdout.write(json.dumps({**told, "unforeseen": unforeseen}))


if __name__ == "__main__":
    main(*sys.argv[1:])
