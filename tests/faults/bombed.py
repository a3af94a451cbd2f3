"""A process that asks a server twice well and once for a bomb, and tells what that cost.

It tells the error, bytes of memory, seconds of work, and for how long its loop stood still at most.

It is run by `test_bombs.py` with the address and the call: what the tests themselves use of memory
does not count.
"""

import asyncio
import sys
import time
from pathlib import Path

from faces import LONG, Asked, AsyncFace, Said, ollama

from patinox.testing import EmulatedServer

SUBJECT = ollama("0.33")
TICK = 0.001


def memory(field: str) -> int:
    """Bytes in use (`VmRSS`) or at most in use (`VmHWM`), as Linux tells."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


class Stillness:
    """The longest time for which the loop stood still while this process was at work."""

    seconds = 0.0

    async def watch(self) -> None:
        while True:
            before, worked = time.monotonic(), time.process_time()
            await asyncio.sleep(TICK)
            # Where others have the processor that is no work of this process.
            passed = min(time.monotonic() - before - TICK, time.process_time() - worked)
            self.seconds = max(self.seconds, passed)


async def main(url: str, call: str) -> None:
    asked = Asked(SUBJECT, EmulatedServer(), call, LONG, address=url)
    async with AsyncFace().open(asked) as ask:
        await ask()
        await ask()
        print("ready", flush=True)  # noqa: T201 - the parent reads it
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.to_thread(Path("/proc/self/clear_refs").write_text, "5")
        before = memory("VmRSS")
        kind, stillness, worked = "-", Stillness(), time.process_time()
        watch = asyncio.create_task(stillness.watch())
        try:
            await ask()
        except Said as said:
            kind = said.kind
        took, _ = time.process_time() - worked, watch.cancel()
        print(kind, memory("VmHWM") - before, took, stillness.seconds, flush=True)  # noqa: T201


asyncio.run(main(*sys.argv[1:]))
