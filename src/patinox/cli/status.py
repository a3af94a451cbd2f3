"""`patinox status`: which services are here, who they proved to be, and how they are."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from patinox.cli.models import context
from patinox.cli.output import DONE, NOT_FOUND, Output
from patinox.cli.render import (
    NOTHING,
    Canvas,
    Cell,
    blocks,
    count,
    duration,
    join,
    printable,
    table,
    wrap,
)
from patinox.cli.session import (
    DEMO,
    Setup,
    chosen_models,
    chosen_services,
    open_local,
    place_name,
)
from patinox.cli.unanswered import Unanswered, unanswered
from patinox.provider.errors import ProviderError
from patinox.provider.local.routing import pick_default
from patinox.provider.local.types import ServiceInfo, ServiceStatus, ServiceType
from patinox.provider.types import ModelInfo

# Details of the models are nice to have here: seconds that a slow server may take for them.
PATIENCE = 2.0
_HEADERS = ("SERVICE", "ADDRESS", "VERSION", "HEALTH", "MODELS", "LOADED")
_STYLES = {
    ServiceStatus.AVAILABLE: "green",
    ServiceStatus.DEGRADED: "yellow",
    ServiceStatus.WARMING: "yellow",
    ServiceStatus.RATE_LIMITED: "yellow",
}


async def status(setup: Setup, out: Output) -> int:
    """Show the services; none at all is `NOT_FOUND`."""
    async with open_local(setup, out, warn=False) as local:
        services = chosen_services(local, setup)
        models: Sequence[ModelInfo] = ()
        if services and not out.as_json:
            try:
                async with asyncio.timeout(PATIENCE):
                    models = await chosen_models(local, setup)
            except (TimeoutError, ProviderError):
                models = ()  # the table says how each service is
        findings = local.discovery.findings
        silent = unanswered(findings, setup.service)
        tried = [finding.place.endpoint.authority for finding in findings]
    if out.as_json:
        out.document(
            {
                "services": [service_document(info) for info in services],
                "unanswered": [unanswered_document(each) for each in silent],
            }
        )
    else:
        out.lines(report(out.out.canvas, services, models, tried, silent=silent))
    return DONE if services else NOT_FOUND


def service_document(info: ServiceInfo) -> dict[str, Any]:
    """Describe a service as a value of JSON; readings of the monotonic clock mean nothing there."""
    document: dict[str, Any] = msgspec.to_builtins(info)
    metrics = document.pop("metrics")
    for name in ("last_health_check", "next_check", "breaker"):
        del document[name]
    return document | {
        "model_count": len(info.models),
        "response_time_seconds": metrics["avg_response_time"],
    }


def unanswered_document(silent: Unanswered) -> dict[str, str]:
    """Describe an address where no service is as a value of JSON."""
    return {"address": silent.address, "setting": silent.setting, "reason": silent.reason}


def report(
    canvas: Canvas,
    services: Sequence[ServiceInfo],
    models: Sequence[ModelInfo],
    tried: Sequence[str],
    *,
    silent: Sequence[Unanswered] = (),
) -> list[str]:
    """Write the table of services and what to do next."""
    if not services:
        words = (
            "No model server answers on this machine.",
            *([f"Tried: {', '.join(tried)}."] if tried else ()),
            *(printable(str(each)) for each in silent),
            "Next: patinox doctor",
        )
        return [line for word in words for line in wrap(canvas, word)]
    known = {(info.service, info.id): info for info in models}
    rows = [_row(info, known) for info in services]
    lines = table(canvas, _HEADERS, rows)
    if lines is None and (short := table(canvas, _HEADERS[:-1], [row[:-1] for row in rows])):
        loaded = [
            f"{printable(place_name(info))}: {_loaded(info, known)}"
            for info in services
            if info.loaded
        ]
        memory = blocks(canvas, [(Cell("In memory", "bold"), loaded)]) if loaded else []
        lines = [*short, "", *memory]
    lines = lines or blocks(canvas, [_block(info, known) for info in services])
    remarks = [line for remark in _remarks(services, silent) for line in wrap(canvas, remark)]
    apart = ["", *remarks] if remarks else []
    return ["", *lines, *apart, "", *_footer(canvas, services, models), ""]


def _remarks(services: Sequence[ServiceInfo], silent: Sequence[Unanswered]) -> list[str]:
    inside = all(info.service_type == ServiceType.EMBEDDED for info in services)
    alone = "No model server answers; the engine inside stands in."
    return [*(printable(str(each)) for each in silent), *([alone] if inside else ())]


def _row(info: ServiceInfo, models: Mapping[tuple[str, str], ModelInfo]) -> list[Cell]:
    return [
        Cell(printable(place_name(info)), "bold"),
        Cell(_address(info)),
        Cell(_version(info)),
        _health(info),
        Cell(f"{len(info.models):,}"),
        Cell(_loaded(info, models) or NOTHING),
    ]


def _block(
    info: ServiceInfo, models: Mapping[tuple[str, str], ModelInfo]
) -> tuple[Cell, list[str]]:
    loaded = _loaded(info, models)
    return Cell(f"{printable(place_name(info))}: {_health(info).text}", "bold"), [
        _address(info),
        join(None if info.version is None else _version(info), count(len(info.models), "model")),
        *([f"loaded: {loaded}"] if loaded else ()),
    ]


def _address(info: ServiceInfo) -> str:
    return printable(info.endpoint.removeprefix("http://"))


def _version(info: ServiceInfo) -> str:
    return printable(info.version or NOTHING)


def _health(info: ServiceInfo) -> Cell:
    style = _STYLES.get(info.status, "red")
    if info.status is not ServiceStatus.AVAILABLE:
        return Cell(printable(": ".join(filter(None, (info.status, info.detail)))), style)
    if info.service_type == ServiceType.EMBEDDED:
        return Cell("ready", style)
    seconds = info.metrics.avg_response_time
    return Cell(
        f"{info.status}  {duration(seconds)}" if seconds is not None else info.status, style
    )


def _loaded(info: ServiceInfo, models: Mapping[tuple[str, str], ModelInfo]) -> str:
    return ", ".join(
        printable(name) + _context(models.get((info.id, name))) for name in info.loaded
    )


def _context(info: ModelInfo | None) -> str:
    if info is None or info.loaded_context_length is None:
        return ""
    return f" ({context(info)} context)"


def _footer(
    canvas: Canvas, services: Sequence[ServiceInfo], models: Sequence[ModelInfo]
) -> list[str]:
    picked = pick_default(models, {info.id: info.status for info in services})
    lines = list[str]()
    if picked and picked[0].demo:
        lines += wrap(canvas, f"{printable(picked[0].id)} is {DEMO}.")
    name = f" {shlex.quote(printable(picked[0].id))}" if picked else ""
    chat, more = f"Chat: patinox chat{name}", "Something missing? patinox doctor"
    one = f"  {chat}    {more}"
    fits = canvas.width is None or len(one) <= canvas.width
    return [*lines, *([one] if fits else [f"  {chat}", f"  {more}"])]
