"""What goes over the wire of one request: headers, cookie, a body that is small and comes soon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from joulemark_gateway.api.problems import Problem

MOST_BODY = 64 * 1024
BODY_S = 10.0
FORM = "application/x-www-form-urlencoded"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def cookie_in(header: str, name: str) -> str:
    """The cookie of this name; "" where there is none.

    Others on this host may have cookies of any form, and none of them hides ours.
    """
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return next((value for found, _, value in pairs if found == name), "")


def field_of(body: bytes, name: str) -> str:
    """A field of a form; "" where there is none, or the body is none."""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=50, keep_blank_values=True)
    except ValueError:
        return ""
    return fields.get(name, [""])[0]


def int_or(text: str, otherwise: int = 0) -> int:
    """The number in a header."""
    return int(text) if text.isascii() and text.isdigit() else otherwise


def too_large() -> Problem:
    """The refusal of a body that is too long."""
    return Problem(
        413,
        "too_large",
        f"The request has more than {MOST_BODY} bytes.",
        "Send less at a time.",
        headers={"Connection": "close"},
    )


async def whole_body(headers: Mapping[str, str], receive: Receive) -> bytes:
    """The body, which has to be small and to come soon."""
    if int_or(headers.get("content-length", "0")) > MOST_BODY:
        raise too_large()
    body: bytes = b""
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > MOST_BODY:
                    raise too_large()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return body
    except TimeoutError as error:
        raise Problem(
            408,
            "too_slow",
            f"The request was not whole within {BODY_S:.0f} s.",
            "Send it again at once.",
            headers={"Connection": "close"},
        ) from error


def read_again(body: bytes, receive: Receive) -> Receive:
    """The body once more, for the application."""
    is_given = False

    async def received() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return received


def with_headers(send: Send, wanted: Mapping[str, str]) -> Send:
    """What sends an answer with these headers, where it has none of the name."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            given += [
                (name.encode(), value.encode())
                for name, value in wanted.items()
                if name.encode() not in names
            ]
            message = {**message, "headers": given}
        await send(message)

    return sent


def without_body(send: Send) -> Send:
    """What sends an answer's head alone."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return sent
