"""Exporters: observers that hand what happens to logging, Prometheus or OpenTelemetry.

    from patinox.telemetry import PrometheusObserver

    async with LocalProvider(observers=[PrometheusObserver()]) as local: ...

Each is imported when it is asked for, and needs its own extra: `patinox[prometheus]`,
`patinox[otel]`; logging needs none. Another one is any object with a method `observe(event)`; the
events are here as well.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patinox.provider.local.events import (
        AttemptFinished,
        AttemptStarted,
        CallContent,
        CallFinished,
        CallStarted,
        Event,
        Observer,
        Operation,
        Outcome,
        Phase,
        QueueWaited,
        Server,
        ServiceChanged,
        ServiceProbed,
    )
    from patinox.telemetry.logs import JSONFormatter, LogObserver
    from patinox.telemetry.otel import OpenTelemetryObserver
    from patinox.telemetry.prometheus import PrometheusObserver

__all__ = [
    "AttemptFinished",
    "AttemptStarted",
    "CallContent",
    "CallFinished",
    "CallStarted",
    "Event",
    "JSONFormatter",
    "LogObserver",
    "Observer",
    "OpenTelemetryObserver",
    "Operation",
    "Outcome",
    "Phase",
    "PrometheusObserver",
    "QueueWaited",
    "Server",
    "ServiceChanged",
    "ServiceProbed",
]

_HOMES = {
    "JSONFormatter": "patinox.telemetry.logs",
    "LogObserver": "patinox.telemetry.logs",
    "OpenTelemetryObserver": "patinox.telemetry.otel",
    "PrometheusObserver": "patinox.telemetry.prometheus",
}


def __getattr__(name: str) -> object:
    """Import a name when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "patinox.provider.local.events")), name)


def __dir__() -> list[str]:
    """List what is public here."""
    return sorted(__all__)
