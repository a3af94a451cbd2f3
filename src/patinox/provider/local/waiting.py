"""How long something may take: a wait, all the waits for a body, sleep, and work of our own."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from patinox.provider.local.errors import ServiceTimeout

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
S = TypeVar("S")
# What is more than so many bytes, or entries of a list, is worked on in a thread.
MUCH = 2**18
MANY = 500
# Tells how many seconds are left, and of which limit.
Limit = Callable[[], tuple[float, str]]


# Goes on while the machine sleeps, where the clock of the loop stands still: on Linux and macOS.
_SLEEPLESS = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC_RAW", None))


def slept() -> float:
    """Tell how many seconds the machine has slept, from some point on, unseen by the loop."""
    return 0.0 if _SLEEPLESS is None else time.clock_gettime(_SLEEPLESS) - time.monotonic()


class Late(Exception):
    """Put into a body whose next bytes did not come in time."""


class BodyTimer:
    """One timer for all waits for a body: a wait only moves the time at which it would be late.

    A timer for each wait would cost as much as reading what came.
    """

    def __init__(self, body: aiohttp.StreamReader) -> None:
        self._loop = asyncio.get_running_loop()
        self._body = body
        self._due = math.inf
        self._before = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Begin a wait of so many seconds."""
        self._due = self._loop.time() + seconds
        self._before = self._body.total_bytes
        if self._timer is None or self._timer.when() > self._due:
            self.close()
            self._timer = self._loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """End the wait; the timer runs on, for the next one."""
        self._due = math.inf

    def close(self) -> None:
        """Take the timer away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._body.total_bytes > self._before:
            return  # it came just now, and whoever waits is about to wake
        if self._due <= self._loop.time():
            self._body.set_exception(Late())
        elif self._due < math.inf:
            self._timer = self._loop.call_at(self._due, self._look)


async def in_time(seconds: float | None, phase: str, place: str, work: Awaitable[T]) -> T:
    """Wait `seconds` for `work` at a `place`, which is what messages call it; `None` is for ever.

    The work comes last: a limit that has passed already raises before there is any to await.

    Raises:
        ServiceTimeout: it took longer; its `phase` names the limit.
    """
    if seconds is None:
        return await work
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        raise late(place, phase, seconds) from None


async def off_loop(work: Callable[[], T], *, much: bool) -> T:
    """Do what is `much` in a thread, so that the loop goes on meanwhile, and anything else here."""
    return await asyncio.to_thread(work) if much else work()


async def of_each(items: Sequence[S], make: Callable[[S], T]) -> list[T]:
    """Make something of each item, of many in a thread."""
    return await off_loop(lambda: [make(item) for item in items], much=len(items) > MANY)


def late(place: str, phase: str, seconds: float) -> ServiceTimeout:
    """Make the error of a `place` that took longer than the `seconds` of a limit."""
    msg = f"{place} {_LATE[phase]} ({phase})."
    # The caller's own limit holds for every service.
    return ServiceTimeout(msg, phase=phase, seconds=seconds, retryable=phase != "total")


_LATE = {
    "first_token": "sent no output in time",
    "idle": "fell silent in the middle of the answer",
    "listing": "did not answer in time",
    "embed": "did not send its vectors in time",
    "headers": "began to answer and did not go on",
    "attempt": "was not done in the time that its settings give it",
    "total": "was still at work when the time for the whole call was over",
}
