"""Work done once for all who want it, and work done side by side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from patinox.provider.errors import ProviderClosed, ProviderError

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs `work` once for everybody who asks while it runs; all get its result or its error."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Keep the work; nothing runs yet."""
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._home = Home()

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._task is not None and not self._task.done()

    async def run(self) -> T:
        """Do the work, or wait for the run that is under way.

        A caller that is cancelled does not take the run from the others.

        Raises:
            ProviderClosed: it was closed meanwhile.
            ProviderError: it belongs to another event loop; besides, whatever the work raises.
        """
        self._home.check()
        if self._task is None or self._task.done():
            # Owned here, not by a caller's task group, since no single caller owns it.
            self._task = asyncio.create_task(self._work())  # noqa: TID251
            self._task.add_done_callback(_retrieve)
        task = self._task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if not task.cancelled() or (caller and caller.cancelling()):
                raise
            closed = "This provider was closed while it was being asked."
            raise ProviderClosed(closed) from None

    async def aclose(self) -> None:
        """Stop a run that is under way.

        Raises:
            ProviderError: it runs in another event loop.
        """
        if self._task is not None and not self._task.done():
            self._home.check()
            self._task.cancel()
            await asyncio.wait([self._task])


class Flights(Generic[T]):
    """Single flights by name, each there for as long as somebody waits for it.

    A run that nobody waits for any more is stopped: it was done for those who asked.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._flights: dict[Hashable, SingleFlight[T]] = {}
        self._waiting: dict[Hashable, int] = {}

    async def run(self, name: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do the work, or wait for the run of that name that is under way; see `SingleFlight`."""
        flight = self._flights.setdefault(name, SingleFlight(work))
        self._waiting[name] = self._waiting.get(name, 0) + 1
        try:
            return await flight.run()
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name], self._flights[name]
                await flight.aclose()

    async def aclose(self) -> None:
        """Stop every run that is under way."""
        await asyncio.gather(*(flight.aclose() for flight in self._flights.values()))


class Home:
    """The event loop in which something was first used, and to which it belongs."""

    def __init__(self) -> None:
        """Start without one."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> asyncio.AbstractEventLoop:
        """Return the running loop, which becomes the home if there was none.

        Raises:
            ProviderError: the home is another loop, perhaps of the process that this was forked
                from, or one that is closed.
        """
        running = asyncio.get_running_loop()
        self._loop = self._loop or running
        if self._loop is not running:
            msg = "A provider belongs to the event loop it was first used in; make one per loop."
            raise ProviderError(msg)
        return running


@contextlib.asynccontextmanager
async def side_by_side() -> AsyncGenerator[asyncio.TaskGroup]:
    """Run tasks at once; the first error stops the others and comes out as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at an error that nobody may be left to see, so that asyncio does not report it."""
    if not task.cancelled():
        task.exception()
