"""What `patinox doctor` found, and what to make of it. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from patinox.cli.unanswered import Unanswered
from patinox.provider.local.environment import VariableFate
from patinox.provider.local.types import ServiceInfo, ServiceStatus, ServiceType
from patinox.provider.local.variables import VARIABLES

WELL = "Nothing is amiss. Chat: patinox chat"
# Variables that others set for programs of theirs, and that mean nothing here.
_MEANT_SO = ("ignored: empty", "ignored: a key or an address alone")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen at one address.

    Attributes:
        endpoint: where.
        setting: what named it: a variable, a key of the file, or `default`.
        expected: the kind of service that should be there, or `None` for any.
        asked: the harmless requests that a service proves itself with.
        answered: whether anything answered.
        service: the kind of service that proved itself, or `None`.
        version: the version that it told.
        reason: which proof held or failed.
        seconds: how long it took.
    """

    endpoint: str
    setting: str
    expected: str | None
    asked: tuple[str, ...]
    answered: bool
    service: str | None
    version: str | None
    reason: str
    seconds: float


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All that the doctor looked at.

    Attributes:
        versions: of Patinox and what it stands on; `None` for what is not installed.
        config_file: the configuration file in use.
        config_error: why the configuration cannot be used.
        warnings: what is amiss with it but no error.
        addresses: what was seen at each address.
        unanswered: the addresses that were given where no service is.
        services: what is known of each service that was found.
        environment: what became of each variable that is set.
        proxies: proxies that are set, which are never used.
        container: whether this is the inside of a container.
        starts: how each kind of service is started.
    """

    versions: Mapping[str, str | None]
    config_file: str | None = None
    config_error: str | None = None
    warnings: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    unanswered: tuple[Unanswered, ...] = ()
    services: tuple[ServiceInfo, ...] = ()
    environment: tuple[VariableFate, ...] = ()
    proxies: Mapping[str, str] = {}
    container: bool = False
    starts: tuple[str, ...] = ()


def advise(found: Diagnosis) -> list[str]:
    """Say what to do, the likeliest first."""
    return list(dict.fromkeys((*_settings(found), *_services(found), *_missing(found)))) or [WELL]


def _settings(found: Diagnosis) -> Iterator[str]:
    if found.config_error:
        yield f"Mend the configuration: {found.config_error}"
    yield from found.warnings
    for silent in found.unanswered:
        if silent.refused:
            yield (
                f"{silent.setting} names {silent.address}, where nothing listens: "
                "start that server, or take the setting away."
            )
        elif not silent.answered:
            yield (
                f"{silent.setting} names {silent.address}, which {silent.reason}: "
                "see that server's log and restart it, or mend the setting."
            )
    for address in found.addresses:
        wrong = address.service and address.expected not in (None, address.service)
        if wrong and address.setting != "default":
            yield (
                f"{address.setting} names {address.endpoint} as {address.expected}, "
                f"but it is {address.service}: use {_variable(address.service)} for that. "
                f"Meanwhile the usual address of {address.expected} is not looked at."
            )
    for variable in found.environment:
        if variable.fate.startswith("ignored") and not variable.fate.startswith(_MEANT_SO):
            yield f"{variable.name} is {variable.fate}"


def _services(found: Diagnosis) -> Iterator[str]:
    for info in found.services:
        if info.status is ServiceStatus.UNAUTHORIZED:
            yield f"{info.label} at {info.endpoint} wants a key: set {_key(info.service_type)}."
        elif info.status in (ServiceStatus.WARMING, ServiceStatus.RATE_LIMITED):
            yield f"{info.label} at {info.endpoint} is not ready yet: wait, and look again."
        elif info.status is not ServiceStatus.AVAILABLE:
            yield f"{info.label} at {info.endpoint} is {info.status}: see its log, or restart it."
    for address in found.addresses:
        if address.answered and address.service is None:
            yield (
                f"{address.endpoint} is taken by something else. If your server is elsewhere, "
                f"name its address: {_variable(address.expected)}."
            )


def _missing(found: Diagnosis) -> Iterator[str]:
    servers = [info for info in found.services if info.service_type != ServiceType.EMBEDDED]
    if not servers and found.config_error is None:
        yield f"No model server answers. Start one: {' or '.join(found.starts)}."
        if found.container:
            yield (
                "This is a container. A server on its host may be at host.docker.internal: "
                "OLLAMA_ENDPOINT=http://host.docker.internal:11434"
            )
        if found.versions.get("xllamacpp") is None:
            yield 'Or run models without a server: pip install "patinox[embedded]"'
    for info in servers:
        if info.status is ServiceStatus.AVAILABLE and not info.models:
            yield f"{info.label} has no models: get one there, such as llama3.2:3b."


def _key(kind: str) -> str:
    return _named(f"{kind}.api_key") or "its key in the configuration file"


def _variable(kind: str | None) -> str:
    return (_named(f"{kind}.endpoint") if kind else None) or "LOCAL_ENDPOINT"


def _named(sets: str) -> str | None:
    return next((variable.name for variable in VARIABLES if variable.sets == sets), None)
