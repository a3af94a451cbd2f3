"""Faults of section F: servers that die, change, wake up slowly, come and go."""

from __future__ import annotations

import asyncio
import re

from patinox.testing.exchange import Exchange
from patinox.testing.faults.fault import ANSWERS, PAUSE, Catalogue
from patinox.testing.faults.good import good, send

LIFE = Catalogue("F")


@LIFE.request(108, calls=ANSWERS)
async def die_after_list(exchange: Exchange) -> None:
    """The process dies when it is asked for more than a list."""
    exchange.server.die()
    exchange.abort()


@LIFE.request(109, 116, calls=("list",))
async def models_change(exchange: Exchange) -> None:
    """After a restart the models have other names."""
    await send(exchange, (await good(exchange)).changed(_renamed))


def _renamed(data: bytes) -> bytes:
    return re.sub(rb'"(name|model|key|id)":(\s*)"', rb'"\1":\2"new-', data)


@LIFE.request(112, calls=ANSWERS)
async def cold_start(exchange: Exchange) -> None:
    """The model is loaded first: nothing is said for a while, not even a head."""
    await asyncio.sleep(3 * PAUSE)
    await send(exchange, await good(exchange))


@LIFE.request(113)
async def flapping(exchange: Exchange) -> None:
    """Every second request fails."""
    if len(exchange.server.requests) % 2:
        exchange.abort()
    else:
        await send(exchange, await good(exchange))
