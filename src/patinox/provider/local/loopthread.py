"""An event loop in a thread of its own, for code that blocks.

The thread is started by the first who is in it and stopped by the last; what is never left ends
with the process. After a fork the child has no such thread: it starts one of its own.

An interrupt (Ctrl-C) may come between any two steps of who waits. So nobody waits with a lock that
the thread needs: what they share are flags, `call_soon_threadsafe` and queues that are made in C.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from _thread import start_new_thread
from collections.abc import Awaitable, Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, TypeVarTuple

from patinox.provider.errors import ProviderClosed

# How long, in seconds, a call that was interrupted may take to hang up.
LEAVING = 2.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Work(Generic[T]):
    """A call in the thread that can be given up at any moment, begun or not."""

    def __init__(self, life: _Life, call: Callable[[], Awaitable[T]]) -> None:
        self._life = life
        self._call = call
        self._task: asyncio.Task[None] | None = None
        self._begun = self._over = False
        self._outcome: SimpleQueue[tuple[T] | BaseException] = SimpleQueue()

    def wait(self) -> T:
        """Begin, wait for the end, and return or raise it; who is interrupted gives up."""
        try:
            self._life.begin(self)
            outcome = self._outcome.get()
        except BaseException:
            self._give_up()
            raise
        if isinstance(outcome, tuple):
            return outcome[0]
        try:
            raise outcome
        finally:
            del outcome  # or its traceback would hold it in a circle

    def begin(self) -> None:
        """Begin, in the thread."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def end(self, outcome: tuple[T] | BaseException) -> None:
        """Tell who waits, in the thread."""
        if not self._over:
            self._over = True
            self._life.works.discard(self)
            self._outcome.put(outcome)

    async def _run(self) -> None:
        self._begun = True
        # Whatever it is, also `sys.exit()`, is the end of who asked for it, not of the thread.
        try:
            self.end((await self._call(),))
        except asyncio.CancelledError as error:
            self.end(closed() if self._life.stopping else error)
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            self.end(error)

    def _give_up(self) -> None:
        if not self._over and self._life.soon(self._cancel):
            with contextlib.suppress(Empty):
                self._outcome.get(timeout=LEAVING)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if not self._begun:
            self.end(asyncio.CancelledError())


class _Life:
    """The thread, from its start to its end."""

    def __init__(self) -> None:
        self.works: set[_Work[Any]] = set()
        self.stopping = False
        self._halted = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started: SimpleQueue[Exception | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="patinox", daemon=True)

    def start(self) -> None:
        # `Thread.start` waits with a lock that the thread needs: where no signal arrives it may.
        start_new_thread(self._spawn, ())
        error = self._started.get()
        if error is not None:
            raise error

    def stop(self) -> None:
        """Let it end soon; in what order this and its start come does not matter."""
        self.stopping = True
        self.soon(self._halt)

    def _halt(self) -> None:
        if not self._halted:  # or it would cut off what is cleared up at the end
            self._halted = True
            asyncio.get_running_loop().stop()

    def join(self) -> None:
        self._thread.join()

    def begin(self, work: _Work[Any]) -> None:
        if threading.get_ident() == self._thread.ident:
            msg = "This would wait for its own thread; use `LocalProvider` there."
            raise RuntimeError(msg)
        self.works.add(work)
        if not self.soon(work.begin):
            work.end(closed())

    def soon(self, function: Callable[[], object]) -> bool:
        """Have it called in the thread; false if there is none."""
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(function)
        except RuntimeError:
            return False  # it has ended
        return True

    def _spawn(self) -> None:
        try:
            self._thread.start()
        except Exception as error:  # noqa: BLE001  raised in `start`
            self._started.put(error)

    def _run(self) -> None:
        try:
            # Here no signal arrives: a function of the caller's raised it, in a task that is not
            # a call's own. The loop goes on for the others.
            with contextlib.suppress(KeyboardInterrupt, SystemExit), asyncio.Runner() as runner:
                loop = self._loop = runner.get_loop()
                self._started.put(None)
                while not self.stopping:
                    with contextlib.suppress(KeyboardInterrupt, SystemExit):
                        loop.run_forever()
                self._halted = True
        except Exception as error:
            if self._loop is not None:
                raise
            self._started.put(error)  # there is no loop, perhaps for want of a file descriptor
        finally:
            self._loop = None
            while self.works:
                self.works.pop().end(closed())


class LoopThread:
    """An event loop in a thread of this process, there for as long as somebody is in it."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._users = set[object]()
        self._life: _Life | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it was started by this process, not by the one that this was forked from."""
        return self._pid == os.getpid()

    def enter(self, user: object) -> None:
        """Start the thread if nobody is in it; who fails or is interrupted here leaves then."""
        with self._lock:
            self._users.add(user)
            if self._life is None or self._life.stopping:
                life = _Life()
                try:
                    life.start()
                    self._life = life
                except BaseException:
                    life.stop()
                    raise

    def leave(self, user: object) -> None:
        """Stop the thread if nobody else is in it; to leave twice does no harm."""
        with self._lock:
            self._users.discard(user)
            life = None if self._users else self._life
            if life is not None:
                life.stop()
        if life is not None:
            life.join()

    def call(self, function: Callable[[*Ts], Awaitable[T]], *arguments: *Ts) -> T:
        """Wait for a call in the thread; if that is interrupted (Ctrl-C), the call ends first.

        Raises:
            ProviderClosed: the thread has ended, with its last provider.
        """
        if not self.is_ours:
            msg = "This provider was opened before a fork; make another in the child process."
            raise RuntimeError(msg)
        if self._life is None:
            raise closed()
        return _Work(self._life, partial(function, *arguments)).wait()


# By process: a fork takes over the object, and perhaps a lock that is held, but not the thread.
_LOOP_THREADS: dict[int, LoopThread] = {}


def loop_thread() -> LoopThread:
    """Return the one of this process."""
    return _LOOP_THREADS.setdefault(os.getpid(), LoopThread())


def closed() -> ProviderClosed:
    """Make the error for a thread that has ended."""
    return ProviderClosed("This provider is closed.", hint="Make another and enter it.")


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
