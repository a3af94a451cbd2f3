"""How many requests run at once; those that are one too many wait, first come, first served.

`Line` decides and `RetryBudget` counts, without a clock or a loop; `Gate` lets tasks wait.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from patinox.provider.errors import ProviderClosed, RateLimited
from patinox.provider.local.config import MAX_WAITING
from patinox.provider.local.flight import Home
from patinox.provider.local.types import Occupancy

# Of the requests in flight, the share that may be repeated attempts, and how many always may.
RETRY_SHARE = 0.2
RETRY_FLOOR = 3

_CLOSED = "This provider is closed."


class Line:
    """Who has a place and who waits for one; places are given in the order of coming."""

    def __init__(self, size: int | None, *, longest: int = MAX_WAITING) -> None:
        """Start with `size` free places, `None` for any number, and at most `longest` waiting."""
        self.size = size
        self.longest = longest
        self.inside = set[int]()
        self.waiting = deque[int]()
        self._numbers = itertools.count()

    def enter(self) -> int | None:
        """Take the next number, with a place or waiting for one; `None` if too many wait."""
        full = self.size is not None and len(self.inside) >= self.size
        if full and len(self.waiting) >= self.longest:
            return None
        number = next(self._numbers)
        if full:
            self.waiting.append(number)
        else:
            self.inside.add(number)
        return number

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
        self._home = Home()
        self._closed = False

    @property
    def occupancy(self) -> Occupancy:
        """How many are inside and how many wait."""
        line = self._line
        return Occupancy(in_flight=len(line.inside), waiting=len(line.waiting), limit=line.size)

    def place(self) -> Place:
        """Hold a place as long as a context lasts; it gives what to wait for before, if anything.

        Entering it raises:
            RateLimited: as many wait already as may.
            ProviderClosed: it was closed.
            ProviderError: it was first used in another event loop.
        """
        return Place(self)

    def close(self) -> None:
        """Let nobody in any more; who waits is told."""
        self._closed = True
        for turn in self._calls.values():
            _tell_closed(turn)

    def enter(self) -> tuple[int, asyncio.Future[None] | None]:
        """Take a number, and what its owner waits for, if anything; raises as `place`."""
        loop = self._home.check()
        if self._closed:
            raise ProviderClosed(_CLOSED, hint="Make another and enter it.")
        number = self._line.enter()
        if number is None:
            limit, longest = self._line.size, self._line.longest
            raise RateLimited(
                f"{limit} requests are running, the limit, and {longest} wait already.",
                hint="Ask again later, or raise `max_in_flight` of the service.",
            )
        if number in self._line.inside:
            return number, None
        turn = self._calls[number] = loop.create_future()
        return number, turn

    def leave(self, number: int) -> None:
        """Give a number back."""
        # A place that was given to one who is leaving in this moment is passed on as well.
        self._calls.pop(number, None)
        self._call(self._line.leave(number))

    def _call(self, number: int | None) -> None:
        called = None if number is None else self._calls.get(number)
        if called is not None and not called.done():
            called.set_result(None)


class Place:
    """A place in a gate, for as long as the context lasts."""

    __slots__ = ("_gate", "_number")

    def __init__(self, gate: Gate) -> None:
        """Keep which gate it is."""
        self._gate = gate

    def __enter__(self) -> asyncio.Future[None] | None:
        """Take it; wait for what is returned."""
        self._number, turn = self._gate.enter()
        return turn

    def __exit__(self, *_: object) -> None:
        """Give it up."""
        self._gate.leave(self._number)


class ColdStarts:
    """Has a model loaded by one request at a time, where the server would load it for each.

    The others wait until that one has its first output. If it fails one of them is the next.
    """

    def __init__(self) -> None:
        """Start with nothing being loaded."""
        self.loading: dict[str, asyncio.Future[bool]] = {}

    def start(self) -> ColdStart:
        """Give what a request needs for this."""
        return ColdStart(self)

    def close(self) -> None:
        """Tell who waits that nothing is loaded any more."""
        for turn in self.loading.values():
            _tell_closed(turn)


class ColdStart:
    """One request's part in loading a model; leaving it as a context manager ends the load."""

    __slots__ = ("_loading", "_model")

    def __init__(self, starts: ColdStarts) -> None:
        """Keep what the others do."""
        self._loading = starts.loading
        self._model: str | None = None

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let another have its turn, unless the model is loaded."""
        self.ends(loaded=False)

    async def turn(self, model: str) -> bool:
        """Wait while another loads the model; return whether it did, else the caller does now."""
        while (other := self._loading.get(model)) is not None:
            if await asyncio.shield(other):
                return True
        self._loading[model] = asyncio.get_running_loop().create_future()
        self._model = model
        return False

    def ends(self, *, loaded: bool) -> None:
        """Tell the others that the model is loaded, or that it failed; said twice it is ignored."""
        if self._model is not None:
            turn = self._loading.pop(self._model)
            if not turn.done():  # it was not closed meanwhile
                turn.set_result(loaded)
            self._model = None


def _tell_closed(turn: asyncio.Future[Any]) -> None:
    """End a wait; the error is for whoever waits, and there need be nobody."""
    if not turn.done():
        turn.set_exception(ProviderClosed("This provider was closed while a request waited."))
        turn.exception()


class RetryBudget:
    """Keeps an outage from multiplying the load: repeated attempts are a share of all requests."""

    def __init__(self, *, share: float = RETRY_SHARE, floor: int = RETRY_FLOOR) -> None:
        """Allow as many repeated attempts at once as that share of the requests, or as `floor`."""
        self._share = share
        self._floor = floor
        self.requests = 0
        self.repeated = 0

    def request(self) -> Repeats:
        """Count a request as long as a context lasts; what it gives asks for one more attempt."""
        return Repeats(self)

    def take(self) -> bool:
        """Take one more attempt, if there is one."""
        if self.repeated >= max(self._floor, int(self._share * self.requests)):
            return False
        self.repeated += 1
        return True


class Repeats:
    """One request, for as long as the context lasts, and what it took of the budget."""

    __slots__ = ("_budget", "_taken")

    def __init__(self, budget: RetryBudget) -> None:
        """Keep of which budget."""
        self._budget = budget
        self._taken = 0

    def __enter__(self) -> Callable[[], bool]:
        """Count the request; what is returned asks for one more attempt."""
        self._budget.requests += 1
        return self._may_repeat

    def __exit__(self, *_: object) -> None:
        """Give all of it back."""
        self._budget.requests -= 1
        self._budget.repeated -= self._taken

    def _may_repeat(self) -> bool:
        taken = self._budget.take()
        self._taken += taken
        return taken
