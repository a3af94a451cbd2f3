"""The engines that are loaded: started on first use, few at a time, stopped when idle."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self, TypeAlias

from patinox.embedded.engine import Engine, EngineError
from patinox.embedded.finder import LocalModelFile

__all__ = ["EnginePool"]

_Key: TypeAlias = tuple[str, Path]


def _key(model: LocalModelFile) -> _Key:
    return model.id, model.path


class _Resident:
    """An engine in the pool, and how many use it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.key = _key(engine.model)
        self.leases = 0
        self.idle: asyncio.Task[None] | None = None
        """What stops the engine when nobody has used it for long enough."""
        self.idle_since: float | None = None
        """When it was last used, by the loop's clock; `None` while it is."""

    def keep(self) -> None:
        """Do not stop the engine for idleness."""
        self.idle_since = None
        if self.idle is not None:
            self.idle.cancel()
            self.idle = None


class EnginePool:
    """At most `limit` engines; the one unused for longest makes room for another.

    An engine that is leased is never stopped to make room: who needs its place waits
    `wait_seconds`, then gets an `EngineError`. `context_length` and `load_seconds` are for
    `Engine.start`; `sleep` is there for tests.
    """

    def __init__(
        self,
        *,
        limit: int = 1,
        idle_seconds: float = 300.0,
        wait_seconds: float = 60.0,
        context_length: int | None = None,
        load_seconds: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._wait_seconds = wait_seconds
        self._context_length = context_length
        self._load_seconds = load_seconds
        self._sleep = sleep
        self._residents: dict[_Key, _Resident] = {}  # least recently used first
        self._changing = asyncio.Lock()  # one start or stop at a time
        self._freed = asyncio.Event()
        self._closed = False

    async def acquire(self, model: LocalModelFile) -> Engine:
        """The engine of `model`, started if need be. Only a lease keeps it from being stopped."""
        async with self.lease(model) as engine:
            return engine

    @asynccontextmanager
    async def lease(self, model: LocalModelFile) -> AsyncGenerator[Engine]:
        """The engine of `model`, started if need be, which stays for the length of the block.

        Raises `EngineError` if it cannot be started, if there is no room for it, or if the pool
        is closed.
        """
        resident = self._find(model) or await self._start(model)
        resident.leases += 1
        try:
            yield resident.engine
        finally:
            resident.leases -= 1
            self._let_go(resident)

    def holds(self, model: LocalModelFile) -> bool:
        """Whether the model is loaded."""
        resident = self._residents.get(_key(model))
        return resident is not None and resident.engine.alive

    def leaves_in(self, model: LocalModelFile) -> float | None:
        """Seconds until the model is stopped if nobody uses it; `None` while it is in use."""
        resident = self._residents.get(_key(model))
        if resident is None or resident.idle_since is None:
            return None
        idle = asyncio.get_running_loop().time() - resident.idle_since
        return max(self._idle_seconds - idle, 0.0)

    async def unload(self, model: LocalModelFile) -> bool:
        """Stop the engine of `model`, and tell whether there was one.

        Raises `EngineError` if it is in use.
        """
        async with self._changing:
            resident = self._residents.get(_key(model))
            if resident is None:
                return False
            if resident.leases:
                reason = f"in use: {model.id}"
                message = f"it cannot be unloaded now ({reason}); try again when it is free"
                raise EngineError(message, kind="busy", reason=reason)
            resident.keep()
            await self._stop(resident)
            self._freed.set()
            return True

    async def close(self) -> None:
        """Stop all engines, those in use too."""
        self._closed = True
        residents = list(self._residents.values())
        self._residents.clear()
        self._freed.set()
        for resident in residents:
            resident.keep()
        await asyncio.gather(*(resident.engine.stop() for resident in residents))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<EnginePool {len(self._residents)} of {self._limit}: {self._names()}>"

    def _names(self) -> str:
        return ", ".join(model_id for model_id, _ in self._residents)

    def _find(self, model: LocalModelFile) -> _Resident | None:
        self._refuse_if_closed()
        resident = self._residents.pop(_key(model), None)
        if resident is None:
            return None
        resident.keep()
        if not resident.engine.alive:
            self._freed.set()
            return None
        self._residents[resident.key] = resident  # now the most recently used
        return resident

    async def _start(self, model: LocalModelFile) -> _Resident:
        async with self._changing:
            if (resident := self._find(model)) is not None:
                return resident  # somebody else was first
            await self._make_room()
            engine = await Engine.start(
                model, context_length=self._context_length, timeout=self._load_seconds
            )
            if self._closed:
                await engine.stop()
                self._refuse_if_closed()
            resident = _Resident(engine)
            self._residents[resident.key] = resident
            return resident

    async def _make_room(self) -> None:
        while len(self._residents) >= self._limit:
            unused = next((r for r in self._residents.values() if not r.leases), None)
            if unused is not None:
                unused.keep()
                await self._stop(unused)
            else:
                await self._wait_until_freed()
                self._refuse_if_closed()

    async def _wait_until_freed(self) -> None:
        self._freed.clear()
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._freed.wait()
        except TimeoutError:
            reason = f"in use: {self._names()}"
            message = f"no room for another engine ({reason}); finish there or raise the limit"
            raise EngineError(message, kind="busy", reason=reason) from None

    async def _stop(self, resident: _Resident) -> None:
        del self._residents[resident.key]
        await resident.engine.stop()

    def _let_go(self, resident: _Resident) -> None:
        if resident.leases or self._residents.get(resident.key) is not resident:
            return
        self._freed.set()
        resident.idle_since = asyncio.get_running_loop().time()
        resident.idle = asyncio.create_task(  # noqa: TID251 - owned by the resident
            self._stop_when_idle(resident)
        )

    async def _stop_when_idle(self, resident: _Resident) -> None:
        await self._sleep(self._idle_seconds)
        async with self._changing:
            resident.idle = None  # from here on nothing interrupts
            await self._stop(resident)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            reason = "the pool of engines is closed"
            raise EngineError(reason, kind="closed", reason=reason)
