"""Which services a name means: one rule, wherever a service is named.

An exact id wins over a kind, and a kind counts only where no service has that id: what is written
to one server must not go to another of its kind.
"""

from __future__ import annotations

from collections.abc import Iterable

from patinox.provider.local.types import ServiceInfo

ID, KIND, NEITHER = range(3)


def nearness(service: ServiceInfo, name: str) -> int:
    """Tell what a name is to a service: `ID`, `KIND` or `NEITHER`, the nearest first."""
    return ID if name == service.id else KIND if name == service.service_type else NEITHER


def meant(name: str | None, services: Iterable[ServiceInfo]) -> list[ServiceInfo]:
    """Return the service with this id, else all of this kind; every one where none is named."""
    known = list(services)
    if name is None:
        return known
    near = min((nearness(service, name) for service in known), default=NEITHER)
    return [service for service in known if nearness(service, name) == near < NEITHER]
