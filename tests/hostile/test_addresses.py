"""What a machine answers sends nobody elsewhere and puts nothing into the next question."""

import pytest

from joulemark_agent.contract.errors import DeviceError
from support.fuzz import conversations
from support.fuzz.conversations import joined, selected
from support.fuzz.devices import HOST, scripted
from support.injections import payloads

ADDRESSES = [one.text for one in payloads("ssrf")]
FIELDS = [one.text for one in payloads("header", "format", "javascript")]
HEAD = b"HTTP/1.1 %s\r\nContent-Length: 2\r\n%s: %s\r\n\r\nOK"
ASKED = {
    b"host", b"accept-encoding", b"content-length", b"content-type", b"cookie", b"session-auth",
    b"username",
}  # fmt: skip


def field(text: str) -> bytes:
    """As a field of an answer may hold it."""
    return text.encode(errors="replace").replace(b"\r\n", b"\n").replace(b"\n", b" ").strip()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_an_answer_that_sends_elsewhere_is_not_followed(status: str):
    for address in ADDRESSES:
        answer = HEAD % (status.encode(), b"Location", field(address))
        with scripted(joined([answer, answer])), pytest.raises(DeviceError) as refused:
            await selected(f"elektronikon-http://{HOST}")  # `scripted` lets nobody go elsewhere
        assert refused.value.code in {f"http_{status[:3]}", "bad_reply"}


async def test_an_opc_ua_server_that_names_another_address_is_still_asked_here():
    told = conversations.conversations()["opcua_offered"]
    begin = told[-1].index(b"opc.tcp://")
    size = int.from_bytes(told[-1][begin - 4 : begin], "little")
    for address in ADDRESSES:
        url = address.encode()
        body = told[-1][24 : begin - 4] + len(url).to_bytes(4, "little") + url
        body += told[-1][begin + size :]
        answer = told[-1][:4] + (24 + len(body)).to_bytes(4, "little") + told[-1][8:24] + body
        with scripted(joined([*told[:-1], answer])):
            found = await conversations.offered(f"opc.tcp://{HOST}/plant")
        assert found[0].url == address


async def test_a_cookie_of_a_controller_cannot_add_a_field_to_the_next_question():
    told = conversations.conversations()["sigma_control"]
    asked: list[bytes] = []
    for text in FIELDS:
        cookie = b"Set-Cookie: Session-Key=" + text.encode(errors="replace") + b"\r\n"
        first = told[0].replace(b"\r\n", b"\r\n" + cookie, 1)
        with scripted(joined([first, *told[1:]]), asked):
            try:
                await conversations.logged_in(f"sigma-control-http://{HOST}")
            except DeviceError:
                continue
    names = {
        line.partition(b":")[0].lower()
        for question in asked
        for line in question.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    }
    assert names <= ASKED
    assert len(asked) > len(FIELDS)
