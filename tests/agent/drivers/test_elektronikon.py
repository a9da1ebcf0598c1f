"""An Elektronikon's questions and answers over real sockets."""

import pytest

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import SELECTOR
from joulemark_agent.documents import load_profile
from joulemark_agent.drivers import elektronikon
from joulemark_agent.drivers.base import MAX_SELECTORS, Request
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.plan import plan_requests
from joulemark_agent.simulate.controllers.compressor import Compressor
from support import tcp
from support.controllers import Clock, an_elektronikon

PROFILE, _ = load_profile("atlas_copco_elektronikon_mkv")
TIMEOUT_S = 5.0


def url(port):
    return f"elektronikon-http://127.0.0.1:{port}"


@pytest.mark.parametrize("ends_connections", [False, True])
async def test_the_profile_shows_the_machine_as_it_is(ends_connections):
    clock = Clock()
    async with an_elektronikon(clock, seed=3, ends_connections=ends_connections) as (port, _):
        for now_s in (1000.0, 1070.0, 1140.0):
            clock.now_s = now_s
            driver = await elektronikon.connect(url(port), timeout_s=TIMEOUT_S)
            responses = await driver.read(0, plan_requests(PROFILE))
            values, quality = decode_responses(PROFILE, responses)
            state = Compressor(3).at(now_s)

            assert values["running_s"] == str(state.running_s)
            assert values["loaded_s"] == str(state.loaded_s)
            assert values["outlet_gauge_pressure_pa"] == str(state.pressure_pa)
            assert values["machine_state"] == ("28" if state.is_loaded else "5")
            assert set(quality.values()) == {"disputed"}
            assert driver.is_open is not ends_connections
            await driver.close()


async def test_discovery_finds_what_the_controller_has_and_in_which_unit():
    async with an_elektronikon(Clock()) as (port, controller):
        driver = await elektronikon.connect(url(port), timeout_s=TIMEOUT_S)
        found = await elektronikon.discover(driver, timeout_s=TIMEOUT_S)
        await driver.close()

    assert [(one.family, one.selector, one.unit_code) for one in found] == [
        ("analog", "300201", 0),
        ("analog", "300202", 1),
        ("analog", "300204", 1),
        *[("counter", f"3007{i:02x}", unit) for i, unit in
          ((1, 0), (2, 0), (3, 1), (4, 1), (7, 0), (12, 2))],
    ]  # fmt: skip
    assert {one.unit_selector for one in found} <= {
        *(f"{0x2010 + i:04x}01" for i in range(4)),
        *(f"2607{i:02x}" for i in range(16)),
    }
    assert controller.largest_question <= MAX_SELECTORS


async def test_2_500_selectors_are_three_questions_of_1_000_at_most_each_answer_in_its_place():
    requests = [Request(SELECTOR, 0x300000 + i, 1) for i in range(2500)]
    async with an_elektronikon(Clock(), seed=5) as (port, controller):
        driver = await elektronikon.connect(url(port), timeout_s=TIMEOUT_S)
        responses = await driver.read(0, requests)
        await driver.close()

    assert controller.largest_question == MAX_SELECTORS
    assert [response.address for response in responses] == [one.address for one in requests]
    there = {f"{one.address:06x}" for one in responses if one.data != b"X"}
    assert there >= {"300108", "300201", "300701"}
    by_address = {response.address: response.data for response in responses}
    assert int(by_address[0x300701], 16) == Compressor(5).at(1000).running_s


def test_a_selector_of_more_than_six_digits_cannot_be_asked_for_as_it_would_shift_the_others():
    Request(SELECTOR, 0xFFFFFF, 1)
    with pytest.raises(ValueError, match="outside"):
        Request(SELECTOR, 0x1000000, 1)


def http(body, *, head="Content-Type: text/html"):
    return f"HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_reply"),
        (b"X", "bad_reply"),
        (b"08E15998", "bad_reply"),
        (b"08E1599808E15998X", "bad_reply"),
        (b"08E1599808E1599", "bad_reply"),
        (b"08E15998 8E15998", "bad_reply"),
        (b"08E15998\xff\xfe\x00\x0108E1", "bad_reply"),
        (b"<html><body>500</body></html>", "html_page"),
        (b'{"a":1}', "bad_reply"),
    ],
)
async def test_an_answer_that_is_not_one_to_each_question_is_refused_and_the_next_is_read(
    body, code
):
    bodies = [body, b"08E15998X"]

    async def serve(reader, writer):
        while bodies:
            await reader.readuntil(b"QUESTION=300701300702")
            writer.write(http(bodies.pop(0)))
        await reader.read()

    requests = [Request(SELECTOR, 0x300701, 1), Request(SELECTOR, 0x300702, 1)]
    async with tcp.serving(serve) as port:
        driver = await elektronikon.connect(url(port), timeout_s=TIMEOUT_S)
        with pytest.raises(DeviceError) as error:
            await driver.read(0, requests)
        good = await driver.read(0, requests)
        await driver.close()

    assert error.value.code == code
    assert [response.data for response in good] == [b"08E15998", b"X"]


def naive(question, text):
    """How an answer is usually cut: eight characters each, or one X, whatever is missing."""
    found, at = {}, 0
    for selector in question:
        size = 1 if text[at : at + 1] == "X" else 8
        found[selector] = text[at : at + size]
        at += size
    return found


def test_a_naive_reader_takes_the_garbled_answer_for_a_value():
    assert naive(["300701", "300702"], "08E15998 8E15998")["300702"] == " 8E15998"
    assert int(naive(["300701", "300702"], "08E15998 8E15998")["300702"], 16) == 0x8E15998
