"""Ctrl-C: the first one ends what is under way in order, and what the next one does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = signal.SIG_DFL
NOTHING_MORE = signal.SIG_IGN


def run_stoppable(
    runner: asyncio.Runner, work: Coroutine[object, object, T], *, again: signal.Handlers = AT_ONCE
) -> T:
    """Run work that Ctrl-C cancels; a Ctrl-C while it is being cancelled does what `again` says.

    Without that, asyncio would raise in the middle of the loop, which is of no use afterwards.

    Raises:
        KeyboardInterrupt: it was cancelled; under `AT_ONCE` the next Ctrl-C ends the process.
    """
    try:
        return runner.run(_armed(work, again))
    finally:
        if again is NOTHING_MORE and signal.getsignal(signal.SIGINT) is NOTHING_MORE:
            signal.signal(signal.SIGINT, signal.default_int_handler)


async def _armed(work: Coroutine[object, object, T], again: signal.Handlers) -> T:
    """Do the work with a handler around that of asyncio, if there is one."""
    cancel = signal.getsignal(signal.SIGINT)
    if not callable(cancel) or cancel is signal.default_int_handler:
        return await work  # Ctrl-C is ignored, or this is not the main thread

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, again)
        cancel(number, frame)

    signal.signal(signal.SIGINT, first)
    try:
        return await work
    finally:
        if signal.getsignal(signal.SIGINT) is first:
            signal.signal(signal.SIGINT, cancel)
