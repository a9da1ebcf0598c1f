"""Commits wait for answers that are about to come, and for no others."""

import asyncio

from joulemark_agent import together
from joulemark_agent.together import Together


async def test_nobody_is_waited_for_when_nobody_else_is_asked():
    both = Together()
    with both.asking():
        pass
    gathering = asyncio.ensure_future(both.gathered())
    await asyncio.sleep(0)
    assert gathering.done()


async def test_those_asked_at_the_same_time_are_waited_for(monkeypatch):
    monkeypatch.setattr(together, "LONGEST_S", 600.0)
    both = Together()
    with both.asking():
        with both.asking():
            pass
        gathering = asyncio.ensure_future(both.gathered())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not gathering.done()
    await gathering


async def test_one_that_does_not_answer_is_waited_for_no_longer_than_a_flush_takes():
    both = Together()
    with both.asking():
        await both.gathered()  # returns, though it is never answered
        assert both.left_s <= 0
        gathering = asyncio.ensure_future(both.gathered())
        await asyncio.sleep(0)
        assert gathering.done()
