"""Answers in pieces: what they hold is let go at once, however they end."""

import asyncio

from joulemark_gateway.api.streamed import Streamed


def endless(ended):
    try:
        while True:
            yield b"more"
    finally:
        ended.append(True)


async def test_what_an_answer_holds_is_let_go_when_whoever_asked_has_gone():
    async def receive():
        return {"type": "http.disconnect"}

    async def send(_message):
        await asyncio.sleep(0)

    ended: list[bool] = []
    pieces = endless(ended)
    next(pieces)
    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    await asyncio.wait_for(Streamed(pieces, 200, {}, "text/csv")(scope, receive, send), 10)
    assert ended
