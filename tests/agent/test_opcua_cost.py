"""What the worst answer that an OPC UA server may send costs the agent: memory and time.

Our client reads in the agent's own process: it steps over values and builds nothing of them, and
its messages, chunks, depths and elements are bounded. So what a child process would protect from
does not come about; the figures here are why.
"""

from __future__ import annotations

import struct
import time
import tracemalloc
from contextlib import suppress

import pytest
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary

from joulemark_agent.opcua_binary import MAX_DEPTH, MAX_ELEMENTS, Cursor, MalformedError
from joulemark_agent.opcua_channel import MAX_MESSAGE

MOST_MB, MOST_S = 4.0, 2.0
BOMB = b"\x80" + struct.pack("<i", 2**21)  # a Variant: an array of so many nothings, in 5 bytes


def filled(head: bytes, element: bytes, count: int | None = None) -> bytes:
    """A DataValue with as many elements as a message holds, or as it says."""
    fits = (MAX_MESSAGE - 64) // max(len(element), 1) if count is None else count
    return b"\x01" + head + struct.pack("<i", fits) + element * fits


WORST = {
    "an array of 2^31 - 1 nothings": b"\x01\x80\xff\xff\xff\x7f",
    "an array that fills a message": filled(b"\x83", b"\0"),
    "texts that fill a message": filled(b"\x8c", b"\xff\xff\xff\xff"),
    "as many texts as are taken": filled(b"\x8c", b"\xff\xff\xff\xff", MAX_ELEMENTS - 1),
    "values in an array": filled(b"\x98", b"\x00", MAX_ELEMENTS - 1),
    "diagnoses in an array": filled(b"\x99", b"\x00", MAX_ELEMENTS - 1),
    "values in values": b"\x01" + b"\x18" * (MAX_DEPTH + 2) + b"\x01\x01",
    "one text of a message": b"\x01\x0c" + struct.pack("<i", MAX_MESSAGE - 64) + bytes(MAX_MESSAGE),
}


@pytest.mark.parametrize("name", WORST)
def test_the_worst_answers_cost_little(name):
    data = WORST[name]
    tracemalloc.start()
    begun_s = time.process_time()
    with suppress(MalformedError):
        Cursor(data).variable()
    took_s = time.process_time() - begun_s
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / 1e6 < MOST_MB, f"{peak / 1e6:.1f} MB"
    assert took_s < MOST_S, f"{took_s:.2f} s"


def test_control_a_stock_decoder_builds_what_five_bytes_claim():
    tracemalloc.start()
    variant_from_binary(Buffer(BOMB))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / 1e6 > MOST_MB
