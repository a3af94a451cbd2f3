"""Where a whole chat spends its time: `rooms.py CALLS PORT...` prints the share of each part.

Measured under `cProfile`, which makes many small functions look dearer than they are beside few
large ones: what it shows is how the work is spread, not how long it takes.
"""

import asyncio
import cProfile
import json
import pstats
import sys
import time
from collections import Counter
from typing import Any

from clients.patinox_async import Client

# The first part whose words are in a file's path has its time.
PARTS = {
    "the HTTP client": (
        "/aiohttp/",
        "/multidict/",
        "/yarl/",
        "local/transport",
        "local/connections",
    ),
    "the event loop and the socket": ("/asyncio/", "selectors.py"),
    "the request: its fields and their checks": (
        *("provider/requests", "provider/messages", "provider/checks", "provider/tools"),
        *("provider/models", "provider/config", "provider/schema", "clients/"),
    ),
    "finding the model and choosing the service": (
        *("local/lookup", "local/routing", "local/finding", "local/catalog", "local/discovery"),
    ),
    "what the model can do, and the request in the server's words": (
        *("local/prepare", "local/preflight", "local/features", "dialects/ollama.py"),
        *("dialects/base", "wire/http"),
    ),
    "reading the answer and joining it": (
        *("dialects/", "wire/", "local/answer", "provider/assemble", "provider/base"),
        "provider/answers",
    ),
    "limits of time and number, failover": (
        *("local/failover", "local/service", "local/limits", "local/waiting", "local/holding"),
        *("local/retrying", "local/coordinator", "local/link", "local/endpoint", "local/flight"),
    ),
    "health and accounts": (
        *("local/watch", "local/health", "local/accounts", "local/tally", "local/observers"),
        "local/types",
    ),
}
REST = "the rest"


def part_of(file: str) -> str:
    """The part that a file belongs to."""
    found = (part for part, words in PARTS.items() if any(word in file for word in words))
    return next(found, REST)


def shares(profile: cProfile.Profile) -> dict[str, float]:
    """Share of each part; what belongs to none is counted where it was called."""
    spent = Counter[str]()
    table: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for function, cell in table.items():
        part, own, callers = part_of(function[0]), cell[2], cell[4]
        if part is not REST or not callers:
            spent[part] += own
            continue
        for caller, called in callers.items():
            spent[part_of(caller[0])] += called[2]
    whole = sum(spent.values())
    return {part: spent[part] / whole for part in (*PARTS, REST)}


async def main() -> None:
    """Ask, warm up, and ask under the profiler."""
    calls, *ports = map(int, sys.argv[1:])
    client = Client("ollama", *ports)
    await client.start()
    for _ in range(calls // 10):
        await client.chat("fast-20")
    profile = cProfile.Profile(time.process_time)  # not what is spent in waiting
    profile.enable()
    for _ in range(calls):
        await client.chat("fast-20")
    profile.disable()
    await client.local.__aexit__(None, None, None)
    print(json.dumps(shares(profile)))


asyncio.run(main())
