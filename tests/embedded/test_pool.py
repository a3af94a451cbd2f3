"""Who gets an engine, who waits, and which engine is stopped."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import msgspec
import pytest

from patinox.embedded import Engine, EngineError, EnginePool, LocalModelFile

pytestmark = pytest.mark.engine


class ManualSleep:
    """Sleeping as the test wants it: for how long somebody sleeps, and when they wake."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self._over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.put_nowait(seconds)
        await self._over.wait()

    def wake(self) -> None:
        self._over.set()


@pytest.fixture
def models(demo: LocalModelFile) -> list[LocalModelFile]:
    return [msgspec.structs.replace(demo, id=name) for name in "abc"]


@pytest.fixture
async def pool() -> AsyncIterator[EnginePool]:
    async with EnginePool(wait_seconds=0.05) as pool:
        yield pool


async def test_callers_at_the_same_time_share_one_start(
    pool: EnginePool, demo: LocalModelFile
) -> None:
    engines = await asyncio.gather(*(pool.acquire(demo) for _ in range(5)))
    assert len({engine.pid for engine in engines}) == 1
    assert engines[0].alive
    assert repr(pool) == "<EnginePool 1 of 1: patinox-tiny>"


async def test_a_caller_who_gives_up_does_not_take_the_start_from_the_others(
    pool: EnginePool, demo: LocalModelFile
) -> None:
    async with asyncio.TaskGroup() as tasks:
        first, second = (tasks.create_task(pool.acquire(demo)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
    assert first.cancelled()
    assert second.result().alive


async def test_the_engine_unused_for_longest_makes_room(models: list[LocalModelFile]) -> None:
    async with EnginePool(limit=2) as pool:
        a = await pool.acquire(models[0])
        b = await pool.acquire(models[1])
        assert await pool.acquire(models[0]) is a
        c = await pool.acquire(models[2])
        assert (a.alive, b.alive, c.alive) == (True, False, True)
        assert [pool.holds(model) for model in models] == [True, False, True]


async def test_an_engine_in_use_is_not_stopped_to_make_room(
    pool: EnginePool, models: list[LocalModelFile]
) -> None:
    async with pool.lease(models[0]) as engine:
        with pytest.raises(EngineError, match=r"no room for another engine \(in use: a\)") as e:
            await pool.acquire(models[1])
        assert e.value.kind == "busy"
        assert engine.alive
    assert (await pool.acquire(models[1])).alive
    assert not engine.alive


async def test_one_who_waits_for_room_gets_it_when_the_last_lease_ends(
    models: list[LocalModelFile],
) -> None:
    async with EnginePool() as pool, asyncio.TaskGroup() as tasks:
        async with pool.lease(models[0]) as a:
            async with pool.lease(models[0]) as again:
                assert again is a
                waiting = tasks.create_task(pool.acquire(models[1]))
                await asyncio.sleep(0)
            assert a.alive
        b = await waiting
        assert (a.alive, b.alive) == (False, True)


async def test_an_engine_is_stopped_when_it_was_idle_for_long_enough(
    demo: LocalModelFile,
) -> None:
    sleep = ManualSleep()
    async with EnginePool(idle_seconds=90, sleep=sleep) as pool:
        engine = await pool.acquire(demo)
        assert await sleep.asked.get() == 90
        sleep.wake()
        await engine.wait_closed()
        assert (await pool.acquire(demo)).pid != engine.pid


async def test_an_engine_in_use_is_not_idle(demo: LocalModelFile) -> None:
    sleep = ManualSleep()
    async with EnginePool(sleep=sleep) as pool:
        await pool.acquire(demo)
        await sleep.asked.get()
        async with pool.lease(demo) as engine:
            sleep.wake()
            await asyncio.sleep(0)
            assert engine.alive
        await engine.wait_closed()


async def test_an_engine_that_died_is_started_anew(pool: EnginePool, demo: LocalModelFile) -> None:
    async with pool.lease(demo) as engine:
        os.kill(engine.pid, signal.SIGKILL)
        await engine.wait_closed()
        async with pool.lease(demo) as another:
            assert another.alive
    assert await pool.acquire(demo) is another


async def test_a_start_that_fails_leaves_the_pool_as_it_was(
    pool: EnginePool, demo: LocalModelFile
) -> None:
    broken = msgspec.structs.replace(demo, id="broken", info=None, error="an empty file")
    with pytest.raises(EngineError, match="an empty file"):
        await pool.acquire(broken)
    assert repr(pool) == "<EnginePool 0 of 1: >"
    assert (await pool.acquire(demo)).alive


async def test_closing_stops_every_engine_and_refuses_more(models: list[LocalModelFile]) -> None:
    pool = EnginePool(limit=2)
    async with pool.lease(models[0]) as leased:
        unused = await pool.acquire(models[1])
        await pool.close()
        assert not leased.alive
        assert not unused.alive
    with pytest.raises(EngineError, match="the pool of engines is closed") as e:
        await pool.acquire(models[0])
    assert e.value.kind == "closed"


async def test_a_start_under_way_when_the_pool_closes_leaves_no_engine(
    demo: LocalModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = EnginePool()
    started: list[Engine] = []
    start = Engine.start

    async def start_and_close(*args: object, **options: object) -> Engine:
        started.append(await start(*args, **options))  # type: ignore[arg-type]
        await pool.close()
        return started[0]

    monkeypatch.setattr(Engine, "start", start_and_close)
    with pytest.raises(EngineError, match="closed"):
        await pool.acquire(demo)
    assert not started[0].alive


async def test_one_who_waits_for_room_hears_that_the_pool_is_closed(
    models: list[LocalModelFile],
) -> None:
    pool = EnginePool()
    async with pool.lease(models[0]):
        waiting = asyncio.gather(pool.acquire(models[1]), return_exceptions=True)
        await asyncio.sleep(0)
        await pool.close()
        (error,) = await waiting
    assert isinstance(error, EngineError)
    assert error.kind == "closed"


async def test_context_and_patience_of_the_pool_are_those_of_its_engines(
    demo: LocalModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    async def refuse(_: LocalModelFile, **options: object) -> Engine:
        given.update(options)
        raise EngineError("no", kind="timeout", reason="no")

    monkeypatch.setattr(Engine, "start", refuse)
    async with EnginePool(context_length=1024, load_seconds=7) as pool:
        with pytest.raises(EngineError):
            await pool.acquire(demo)
    assert given == {"context_length": 1024, "timeout": 7}


async def test_an_engine_is_taken_out_once(pool: EnginePool, demo: LocalModelFile) -> None:
    engine = await pool.acquire(demo)
    assert pool.holds(demo)
    assert await pool.unload(demo)
    assert not engine.alive
    assert not pool.holds(demo)
    assert not await pool.unload(demo)


async def test_an_engine_in_use_is_not_taken_out(pool: EnginePool, demo: LocalModelFile) -> None:
    async with pool.lease(demo) as engine:
        with pytest.raises(EngineError, match="in use: patinox-tiny") as caught:
            await pool.unload(demo)
        assert engine.alive
    assert caught.value.kind == "busy"


async def test_when_an_engine_leaves_is_known_while_nobody_uses_it(demo: LocalModelFile) -> None:
    async with EnginePool(idle_seconds=100.0) as pool:
        assert pool.leaves_in(demo) is None
        async with pool.lease(demo):
            assert pool.leaves_in(demo) is None
        left = pool.leaves_in(demo)
        assert left is not None
        assert 90 < left <= 100
