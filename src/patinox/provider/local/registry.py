"""Every kind of service there is: files beside this one that define `SERVICE`, and plugins.

Another package adds a service through the entry point group `patinox.services`, whose entries name
a `ServiceSpec`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator

from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.spec import ServiceSpec
from patinox.provider.local.variables import Variable, endpoint_variable

GROUP = "patinox.services"
_PACKAGE = "patinox.provider.local"
# Files that are above this one, or hold no service by their nature.
_OTHERS = frozenset({"registry", "discovery", "coordinator", "sync", "environment"})


@functools.cache
def services() -> dict[str, ServiceSpec]:
    """Return every known kind of service by name, in the order of preference.

    Raises:
        InvalidConfiguration: two services bear one name, or a plugin gives something else.
    """
    found: dict[str, ServiceSpec] = {}
    for spec, origin in (*_siblings(), *_plugins()):
        if not isinstance(spec, ServiceSpec):
            msg = f"The plugin {origin} is no ServiceSpec but a {type(spec).__name__}."
            raise InvalidConfiguration(msg, hint=f"Fix or remove that package ({GROUP}).")
        if spec.name in found:
            msg = f"Two services are called {spec.name!r}; the second is {origin}."
            raise InvalidConfiguration(msg, hint=f"Remove one of the two packages ({GROUP}).")
        found[spec.name] = spec
    return dict(sorted(found.items(), key=lambda item: item[1].rank))


def service(name: str) -> ServiceSpec:
    """Return one kind of service.

    Raises:
        InvalidConfiguration: there is none of that name.
    """
    known = services()
    if name not in known:
        msg = f"The service {name!r} is not known; allowed: {', '.join(known)}."
        raise InvalidConfiguration(msg)
    return known[name]


def endpoint_variables() -> list[Variable]:
    """Return the environment variables that move the services, those of plugins included."""
    return [
        endpoint_variable(spec.endpoint_variable, spec.name)
        for spec in services().values()
        if spec.endpoint_variable
    ]


def _siblings() -> Iterator[tuple[object, str]]:
    package = importlib.import_module(_PACKAGE)
    for module in pkgutil.iter_modules(package.__path__, prefix=f"{_PACKAGE}."):
        if module.ispkg or module.name.rpartition(".")[2] in _OTHERS:
            continue
        spec = getattr(importlib.import_module(module.name), "SERVICE", None)
        if spec is not None:
            yield spec, module.name


def _plugins() -> Iterator[tuple[object, str]]:
    from importlib import metadata  # noqa: PLC0415  a third of what importing us would cost

    for entry in metadata.entry_points(group=GROUP):
        yield entry.load(), entry.value
