"""How many requests run at once; those that are one too many wait, first come, first served.

`Line` decides and `RetryBudget` counts, without a clock or a loop; `Gate` lets tasks wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Generator

from patinox.provider.errors import RateLimited
from patinox.provider.local.flight import check_loop
from patinox.provider.local.types import Occupancy

# How many may wait where nothing else is said.
MAX_WAITING = 100
# Of the requests in flight, the share that may be repeated attempts, and how many always may.
RETRY_SHARE = 0.2
RETRY_FLOOR = 3


class Line:
    """Who has a place and who waits for one; places are given in the order of coming."""

    def __init__(self, size: int | None, *, longest: int = MAX_WAITING) -> None:
        """Start with `size` free places, `None` for any number, and at most `longest` waiting."""
        self.size = size
        self.longest = longest
        self.inside = set[int]()
        self.waiting = deque[int]()
        self._last = 0

    def enter(self) -> int | None:
        """Take the next number, with a place or waiting for one; `None` if too many wait."""
        full = self.size is not None and len(self.inside) >= self.size
        if full and len(self.waiting) >= self.longest:
            return None
        self._last += 1
        if full:
            self.waiting.append(self._last)
        else:
            self.inside.add(self._last)
        return self._last

    def leave(self, number: int) -> int | None:
        """Give up a place, or waiting for one; return the number that has a place by it."""
        if number not in self.inside:
            self.waiting.remove(number)
            return None
        self.inside.remove(number)
        if not self.waiting:
            return None
        following = self.waiting.popleft()
        self.inside.add(following)
        return following


class Gate:
    """Lets so many tasks of one event loop through at a time, the others in the order of coming."""

    def __init__(self, size: int | None, *, longest: int = MAX_WAITING) -> None:
        """Let `size` through at once, `None` for any number; at most `longest` may wait."""
        self._line = Line(size, longest=longest)
        self._calls: dict[int, asyncio.Future[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def occupancy(self) -> Occupancy:
        """How many are inside and how many wait."""
        line = self._line
        return Occupancy(in_flight=len(line.inside), waiting=len(line.waiting), limit=line.size)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Hold a place as long as the context lasts, after waiting for it.

        Raises:
            RateLimited: as many wait already as may.
            ProviderError: it was first used in another event loop.
        """
        loop = self._loop = check_loop(self._loop)
        number = self._line.enter()
        if number is None:
            limit, longest = self._line.size, self._line.longest
            raise RateLimited(
                f"{limit} requests are running, the limit, and {longest} wait already.",
                hint="Ask again later, or raise `max_in_flight` of the service.",
            )
        try:
            if number not in self._line.inside:
                self._calls[number] = loop.create_future()
                await self._calls[number]
            yield
        finally:
            # A place that was given to one who is leaving in this moment is passed on as well.
            self._calls.pop(number, None)
            self._call(self._line.leave(number))

    def _call(self, number: int | None) -> None:
        called = None if number is None else self._calls.get(number)
        if called is not None and not called.done():
            called.set_result(None)


class RetryBudget:
    """Keeps an outage from multiplying the load: repeated attempts are a share of all requests."""

    def __init__(self, *, share: float = RETRY_SHARE, floor: int = RETRY_FLOOR) -> None:
        """Allow as many repeated attempts at once as that share of the requests, or as `floor`."""
        self._share = share
        self._floor = floor
        self.requests = 0
        self.retries = 0

    @contextlib.contextmanager
    def request(self) -> Generator[None]:
        """Count a request as long as the context lasts."""
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    def take(self) -> bool:
        """Take the right to one repeated attempt, if there is one left; `give_back` ends it."""
        if self.retries >= max(self._floor, int(self._share * self.requests)):
            return False
        self.retries += 1
        return True

    def give_back(self, count: int = 1) -> None:
        """Give back what was taken."""
        self.retries -= count
