"""A good exchange of every dialect, cut at every byte by a proxy: the right answer or an error.

Each is recorded once, from an emulator or the real engine, and then played from memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Literal

import pytest
from cells import no_keeping
from faces import LONG, Asked, AsyncFace, Said, Subject, lmstudio, ollama

from patinox.testing import EmulatedServer, Exchange
from patinox.testing.faults import call_of
from patinox.testing.faults.good import Good, good, send
from patinox.testing.proxy import FaultProxy, Toxics

pytestmark = pytest.mark.slow
CALLS = ("list", "chat", "stream", "embed")
# Lists are long; that the end of a connection and its reset come to the same, the others show.
SWEPT = [
    (call, then) for call in CALLS for then in ("fin", "rst") if (call, then) != ("list", "rst")
]
WORKERS = 8
# A call takes milliseconds here; what takes so many seconds has hung.
HUNG = 30.0


def played(call: str) -> Callable[[Exchange], Awaitable[bool]]:
    """Answer a call as it was answered the first time."""
    kept: dict[tuple[str, bytes], Good] = {}

    async def play(exchange: Exchange) -> bool:
        if call_of(exchange) != call:
            return False
        key = (exchange.path, exchange.body)
        if key not in kept:
            kept[key] = await good(exchange)
        await send(exchange, kept[key])
        return True

    return play


class Sweep:
    """One call to one server, made again and again through proxies that cut it."""

    def __init__(self, subject: Subject, server: EmulatedServer, call: str) -> None:
        self.subject = replace(subject, words=2)
        self.server = server
        self.call = call
        self.wrong: list[str] = []
        self.right = 0

    async def run(self, then: Literal["fin", "rst"]) -> int:
        """Cut at every byte; return how many bytes there are."""
        async with (
            FaultProxy(self.server.url) as proxy,
            AsyncFace().open(self._asked(proxy)) as ask,
        ):
            good_value = await ask()
            before = proxy.passed
            assert await ask() == good_value
            length = proxy.passed - before
        offsets = iter(range(length + 1))
        await asyncio.gather(*(self._work(offsets, then, good_value) for _ in range(WORKERS)))
        return length

    def _asked(self, proxy: FaultProxy) -> Asked:
        return Asked(self.subject, self.server, self.call, LONG, address=proxy.url)

    async def _work(
        self, offsets: Iterator[int], then: Literal["fin", "rst"], good_value: object
    ) -> None:
        async with (
            FaultProxy(self.server.url) as proxy,
            AsyncFace().open(self._asked(proxy)) as ask,
        ):
            await ask()
            for offset in offsets:
                if self.subject.kind == "llamacpp" and self.call != "list":
                    # Who failed proves itself anew before it sees a key: that is not to be cut.
                    proxy.to_client = Toxics()
                    await ask()
                proxy.to_client = Toxics(limit_data=offset, then=then)
                await self._cut(ask, offset, good_value)

    async def _cut(self, ask: Callable[[], Awaitable[object]], offset: int, good: object) -> None:
        try:
            async with asyncio.timeout(HUNG):
                value = await ask()
        except Said as said:
            if said.text and not str(good).startswith(said.text):
                self.wrong.append(f"{offset}: a text that was never sent, {said.text!r}")
        except TimeoutError:
            self.wrong.append(f"{offset}: hangs")
        except Exception as error:  # noqa: BLE001 - the very thing that must not come out
            self.wrong.append(f"{offset}: a raw {error!r}")
        else:
            self.right += 1
            if value != good:
                self.wrong.append(f"{offset}: {value!r} for {good!r}")


async def sweep(subject: Subject, call: str, then: Literal["fin", "rst"]) -> None:
    asyncio.get_running_loop().set_debug(False)  # thousands of exchanges
    async with subject.serve() as server:
        server.faults += [no_keeping, played(call)]
        swept = Sweep(subject, server, call)
        length = await swept.run(then)
    assert not swept.wrong, swept.wrong[:10]
    assert 0 < swept.right < length, "what is whole is right, and only that"


@pytest.mark.parametrize(("call", "then"), SWEPT)
@pytest.mark.parametrize("subject", [ollama("0.33"), lmstudio("0.4")], ids=str)
async def test_cut_anywhere_an_answer_is_right_or_an_error(
    subject: Subject, call: str, then: Literal["fin", "rst"]
) -> None:
    await sweep(subject, call, then)


@pytest.mark.engine
@pytest.mark.parametrize(("call", "then"), SWEPT)
async def test_cut_anywhere_what_the_real_engine_answered_is_right_or_an_error(
    engine: Subject, call: str, then: Literal["fin", "rst"]
) -> None:
    await sweep(engine, call, then)
