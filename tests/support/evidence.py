"""A pure builder of evidence for tests: keys, documents, readings, signed and cosigned batches.

    site = documents()
    results = meter_readings(site, "main-meter", steady_day())
    batches = build_tree(site, "main-meter", results, KEYS)

Everything is derived from its arguments: no clock, no randomness, no files. A test that wants
broken evidence changes what `leaf_groups` returns and hands it to `seal`, which numbers, hashes and
signs whatever it is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np

import joulemark_profiles
from joulemark_agent.contract import signature
from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.document import document_bytes, parse_yaml
from joulemark_agent.contract.profile import Point, Profile
from joulemark_agent.contract.reading import (
    SIMULATED,
    Gap,
    Reading,
    Response,
    TimeQuality,
    gap_fields,
    grant,
    record_leaf,
    signed_grant,
)
from joulemark_agent.contract.topics import origin
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_agent.kernels.decode import decode_responses

SITE, AGENT, WITNESS = "gwangyang", "edge-1", "joulemark/collector"
METER, COUNTER = "main-meter", "production-counter"
PERIOD_US = 900 * 1_000_000
START_US = 1_514_732_400_000_000  # 2018-01-01T00:00:00+09:00
SEALED_US = 1_735_689_600_000_000  # wall time of the first batch: 2025-01-01T00:00:00Z
BATCH_WALL_US = 2_000_000  # wall time between two batches
SOFTWARE = hashlib.sha256(b"software of the tests").hexdigest()

Leaf = dict[str, Any]  # the content of one leaf; `seal` gives it its seq
Groups = list[list[Leaf]]  # the leaves of each batch, without the envelopes
Energy = Callable[[Profile, Sequence[Reading]], Mapping[str, str]]


@dataclass(frozen=True)
class Keys:
    """The private keys of everyone who signs. 32 bytes each."""

    agent: bytes
    operator: bytes
    witness: bytes
    reporter: bytes


def keys(owner: str = "true") -> Keys:
    """The keys of one owner; another owner has other keys."""
    return Keys(
        *(
            hashlib.sha256(f"{owner} {role}".encode()).digest()
            for role in ("agent", "operator", "witness", "reporter")
        )
    )


KEYS = keys()
FOREIGN = keys("foreign")


@dataclass(frozen=True)
class Documents:
    """The approved documents of a site, in canonical bytes."""

    profiles: Mapping[str, bytes]  # by device
    site: bytes
    factors: bytes
    clock: str = SIMULATED
    first_slot_us: int | None = START_US

    def of(self, device: str) -> dict[str, str]:
        """The digests the grant of this device names."""
        return {
            "profile": digest_hex(self.profiles[device]),
            "site": digest_hex(self.site),
            "factors": digest_hex(self.factors),
        }

    def by_digest(self, *devices: str) -> dict[str, bytes]:
        """The documents of these devices, or of all, by digest."""
        wanted = [self.profiles[device] for device in devices or sorted(self.profiles)]
        return {digest_hex(data): data for data in (*wanted, self.site, self.factors)}

    def profile(self, device: str) -> Profile:
        """The profile of a device as the verifier reads it."""
        return Profile.model_validate(parse_canonical(self.profiles[device]))

    def period_us(self, device: str) -> int:
        """The reading period of a device."""
        rows = parse_canonical(self.site)["devices"]
        return next(int(row["period_s"]) * 1_000_000 for row in rows if row["id"] == device)


def profile_mapping(name: str) -> dict[str, Any]:
    """The mapping of a shipped device profile."""
    return deepcopy(_shipped("devices", name))


def factor_mapping(name: str) -> dict[str, Any]:
    """The mapping of a shipped factor set."""
    return deepcopy(_shipped("factors", name))


@cache
def _shipped(kind: str, name: str) -> dict[str, Any]:
    return parse_yaml(joulemark_profiles.text(kind, name), name, is_shipped=True).mapping


def documents(
    *,
    period_s: int = 900,
    clock: str = SIMULATED,
    first_slot_us: int | None = START_US,
    factors: Mapping[str, Any] | None = None,
    profiles: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Documents:
    """The documents of the virtual site: a main meter and a production counter.

    Args:
        period_s: of every device.
        clock: of the epochs.
        first_slot_us: of the replay.
        factors: other ones than Korea's.
        profiles: of further devices.
        settings: what stands in the site document of a device besides the usual.
    """
    mappings = {
        METER: profile_mapping("virtual_main_meter"),
        COUNTER: profile_mapping("virtual_production_counter"),
        **(profiles or {}),
    }
    site = {
        "site": SITE,
        "agent": AGENT,
        "time_zone": "Asia/Seoul",
        "clock": clock,
        "first_slot": None if first_slot_us is None else str(first_slot_us),
        "factors": {"set": "korea", "rule_set": "ESG", "jurisdiction": "KR"},
        "devices": [
            {
                "id": device,
                "profile": mapping["model"],
                "unit": unit,
                "period_s": period_s,
                **(settings or {}).get(device, {}),
            }
            for unit, (device, mapping) in enumerate(sorted(mappings.items()), 1)
        ],
    }
    return Documents(
        profiles={device: document_bytes(mapping) for device, mapping in mappings.items()},
        site=document_bytes(site),
        factors=document_bytes(factors or factor_mapping("korea")),
        clock=clock,
        first_slot_us=first_slot_us,
    )


def encode_point(point: Point, value: Decimal | int | None) -> bytes:
    """The register words of a value, as the device would send them; None: a NaN or the sentinel."""
    size = 2 * point.words
    if value is None:
        data = b"\x7f\xc0" + b"\0" * (size - 2)
        if not point.type.startswith("float"):
            data = (point.sentinels[0] & (1 << 8 * size) - 1).to_bytes(size, "big")
    elif point.type.startswith("float"):
        data = np.array(float(Decimal(value) / point.scale), f">f{size}").tobytes()
    else:
        raw = int((Decimal(value) / point.scale).to_integral_value())
        data = raw.to_bytes(size, "big", signed=point.type.startswith("int"))
    if point.word_order == "little":
        data = b"".join(data[i : i + 2] for i in range(size - 2, -1, -2))
    return data


def respond(profile: Profile, values: Mapping[str, Decimal | int | None]) -> tuple[Response, ...]:
    """One reply a table, from the first to the last register of the profile's points."""
    replies = []
    registers = profile.registers
    for table in dict.fromkeys(point.table for point in registers):
        points = [point for point in registers if point.table == table]
        first = min(point.address for point in points)
        data = bytearray(2 * (max(point.address + point.words for point in points) - first))
        for point in points:
            start = 2 * (point.address - first)
            data[start : start + 2 * point.words] = encode_point(point, values[point.name])
        replies.append(Response(table, first, bytes(data)))
    return tuple(replies)


def reading(
    profile: Profile,
    device: str,
    slot_us: int,
    values: Mapping[str, Decimal | int | None],
    *,
    sync: str = SIMULATED,
    mono_ns: int | None = None,
) -> Reading:
    """What the device answered at this slot, 20 ms after it was due."""
    return Reading(
        device=device,
        slot_us=slot_us,
        t_utc_us=slot_us + 20_000,
        t_mono_ns=slot_us - START_US + 1 if mono_ns is None else mono_ns,
        time_quality=TimeQuality(sync, 0 if sync == SIMULATED else 1500),
        responses=respond(profile, values),
    )


def meter_readings(
    site: Documents,
    energy_wh: Sequence[int],
    *,
    first_slot_us: int = START_US,
    frozen: Iterable[int] = (),
    doubtful: Iterable[int] = (),
    sync: str = SIMULATED,
) -> list[Reading | Gap]:
    """Readings of the main meter: an opening one, then one after each interval's energy. [Wh]

    Args:
        site: the documents.
        energy_wh: energy of each interval.
        first_slot_us: slot of the opening reading.
        frozen: indices of intervals in which nothing moves and every gauge reads 0 (a hole).
        doubtful: indices of intervals whose power is beyond the profile's range.
        sync: time quality of every reading.
    """
    profile, period_us = site.profile(METER), site.period_us(METER)
    holes, doubts = set(frozen), set(doubtful)
    results: list[Reading | Gap] = []
    total_wh = lagging_varh = 0
    for i in range(len(energy_wh) + 1):
        step_wh = 0 if i == 0 or i - 1 in holes else energy_wh[i - 1]
        total_wh += step_wh
        lagging_varh += step_wh // 2
        values: dict[str, Decimal | int | None] = {
            "energy_wh": total_wh,
            "power_w": 9_000_000 if i - 1 in doubts else step_wh * 3_600_000_000 // period_us,
            "power_factor_ratio": Decimal(0 if i - 1 in holes else "0.8944"),
            "reactive_lagging_varh": lagging_varh,
            "reactive_leading_varh": 0,
        }
        results.append(reading(profile, METER, first_slot_us + i * period_us, values, sync=sync))
    return results


def counter_readings(
    site: Documents,
    production_kg: Sequence[int],
    *,
    first_slot_us: int = START_US,
    sync: str = SIMULATED,
) -> list[Reading | Gap]:
    """Readings of the production counter: an opening one, then one after each interval. [kg]"""
    profile, period_us = site.profile(COUNTER), site.period_us(COUNTER)
    results: list[Reading | Gap] = []
    total_kg = 0
    for i in range(len(production_kg) + 1):
        total_kg += production_kg[i - 1] if i else 0
        slot_us = first_slot_us + i * period_us
        results.append(reading(profile, COUNTER, slot_us, {"production_kg": total_kg}, sync=sync))
    return results


def with_gap(
    results: Sequence[Reading | Gap], first: int, slots: int, cause: str = "timeout"
) -> list[Reading | Gap]:
    """The results with the readings first .. first + slots - 1 replaced by one gap."""
    lost = [item for item in results[first : first + slots] if isinstance(item, Reading)]
    assert len(lost) == slots, "only readings can be lost"
    gap = Gap(lost[0].device, lost[0].slot_us, lost[-1].slot_us, slots, cause)
    return [*results[:first], gap, *results[first + slots :]]


def opening(
    site: Documents, device: str, owner: Keys, *, epoch: int = 1, wall_us: int = SEALED_US
) -> list[Leaf]:
    """The two leaves that open an epoch: `epoch_start` with its grant, and `boot`."""
    content = grant(
        site=SITE,
        device=device,
        epoch=epoch,
        clock=site.clock,
        agent=AGENT,
        agent_key=signature.public_key(owner.agent),
        first_slot_us=site.first_slot_us,
        documents=site.of(device),
    )
    start = {"type": "epoch_start", "t_utc_us": str(wall_us)}
    return [start | signed_grant(content, owner.operator), boot_event(1, wall_us)]


def boot_event(boot: int, wall_us: int = SEALED_US) -> Leaf:
    """The event written at every start of the agent."""
    return {"type": "boot", "boot": boot, "t_utc_us": str(wall_us), "t_mono_ns": "1"}


def result_leaf(profile: Profile, result: Reading | Gap, *, boot: int = 1) -> Leaf:
    """The leaf content of one result, its values decoded from the raw words."""
    if isinstance(result, Gap):
        return {"type": "gap", **gap_fields(result)}
    values, quality = decode_responses(profile, result.responses)
    data = record_leaf(result, epoch=1, seq=0, boot=boot, values=values, quality=quality)
    content: Leaf = parse_canonical(data)
    return content


def leaf_groups(
    site: Documents,
    device: str,
    results: Sequence[Reading | Gap],
    owner: Keys,
    *,
    epoch: int = 1,
    slots_per_batch: int = 96,
) -> Groups:
    """The leaves of each batch, the opening included and the envelopes not, ready for `seal`."""
    profile = site.profile(device)
    leaves = [result_leaf(profile, result) for result in results]
    groups = [leaves[i : i + slots_per_batch] for i in range(0, len(leaves), slots_per_batch)]
    return [opening(site, device, owner, epoch=epoch) + groups[0], *groups[1:]]


def seal(
    site: Documents,
    device: str,
    groups: Groups,
    owner: Keys,
    *,
    epoch: int = 1,
    cosigned: bool = True,
    sealed_us: int = SEALED_US,
    cosign_delay_s: int = 1,
    signer: Callable[[int], bytes] | None = None,
    envelope: Callable[[int, Leaf], Leaf] = lambda _index, fields: fields,
) -> list[Batch]:
    """Number, hash and sign the leaves as they are: every count is made true again.

    Args:
        site: the documents.
        device: id of the device.
        groups: the leaves of each batch, without envelopes.
        owner: whose keys sign.
        epoch: epoch of the tree.
        cosigned: whether the witness's line stands in each checkpoint, as after the receipt.
        sealed_us: wall time of the first batch.
        cosign_delay_s: seconds from sealing to the witness's signature.
        signer: the agent's key at the batch of an index; None: the owner's throughout.
        envelope: given the batch's index and the envelope's fields, the fields to write.
    """
    name = origin(SITE, device, epoch)
    edge = Edge()
    batches: list[Batch] = []
    for index, group in enumerate(groups):
        first_seq, wall_us = edge.size, sealed_us + index * BATCH_WALL_US
        contents = [
            {**leaf, "dev": leaf.get("dev", device), "epoch": epoch, "seq": str(first_seq + i)}
            for i, leaf in enumerate(group)
        ]
        fields = envelope(index, envelope_fields(site, device, contents, edge, wall_us))
        last = {**fields, "dev": device, "epoch": epoch, "seq": str(first_seq + len(contents))}
        leaves = tuple(canonical_bytes({"v": 1, **content}) for content in (*contents, last))
        edge = append(edge, leaves)
        head = signature.Checkpoint(name, edge.size, root(edge))
        note = signature.sign_checkpoint(signer(index) if signer else owner.agent, head)
        if cosigned:
            time_s = wall_us // 1_000_000 + cosign_delay_s
            note = signature.cosign(owner.witness, WITNESS, note, time_s)
        carried = site.by_digest(device) if first_seq == 0 else {}
        batches.append(Batch(first_seq, leaves, note, carried))
    return batches


def envelope_fields(
    site: Documents, device: str, contents: Sequence[Leaf], edge: Edge, wall_us: int
) -> Leaf:
    """The fields of an envelope that counts these leaves as they are; `edge` is the tree before."""
    records = [leaf for leaf in contents if "type" not in leaf]
    gaps = [leaf for leaf in contents if leaf.get("type") == "gap"]
    slots = [int(leaf["slot"]) for leaf in records]
    slots += [int(leaf[end]) for leaf in gaps for end in ("first_slot", "last_slot")]
    gap_slots = sum(int(leaf["slots"]) for leaf in gaps)
    return {
        "type": "batch",
        "first_seq": str(edge.size),
        "last_seq": str(edge.size + len(contents) - 1),
        "records": len(records),
        "values": sum(len(leaf["val"]) for leaf in records),
        "gap_slots": gap_slots,
        "slots": len(records) + gap_slots,
        "first_slot": str(min(slots)) if slots else None,
        "last_slot": str(max(slots)) if slots else None,
        "previous": {"root": signature.encode64(root(edge)), "size": str(edge.size)},
        "documents": {**site.of(device), "software": SOFTWARE},
        "time": {"unsynchronised": sum(leaf["tq"]["sync"] == "unsynchronised" for leaf in records)},
        "energy": {},
        "sealed_us": str(wall_us),
    }


def build_tree(
    site: Documents,
    device: str,
    results: Sequence[Reading | Gap],
    owner: Keys = KEYS,
    *,
    epoch: int = 1,
    slots_per_batch: int = 96,
    cosigned: bool = True,
) -> list[Batch]:
    """Readings and gaps as the signed batches an agent would have sent, from the first."""
    groups = leaf_groups(site, device, results, owner, epoch=epoch, slots_per_batch=slots_per_batch)
    return seal(site, device, groups, owner, epoch=epoch, cosigned=cosigned)


def leaves_of(batches: Sequence[Batch]) -> list[bytes]:
    """Every leaf of a tree, in order."""
    return [leaf for batch in batches for leaf in batch.leaves]


def uncosigned(batch: Batch) -> Batch:
    """The batch as the agent sent it, before the witness signed."""
    text, lines = signature.parse_note(batch.checkpoint)
    mine = [line for line in lines if line.name == text.split("\n", 1)[0]]
    body = "".join(
        f"— {line.name} {signature.encode64(line.key_id + line.body)}\n" for line in mine
    )
    return replace(batch, checkpoint=f"{text}\n{body}")
