"""Limits: what comes in their last moment, and what the machine's sleep has to do with them."""

import asyncio
import time

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from patinox.provider.local import waiting
from patinox.provider.local.waiting import BodyTimer, Late


@pytest.mark.parametrize("in_time", [True, False])
async def test_what_comes_in_the_moment_of_the_limit_has_one_outcome(*, in_time: bool) -> None:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    body = StreamReader(protocol, 2**16, loop=loop)
    timer = BodyTimer(body)
    timer.start(0.01)
    due = loop.time() + 0.02
    reading = asyncio.create_task(body.readany())
    await asyncio.sleep(0)
    if in_time:
        loop.call_soon(body.feed_data, b"x")  # in the same turn, before the timer
    while loop.time() < due:
        pass
    if in_time:
        assert await reading == b"x"
        timer.stop()
        assert body.exception() is None
        timer.start(0.01)  # and the next wait has a limit again
    with pytest.raises(Late):
        await (body.readany() if in_time else reading)
    timer.close()


def test_the_sleep_of_the_machine_is_what_one_clock_counts_and_the_other_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = waiting.slept()
    assert waiting.slept() - before == pytest.approx(0.0, abs=0.5)
    monkeypatch.setattr(time, "clock_gettime", lambda _: time.monotonic() + 3600.0)
    assert waiting.slept() == pytest.approx(3600.0, abs=0.5)
    monkeypatch.setattr(waiting, "_SLEEPLESS", None)
    assert waiting.slept() == 0.0
