"""A register that a device does not have costs its neighbours nothing, and is asked for once."""

import math
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import Request
from joulemark_agent.lines import Line
from joulemark_agent.plan import TCP, Field, PlannedDevice, Span, plan_spans
from joulemark_agent.refused import FIRST_RETRY_S, MAX_SEARCH, Book
from support.modbus import REQUEST, Connection, peer, refusal, reply


def planned(spans: Collection[Span], max_words: int = 125, **more: Any) -> PlannedDevice:
    fields = tuple(Field(f"p{i}_w", span, 0) for i, span in enumerate(spans))
    requests = plan_spans(spans, max_words, TCP)
    device = PlannedDevice("meter", "modbus-tcp://192.0.2.1:502", 1, 1_000_000, requests)
    return replace(device, fields=fields, max_words=max_words, **more)


class Registers:
    """A device that has some words and refuses every request for another."""

    def __init__(self, lacking: Collection[int] = (), longest: int = 125) -> None:
        self.lacking, self.longest = set(lacking), longest
        self.asked: list[Request] = []

    async def ask(self, request: Request) -> Response:
        self.asked.append(request)
        words = range(request.address, request.address + request.count)
        if self.lacking & {*words} or request.count > self.longest:
            raise DeviceError("It refuses.", "Ask for less.", code="exception_02")
        return Response(request.table, request.address, b"".join(w.to_bytes(2) for w in words))


def shown(spans: Collection[Span], responses: Collection[Response]) -> set[Span]:
    """The spans that one response holds whole, each with its own words."""
    return {
        span
        for span in spans
        for r in responses
        if r.address <= span.first and span.end <= r.address + len(r.data) // 2
    }


def readable(spans: Collection[Span], lacking: Collection[int]) -> set[Span]:
    return {span for span in spans if not set(range(span.first, span.end)) & {*lacking}}


SPANS = [Span("holding", i, i + 2) for i in range(0, 120, 2)]


@pytest.mark.parametrize("lacking", [{40}, {41}, {0}, {119}, {40, 41}, {41, 42}, {40, 41, 42, 43}])
async def test_a_hole_is_found_within_2_log_n_plus_2_requests_and_neighbours_lose_nothing(
    lacking: set[int],
) -> None:
    """n words in one block; the last two holes take two points."""
    registers = Registers(lacking)
    device = planned(SPANS)
    known = Book().of(device, 0.0)
    responses = await known.read(registers.ask, 0, 0.0)
    first = len(registers.asked)
    again = await known.read(registers.ask, 0, 1.0)

    assert shown(SPANS, responses) == shown(SPANS, again) == readable(SPANS, lacking)
    assert first - 1 <= 2 * math.ceil(math.log2(120)) + 2
    assert len(registers.asked) - first <= 2, "then the plan is made around the hole"


@pytest.mark.parametrize("hole", range(1, 59))
async def test_a_hole_that_nobody_wants_costs_a_cut_and_no_value(hole: int) -> None:
    spans = [Span("input", 2 * i, 2 * i + 1) for i in range(60)]
    registers = Registers({2 * hole + 1})
    device = planned(spans)
    known = Book().of(device, 0.0)
    responses = await known.read(registers.ask, 0, 0.0)
    first = len(registers.asked)
    await known.read(registers.ask, 0, 86_400.0)

    assert shown(spans, responses) == {*spans}
    assert first - 1 <= 2 * math.ceil(math.log2(119)) + 2
    assert len(registers.asked) - first == 2
    assert [is_point for _, is_point in known.kept] == [False], "no point is ever left out"


layouts = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 6)), min_size=1, max_size=20).map(
    lambda rows: sorted({Span("holding", first, first + words) for first, words in rows})
)


@given(layouts, st.sets(st.integers(0, 70), max_size=12), st.integers(6, 125), st.booleans())
async def test_whatever_is_refused_every_readable_point_is_read_in_the_end(
    spans: list[Span], lacking: set[int], longest: int, is_mended: bool
) -> None:
    """Holes, overlapping points, and a device that gives fewer words than its profile says."""
    registers = Registers(lacking, longest)
    device = planned(spans)
    known = Book().of(device, 0.0)
    wanted = readable(spans, lacking)
    responses: tuple[Response, ...] = ()
    for slot in range(30):
        before = len(registers.asked)
        try:
            responses = await known.read(registers.ask, slot, float(slot))
        except DeviceError:  # it has shown nothing at all
            assert not wanted or slot < 2
        assert len(registers.asked) - before <= len(spans) + MAX_SEARCH
    assert shown(spans, responses) == wanted
    if wanted and is_mended:
        registers.lacking = set()
        for late_s in range(1, 4):
            responses = await known.read(registers.ask, 99, late_s * 2 * FIRST_RETRY_S)
        assert shown(spans, responses) == {*spans}, "what is there later is found"


async def test_a_point_that_is_refused_is_tried_again_ever_more_rarely() -> None:
    registers = Registers({40})
    known = Book().of(planned(SPANS), 0.0)
    await known.read(registers.ask, 0, 0.0)
    tried: list[int] = []
    for second in range(1, 1000):
        registers.asked.clear()
        await known.read(registers.ask, 0, float(second))
        if Request("holding", 40, 2) in registers.asked:
            tried.append(second)

    assert tried == [60, 180, 420, 900]
    registers.lacking.clear()
    responses = await known.read(registers.ask, 0, 2000.0)
    assert shown(SPANS, responses) == {*SPANS}
    registers.asked.clear()
    await known.read(registers.ask, 0, 2001.0)
    assert registers.asked == [Request("holding", 0, 120)], "and it is one block again"


async def test_a_slow_point_whose_slot_was_lost_is_asked_for_at_the_next_that_is_not() -> None:
    """The line had no time at the full minute: an hourly point would be a whole hour away."""
    minute_us, second_us = 60_000_000, 1_000_000
    spans = [Span("holding", 0, 2), Span("input", 0, 2)]
    fields = (Field("fast_w", spans[0], 0), Field("slow_wh", spans[1], minute_us))
    registers, device = Registers(), replace(planned(spans), fields=fields)
    known = Book().of(device, 0.0)
    asked = []
    for second in [58, 59, 62, 63, 120, 121, 122, 185]:  # 60, 61 and 180 to 184 were not read
        registers.asked.clear()
        await known.read(registers.ask, second * second_us, float(second))
        asked += [second] if len(registers.asked) == 2 else []
    assert asked == [62, 120, 185]

    async def broken(request: Request) -> Response:
        if request.table == "input":
            raise DeviceError("It fails.", "Look.", code="exception_04")
        return await registers.ask(request)

    with pytest.raises(DeviceError):
        await known.read(broken, 240 * second_us, 240.0)
    await known.read(broken, 241 * second_us, 241.0)  # what fails costs no other slot


@pytest.mark.parametrize("lacking", [range(48), range(100), range(118)])
async def test_a_long_hole_at_the_beginning_is_found_by_more_than_one_reading(
    lacking: Collection[int],
) -> None:
    """One reading asks for no more than 20 of its points, and none of those is shown."""
    registers = Registers(lacking)
    known = Book().of(planned(SPANS), 0.0)
    for slot in range(4):
        with suppress(DeviceError):
            await known.read(registers.ask, 0, float(slot))

    assert shown(SPANS, await known.read(registers.ask, 0, 4.0)) == readable(SPANS, lacking)


async def test_points_that_are_refused_are_not_all_tried_again_at_once() -> None:
    """On a shared line a burst of vain requests would cost others their slots."""
    lacking = {*range(0, 60, 2)}
    registers = Registers(lacking)
    known = Book().of(planned(SPANS), 0.0)
    for slot in range(3):
        with suppress(DeviceError):
            await known.read(registers.ask, 0, float(slot))
    tried: set[Span] = set()
    for slot in range(30):
        registers.asked.clear()
        await known.read(registers.ask, 0, 100.0 + slot)
        vain = [r for r in registers.asked if r.count == 2 and r.address in lacking]
        assert len(vain) == 1
        tried |= {Span(r.table, r.address, r.address + 2) for r in vain}
    assert tried == {span for span in SPANS if span.first in lacking}, "each in its turn"
    registers.lacking.clear()
    assert shown(SPANS, await known.read(registers.ask, 0, 1000.0)) == {*SPANS}


async def test_a_point_that_was_refused_for_a_night_is_read_again_within_the_hour() -> None:
    registers = Registers({40})
    known = Book().of(planned(SPANS), 0.0)
    night_s = 12 * 3600
    for second in range(0, night_s, 30):
        await known.read(registers.ask, 0, float(second))
    registers.lacking.clear()
    for second in range(night_s, night_s + 3601, 30):
        responses = await known.read(registers.ask, 0, float(second))

    assert shown(SPANS, responses) == {*SPANS}


async def test_what_parted_two_points_is_asked_for_again_after_a_day(tmp_path: Path) -> None:
    """A device that gave fewer words than its profile says, until it was updated."""
    path, device = tmp_path / "refused.json", planned(SPANS, profile="a")
    registers = Registers(longest=30)
    known = Book(path).of(device, 0.0)
    await known.read(registers.ask, 0, 0.0)
    cuts = known.kept
    assert len(cuts) >= 3
    for late_s in range(10):  # it has not changed, and no value is lost
        before = len(registers.asked)
        responses = await known.read(registers.ask, 0, 86_401.0 + late_s)
        assert shown(SPANS, responses) == {*SPANS}
        assert len(registers.asked) - before <= len(cuts) + 20, "one is tried in one reading"
    registers.longest = 125
    for late_s in range(20):
        responses = await known.read(registers.ask, 0, 200_000.0 + late_s)
        assert shown(SPANS, responses) == {*SPANS}

    assert known.kept == Book(path).of(device, 0.0).kept == []


async def test_a_device_that_refuses_everything_has_taught_nothing() -> None:
    registers = Registers(range(200))
    known = Book().of(planned(SPANS), 0.0)
    for second in range(3):
        with pytest.raises(DeviceError) as caught:
            await known.read(registers.ask, 0, float(second))
        assert caught.value.code == "exception_02"
    registers.lacking.clear()
    registers.asked.clear()

    assert shown(SPANS, await known.read(registers.ask, 0, 3.0)) == {*SPANS}
    assert len(registers.asked) == 1


async def test_silence_within_the_search_is_silence_and_nothing_is_learned() -> None:
    registers = Registers({40})

    async def ask(request: Request) -> Response:
        if len(registers.asked) == 4:
            raise DeviceError("Nothing came.", "Look.", code="timeout")
        return await registers.ask(request)

    known = Book().of(planned(SPANS), 0.0)
    with pytest.raises(DeviceError, match="Nothing came"):
        await known.read(ask, 0, 0.0)

    assert known.kept == []


async def learned(book: Book, device: PlannedDevice, registers: Registers) -> int:
    """How many requests a reading takes."""
    registers.asked.clear()
    known = book.of(device, 0.0)
    assert shown(SPANS, await known.read(registers.ask, 0, 0.0)) == readable(SPANS, {41})
    return len(registers.asked)


async def test_what_was_learned_holds_after_a_restart_for_the_same_profile_and_place(
    tmp_path: Path,
) -> None:
    path, registers, device = (
        tmp_path / "refused.json",
        Registers({41}),
        planned(SPANS, profile="a"),
    )
    assert await learned(Book(path), device, registers) > 5
    assert await learned(Book(path), device, registers) == 2
    for other in (
        replace(device, profile="b"),
        replace(device, unit=2),
        replace(device, url="modbus-tcp://192.0.2.2:502"),
        replace(device, id="another"),
    ):
        assert await learned(Book(path), other, registers) > 5


OF = '["a", "modbus-tcp://192.0.2.1:502", 1]'
NO_SPANS = '[["holding", 5], ["holding", 9, 2, true], 7, ["holding", -1, 70000, false]]'


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"version": 1}', '{"version": 1, "devices": [[1]]}', "\0" * 100,
     "[" * 200_000,
     '{"version": 1, "devices": {"another": {"of": ' + "[" * 3000 + "]" * 3000 + "}}}",
     f'{{"version": 1, "devices": {{"meter": {{"of": {OF}, "refused": {NO_SPANS}}}}}}}'],
)  # fmt: skip
async def test_a_file_that_is_damaged_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "refused.json"
    path.write_text(text, "utf-8")

    assert await learned(Book(path), planned(SPANS, profile="a"), Registers({41})) > 5


async def test_a_folder_that_takes_no_file_costs_only_the_memory(tmp_path: Path) -> None:
    book, registers = Book(tmp_path / "absent" / "refused.json"), Registers({41})

    assert await learned(book, planned(SPANS), registers) > 5


def lacking_answer(lacking: Collection[int]) -> Callable[[Connection, bytes], Any]:
    async def answer(connection: Connection, request: bytes) -> None:
        *_, address, count = REQUEST.unpack(request)
        is_there = not {*lacking} & {*range(address, address + count)}
        await connection.say(reply(request) if is_there else refusal(request, 2))

    return answer


async def test_a_line_reads_around_a_hole_of_a_real_device() -> None:
    async with peer(lacking_answer({41})) as served:
        device = replace(planned(SPANS), url=served.url)
        line = Line(served.url, timeout_s=5.0)
        counts = []
        for _ in range(3):
            before = len(served.requests)
            assert shown(SPANS, await line.read(device)) == readable(SPANS, {41})
            counts.append(len(served.requests) - before)
        await line.close()

    assert counts[1:] == [2, 2]
    assert served.connections == 1


async def test_the_naive_way_loses_every_point_of_the_block() -> None:
    """The control: a block is read or not."""
    async with peer(lacking_answer({41})) as served:
        device = replace(planned(SPANS), url=served.url, fields=())
        line = Line(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError, match="exception 2"):
            await line.read(device)
        await line.close()
