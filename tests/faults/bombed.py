"""A process that asks a server once well and once for a bomb, and tells how much memory it took.

It is run by `test_bombs.py` with the address and the call: what the tests themselves use of memory
does not count.
"""

import asyncio
import sys
from pathlib import Path

from faces import LONG, Asked, AsyncFace, Said, ollama

from patinox.testing import EmulatedServer

SUBJECT = ollama("0.33")


def memory(field: str) -> int:
    """Bytes in use (`VmRSS`) or at most in use (`VmHWM`), as Linux tells."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


async def main(url: str, call: str) -> None:
    asked = Asked(SUBJECT, EmulatedServer(), call, LONG, address=url)
    async with AsyncFace().open(asked) as ask:
        await ask()
        await ask()
        print("ready", flush=True)  # noqa: T201 - the parent reads it
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.to_thread(Path("/proc/self/clear_refs").write_text, "5")
        before = memory("VmRSS")
        try:
            await ask()
        except Said as said:
            print(said.kind, memory("VmHWM") - before, flush=True)  # noqa: T201 - likewise


asyncio.run(main(*sys.argv[1:]))
