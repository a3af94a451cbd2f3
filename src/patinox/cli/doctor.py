"""`patinox doctor`: the page to read when something is missing, and to paste into a report."""

from __future__ import annotations

import asyncio
import platform
import urllib.request
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from patinox._version import __version__
from patinox.cli.advice import Address, Diagnosis, advise
from patinox.cli.output import DONE, USAGE, Output
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
from patinox.cli.session import Setup, chosen_services, place_name, read_settings
from patinox.cli.status import service_document
from patinox.cli.unanswered import reason_of, unanswered
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.endpoint import hide_secrets
from patinox.provider.local.environment import explain
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.probing import Finding
from patinox.provider.local.registry import endpoint_variables, services
from patinox.provider.local.types import ServiceInfo, ServiceStatus

_PACKAGES = ("aiohttp", "xllamacpp")


def look_around(setup: Setup) -> Diagnosis:
    """Look at what needs no network: versions, settings, variables, proxies."""
    file, error, warnings = None, None, tuple[str, ...]()
    try:
        settings = read_settings(setup)
        file, warnings = settings.file, settings.warnings
    except InvalidConfiguration as wrong:
        error = str(wrong)
    return Diagnosis(
        versions=_versions(),
        config_file=str(file or setup.config or "") or None,
        config_error=error,
        warnings=warnings,
        environment=tuple(explain(file=setup.config, more=endpoint_variables())),
        proxies=_proxies(),
        container=Path("/.dockerenv").exists(),
        starts=tuple(f"`{spec.start_hint}`" for spec in services().values() if not spec.stand_in),
    )


async def doctor(setup: Setup, out: Output, seen: Diagnosis) -> int:
    """Look at every address and tell all that was found; `USAGE` if the settings are wrong."""
    if seen.config_error is None:
        settings = await asyncio.to_thread(read_settings, setup)
        async with LocalProvider(replace(settings.config, monitor=False)) as local:
            seen = replace(
                seen,
                addresses=tuple(_address(finding) for finding in local.discovery.findings),
                unanswered=tuple(unanswered(local.discovery.findings)),
                services=tuple(chosen_services(local, setup)),
            )
    if out.as_json:
        out.document(diagnosis_document(seen))
    else:
        out.lines(page(out.out.canvas, seen))
    return DONE if seen.config_error is None else USAGE


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {
        "patinox": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _proxies() -> dict[str, str]:
    return {
        name: hide_secrets(address)
        for name, address in sorted(urllib.request.getproxies().items())
        if name != "no"
    }


def _address(finding: Finding) -> Address:
    place, proof = finding.place, finding.proof
    specs = [spec for spec in services().values() if place.expected in (None, spec.name)]
    requests = [probe for spec in specs for probe in spec.probes]
    return Address(
        endpoint=str(place.endpoint),
        setting=place.setting,
        expected=place.expected,
        asked=tuple(dict.fromkeys(f"{probe.method} {probe.path}" for probe in requests)),
        answered=finding.answered,
        service=proof.spec.name if proof else None,
        version=proof.identity.version if proof else None,
        reason=reason_of(finding),
        seconds=finding.seconds,
    )


def diagnosis_document(found: Diagnosis) -> dict[str, Any]:
    """Describe what was found as a value of JSON."""
    return {
        "versions": dict(found.versions),
        "config_file": found.config_file,
        "config_error": found.config_error,
        "warnings": list(found.warnings),
        "addresses": msgspec.to_builtins(found.addresses),
        "services": [service_document(info) for info in found.services],
        "environment": [fate._asdict() for fate in found.environment],
        "proxies": dict(found.proxies),
        "advice": advise(found),
    }


def page(canvas: Canvas, found: Diagnosis) -> list[str]:
    """Write the whole page."""
    return [
        "",
        *_section(canvas, "Versions", _version_lines(canvas, found)),
        *_section(canvas, "Configuration", _config_lines(canvas, found)),
        *_section(canvas, "Addresses", _address_lines(canvas, found.addresses)),
        *_section(canvas, "Services", _service_lines(canvas, found.services)),
        *_section(canvas, "Environment", _environment_lines(canvas, found)),
        *_section(canvas, "Advice", _advice_lines(canvas, found)),
    ]


def _section(canvas: Canvas, title: str, lines: Sequence[str]) -> list[str]:
    return [*blocks(canvas, [(Cell(title, "bold"), ())]), *lines, ""] if lines else []


def _version_lines(canvas: Canvas, found: Diagnosis) -> list[str]:
    rows = [
        [Cell(name, "dim"), Cell(printable(version or "not installed"))]
        for name, version in found.versions.items()
    ]
    return table(canvas, (), rows, folding=1) or _narrow(canvas, rows)


def _config_lines(canvas: Canvas, found: Diagnosis) -> list[str]:
    words = (
        f"file: {printable(found.config_file)}" if found.config_file else "no file",
        *(["wrong: see below"] if found.config_error else ()),
    )
    return [line for word in words for line in wrap(canvas, word)]


def _address_lines(canvas: Canvas, addresses: Sequence[Address]) -> list[str]:
    rows = [
        [
            Cell(printable(each.endpoint.removeprefix("http://"))),
            Cell(printable(each.setting), "dim"),
            Cell(printable(_said(each)), "green" if each.service else ""),
        ]
        for each in addresses
    ]
    return table(canvas, (), rows, folding=2) or _narrow(canvas, rows)


def _said(address: Address) -> str:
    version = f" {address.version}" if address.version else ""
    took = f" ({duration(address.seconds)})" if address.answered else ""
    if address.answered and address.service is None:
        took += f"; asked {', '.join(address.asked)}"
    return address.reason + version + took


def _service_lines(canvas: Canvas, found: Sequence[ServiceInfo]) -> list[str]:
    rows = [
        [
            Cell(printable(place_name(info))),
            Cell(info.status, "green" if info.status is ServiceStatus.AVAILABLE else "yellow"),
            Cell(
                printable(
                    join(
                        info.detail,
                        info.version,
                        count(len(info.models), "model"),
                        f"loaded: {', '.join(info.loaded)}" if info.loaded else None,
                    )
                )
            ),
        ]
        for info in found
    ]
    return table(canvas, (), rows, folding=2) or _narrow(canvas, rows)


def _environment_lines(canvas: Canvas, found: Diagnosis) -> list[str]:
    told = f"wrong: {found.config_error}"  # the advice tells it
    fates = [
        *(
            (name, value, "wrong" if fate == told else fate)
            for name, value, fate in found.environment
        ),
        *(
            (f"proxy for {name}", address, "ignored: nothing here goes through a proxy")
            for name, address in found.proxies.items()
        ),
    ]
    rows = [[Cell(printable(word)) for word in fate] for fate in fates]
    return (table(canvas, (), rows, folding=2) or _narrow(canvas, rows)) if rows else []


def _advice_lines(canvas: Canvas, found: Diagnosis) -> list[str]:
    return [
        line
        for number, text in enumerate(advise(found), start=1)
        for line in wrap(canvas, f"{number}. {printable(text)}")
    ]


def _narrow(canvas: Canvas, rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Write rows as a line and its details, where columns have no room."""
    return blocks(
        canvas,
        [
            (row[0], [cell.text for cell in row[1:] if cell.text not in ("", NOTHING)])
            for row in rows
        ],
    )
