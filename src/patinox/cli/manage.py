"""`patinox ps`, `load`, `unload` and `cp`: what is in memory, and under which names."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from patinox.cli.output import DONE, Output
from patinox.cli.render import (
    INDENT,
    NOTHING,
    Canvas,
    Cell,
    blocks,
    duration,
    join,
    printable,
    size,
    table,
    tokens,
)
from patinox.cli.screen import Waiting
from patinox.cli.session import (
    Setup,
    chosen_services,
    find_model,
    open_local,
    place_name,
    place_of,
)
from patinox.provider.errors import InvalidRequest, ProviderError
from patinox.provider.lifecycle import LoadedModel, RunningModel
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.flight import side_by_side
from patinox.provider.local.types import ServiceType
from patinox.provider.types import ModelId, ModelInfo

_LOOK = 0.5  # seconds between two looks at how far a load is
_HEADERS = ("MODEL", "SERVICE", "MEMORY", "ON GPU", "CONTEXT", "LEAVES IN")
_FOR_EVER = {"forever", "-1"}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TIME = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[smhd])+")


async def ps(setup: Setup, out: Output) -> int:
    """Show what is in memory."""
    async with open_local(setup, out) as local:
        names = {info.id for info in chosen_services(local, setup)}
        found = [item for item in await local.running() if item.service in names]
        places = {info.id: place_name(info) for info in local.services}
    if out.as_json:
        out.document([running_document(item) for item in found])
    else:
        now = datetime.now(tz=UTC).timestamp()
        out.lines(running_lines(out.out.canvas, found, places, now=now))
    return DONE


async def load(
    setup: Setup, out: Output, name: str, *, num_ctx: int | None, keep_alive: str | None
) -> int:
    """Have a model in memory with a context at least as long as asked for, where that can be."""
    seconds = None if keep_alive is None else read_time(keep_alive)
    async with open_local(setup, out) as local:
        info = (await find_model(local, name, setup)).info
        place = place_of(local, info.service)
        async with _waiting(out, local, info):
            loaded = await local.ensure_loaded(info.model_id, num_ctx, keep_alive=seconds)
            if loaded.already and loaded.fits is False:
                loaded = await local.load(info.model_id, num_ctx, keep_alive=seconds)
    if out.as_json:
        out.document(loaded_document(loaded))
        return DONE
    out.lines([INDENT + printable(load_line(loaded, place))])
    if info.service == ServiceType.EMBEDDED:
        out.remark("The engine inside ends with this command, and nothing stays in memory.")
    if loaded.fits is False:
        out.remark(
            f"{place} gave it {loaded.context_length:,} tokens of context, "
            f"not the {num_ctx:,} that were asked for."
        )
    return DONE


@asynccontextmanager
async def _waiting(out: Output, local: LocalProvider, info: ModelInfo) -> AsyncGenerator[None]:
    """Say that a model is loaded, and how far that is where the server tells."""
    waiting = Waiting(out.err)
    with waiting.during(f"loading {info.id}"):
        async with side_by_side() as group:
            telling = group.create_task(tell_progress(local, info, waiting))
            yield
            telling.cancel()


async def tell_progress(local: LocalProvider, info: ModelInfo, waiting: Waiting) -> None:
    """Write beside what is waited for how far it is, from one look to the next."""
    provider = local.discovery.provider(info.service)
    while True:
        with suppress(ProviderError):  # the load itself says what is wrong
            if (fraction := await provider.load_progress(info.id)) is not None:
                waiting.what = f"loading {info.id} {fraction:.0%}"
        await asyncio.sleep(_LOOK)


async def unload(setup: Setup, out: Output, name: str) -> int:
    """Take a model out of memory, wherever it is."""
    async with open_local(setup, out) as local:
        chosen = await find_model(local, name, setup)
        there = await local.unload(chosen.wanted)
    if out.as_json:
        out.document({"model": chosen.info.id, "unloaded": there})
    else:
        what = "is out of memory." if there else "was not in memory."
        out.lines([f"{INDENT}{printable(chosen.info.id)} {what}"])
    return DONE


async def cp(setup: Setup, out: Output, source: str, destination: str, *, overwrite: bool) -> int:
    """Give a model a second name."""
    async with open_local(setup, out) as local:
        chosen = await find_model(local, source, setup)
        await local.copy(chosen.wanted, destination, overwrite=overwrite)
        info, place = chosen.info, place_of(local, chosen.info.service)
    name = ModelId.parse(destination).name
    if out.as_json:
        out.document({"source": info.id, "destination": name, "service": info.service})
    else:
        out.lines([INDENT + printable(f"{info.id} on {place} is {name} too.")])
    return DONE


def running_document(item: RunningModel) -> dict[str, Any]:
    """Describe a model in memory as a value of JSON."""
    return {"name": str(ModelId(item.model, item.service)), **msgspec.to_builtins(item)}


def loaded_document(loaded: LoadedModel) -> dict[str, Any]:
    """Describe a model that was loaded as a value of JSON."""
    name = str(ModelId(loaded.model, loaded.service))
    return {"name": name, **msgspec.to_builtins(loaded), "fits": loaded.fits}


def load_line(loaded: LoadedModel, place: str) -> str:
    """Say what came of a load.

    >>> load_line(LoadedModel(model="m", service="s", context_length=4096, already=True), "Ollama")
    'm on Ollama · 4,096 tokens of context · was in memory'
    """
    length = loaded.context_length
    return join(
        f"{loaded.model} on {place}",
        None if length is None else f"{length:,} tokens of context",
        "was in memory" if loaded.already else f"loaded in {duration(loaded.load_seconds)}",
    )


def running_lines(
    canvas: Canvas, found: Sequence[RunningModel], places: Mapping[str, str], *, now: float
) -> list[str]:
    """Write the table of what is in memory; `now` is in Unix seconds."""
    if not found:
        return [f"{INDENT}No model is in memory."]
    rows = [_row(item, places, now) for item in found]
    lines = table(canvas, _HEADERS, rows, folding=0) or blocks(
        canvas,
        [(row[0], [_detail(row)]) for row in rows],
    )
    return ["", *lines, ""]


def _row(item: RunningModel, places: Mapping[str, str], now: float) -> list[Cell]:
    copied = item.instance not in (None, item.model)
    return [
        Cell(printable(f"{item.model} ({item.instance})" if copied else item.model), "bold"),
        Cell(printable(places.get(item.service, item.service))),
        Cell(size(item.size_bytes)),
        Cell(size(item.vram_bytes)),
        Cell(tokens(item.context_length)),
        Cell("it stays" if item.expires_at is None else duration(max(item.expires_at - now, 0.0))),
    ]


def _detail(row: Sequence[Cell]) -> str:
    _, place, memory, _, context, leaves = (cell.text for cell in row)
    return join(
        place,
        None if memory == NOTHING else memory,
        None if context == NOTHING else f"{context} context",
        leaves if leaves == "it stays" else f"leaves in {leaves}",
    )


def read_time(text: str) -> float:
    """Read a length of time in seconds, negative for ever.

    >>> read_time("10m"), read_time("1h30m"), read_time("90"), read_time("forever")
    (600.0, 5400.0, 90.0, -1.0)

    Raises:
        InvalidRequest: it is none.
    """
    if text in _FOR_EVER:
        return -1.0
    if re.fullmatch(r"[0-9]{1,9}", text) and int(text):
        return float(text)
    if _TIME.fullmatch(text):
        parts = re.findall(r"([0-9.]+)([smhd])", text)
        if (seconds := sum(float(number) * _SECONDS[unit] for number, unit in parts)) > 0:
            return seconds
    raise InvalidRequest(
        f"--keep-alive {text!r} is no time.", hint="Write 90, 10m, 1h30m or forever."
    )
