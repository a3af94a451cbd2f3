"""What watching costs: `watch.py SECONDS PORT...` prints the CPU time of a provider at rest."""

import asyncio
import json
import sys
import time

from clients.patinox_async import config

from patinox import LocalProvider


async def main() -> None:
    """Enter, let the first probes pass, and wait."""
    seconds, *ports = sys.argv[1:]
    async with LocalProvider(config([*map(int, ports)])) as local:
        await asyncio.sleep(1)
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(float(seconds))
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
        interval = local.config.discovery_config.health_check.interval
        print(json.dumps({"share": share, "services": len(local.services), "interval": interval}))


asyncio.run(main())
