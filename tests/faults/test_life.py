"""What shows only over several calls: a server that comes and goes, and callers that leave."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from cells import Lateness
from faces import LONG, Asked, ollama
from msgspec.structs import replace

from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import AllServicesFailed, ServiceNotFound, ServiceUnavailable
from patinox.testing import Seen
from patinox.testing.faults import FAULTS

SUBJECT = ollama("0.33")
SECONDS_TO_HANG_UP = 5.0  # on a busy machine
AT_ONCE = 0.1


async def test_a_flapping_server_is_used_and_not_given_up() -> None:
    async with SUBJECT.serve() as server:
        asked = Asked(SUBJECT, server, "chat", LONG)
        async with LocalProvider(asked.config) as local:
            await local.complete(SUBJECT.chat)
            FAULTS["flapping"].install(server, calls=["chat"])
            good = 0
            for _ in range(20):
                try:
                    good += bool((await local.complete(SUBJECT.chat)).text)
                except ServiceUnavailable:
                    continue
            assert 8 <= good <= 12


async def test_where_all_are_down_it_is_said_at_once_and_who_comes_back_is_asked() -> None:
    async with SUBJECT.serve() as first, SUBJECT.serve() as second:
        settings = [Asked(SUBJECT, server, "chat", LONG).config for server in (first, second)]
        both = replace(settings[0], endpoints=tuple(each.endpoints[0] for each in settings))
        async with LocalProvider(both) as local:
            await local.complete(SUBJECT.chat)
            good = (await local.complete(SUBJECT.chat)).text  # now each list is at hand
            for server in (first, second):
                await server.stop()
            for _ in range(4):  # and they are asked as well when both are kept away
                async with Lateness() as late:
                    started = time.monotonic()
                    with pytest.raises((AllServicesFailed, ServiceNotFound)):
                        await local.complete(SUBJECT.chat)
                    took = time.monotonic() - started
                assert took < AT_ONCE + 2 * late.seconds
            await second.start()
            assert (await local.complete(SUBJECT.chat)).text == good


def _asked_to_chat(requests: Sequence[Seen]) -> bool:
    return any(seen.path.endswith(("/chat", "/completions")) for seen in requests)


@pytest.mark.parametrize("fault", ["syn_blackhole", "never_answer", "silent_stall"])
async def test_a_call_that_is_cancelled_leaves_nothing_and_the_next_goes_well(fault: str) -> None:
    async with SUBJECT.serve() as server:
        asked = Asked(SUBJECT, server, "stream", LONG)
        async with LocalProvider(asked.config) as local:
            good = (await local.complete(SUBJECT.chat)).text
            installed = FAULTS[fault].install(server, calls=["stream"])
            gone, before = server.client_gone, len(server.requests)
            call = asyncio.create_task(local.complete(SUBJECT.chat))
            if FAULTS[fault].on_server:
                await asyncio.sleep(0.1)  # what is swallowed is never seen to arrive
            else:
                async with asyncio.timeout(SECONDS_TO_HANG_UP):
                    while not _asked_to_chat(server.requests[before:]):  # noqa: ASYNC110 - likewise
                        await asyncio.sleep(0.001)
            started = time.monotonic()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert time.monotonic() - started < SECONDS_TO_HANG_UP

            installed.remove()
            if FAULTS[fault].on_server:
                await server.start()
            else:
                async with asyncio.timeout(SECONDS_TO_HANG_UP):
                    while server.client_gone == gone:  # noqa: ASYNC110 - there is no event
                        await asyncio.sleep(0.001)
            assert (await local.complete(SUBJECT.chat)).text == good
            assert local.services[0].consecutive_failures == 0


async def test_a_runaway_model_is_held_back_and_stops_when_it_is_left() -> None:
    async with SUBJECT.serve() as server:
        asked = Asked(SUBJECT, server, "stream", LONG)
        async with LocalProvider(asked.config) as local:
            FAULTS["endless_stream"].install(server, calls=["stream"])
            async with local.stream_completion(SUBJECT.chat) as stream:
                pieces = [await anext(stream) for _ in range(50)]
            assert len(pieces) == 50
            async with asyncio.timeout(SECONDS_TO_HANG_UP):
                while not server.client_gone:  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.001)
