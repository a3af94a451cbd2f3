import asyncio
from collections.abc import Callable, Coroutine

import pytest

from patinox.provider.errors import ProviderError
from patinox.provider.local.flight import Flights, SingleFlight, side_by_side


class Work:
    """Work that goes on until it is released; it counts its runs and their ends."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started = 0
        self.ended = list[str]()
        self.release = asyncio.Event()
        self.error = error

    async def __call__(self) -> None:
        self.started += 1
        try:
            await self.release.wait()
            if self.error:
                raise self.error
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")


async def turn() -> None:
    """Let everything that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def flight(work: Callable[[], Coroutine[None, None, None]]) -> SingleFlight[None]:
    return SingleFlight(work)


async def test_everybody_who_asks_meanwhile_gets_one_run() -> None:
    work = Work()
    single = flight(work)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(single.run())
        await turn()
        assert work.started == 1
        work.release.set()
    assert (work.started, work.ended) == (1, ["done"])


async def test_nothing_runs_before_somebody_asks() -> None:
    work = Work()
    single = flight(work)
    await turn()
    await single.aclose()
    assert work.started == 0


async def test_who_asks_afterwards_gets_a_new_run() -> None:
    work = Work()
    work.release.set()
    single = flight(work)
    await single.run()
    await single.run()
    assert work.started == 2


async def test_everybody_gets_the_error_and_the_next_run_is_new() -> None:
    error = ValueError("It broke.")
    work = Work(error)
    single = flight(work)
    waiting = [asyncio.ensure_future(single.run()) for _ in range(3)]
    await turn()
    work.release.set()
    assert await asyncio.gather(*waiting, return_exceptions=True) == [error] * 3
    work.error = None
    await single.run()
    assert (work.started, work.ended) == (2, ["done"])


async def test_a_caller_who_leaves_takes_the_run_from_nobody() -> None:
    work = Work()
    single = flight(work)
    first, second = (asyncio.ensure_future(single.run()) for _ in range(2))
    await turn()
    first.cancel()
    await turn()
    assert first.cancelled()
    assert not second.done()
    work.release.set()
    await second
    assert (work.started, work.ended) == (1, ["done"])


def scandals() -> list[object]:
    """Collect what the loop would report as nobody's error."""
    reported = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    return reported


async def test_a_run_that_all_have_left_goes_on_and_its_error_is_no_scandal() -> None:
    reported = scandals()
    work = Work(ValueError("It broke."))
    single = flight(work)
    alone = asyncio.ensure_future(single.run())
    await turn()
    alone.cancel()
    await turn()
    work.release.set()
    await turn()
    assert work.started == 1
    del single, alone
    await turn()
    assert reported == []


async def test_closing_stops_the_run_and_waits_for_its_end() -> None:
    reported, work = scandals(), Work()
    single = flight(work)
    waiting = asyncio.ensure_future(single.run())
    await turn()
    await single.aclose()
    assert work.ended == ["cancelled"]
    with pytest.raises(ProviderError, match="closed while it was being asked"):
        await waiting
    await single.aclose()
    assert reported == []


async def test_closing_does_not_raise_what_the_run_raises() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError

    single = flight(stubborn)
    waiting = asyncio.ensure_future(single.run())
    await turn()
    await single.aclose()
    with pytest.raises(ValueError, match=r"^$"):
        await waiting


async def test_a_run_that_was_stopped_before_it_began_is_not_waited_for_again() -> None:
    work = Work()
    single = flight(work)
    waiting = asyncio.ensure_future(single.run())
    await asyncio.sleep(0)  # the run is there, but had no turn yet
    await single.aclose()
    with pytest.raises(ProviderError, match="closed while it was being asked"):
        await waiting
    assert work.started == 0
    work.release.set()
    await single.run()
    assert work.ended == ["done"]


async def test_who_is_cancelled_while_closing_is_cancelled() -> None:
    leave = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await leave.wait()

    single = flight(slow)
    waiting = asyncio.ensure_future(single.run())
    await turn()
    closing = asyncio.ensure_future(single.aclose())
    await turn()
    closing.cancel()
    await turn()
    assert closing.cancelled()
    leave.set()
    with pytest.raises(ProviderError, match="closed while it was being asked"):
        await waiting


async def test_the_first_error_side_by_side_stops_the_others_and_comes_out_as_it_is() -> None:
    stopped: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append("waiting")
            raise

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("gone")

    async def both() -> None:
        async with side_by_side() as group:
            group.create_task(wait())
            group.create_task(fail())

    with pytest.raises(LookupError, match="gone"):
        await both()
    assert stopped == ["waiting"]


async def test_who_is_cancelled_together_with_the_run_is_cancelled() -> None:
    single = flight(Work())
    waiting = asyncio.ensure_future(single.run())
    await turn()
    closing = asyncio.ensure_future(single.aclose())
    await asyncio.sleep(0)
    waiting.cancel()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await waiting


# Flights by name.


async def test_each_name_has_a_flight_of_its_own() -> None:
    one, other = Work(), Work()
    flights = Flights[None]()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(flights.run("one", one))
        group.create_task(flights.run("other", other))
        await turn()
        assert (one.started, other.started) == (1, 1)
        one.release.set()
        other.release.set()


async def test_a_flight_that_ended_is_forgotten() -> None:
    work = Work()
    work.release.set()
    flights = Flights[None]()
    for _ in range(2):
        await flights.run("one", work)
    assert work.started == 2


async def test_everybody_who_waits_gets_the_result() -> None:
    release = asyncio.Event()

    async def work() -> str:
        await release.wait()
        return "done"

    flights = Flights[str]()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flights.run("one", work)) for _ in range(3)]
        await turn()
        release.set()
    assert [task.result() for task in tasks] == ["done"] * 3


async def test_a_flight_goes_on_as_long_as_somebody_waits_for_it() -> None:
    work = Work()
    flights = Flights[None]()
    first, second = (asyncio.ensure_future(flights.run("one", work)) for _ in range(2))
    await turn()
    first.cancel()
    await turn()
    assert work.ended == []
    second.cancel()
    await asyncio.wait([first, second])
    assert work.ended == ["cancelled"]


async def test_closing_stops_every_flight() -> None:
    work = Work()
    flights = Flights[None]()
    waiting = asyncio.ensure_future(flights.run("one", work))
    await turn()
    await flights.aclose()
    with pytest.raises(ProviderError, match="closed while"):
        await waiting
    assert work.ended == ["cancelled"]
