"""What others recorded on the wire: pieces become frames, marks gaps, and a plan is recovered."""

import gzip
import random
from itertools import pairwise

import pytest

from joulemark_agent.contract.reading import Gap
from joulemark_agent.drivers.modbus import FUNCTIONS
from support.captures import PORT, Wrapped, pieces, polled

pytestmark = pytest.mark.timeout(420)

# Pieces that arrived, frames in them, frames whose check holds no more, bytes of no frame.
# Of the hour's 1,819 pieces nine hold parts of frames, together twelve. Eleven of these have a
# check that is not of their bytes: whoever published them blanked serial numbers and made a check
# anew, it seems, only where a piece was a frame.
LOGS = {
    "hybrid_gen1_arm449_givbat82_givbat95gen3_60min.log.gz": (1819, 1822, 11, 0),
    "hybrid_gen1_arm449_0x11_poll_10min.log.gz": (482, 482, 0, 0),
    "giv3hy11_da011_detect_10min.log.gz": (418, 418, 0, 0),
    "giv3hy11_da011_10min.log.gz": (119, 118, 0, 1),
    "giv3hy11_hass174_180s.txt.gz": (63, 63, 0, 0),
}
MARKED = "giv3hy11_da011_10min.log.gz"
SLOT_US = 10_000_000


def log(plant_data, name):
    path = plant_data / "modbus_wire_givenergy" / name
    return list(pieces(gzip.decompress(path.read_bytes()).decode()))


def together(found):
    wrapped = Wrapped()
    for piece in found:
        if piece.data is None:
            wrapped.reconnected()
        else:
            wrapped.take(piece.data)
    wrapped.reconnected()
    return wrapped


def cut_anew(found, chance):
    """The bytes of each connection in other pieces, from one byte to many frames."""
    connections = [b""]
    for piece in found:
        if piece.data is None:
            connections.append(b"")
        else:
            connections[-1] += piece.data
    for i, data in enumerate(connections):
        if i:
            yield None
        at = 0
        while at < len(data):
            size = chance.choice([1, 2, 5, 6, 7, 163, 164, 165, chance.randrange(1, 2000)])
            yield data[at : at + size]
            at += size


@pytest.mark.parametrize("name", LOGS)
def test_frames_come_together_whatever_pieces_they_arrived_in(plant_data, told, name):
    arrived = log(plant_data, name)
    whole = together(arrived)
    count, frames, refused, lost = LOGS[name]

    assert sum(piece.data is not None for piece in arrived) == count
    assert len(whole.frames) + len(whole.refused) == frames
    assert (len(whole.refused), whole.lost) == (refused, lost)
    for seed in range(3):
        again = Wrapped()
        for data in cut_anew(arrived, random.Random(seed)):
            if data is None:
                again.reconnected()
            else:
                again.take(data)
        assert again.frames == whole.frames
        assert again.refused == whole.refused
    told(f"frames of {name.removesuffix('.gz')}",
         f"{frames:,} in {count:,} pieces, {refused} refused by their check",
         "1,819 (pieces)" if count == 1819 else "all")  # fmt: skip


def test_a_piece_is_no_frame():
    """The control: whoever takes what arrives at once for a frame fails at the first cut."""
    frame = bytes.fromhex("59590001000d0101" + "41" * 11)
    wrapped = Wrapped()
    for byte in frame[:-1]:
        wrapped.take(bytes([byte]))
    assert not wrapped.frames
    wrapped.take(frame[-1:] + frame)
    assert wrapped.frames == [frame, frame]


def test_the_beginning_of_a_frame_is_never_joined_to_what_a_new_connection_brings():
    frame = bytes.fromhex("59590001000d0101" + "41" * 11)
    wrapped = Wrapped()
    wrapped.take(frame[:10])
    wrapped.reconnected()
    wrapped.take(frame)
    careless = Wrapped()
    careless.take(frame[:10] + frame)

    assert (wrapped.frames, wrapped.lost) == ([frame], 10)
    assert careless.frames != [frame]  # the control


def test_marks_of_a_new_connection_become_gaps(plant_data, told):
    arrived = log(plant_data, MARKED)
    marks = [piece.t_us for piece in arrived if piece.data is None]
    times = sorted(piece.t_us for piece in arrived if piece.data is not None)
    first, last = times[0] // SLOT_US, times[-1] // SLOT_US
    read = {at_us // SLOT_US for at_us in times}
    gaps = [
        Gap("battery", (before + 1) * SLOT_US, (after - 1) * SLOT_US, after - before - 1, "closed")
        for before, after in pairwise(sorted(read))
        if after - before > 1
    ]

    assert len(marks) == 6
    assert len(read) + sum(gap.slots for gap in gaps) == last - first + 1
    for mark in marks:
        slot_us = mark // SLOT_US * SLOT_US
        assert any(gap.first_slot_us <= slot_us <= gap.last_slot_us for gap in gaps)
    told("reconnects in ten minutes", f"{len(marks)}, each in one of {len(gaps)} gaps", "gaps")


def test_the_polling_plan_of_six_units_is_recovered_from_a_capture(plant_data, told):
    path = plant_data / "modbus_pcap_polling/moving_two_files_modbus_6RTU.pcap.gz"
    found = polled(gzip.decompress(path.read_bytes()))
    blocks = {
        (FUNCTIONS["coil"], 0, 4), (FUNCTIONS["discrete"], 4, 4), (FUNCTIONS["holding"], 8, 4),
    }  # fmt: skip
    plans: dict[str, set[tuple[int, int, int]]] = {}
    for server, unit, function, address, count in found.plan:
        assert unit == 1
        plans.setdefault(server, set()).add((function, address, count))

    assert found.packets == 3319
    assert found.span_s == pytest.approx(190.0, abs=0.05)
    assert found.requests == found.responses == 360  # each request found its one response
    assert (found.exceptions, found.unanswered, found.malformed) == (0, 0, 0)
    assert len(plans) == 6
    assert all(plan == blocks for plan in plans.values())
    told(f"capture of port {PORT}: requests, responses, exceptions",
         f"{found.requests}, {found.responses}, {found.exceptions}", "each answered")  # fmt: skip
    told("capture: plan recovered", "6 units: coils 0/4, discrete 4/4, holding 8/4", "fc 1, 2, 3")
