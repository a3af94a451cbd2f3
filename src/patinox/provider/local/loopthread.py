"""An event loop in a thread of its own, for code that blocks.

The thread is started by the first who is in it and stopped by the last; what is never left ends
with the process. After a fork the child has no such thread: it starts one of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar, TypeVarTuple

from anyio.from_thread import BlockingPortal

from patinox.provider.errors import ProviderClosed

# How long, in seconds, a call that was interrupted may take to hang up.
LEAVING = 2.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Work(Generic[T]):
    """A call in the thread that can be given up at any moment, begun or not."""

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self.ended = threading.Event()
        self._call = call
        self._task: asyncio.Task[object] | None = None
        self._given_up = False

    @property
    def begun(self) -> bool:
        return self._task is not None

    async def run(self) -> T:
        self._task = asyncio.current_task()
        try:
            if self._given_up:
                raise asyncio.CancelledError
            with _contained():
                return await self._call()
        finally:
            self.ended.set()

    def give_up(self) -> None:
        self._given_up = True
        if self._task is not None:
            self._task.cancel()


class LoopThread:
    """An event loop in a thread of this process, there for as long as somebody is in it.

    A portal of `anyio.from_thread.start_blocking_portal` would be stopped by the collector at the
    interpreter's end or in a forked child, and wait for ever for a thread that is not there.
    """

    _thread: threading.Thread
    _portal: BlockingPortal

    def __init__(self) -> None:
        """Start nothing yet."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._users = 0

    @property
    def is_ours(self) -> bool:
        """Whether it was started by this process, not by the one that this was forked from."""
        return self._pid == os.getpid()

    def __enter__(self) -> Self:
        """Start the thread if nobody is in it."""
        with self._lock:
            if not self._users:
                started = Future[BlockingPortal]()
                self._thread = threading.Thread(
                    target=_run, args=(started,), name="patinox", daemon=True
                )
                self._thread.start()
                self._portal = started.result()
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread if nobody else is in it."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._portal.call(self._portal.stop, True)  # noqa: FBT003  streams still open too
                self._thread.join()

    def call(self, function: Callable[[*Ts], Awaitable[T]], *arguments: *Ts) -> T:
        """Wait for a call in the thread; if that is interrupted (Ctrl-C), the call ends first.

        Raises:
            ProviderClosed: the thread has ended, with its last provider.
        """
        portal, work = self._here, _Work(partial(function, *arguments))
        try:
            with released():
                return portal.call(work.run)
        except BaseException as error:
            if isinstance(error, RuntimeError) and not work.begun:
                hint = "Make another and enter it."
                raise ProviderClosed("This provider is closed.", hint=hint) from error
            if not work.ended.is_set():
                portal.start_task_soon(work.give_up)
                work.ended.wait(LEAVING)
            raise

    def wrap(self, manager: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        """Enter and leave in one task of the thread; who does either, does it in `released`."""
        return self._here.wrap_async_context_manager(_Contained(manager))

    @property
    def _here(self) -> BlockingPortal:
        if not self.is_ours:
            msg = "This provider was opened before a fork; make another in the child process."
            raise RuntimeError(msg)
        return self._portal


# By process: a fork takes over the object, and perhaps a lock that is held, but not the thread.
_LOOP_THREADS: dict[int, LoopThread] = {}


def loop_thread() -> LoopThread:
    """Return the one of this process."""
    return _LOOP_THREADS.setdefault(os.getpid(), LoopThread())


class _Exit(Exception):
    """Carries, as its cause, the end of the program out of the thread, to whoever waits for it."""


@contextlib.contextmanager
def _contained() -> Generator[None]:
    """Let one call have the end that it asked for, `sys.exit()` or the like, and no other."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        raise _Exit from error


class _Contained(Generic[T]):
    """A context manager that is contained."""

    def __init__(self, manager: AbstractAsyncContextManager[T]) -> None:
        self._manager = manager

    async def __aenter__(self) -> T:
        with _contained():
            return await self._manager.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        with _contained():
            return await self._manager.__aexit__(kind, error, traceback)


@contextlib.contextmanager
def released() -> Generator[None]:
    """Take that end out again, where the caller is."""
    try:
        yield
    except _Exit as error:
        raise error.__cause__ or error from None


def _run(started: Future[BlockingPortal]) -> None:
    try:
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            serving = loop.create_task(_serve(started))
            while not serving.done():
                # Here no signal arrives: a function of the caller's raised it, in a task that has
                # it now as its result. The loop goes on for the others.
                with contextlib.suppress(KeyboardInterrupt, SystemExit):
                    loop.run_until_complete(serving)
    except Exception as error:
        if started.done():
            raise
        started.set_exception(error)  # there is no loop, perhaps for want of a file descriptor


async def _serve(started: Future[BlockingPortal]) -> None:
    async with BlockingPortal() as portal:
        started.set_result(portal)
        await portal.sleep_until_stopped()


def forbid_running_loop() -> None:
    """A blocking call inside a running loop would stop everything else in it.

    Raises:
        RuntimeError: there is a running loop.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    msg = "This blocks the running event loop; write `async with LocalProvider() as local:` there."
    raise RuntimeError(msg)
