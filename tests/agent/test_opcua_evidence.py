"""What a server says of a value and of its time reaches the collector byte for byte."""

import struct
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from joulemark_agent.contract.reading import Reading, TimeQuality
from joulemark_agent.kernels.datavalue import DataValue, encode
from joulemark_agent.lines import Lines
from joulemark_agent.outbox import Outbox
from joulemark_agent.plan import PlannedDevice, plan_requests
from joulemark_agent.poll import Poller
from joulemark_gateway.evidence import history
from support import evidence
from support.opcua import BAD_SENSOR, FIRST_READ, UNCERTAIN, URI, handle_of, relayed, with_body
from support.recording import kept, recorded, recorder

HOUR_US, S_US = 3_600_000_000, 1_000_000
SLOT_US = evidence.START_US
DEVICE = "furnace-1"
NAMES = ("plain_k", "bad_k", "uncertain_k", "old_k", "no_server_time_k", "back_k", "ahead_k")
PROFILE: dict[str, Any] = {
    "model": "any", "kind": "furnace", "protocol": "opcua", "source": "made up by a test",
    "confidence": "bench",
    "points": [
        {"name": name, "node": f"nsu={URI};s=temperature", "type": "float64",
         **({"max_age_s": 4} if name in {"old_k", "no_server_time_k"} else {})}
        for name in NAMES
    ],
    "golden": [{"point": "plain_k", "data": "010b000000000000f03f", "value": 1}],
}  # fmt: skip


def said(now_us: int) -> list[bytes]:
    """What the server says at that instant, by point."""
    value = DataValue("float64", struct.pack(">d", 1273.15), 0, now_us, now_us)
    return [
        encode(value),
        encode(DataValue(None, b"", BAD_SENSOR, now_us, now_us)),
        encode(replace(value, status=UNCERTAIN)),
        encode(replace(value, source_time_us=now_us - 5 * S_US)),
        encode(replace(value, server_time_us=None)),
        encode(replace(value, source_time_us=now_us - HOUR_US)),
        encode(replace(value, source_time_us=now_us + HOUR_US)),
    ]


@dataclass
class JumpingClock:
    """A computer whose clock is set while its monotonic time goes on."""

    shows_us: int = SLOT_US
    mono: int = 10**9

    def time_quality(self) -> TimeQuality:
        return TimeQuality("unsynchronised", 0)

    def now_us(self) -> int:
        return self.shows_us

    def mono_ns(self) -> int:
        self.mono += 10**6
        return self.mono

    async def until(self, slot_us: int, committed_us: int | None) -> bool:
        raise AssertionError(f"a poller waits for no slot: {slot_us} after {committed_us}")

    async def close(self) -> None:
        raise AssertionError("a poller does not own its clock")


async def test_statuses_and_both_times_reach_the_collector_unchanged(
    opcua_plant: int, tmp_path: Path
) -> None:
    site = evidence.documents(period_s=1, profiles={DEVICE: PROFILE})
    profile = site.profile(DEVICE)
    # The server's clock and, two slots later, the agent's own are set by an hour and back.
    server_us = [SLOT_US + i * S_US + jump * HOUR_US for i, jump in enumerate((0, 1, -1, 0, 0, 0))]
    agent_us = [SLOT_US + i * S_US + jump * HOUR_US for i, jump in enumerate((0, 0, 0, 0, 1, 0))]
    clock, results = JumpingClock(), []
    async with relayed(opcua_plant) as relay:
        device = PlannedDevice(DEVICE, relay.url, 0, S_US, plan_requests(profile), 5.0)
        lines = Lines([device])
        poller = Poller([device], lines, clock)
        for i, (server, shows) in enumerate(zip(server_us, agent_us, strict=True)):
            relay.change = partial(with_values, said(server))
            clock.shows_us = shows
            results += await poller.read_slot(SLOT_US + i * S_US, [DEVICE])
        await lines.close()

    box = Outbox(tmp_path / "outbox.db")
    writer = recorder(box, recorded(site, DEVICE))
    writer.commit(results)
    writer.seal_all()
    leaves = kept(box, DEVICE).leaves
    box.close()
    tree = history.parse_tree(leaves)
    history.check_decode(tree, profile)

    assert [gap.cause for _, gap in tree.gaps] == ["clock_step"]  # an hour off
    read = [result for result in results if isinstance(result, Reading)]
    assert [i for i in range(6) if i != 4] == [(r.slot_us - SLOT_US) // S_US for r in read]
    for record, server in zip(tree.records, [*server_us[:4], server_us[5]], strict=True):
        assert [response.data for response in record.responses] == said(server)
        assert record.t_utc_us == record.slot_us  # the agent's time beside the device's
        assert record.quality == {
            "bad_k": "bad_status", "uncertain_k": "uncertain", "old_k": "stale",
            "no_server_time_k": "stale",
        }  # fmt: skip
        assert set(record.values) == set(NAMES) - {"bad_k"}
    monotonic = [reading.t_mono_ns for reading in read]
    assert monotonic == sorted(set(monotonic))
    assert [record.seq for record in tree.records] == sorted(record.seq for record in tree.records)


def with_values(values: list[bytes], number: int, message: bytes) -> list[bytes]:
    """The answer to a Read, with these DataValues."""
    if number < FIRST_READ:
        return [message]
    answer = ua.ReadResponse()
    answer.ResponseHeader.RequestHandle = handle_of(message)
    head = struct_to_binary(answer)[:-8]
    body = struct.pack("<i", len(values)) + b"".join(values) + bytes(4)
    return [with_body(message, head + body)]
