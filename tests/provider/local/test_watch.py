"""When services are looked at, and when not, in a time that passes only when it is told to."""

import asyncio
import heapq
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec.structs import replace

from patinox.provider.errors import AuthenticationError, ProviderError
from patinox.provider.local import ollama
from patinox.provider.local.config import HealthCheckConfig
from patinox.provider.local.errors import (
    LocalResourcesExhausted,
    ServiceError,
    ServiceUnavailable,
)
from patinox.provider.local.spec import Survey
from patinox.provider.local.types import ServiceInfo, ServiceMetrics, ServiceStatus
from patinox.provider.local.watch import UNUSED, Known, Watch

REFUSED = ServiceUnavailable("Refused.", refused=True)


class Time:
    """A clock, and the sleep of those who go by it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeping: list[tuple[float, int, asyncio.Future[None]]] = []
        self.slept = 0
        self.of_the_machine = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept += 1
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self.sleeping, (self.now + seconds, self.slept, future))
        await future

    async def passes(self, seconds: float) -> None:
        """Let time pass from one waking to the next, as it does when nothing stands still."""
        end = self.now + seconds
        await turn()
        while self.sleeping and self.sleeping[0][0] <= end:
            self.now = max(self.now, self.sleeping[0][0])
            self.wake()
            await turn()
        self.now = end

    def wake(self) -> None:
        while self.sleeping and self.sleeping[0][0] <= self.now:
            _, _, future = heapq.heappop(self.sleeping)
            if not future.done():
                future.set_result(None)


async def turn() -> None:
    """Let everything that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


class Service(ollama.OllamaProvider):
    """A service that is surveyed without a socket, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9")
        self.surveyed = 0
        self.error: Exception | None = None
        self.answer: Callable[[], Awaitable[None]] | None = None

    async def survey(self) -> Survey:
        self.surveyed += 1
        if self.answer:
            await self.answer()
        if self.error:
            raise self.error
        return Survey(models=("m",), loaded=())


class World:
    """One watched service."""

    def __init__(self) -> None:
        self.time = Time()
        self.service = Service()
        self.proven = 0
        self.watch = Watch(
            HealthCheckConfig(),
            prove=self.prove,
            clock=self.time,
            wall_clock=lambda: 0.0,
            rng=random.Random(0),  # noqa: S311 - pauses
            sleep=self.time.sleep,
            slept=lambda: self.time.of_the_machine,
        )
        info = ServiceInfo(id="o", service_type="ollama", label="O", endpoint="http://x")
        known = Known(spec=ollama.SERVICE, provider=self.service, info=info)
        self.watch.known = {"o": known}

    async def prove(self, _: Known) -> None:
        self.proven += 1

    @property
    def info(self) -> ServiceInfo:
        return self.watch.known["o"].info

    def status(self) -> ServiceStatus:
        return self.info.status

    def asked(self, error: ProviderError | None) -> None:
        self.watch.ended(self.watch.begin("o", limit=10), error)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.watch.aclose()
    await world.service.aclose()


async def test_a_service_in_use_is_probed_at_its_interval(world: World) -> None:
    await world.watch.start()
    await world.time.passes(1)
    assert world.service.surveyed == 1
    await world.time.passes(30)
    assert world.service.surveyed == 7
    assert world.proven == 7


async def test_a_service_that_is_not_in_use_is_left_alone(world: World) -> None:
    await world.watch.start()
    await world.time.passes(UNUSED + 10)
    before = world.service.surveyed
    await world.time.passes(100_000)
    assert world.service.surveyed == before


async def test_after_a_pause_a_look_comes_before_the_use_once_for_all(world: World) -> None:
    await world.watch.start()
    await world.time.passes(UNUSED + 10)
    await world.time.passes(1000)
    before = world.service.surveyed
    world.service.error = REFUSED
    release = asyncio.Event()
    world.service.answer = lambda: _ignored(release.wait())
    users = [asyncio.create_task(world.watch.fresh()) for _ in range(3)]
    await turn()
    assert not any(user.done() for user in users)
    release.set()
    await asyncio.gather(*users)
    assert world.service.surveyed == before + 1
    assert world.status() is ServiceStatus.UNAVAILABLE
    world.service.error = world.service.answer = None
    await world.time.passes(5)
    assert world.status() is ServiceStatus.AVAILABLE


async def _ignored(awaitable: Awaitable[object]) -> None:
    await awaitable


async def test_while_it_is_in_use_nobody_waits_for_a_look(world: World) -> None:
    await world.watch.start()
    await world.time.passes(1)
    before = world.service.surveyed
    for _ in range(10):
        await world.watch.fresh()
    assert world.service.surveyed == before
    for _ in range(10):  # and using it keeps it watched
        world.watch.in_use()
        await world.time.passes(50)
    assert world.service.surveyed == before + 100


async def test_without_a_monitor_nobody_waits_for_a_look(world: World) -> None:
    world.time.now += 1000
    await world.watch.fresh()
    assert world.service.surveyed == 0


async def test_a_server_on_this_machine_is_known_to_be_back_within_three_seconds(
    world: World,
) -> None:
    await world.watch.start()
    world.service.error = REFUSED
    for _ in range(20):
        world.watch.in_use()
        await world.time.passes(7)
    assert world.status() is ServiceStatus.UNAVAILABLE
    assert world.info.consecutive_failures > 20
    world.service.error = None
    await world.time.passes(3)
    assert world.status() is ServiceStatus.AVAILABLE


async def test_after_a_standstill_there_is_a_look_and_no_failure_counts(world: World) -> None:
    await world.watch.start()
    await world.time.passes(1)
    running = world.watch.begin("o", limit=10)
    world.time.now += 3600  # nobody woke meanwhile
    before = world.service.surveyed
    await world.watch.fresh()
    assert world.service.surveyed == before + 1
    world.watch.ended(running, ServiceError("Silent."))
    assert (world.status(), world.info.consecutive_failures) == (ServiceStatus.AVAILABLE, 0)


async def test_a_sleep_of_the_machine_that_the_clock_does_not_show_is_a_standstill(
    world: World,
) -> None:
    await world.watch.start()
    await world.time.passes(1)
    running = world.watch.begin("o", limit=10)
    before = world.service.surveyed
    world.time.of_the_machine += 3600
    await world.watch.fresh()
    assert world.service.surveyed == before + 1
    world.watch.ended(running, ServiceError("Silent."))
    assert world.info.consecutive_failures == 0
    await world.watch.fresh()
    assert world.service.surveyed == before + 1
    world.time.of_the_machine += 5  # a nap
    await world.watch.fresh()
    assert world.service.surveyed == before + 1


async def test_what_fails_as_the_first_after_a_standstill_does_not_count(world: World) -> None:
    await world.watch.start()
    await world.time.passes(1)
    running = world.watch.begin("o", limit=10)
    world.time.now += 3600
    world.watch.ended(running, ServiceError("Silent."))
    assert (world.status(), world.info.consecutive_failures) == (ServiceStatus.AVAILABLE, 0)


async def test_the_date_may_jump_and_nothing_follows_from_it() -> None:
    async def lives(*jumps: float) -> ServiceInfo:
        world, date = World(), 0.0
        world.watch._wall = lambda: date  # noqa: SLF001 - a date that can be set
        await world.watch.start()
        for jump, error in zip(jumps, (None, ServiceError("It broke."), REFUSED), strict=True):
            date += jump
            world.asked(error)
            await world.time.passes(2)
        await world.watch.aclose()
        await world.service.aclose()
        return replace(world.info, metrics=ServiceMetrics())

    assert await lives(0, 0, 0) == await lives(86_400, -90_000, 3_600)


async def test_a_server_that_flaps_stays_down_for_its_pause_and_no_state_changes_meanwhile(
    world: World,
) -> None:
    await world.watch.start()
    until, opened = 0.0, 0
    for second in range(60):
        world.watch.in_use()
        # It refuses and is back in turn; requests go there only while it is let through to.
        world.service.error = REFUSED if second % 2 else None
        if world.watch.admits(world.info):
            world.asked(world.service.error)
        await world.time.passes(1)
        down = world.status() is ServiceStatus.UNAVAILABLE
        assert down or world.time.now >= until
        if down and world.info.breaker.opened > opened:
            until, opened = world.info.breaker.until, world.info.breaker.opened
    assert opened > 1


async def test_the_monitor_too_sees_that_all_stood_still(world: World) -> None:
    await world.watch.start()
    await world.time.passes(1)
    running = world.watch.begin("o", limit=10)
    world.time.now += 3600
    world.time.wake()
    await turn()
    assert world.info.next_check == world.time.now + 5  # it was looked at
    world.watch.ended(running, ServiceError("Silent."))
    assert world.info.consecutive_failures == 0


async def test_a_probe_runs_once_for_all_who_want_it(world: World) -> None:
    release = asyncio.Event()
    world.service.answer = lambda: _ignored(release.wait())
    checks = [asyncio.create_task(world.watch.check("o")) for _ in range(3)]
    await turn()
    checks[0].cancel()
    release.set()
    await asyncio.wait(checks)
    assert world.service.surveyed == 1
    assert world.status() is ServiceStatus.AVAILABLE


async def test_the_fault_of_a_plugin_is_told_and_ends_nothing(world: World) -> None:
    world.service.error = ZeroDivisionError("of the plugin")
    await world.watch.check("o")
    assert world.info.detail == "ZeroDivisionError in the code of O: of the plugin"
    assert world.status() is ServiceStatus.DEGRADED


async def test_a_probe_that_was_overtaken_by_what_requests_saw_changes_nothing(
    world: World,
) -> None:
    release = asyncio.Event()
    world.service.answer = lambda: _ignored(release.wait())
    check = asyncio.create_task(world.watch.check("o"))
    await turn()
    world.asked(REFUSED)
    release.set()
    await check
    assert world.status() is ServiceStatus.UNAVAILABLE


async def test_a_neutral_failure_of_a_probe_is_no_reason_for_haste(world: World) -> None:
    world.service.error = LocalResourcesExhausted("No descriptor.")
    await world.watch.check("o")
    assert world.status() is ServiceStatus.UNKNOWN
    world.service.error = AuthenticationError("Key.")
    await world.watch.check("o")
    assert world.status() is ServiceStatus.UNAUTHORIZED
    assert world.info.next_check == world.time.now + 5


async def test_the_trial_of_a_half_open_service_is_done_with_its_first_output(
    world: World,
) -> None:
    for _ in range(3):
        world.asked(ServiceError("It broke."))
    world.time.now += 10
    await world.watch.check("o")
    assert world.watch.admits(world.info)
    ticket = world.watch.begin("o", limit=10)
    assert not world.watch.admits(world.info)
    ticket = world.watch.answering(ticket)
    assert world.status() is ServiceStatus.AVAILABLE
    assert world.watch.answering(ticket) is ticket
    world.watch.ended(ticket, ServiceError("It broke."))
    assert (world.status(), world.info.consecutive_failures) == (ServiceStatus.DEGRADED, 1)


async def test_a_trial_that_is_given_up_leaves_its_place(world: World) -> None:
    for _ in range(3):
        world.asked(ServiceError("It broke."))
    world.time.now += 10
    ticket = world.watch.begin("o", limit=10)
    assert not world.watch.admits(world.info)
    world.watch.left(ticket)
    assert world.watch.admits(world.info)
