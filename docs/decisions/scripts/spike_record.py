"""Figures for decision 0003: what a record costs as canonical JSON and as deterministic CBOR.

Run with JOULEMARK_DATA naming the data folder; needs rfc8785, cbor2 and zstandard. Every time is
CPU time of one process. Records are main-meter readings of a year at a steel works, looped with
counters that go on; read delays and clock error are drawn from a fixed seed: the file has none.
"""

import csv
import gzip
import hashlib
import json
import os
import random
import sqlite3
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from itertools import islice
from pathlib import Path
from typing import Any

import cbor2
import rfc8785
import zstandard

RECORDS_PER_BATCH = 96
SAFE_INTEGER = 2**53 - 1
SLOT_US = 900_000_000
START_US = 1_514_732_400_000_000  # 2018-01-01 00:00 in Korea, UTC microseconds
BOOT_US = START_US - 3_600_000_000
MAIN_METER = struct.Struct(">QfhQQ")  # 15 registers

Record = dict[str, Any]


# --- decimal text of a value: integer arithmetic only, so no decimal context can round it ---


@dataclass(frozen=True, slots=True)
class Scale:
    """An exact decimal factor: numerator / 10**places."""

    numerator: int
    places: int

    @classmethod
    def parse(cls, text: str) -> "Scale":
        """The factor a profile writes as decimal text."""
        sign, digits, exponent = Decimal(text).as_tuple()
        assert isinstance(exponent, int)
        n = int("".join(map(str, digits))) * (-1 if sign else 1)
        return cls(n, -exponent) if exponent <= 0 else cls(n * 10**exponent, 0)


def plain(n: int, places: int) -> str:
    """Plain text of n / 10**places: no exponent, no trailing zeros, zero is '0'."""
    if places == 0:
        return str(n)
    text = str(n)
    if n < 0:
        return "-" + plain(-n, places) if n else "0"
    if len(text) <= places:
        text = text.zfill(places + 1)
    tail = text[-places:].rstrip("0")
    return f"{text[:-places]}.{tail}" if tail else text[:-places]


def integer_text(raw: int, scale: Scale) -> str:
    """The exact product of an integer register and its scale."""
    return plain(raw * scale.numerator, scale.places)


_PACK_FLOAT32 = struct.Struct(">f").pack
_SMALLEST_NORMAL = 2.0**-126


def shortest_float32(value: float) -> str:
    """The nearest decimal of n digits, for the smallest n (1 to 9) that reads back the same.

    A decimal of at most 6 digits survives float32 (FLT_DIG), so for a normal number '%.6g' already
    gives every shorter answer; 9 digits always read back. Subnormals hold fewer: from 1 digit.
    """
    word = _PACK_FLOAT32(value)
    if abs(value) >= _SMALLEST_NORMAL or value == 0.0:
        forms: tuple[str, ...] = ("%.6g", "%.7g", "%.8g")
    else:
        forms = ("%.1g", "%.2g", "%.3g", "%.4g", "%.5g", "%.6g", "%.7g", "%.8g")
    for form in forms:
        text = form % value
        if _PACK_FLOAT32(float(text)) == word:
            return text
    return "%.9g" % value  # noqa: UP031 - one way of formatting in one function


def float32_text(value: float, scale: Scale) -> str:
    """The shortest float32 decimal times the scale, exact; never given NaN or Inf."""
    digits, _, exponent = shortest_float32(value).partition("e")
    whole, _, fraction = digits.partition(".")
    places = scale.places + len(fraction) - (int(exponent) if exponent else 0)
    n = int(whole + fraction) * scale.numerator
    return plain(n, places) if places >= 0 else str(n * 10**-places)


UNIT, KILO, TEN_THOUSANDTH = Scale.parse("1"), Scale.parse("1000"), Scale.parse("0.0001")


def main_meter_values(words: bytes, prefix: str, into: dict[str, str]) -> None:
    """Decode each 30-byte block of words into five named decimal strings."""
    single = len(words) == MAIN_METER.size
    for i, (wh, kw, pf, lag, lead) in enumerate(MAIN_METER.iter_unpack(words)):
        head = "" if single and not prefix else f"{prefix}{i}_"
        into[head + "energy_wh"] = integer_text(wh, UNIT)
        into[head + "power_w"] = float32_text(kw, KILO)
        into[head + "power_factor"] = integer_text(pf, TEN_THOUSANDTH)
        into[head + "reactive_lag_varh"] = integer_text(lag, UNIT)
        into[head + "reactive_lead_varh"] = integer_text(lead, UNIT)


def decode(responses: list[bytes]) -> dict[str, str]:
    """What `val` must say for these raw responses."""
    values: dict[str, str] = {}
    if len(responses) == 1 and len(responses[0]) == 8:
        return {"energy_wh": integer_text(int.from_bytes(responses[0], "big"), UNIT)}
    for r, words in enumerate(responses):
        main_meter_values(words, "" if len(responses) == 1 else f"f{r}", values)
    return values


# --- records ---


def meter_blocks(folder: Path) -> Callable[[int], bytes]:
    """The 15 registers at any step; the year repeats and its counters go on."""
    rows: list[tuple[int, float, int, int, int]] = []
    with gzip.open(
        folder / "steel_gwangyang_2018/Steel_industry_data.csv.gz", "rt", encoding="utf-8-sig"
    ) as f:
        for row in csv.DictReader(f):
            wh = round(float(row["Usage_kWh"]) * 1000)
            lag = round(float(row["Lagging_Current_Reactive_Power_kVarh"]) * 1000)
            lead = round(float(row["Leading_Current_Reactive_Power_kVarh"]) * 1000)
            side = "Leading" if lead > lag else "Lagging"
            pf = round(float(row[f"{side}_Current_Power_Factor"]) * 100) * (-1 if lead > lag else 1)
            if wh:  # the one all-zero row is a missing reading, not a zero load
                rows.append((wh, wh * 4 / 1000, pf, lag, lead))
    sums = [(0, 0, 0)]
    for wh, _, _, lag, lead in rows:
        e, g, d = sums[-1]
        sums.append((e + wh, g + lag, d + lead))
    year = sums[-1]

    def block(step: int) -> bytes:
        loops, i = divmod(step, len(rows))
        _, kw, pf, _, _ = rows[i]
        e, g, d = (total * loops + done for total, done in zip(year, sums[i + 1], strict=True))
        return MAIN_METER.pack(480_000_000 + e, kw, pf, 170_000_000 + g, 60_000_000 + d)

    return block


def records(block: Callable[[int], bytes], points: int) -> Iterator[Record]:
    """Records of 1, 5 or 50 points, for ever; 50 points are ten feeders, each ten days apart."""
    rng, step = random.Random(3), 0
    while True:
        if points == 1:
            responses = [block(step)[:8]]
        elif points == 5:
            responses = [block(step)]
        else:
            feeders = [block(step + 977 * k) for k in range(10)]
            responses = [b"".join(feeders[:5]), b"".join(feeders[5:])]  # 75 registers each
        slot_us = START_US + step * SLOT_US
        t_utc_us = slot_us + int(rng.lognormvariate(9.8, 0.5))  # 18 ms read delay in the middle
        t_mono_ns = (t_utc_us - BOOT_US) * 1000 + step * 4_000 + rng.randrange(1_000)
        yield {
            "v": 1,
            "dev": "main-meter-01",
            "epoch": 1,
            "seq": str(step),
            "slot": str(slot_us),
            "raw": [["holding", 100 + 75 * r, words.hex()] for r, words in enumerate(responses)],
            "val": decode(responses),
            "q": {},
            "t_utc_us": str(t_utc_us),
            "t_mono_ns": str(t_mono_ns),
            "boot": 7,
            "tq": {"sync": "ntp", "err_us": str(1_000 + (step // 40) % 900)},
        }
        step += 1


# --- encodings ---


class NotCanonicalError(Exception):
    """Stored bytes are not the canonical form of any record: damage or fraud."""


def _refuse(token: str) -> Any:
    raise NotCanonicalError(f"number {token[:40]!r} is not allowed in a record")


def _safe_integer(token: str) -> int:
    if len(token) > 17 or abs(n := int(token)) > SAFE_INTEGER:
        raise NotCanonicalError(f"integer {token[:40]} is above 2^53 - 1")
    return n


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotCanonicalError("a key stands twice")
    return found


# Built once: json.loads and json.dumps with arguments would build one for every record.
_DECODE = json.JSONDecoder(
    parse_float=_refuse, parse_constant=_refuse, parse_int=_safe_integer
).decode
_DECODE_SLOW = json.JSONDecoder(
    parse_float=_refuse,
    parse_constant=_refuse,
    parse_int=_safe_integer,
    object_pairs_hook=_no_duplicates,
).decode
_ENCODE = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False, allow_nan=False
).encode


def json_write(record: Record) -> bytes:
    """Canonical JSON by rfc8785."""
    return rfc8785.dumps(record)


def json_write_stdlib(record: Record) -> bytes:
    """The same bytes at C speed; only for records with ASCII keys and small numbers."""
    return _ENCODE(record).encode()


def json_read_reference(stored: bytes) -> Record:
    """Parse, refuse what is not canonical, by rfc8785 and the duplicate-key hook."""
    try:
        record = _DECODE_SLOW(stored.decode())
        same = rfc8785.dumps(record) == stored
    except (ValueError, RecursionError) as e:
        raise NotCanonicalError(str(e)) from e
    if not same:
        raise NotCanonicalError("canonical form differs")
    return record  # type: ignore[no-any-return]  # the caller checks the fields


def json_read(stored: bytes) -> Record:
    """Parse, refuse what is not canonical, at C speed.

    For ASCII bytes the stdlib round trip decides alone. Equal text means: sorted keys, no spaces,
    the one escape of each character, no key twice (the second would be missing from the round
    trip) and ASCII keys, for which code point order is the UTF-16 order of RFC 8785. The hooks
    refuse the numbers for which the stdlib and RFC 8785 differ. Other bytes take the slow way.
    """
    if not stored.isascii():
        return json_read_reference(stored)
    text = stored.decode("ascii")
    try:
        record = _DECODE(text)
        same = _ENCODE(record) == text
    except (ValueError, RecursionError) as e:
        raise NotCanonicalError(str(e)) from e
    if not same:
        raise NotCanonicalError("canonical form differs")
    return record  # type: ignore[no-any-return]  # the caller checks the fields


def json_write_checked(record: Record) -> bytes:
    """Write at C speed, then read back: proves the form; no float or large integer gets in."""
    stored = _ENCODE(record).encode()
    json_read(stored)
    return stored


def json_read_hook(stored: bytes) -> Record:
    """As `json_read`, and also with the duplicate-key hook, to see what the hook costs."""
    text = stored.decode()
    record = _DECODE_SLOW(text)
    if _ENCODE(record) != text:
        raise NotCanonicalError("canonical form differs")
    return record  # type: ignore[no-any-return]  # the caller checks the fields


FIELDS = (
    "v",
    "dev",
    "epoch",
    "seq",
    "slot",
    "raw",
    "val",
    "q",
    "t_utc_us",
    "t_mono_ns",
    "boot",
    "tq",
)
U64_FIELDS = frozenset({"seq", "slot", "t_utc_us", "t_mono_ns"})


def cbor_array(record: Record, decimals: Callable[[str], Any]) -> list[Any]:
    """The same fields by position: raw as byte strings, u64 as integers."""
    out = [int(record[f]) if f in U64_FIELDS else record[f] for f in FIELDS]
    out[5] = [[t, a, bytes.fromhex(h)] for t, a, h in record["raw"]]
    out[6] = {name: decimals(text) for name, text in record["val"].items()}
    return out


def cbor_write(array: list[Any]) -> bytes:
    """Deterministic CBOR (RFC 8949 section 4.2.1)."""
    return cbor2.dumps(array, canonical=True)


def cbor_read(stored: bytes) -> list[Any]:
    """Parse and refuse what does not come out the same."""
    array = cbor2.loads(stored)
    if cbor2.dumps(array, canonical=True) != stored:
        raise NotCanonicalError("canonical form differs")
    return array  # type: ignore[no-any-return]  # the caller checks the fields


# --- tree and verification ---


def root(leaves: list[bytes]) -> bytes:
    """RFC 6962 tree hash; an odd node moves up alone, as the split at a power of two wants."""
    sha, level = hashlib.sha256, leaves
    while len(level) > 1:
        pairs = [
            sha(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)
        ]
        level = pairs + level[-1:] if len(level) % 2 else pairs
    return level[0] if level else sha(b"").digest()


def verify_json(stored: list[bytes], read: Callable[[bytes], Record]) -> bytes:
    """Root of the records, each parsed, canonical, hashed and decoded again from its raw words."""
    leaves, sha = [], hashlib.sha256
    for one in stored:
        record = read(one)
        leaves.append(sha(b"\x00" + one).digest())
        if decode([bytes.fromhex(h) for _, _, h in record["raw"]]) != record["val"]:
            raise NotCanonicalError("val is not what raw decodes to")
    return root(leaves)


def verify_cbor(stored: list[bytes], decimals: Callable[[Any], str]) -> bytes:
    """As `verify_json`, for CBOR arrays."""
    leaves, sha = [], hashlib.sha256
    for one in stored:
        array = cbor_read(one)
        leaves.append(sha(b"\x00" + one).digest())
        if decode([words for _, _, words in array[5]]) != {
            n: decimals(v) for n, v in array[6].items()
        }:
            raise NotCanonicalError("val is not what raw decodes to")
    return root(leaves)


# --- sizes ---


def batches(stored: list[bytes], joint: bytes) -> list[bytes]:
    """Leaves of each batch in one piece; canonical JSON holds no newline, CBOR delimits itself."""
    return [
        joint.join(stored[i : i + RECORDS_PER_BATCH])
        for i in range(0, len(stored), RECORDS_PER_BATCH)
    ]


def sqlite_bytes(rows: Iterator[tuple[int, bytes]], *, rowid: bool) -> int:
    """Size of a database file holding one row per item, in key order."""
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(Path(folder, "size.db"))
        tail = "" if rowid else " WITHOUT ROWID"
        db.execute(
            "CREATE TABLE t (dev INTEGER, epoch INTEGER, seq INTEGER, body BLOB,"
            " PRIMARY KEY (dev, epoch, seq))" + tail
        )
        db.executemany("INSERT INTO t VALUES (1, 1, ?, ?)", rows)
        db.commit()
        (pages,), (size,) = (
            db.execute("PRAGMA page_count").fetchone(),
            db.execute("PRAGMA page_size").fetchone(),
        )
        db.close()
    return int(pages) * int(size)


@dataclass
class Timed:
    """CPU seconds and output of one way of encoding."""

    seconds: float = 0.0
    stored: list[bytes] = field(default_factory=list)

    def run(self, write: Callable[[Any], bytes], items: list[Any]) -> None:
        """Encode items, add the time, keep the bytes."""
        start = time.process_time()
        out = [write(item) for item in items]
        self.seconds += time.process_time() - start
        self.stored += out


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of work, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def show_where_bytes_go(stored: list[bytes]) -> None:
    """Print what each field adds to a zlib batch, and what longer blocks would save."""
    some = [json.loads(one) for one in stored[: 50 * RECORDS_PER_BATCH]]

    def squeezed(objects: list[Record]) -> float:
        whole = batches([_ENCODE(o).encode() for o in objects], b"\n")
        return sum(len(zlib.compress(b, 6)) for b in whole) / len(objects)

    full = squeezed(some)
    costs = {
        name: full - squeezed([{k: v for k, v in o.items() if k != name} for o in some])
        for name in FIELDS
    }
    ranked = sorted(costs.items(), key=lambda kv: -kv[1])[:6]
    print(
        f"  zlib bytes per record {full:.1f}, of it:",
        ", ".join(f"{name} {cost:.1f}" for name, cost in ranked),
    )
    blocks = {n: b"\n".join(stored[: n * RECORDS_PER_BATCH]) for n in (1, 10, 100)}
    print("  longer blocks, bytes per record:", end="")
    for n, body in blocks.items():
        count = min(len(stored), n * RECORDS_PER_BATCH)
        hard = len(zstandard.ZstdCompressor(level=19).compress(body)) / count
        print(
            f" {count:,} records zlib-6 {len(zlib.compress(body, 6)) / count:.1f},"
            f" zstd-19 {hard:.1f};",
            end="",
        )
    print()


WAYS = ("json rfc8785", "json stdlib", "json checked", "cbor text", "cbor fraction")


def measure(block: Callable[[int], bytes], points: int, count: int) -> None:
    """Print the rows of one record shape."""
    ways: dict[str, Timed] = {w: Timed() for w in WAYS}
    source, left = records(block, points), count
    while left:
        chunk = list(islice(source, min(left, 2_000)))
        left -= len(chunk)
        ways["json rfc8785"].run(json_write, chunk)
        ways["json stdlib"].run(json_write_stdlib, chunk)
        ways["json checked"].run(json_write_checked, chunk)
        ways["cbor text"].run(cbor_write, [cbor_array(r, str) for r in chunk])
        ways["cbor fraction"].run(cbor_write, [cbor_array(r, Decimal) for r in chunk])
    assert ways["json rfc8785"].stored == ways["json stdlib"].stored
    values = count * points
    print(f"\n{points} point(s) per record: {count:,} records, {values:,} values")
    print("  encode (CPU)       us/record  ns/value")
    for name, way in ways.items():
        print(f"    {name:15} {way.seconds / count * 1e6:10.1f} {way.seconds / values * 1e9:9.0f}")

    print(
        "  bytes per value    plain   zlib-6  zstd-3  zlib us/rec"
        " | row/leaf  row/batch  row/batch+rowid"
    )
    squeeze = zstandard.ZstdCompressor(level=3)
    for name, joint in (("json rfc8785", b"\n"), ("cbor text", b""), ("cbor fraction", b"")):
        stored = ways[name].stored
        whole = batches(stored, joint)
        seconds, blobs = cpu(lambda w=whole: [zlib.compress(b, 6) for b in w])  # type: ignore[misc]  # default binds
        small = sum(len(squeeze.compress(b)) for b in whole)
        leaf = sqlite_bytes(iter(enumerate(stored)), rowid=False)
        keyed = [(i * RECORDS_PER_BATCH, blob) for i, blob in enumerate(blobs)]
        batch, batch_rowid = (sqlite_bytes(iter(keyed), rowid=r) for r in (False, True))
        print(
            f"    {name:15} {sum(map(len, stored)) / values:7.2f}"
            f" {sum(map(len, blobs)) / values:8.2f}"
            f" {small / values:7.2f} {seconds / count * 1e6:10.2f}  |"
            f" {leaf / values:8.2f} {batch / values:10.2f}"
            f" {batch_rowid / values:16.2f}"
        )

    show_where_bytes_go(ways["json rfc8785"].stored)
    print("  verify (CPU)            s per 10^6 values   us/record")
    stored = ways["json rfc8785"].stored
    checks: list[tuple[str, Callable[[], bytes]]] = [
        ("json, rfc8785", lambda: verify_json(stored, json_read_reference)),
        ("json, stdlib + hook", lambda: verify_json(stored, json_read_hook)),
        ("json, stdlib", lambda: verify_json(stored, json_read)),
        ("cbor text", lambda: verify_cbor(ways["cbor text"].stored, str)),
        ("cbor fraction", lambda: verify_cbor(ways["cbor fraction"].stored, lambda d: f"{d:f}")),
    ]
    for name, check in checks:
        seconds, _ = cpu(check)
        print(f"    {name:20} {seconds / values * 1e6:14.2f} {seconds / count * 1e6:15.2f}")
    raws = [[bytes.fromhex(h) for _, _, h in json.loads(s)["raw"]] for s in stored[:20_000]]
    seconds, _ = cpu(lambda: [decode(r) for r in raws])
    leaf_s, leaves = cpu(lambda: [hashlib.sha256(b"\x00" + s).digest() for s in stored])
    root_s, _ = cpu(lambda: root(leaves))
    print(f"    of it: decode {seconds / len(raws) / points * 1e6:.2f} us/value;", end=" ")
    print(f"leaf hash {leaf_s / count * 1e6:.2f}, root {root_s / count * 1e6:.2f} us/record")


# --- agreement tests ---


def random_object(rng: random.Random, depth: int = 0) -> Any:
    """A random member of the record model: str, small int, bool, list, dict with ASCII keys."""
    letters = ["a", "Z", "0", "_", '"', "\\", "/", "\x7f", *map(chr, range(0x20))]
    others = ["\x80", "é", "가", "\u2028", "\ue000", "\uffff", "\U0001f600", "\U0010ffff"]
    kind = rng.randrange(3) if depth > 3 else rng.randrange(6)
    if kind == 0:
        alphabet = letters if rng.random() < 0.5 else letters + others
        return "".join(rng.choices(alphabet, k=rng.randrange(9)))
    if kind == 1:
        return rng.choice([0, 1, -1, SAFE_INTEGER, -SAFE_INTEGER, rng.randrange(-(10**6), 10**6)])
    if kind == 2:
        return rng.random() < 0.5
    if kind == 3:
        return [random_object(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {
        "".join(rng.choices(letters, k=rng.randrange(6))): random_object(rng, depth + 1)
        for _ in range(rng.randrange(6))
    }


REFUSED = (
    b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b'{"b":1,"a":1}', b'{"a": 1}', b'{"a":1}\n',
    b'{"a":1.0}', b'{"a":1.5}',
    b'{"a":1e2}', b'{"a":-0}', b'{"a":01}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}',
    b'{"a":9007199254740992}', b'{"a":' + b"9" * 5000 + b"}", b'{"a":"\\u0041"}',
    b'{"a":"\\/"}', b'{"a":"\\u001F"}',
    b'{"a":"\\u000a"}', b'{"a":"\\u007f"}', b'{"a":"\\ud800"}',
    b'{"a":"\\ud83d\\ude00"}', b'{"\\u00e9":1}',
    b'\xef\xbb\xbf{"a":1}', '{"a":1}'.encode("utf-16"), b'{"a":"\xff"}',
    b'{"a":"\xed\xa0\x80"}', b'{"a":"\n"}',
    b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":1}{}', b"",
    '{"\ue000":1,"\U0001f600":2}'.encode(),  # code point order; RFC 8785 sorts by UTF-16 units
)  # fmt: skip


def verdict(read: Callable[[bytes], Any], stored: bytes) -> Any:
    """What a reader makes of stored bytes: the object, or refused."""
    try:
        return read(stored)
    except NotCanonicalError:
        return NotCanonicalError


def show_agreement(block: Callable[[int], bytes]) -> None:
    """Try to make the fast check and the reference disagree."""
    rng, objects, damaged, refused = random.Random(8785), 50_000, 50_000, 0
    for _ in range(objects):
        one = random_object(rng)
        stored = rfc8785.dumps(one)
        assert json_write_stdlib(one) == stored
        assert verdict(json_read, stored) == verdict(json_read_reference, stored) == one
        loose = json.dumps(one, ensure_ascii=rng.random() < 0.5).encode()
        assert verdict(json_read, loose) == verdict(json_read_reference, loose)
    for stored in REFUSED:
        assert (
            verdict(json_read, stored) is verdict(json_read_reference, stored) is NotCanonicalError
        ), stored[:40]
    samples = [json_write(r) for r in islice(records(block, 5), 50)]
    for _ in range(damaged):
        body = bytearray(rng.choice(samples))
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        found = verdict(json_read, bytes(body))
        assert found == verdict(json_read_reference, bytes(body))
        refused += found is NotCanonicalError
    print(
        f"stdlib check = rfc8785 check on {objects:,} random objects (canonical"
        f" and loose), {len(REFUSED)} hostile"
    )
    print(
        f"  texts (all refused) and {damaged:,} flipped bits ({refused:,} refused by form,"
        " the rest by the hash)"
    )


def exact(number: Decimal) -> str:
    """Plain normalised text the slow way; the context must hold every digit."""
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def float32_of(word: int) -> float:
    """The float32 with these 32 bits."""
    (value,) = struct.unpack(">f", word.to_bytes(4, "big"))
    return float(value)


def show_decimals() -> None:
    """Compare the fast decimal text with exact Decimal arithmetic, and time it."""
    rng, integers = random.Random(32), 100_000
    scales = ("1", "10", "0.1", "0.0001", "0.05", "1000", "2.5", "0.000000123456789", "-1", "1E+3")
    with localcontext() as context:
        context.prec = 400
        for _ in range(integers):
            raw = rng.choice(
                [
                    0,
                    1,
                    -1,
                    2**64 - 1,
                    -(2**63),
                    rng.randrange(-(2**63), 2**64),
                    rng.randrange(-999, 999),
                ]
            )
            scale = rng.choice(scales)
            assert integer_text(raw, Scale.parse(scale)) == exact(Decimal(raw) * Decimal(scale)), (
                raw,
                scale,
            )
        words = [*range(5_000), *range(0x7F7FF000, 0x7F800000), *(e << 23 for e in range(255))]
        words += [
            word for _ in range(200_000) if (word := rng.getrandbits(32)) & 0x7F800000 != 0x7F800000
        ]
        for word in words:
            value, scale = float32_of(word), rng.choice(scales)
            short = shortest_float32(value)
            assert _PACK_FLOAT32(float(short)) == word.to_bytes(4, "big")
            assert float32_text(value, Scale.parse(scale)) == exact(Decimal(short) * Decimal(scale))
    # Three powers of two where an 8-digit decimal reads back, but is not the nearest of 8 digits.
    assert [shortest_float32(2.0**e) for e in (-96, 87, 90)] == [
        "1.26217745e-29",
        "1.54742505e+26",
        "1.23794004e+27",
    ]
    print(
        f"decimal text = exact Decimal on {integers:,} integers and {len(words):,}"
        " float32 words; us per value:"
    )
    two = [
        float32_of(int.from_bytes(_PACK_FLOAT32(rng.randrange(60_000) / 100), "big"))
        for _ in range(50_000)
    ]
    full = [
        float32_of(int.from_bytes(_PACK_FLOAT32(rng.uniform(0, 600)), "big")) for _ in range(50_000)
    ]
    counts, factors = [rng.randrange(2**40) for _ in two], [rng.randrange(10_000) for _ in two]
    timings: list[tuple[str, Callable[[], Any]]] = [
        ("float32 with two decimals", lambda: [float32_text(v, KILO) for v in two]),
        ("float32, all bits in use", lambda: [float32_text(v, KILO) for v in full]),
        ("integer, scale 1", lambda: [integer_text(v, UNIT) for v in counts]),
        ("integer, scale 0.0001", lambda: [integer_text(v, TEN_THOUSANDTH) for v in factors]),
    ]
    print("  " + "; ".join(f"{name} {cpu(work)[0] / len(two) * 1e6:.2f}" for name, work in timings))


def main() -> None:
    """Print every figure of the decision."""
    if not (folder := os.environ.get("JOULEMARK_DATA")):
        raise SystemExit(
            "JOULEMARK_DATA is not set. Set it to the folder that holds steel_gwangyang_2018."
        )
    block = meter_blocks(Path(folder))
    show_decimals()
    show_agreement(block)
    for points, count in ((5, 200_000), (1, 100_000), (50, 20_000)):
        measure(block, points, count)


if __name__ == "__main__":
    main()
