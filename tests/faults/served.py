"""A process with emulated servers in it, which prints their ports and serves until it is killed.

It is run with the seconds between two pieces of an answer and the number of servers.
"""

import asyncio
import contextlib
import resource
import sys

from patinox.testing import OllamaEmulator, OllamaModel

MODEL = "served:1b"
ANSWER = "one two three four five six seven eight nine ten"


async def serve(pause: float, servers: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        ports = list[int]()
        for _ in range(servers):
            model = OllamaModel(name=MODEL, reply=ANSWER)
            emulator = OllamaEmulator(models=[model], chunk_delay=pause)
            ports.append((await stack.enter_async_context(emulator)).port)
        print(*ports, flush=True)  # noqa: T201 - the parent reads it
        await asyncio.Event().wait()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2])))
